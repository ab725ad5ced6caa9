"""Experiments on images and sound: interruption, results, and what they build upon."""

import wave

import numpy as np
import pytest
import tensorflow as tf

from tests.examples.loading import load

TINY = dict(steps=40, layers=2, channels=4, crop=300, batch=2)


def test_occluded_digits_beats_histograms_and_goes_on(tmp_path, capsys, monkeypatch):
    module = load("occluded_digits")
    # Once through would take minutes: fewer digits to score, and to complete.
    data = module.load_digits()
    for part in data[1:]:
        part.update(images=part.images[:140], target=part.target[:140])
    monkeypatch.setattr(module, "load_digits", lambda: data)
    picture = tmp_path / "digits.png"
    settings = dict(steps=80, layers=1, directory=tmp_path / "saved")
    figures = module.main(**settings, picture=picture)
    assert 10_000 < picture.stat().st_size < 130_000
    printed = capsys.readouterr().out
    for name in ["pixel_cnn", "given_class", "histograms", "histograms_given_class"]:
        assert f"{figures[name]:.2f}" in printed
        bits = -figures[name] / (64 * np.log(2.0))
        np.testing.assert_allclose(figures[name + "_bits"], bits, rtol=1e-6)
        assert f"{bits:.3f}" in printed
    assert figures["pixel_cnn"] > figures["histograms"] + 5.0
    assert figures["given_class"] > figures["pixel_cnn"]
    assert figures["known_whole"] > 0.95

    # All of it is saved: the second time there is nothing to train.
    again = module.main(**settings, picture=None)
    assert "80/80" in capsys.readouterr().err
    np.testing.assert_allclose(again["pixel_cnn"], figures["pixel_cnn"], rtol=1e-6)
    with pytest.raises(ValueError, match=r"`directory` .* same settings"):
        module.main(**settings, seed=1)


def test_occluded_digits_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    module = load("occluded_digits")
    train, validation, _ = module.load_digits()
    whole, stopped, resumed = [
        module.flows.discrete_autoregressive(
            module.networks.PixelCNN([8, 8, 1], 17, 4, 1, context_size=10, seed=seed),
            17,
        )
        for seed in (0, 0, 1)
    ]
    arguments = train, validation, 6, 0
    module.fit(whole, *arguments, None, {})
    save = tf.train.CheckpointManager.save

    def interrupted(manager):
        save(manager)
        if manager.checkpoint.done == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tf.train.CheckpointManager, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            module.fit(stopped, *arguments, tmp_path, {})
    module.fit(resumed, *arguments, tmp_path, {})
    for value, expected in zip(resumed.trainable_variables, whole.trainable_variables):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)


def test_histograms_of_pixels_are_probabilities():
    module = load("occluded_digits")
    train, _, test = module.load_digits()
    table = module.histograms(train.images, train.target)
    assert table.shape == (11, 17, 8, 8, 1)
    np.testing.assert_allclose(np.sum(table, axis=1), 1.0)
    labels, images = test.target[:3], test.images[:3]
    expected = [
        np.sum(
            np.log(
                [
                    (
                        np.sum(
                            train.images[train.target == label, i, j, 0]
                            == image[i, j, 0]
                        )
                        + 0.5
                    )
                    / (np.sum(train.target == label) + 17 * 0.5)
                    for i in range(8)
                    for j in range(8)
                ]
            )
        )
        for label, image in zip(labels, images)
    ]
    actual = module.log_prob_of(
        table, type(test)(images=images, target=labels), given_class=True
    )
    np.testing.assert_allclose(actual, expected)


def test_glow_trains_its_flows_and_goes_on(tmp_path, capsys):
    paths = [str(tmp_path / f"{i}.npz") for i in range(3)]
    for i, path in enumerate(paths):
        images = np.random.RandomState(i).randint(0, 256, [60, 4, 4, 3], dtype=np.uint8)
        np.savez(path, x=images)
    settings = dict(
        data=paths[:2],
        test=paths[2],
        seconds=0.4,
        num_levels=1,
        num_steps=2,
        hidden=4,
        batch=16,
        bits=5,
        checkpoint=tmp_path / "saved",
    )
    picture = tmp_path / "glow.png"
    module = load("glow")
    figures = module.main(**settings, picture=picture)
    assert 5_000 < picture.stat().st_size < 130_000
    printed = capsys.readouterr().out
    assert list(figures) == ["Glow", "RealNVP", "NICE"]
    for row in figures.values():
        bits = row["bits_per_dimension"]
        np.testing.assert_allclose(row["nats"], -bits * 48 * np.log(2.0), rtol=1e-6)
        assert 4.5 < bits < 7.0  # noise of all 32 values alike takes 5
        assert row["seconds"] >= 0.4 and row["steps"] > 0
        assert f"{bits:.3f}" in printed
    again = module.main(**settings, models=("Glow",), picture=None)
    assert again["Glow"]["steps"] == figures["Glow"]["steps"]  # all of it was saved
    nats = [run["Glow"]["nats"] for run in (again, figures)]
    np.testing.assert_allclose(*nats, rtol=1e-6)


def clips(tmp_path, takes=4):
    """Writes a file of clips of all digits, and returns its path."""
    rng = np.random.RandomState(0)
    lengths = rng.randint(250, 400, size=10 * takes)
    audio = np.concatenate(
        [
            6000.0 * np.sin(np.arange(n) * (0.1 + 0.05 * (i % 10)) + rng.uniform(6.0))
            for i, n in enumerate(lengths)
        ]
    )
    path = tmp_path / "clips.npz"
    np.savez(
        path,
        audio=np.int16(audio),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        digit=np.uint8(np.arange(10 * takes) % 10),
        take=np.uint8(np.arange(10 * takes) // 10),
    )
    return path


def test_spoken_digits_goes_on_where_it_was_interrupted(tmp_path, capsys, monkeypatch):
    example, data = load("spoken_digits"), clips(tmp_path)
    picture, directory = tmp_path / "digits.png", tmp_path / "saved"
    monkeypatch.setattr(example, "TEST", range(1))
    monkeypatch.setattr(example, "VALIDATION", range(1, 2))
    monkeypatch.setattr(example, "EVALUATIONS", 4)
    arguments = dict(data=data, **TINY)
    whole = example.main(**arguments, picture=picture)
    assert 5_000 < picture.stat().st_size < 130_000
    printed = capsys.readouterr().out
    for name in ["bits", "order_0", "bigram"]:
        assert f"{whole[name]:.3f}" in printed
    assert whole["bits"] < 8.0 and whole["bigram"] < whole["order_0"] < 8.0
    assert 0.0 <= whole["accuracy"] <= 1.0

    save = tf.train.CheckpointManager.save

    def interrupted(manager):
        save(manager)
        if manager.checkpoint.step == 20:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tf.train.CheckpointManager, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            example.main(**arguments, directory=directory, picture=None)
    resumed = example.main(**arguments, directory=directory, picture=None)
    assert "20/40 " in capsys.readouterr().err
    for name in ["bits", "validation_bits", "step"]:
        np.testing.assert_allclose(resumed[name], whole[name], rtol=1e-4)
    with wave.open(f"{directory}/sample_9_2.wav") as file:
        assert file.getparams()[:4] == (1, 2, 8000, 600)
    with pytest.raises(ValueError, match="`directory` .* same settings; got"):
        example.main(**arguments, seed=1, directory=directory)


def test_spoken_digits_names_what_is_missing(tmp_path):
    example = load("spoken_digits")
    with pytest.raises(FileNotFoundError, match="`data` must be a file; .*none.npz"):
        example.main(data=tmp_path / "none.npz")
    np.savez(tmp_path / "part.npz", audio=np.zeros(3, np.int16))
    with pytest.raises(ValueError, match="no array 'offsets'; got .*'audio'"):
        example.main(data=tmp_path / "part.npz")


def test_mu_law_is_that_of_the_paper():
    example = load("spoken_digits")
    np.testing.assert_array_equal(example.encode(np.arange(-1.0, 2.0)), [0, 128, 255])
    levels = np.arange(256)
    sound = example.decode(levels)
    np.testing.assert_array_equal(example.encode(sound), levels)
    np.testing.assert_allclose(
        sound[200], (256.0 ** (200 / 127.5 - 1.0) - 1.0) / 255.0, rtol=1e-12
    )


def test_floors_are_those_of_counts():
    example = load("spoken_digits")
    x = np.array([3, 3, 7, 3])
    bits = example.floors([(x, 0, 5)], [(x[:2], 0, 0)] * 2)
    order_0 = np.array([4.0, 2.0]) / 260.0  # of 3 and of 7
    np.testing.assert_allclose(bits["order_0"], -np.log2(order_0[0]))
    pair = (1.0 + 25.0 * order_0[0]) / (2.0 + 25.0)
    np.testing.assert_allclose(
        bits["bigram"], -0.5 * np.log2(order_0[0]) - 0.5 * np.log2(pair)
    )


def test_score_is_of_all_samples_together():
    example = load("spoken_digits")
    figures = example.score(-np.log(2.0) * np.array([30.0, 50.0]), [10, 10])
    np.testing.assert_allclose(figures["bits"], 4.0)
    np.testing.assert_allclose(figures["standard_error"], 1.0)


def test_crops_start_where_clips_do_or_within():
    example = load("spoken_digits")
    clips = [(np.full(n, level), level, 9) for n, level in [(900, 1), (100, 2)]]
    crops = example.Crops(clips, 400, silence=50)
    assert len(crops.stream) == 950 + 400
    np.testing.assert_array_equal(crops.stream[900:950], np.full(50, 128))
    starts, digits = crops.draw([0, 0], 200, 3)
    assert starts.shape == digits.shape == (200, 3)
    np.testing.assert_array_equal(crops.stream[starts], np.where(starts < 950, 1, 2))
    np.testing.assert_array_equal(digits, crops.stream[starts])
    assert np.all(starts[digits == 2] == 950) and np.max(starts[digits == 1]) <= 550
    np.testing.assert_allclose(np.mean(starts == 0), 950 / 1350 * 200 / 751, atol=0.05)


def test_synthesized_clips_are_sound_of_each_class_and_take():
    example = load("spoken_digits")
    clips = example.synthesize(seed=0, takes=6)
    assert [(digit, take) for _, digit, take in clips] == [
        (digit, take) for take in range(6) for digit in range(10)
    ]
    for x, *_ in clips:
        assert 1200 <= len(x) < 2000 and 20 < np.min(x) < 128 < np.max(x) < 235
