"""Tests of `tfp_flows.root_finding`."""

import numpy as np
import pytest
import tensorflow as tf

from tests.laws import close
from tfp_flows.root_finding import solve_increasing

both_dtypes = pytest.mark.parametrize("dtype", [tf.float32, tf.float64])


def cubic(x):
    return x**3 + x, 3.0 * x**2 + 1.0


@both_dtypes
@pytest.mark.parametrize("jit_compile", [False, True])
def test_finds_known_roots(dtype, jit_compile):
    roots = tf.constant([-30.0, -1.0, 0.0, 1e-3, 1.0, 7.0], dtype)
    solve = tf.function(
        lambda t: solve_increasing(cubic, t, -100.0, 100.0), jit_compile=jit_compile
    )
    tolerance = 8.0 * np.finfo(dtype.as_numpy_dtype).eps
    found = solve(roots**3 + roots)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, roots, rtol=tolerance, atol=tolerance)


@both_dtypes
@pytest.mark.parametrize(
    "slope",
    [lambda x: 0.0 * x, lambda x: 1e-6 + 0.0 * x, lambda x: 1e9 + 0.0 * x, tf.math.exp],
    ids=["none", "far too small", "far too large", "wrong"],
)
def test_ends_at_the_root_whatever_the_slope_says(dtype, slope):
    targets = tf.constant([-5.0, 0.3, 2.0, 9.0], dtype)
    found = solve_increasing(
        lambda x: (tf.math.asinh(x) * 3.0, slope(x)), targets, -1e4, 1e4
    )
    tolerance = 16.0 * np.finfo(dtype.as_numpy_dtype).eps
    np.testing.assert_allclose(
        found, np.sinh(np.float64(targets) / 3.0), rtol=tolerance
    )


@both_dtypes
def test_finds_the_step_of_a_staircase(dtype):
    # Its slope is 0 nearly everywhere, and the target is never taken.
    def staircase(x):
        return tf.floor(x * 4.0) + 1e-3 * x, 0.0 * x + 1e-3

    found = solve_increasing(staircase, tf.constant(2.5, dtype), -50.0, 90.0)
    np.testing.assert_allclose(found, 0.75, rtol=1e-5)


@both_dtypes
def test_finds_small_roots_in_the_widest_brackets(dtype):
    high = 0.1 * np.finfo(dtype.as_numpy_dtype).max
    targets = tf.constant([-0.9, -1e-6, 0.0, 1e-3, 0.3], dtype)

    def function(x):
        return tf.math.tanh(x), 1.0 - tf.math.tanh(x) ** 2

    found = solve_increasing(function, targets, -high, [high] * 5)
    tolerance = 64.0 * np.finfo(dtype.as_numpy_dtype).eps
    np.testing.assert_allclose(found, np.arctanh(targets), rtol=tolerance)


def test_a_bracket_that_ends_at_the_root():
    target = tf.constant([0.0, 2.0], tf.float64)
    close(solve_increasing(cubic, target, [0.0, 0.5], [3.0, 1.0]), [0.0, 1.0])


def test_gradients_are_those_of_the_implicit_function_theorem():
    def root(target, scale):
        def function(x):
            return x + scale * tf.math.tanh(x), 1.0 + scale / tf.math.cosh(x) ** 2

        return solve_increasing(function, target, -20.0, 20.0)

    target = tf.constant([-3.0, 0.2, 1.0, 6.0], tf.float64)
    scale = tf.constant([-0.9, 3.0, 10.0, 0.5], tf.float64)
    with tf.GradientTape(persistent=True) as outer:
        outer.watch([target, scale])
        with tf.GradientTape() as inner:
            inner.watch([target, scale])
            x = root(target, scale)
        first = inner.gradient(x, [target, scale])
    h, slope = np.tanh(x), 1.0 + scale / np.cosh(x) ** 2
    close(first[0], 1.0 / slope)
    close(first[1], -h / slope)
    step = 1e-5
    for i, gradient in enumerate(first):
        for j, argument in enumerate([target, scale]):
            moves = [[step * (j == k) * sign for k in range(2)] for sign in (1, -1)]
            ends = []
            for move in moves:
                with tf.GradientTape() as tape:
                    moved = [target + move[0], scale + move[1]]
                    tape.watch(moved)
                    value = root(*moved)
                ends.append(tape.gradient(value, moved)[i])
            second = outer.gradient(gradient, argument)
            close(second, (ends[0] - ends[1]) / (2 * step), 1e-7)


def test_arguments_broadcast():
    target = tf.constant([[1.0], [2.0]])
    low = [-9.0] * 3
    found = solve_increasing(lambda x: (2.0 * x, 2.0 + 0.0 * x), target, low, 9.0)
    close(found, [[0.5] * 3, [1.0] * 3])


def test_nan_stays_nan_and_stops():
    found = solve_increasing(cubic, tf.constant([np.nan, 2.0]), -9.0, 9.0)
    np.testing.assert_allclose(found, [np.nan, 1.0])


def test_the_number_of_iterations_is_bounded():
    found = solve_increasing(cubic, tf.constant(2.0), -9.0, 10.0, max_iterations=1)
    assert abs(found - 1.0) > 0.1


def test_rejects_integers():
    with pytest.raises(TypeError, match="`target` must be floating; got int32"):
        solve_increasing(cubic, 2, -9, 9)
