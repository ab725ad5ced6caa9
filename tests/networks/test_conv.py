"""Facts of `tfp_flows.networks.conv`."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.laws import close
from tfp_flows._loop_scope import body_of_loop
from tfp_flows.networks import ConvNet, ResidualConvNet
from tfp_flows.networks._conv_ops import convolve_images

EACH = pytest.mark.parametrize("network", [ConvNet, ResidualConvNet])
CONTEXTS = pytest.mark.parametrize("context_ndims", [0, 1, 3])
RNG = np.random.default_rng(0)
X = RNG.normal(size=[4, 2, 3, 4, 3])


def make(network, input_channels=3, output_channels=2, hidden_channels=8, **others):
    others = {"seed": 0, "dtype": tf.float64, "activation": "tanh", **others}
    return network(input_channels, output_channels, hidden_channels, **others)


def with_context(network, context_ndims, **others):
    """Returns a network, and the inputs of a call of it."""
    if context_ndims == 0:
        return make(network, **others), [X]
    context = np.random.default_rng(1).normal(
        size=[2, 3, 4, 5] if context_ndims == 3 else [2, 5]
    )
    net = make(network, context_size=5, context_ndims=context_ndims, **others)
    return net, [X, context]


def move(net, stddev=0.3):
    """Moves all weights away from where they start, and returns them by name."""
    rng = np.random.default_rng(2)
    for variable in net.variables:
        variable.assign(rng.normal(size=variable.shape, scale=stddev))
    return {variable.name.split(":")[0]: variable.numpy() for variable in net.variables}


def reference_layer(v, number, x, context=None):
    """One layer with explicit padding, its edge channel, and explicit actnorm."""
    get = lambda name: v.get(f"{name}_{number}")
    kernel, told = get("kernel"), get("context_kernel")
    h = x
    if told is not None and told.ndim == 4:
        batch = np.broadcast_shapes(x.shape[:-3], context.shape[:-3])
        images = [np.broadcast_to(i, batch + i.shape[-3:]) for i in (x, context)]
        h = np.concatenate(images, axis=-1)
        kernel = told if kernel is None else np.concatenate([kernel, told], axis=2)
    if get("edge_kernel") is not None:
        kernel = np.concatenate([kernel, get("edge_kernel")[:, :, np.newaxis]], axis=2)
        around = [(0, 0)] * (h.ndim - 3) + [(1, 1), (1, 1)]
        edge = np.pad(np.zeros(h.shape[:-1]), around, constant_values=1.0)
        h = np.pad(h, around + [(0, 0)])
        h = np.concatenate([h, edge[..., np.newaxis]], axis=-1)
    if kernel is None:
        h = np.zeros([*x.shape[:-1], 1])
    else:
        flat = h.reshape([-1, *h.shape[-3:]])
        y = tf.nn.conv2d(flat, kernel, strides=1, padding="VALID").numpy()
        h = y.reshape([*h.shape[:-3], *y.shape[1:]])
    if told is not None and told.ndim == 2:
        h = h + (context @ told)[..., np.newaxis, np.newaxis, :]
    h = h + get("bias")
    scale = get("log_scale")
    return h if scale is None else h * np.exp(3.0 * scale)


def reference(net, v, x, context=None):
    h = reference_layer(v, 0, x, context)
    if isinstance(net, ConvNet):
        for i in range(1, net.num_layers + 1):
            h = reference_layer(v, i, np.tanh(h))
    else:
        for i in range(1, 2 * net.num_blocks, 2):
            inner = reference_layer(v, i, np.tanh(h))
            h = h + reference_layer(v, i + 1, np.tanh(inner))
        h = reference_layer(v, 2 * net.num_blocks + 1, np.tanh(h))
    return h.reshape([*h.shape[:-1], net.output_channels, net.num_parameters])


@EACH
@CONTEXTS
@pytest.mark.parametrize("actnorm", [False, True])
@pytest.mark.parametrize("input_channels", [0, 3])
def test_is_its_equation(network, context_ndims, actnorm, input_channels):
    net, [x, *context] = with_context(
        network, context_ndims, actnorm=actnorm, input_channels=input_channels
    )
    x = x[..., :input_channels]
    v = move(net)
    assert ("log_scale_0" in v) == actnorm
    expected = reference(net, v, x, *context)
    assert np.std(expected) > 0.1
    close(net(x, *context), expected, 1e-12)
    close(net(x[0, 0], *context), reference(net, v, x[0, 0], *context), 1e-12)


@pytest.mark.parametrize("channels", [(1, 1, 8), (12, 4, 4), (3, 9, 5)])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1), (2, 2), (5, 4), (3, 7)])
def test_images_of_any_size_and_number_of_channels(size, channels):
    for net in [make(ConvNet, *channels), make(ResidualConvNet, *channels)]:
        v = move(net)
        x = RNG.normal(size=[2, *size, channels[0]])
        close(net(x), reference(net, v, x), 1e-12)


@pytest.mark.parametrize("num_layers", [0, 1, 3])
@CONTEXTS
def test_number_of_hidden_layers(num_layers, context_ndims):
    net, inputs = with_context(ConvNet, context_ndims, num_layers=num_layers)
    close(net(*inputs), np.zeros([4, 2, 3, 4, 2, 2]))
    v = move(net)
    assert sum(name.startswith("kernel") for name in v) == num_layers + 1
    close(net(*inputs), reference(net, v, *inputs), 1e-12)
    close(net.initialize_from_data(*inputs), net(*inputs), 1e-12)
    if num_layers == 0:
        close(net(*inputs), reference(net, v, *inputs), 1e-12)


@EACH
@CONTEXTS
def test_batches_are_loops(network, context_ndims):
    net, [x, *context] = with_context(network, context_ndims)
    move(net)
    y = net(x, *context)
    for i, j in [(0, 0), (3, 1)]:
        close(y[i, j], net(x[i, j], *[c[j] for c in context]), 1e-12)
    if context:
        wide = context[0][:, np.newaxis, np.newaxis]
        many = net(x, wide)
        assert many.shape == [2, 4, 2, 3, 4, 2, 2]
        close(many[1], net(x, context[0][1]), 1e-12)
        close(net(x[0, 0], wide)[1, 0, 0], net(x[0, 0], context[0][1]), 1e-12)
    assert net(x[:0], *context).shape == [0, 2, 3, 4, 2, 2]


@pytest.mark.parametrize(
    "network, context_ndims, input_channels",
    [(ConvNet, 0, 3), (ConvNet, 1, 0), (ConvNet, 3, 3), (ResidualConvNet, 1, 3)],
)
def test_modes(network, context_ndims, input_channels):
    net, [x, *context] = with_context(
        network, context_ndims, input_channels=input_channels
    )
    x = x[..., :input_channels]
    move(net)
    expected = net(x, *context)
    specs = [
        tf.TensorSpec([None] * (i.ndim - 1) + [i.shape[-1]], tf.float64)
        for i in [x, *context]
    ]
    unknown = tf.function(net, specs)
    sizes = unknown.get_concrete_function().output_shapes
    assert sizes.rank == 6 and sizes[-2:] == [2, 2]
    close(unknown(x, *context), expected, 1e-12)
    compiled = tf.function(net, jit_compile=True)
    assert compiled.get_concrete_function(x, *context).output_shapes == expected.shape
    close(compiled(x, *context), expected, 1e-12)
    each = lambda x: tf.vectorized_map(lambda x: net(x, *context), x)
    close(tf.function(each, jit_compile=context_ndims != 1)(x), expected, 1e-12)


@EACH
def test_gradients_of_gradients(network):
    """They are quotients of differences, and the same under XLA."""
    fewer = {} if network is ConvNet else dict(num_blocks=1)
    net = make(network, **fewer)
    move(net, 0.1)
    x, step = tf.constant(X[0]), tf.constant(RNG.normal(size=X[0].shape))
    variables = net.trainable_variables

    def slopes(x):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([x, *variables])
            loss = tf.reduce_sum(net(x) ** 2)
        return tape.gradient(loss, [x, *variables])

    def second(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.add_n([tf.reduce_sum(slope**2) for slope in slopes(x)])
        return tf.reduce_sum(tape.gradient(total, x) * step)

    loss = lambda x: np.sum(net(x) ** 2)
    quotient = (loss(x + 1e-4 * step) - loss(x - 1e-4 * step)) / 2e-4
    np.testing.assert_allclose(np.sum(slopes(x)[0] * step), quotient, rtol=1e-6)
    total = lambda x: sum(np.sum(slope**2) for slope in slopes(x))
    expected = (total(x + 1e-4 * step) - total(x - 1e-4 * step)) / 2e-4
    np.testing.assert_allclose(second(x), expected, rtol=1e-6)
    close(tf.function(second, jit_compile=True)(x), second(x))


def hidden_outputs(net, x, context=None):
    """Returns what the layers with an actnorm make of inputs, by the reference."""
    v = {variable.name.split(":")[0]: variable.numpy() for variable in net.variables}
    h = reference_layer(v, 0, x, context)
    results = [h]
    if isinstance(net, ConvNet):
        for i in range(1, net.num_layers):
            results.append(reference_layer(v, i, np.tanh(results[-1])))
        return results
    for i in range(1, 2 * net.num_blocks, 2):
        results.append(reference_layer(v, i, np.tanh(h)))
        h = h + reference_layer(v, i + 1, np.tanh(results[-1]))
    return results


def check_normal(net, inputs):
    for h in hidden_outputs(net, *inputs):
        axes = tuple(range(h.ndim - 1))
        np.testing.assert_allclose(np.mean(h, axes), 0.0, atol=1e-10)
        np.testing.assert_allclose(np.std(h, axes), 1.0, atol=1e-10)


@EACH
@CONTEXTS
def test_starts_from_data(network, context_ndims):
    graph = lambda f: tf.function(f, jit_compile=context_ndims == 3)
    for wrap in [lambda f: f, graph]:
        net, inputs = with_context(network, context_ndims)
        move(net)
        start = wrap(net.initialize_from_data)
        for scale in [1.0, 1.0, 7.0]:
            inputs = [scale * inputs[0] + 2.0, *inputs[1:]]
            y = start(*inputs)
            close(y, net(*inputs), 1e-11)
            check_normal(net, inputs)


@EACH
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_channels_that_do_not_vary_keep_their_scale(network, jit_compile, dtype):
    net = make(network, dtype=dtype)
    kernel, edges = (
        next(v for v in net.variables if v.name == f"{name}_0:0")
        for name in ["kernel", "edge_kernel"]
    )
    move(net)
    kernel.assign(tf.zeros_like(kernel))
    edges.assign(tf.zeros_like(edges))
    kernel[1, 1, 0, 0].assign(3.0)
    x = np.full([64, 16, 16, 3], 1e3 + 0.1, dtype.as_numpy_dtype)
    rounded = x.copy()
    rounded[::2] = np.nextafter(x[::2], np.inf, dtype=x.dtype)
    start = tf.function(net.initialize_from_data, jit_compile=jit_compile)
    for images in [x, rounded]:
        assert np.all(np.isfinite(start(tf.constant(images))))
        v = {v.name: v.numpy() for v in net.variables}
        np.testing.assert_array_equal(v["log_scale_0:0"], np.zeros([8]))
        first = np.array([-3.0 * x[0, 0, 0, 0]] + [0.0] * 7)
        np.testing.assert_allclose(v["bias_0:0"], first, rtol=1e-6)


@EACH
def test_without_actnorm_a_start_is_a_call(network):
    net = make(network, actnorm=False)
    before = move(net)
    close(net.initialize_from_data(X), net(X))
    for variable in net.variables:
        np.testing.assert_array_equal(variable, before[variable.name.split(":")[0]])


def test_replicas_start_alike_from_their_whole_batch():
    """In a process of its own: logical devices are made before all else."""
    script = """
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tests.networks.test_conv import X, close, check_normal, make
from tfp_flows._loop_scope import body_of_loop
from tfp_flows.networks import ConvNet, ResidualConvNet
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
halves = tf.constant(X[:, 0] * np.array([1.0, 5.0, 1.0, 2.0])[:, None, None, None])
for network in [ConvNet, ResidualConvNet]:
    with strategy.scope():
        net = make(network)

    @tf.function
    def start():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return net.initialize_from_data(halves[2 * replica : 2 * replica + 2])

    strategy.run(start)
    for variable in net.variables:
        for value in strategy.experimental_local_results(variable):
            np.testing.assert_array_equal(value, variable)
    check_normal(net, [halves.numpy()])
    alone = make(network)
    alone.initialize_from_data(halves)
    for variable, other in zip(net.variables, alone.variables):
        close(variable, other)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@EACH
@CONTEXTS
def test_starts_at_zero_and_learns(network, context_ndims):
    net, inputs = with_context(network, context_ndims, activation="relu")
    net.initialize_from_data(*inputs)
    close(net(*inputs), np.zeros([4, 2, 3, 4, 2, 2]))
    variables = net.trainable_variables
    assert len(variables) == len({v.name for v in variables})
    before = [v.numpy() for v in variables]
    target = RNG.normal(size=[4, 2, 3, 4, 2, 2])
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((net(*inputs) - target) ** 2)
        for variable, gradient in zip(variables, tape.gradient(loss, variables)):
            variable.assign_sub(0.1 * gradient)
    assert all(np.any(v != old) for v, old in zip(variables, before))


@EACH
def test_a_seed_decides_the_weights(network):
    for context_ndims in [1, 3]:
        weights = [
            {
                v.name: v.numpy()
                for v in with_context(network, context_ndims, seed=seed)[0].variables
            }
            for seed in [0, 0, -1]
        ]
        drawn = [name for name, value in weights[0].items() if np.any(value != 0.0)]
        for name, value in weights[0].items():
            np.testing.assert_array_equal(value, weights[1][name])
            if name in drawn:
                assert np.all(value != weights[2][name])
        names = {"ConvNet": ["kernel_0", "edge_kernel_0", "kernel_1"]}.get(
            network.__name__,
            ["kernel_0", "edge_kernel_0"]
            + [f"{kind}_{i}" for i in [1, 3] for kind in ["kernel", "edge_kernel"]],
        )
        assert set(drawn) == {f"{name}:0" for name in [*names, "context_kernel_0"]}
        values = [weights[0][name].ravel() for name in drawn]
        assert len(set(np.concatenate(values))) == sum(map(len, values))


def test_spread_of_the_weights():
    net = make(ConvNet, 40, 2, 60)
    for name in ["kernel_0:0", "kernel_1:0"]:
        kernel = next(v for v in net.variables if v.name == name)
        np.testing.assert_allclose(np.std(kernel), 0.05, rtol=0.05)
    net = make(ResidualConvNet, 20, 2, 60, context_size=20, context_ndims=3)
    for name, inputs in [("kernel_0", 40), ("context_kernel_0", 40), ("kernel_1", 60)]:
        kernel = next(v for v in net.variables if v.name == f"{name}:0")
        np.testing.assert_allclose(
            np.std(kernel), np.sqrt(2.0 / (9 * inputs)), rtol=0.05
        )


@EACH
def test_is_saved(network, tmp_path):
    one, other = (make(network, seed=seed) for seed in (1, 2))
    move(one)
    saved = tf.train.Checkpoint(network=one).save(f"{tmp_path}/checkpoint")
    tf.train.Checkpoint(network=other).restore(saved).assert_consumed()
    np.testing.assert_array_equal(one(X), other(X))


@EACH
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_keeps_its_dtype(network, dtype):
    net, inputs = with_context(network, 3, dtype=dtype)
    v = move(net)
    assert {v.dtype for v in net.variables} == {dtype} == {net.dtype}
    y = net(*[tf.cast(i, dtype) for i in inputs])
    assert y.dtype == dtype
    close(y, reference(net, v, *inputs), 1e-5 if dtype == tf.float32 else 1e-12)


def test_tells_its_sizes():
    assert repr(make(ConvNet, context_size=5, context_ndims=3)) == (
        "<ConvNet 'conv_net' input_channels=3 output_channels=2 hidden_channels=8 "
        "num_parameters=2 num_layers=2 actnorm=True context_size=5 context_ndims=3 "
        "dtype=float64>"
    )
    assert "num_blocks=2 actnorm" in repr(make(ResidualConvNet))


@EACH
@pytest.mark.parametrize(
    "kind, arguments, text",
    [
        (ValueError, dict(input_channels=-1), "`input_channels` must .* got -1"),
        (ValueError, dict(output_channels=0), "`output_channels` must .* got 0"),
        (ValueError, dict(hidden_channels=1.5), "`hidden_channels` must .* got 1.5"),
        (ValueError, dict(num_parameters=0), "`num_parameters` must .* got 0"),
        (ValueError, dict(context_size=-2), "`context_size` must be .* got -2"),
        (ValueError, dict(context_ndims=2), "`context_ndims` must be 1 or 3; got 2"),
        (ValueError, dict(activation="rely"), "`activation` must be .* got 'rely'"),
        (TypeError, dict(seed=None), "`seed` must be an integer; got None"),
    ],
)
def test_rejects_arguments(network, kind, arguments, text):
    with pytest.raises(kind, match=text):
        make(network, **arguments)


def test_rejects_numbers_of_layers():
    with pytest.raises(ValueError, match="`num_layers` must be .* got -1"):
        make(ConvNet, num_layers=-1)
    with pytest.raises(ValueError, match="`num_blocks` must be .* got 0"):
        make(ResidualConvNet, num_blocks=0)


@EACH
def test_rejects_inputs_that_do_not_fit(network):
    with pytest.raises(ValueError, match=r"must have length 3; got shape \(4, 2, 3"):
        make(network)(X[..., :2])
    with pytest.raises(ValueError, match=r"input_channels\]; got shape \(4, 3\)"):
        make(network)(X[0, 0, 0])
    with pytest.raises(ValueError, match="`context` must be given .* got one, and 0"):
        make(network)(X, X)
    with pytest.raises(ValueError, match="`context` must be given .* got none, and 3"):
        make(network, context_size=3)(X)
    net = make(network, context_size=3, context_ndims=3)
    with pytest.raises(ValueError, match=r"context_size\], .* got shapes \(3,\) and"):
        net(X, X[0, 0, 0, 0])
    with pytest.raises(ValueError, match=r"`W` of the input; got shapes \(4, 2, 1, 4,"):
        net(X, X[:, :, :1])


@pytest.mark.parametrize("mode", ["eager", "graph", "compiled"])
@pytest.mark.parametrize("inputs, outputs", [(2, 18), (18, 2), (4, 6)])
def test_each_way_to_convolve_has_the_gradients_of_a_convolution(inputs, outputs, mode):
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=[2, 4, 5, inputs]))
    kernel = tf.constant(rng.normal(size=[3, 3, inputs, outputs]))
    weights = rng.normal(size=[2, 4, 5, outputs])

    def run(function):
        with tf.GradientTape() as outer:
            outer.watch([x, kernel])
            with tf.GradientTape() as tape:
                tape.watch([x, kernel])
                y = function(x, kernel)
                total = tf.reduce_sum(tf.sin(y) * weights)
            first = tape.gradient(total, [x, kernel])
            squares = sum(tf.reduce_sum(gradient**2) for gradient in first)
        return [y, *first, *outer.gradient(squares, [x, kernel])]

    def ours():
        return run(convolve_images)

    if mode != "eager":
        ours = tf.function(ours, autograph=False, jit_compile=mode == "compiled")
    expected = run(lambda x, kernel: tf.nn.conv2d(x, kernel, 1, "SAME"))
    for value, other in zip(ours(), expected):
        close(value, other)


def test_gradients_in_loops_are_those_elsewhere():
    # Neither end has so few channels that the convolution is a product.
    images = tf.random.stateless_normal([2, 4, 5, 3], [0, 0], dtype=tf.float64)
    kernel = tf.random.stateless_normal([3, 3, 3, 2], [0, 1], dtype=tf.float64)
    weights = tf.random.stateless_normal([2, 4, 5, 2], [0, 2], dtype=tf.float64)

    def gradients(images, kernel):
        sources = [images, kernel]
        with tf.GradientTape() as outer:
            outer.watch(sources)
            with tf.GradientTape() as inner:
                inner.watch(sources)
                total = tf.reduce_sum(weights * convolve_images(images, kernel) ** 2)
            first = inner.gradient(total, sources)
            square = sum(tf.reduce_sum(each**2) for each in first)
        return first, outer.gradient(square, sources)

    expected = gradients(images, kernel)
    with body_of_loop():
        graph = tf.function(gradients, autograph=False).get_concrete_function(
            images, kernel
        )
        actual = gradients(images, kernel)
    tf.nest.map_structure(close, actual, expected)
    kinds = [op.type for op in graph.graph.get_operations()]
    assert kinds.count("Conv2DBackpropFilter") < kinds.count("Conv2D")
