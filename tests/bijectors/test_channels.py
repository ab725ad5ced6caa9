"""Scales and shifts of channels: gradients in graphs against those of plain formulas."""

import numpy as np
import pytest
import tensorflow as tf

from tfp_flows.bijectors import _channels

PLAIN = {_channels.scale: tf.multiply, _channels.shift: tf.add}
# Inputs, parameters. The last three are no channels of pixels, and take the plain way.
SHAPES = [
    ([3, 4, 5, 2], [2]), ([4, 5, 2], [1, 1, 2]), ([3, 2, 4, 5, 1], [1]),
    ([7, 2], [2]), ([3, 4, 5, 2], [3, 1, 1, 2]), ([3, 4, 2], [4, 2]),
]


def _derivatives(function, x, parameter):
    """Value, gradients, and gradients of a function of these."""
    sources = [x, parameter]
    with tf.GradientTape() as outer:
        outer.watch(sources)
        with tf.GradientTape() as tape:
            tape.watch(sources)
            value = function(x, parameter)
            total = tf.reduce_sum(tf.sin(value))
        first = tape.gradient(total, sources)
        total = sum(tf.reduce_sum(tf.cos(g)) for g in first)
    return value, first, outer.gradient(total, sources)


@pytest.mark.parametrize("shape, of_parameter", SHAPES)
@pytest.mark.parametrize("known", [True, False], ids=["static", "unknown batch"])
@pytest.mark.parametrize("jit_compile", [True, False], ids=["XLA", "graph"])
@pytest.mark.parametrize("function", PLAIN, ids=["scale", "shift"])
def test_derivatives_are_those_of_the_formula(
    function, jit_compile, known, shape, of_parameter
):
    rng = np.random.default_rng(0)
    x, parameter = rng.normal(size=shape), rng.normal(size=of_parameter)
    signature = [
        tf.TensorSpec(shape if known else [None, *shape[1:]], tf.float64),
        tf.TensorSpec(of_parameter, tf.float64),
    ]
    compiled = tf.function(
        lambda *args: _derivatives(function, *args), signature,
        jit_compile=jit_compile, autograph=False)
    plain = _derivatives(PLAIN[function], tf.constant(x), tf.constant(parameter))
    for got, expected in zip(
        tf.nest.flatten(compiled(x, parameter)), tf.nest.flatten(plain)
    ):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)


def test_sums_over_pixels_are_products_in_graphs():
    """What is fast under XLA, and nothing else, has a product."""

    def operations(shape):
        @tf.function(autograph=False)
        def gradient(x, factor):
            with tf.GradientTape() as tape:
                tape.watch(factor)
                value = _channels.scale(x, factor)
            return tape.gradient(value, factor)

        graph = gradient.get_concrete_function(tf.zeros(shape), tf.zeros([2])).graph
        return {operation.type for operation in graph.get_operations()}

    assert "MatMul" in operations([3, 4, 5, 2])
    assert "MatMul" not in operations([3, 2])
