"""The tutorial on audio runs, at a small size, and its parts are right."""

import wave

import numpy as np
import pytest
import tensorflow as tf

from tests.test_examples import load

TINY = dict(steps=40, layers=2, channels=4, crop=300, batch=2)


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
