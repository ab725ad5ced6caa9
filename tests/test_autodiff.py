"""Facts of `tfp_flows._autodiff`: what forward mode may go through, and what not."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.catalogue import conditioned_layers
from tests.laws import close
from tests.networks.test_made import scramble
from tfp_flows import _autodiff
from tfp_flows.bijectors import InverseAutoregressive, MaskedAutoregressive
from tfp_flows.bijectors.matrices import inverse_and_log_det
from tfp_flows.networks import MADE

X = np.random.default_rng(0).normal(size=[4, 3])
each_mode = pytest.mark.parametrize("in_graph", [False, True])


def wrapped(fn, in_graph, signature=None):
    """The function itself, or in a graph."""
    return tf.function(fn, signature, autograph=False) if in_graph else fn


def jvp(fn, x):
    """The Jacobian-vector product along ones."""
    with tf.autodiff.ForwardAccumulator(x, tf.ones_like(x)) as forward_mode:
        y = fn(x)
    return forward_mode.jvp(y)


def cube(x):
    """The third power, whose gradient function opens a tape."""

    @_autodiff.custom_gradient
    def attach(x):
        def backward(of_y):
            def gradients(x, of_y):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    y = x**3
                return [tape.gradient(y, x, of_y)]

            return _autodiff.differentiable(gradients, x, of_y)[0]

        return tf.stop_gradient(x) ** 3, backward

    return attach(x)


@each_mode
def test_gradient_functions_with_a_tape(in_graph):
    wrap = functools.partial(wrapped, in_graph=in_graph)
    x = tf.constant([1.0, -2.0], tf.float64)
    close(wrap(lambda x: jvp(cube, x))(x), 3.0 * x**2, 1e-14)
    close(wrap(lambda x: jvp(lambda x: jvp(cube, x), x))(x), 6.0 * x, 1e-14)

    def reverse_over_forward(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            product = jvp(cube, x)
        return tape.gradient(product, x)

    close(wrap(reverse_over_forward)(x), 6.0 * x, 1e-14)


@each_mode
@pytest.mark.parametrize("shape", [[2, 3], [None, 3]])
def test_shapes_that_a_graph_does_not_know(in_graph, shape):
    x = tf.constant(X[:2])
    run = functools.partial(
        wrapped, in_graph=in_graph, signature=[tf.TensorSpec(None, tf.float64)]
    )

    def square(x):
        return _autodiff.with_shape(x**2, shape)

    close(run(lambda x: jvp(square, x))(x), 2.0 * x, 1e-14)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        run(lambda x: _autodiff.with_shape(x, [2, 4]))(x)


def sequential(conditioner):
    return lambda x: MaskedAutoregressive(conditioner).forward(tf.identity(x))


def network():
    made = MADE(3, 2, (4,), seed=0, activation="tanh", dtype=tf.float64)
    scramble(made)
    return made


def test_products_with_the_hessian():
    made = MADE(2, 2, (2,), seed=0, activation="tanh", dtype=tf.float64)
    scramble(made)
    layer, x, variable = (
        InverseAutoregressive(made),
        X[:1, :2],
        made.trainable_variables[0],
    )
    sources, tangents = [tf.constant(x), variable], [X[:1, 1:], X[0, :2]]
    tangents = [tf.constant(tangent) for tangent in tangents]

    def value(x):
        y, log_det = layer.inverse(x), layer.inverse_log_det_jacobian(x)
        return tf.reduce_sum(y**2) + tf.reduce_sum(log_det)

    def gradient(fn):
        with tf.GradientTape() as tape:
            tape.watch(sources[0])
            total = fn(tf.identity(sources[0]))
        return tape.gradient(total, sources)

    def along(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = value(x)
        gradients = tape.gradient(total, [x, variable])
        return sum(tf.reduce_sum(g * t) for g, t in zip(gradients, tangents))

    with tf.autodiff.ForwardAccumulator(sources, tangents) as forward_mode:
        gradients = gradient(value)
    for one, other in zip(gradients, gradient(along)):
        close(forward_mode.jvp(one), other, 1e-10)


def test_networks_that_hide_their_variables():
    made = network()
    hidden = functools.partial(made)
    x = tf.constant(X)
    close(jvp(sequential(hidden), x), jvp(sequential(made), x), 1e-12)
    variable = made.trainable_variables[0]

    def along_variable(conditioner, x):
        with tf.autodiff.ForwardAccumulator(
            variable, tf.ones_like(variable)
        ) as forward_mode:
            y = sequential(conditioner)(x)
        return forward_mode.jvp(y)

    assert np.any(along_variable(made, x) != 0.0)
    with pytest.raises(NotImplementedError, match="hides its variables.* Two gra"):
        along_variable(hidden, x)
    for product in [
        lambda x: jvp(sequential(hidden), x),
        lambda x: along_variable(hidden, x),
    ]:
        with pytest.raises(NotImplementedError, match="hides its variables.* Two gra"):
            tf.function(product, autograph=False)(x)


def test_a_tensorflow_that_keeps_tapes_from_recording(monkeypatch):
    made, x = network(), tf.constant(X)
    for name in ["record", "pack_tangents", "push_forwardprop_state"]:
        monkeypatch.setattr(_autodiff, name, None)
    for wrap in [lambda fn: fn, lambda fn: tf.function(fn, autograph=False)]:
        with pytest.raises(NotImplementedError, match="Two gradient tapes give the"):
            wrap(lambda x: jvp(sequential(made), x))(x)
    with pytest.raises(NotImplementedError, match="Two gradient tapes give the"):
        tf.function(lambda x: jvp(lambda x: inverse_and_log_det(x)[0], x))(x[:3])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = sequential(made)(x)
    assert np.all(np.isfinite(tape.gradient(y, x)))


def test_the_way_that_refusals_name():
    fn, x = sequential(network()), tf.constant(X)
    c, tangent = tf.ones_like(x), tf.constant(X[::-1])
    with tf.GradientTape() as outer:
        outer.watch(c)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = fn(x)
        g = inner.gradient(y, x, c)
    with tf.autodiff.ForwardAccumulator(x, tangent) as forward_mode:
        y = fn(x)
    close(outer.gradient(g, c, tangent), forward_mode.jvp(y), 1e-12)


def test_recomputation_is_for_reverse_mode():
    flow = conditioned_layers.multi_scale(0, tf.float64, recompute=True)
    with pytest.raises(NotImplementedError, match="with `recompute=False`"):
        jvp(flow.inverse, tf.ones([1, 4, 4, 1], tf.float64))


@pytest.mark.parametrize("kind", [InverseAutoregressive, MaskedAutoregressive])
def test_gradients_of_densities_and_samples_in_loops(kind):
    made, x = network(), tf.constant(X[:2])
    flow = tfp.distributions.TransformedDistribution(
        tfp.distributions.MultivariateNormalDiag(tf.zeros(3, tf.float64)), kind(made)
    )

    def value(x):
        y = flow.bijector.forward(x)
        return tf.reduce_sum(y**2) + tf.reduce_sum(flow.log_prob(x))

    def gradient(x, compute):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = compute(x)
        return tape.gradient(total, [x, *made.trainable_variables])

    def loop(x):
        return tf.while_loop(
            lambda i, total: i < 2,
            lambda i, total: (i + 1, total + value(x[i])),
            (tf.constant(0), tf.zeros([], x.dtype)),
        )[1]

    expected = gradient(x, lambda x: tf.add_n([value(row) for row in tf.unstack(x)]))
    in_graph = tf.function(lambda x: gradient(x, loop), autograph=False)
    for one, other in zip(in_graph(x), expected):
        close(one, other, 1e-12)


def test_loops_over_networks_that_hide_their_variables():
    made = network()
    layer = MaskedAutoregressive(lambda z: made(z))

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(tf.map_fn(layer.forward, x))
        return tape.gradient(total, x)

    with pytest.raises(NotImplementedError, match="hides .'bias_0:0', .* all points"):
        tf.function(gradient, autograph=False)(tf.constant(X))
    assert np.all(np.isfinite(gradient(tf.constant(X))))


def test_a_function_within_forward_mode():
    made, x = network(), tf.constant(X)
    for layer in [InverseAutoregressive(made).inverse, sequential(made)]:
        with pytest.raises(NotImplementedError, match="`tf.function` that is called"):
            jvp(tf.function(layer, autograph=False), x)
