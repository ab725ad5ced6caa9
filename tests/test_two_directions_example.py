"""The tutorial on the two directions of a flow, at a small size."""

import numpy as np
import pytest
import tensorflow as tf

from tests.test_examples import load
from tfp_flows import bijectors


@pytest.fixture(scope="module")
def example():
    return load("two_directions")


def test_by_hand_is_what_the_package_does(example, capsys):
    figures = example.by_hand(seed=1, size=12, units=32, points=20)
    for error in ["score", "loop", "tfp", "once"]:
        assert figures[error] < 1e-12
    assert 2 <= figures["passes"] <= 13
    network = example.MaskedNetwork(12, 32, seed=1)
    left = sum(int(np.sum(mask)) for mask in network.masks)
    assert figures["products_once"] == left < figures["products_pass"]
    assert figures["products_loop"] == 12 * (12 * 32 + 32 * 32 + 32 * 24)
    assert f"{left:12}" in capsys.readouterr().out


def test_network_by_hand_is_autoregressive_and_sees_all_before(example):
    network = example.MaskedNetwork(6, 40, seed=0)
    y = tf.constant(np.random.RandomState(0).normal(size=6))
    bijectors.check_autoregressive(network, y)
    layer = bijectors.MaskedAutoregressive(network)
    matrix = example.jacobian(layer, y[tf.newaxis])
    assert np.all(matrix[np.tril_indices(6)] != 0.0)
    network.kernels[2].assign(np.ones_like(network.kernels[2]))  # without its mask
    with pytest.raises(ValueError, match="break the order"):
        bijectors.check_autoregressive(network, y)


def test_main_fits_times_and_draws(example, tmp_path, capsys, monkeypatch):
    asked = []

    def milliseconds(function, x, expected=None):
        y = function(tf.constant(x)).numpy()
        assert np.all(np.isfinite(y))
        if expected is not None:
            np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
        asked.append(expected is not None)
        return float(len(asked))

    small = dict(num_layers=2, hidden_units=(32,))
    monkeypatch.setattr(example, "milliseconds", milliseconds)
    monkeypatch.setattr(
        example,
        "RECIPES",
        {
            "MAF": (example.flows.maf, small),
            "IAF": (example.flows.iaf, small | dict(transformer=example.AFFINE)),
            "RealNVP": (example.flows.real_nvp, small),
            "Glow": (
                example.flows.glow,
                dict(num_levels=1, num_steps=1, hidden_channels=8),
            ),
        },
    )
    monkeypatch.setattr(
        example, "WEIGHT_DECAY", {"MAF": 2.0, "RealNVP": 4.0, "Glow": 2.0}
    )
    picture = tmp_path / "two_directions.png"
    figures = example.main(sizes=(3,), batch=5, seconds=0.3, picture=picture)
    assert 10_000 < picture.stat().st_size < 150_000
    printed = capsys.readouterr().out

    assert len(figures["milliseconds"]) == 8
    assert sum(asked) == 2  # both of the other samplers made the same points
    fits = figures["fits"]
    np.testing.assert_allclose(fits["Gaussian"]["nats"], 49.85, atol=0.4)
    for name in ["MAF", "RealNVP"]:
        assert fits[name]["nats"] > fits["Gaussian"]["nats"] + 10.0
        assert f"{fits[name]['nats']:.2f}" in printed
    for row in fits.values():
        bits = np.log2(17.0) - row["nats"] / (64 * np.log(2.0))
        np.testing.assert_allclose(row["bits_per_dimension"], bits)

    jacobians = figures["jacobians"]
    for row in jacobians.values():
        np.testing.assert_allclose(row["log_det"], row["matrix"], atol=1e-3)
    assert jacobians["MAF, one layer"]["above"] == 0.0
    assert jacobians["RealNVP, a coupling"]["above"] == 0.0
    assert jacobians["MAF, all layers"]["above"] > 0.0
    np.testing.assert_allclose(jacobians["Glow, 1x1 convolution"]["share"], 4 / 64)
    np.testing.assert_allclose(
        jacobians["RealNVP, a coupling"]["share"], 1 / 64 + 1 / 4, atol=0.01
    )


def test_milliseconds_rejects_other_points(example):
    x = tf.zeros([2])
    assert example.milliseconds(lambda x: x + 1.0, x, np.ones(2), seconds=0.0) > 0.0
    with pytest.raises(ValueError, match="a difference of 1.0"):
        example.milliseconds(lambda x: x + 1.0, x, expected=np.zeros(2))
