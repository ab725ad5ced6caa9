"""Inverse of an increasing function, elementwise and differentiable."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfp_flows._typing import TensorLike

__all__ = ["solve_increasing"]


def solve_increasing(
    value_and_slope_fn: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    target: TensorLike,
    low: TensorLike,
    high: TensorLike,
    initial_position: TensorLike | None = None,
    value_tolerance: TensorLike | None = None,
    max_iterations: int | None = None,
) -> tf.Tensor:
    """Find where an increasing function takes a value, within a bracket.

    Newton's method with bisection as a safeguard. It takes Newton's step if that stays
    in the bracket and is at most three quarters as long as the last one, and halves the
    bracket otherwise. So it converges for every increasing function, even with wrong
    slopes. The first and second derivatives of the root are those of the implicit
    function theorem, with respect to `target` and any tensors that the function closes
    over. They do not pass through the iterations. All tensor arguments broadcast.

    Args:
      value_and_slope_fn: callable from `x` to the value and the slope there, both of
        the shape of `x`. The value increases with `x`; the slope is at least 0. Second
        derivatives are correct only if the slope is differentiable.
      target: floating tensor, the value to take.
      low, high: tensors around the root. If the root lies outside by no more than
        rounding errors, that end is returned.
      initial_position: tensor within the bracket; by default its midpoint.
      value_tolerance: tensor, absolute difference between value and target at which the
        search ends, ideally the rounding error of the value at the root. By default it
        is two rounding units of `target`. If the rounding error is larger, the search
        continues until the bracket is exhausted, at a cost in time alone.
      max_iterations: integer; by default enough to reduce any bracket to rounding error
        by bisection, after Newton's method was given up.

    Returns:
      root: tensor of the broadcast shape, NaN where an argument is NaN.

    Raises:
      TypeError: `target` is not floating.

    Example:

    >>> def cube(x):
    ...     return x**3, 3.0 * x**2
    >>> solve_increasing(cube, [8.0, 27.0], low=0.0, high=10.0).numpy().round(4)
    array([2., 3.], dtype=float32)
    """
    target = tf.convert_to_tensor(target, name="target")
    if not target.dtype.is_floating:
        raise TypeError(f"`target` must be floating; got {target.dtype.name}.")
    low, high = (tf.convert_to_tensor(end, target.dtype) for end in (low, high))
    if initial_position is None:
        initial_position = 0.5 * (low + high)
    position = tf.convert_to_tensor(initial_position, target.dtype)
    fixed = [tf.stop_gradient(tensor) for tensor in (target, low, high, position)]
    if value_tolerance is None:
        eps = np.finfo(target.dtype.as_numpy_dtype).eps
        value_tolerance = 2.0 * eps * tf.abs(fixed[0])
    x = find_root(
        value_and_slope_fn,
        fixed[0],
        fixed[1],
        fixed[2],
        fixed[3],
        lambda x: value_tolerance,
        max_iterations=max_iterations,
    )
    x = tf.stop_gradient(x)
    # A Newton step doubles the order to which a root is correct as a function of its
    # arguments, so two steps give correct second derivatives. Their length is 0.
    for _ in range(2):
        value, slope = value_and_slope_fn(x)
        excess = value - target
        x -= (excess - tf.stop_gradient(excess)) / tf.maximum(slope, _tiny(x.dtype))
    return x


def find_root(
    value_and_slope_fn: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]],
    target: tf.Tensor,
    low: tf.Tensor,
    high: tf.Tensor,
    initial_position: tf.Tensor,
    value_tolerance_fn: Callable[[tf.Tensor], tf.Tensor],
    unrolled: int = 0,
    max_iterations: int | None = None,
) -> tf.Tensor:
    """Returns the result of `solve_increasing`, without gradients.

    `value_tolerance_fn` is a function of `x`. The first `unrolled` iterations precede
    the loop: XLA fuses them into one pass over the data.
    """
    dtype = target.dtype
    unit = np.finfo(dtype.as_numpy_dtype).eps
    bits = -int(np.log2(unit))
    newton_iterations = bits // 2 + 8
    if max_iterations is None:
        max_iterations = newton_iterations + bits + 16

    def evaluate(x, low, high):
        value, slope = value_and_slope_fn(x)
        excess = value - target
        # A comparison with NaN is false, so the search ends at NaN.
        low = tf.where(excess < 0.0, x, low)
        high = tf.where(excess > 0.0, x, high)
        gap = 4.0 * unit * tf.maximum(tf.abs(low), tf.abs(high))
        searching = (tf.abs(excess) > value_tolerance_fn(x)) & (high - low > gap)
        return x, low, high, excess / tf.maximum(slope, _tiny(dtype)), searching

    def iterate(i, x, low, high, step, last, searching):
        # Where Newton's step is below rounding error, a step across the root closes the
        # bracket. With a wrong slope only bisection does.
        across = 2.0 * unit * tf.abs(x)
        tiny = tf.abs(step) <= across
        newton = x - tf.where(tiny, tf.sign(step) * across, step)
        inside = tf.clip_by_value(newton, low, high)  # an end may be the root
        accepted = (
            tf.where(tiny, last > across, tf.abs(step) <= 0.75 * last)
            & (tf.abs(newton - inside) <= across)
            & (i < newton_iterations)
        )
        last = tf.where(accepted, tf.maximum(tf.abs(step), across), high - low)
        candidate = tf.where(accepted, inside, _middle(low, high))
        x = tf.where(searching, candidate, x)
        x, low, high, step, unsolved = evaluate(x, low, high)
        return i + 1, x, low, high, step, last, searching & unsolved

    shape = tf.broadcast_dynamic_shape(tf.shape(initial_position), tf.shape(target))
    shape = tf.broadcast_dynamic_shape(shape, tf.shape(low))
    shape = tf.broadcast_dynamic_shape(shape, tf.shape(high))
    tensors = (low, high, initial_position)
    low, high, x = (tf.broadcast_to(tensor, shape) for tensor in tensors)
    low, high = tf.minimum(low, x), tf.maximum(high, x)
    state = (tf.constant(0), *evaluate(x, low, high))
    state = (*state[:5], high - low, state[5])
    for _ in range(unrolled):
        state = iterate(*state)
    state = tf.while_loop(
        lambda *state: tf.reduce_any(state[-1]),
        iterate,
        state,
        maximum_iterations=max_iterations - unrolled,
    )
    _, x, low, high, step, _, _ = state
    polished = tf.clip_by_value(x - step, low, high)
    return tf.where(tf.abs(step) <= 4.0 * unit * tf.abs(x), polished, x)


def _middle(low, high):
    """Returns the midpoint of a bracket: geometric if its ends differ in magnitude."""
    tiny = _tiny(low.dtype)
    minimum = tf.maximum(tf.minimum(tf.abs(low), tf.abs(high)), tiny)
    maximum = tf.maximum(tf.abs(low), tf.abs(high))
    middle = tf.where(
        maximum > 4.0 * minimum,
        tf.sign(low + high) * tf.sqrt(minimum) * tf.sqrt(maximum),
        0.5 * low + 0.5 * high,
    )
    return tf.where((low < 0.0) & (high > 0.0), tf.zeros_like(low), middle)


def _tiny(dtype):
    return np.finfo(dtype.as_numpy_dtype).tiny
