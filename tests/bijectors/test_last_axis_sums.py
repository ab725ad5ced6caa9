"""Sums over rows, scales of rows and channels: derivatives against plain formulas'."""

import numpy as np
import pytest
import tensorflow as tf

from tfp_flows.bijectors import _channel_affine, _last_axis_sums

# Shapes of the input and of the parameter. Some parameters are none of channels, or of
# rows, or broadcast, so that the plain formula is taken, and some rows are short.
CHANNELS = [
    ([3, 4, 5, 2], [2]),
    ([4, 5, 2], [1, 1, 2]),
    ([3, 2, 4, 5, 1], [1]),
    ([7, 2], [2]),
    ([3, 4, 5, 2], [3, 1, 1, 2]),
    ([3, 4, 2], [4, 2]),
]
ROWS = [
    ([3, 64], [3]),
    ([2, 3, 67], [2, 3]),
    ([3, 1024], [3]),
    ([3, 1056], [3]),
    ([3, 64], []),
    ([3, 64], [1]),
    ([3, 64], [2, 3]),
    ([3, 32], [3]),
    ([3, 0], [3]),
]
LONG = [2, _last_axis_sums.LONG + 77]
CASES = [
    *((_channel_affine.scale, tf.multiply, *shapes) for shapes in CHANNELS),
    *((_channel_affine.shift, tf.add, *shapes) for shapes in CHANNELS),
    *(
        (_last_axis_sums.scale_rows, lambda x, s: x * s[..., tf.newaxis], *shapes)
        for shapes in ROWS
    ),
    *(
        (
            lambda x, _: _last_axis_sums.sum_last_axis(x),
            lambda x, _: tf.reduce_sum(x, axis=-1),
            *shapes,
        )
        for shapes in ROWS
    ),
    (
        lambda x, _: _last_axis_sums.sum_last_axis(x),
        lambda x, _: tf.reduce_sum(x, axis=-1),
        LONG,
        [],
    ),
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
        first = tape.gradient(total, sources, unconnected_gradients="zero")
        total = sum(tf.reduce_sum(tf.cos(g)) for g in first)
    second = outer.gradient(total, sources, unconnected_gradients="zero")
    return value, first, second


@pytest.mark.parametrize("function, plain, shape, of_parameter", CASES)
@pytest.mark.parametrize("known", [True, False], ids=["static", "unknown batch"])
@pytest.mark.parametrize("jit_compile", [True, False], ids=["XLA", "graph"])
def test_derivatives_are_those_of_the_formula(
    function, plain, jit_compile, known, shape, of_parameter
):
    rng = np.random.default_rng(0)
    x, parameter = rng.normal(size=shape), rng.normal(size=of_parameter)
    signature = [
        tf.TensorSpec(shape if known else [None, *shape[1:]], tf.float64),
        tf.TensorSpec(of_parameter, tf.float64),
    ]
    compiled = tf.function(
        lambda *args: _derivatives(function, *args),
        signature,
        jit_compile=jit_compile,
        autograph=False,
    )
    values = _derivatives(plain, tf.constant(x), tf.constant(parameter))
    for got, expected in zip(
        tf.nest.flatten(compiled(x, parameter)), tf.nest.flatten(values)
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
                value = _channel_affine.scale(x, factor)
            return tape.gradient(value, factor)

        graph = gradient.get_concrete_function(tf.zeros(shape), tf.zeros([2])).graph
        return {operation.type for operation in graph.get_operations()}

    assert "MatMul" in operations([3, 4, 5, 2])
    assert "MatMul" not in operations([3, 2])


def test_long_rows_are_summed_in_pieces():
    def widths(size):
        graph = (
            tf.function(_last_axis_sums.sum_last_axis)
            .get_concrete_function(tf.zeros([5, size]))
            .graph
        )
        sums = [op for op in graph.get_operations() if op.type == "Sum"]
        return [op.inputs[0].shape[-1] for op in sums]

    assert widths(32) == [32]
    assert widths(64) == [32]
    assert widths(100) == [32, 4]
    assert widths(1025) == [1025]  # too many pieces


@pytest.mark.parametrize("shape", [[2**20], [512, 512, 4], [70_001, 3], [2**18 + 5]])
def test_sums_of_many_terms_keep_their_digits(shape):
    x = np.random.default_rng(0).normal(size=[2, *shape]).astype(np.float32)

    def total(x):  # such as the log density of noise
        return _last_axis_sums.sum_event(-0.5 * x**2 - 0.9189385, len(shape))

    found = tf.function(total, jit_compile=True)(x)
    axes = tuple(range(1, x.ndim))
    expected = np.sum(-0.5 * np.float64(x) ** 2 - 0.9189385, axis=axes)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    equal = tf.function(
        lambda x: _last_axis_sums.sum_event(x, len(shape)), jit_compile=True
    )
    value = np.float32(0.1)
    count = np.prod(shape, dtype=np.float64)
    np.testing.assert_allclose(
        equal(np.full([1, *shape], value)), [count * np.float64(value)], rtol=1e-6
    )
