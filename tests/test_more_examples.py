"""The tutorials run, at a small size, and what they build upon holds."""

import numpy as np
import tensorflow as tf

from tests.test_examples import load

MOST_BYTES = 300_000


def test_class_conditional_classifies(tmp_path, capsys):
    picture = tmp_path / "classes.png"
    figures = load("class_conditional").main(steps=20, layers=1, picture=picture)
    assert 10_000 < picture.stat().st_size < MOST_BYTES
    assert figures["accuracy"] > 0.7
    assert figures["given_class"] > figures["unconditional"] > 70.0
    shared = figures["given_class"] - figures["over_classes"]
    assert 0.0 < shared < np.log(11.0)  # the classes are not quite equally frequent
    np.testing.assert_allclose(
        figures["gain"], figures["over_classes"] - figures["unconditional"], atol=1e-3
    )
    printed = capsys.readouterr().out
    assert f"{figures['accuracy']:.4f}" in printed
    assert f"{figures['given_class']:.2f}" in printed


def test_histogram_is_the_distribution_function_of_its_bins():
    module = load("class_conditional")
    mass = np.random.RandomState(0).rand(module.LEVELS, 3) + 0.1
    mass /= np.sum(mass, axis=0)
    layer = module.Histogram(mass)
    edges = np.arange(module.LEVELS + 1, dtype=np.float32)[:, np.newaxis]
    below = np.concatenate([np.zeros([1, 3]), np.cumsum(mass, axis=0)])
    u = layer.inverse(tf.tile(edges / module.LEVELS, [1, 3]))
    np.testing.assert_allclose(u, below, atol=1e-6)

    x = np.float32(np.random.RandomState(1).rand(50, 3))
    again = layer.forward(tf.identity(layer.inverse(x)))
    np.testing.assert_allclose(again, x, atol=1e-6)
    level = np.int32(module.LEVELS * x)
    slope = module.LEVELS * np.take_along_axis(mass, level, axis=0)
    np.testing.assert_allclose(
        layer.inverse_log_det_jacobian(x, event_ndims=0), np.log(slope), rtol=1e-5
    )


def test_mnist_samples_scores_both_flows(tmp_path, capsys):
    paths = [str(tmp_path / f"{i}.npz") for i in range(3)]
    for i, path in enumerate(paths):
        images = np.random.RandomState(i).randint(0, 256, [120, 6, 6], dtype=np.uint8)
        np.savez(path, x=images)
    picture = tmp_path / "samples.png"
    figures = load("mnist_samples").main(
        data=paths[:2], test=paths[2], steps=3, picture=picture
    )
    assert 10_000 < picture.stat().st_size < MOST_BYTES
    printed = capsys.readouterr().out
    for name in ["NICE", "RealNVP"]:
        bits = figures[name]["bits_per_dimension"]
        nats = 36 * (np.log(256.0) - bits * np.log(2.0))
        np.testing.assert_allclose(figures[name]["nats"], nats, atol=1e-3)
        assert 8.0 < bits < 8.6  # noise of all levels alike takes 8
        assert f"{bits:.3f}" in printed


def test_mnist_samples_without_files_has_digits_at_hand():
    train, validation, test = load("mnist_samples").load_digits()
    assert (len(train), len(validation), len(test)) == (1260, 140, 397)


def test_mnist_samples_models_what_the_paper_does():
    layer = load("mnist_samples").unit_interval()
    x = np.linspace(0.0, 1.0, 101)
    inside = 0.05 + 0.9 * x
    logit = np.log(inside) - np.log(1.0 - inside)
    np.testing.assert_allclose(layer.inverse(np.float32(x)), logit, atol=2e-6)
    np.testing.assert_allclose(
        layer.inverse_log_det_jacobian(np.float32(x), event_ndims=0),
        np.log(0.9 / (inside * (1.0 - inside))),
        atol=2e-6,
    )
