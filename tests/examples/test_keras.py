"""Experiments in Keras: results, interruption, units and tables."""

import functools
import itertools

import keras
import numpy as np
import pytest

from tests.examples.loading import load
from tfp_flows import flows

MOST_BYTES = 300_000


def test_keras_fit_keeps_the_best_model_in_a_file(tmp_path, capsys):
    module = load("keras_fit")
    module.FLOWS["tiny"] = functools.partial(
        flows.real_nvp, num_layers=2, hidden_units=(16,)
    )
    module.WEIGHT_DECAY["tiny"] = 0.0
    path, picture = tmp_path / "best.keras", tmp_path / "fit.png"
    figures = module.main("tiny", epochs=4, path=path, picture=picture, verbose=0)
    printed = capsys.readouterr().out
    assert 10_000 < picture.stat().st_size < MOST_BYTES
    assert f"{figures['nats']:.2f}" in printed
    assert "Trainable params" in printed
    assert figures["best_epoch"] == figures["epochs"] == 4
    assert figures["nats"] > 60.0  # the Gaussian has 49.8
    np.testing.assert_allclose(
        figures["nats"],
        64 * np.log(2.0) * (np.log2(17.0) - figures["bits_per_dimension"]),
        rtol=1e-5,
    )
    assert figures["difference_of_saved"] < 1e-3
    samples = keras.models.load_model(path).sample(200, seed=0)
    train, _, _ = module.load_digits()
    np.testing.assert_allclose(
        np.mean(samples, axis=0), 0.5 + np.mean(train, axis=0), atol=2.0
    )


def test_keras_fit_has_new_noise_in_each_epoch(tmp_path, monkeypatch):
    module = load("keras_fit")
    seen = []

    def fit(model, batches, steps_per_epoch, **kwargs):
        rows = itertools.islice(batches.unbatch().as_numpy_iterator(), 2 * 1260)
        seen.extend(rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(module.DensityModel, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        module.main("maf", epochs=2, path=tmp_path / "best.keras", picture=None)
    levels, noise = np.divmod(seen, 1.0)
    train, _, _ = module.load_digits()
    different = np.unique(train, axis=0)
    for epoch in [levels[:1260], levels[1260:]]:
        np.testing.assert_array_equal(np.unique(epoch, axis=0), different)
    assert np.any(levels[:1260] != levels[1260:])  # another order
    assert np.mean(noise[:1260] == noise[1260:]) < 1e-3


def test_keras_regression_tells_both_heads_apart(tmp_path, capsys):
    module = load("keras_regression")
    picture = tmp_path / "regression.png"
    figures = module.main(seeds=1, epochs=8, hidden=32, dropout=0.0, picture=picture)
    printed = capsys.readouterr().out
    assert 10_000 < picture.stat().st_size < MOST_BYTES
    assert figures["flow"]["nats"] > figures["Gaussian"]["nats"] + 0.3
    gain = figures["flow"]["nats"] - figures["Gaussian"]["nats"]
    np.testing.assert_allclose(figures["gain"]["nats"], gain, atol=1e-5)
    for head in ["Gaussian", "flow"]:
        row = figures[head]
        assert f"{row['nats']:.3f}" in printed
        assert -3.5 < row["nats"] < 0.0
        shares = [row[share] for share in module.INTERVALS]
        np.testing.assert_allclose(shares, module.INTERVALS, atol=0.15)


@pytest.mark.parametrize("head", ["Gaussian", "flow"])
def test_predictions_are_in_the_units_of_the_targets(head):
    module = load("keras_regression")
    _, layer = module.network(head, 3, 16, 0.0, seed=0)
    for variable in layer.trainable_variables:  # else the flow is its noise
        variable.assign(0.2 * np.random.RandomState(0).randn(*variable.shape))
    random = np.random.RandomState(1)
    outputs = np.float32(random.randn(5000, 2 if head == "Gaussian" else 16))
    distribution = layer.distribution(outputs)
    y = np.reshape(distribution.sample(seed=[0, 1]), [-1])
    result = module.evaluate(layer, outputs, y, (100.0, 50.0))
    np.testing.assert_allclose(result["targets"], 100.0 + 50.0 * y[:6], rtol=1e-5)
    grid = result["grid"]
    area = np.sum(result["densities"], axis=1) * (grid[1] - grid[0])
    np.testing.assert_allclose(area, 1.0, atol=0.02)
    there = [
        np.interp(target, grid, density)
        for target, density in zip(result["targets"], result["densities"])
    ]
    np.testing.assert_allclose(np.exp(result["nats"][:6]), there, rtol=0.02)

    # Targets drawn from the predictions have uniform probabilities below them.
    row = module.summary([dict(result, seconds=0.0)])
    shares = [row[share] for share in module.INTERVALS]
    np.testing.assert_allclose(shares, module.INTERVALS, atol=0.025)
    ranks = (np.argsort(np.argsort(result["probability"])) + 0.5) / 5000
    np.testing.assert_allclose(result["probability"], ranks, atol=0.03)


def test_probability_below_the_target_is_the_integral_of_the_density():
    module = load("keras_regression")
    _, layer = module.network("flow", 3, 16, 0.0, seed=0)
    for variable in layer.trainable_variables:
        variable.assign(0.2 * np.random.RandomState(0).randn(*variable.shape))
    y = np.linspace(-6.0, 6.0, 2001, dtype=np.float32)
    outputs = np.tile(np.float32(np.random.RandomState(1).randn(1, 16)), [2001, 1])
    result = module.evaluate(layer, outputs, y, (0.0, 1.0))
    density = np.exp(result["nats"])
    steps = 0.5 * (density[1:] + density[:-1]) * np.diff(y)
    np.testing.assert_allclose(result["probability"][1:], np.cumsum(steps), atol=2e-3)


def test_whole_numbers_are_spread_and_others_are_not():
    module = load("keras_regression")
    inputs = np.random.RandomState(0).randn(100, 2)
    levels = np.arange(100.0)
    x, y, (mean, scale), rows = module.prepare(inputs, levels, seed=0)
    assert [len(part) for part in rows] == [80, 10, 10]
    assert sorted(np.concatenate(rows)) == list(range(100))
    np.testing.assert_allclose(np.mean(x[rows[0]], axis=0), 0.0, atol=1e-6)
    np.testing.assert_allclose(np.std(x[rows[0]], axis=0), 1.0, atol=1e-6)
    noise = mean + scale * y - levels
    assert -1e-4 < np.min(noise) < 0.1 and 0.9 < np.max(noise) < 1.0001
    _, y, (mean, scale), _ = module.prepare(inputs, levels + 0.25, seed=0)
    np.testing.assert_allclose(mean + scale * y, levels + 0.25, atol=1e-4)


def test_keras_regression_reads_tables(tmp_path):
    module = load("keras_regression")
    path = tmp_path / "uci.npz"
    table = np.random.RandomState(0).randn(20, 4)
    np.savez(path, table=table)
    inputs, targets = module.load(f"{path}:table")
    np.testing.assert_array_equal(inputs, table[:, :3])
    np.testing.assert_array_equal(targets, table[:, 3])
    with pytest.raises(ValueError, match=r"no array 'other'; got \['table'\]"):
        module.load(f"{path}:other")
    with pytest.raises(FileNotFoundError, match=r"none\.npz .* array 'x'"):
        module.load(f"{tmp_path}/none.npz:x")
    with pytest.raises(ValueError, match=r"`data` must be .*; got 'moons'"):
        module.load("moons")


def test_keras_multi_device_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    module = load("keras_multi_device")
    digits = module.load_digits
    monkeypatch.setattr(
        module, "load_digits", lambda seed: [part[:200] for part in digits(seed)]
    )
    monkeypatch.setattr(
        module.flows,
        "real_nvp",
        functools.partial(
            lambda make, size, num_layers, hidden_units, seed: make(
                size, 2, (16,), seed=seed
            ),
            flows.real_nvp,
        ),
    )
    whole = module.main(epochs=3, batch=10)
    assert whole["replicas"] == 1
    assert len(whole["seconds"]) == 3
    assert whole["nats"] > 10.0

    def stop(clock, epoch, logs):
        if epoch == 1:  # whose last backup is one of 2 in an epoch
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module.Clock, "on_epoch_end", stop)
        module.main(epochs=3, batch=10, backup=tmp_path)
    again = module.main(epochs=3, batch=10, backup=tmp_path)
    np.testing.assert_allclose(again["loss"], whole["loss"][1:], rtol=1e-5)
    np.testing.assert_allclose(again["nats"], whole["nats"], rtol=1e-4)


def test_keras_multi_device_needs_its_devices_first():
    module = load("keras_multi_device")
    keras.ops.zeros([1])
    with pytest.raises(ValueError, match="`devices` must be set before .*; got 2"):
        module.strategy_for(2)
