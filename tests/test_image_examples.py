"""The tutorials on images run, at a small size, and what they build upon holds."""

import numpy as np
import pytest
import tensorflow as tf

from tests.test_examples import load


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
