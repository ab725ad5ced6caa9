"""Facts of `tfp_flows.bijectors.autoregressive` beyond the laws."""

import functools
import weakref
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close, fresh
from tests.networks.test_made import scramble
from tfp_flows.bijectors import (
    InverseAutoregressive,
    MaskedAutoregressive,
    check_autoregressive,
    transformers,
)
from tfp_flows.networks import MADE
from tfp_flows.networks import made as module_of_made
from tfp_flows.networks._block_schedule import BlockSchedule

tfb, tfd = tfp.bijectors, tfp.distributions
KINDS = [InverseAutoregressive, MaskedAutoregressive]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
X = np.random.default_rng(0).normal(size=[6, 9])


class Opaque(tf.Module):
    """A network of whose masks nobody knows, which counts its calls."""

    def __init__(self, network):
        super().__init__()
        self.network, self.calls = network, 0
        self.context_size = network.context_size

    def __call__(self, x, context=None):
        self.calls += 1
        return self.network(x, context)


def made(scale=0.4, **arguments):
    settings = dict(num_parameters=2, hidden_units=(12, 11), seed=0, dtype=tf.float64)
    network = MADE(9, **{**settings, **arguments})
    scramble(network)
    for variable in network.trainable_variables:
        variable.assign(scale * variable)
    return network


def sequential(layer, point):
    """The direction that takes many passes."""
    iaf = isinstance(layer, InverseAutoregressive)
    return (layer.inverse if iaf else layer.forward)(point)


def test_agrees_with_the_papers():
    network = made()
    raw = network(X).numpy()
    m, s = raw[..., 0], raw[..., 1] / (1.0 + np.abs(raw[..., 1]) / np.log(1e3))
    # Papamakarios et al. (2017), equation 4; Kingma et al. (2016), equation 10.
    maf, iaf = MaskedAutoregressive(network), InverseAutoregressive(network)
    close(maf.inverse(X), (X - m) * np.exp(-s))
    close(maf.inverse_log_det_jacobian(X), -np.sum(s, axis=-1))
    close(iaf.forward(X), X * np.exp(s) + m)
    close(iaf.forward_log_det_jacobian(X), np.sum(s, axis=-1))
    gate = 1.0 / (1.0 + np.exp(-s - 1.0))  # equation 14
    gated = InverseAutoregressive(network, transformers.GatedAffine(bias=1.0))
    close(gated.forward(X), gate * X + (1.0 - gate) * m)
    close(gated.forward_log_det_jacobian(X), np.sum(np.log(gate), axis=-1))


@each_kind
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        dict(order="random", hidden_degrees="random", hidden_units=(5, 20)),
        dict(
            residual=True,
            hidden_units=(8, 8),
            skip_connections=True,
            order="right-to-left",
        ),
        dict(num_masks=3),
        dict(hidden_units=(3,)),
    ],
)
@pytest.mark.parametrize(
    "transformer",
    [
        transformers.Affine(),
        transformers.GatedAffine(),
        transformers.RationalQuadraticSpline(4, 2.0),
    ],
    ids=["affine", "gated", "spline"],
)
def test_the_inverse_by_blocks_is_that_by_fixed_point_iteration(
    kind, arguments, transformer
):
    network = made(num_parameters=transformer.num_parameters, **arguments)
    network.next_masks()
    layer = kind(network, transformer)
    expected = tf.zeros_like(X)
    for _ in range(9):
        expected = layer._invert(network(expected), X)
    close(sequential(layer, fresh(X)), expected, 1e-10)
    opaque = kind(Opaque(network), transformer)
    close(sequential(opaque, fresh(X)), expected, 1e-10)


@pytest.mark.parametrize("block_size, group_size", [(1, 4), (2, 3), (4, 5)])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        dict(order="random", hidden_degrees="random", hidden_units=(5, 20)),
        dict(
            residual=True,
            hidden_units=(8, 8),
            skip_connections=True,
            order="right-to-left",
        ),
        dict(hidden_units=(1, 3)),
    ],
)
def test_any_schedule_finds_the_same_inverse(arguments, block_size, group_size):
    layer = InverseAutoregressive(made(**arguments))
    expected = layer.inverse(X)
    schedule = functools.partial(
        BlockSchedule, block_size=block_size, group_size=group_size
    )
    with mock.patch.object(module_of_made, "BlockSchedule", schedule):
        close(layer.inverse(fresh(X)), expected, 1e-12)
        for jit_compile in [None, True]:
            inverse = tf.function(
                layer.inverse, jit_compile=jit_compile, autograph=False
            )
            close(inverse(fresh(X)), expected, 1e-12)


@pytest.mark.parametrize("jit_compile", [None, True])
def test_the_inverse_by_groups_has_a_context(jit_compile):
    context = np.random.default_rng(2).normal(size=[6, 2])
    layer = InverseAutoregressive(made(context_size=2), context=context)
    expected = layer.inverse(X)
    schedule = functools.partial(BlockSchedule, block_size=2, group_size=2)
    with mock.patch.object(module_of_made, "BlockSchedule", schedule):
        inverse = tf.function(layer.inverse, jit_compile=jit_compile, autograph=False)
        close(inverse(fresh(X)), expected, 1e-12)
        assert InverseAutoregressive(made()).inverse(X[:0]).shape == [0, 9]


@pytest.mark.parametrize("size", [1, 9, 64, 300, 784])
def test_a_plan_has_each_unit_once(size):
    rng = np.random.default_rng(size)
    spaces = [rng.permutation(size), rng.integers(size, size=50), np.zeros(1, int)]
    plan = BlockSchedule(spaces[0] + 1, spaces[1:])
    assert len(plan.levels) == 1 + (size >= 300)
    found = [np.zeros(1, int) for _ in spaces]
    for level in plan.levels:
        for i, cut in enumerate(level.cuts):
            above = found[i][np.arange(level.num_parts) // level.most]
            found[i] = above + cut.start
            units = np.concatenate(
                [
                    np.arange(first, last)
                    for first, last in zip(above + cut.first, above + cut.last)
                ]
            )
            np.testing.assert_array_equal(units, np.arange(len(spaces[i])))
            assert np.all(cut.start <= cut.first)
            assert np.all(cut.last <= cut.start + cut.width)


@each_kind
@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_compiled_inverse_notices_that_masks_changed(kind, jit_compile):
    network = made(num_masks=3)
    layer = kind(network)
    compiled = tf.function(
        lambda x: sequential(layer, x), jit_compile=jit_compile, autograph=False
    )
    before = compiled(X).numpy()
    network.next_masks()
    after = sequential(layer, fresh(X))
    assert np.max(np.abs(after - before)) > 0.1
    close(compiled(X), after, 1e-10)


@each_kind
def test_other_networks_stop_as_soon_as_nothing_changes(kind):
    network = Opaque(made())
    for kernel in network.network.trainable_variables:
        if kernel.name.startswith("kernel_0"):  # only the first input is seen
            kernel.assign(kernel * np.eye(9)[:, :1])
    layer = kind(network)
    network.calls = 0
    sequential(layer, fresh(X))
    # Two rounds find it, one sees that nothing changes, and one gives the log-det.
    assert network.calls <= 4


@each_kind
def test_one_pass_of_the_network_in_the_cheap_direction(kind):
    for wrap in [lambda fn: fn, lambda fn: tf.function(fn, autograph=False)]:
        network = Opaque(made())
        model = tfd.TransformedDistribution(
            tfd.MultivariateNormalDiag(tf.zeros(9, tf.float64)), kind(network)
        )
        run = {
            MaskedAutoregressive: lambda: model.log_prob(fresh(X)),
            InverseAutoregressive: lambda: model.experimental_sample_and_log_prob(6),
        }[kind]
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(tf.nest.flatten(wrap(run)())[-1])
        assert network.calls == 1
        assert None not in tape.gradient(value, network.trainable_variables)


@each_kind
def test_gradients_are_those_through_all_passes(kind):
    network = made()
    layer = kind(network)
    weights = np.random.default_rng(1).normal(size=X.shape)

    def unrolled(x):
        z = tf.zeros_like(x)
        for _ in range(9):
            z = layer._invert(network(z), x)
        return z, -tf.reduce_sum(layer._transform(network(z), z)[1], axis=-1)

    def implicit(x):
        name = "inverse" if kind is InverseAutoregressive else "forward"
        return sequential(layer, x), getattr(layer, f"{name}_log_det_jacobian")(x)

    gradients = []
    for direction in [unrolled, implicit]:
        with tf.GradientTape() as tape:
            x = tf.Variable(X)
            z, log_det = direction(tf.identity(x))
            value = tf.reduce_sum(weights * z) + tf.reduce_sum(weights[:, 0] * log_det)
        gradients.append(tape.gradient(value, [x, *network.trainable_variables]))
    for actual, expected in zip(*gradients[::-1]):
        close(actual, expected, 1e-9)


@each_kind
def test_gradients_do_not_keep_the_passes_in_memory(kind):
    network = Opaque(made())
    alive = []

    def watched(x, context=None):
        alive.append(tf.size(x))
        return network(x)

    layer = kind(watched)
    with tf.GradientTape() as tape:
        tape.watch(point := tf.constant(X))
        recorded = []
        with mock.patch.object(tf, "matmul", side_effect=_noting(recorded, tf.matmul)):
            value = tf.reduce_sum(sequential(layer, point))
        kept = sum(reference() is not None for reference in recorded)
    assert len(alive) >= 6 and kept <= 6  # those of one pass, of three products each
    assert tape.gradient(value, point) is not None


def _noting(recorded, function):
    def call(*args, **kwargs):
        result = function(*args, **kwargs)
        recorded.append(weakref.ref(result))
        return result

    return call


def test_third_derivatives():
    layer = InverseAutoregressive(
        MADE(2, 2, (3,), seed=0, activation="tanh", dtype=tf.float64)
    )
    scramble(layer.conditioner)
    kernel = layer.trainable_variables[-1]

    def second_and_third(x):
        with tf.GradientTape() as outer:
            with tf.GradientTape() as middle:
                middle.watch(x)
                with tf.GradientTape() as inner:
                    inner.watch(x)
                    value = tf.reduce_sum(layer.inverse(tf.identity(x)) ** 2)
                first = tf.reduce_sum(inner.gradient(value, x))
            second = tf.reduce_sum(middle.gradient(first, x))
        return second, outer.gradient(second, kernel)

    x, step = tf.constant([0.3, -0.4], tf.float64), 1e-4
    start, (_, third) = kernel.numpy(), second_and_third(x)
    seconds = []
    for sign in [1.0, -1.0]:
        kernel.assign(start + sign * step)
        seconds.append(second_and_third(x)[0])
    close(tf.reduce_sum(third), (seconds[0] - seconds[1]) / (2.0 * step), 1e-5)


def test_images_and_other_networks():
    size = 2 * 3 * 1
    network = MADE(size, 2, (8,), seed=0, dtype=tf.float64)
    scramble(network)

    def conditioner(x):
        flat = network(tf.reshape(x, [-1, size]))
        return tf.reshape(flat, [-1, 2, 3, 1, 2])

    layer = MaskedAutoregressive(conditioner, event_ndims=3)
    x = np.random.default_rng(0).normal(size=[4, 2, 3, 1])
    y = layer.forward(x)
    close(layer.inverse(fresh(y)), x)
    flat = MaskedAutoregressive(network)
    close(tf.reshape(flat.forward(x.reshape(4, size)), x.shape), y)
    assert layer.forward_log_det_jacobian(x).shape == [4]


def test_a_keras_network_is_trained_and_inverted():
    inputs = keras.Input([2])
    hidden = keras.layers.Dense(8, "tanh")(inputs[:, :1])
    second = keras.layers.Dense(2)(hidden)
    first = keras.layers.Dense(2)(keras.layers.Rescaling(0.0)(inputs[:, :1]))
    network = keras.Model(inputs, keras.ops.stack([first, second], axis=1))
    check_autoregressive(network, np.float32([0.3, 0.4]))
    layer = MaskedAutoregressive(network)
    assert len(layer.trainable_variables) == len(network.trainable_variables) == 6
    x = np.random.default_rng(0).normal(size=[5, 2]).astype(np.float32)
    close(layer.inverse(fresh(layer.forward(x))), x, 1e-5)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer.inverse(x) ** 2)
    assert any(np.any(g != 0.0) for g in tape.gradient(loss, layer.trainable_variables))


def test_the_check_names_who_sees_whom():
    network = made()
    check_autoregressive(network, X[0])
    check_autoregressive(made(order="random"), X[0])
    leaking = made(order="right-to-left", activation="tanh")
    with pytest.raises(ValueError, match="got 36 dependences .*: 0 on 1, 0 on 2,"):
        check_autoregressive(leaking, X[0], order=range(9))
    with pytest.raises(ValueError, match="got 1 dependences that .*: 1 on 1[.]"):
        check_autoregressive(lambda x: (x * [0.0, 1.0])[..., tf.newaxis], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"must return shape \[1, 9\] and one more"):
        check_autoregressive(lambda x: tf.zeros([1, 2, 9], x.dtype), X[0])
    with pytest.raises(ValueError, match="permutation of the numbers 0 to 8; got"):
        check_autoregressive(network, X[0], order=range(8))


def test_views_average_as_an_ensemble():
    network = made(num_masks=3)
    base = tfd.MultivariateNormalDiag(tf.zeros(9, tf.float64))
    members = [
        tfd.TransformedDistribution(base, MaskedAutoregressive(view))
        for view in network.ensemble()
    ]
    ensemble = tfd.Mixture(tfd.Categorical(tf.zeros(3, tf.float64)), members)
    densities = []
    for _ in range(3):
        one = tfd.TransformedDistribution(base, MaskedAutoregressive(network))
        densities.append(np.exp(one.log_prob(fresh(X))))
        network.next_masks()
    assert np.max(np.std(np.log(densities), axis=0)) > 0.1
    close(ensemble.log_prob(X), np.log(np.mean(densities, axis=0)))
    assert ensemble.sample(2, seed=(0, 1)).shape == [2, 9]


class Tenth(MADE):
    """A MADE whose call does more than its inverse inverts."""

    def __call__(self, x, context=None):
        return 0.1 * super().__call__(x, context)


@each_kind
@pytest.mark.parametrize("wrap", [lambda fn: fn, tf.function])
def test_a_subclass_is_not_taken_for_a_made(kind, wrap):
    network = Tenth(9, 2, (12,), seed=0, dtype=tf.float64)
    scramble(network)
    layer = kind(network)
    there, back = wrap(layer.forward), wrap(layer.inverse)
    close(back(fresh(there(fresh(X)))), X)


@each_kind
def test_nothing_is_remembered_of_functions(kind):
    network = made()
    layer = kind(lambda z: network(z))
    before = [layer.forward(X), layer.inverse(X)]
    point = tf.constant(X)
    before += [layer.forward(point), layer.inverse(point)]
    scramble(network, seed=5)
    for method in [layer.forward, layer.inverse]:
        np.testing.assert_array_equal(method(point), method(fresh(X)))
    assert np.any(layer.forward(point) != before[2])


@each_kind
@pytest.mark.parametrize(
    "transformer",
    [
        transformers.Affine(),
        transformers.GatedAffine(),
        transformers.Additive(),
        transformers.RationalQuadraticSpline(),
    ],
    ids=["affine", "gated", "additive", "spline"],
)
def test_large_inputs_stay_finite(kind, transformer):
    layer = kind(
        made(0.2, dtype=tf.float32, num_parameters=transformer.num_parameters),
        transformer,
    )
    for scale in [1e4, -1e4]:
        x = np.float32(scale) * np.sign(X).astype(np.float32)
        for method in ["forward", "inverse"]:
            ldj = getattr(layer, f"{method}_log_det_jacobian")(fresh(x))
            assert np.all(np.isfinite(ldj))
            assert np.all(np.isfinite(getattr(layer, method)(fresh(x))))


@each_kind
def test_bad_input(kind):
    network = made()
    with pytest.raises(ValueError, match="as `transformer` takes, 2; got 3"):
        kind(made(num_parameters=3))
    with pytest.raises(ValueError, match=r"shape \[..., 9, 2\], .* shape \(6, 9, 3"):
        kind(Opaque(made(num_parameters=3))).forward(X)
    with pytest.raises(TypeError, match="`conditioner` must be callable; got 3"):
        kind(3)
    with pytest.raises(TypeError, match="`transformer` must be a .*, or callable with"):
        kind(network, lambda parameters: tfb.Shift(parameters))
    with pytest.raises(TypeError, match="the dtype of the input, float64; got float32"):
        kind(lambda x: tf.zeros([6, 9, 2])).forward(X)
    conditional = made(context_size=2)
    for method in ["forward", "inverse"]:
        with pytest.raises(ValueError, match="needs a context of size 2, and has none"):
            getattr(kind(conditional), method)(X)
    with pytest.raises(ValueError, match=r"as `context_size`; got shape \(3,\) and 2"):
        kind(conditional, context=np.zeros(3))
    with pytest.raises(ValueError, match=r"`context` must be None .* shape \(2,\)"):
        kind(network, context=np.zeros(2))
    with pytest.raises(TypeError, match="dtype of the network, float64; got float32"):
        kind(conditional, context=tf.zeros(2))
    with pytest.raises(ValueError, match="that of `conditioner`; got 3 and 2"):
        kind(conditional, context_size=3)
    bad = X.copy()
    bad[2, 3] = np.nan
    for method in ["forward", "inverse"]:
        with pytest.raises(tf.errors.InvalidArgumentError, match="must be finite"):
            getattr(kind(network, validate_args=True), method)(bad)


@each_kind
def test_nan_stays_in_its_row(kind):
    bad = X.copy()
    bad[2, 0] = np.nan
    layer = kind(made())
    result = sequential(layer, fresh(bad)).numpy()
    assert np.all(np.isnan(result[2]))
    rest = np.delete(np.arange(6), 2)
    close(result[rest], sequential(layer, fresh(X)).numpy()[rest])
