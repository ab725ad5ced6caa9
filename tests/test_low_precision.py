"""16 bits: networks of flows in float32 compute in them; nothing is held in them."""

import copy

import numpy as np
import pytest
import tensorflow as tf

from tests import catalogue
from tests.catalogue import FLOWS, NETWORKS
from tests.catalogue.networks import move
from tests.laws import close
from tfp_flows import dequantization, flows, masks
from tfp_flows.bijectors import (
    Coupling,
    InverseAutoregressive,
    Layer,
    MaskedAutoregressive,
    PReLU,
)
from tfp_flows.bijectors._trainable import make_trainable
from tfp_flows.networks import MADE, MLP, ConvNet, WaveNet

# The distance from 1 to the next number: a rounding is off by half of it at most.
EPS = {tf.bfloat16: 2.0**-7, tf.float16: 2.0**-10, tf.float32: 2.0**-23}
FORMATS = [tf.bfloat16, tf.float16]
# A `PixelRNN` computes in its dtype.
WITH_FORMATS = [name for name in NETWORKS if name != "pixel rnn"]
each_network = pytest.mark.parametrize("name", WITH_FORMATS)
each_format = pytest.mark.parametrize("dtype", FORMATS, ids=lambda d: d.name)


def normal(shape, seed, dtype=tf.float32):
    return tf.random.stateless_normal(shape, [0, seed], dtype=dtype)


def pair(name, dtype):
    """Returns a network in a format and in float64, of equal weights, and inputs."""
    one = NETWORKS[name]
    low, exact = one.make_moved(compute_dtype=dtype), one.make(dtype=tf.float64)
    for mine, other in zip(low.trainable_variables, exact.trainable_variables):
        other.assign(tf.cast(mine, tf.float64))
    return low, exact, one.inputs(20, tf.float32)


def distance(low, exact):
    """Returns the root mean square of the errors in units of that of the values."""
    low, exact = (np.concatenate([np.ravel(v) for v in part]) for part in (low, exact))
    return np.sqrt(np.mean((low - exact) ** 2) / np.mean(exact**2))


def values_and_gradients(network, inputs):
    """Returns parameters, and gradients by inputs and weights of a function of them."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        values = network(*inputs)
        loss = tf.reduce_mean(values**2)
    return [values], tape.gradient(loss, [*inputs, *network.trainable_variables])


@pytest.mark.parametrize(
    "name, jit_compile",
    [*((name, False) for name in WITH_FORMATS), ("residual mlp", True)],
)
@each_format
def test_networks_round_in_their_format_and_return_float32(name, dtype, jit_compile):
    low, exact, inputs = pair(name, dtype)
    call = tf.function(values_and_gradients, jit_compile=jit_compile, autograph=False)
    found = call(low, inputs)
    expected = values_and_gradients(exact, [tf.cast(x, tf.float64) for x in inputs])
    for low_values, exact_values, most in zip(found, expected, [1.0, 3.0]):
        assert {v.dtype for v in low_values} == {tf.float32}
        # Not below, either: then it would not have computed in the format.
        assert 0.02 < distance(low_values, exact_values) / EPS[dtype] < most
    assert {v.dtype for v in low.trainable_variables} == {tf.float32}


@each_format
@each_network
def test_all_products_and_their_gradients_are_in_the_format(name, dtype):
    network, _, inputs = pair(name, dtype)
    call = tf.function(values_and_gradients, autograph=False)
    products = [
        op
        for op in call.get_concrete_function(network, inputs).graph.get_operations()
        if op.type.startswith(("MatMul", "BatchMatMul", "Conv2D"))
        and "edges" not in op.name  # these have no batch
    ]
    assert len(products) >= 3
    assert {op.get_attr("T") for op in products} == {dtype}


@each_network
def test_by_default_networks_compute_in_their_dtype(name):
    low, exact, inputs = pair(name, None)
    assert low.compute_dtype == tf.float32 and exact.compute_dtype == tf.float64
    found = values_and_gradients(low, inputs)
    expected = values_and_gradients(exact, [tf.cast(x, tf.float64) for x in inputs])
    for low_values, exact_values in zip(found, expected):
        assert distance(low_values, exact_values) < 5.0 * EPS[tf.float32]


@each_format
def test_a_large_bias_of_the_output_is_not_rounded(dtype):
    low, exact, inputs = pair("mlp", dtype)
    for network in (low, exact):
        bias = next(v for v in network.variables if v.name == "bias_2:0")
        bias.assign_add(1000.0 * tf.ones_like(bias))
    expected = exact(*[tf.cast(x, tf.float64) for x in inputs])
    assert np.max(np.abs(low(*inputs).numpy() - expected)) < 10.0 * EPS[dtype]


@pytest.mark.parametrize(
    "dtype, jit_compile",
    [(tf.bfloat16, False), (tf.bfloat16, True), (tf.float16, False)],
)
def test_a_coupling_goes_both_ways_to_the_digits_of_float32(dtype, jit_compile):
    size = 8
    network = MLP(4, [4, 2], (32, 32), seed=0, compute_dtype=dtype)
    move(network.trainable_variables)
    layer = Coupling(masks.half(size), network)
    check_both_ways(layer, normal([500, size], 1), jit_compile)


@pytest.mark.parametrize(
    "kind, dtype, jit_compile",
    [
        (MaskedAutoregressive, tf.bfloat16, False),
        (MaskedAutoregressive, tf.bfloat16, True),
        (MaskedAutoregressive, tf.float16, False),
        (InverseAutoregressive, tf.bfloat16, False),
    ],
)
def test_the_sequential_direction_undoes_the_other(kind, dtype, jit_compile):
    network = MADE(8, 2, (32, 32), seed=0, compute_dtype=dtype)
    move(network.trainable_variables)
    check_both_ways(kind(network), normal([500, 8], 1), jit_compile)


def test_the_sequential_direction_of_a_wave_undoes_the_other():
    network = WaveNet(2, 16, 16, [1, 2, 4], seed=0, compute_dtype=tf.bfloat16)
    move(network.trainable_variables)
    check_both_ways(MaskedAutoregressive(network), normal([20, 9], 1), False)


def check_both_ways(layer, x, jit_compile):
    """Both directions undo each other to the digits of float32, as do the log dets."""

    def compiled(function):
        return tf.function(function, jit_compile=jit_compile, autograph=False)

    def with_log_det(method):
        call, log_det = getattr(layer, method), f"{method}_log_det_jacobian"
        return compiled(lambda x: (call(x), getattr(layer, log_det)(x, event_ndims=1)))

    y, fldj = with_log_det("forward")(x)
    again, ildj = with_log_det("inverse")(y.numpy())
    back, _ = with_log_det("forward")(again.numpy())
    assert {v.dtype for v in (y, fldj, again, ildj)} == {tf.float32}
    assert np.max(np.abs(x - y)) > 1.0  # it is far from the identity
    np.testing.assert_allclose(back, y, rtol=1e-5, atol=1e-5)
    # Two inputs whose hidden units round to the same may share one image.
    off = np.max(np.abs(again - x), axis=-1) > 1e-5
    assert np.mean(off) < 0.02
    np.testing.assert_allclose(ildj[~off], -fldj[~off], rtol=1e-5, atol=1e-5)
    assert np.max(np.abs(fldj)) > 0.5


@each_format
def test_gradients_through_the_sequential_direction(dtype):
    x = normal([50, 6], 1)
    found = []
    for compute in (dtype, tf.float32):
        network = MADE(6, 2, (32, 32), seed=0, compute_dtype=compute)
        move(network.trainable_variables)
        layer = MaskedAutoregressive(network)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer.forward(x)
            log_det = layer.forward_log_det_jacobian(x, event_ndims=1)
            loss = tf.reduce_mean(y**2) + tf.reduce_mean(log_det)
        found.append(tape.gradient(loss, [x, *network.trainable_variables]))
    assert {gradient.dtype for gradient in found[0]} == {tf.float32}
    assert 0.02 < distance(*found) / EPS[dtype] < 5.0


@each_format
@pytest.mark.parametrize("kind", ["real_nvp", "maf"])
def test_densities(kind, dtype):
    make = {"real_nvp": flows.real_nvp, "maf": flows.maf}[kind]
    flow, exact = (
        make(16, 4, (64, 64), seed=0, dtype=d) for d in (tf.float32, tf.float64)
    )
    move(flow.trainable_variables, 0.2)
    for mine, other in zip(flow.trainable_variables, exact.trainable_variables):
        other.assign(tf.cast(mine, tf.float64))
    for module in flow.submodules:
        if hasattr(module, "compute_dtype"):
            module.compute_dtype = dtype
    x = normal([200, 16], 3, tf.float64)
    single = tf.cast(x, tf.float32)
    found, expected = flow.log_prob(single), exact.log_prob(tf.cast(single, tf.float64))
    assert found.dtype == tf.float32
    errors = np.abs(found.numpy() - expected) / EPS[dtype]
    worst = 4.0 if products_are_truncated(dtype) else 1.0
    assert 0.1 < np.median(errors) < 2.0 * worst
    assert np.quantile(errors, 0.95) < 20.0 * worst


def products_are_truncated(dtype):
    """Returns whether products lose what a format has no digits for, unrounded.

    TensorFlow does so for bfloat16 on processors without instructions for it, such as
    those that have AVX2 alone. Errors then have one sign, and add up.
    """
    a, b = (
        tf.cast(normal(shape, seed), dtype)
        for shape, seed in [([50, 16], 5), ([16, 50], 6)]
    )
    exact = np.matmul(*(np.array(tf.cast(v, tf.float64)) for v in (a, b)))
    found = np.array(tf.cast(tf.matmul(a, b), tf.float64))
    return np.mean(np.abs(found) <= np.abs(exact)) > 0.9


def test_a_network_starts_from_data_by_moments_in_float32():
    network = ConvNet(2, 2, 16, seed=0, compute_dtype=tf.bfloat16)
    move(network.trainable_variables)
    x = 100.0 + normal([64, 4, 4, 2], 1)
    output = network.initialize_from_data(x)
    assert output.dtype == tf.float32
    assert distance([output], [network(x)]) < 3.0 * EPS[tf.bfloat16]


def test_networks_tell_their_format():
    network = MLP(2, [1, 2], (3,), seed=0, compute_dtype="bfloat16")
    assert repr(network).endswith("dtype=float32 compute_dtype=bfloat16>")
    assert copy.copy(network).compute_dtype == tf.bfloat16


@each_network
@pytest.mark.parametrize("dtype", [tf.int32, tf.float64])
def test_rejects_other_formats(name, dtype):
    with pytest.raises(TypeError, match=f"`compute_dtype` must .* got .*{dtype.name}"):
        NETWORKS[name].make(compute_dtype=dtype)


def test_float64_may_compute_in_float32():
    low = MLP(3, [2, 2], (8,), seed=0, dtype=tf.float64, compute_dtype=tf.float32)
    exact = MLP(3, [2, 2], (8,), seed=0, dtype=tf.float64)
    for network in (low, exact):
        move(network.trainable_variables)
    x = normal([5, 3], 0, tf.float64)
    assert low(x).dtype == tf.float64
    close(low(x), exact(x), 1e-5)


WITH_NETWORKS = [name for name, one in FLOWS.items() if one.takes("compute_dtype")]


@pytest.mark.parametrize("name", WITH_NETWORKS)
def test_recipes_tell_their_networks(name):
    for dtype in (None, tf.bfloat16):
        parts = FLOWS[name].make(compute_dtype=dtype).submodules
        networks = [
            part.conditioner
            for part in parts
            if isinstance(part, Layer) and part.conditioner is not None
        ]
        found = {n.compute_dtype for n in networks if hasattr(n, "hidden_units")}
        found |= {n.compute_dtype for n in networks if hasattr(n, "num_blocks")}
        assert (dtype or tf.float32) in {n.compute_dtype for n in networks}
        assert found <= {dtype or tf.float32}
        assert {n.dtype for n in networks} == {tf.float32}


MAKERS = {
    **{name: one.make for name, one in FLOWS.items() if one.takes("dtype")},
    "variational_dequantizer": (
        lambda **k: dequantization.variational_dequantizer([4, 4, 1], 1, 4, seed=0, **k)
    ),
    **{
        flow: lambda flow=flow, **k: flows.amortized_posterior(4, flow, 2, seed=0, **k)
        for flow in ["gaussian", "radial", "sylvester_householder", "iaf"]
    },
    "dequantize": lambda **k: dequantization.dequantize(
        np.zeros([2, 2], int), seed=0, **k
    ),
    "make_trainable": lambda **k: make_trainable(PReLU, [3], seed=0, **k),
}


@each_format
@pytest.mark.parametrize("name", MAKERS)
def test_what_makes_variables_refuses_16_bits(name, dtype):
    message = f"`dtype` must be of float32 .* got {dtype.name}. .*compute_dtype"
    with pytest.raises(TypeError, match=message):
        MAKERS[name](dtype=dtype)


@each_format
@each_network
def test_networks_refuse_to_hold_16_bits(name, dtype):
    message = f"`dtype` must be of float32 .* got {dtype.name}. .*compute_dtype"
    with pytest.raises(TypeError, match=message):
        NETWORKS[name].make(dtype=dtype)


@each_format
@pytest.mark.parametrize("wrap", [tf.constant, tf.Variable], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "name", [n for n in catalogue.PARAMETRIC if n.endswith(("/steep", "/channel"))]
)
def test_layers_refuse_parameters_of_16_bits(name, wrap, dtype):
    def make(value, dtype, name):
        return wrap(tf.cast(value, dtype), name=name)

    message = f"must be of float32 or float64; got {dtype.name}. Use float32"
    with pytest.raises(TypeError, match=message):
        catalogue.case(name).make(make, dtype)


@each_format
@pytest.mark.parametrize("kind", [Coupling, MaskedAutoregressive])
def test_layers_refuse_points_of_16_bits(kind, dtype):
    network = lambda x: tf.stack([x, x], axis=-1)
    layer = Coupling([True, False], network) if kind is Coupling else kind(network)
    for method in ["forward", "inverse"]:
        with pytest.raises(TypeError, match=f"`x` must be .* got {dtype.name}"):
            getattr(layer, method)(tf.zeros([3, 2], dtype))
