"""What every network of the catalogue promises."""

import copy
import pickle

import numpy as np
import pytest
import tensorflow as tf

import tfp_flows
from tests.catalogue import NETWORKS
from tests.laws import close

each_network = pytest.mark.parametrize("name", NETWORKS)


@each_network
def test_states_its_context_and_dtype(name):
    one = NETWORKS[name]
    for dtype in (tf.float32, tf.float64):
        network = one.make(dtype=dtype)
        assert network.dtype == dtype
        assert {v.dtype for v in network.trainable_variables} == {dtype}
        assert network(*one.inputs(2, dtype)).dtype == dtype
        size = one.context_shape[-1] if one.context_shape else 0
        assert network.context_size == size


@each_network
def test_graphs_compute_what_eager_mode_does(name):
    one = NETWORKS[name]
    network, inputs = one.make_moved(dtype=tf.float64), one.inputs(3)
    expected = network(*inputs)
    unknown = [tf.TensorSpec([None, *i.shape[1:]], i.dtype) for i in inputs]
    for compiled in [
        tf.function(network, autograph=False),
        tf.function(network, autograph=False, jit_compile=True),
        tf.function(lambda *i: network(*i), unknown, autograph=False),
    ]:
        close(compiled(*inputs), expected)
    close(network(*(i[:0] for i in inputs)), expected[:0])
    close(network(*(i[1] for i in inputs)), expected[1])  # one point


@each_network
def test_gradients_are_those_of_finite_differences(name):
    one = NETWORKS[name]
    network, inputs = one.make_moved(dtype=tf.float64), one.inputs(2)
    variables = network.trainable_variables
    rng = np.random.default_rng(0)
    weights = rng.normal(size=network(*inputs).shape)
    start = [np.array(v) for v in [*inputs, *variables]]
    directions = [rng.normal(size=value.shape) for value in start]

    @tf.function(autograph=False)
    def total_and_gradients(values):
        points = [tf.identity(value) for value in values[: len(inputs)]]
        for variable, value in zip(variables, values[len(inputs) :]):
            variable.assign(value)
        with tf.GradientTape() as tape:
            tape.watch(points)
            total = tf.reduce_sum(weights * network(*points))
        return total, tape.gradient(total, [*points, *variables])

    gradients = total_and_gradients(start)[1]
    h = 1e-6
    for i, (gradient, direction) in enumerate(zip(gradients, directions)):
        above, below = (
            total_and_gradients(
                [v + sign * h * direction if j == i else v for j, v in enumerate(start)]
            )[0]
            for sign in (1.0, -1.0)
        )
        close(tf.reduce_sum(gradient * direction), (above - below) / (2.0 * h), 1e-6)


@each_network
def test_the_seed_decides_the_initial_values(name):
    first, same, other = (
        [v.numpy() for v in NETWORKS[name].make(seed).variables] for seed in (1, 1, 2)
    )
    for a, b in zip(first, same):
        np.testing.assert_array_equal(a, b)
    if name != "no hidden layer":  # whose weights all start at 0
        assert any(np.any(a != b) for a, b in zip(first, other))


@each_network
def test_copies_and_checkpoints_are_equal_and_share_no_variable(name, tmp_path):
    one = NETWORKS[name]
    network, inputs = one.make_moved(), one.inputs(2, tf.float32)
    expected = network(*inputs)
    saved = tf.train.Checkpoint(network=network).save(f"{tmp_path}/checkpoint")
    restored = one.make(seed=5)
    tf.train.Checkpoint(network=restored).restore(saved).assert_consumed()
    copies = [
        copy.deepcopy(network),
        pickle.loads(pickle.dumps(network)),
        tfp_flows.clone(network),
        restored,
    ]
    for other in copies:
        np.testing.assert_array_equal(other(*inputs), expected)
        for variable in other.trainable_variables:
            variable.assign(variable + 1.0)
        assert np.any(other(*inputs) != expected)
        np.testing.assert_array_equal(network(*inputs), expected)


@each_network
def test_a_graph_does_not_own_variables(name):
    build = tf.function(lambda: NETWORKS[name].make() and 0, autograph=False)
    with pytest.raises(RuntimeError, match="created outside of graphs"):
        build()


@pytest.mark.parametrize("name", [n for n in NETWORKS if NETWORKS[n].context_shape])
def test_needs_its_context(name):
    one = NETWORKS[name]
    with pytest.raises(ValueError, match="context"):
        one.make()(*one.inputs(2, tf.float32)[:1])
