"""Facts of `tfp_flows.bijectors.transformers`."""

import numpy as np
import pytest
import tensorflow as tf

from tests.laws import close, fresh
from tfp_flows.bijectors import transformers

X = np.array([-1e4, -3.0, -0.5, 0.0, 0.5, 3.0, 1e4])
SPLINE = transformers.RationalQuadraticSpline(num_bins=5, bound=2.0)
ALL = [
    transformers.Additive(),
    transformers.Affine(),
    transformers.GatedAffine(),
    SPLINE,
    transformers.RationalQuadraticSpline(num_bins=1),
]
each = pytest.mark.parametrize("transformer", ALL, ids=repr)


def random(transformer, *shape, scale=3.0):
    rng = np.random.default_rng(0)
    return rng.normal(size=[*shape, transformer.num_parameters], scale=scale)


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_is_increasing_and_finite(transformer, dtype):
    x = tf.constant(X, dtype)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        bijector = transformer(tf.constant(random(transformer, 7), dtype))
        y = bijector.forward(x)
        log_det = bijector.forward_log_det_jacobian(x) + tf.zeros_like(x)
    assert y.dtype == log_det.dtype == dtype
    assert np.all(np.isfinite(y)) and bijector._is_increasing()
    tolerance = 1e-5 if dtype == np.float32 else 1e-9
    close(tf.math.log(tape.gradient(y, x)), log_det, tolerance)
    log_det_back = bijector.inverse_log_det_jacobian(fresh(y)) + tf.zeros_like(x)
    if dtype == np.float64:
        close(bijector.inverse(fresh(y)), X)
        close(log_det_back, -log_det)


@each
def test_zeros_are_the_identity(transformer):
    if isinstance(transformer, transformers.GatedAffine):
        pytest.skip("it is never the identity")
    zeros = np.zeros([7, transformer.num_parameters])
    close(transformer(zeros).forward(X), X, 1e-12)
    close(
        transformer(zeros).forward_log_det_jacobian(X, event_ndims=1) + 0.0 * X[0], 0.0
    )


@each
def test_large_parameters_have_gradients(transformer):
    for value in [-100.0, 100.0]:
        parameters = tf.fill([1, transformer.num_parameters], tf.constant(value))
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            bijector = transformer(parameters)
            x = tf.constant([0.3])
            log_det = bijector.forward_log_det_jacobian(x) + tf.zeros_like(x)
            total = tf.reduce_sum(bijector.forward(x) + log_det)
        assert np.all(np.isfinite(tape.gradient(total, parameters)))


def test_additive_is_that_of_nice():
    parameters = random(transformers.Additive(), 7)
    close(transformers.Additive()(parameters).forward(X), X + parameters[:, 0])


@pytest.mark.parametrize("bound", [1.0, np.log(1e3)])
def test_affine_is_equation_8_with_a_bounded_scale(bound):
    transformer = transformers.Affine(max_log_scale=bound)
    t, r = random(transformer, 7).T
    s = r / (1.0 + np.abs(r) / bound)
    bijector = transformer(np.stack([t, r], axis=-1))
    close(bijector.forward(X), X * np.exp(s) + t)
    close(bijector.forward_log_det_jacobian(X), s)
    raw = tf.constant([[0.0, 100.0], [0.0, -100.0], [0.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(raw)
        log_scale = transformer(raw).forward_log_det_jacobian(tf.ones(3))
    assert np.all(np.abs(log_scale) < bound)
    assert np.all(tape.gradient(log_scale, raw)[:, 1] > 5e-5)


def test_gated_affine_is_equation_14():
    m, s = random(transformers.GatedAffine(), 7).T
    gate = 1.0 / (1.0 + np.exp(-(s + 2.0)))
    bijector = transformers.GatedAffine(bias=2.0)(np.stack([m, s], axis=-1))
    close(bijector.forward(X), gate * X + (1.0 - gate) * m)
    close(bijector.forward_log_det_jacobian(X), np.log(gate))


def test_spline_is_the_identity_outside_of_its_interval():
    outside = np.array([-1e4, -2.1, -2.0, 2.0, 2.1, 1e4])
    bijector = SPLINE(random(SPLINE, 6))
    close(bijector.forward(outside), outside)
    close(bijector.inverse(outside), outside)
    close(bijector.forward_log_det_jacobian(outside), np.zeros(6))


def test_spline_goes_through_its_knots_with_their_slopes():
    (parameters,) = random(SPLINE, 1, scale=1.0)

    def softmax(raw):
        return np.exp(raw) / np.sum(np.exp(raw))

    def knots(raw):
        sizes = 4.0 * (1e-3 + (1.0 - 5e-3) * softmax(raw))
        return np.cumsum(sizes)[:-1] - 2.0

    bijector = SPLINE(np.broadcast_to(parameters, [4, 14]))
    x = knots(parameters[:5])
    close(bijector.forward(x), knots(parameters[5:10]))
    offset = np.log(np.expm1(1.0 - 1e-3))
    slopes = 1e-3 + np.log1p(np.exp(parameters[10:] + offset))
    close(bijector.forward_log_det_jacobian(x), np.log(slopes))


def test_equal_arguments_make_equal_transformers():
    assert transformers.Affine() == transformers.Affine(np.log(1e3))
    assert transformers.Affine() != transformers.Affine(2.0)
    assert len({transformers.Additive(), transformers.Additive()}) == 1


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: transformers.Affine(0.0), "`max_log_scale` must be .* got 0.0"),
        (lambda: transformers.GatedAffine(np.inf), "`bias` must be finite; got inf"),
        (
            lambda: transformers.RationalQuadraticSpline(num_bins=0),
            "`num_bins` must be positive .* got 0",
        ),
        (
            lambda: transformers.RationalQuadraticSpline(num_bins=10, min_bin_size=0.1),
            "must be below 1; got 0.1, 10 and 0.001",
        ),
        (
            lambda: transformers.RationalQuadraticSpline(min_slope=1.0),
            "must be below 1; got 0.001, 8 and 1.0",
        ),
    ],
)
def test_rejects_arguments_out_of_range(make, text):
    with pytest.raises(ValueError, match=text):
        make()
