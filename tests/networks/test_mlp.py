"""Facts of `tfp_flows.networks.mlp`."""

import numpy as np
import pytest
import tensorflow as tf

from tests.laws import close
from tfp_flows.networks import MLP, ResidualMLP

X = np.random.default_rng(0).normal(size=[4, 2, 3])
CONTEXT = np.random.default_rng(1).normal(size=[2, 6])
EACH = pytest.mark.parametrize("network", [MLP, ResidualMLP])


def make(network, input_size=3, output_shape=(2, 5), hidden_units=(7, 7), **others):
    others = {"seed": 0, "dtype": tf.float64, "activation": "tanh", **others}
    return network(input_size, output_shape, hidden_units, **others)


def move(net):
    """Moves all weights away from 0, and returns them by name."""
    rng = np.random.default_rng(2)
    for variable in net.variables:
        variable.assign(rng.normal(size=variable.shape))
    return {variable.name.split(":")[0]: variable.numpy() for variable in net.variables}


def test_mlp_is_its_equation():
    net = make(MLP, hidden_units=[7, 4], context_size=6)
    v = move(net)
    h = X @ v["kernel_0"] + CONTEXT @ v["context_kernel"] + v["bias_0"]
    h = np.tanh(h) @ v["kernel_1"] + v["bias_1"]
    h = np.tanh(h) @ v["kernel_2"] + v["bias_2"]
    close(net(X, CONTEXT), h.reshape([4, 2, 2, 5]))


def test_residual_mlp_is_its_equation():
    net = make(ResidualMLP, context_size=6)
    v = move(net)
    h = X @ v["kernel_0"] + CONTEXT @ v["context_kernel"] + v["bias_0"]
    for i in [1, 3]:
        inner = np.tanh(h) @ v[f"kernel_{i}"] + v[f"bias_{i}"]
        h = h + np.tanh(inner) @ v[f"kernel_{i + 1}"] + v[f"bias_{i + 1}"]
    h = np.tanh(h) @ v["kernel_5"] + v["bias_5"]
    close(net(X, CONTEXT), h.reshape([4, 2, 2, 5]))


@EACH
def test_a_context_is_as_more_inputs(network):
    net, wide = make(network, context_size=6), make(network, input_size=9)
    v = move(net)
    for variable in wide.variables:
        name = variable.name.split(":")[0]
        value = v[name]
        if name == "kernel_0":
            value = np.concatenate([value, v["context_kernel"]], axis=0)
        variable.assign(value)
    both = np.concatenate([X, np.broadcast_to(CONTEXT, [4, 2, 6])], axis=-1)
    close(net(X, CONTEXT), wide(both))
    one = np.concatenate([np.broadcast_to(X[0, 0], [2, 3]), CONTEXT], axis=-1)
    close(net(X[0, 0], CONTEXT), wide(one))


@EACH
@pytest.mark.parametrize("context_size", [0, 6])
def test_starts_at_zero_and_learns(network, context_size):
    net = make(network, context_size=context_size, activation="relu")
    inputs = [X, CONTEXT][: 1 + bool(context_size)]
    close(net(*inputs), np.zeros([4, 2, 2, 5]))
    variables = net.trainable_variables
    assert len(variables) == len({v.name for v in variables})
    optimizer = tf.keras.optimizers.SGD(0.1)
    before = [v.numpy() for v in variables]
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((net(*inputs) - 1.0) ** 2)
        gradients = tape.gradient(loss, variables)
        assert all(gradient is not None for gradient in gradients)
        optimizer.apply_gradients(zip(gradients, variables))
    assert all(np.any(v != old) for v, old in zip(variables, before))


@EACH
@pytest.mark.parametrize("context_size", [0, 6])
def test_without_inputs(network, context_size):
    net = make(network, input_size=0, context_size=context_size)
    move(net)
    inputs = [X[..., :0], CONTEXT][: 1 + bool(context_size)]
    expected = net(X[0, :, :0], *inputs[1:])
    for call in [net, tf.function(net), tf.function(net, jit_compile=True)]:
        close(call(*inputs), np.broadcast_to(expected, [4, 2, 2, 5]))


@EACH
def test_shapes(network):
    net = make(network)
    move(net)
    expected = net(X)
    close(net(X[0]), expected[0])
    close(net(X[0, 0]), expected[0, 0])
    assert net(X[:0]).shape == [0, 2, 2, 5]
    unknown = tf.TensorSpec([None, None, 3], tf.float64)
    compiled = tf.function(net, [unknown])
    assert compiled.get_concrete_function().output_shapes == [None, None, 2, 5]
    close(compiled(X), expected)


@EACH
def test_a_seed_decides_the_weights(network):
    names = ["kernel_0", "kernel_1"]
    weights = [
        {v.name.split(":")[0]: v.numpy() for v in make(network, seed=seed).variables}
        for seed in [0, 0, 1]
    ]
    for name in names:
        np.testing.assert_array_equal(weights[0][name], weights[1][name])
        assert np.all(weights[0][name] != weights[2][name])
    wide = make(network, input_size=60, hidden_units=[90], context_size=40)
    (kernel, context) = (
        next(v for v in wide.variables if v.name == f"{name}:0").numpy()
        for name in ["kernel_0", "context_kernel"]
    )
    for value in [kernel, context]:
        np.testing.assert_allclose(np.std(value), np.sqrt(2.0 / 100), rtol=0.05)


@EACH
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_keeps_its_dtype(network, dtype):
    net = make(network, dtype=dtype)
    assert {v.dtype for v in net.variables} == {dtype} == {net.dtype}
    assert net(tf.cast(X, dtype)).dtype == dtype


def test_needs_no_hidden_layer():
    net = make(MLP, hidden_units=[], context_size=6)
    close(net(X, CONTEXT), np.zeros([4, 2, 2, 5]))
    v = move(net)
    expected = X @ v["kernel_0"] + CONTEXT @ v["context_kernel"] + v["bias_0"]
    close(net(X, CONTEXT), expected.reshape([4, 2, 2, 5]))


def test_tells_its_sizes():
    assert repr(make(ResidualMLP, context_size=6)) == (
        "<ResidualMLP 'residual_mlp' input_size=3 output_shape=[2, 5] "
        "hidden_units=[7, 7] context_size=6 dtype=float64>"
    )


@EACH
@pytest.mark.parametrize(
    "kind, arguments, text",
    [
        (ValueError, dict(input_size=-1), "`input_size` must be .* got -1"),
        (ValueError, dict(output_shape=[2, 0]), r"`output_shape` .* got \(2, 0\)"),
        (ValueError, dict(hidden_units=[7, 1.5]), r"`hidden_units` .* got \(7, 1.5\)"),
        (ValueError, dict(context_size=-2), "`context_size` must be .* got -2"),
        (ValueError, dict(activation="rely"), "`activation` must be .* got 'rely'"),
        (TypeError, dict(seed=None), "`seed` must be an integer; got None"),
    ],
)
def test_rejects_arguments(network, kind, arguments, text):
    with pytest.raises(kind, match=text):
        make(network, **arguments)


@pytest.mark.parametrize("hidden_units", [(), (5, 6)])
def test_residual_widths_are_equal(hidden_units):
    with pytest.raises(ValueError, match="must be one or more equal numbers; got"):
        make(ResidualMLP, hidden_units=hidden_units)


@EACH
def test_rejects_inputs_that_do_not_fit(network):
    with pytest.raises(ValueError, match=r"must have length 3; got shape \(4, 2, 2\)"):
        make(network)(X[..., :2])
    with pytest.raises(ValueError, match="`context` must be given .* got one, and 0"):
        make(network)(X, CONTEXT)
    with pytest.raises(ValueError, match="`context` must be given .* got none, and 6"):
        make(network, context_size=6)(X)
    with pytest.raises(ValueError, match=r"`context_size`, 5; got shape \(2, 6\)"):
        make(network, context_size=5)(X, CONTEXT)
