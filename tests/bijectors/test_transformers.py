"""Tests of `tfp_flows.bijectors.transformers`."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import METHODS, check_vectorized_map, close, evaluate, fresh
from tfp_flows.bijectors import Coupling, Layer, transformers
from tfp_flows.networks import MLP

X = np.array([-1e4, -3.0, -0.5, 0.0, 0.5, 3.0, 1e4])
SPLINE = transformers.RationalQuadraticSpline(num_bins=5, bound=2.0)
ALL = [
    transformers.Additive(),
    transformers.Affine(),
    transformers.GatedAffine(),
    transformers.SigmoidAffine(),
    SPLINE,
    transformers.RationalQuadraticSpline(num_bins=1),
]
each = pytest.mark.parametrize("transformer", ALL, ids=repr)


class At(Layer):
    """A transformer at given parameters, as a bijector of scalars."""

    def __init__(self, transformer, parameters, name="at"):
        parameters = tf.convert_to_tensor(parameters)
        arguments = dict(transformer=transformer, parameters=parameters, name=name)
        self.transformer, self.values = transformer, parameters
        super().__init__(
            forward_min_event_ndims=0,
            dtype=parameters.dtype,
            parameters=arguments,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype):
        return dict(parameters=tfp.util.ParameterProperties(event_ndims=1))

    def _forward(self, x):
        return self._forward_and_log_det(x)[0]

    def _inverse(self, y):
        return self._inverse_and_log_det(y)[0]

    def _inverse_log_det_jacobian(self, y):
        return self._inverse_and_log_det(y)[1]

    def _forward_and_log_det(self, x):
        return self.transformer.forward_and_log_det(x, self.values)

    def _inverse_and_log_det(self, y):
        return self.transformer.inverse_and_log_det(y, self.values)


def random(transformer, *shape, scale=3.0):
    rng = np.random.default_rng(0)
    return rng.normal(size=[*shape, transformer.num_parameters], scale=scale)


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_is_increasing_and_finite(transformer, dtype):
    x = tf.constant(X, dtype)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        bijector = At(transformer, tf.constant(random(transformer, 7), dtype))
        y = bijector.forward(x)
        log_det = bijector.forward_log_det_jacobian(x) + tf.zeros_like(x)
    assert y.dtype == log_det.dtype == dtype
    assert np.all(np.isfinite(y))
    tolerance = 1e-5 if dtype == np.float32 else 1e-9
    close(tf.math.log(tape.gradient(y, x)), log_det, tolerance)
    log_det_back = bijector.inverse_log_det_jacobian(fresh(y)) + tf.zeros_like(x)
    if dtype == np.float64:
        close(bijector.inverse(fresh(y)), X)
        close(log_det_back, -log_det)


@each
def test_zeros_are_the_identity(transformer):
    if isinstance(transformer, (transformers.GatedAffine, transformers.SigmoidAffine)):
        pytest.skip("it is never the identity")
    zeros = np.zeros([7, transformer.num_parameters])
    close(At(transformer, zeros).forward(X), X, 1e-12)
    close(
        At(transformer, zeros).forward_log_det_jacobian(X, event_ndims=1) + 0.0 * X[0],
        0.0,
    )


@each
def test_large_parameters_have_gradients(transformer):
    for value in [-100.0, 100.0]:
        parameters = tf.fill([1, transformer.num_parameters], tf.constant(value))
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            bijector = At(transformer, parameters)
            x = tf.constant([0.3])
            log_det = bijector.forward_log_det_jacobian(x) + tf.zeros_like(x)
            total = tf.reduce_sum(bijector.forward(x) + log_det)
        assert np.all(np.isfinite(tape.gradient(total, parameters)))


def test_additive_is_that_of_nice():
    parameters = random(transformers.Additive(), 7)
    close(At(transformers.Additive(), parameters).forward(X), X + parameters[:, 0])


@pytest.mark.parametrize("bound", [1.0, np.log(1e3)])
def test_affine_is_equation_8_with_a_bounded_scale(bound):
    transformer = transformers.Affine(max_log_scale=bound)
    t, r = random(transformer, 7).T
    s = r / (1.0 + np.abs(r) / bound)
    bijector = At(transformer, np.stack([t, r], axis=-1))
    close(bijector.forward(X), X * np.exp(s) + t)
    close(bijector.forward_log_det_jacobian(X), s)
    raw = tf.constant([[0.0, 100.0], [0.0, -100.0], [0.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(raw)
        log_scale = At(transformer, raw).forward_log_det_jacobian(tf.ones(3))
    assert np.all(np.abs(log_scale) < bound)
    assert np.all(tape.gradient(log_scale, raw)[:, 1] > 5e-5)


def test_gated_affine_is_equation_14():
    m, s = random(transformers.GatedAffine(), 7).T
    s /= 1.0 + np.abs(s) / np.log(1e3)  # bounded
    gate = 1.0 / (1.0 + np.exp(-(s + 2.0)))
    gated = transformers.GatedAffine(bias=2.0)
    bijector = At(gated, random(gated, 7))
    close(bijector.forward(X), gate * X + (1.0 - gate) * m)
    close(bijector.forward_log_det_jacobian(X), np.log(gate))


def test_sigmoid_affine_is_the_coupling_of_glow():
    t, s = random(transformers.SigmoidAffine(), 7).T
    s /= 1.0 + np.abs(s) / np.log(1e3)  # bounded
    gate = 1.0 / (1.0 + np.exp(-(s + 2.0)))
    bijector = At(transformers.SigmoidAffine(), random(transformers.SigmoidAffine(), 7))
    close(bijector.inverse(X), (X + t) * gate)
    close(bijector.inverse_log_det_jacobian(X), np.log(gate))


def test_spline_is_the_identity_outside_of_its_interval():
    outside = np.array([-1e4, -2.1, -2.0, 2.0, 2.1, 1e4])
    bijector = At(SPLINE, random(SPLINE, 6))
    close(bijector.forward(outside), outside, 0.0)
    close(bijector.inverse(outside), outside, 0.0)
    close(bijector.forward_log_det_jacobian(outside), np.zeros(6), 0.0)


def knots_and_slopes(parameters):
    """The knots of `SPLINE` in `x` and `y`, with both ends, and the inner slopes."""

    def knots(raw):
        shares = np.exp(raw) / np.sum(np.exp(raw), axis=-1, keepdims=True)
        sizes = 4.0 * (1e-3 + (1.0 - 5e-3) * shares)
        starts = np.cumsum(sizes, axis=-1)[..., :-1] - 2.0
        ends = np.full([*raw.shape[:-1], 1], 2.0)
        return np.concatenate([-ends, starts, ends], axis=-1)

    raw = parameters[..., 10:] + np.log(np.expm1(1.0 - 1e-3))
    x, y = knots(parameters[..., :5]), knots(parameters[..., 5:10])
    return x, y, 1e-3 + np.logaddexp(0.0, raw)


def around_knots(x_or_y, dtype):
    """The knots in a dtype, the numbers next to them, and points between."""
    knots = x_or_y.astype(dtype)
    near = [np.nextafter(knots, side) for side in np.array([-9.0, 9.0], dtype)]
    between = [knots[:-1] * (1.0 - t) + knots[1:] * t for t in (0.01, 0.5, 0.9)]
    return np.concatenate([knots, *near, *between]).astype(dtype)


def test_spline_goes_through_its_knots_with_their_slopes():
    (parameters,) = random(SPLINE, 1, scale=1.0)
    x, y, slopes = knots_and_slopes(parameters)
    bijector = At(SPLINE, parameters)
    for shift in [-1e-12, 0.0, 1e-12]:
        close(bijector.forward(x + shift), y)
        close(bijector.inverse(y + shift), x)
        expected = np.concatenate([[0.0], np.log(slopes), [0.0]])
        close(bijector.forward_log_det_jacobian(x + shift), expected, 1e-8)


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_spline_is_that_of_tfp(scale):
    parameters = random(SPLINE, 40, scale=scale)
    x, y, slopes = knots_and_slopes(parameters)
    expected = tfp.bijectors.RationalQuadraticSpline(
        np.diff(x), np.diff(y), slopes, range_min=np.float64(-2.0)
    )
    points = np.random.default_rng(1).uniform(-2.2, 2.2, size=[50, 40])
    expected = evaluate(expected, points, points)
    actual = evaluate(At(SPLINE, parameters), points, points)
    for name in METHODS:
        close(actual[name], expected[name])


@pytest.mark.parametrize("scale", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_spline_round_trips_at_its_knots(scale, dtype, tolerance):
    for parameters in random(SPLINE, 10, scale=scale):
        x, y, _ = knots_and_slopes(parameters)
        bijector = At(SPLINE, tf.constant(parameters, dtype))
        directions = ["forward", "inverse"]
        for knots, there, back in zip([x, y], directions, directions[::-1]):
            points = around_knots(knots, dtype)
            between = fresh(getattr(bijector, there)(points))
            again = getattr(bijector, back)(between)
            log_det = getattr(bijector, f"{back}_log_det_jacobian")(between)
            # What the rounding of what is between becomes on the way back.
            carried = 8.0 * np.finfo(dtype).eps * np.exp(log_det)
            assert again.dtype == between.dtype == log_det.dtype == dtype
            assert np.all(np.abs(again - points) <= tolerance + carried)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_spline_has_gradients_at_its_knots_and_far_away(direction, dtype):
    parameters = tf.constant(random(SPLINE, 1)[0], dtype)
    x, y, _ = knots_and_slopes(parameters.numpy())
    points = around_knots(x if direction == "forward" else y, dtype)
    points = tf.constant([*points, -1e4, 1e4, 1e30, -np.inf, np.inf], dtype)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([points, parameters])
        bijector = At(SPLINE, parameters)
        result = getattr(bijector, direction)(points)
        log_det = getattr(bijector, f"{direction}_log_det_jacobian")(points)
    slopes = tape.gradient(result, points)
    close(tf.math.log(slopes), log_det, 2e-5 if dtype == np.float32 else 1e-9)
    for target in [result, log_det]:
        for gradient in tape.gradient(target, [points, parameters]):
            assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("num_bins, scale", [(5, 1.0), (1, 0.0)])
def test_spline_has_first_and_second_derivatives(direction, num_bins, scale):
    spline = transformers.RationalQuadraticSpline(num_bins, 2.0)
    (parameters,) = random(spline, 1, scale=scale)
    # With one bin and zeros, the inverse switches at 0 to another form of the root.
    start = [np.array([-1.7, -0.6, 0.0, 0.4, 1.1, 3.0]), parameters]
    rng = np.random.default_rng(1)
    steps = [rng.normal(size=value.shape) for value in start]
    weights = rng.normal(size=[2, 6])

    def first(values):
        with tf.GradientTape() as tape:
            tape.watch(values)
            points, numbers = values
            bijector = At(spline, numbers)
            result = getattr(bijector, direction)(points)
            log_det = getattr(bijector, f"{direction}_log_det_jacobian")(points)
            total = tf.reduce_sum(weights * tf.stack([result, log_det]))
        return total, tape.gradient(total, values)

    def moved(h):
        return first([tf.constant(v + h * step) for v, step in zip(start, steps)])

    with tf.GradientTape() as tape:
        values = list(map(tf.constant, start))
        tape.watch(values)
        gradients = first(values)[1]
        along = sum(tf.reduce_sum(g * step) for g, step in zip(gradients, steps))
    second = tape.gradient(along, values)
    (above, gradients_above), (below, gradients_below) = moved(1e-6), moved(-1e-6)
    close(along, (above - below) / 2e-6, 1e-7)
    for actual, high, low in zip(second, gradients_above, gradients_below):
        close(actual, (high - low) / 2e-6, 1e-7)


def test_spline_maps_over_points():
    check_vectorized_map(At(SPLINE, random(SPLINE, 1)[0]), X)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_a_layer_evaluates_its_transformer_once(direction):
    calls = []

    class Counted(transformers.RationalQuadraticSpline):
        def _evaluate(self, *args, **kwargs):
            calls.append(kwargs)
            return super()._evaluate(*args, **kwargs)

    spline = Counted(num_bins=5)
    layer = Coupling([True, False], MLP(1, [1, 14], (4,), seed=0), spline)

    def both(points):
        result = getattr(layer, direction)(points)
        return result, getattr(layer, f"{direction}_log_det_jacobian")(points)

    both(tf.ones([3, 2]))
    assert len(calls) == 1
    tf.function(both, autograph=False)(tf.ones([3, 2]))
    assert len(calls) == 2


def test_a_custom_transformer_and_a_factory_of_bijectors_agree():
    class Scale(transformers.Transformer):
        num_parameters = 1

        def forward_and_log_det(self, x, parameters):
            return x * tf.exp(parameters[..., 0]), parameters[..., 0]

        def inverse_and_log_det(self, y, parameters):
            return y * tf.exp(-parameters[..., 0]), -parameters[..., 0]

    def factory(parameters):
        return tfp.bijectors.Scale(log_scale=parameters[..., 0])

    factory.num_parameters = 1
    network = MLP(1, [1, 1], (4,), seed=0, activation="tanh", dtype=tf.float64)
    for variable in network.variables:
        variable.assign(np.random.default_rng(0).normal(size=variable.shape))
    x = np.random.default_rng(1).normal(size=[5, 2])
    layers = [Coupling([True, False], network, t) for t in (Scale(), factory)]
    values = [evaluate(layer, x, x) for layer in layers]
    for name in METHODS:
        close(values[0][name], values[1][name], 1e-12)


def test_a_transformer_must_implement_both_methods():
    class Nothing(transformers.Transformer):
        num_parameters = 1

    for name in ["forward_and_log_det", "inverse_and_log_det"]:
        with pytest.raises(NotImplementedError, match=f"`Nothing` must .* `{name}`"):
            getattr(Nothing(), name)(X, X[:, np.newaxis])


def test_equal_arguments_make_equal_transformers():
    assert transformers.Affine() == transformers.Affine(np.log(1e3))
    assert transformers.Affine() != transformers.Affine(2.0)
    assert len({transformers.Additive(), transformers.Additive()}) == 1


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: transformers.Affine(0.0), "`max_log_scale` must be .* got 0.0"),
        (lambda: transformers.GatedAffine(np.inf), "`bias` must be finite; got inf"),
        (lambda: transformers.SigmoidAffine(np.nan), "`bias` must be finite; got nan"),
        (
            lambda: transformers.RationalQuadraticSpline(num_bins=0),
            "`num_bins` must be positive .* got 0",
        ),
        (
            lambda: transformers.RationalQuadraticSpline(num_bins=2.5),
            "`num_bins` must be an integer; got 2.5",
        ),
        (
            lambda: transformers.RationalQuadraticSpline(num_bins=10, min_bin_size=0.1),
            "must be below 1; got 0.1, 10 and 0.001",
        ),
        (
            lambda: transformers.RationalQuadraticSpline(min_knot_slope=1.0),
            "must be below 1; got 0.001, 8 and 1.0",
        ),
    ],
)
def test_rejects_arguments_out_of_range(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_a_spline_takes_any_number_of_batch_axes_in_a_graph():
    spline = transformers.RationalQuadraticSpline(4)
    rng = np.random.default_rng(0)
    parameters, x = rng.normal(size=[16, spline.num_parameters]), rng.normal(size=16)

    @tf.function
    def forward(parameters, x):
        return spline.forward_and_log_det(x, parameters)[0]

    shape = [1, 2, 1, 2, 2, 2]
    actual = forward(np.reshape(parameters, [*shape, -1]), np.reshape(x, shape))
    close(actual, np.reshape(forward(parameters, x), shape))
