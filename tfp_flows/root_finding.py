"""The inverse of an increasing function, elementwise, with gradients."""

import numpy as np
import tensorflow as tf

__all__ = [
    "solve_increasing",
]


def solve_increasing(
    function, target, low, high, start=None, tolerance=None, max_iterations=None
):
    """Finds where an increasing function takes a value, in a bracket that holds it.

    Newton's method with forced bisection. It takes Newton's step while that stays in
    the bracket and is at most three quarters as long as the last one, and halves the
    bracket otherwise, so that it ends for each increasing function, whatever the slope
    that it gets. The gradients of the root, first and second, are those of the implicit
    function theorem, for `target` and for whatever tensors `function` closes over; they
    do not go through the iterations. All arguments that are tensors broadcast.

    Args:
      function: callable that takes `x` and returns the value and the slope there, both
        of the shape of `x`. The value increases with `x`; the slope is at least 0. For
        the second gradients to be right, the slope must be differentiable itself.
      target: floating tensor, the value to be taken.
      low, high: tensors around the root. Where the root lies outside by no more than
        rounding, the end is the answer.
      start: tensor in the bracket to begin with; by default its middle.
      tolerance: tensor, a difference between value and target that stops the search,
        best the rounding error of `function` at the root. By default it is two rounding
        units of `target`; with a larger error the search goes on to the end of the
        bracket, which costs time alone.
      max_iterations: integer; by default enough to bring any bracket down to the
        rounding unit by bisection, after Newton's method was given up.

    Returns:
      root: tensor of the shape that results, NaN where an argument is.

    Raises:
      TypeError: `target` is not floating.
    """
    target = tf.convert_to_tensor(target, name="target")
    if not target.dtype.is_floating:
        raise TypeError(f"`target` must be floating; got {target.dtype.name}.")
    low, high = (tf.convert_to_tensor(end, target.dtype) for end in (low, high))
    start = 0.5 * (low + high) if start is None else start
    ends = [tf.stop_gradient(end) for end in (target, low, high, start)]
    if tolerance is None:
        tolerance = 2.0 * np.finfo(target.dtype.as_numpy_dtype).eps * tf.abs(ends[0])
    x = find_root(function, *ends, lambda x: tolerance, max_iterations=max_iterations)
    x = tf.stop_gradient(x)
    # Newton's step doubles the order to which a root is right in all that it depends
    # on: two steps make second derivatives right. Their length is 0 by construction.
    for _ in range(2):
        value, slope = function(x)
        excess = value - target
        x -= (excess - tf.stop_gradient(excess)) / tf.maximum(slope, _tiny(x.dtype))
    return x


def find_root(
    function, target, low, high, start, tolerance, unrolled=0, max_iterations=None
):
    """`solve_increasing` without gradients.

    `tolerance` is a function of `x`. `unrolled` is the number of iterations that are
    laid out before the loop, where XLA makes one pass over the data of them; the loop
    runs on while there is need.
    """
    dtype = target.dtype
    unit = np.finfo(dtype.as_numpy_dtype).eps
    bits = -int(np.log2(unit))
    newton_iterations = bits // 2 + 8
    if max_iterations is None:
        max_iterations = newton_iterations + bits + 16

    def evaluate(x, low, high):
        value, slope = function(x)
        excess = value - target
        # A comparison with NaN is false: NaN counts as found.
        low = tf.where(excess < 0.0, x, low)
        high = tf.where(excess > 0.0, x, high)
        gap = 4.0 * unit * tf.maximum(tf.abs(low), tf.abs(high))
        searching = (tf.abs(excess) > tolerance(x)) & (high - low > gap)
        return x, low, high, excess / tf.maximum(slope, _tiny(dtype)), searching

    def iterate(i, x, low, high, step, last, searching):
        # Where Newton's step is lost in rounding, a step across the root closes the
        # bracket; but if the slope has misled, only bisection does.
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
        x, low, high, step, still = evaluate(x, low, high)
        return i + 1, x, low, high, step, last, searching & still

    shape = tf.broadcast_dynamic_shape(tf.shape(start), tf.shape(target))
    shape = tf.broadcast_dynamic_shape(shape, tf.shape(low))
    shape = tf.broadcast_dynamic_shape(shape, tf.shape(high))
    low, high, start = (tf.broadcast_to(v, shape) for v in (low, high, start))
    low, high = tf.minimum(low, start), tf.maximum(high, start)
    state = (tf.constant(0), *evaluate(start, low, high))
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
    """Halves a bracket: in the logarithm where its ends are of different orders."""
    tiny = _tiny(low.dtype)
    least = tf.maximum(tf.minimum(tf.abs(low), tf.abs(high)), tiny)
    most = tf.maximum(tf.abs(low), tf.abs(high))
    middle = tf.where(
        most > 4.0 * least,
        tf.sign(low + high) * tf.sqrt(least) * tf.sqrt(most),
        0.5 * low + 0.5 * high,
    )
    return tf.where((low < 0.0) & (high > 0.0), tf.zeros_like(low), middle)


def _tiny(dtype):
    return np.finfo(dtype.as_numpy_dtype).tiny
