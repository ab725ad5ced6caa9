"""The tutorials on first steps run, at a small size, and their checks find errors."""

import math

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tests.test_examples import load

tfb, tfd = tfp.bijectors, tfp.distributions

MOST_BYTES = 150_000


def test_first_flow_says_what_is_true(tmp_path, capsys):
    picture = tmp_path / "flow.png"
    module = load("first_flow")
    figures = module.main(steps=200, layers=8, points=5000, pixels=40, picture=picture)
    printed = capsys.readouterr().out
    assert 10_000 < picture.stat().st_size < MOST_BYTES

    line = figures["one_dimension"]
    x = np.linspace(0.0, 1.0, 100001)
    edge = np.interp(1.0, module.push(x)[0], x)
    np.testing.assert_allclose(line["should_be"], math.erf(edge / 2.0**0.5), atol=1e-4)
    np.testing.assert_allclose(line["counted"], line["should_be"], atol=0.01)
    assert line["without_stretch"] > line["should_be"] + 0.5
    assert line["folded"] == 3
    assert figures["lemma"] < 1e-10

    assert len(figures["layers"]) == 12
    for case in figures["layers"].values():
        np.testing.assert_allclose(case["integral"], 1.0, atol=0.04)
        assert case["log_det"] < 1e-11
        assert case["round_trip"] < 1e-12

    moons = figures["moons"]
    np.testing.assert_allclose(
        moons["untrained_nats"], moons["gaussian_nats"], atol=1e-4
    )
    np.testing.assert_allclose(moons["gaussian_nats"], -1.91, atol=0.02)
    np.testing.assert_allclose(moons["truth_nats"], -1.006, atol=0.04)
    assert moons["gaussian_nats"] + 0.4 < moons["nats"] < moons["truth_nats"]
    assert f"{moons['nats']:.4f}" in printed


class Wrong(tfb.Bijector):
    """Doubles, with the volume of a map that does not."""

    def __init__(self):
        super().__init__(forward_min_event_ndims=1, is_constant_jacobian=True)

    def _forward(self, x):
        return 2.0 * x

    def _inverse(self, y):
        return 0.4 * y

    def _forward_log_det_jacobian(self, x):
        return tf.zeros([], x.dtype)


def test_first_flow_would_find_an_error():
    module = load("first_flow")
    base = tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), 1.0), 2)
    x = base.sample(10, seed=[0, 1])
    np.testing.assert_allclose(module.log_det_error(Wrong(), x), np.log(4.0))
    assert module.round_trip_error(Wrong(), x) > 0.1
    integral = module.integral(tfd.TransformedDistribution(base, Wrong()), 200)
    np.testing.assert_allclose(integral, 0.4**-2, rtol=0.01)


FOUND_BY = {
    "right": set(),
    "inverse multiplies": {"inverse", "ildj"},
    "wrong sign": {"fldj", "ildj"},
    "no branch": {"ildj"},
    "slope is frozen": {"gradient"},
    "first slope alone": {"batch"},
}


def test_write_a_bijector_finds_each_error_by_its_check(tmp_path, capsys):
    picture = tmp_path / "bijector.png"
    module = load("write_a_bijector")
    figures = module.main(steps=60, layers=6, points=1000, picture=picture)
    printed = capsys.readouterr().out
    assert 10_000 < picture.stat().st_size < MOST_BYTES

    assert figures["layer"]["lost"] == 2.0
    cache = figures["cache"]
    assert cache["same"] and cache["gradient"] is None
    np.testing.assert_allclose(cache["stale"], [-0.5, 2.0])
    np.testing.assert_allclose(cache["right"], [-5.0, 2.0])
    assert cache["cached_error"] == 0.0
    assert cache["error"] == 0.75

    checks, truth = figures["checks"], figures["truth_nats"]
    entropy = 0.5 * np.log(2.0 * np.pi * np.e) + np.log(0.5) + 0.5 * np.log(3.0)
    np.testing.assert_allclose(truth, -entropy, atol=0.02)
    for name, found_by in FOUND_BY.items():
        errors = {
            key: value
            for key, value in checks[name].items()
            if key not in ("nats", "integral")
        }
        found = {key for key, value in errors.items() if value > module.TOLERANCE}
        assert found == found_by, name
    # In training two of them look better than is possible, and two as they should.
    for name in ["inverse multiplies", "wrong sign"]:
        assert checks[name]["nats"] > truth + 0.5
        assert checks[name]["integral"] > 2.0
    for name in ["right", "no branch", "first slope alone"]:
        np.testing.assert_allclose(checks[name]["nats"], truth, atol=0.02)
        np.testing.assert_allclose(checks[name]["integral"], 1.0, atol=1e-3)
    assert checks["slope is frozen"]["nats"] < truth - 0.2

    shift = figures["shift"]
    np.testing.assert_allclose(
        shift["difference"], shift["gradient"] + shift["jump"], atol=0.02
    )
    assert abs(shift["jump"]) > 0.4

    flow = figures["flow"]
    assert flow["nats"] > flow["gaussian_nats"] + 0.3
    for name in ["log_prob_difference", "sample_difference", "round_trip"]:
        assert flow[name] < 1e-11, name
    assert f"{flow['nats']:.4f}" in printed


def test_write_a_bijector_bends_as_likely_as_can_be():
    module = load("write_a_bijector")
    x = np.random.RandomState(0).gumbel(size=1000)

    def nats(kink, left, right, shift):
        z = np.where(x < kink, left, right) * (x - kink) + shift
        return np.sum(np.log(np.where(x < kink, left, right)) - 0.5 * z**2)

    value, kink, *best = module.best_bend(x)
    np.testing.assert_allclose(value, nats(kink, *best))
    for step in 0.02 * np.concatenate([np.eye(3), -np.eye(3)]):
        assert nats(kink, *(best + step)) < value
    for other in np.quantile(x, [0.1, 0.3, 0.5, 0.7, 0.9]):
        assert nats(other, *best) <= value
