"""Facts of `tfp_flows.bijectors.coupling` beyond the laws."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.catalogue import case
from tests.laws import close, distribution_of, fresh
from tfp_flows import masks
from tfp_flows.bijectors import Coupling, transformers
from tfp_flows.networks import MLP

tfb = tfp.bijectors

X = np.random.default_rng(0).normal(size=[4, 5])
HALF = masks.half(5)


def fixed(x):
    """Network without weights: 2 parameters for each of 2 elements."""
    return tf.stack([tf.sin(x[..., :2]), x[..., 1:]], axis=-1)


def net(dtype=tf.float64, context_size=0, outputs=(2, 2)):
    return MLP(3, outputs, (5,), seed=0, dtype=dtype, context_size=context_size)


def test_affine_is_equations_4_and_5_of_realnvp():
    bijector = Coupling(HALF, fixed, transformers.Affine(2.0))
    t, r = np.sin(X[:, :2]), X[:, 1:3]
    s = r / (1.0 + np.abs(r) / 2.0)
    y = np.concatenate([X[:, :3], X[:, 3:] * np.exp(s) + t], axis=-1)
    close(bijector.forward(X), y)
    close(bijector.forward_log_det_jacobian(X), np.sum(s, axis=-1))


def test_additive_is_section_3_2_of_nice():
    bijector = Coupling(
        masks.alternating(5, flip=True),
        lambda x: (x**2 @ np.ones([2, 3]))[..., None],
        transformers.Additive(),
    )
    y = np.array(X)
    y[:, ::2] += X[:, 1:2] ** 2 + X[:, 3:4] ** 2
    close(bijector.forward(X), y)
    close(bijector.forward_log_det_jacobian(X), np.zeros(4))


@pytest.mark.parametrize(
    "mask",
    [
        *(masks.half(5), masks.half(5, True), masks.alternating(5), [True, False]),
        *(masks.alternating(5, True), masks.alternating(4), masks.alternating(4, True)),
        *([True, False, False, True], [False, True, True, False], [False, False]),
        *([False, True, True, True], [True, True, False, True, False, False]),
    ],
    ids=lambda mask: "".join("k" if kept else "c" for kept in mask),
)
def test_each_split_keeps_what_the_mask_says(mask):
    x = np.random.default_rng(1).normal(size=[2, 3, len(mask)])
    seen = []

    def count_up(kept):
        seen.append(kept)
        row = 1.0 + np.arange(len(mask) - np.sum(mask))
        return tf.zeros([*x.shape[:-1], 1, 1], x.dtype) + row[:, np.newaxis]

    y = np.array(x)
    y[..., ~np.array(mask)] += 1.0 + np.arange(len(mask) - np.sum(mask))
    bijector = Coupling(mask, count_up, transformers.Additive())
    close(bijector.forward(x), y)
    close(bijector.inverse(y), x)
    unknown = tf.TensorSpec([None, None, len(mask)], x.dtype)
    close(tf.function(bijector.forward, [unknown])(x), y)
    for kept in seen[:2]:
        np.testing.assert_array_equal(kept, x[..., np.array(mask)])


def test_a_checkerboard_shows_zeros_for_what_changes():
    x = np.random.default_rng(1).normal(size=[2, 4, 5, 2])
    mask = masks.checkerboard(4, 5)
    seen = []

    def ones(kept):
        seen.append(kept)
        return tf.ones([*x.shape, 1], x.dtype)

    bijector = Coupling(mask, ones, transformers.Additive())
    close(bijector.forward(x), np.where(mask, x, x + 1.0))
    np.testing.assert_array_equal(seen[0], np.where(mask, x, 0.0))


def test_what_a_checkerboard_keeps_cannot_make_gradients_overflow():
    mask = masks.checkerboard(2, 2)
    parameters = np.where(mask[np.newaxis, ..., np.newaxis], [-1e3, -1e3], 0.0)
    transformer = transformers.GatedAffine(max_log_scale=1e6)
    values = tf.constant(parameters, tf.float32)
    bijector = Coupling(mask, lambda x: values, transformer)
    y = tf.ones([1, 2, 2, 1])
    with tf.GradientTape() as tape:
        tape.watch(y)
        kept = bijector.inverse(y)[0, 0, 0]
    np.testing.assert_array_equal(tape.gradient(kept, y)[0, :, :, 0], [[1, 0], [0, 0]])


@pytest.mark.parametrize(
    "transformer", [transformers.Affine(), transformers.RationalQuadraticSpline()]
)
def test_starts_as_the_identity(transformer):
    bijector = Coupling(HALF, net(outputs=[2, transformer.num_parameters]), transformer)
    close(bijector.forward(X), X)
    close(bijector.inverse(X), X)
    close(bijector.forward_log_det_jacobian(X), np.zeros(4))


@pytest.mark.parametrize("name", ["steep", "checkerboard", "batch"])
@pytest.mark.parametrize("wrap", [lambda f: f, tf.function])
def test_asks_the_network_once(name, wrap):
    bijector = case(f"coupling/{name}").make()
    calls = []

    def counted(*inputs):
        calls.append(inputs)
        return conditioner(*inputs)

    conditioner = bijector.conditioner
    counted.dtype, counted.variables = conditioner.dtype, conditioner.variables
    x = case(f"coupling/{name}").x
    flow = distribution_of(bijector.copy(conditioner=counted), x.shape)
    for run in [
        lambda: flow.log_prob(fresh(x)),
        lambda: flow.experimental_sample_and_log_prob(seed=(0, 1)),
    ]:
        calls.clear()
        wrap(run)()
        assert len(calls) == 1


@pytest.mark.parametrize("name", ["steep", "spline", "checkerboard", "scattered_batch"])
def test_large_inputs_stay_finite(name):
    bijector = case(f"coupling/{name}").make(dtype=tf.float32)
    x = case(f"coupling/{name}").x
    x = tf.constant(1e4 * x / np.max(np.abs(x)), tf.float32)
    values = [x, *bijector.trainable_variables]
    for method in ["forward", "inverse", "inverse_log_det_jacobian"]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(getattr(bijector, method)(tf.identity(x)))
        for value in [total, *tape.gradient(total, values)]:
            assert np.all(np.isfinite(value))


def test_a_spline_trains_compiled():
    bijector = case("coupling/spline").make_variable(tf.float32)
    x = case("coupling/spline").x.astype(np.float32)

    def gradient(y):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(distribution_of(bijector, x.shape).log_prob(y))
        return tape.gradient(total, bijector.trainable_variables)

    compiled = tf.function(gradient, jit_compile=True, autograph=False)
    for actual, expected in zip(compiled(fresh(x)), gradient(fresh(x))):
        close(actual, expected, 1e-3)


def test_a_context_acts_on_the_members_of_its_batch():
    bijector = case("coupling/batch").make()
    point, y = case("coupling/batch").x[0, 0, 0], case("coupling/batch").context
    assert bijector.experimental_batch_shape() == [2, 3]
    assert bijector.forward(point).shape == [2, 3, 4]
    assert bijector.forward_log_det_jacobian(point).shape == [2, 3]
    one = bijector.copy(context=y[1, 2])
    close(bijector.forward(point)[1, 2], one.forward(point))
    unbound = bijector.copy(context=None)
    assert unbound.experimental_batch_shape() == [] and unbound.context_size == 2
    with pytest.raises(ValueError, match="`coupling` needs a context of size 2"):
        unbound.forward(point)


def test_a_context_of_images_goes_to_the_network_as_it_is():
    x, context = np.ones([2, 3, 4, 2]), np.array([[1.0], [5.0]])

    def conditioner(kept, context):
        return kept[..., np.newaxis] * context[:, np.newaxis, np.newaxis, :, np.newaxis]

    layer = Coupling(
        masks.channelwise(2), conditioner, transformers.Additive(), context
    )
    assert layer.experimental_batch_shape() == [2]
    y = np.array(x)
    y[..., 1] += context[:, np.newaxis]
    close(layer.forward(x), y)


def test_a_keras_network_is_tracked():
    keras_net = tf.keras.Sequential(
        [tf.keras.layers.Dense(4), tf.keras.layers.Reshape([2, 2])]
    )
    with pytest.raises(ValueError, match="Keras network .* must be built"):
        Coupling(HALF, keras_net)
    x = np.float32(X)
    keras_net(x[:, :3])
    bijector = Coupling(HALF, keras_net)
    assert bijector.dtype == tf.float32
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(bijector.forward(x) ** 2)
    assert len(bijector.trainable_variables) == 2
    for gradient in tape.gradient(total, bijector.trainable_variables):
        assert np.max(np.abs(gradient)) > 0.0


def test_a_mask_cannot_change():
    mask = masks.half(5)
    bijector = Coupling(mask, fixed)
    y = bijector.forward(X)
    mask[:] = False
    close(bijector.forward(fresh(X)), y)
    close(bijector.copy().forward(fresh(X)), y)
    assert bijector == bijector.copy() == Coupling(masks.half(5), fixed)
    assert hash(bijector) == hash(bijector.copy())
    assert bijector != Coupling(masks.half(5, flip=True), fixed)
    with pytest.raises(ValueError, match="read-only"):
        bijector.mask[0] = False


@pytest.mark.parametrize(
    "kind, mask, text",
    [
        (TypeError, [1, 0], "`mask` must be of booleans; got int64"),
        (ValueError, False, "`mask` must have the rank of an event; got rank 0"),
        (ValueError, [True, True], "`mask` must be false .* all true"),
    ],
)
def test_rejects_masks(kind, mask, text):
    with pytest.raises(kind, match=text):
        Coupling(mask, fixed)


@pytest.mark.parametrize(
    "mask, shape",
    [
        *((HALF, [4, 4]), (HALF, [])),
        *((masks.checkerboard(2, 3), [2, 2, 1]), (masks.checkerboard(2, 3), [2, 3])),
    ],
)
def test_rejects_inputs_that_do_not_fit_the_mask(mask, shape):
    with pytest.raises(ValueError, match="must be as long as those of `mask`"):
        Coupling(mask, fixed).forward(np.ones(shape))


def test_rejects_an_input_of_unknown_rank():
    with pytest.raises(ValueError, match="got shapes <unknown> and"):
        forward = tf.function(Coupling(HALF, fixed).forward)
        forward.get_concrete_function(tf.TensorSpec(None, tf.float64))


def test_rejects_an_input_whose_batch_does_not_fit_the_context():
    layer = Coupling(HALF, net(context_size=1), context=np.ones([3, 1]))
    with pytest.raises(ValueError, match=r"must broadcast .* \(4,\) and \(3,"):
        layer.forward(X)


@pytest.mark.parametrize(
    "kind, arguments, text",
    [
        (TypeError, dict(conditioner=3), "`conditioner` must be callable; got 3"),
        (TypeError, dict(transformer=tfb.Exp), "`transformer` must .* got <class"),
        (ValueError, dict(context=np.ones(2)), r"`context` must be None .* \(2,\)"),
        (ValueError, dict(context_size=2), "`context_size` must be .*; got 2 and 0"),
        (
            TypeError,
            dict(conditioner=net(context_size=2), context=tf.ones(2)),
            "dtype of the network, float64; got float32",
        ),
        (
            ValueError,
            dict(conditioner=net(context_size=2), context=np.ones(3)),
            r"`context` must have at least 1 axes.* got shape \(3,\) and 2",
        ),
    ],
)
def test_rejects_arguments(kind, arguments, text):
    with pytest.raises(kind, match=text):
        Coupling(**{"mask": HALF, "conditioner": net(), **arguments})


@pytest.mark.parametrize(
    "kind, conditioner, text",
    [
        (ValueError, net(outputs=[3, 2]), r"\[..., 2, 2\], .* got shape \(4, 3, 2\)"),
        (ValueError, net(outputs=[2]), r"\[..., 2, 2\], .* got shape \(4, 2\)"),
        (TypeError, lambda x: tf.ones([4, 2, 2]), "input, float64; got float32"),
    ],
)
def test_rejects_what_a_network_returns(kind, conditioner, text):
    with pytest.raises(kind, match=text):
        Coupling(HALF, conditioner).forward(X)


def test_rejects_nan_if_asked():
    bad = np.where(np.arange(5) == 4, np.nan, X)
    layer = Coupling(HALF, net(), validate_args=True)
    close(layer.forward(X), X)
    for method in [layer.forward, layer.inverse, tf.function(layer.forward)]:
        with pytest.raises(tf.errors.InvalidArgumentError, match="must be finite"):
            method(bad)
