"""Facts of `tfp_flows.networks.wave_net`."""

import numpy as np
import pytest
import tensorflow as tf

from tests.laws import close
from tfp_flows.bijectors import (
    InverseAutoregressive,
    MaskedAutoregressive,
    check_autoregressive,
)
from tfp_flows.networks import WaveNet

KINDS = {
    "pairs": {},
    "triples": dict(kernel_size=3, dilations=(2, 1)),
    "scattered": dict(dilations=(3, 1, 5)),
    "one layer": dict(dilations=1, kernel_size=4),
    "global": dict(context_size=3),
    "local": dict(context_size=3, context_ndims=2, kernel_size=3, dilations=(1, 4)),
}
FIELDS = {"pairs": 9, "triples": 9, "scattered": 11, "one layer": 7, "global": 9}
FIELDS["local"] = 13
each_kind = pytest.mark.parametrize("kind", KINDS)


def build(kind="pairs", **more):
    """Returns a network of other weights than at first, whose rectifiers are open."""
    arguments = dict(dilations=(1, 2, 4), seed=3, dtype=tf.float64)
    network = WaveNet(2, 4, 5, **{**arguments, **KINDS[kind], **more})
    rng = np.random.default_rng(4)
    for variable in network.trainable_variables:
        variable.assign(rng.normal(size=variable.shape, scale=0.5))
    network._skip_bias.assign(np.full([5], 4.0))
    network._hidden_bias.assign(np.full([5], 9.0))
    return network


def waves(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1.0, 1.0, size=shape)


def context_of(network, length, *batch):
    if not network.context_size:
        return []
    time = [length] if network.context_ndims == 2 else []
    return [waves(*batch, *time, network.context_size, seed=1)]


def invert(parameters, w):
    return (w - parameters[..., 0]) * tf.exp(-0.3 * tf.tanh(parameters[..., 1]))


def jacobian(network, x, *context):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = network(x, *context)
    return tape.jacobian(y, x).numpy()


@each_kind
def test_outputs_see_the_receptive_field_before_them_and_nothing_else(kind):
    network = build(kind)
    assert network.receptive_field == FIELDS[kind]
    length = FIELDS[kind] + 4
    sees = np.any(
        jacobian(network, waves(length), *context_of(network, length)) != 0.0, axis=1
    )
    age = np.arange(length)[:, np.newaxis] - np.arange(length)
    np.testing.assert_array_equal(sees, (age >= 1) & (age <= FIELDS[kind]))


def test_each_output_sees_what_all_outputs_do():
    both = jacobian(build(), waves(12)) != 0.0
    np.testing.assert_array_equal(both[:, 0], both[:, 1])


def test_outputs_see_a_global_context():
    network = build("global")
    context = tf.constant(waves(3, seed=1))
    with tf.GradientTape() as tape:
        tape.watch(context)
        y = network(waves(6), context)
    assert np.all(tape.jacobian(y, context) != 0.0)


def test_outputs_see_a_local_context_from_its_own_time_on():
    network = build("local")
    context = tf.constant(waves(16, 3, seed=1))
    with tf.GradientTape() as tape:
        tape.watch(context)
        y = network(waves(16), context)
    sees = np.all(tape.jacobian(y, context) != 0.0, axis=(1, 3))
    age = np.arange(16)[:, np.newaxis] - np.arange(16)
    # The first layer reaches back by 2 steps of 1, but the last sees it before that.
    np.testing.assert_array_equal(sees, (age >= 0) & (age % 4 == 0) & (age <= 8))


def test_is_its_equation():
    network = WaveNet(
        2, 1, 1, (2,), seed=0, dtype=tf.float64, context_size=1, name="tiny"
    )
    values = {
        "input_kernel": [[0.3], [-0.7]],
        "input_bias": [0.1],
        "gate_kernel_0": [[0.5, 0.2], [-0.4, 0.6]],
        "gate_bias_0": [0.2, -0.1],
        "context_kernel_0": [[0.8, -0.9]],
        "skip_kernel_0": [[1.3]],
        "skip_bias": [0.4],
        "hidden_kernel": [[1.1]],
        "hidden_bias": [0.05],
        "output_kernel": [[0.9, -2.0]],
        "output_bias": [0.01, 0.02],
    }
    for variable in network.trainable_variables:
        variable.assign(values.pop(variable.name.split(":")[0]))
    assert not values
    x, c = waves(6), 0.6
    past = np.concatenate([[0.0, 0.0], x])
    h = 0.3 * past[:6] - 0.7 * past[1:7] + 0.1
    before = np.concatenate([[0.0, 0.0], h[:4]])
    content = np.tanh(0.5 * before - 0.4 * h + 0.2 + 0.8 * c)
    share = 1.0 / (1.0 + np.exp(-(0.2 * before + 0.6 * h - 0.1 - 0.9 * c)))
    skip = np.maximum(1.3 * content * share + 0.4, 0.0)
    hidden = np.maximum(1.1 * skip + 0.05, 0.0)
    expected = hidden[:, np.newaxis] * [0.9, -2.0] + [0.01, 0.02]
    close(network(x, [c]), expected, 1e-12)


def test_layers_add_to_what_they_are_given():
    network = WaveNet(1, 2, 2, (1, 1), seed=0, dtype=tf.float64)
    network._output_kernel.assign(np.ones([2, 1]))
    x = waves(8)
    y = network(x)
    network._residual_kernels[0].assign(np.zeros([2, 2]))
    assert np.any(np.abs(network(x) - y) > 1e-3)
    network._skip_kernels[0].assign(np.zeros([2, 2]))
    assert np.std(network(x)) > 1e-3  # the second layer is fed what the first is
    network._input_kernel.assign(np.zeros([2, 2]))
    network._residual_biases[0].assign([0.3, -0.2])
    # Without residuals, the second layer sees its bias alone from step 1 on.
    content, share = np.split(
        np.array([0.3, -0.2] * 2) @ network._gate_kernels[1].numpy(), 2
    )
    z = np.tanh(content) / (1.0 + np.exp(-share))
    skip = np.maximum(z @ network._skip_kernels[1].numpy(), 0.0)
    hidden = np.maximum(skip @ network._hidden_kernel.numpy(), 0.0)
    close(network(x)[1:, 0], np.full([7], np.sum(hidden)))


@each_kind
@pytest.mark.parametrize("length", [3, 30])
def test_the_walk_is_as_exact_as_passes(kind, length):
    network = build(kind)
    w = waves(2, length)
    context = context_of(network, length, 2)
    z, exact = network.solve_for_input(invert, w, *context)
    assert exact and z.shape == [2, length]
    passes = tf.zeros_like(w)
    for _ in range(length):
        passes = invert(network(passes, *context), w)
    close(z, passes, 1e-12)
    close(invert(network(z, *context), w), z, 1e-12)


def test_the_walk_with_dilations_at_random():
    rng = np.random.default_rng(7)
    for seed in range(3):
        dilations = tuple(rng.integers(1, 9, size=3).tolist())
        network = build(dilations=dilations, kernel_size=2 + seed)
        z, _ = tf.function(network.solve_for_input)(invert, waves(25))
        close(invert(network(z), waves(25)), z, 1e-12)


@pytest.mark.parametrize("kind", ["global", "local"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_batches_and_contexts_broadcast(kind, jit_compile):
    network = build(kind)
    x, (context,) = waves(2, 1, 5), context_of(network, 5, 3)
    y = tf.function(network, jit_compile=jit_compile)(x, context)
    assert y.shape == [2, 3, 5, 2]
    solve = tf.function(
        lambda w, c: network.solve_for_input(invert, w, c)[0], jit_compile=jit_compile
    )
    z = solve(x, context)
    assert z.shape == [2, 3, 5]
    for i in range(2):
        for j in range(3):
            close(y[i, j], network(x[i, 0], context[j]))
            close(z[i, j], solve(x[i, 0], context[j]), 1e-12)


@each_kind
def test_sizes_may_be_unknown(kind):
    network = build(kind)
    x, context = waves(2, 12), context_of(network, 12, 2)
    unknown = [
        tf.TensorSpec([None] * (len(value.shape) - i) + [3] * i, tf.float64)
        for i, value in enumerate([x, *context])
    ]
    call = tf.function(network, unknown)
    assert call.get_concrete_function().output_shapes[-1] == 2
    close(call(x, *context), network(x, *context))
    solve = tf.function(
        lambda w, *c: network.solve_for_input(invert, w, *c)[0], unknown
    )
    expected, _ = network.solve_for_input(invert, x, *context)
    close(solve(x, *context), expected, 1e-12)
    assert call(x[:0], *[c[:0] for c in context]).shape == [0, 12, 2]
    assert solve(x[:0], *[c[:0] for c in context]).shape == [0, 12]


def test_a_batch_is_a_loop_over_its_members():
    network = build()
    x = waves(3, 12)
    mapped = tf.function(lambda: tf.vectorized_map(network, tf.constant(x)))()
    close(mapped, network(x))
    expected, _ = network.solve_for_input(invert, x)
    mapped = tf.vectorized_map(
        lambda row: network.solve_for_input(invert, row)[0], tf.constant(x)
    )
    close(mapped, expected, 1e-12)
    for row, z in zip(x, expected):
        close(network.solve_for_input(invert, row)[0], z, 1e-12)


def test_no_gradient_goes_through_the_walk():
    network = build("global")
    w, context = tf.constant(waves(4)), tf.constant(waves(3))
    for solve in [network.solve_for_input, tf.function(network.solve_for_input)]:
        with tf.GradientTape() as tape:
            tape.watch([w, context])
            z, _ = solve(invert, w, context)
        sources = [w, context, *network.trainable_variables]
        assert set(tape.gradient(z, sources)) == {None}


def test_a_subclass_with_a_call_of_its_own_is_not_walked():
    class Twice(WaveNet):
        def __call__(self, x, context=None):
            return 2.0 * super().__call__(x, context)

    network = Twice(2, 3, 3, (1,), seed=0, dtype=tf.float64)
    z, exact = network.solve_for_input(invert, waves(2, 4))
    assert not exact
    close(z, np.zeros([2, 4]))
    network._output_bias.assign([0.3, 0.1])
    close(MaskedAutoregressive(network).forward(np.zeros(4)), np.full(4, 0.6))


@pytest.mark.parametrize("layer", [MaskedAutoregressive, InverseAutoregressive])
@pytest.mark.parametrize("kind", ["pairs", "global"])
def test_is_a_conditioner(layer, kind):
    network = build(kind, dilations=(1, 2))
    network._output_kernel.assign(0.1 * network._output_kernel)
    flow = layer(
        network, context=context_of(network, 7, 2)[0] if kind != "pairs" else None
    )
    x = tf.constant(waves(2, 7))
    y = flow.forward(x)
    close(flow.inverse(tf.identity(y)), x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = flow.forward(tf.identity(x))
    log_det = np.linalg.slogdet(tape.batch_jacobian(y, x))[1]
    close(flow.forward_log_det_jacobian(tf.identity(x), 1), log_det)
    close(flow.inverse_log_det_jacobian(tf.identity(y), 1), -log_det)


def test_passes_the_check_of_conditioners():
    check_autoregressive(build(), waves(12))
    with pytest.raises(ValueError):
        check_autoregressive(build(), waves(12), order=np.arange(12)[::-1])


@each_kind
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_starts_at_zero_and_learns(kind, dtype):
    network = WaveNet(
        2, 4, 5, **{"dilations": (1, 2), **KINDS[kind]}, seed=0, dtype=dtype
    )
    variables = network.trainable_variables
    assert {v.dtype for v in variables} == {dtype} == {network.dtype}
    assert len(variables) == len({v.name for v in variables})
    inputs = [tf.cast(v, dtype) for v in [waves(3, 9), *context_of(network, 9)]]
    np.testing.assert_array_equal(network(*inputs), np.zeros([3, 9, 2]))
    optimizer = tf.keras.optimizers.SGD(0.1)
    before = [v.numpy() for v in variables]
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((network(*inputs) - 1.0) ** 2)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
    assert all(np.any(v != old) for v, old in zip(variables, before))


def test_a_seed_decides_the_weights(tmp_path):
    one, same, other = (WaveNet(2, 4, 5, seed=seed) for seed in [1, 1, -2])
    assert one.receptive_field == 1025
    for value, again in zip(one.variables, same.variables):
        np.testing.assert_array_equal(value, again)
    kernels = [v for v in one.variables if "kernel" in v.name and "out" not in v.name]
    for value in kernels:
        (its,) = (v for v in other.variables if v.name == value.name)
        assert np.all(value != its)
    saved = tf.train.Checkpoint(network=one).save(f"{tmp_path}/checkpoint")
    tf.train.Checkpoint(network=other).restore(saved).assert_consumed()
    for value, restored in zip(one.variables, other.variables):
        np.testing.assert_array_equal(value, restored)


def test_kernels_keep_the_variance():
    network = WaveNet(2, 40, 60, (1, 2), 3, seed=0, context_size=30)
    for name, expected in {
        "gate_kernel_1": 1.0 / 120,
        "residual_kernel_0": 1.0 / 40,
        "skip_kernel_1": 2.0 / 80,
        "hidden_kernel": 2.0 / 60,
        "context_kernel_0": 1.0 / 30,
    }.items():
        (value,) = (v for v in network.variables if v.name == f"{name}:0")
        np.testing.assert_allclose(np.var(value), expected, rtol=0.1)


def test_tells_its_sizes():
    assert repr(build("local")) == (
        "<WaveNet 'wave_net' num_parameters=2 residual_channels=4 skip_channels=5 "
        "dilations=[1, 4] kernel_size=3 context_size=3 context_ndims=2 dtype=float64>"
    )
    assert WaveNet.event_ndims == 1


@pytest.mark.parametrize(
    "kind, arguments, text",
    [
        (ValueError, dict(num_parameters=0), "`num_parameters` must be .* got 0"),
        (ValueError, dict(residual_channels=1.5), "`residual_channels` .* got 1.5"),
        (ValueError, dict(skip_channels=-1), "`skip_channels` must be .* got -1"),
        (ValueError, dict(dilations=(1, 0)), r"`dilations` must be .* got \(1, 0\)"),
        (ValueError, dict(dilations=()), "`dilations` must be an integer of at least"),
        (ValueError, dict(kernel_size=1), "`kernel_size` must be at least 2; got 1"),
        (ValueError, dict(context_size=-2), "`context_size` must be .* got -2"),
        (ValueError, dict(context_ndims=3), "`context_ndims` must be 1 or 2; got 3"),
        (TypeError, dict(seed=0.5), "`seed` must be an integer; got 0.5"),
    ],
)
def test_rejects_arguments(kind, arguments, text):
    sizes = dict(num_parameters=2, residual_channels=3, skip_channels=3, seed=0)
    with pytest.raises(kind, match=text):
        WaveNet(**{**sizes, **arguments})


def test_rejects_inputs_that_do_not_fit():
    for ask in [
        lambda network, *inputs: network(*inputs),
        lambda network, *inputs: network.solve_for_input(invert, *inputs),
    ]:
        with pytest.raises(ValueError, match=r"a last axis, time; got shape \(\)"):
            ask(build(), 0.5)
        with pytest.raises(ValueError, match="`context` must be .* got none, and 3"):
            ask(build("global"), waves(5))
        with pytest.raises(ValueError, match="`context` must be .* got one, and 0"):
            ask(build(), waves(5), waves(3))
        with pytest.raises(ValueError, match=r"`context_size`, 3; got shape \(2,\)"):
            ask(build("global"), waves(5), waves(2))
        for shape in [(3,), (4, 3)]:
            with pytest.raises(ValueError, match="local `context` .* and .*5"):
                ask(build("local"), waves(5), waves(*shape))
