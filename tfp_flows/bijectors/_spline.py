"""Monotonic rational-quadratic spline of scalars, with the identity for its tails.

`tfb.RationalQuadraticSpline` is wrong under `tf.vectorized_map`, and finds bins with
`searchsorted` and `gather`, which are slow to compile and to differentiate.
"""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._layer import Layer

tfb = tfp.bijectors


class Spline(Layer):
    """Equations 4 to 8 of Durkan et al. (2019), https://arxiv.org/abs/1906.04032.

    In a bin, let `u` be the share of its width before `x`, `v` that of its height below
    `y`, and `a` and `b` the slopes at its ends in units of `height / width`. Then
    `v = (u^2 + a u (1 - u)) / n`, `n = u^2 + (1 - u)^2 + (a + b) u (1 - u)`, and
    `dv/du = (b u^2 + 2 u (1 - u) + a (1 - u)^2) / n^2`; no term is negative.

    Args:
      widths: widths of the bins, shape `[..., K]`, positive with sum `2 bound`.
      heights: heights of the bins, likewise.
      raw_slopes: numbers for the slopes at the inner knots, shape `[..., K - 1]`, each
        `min_knot_slope` and a softplus; 0 is slope 1, as at `bound`.
      bound: where the identity begins.
      min_knot_slope: least slope at a knot, below 1.
      validate_args: not used.
      name: prefix of the ops.
    """

    def __init__(
        self,
        widths,
        heights,
        raw_slopes,
        bound,
        min_knot_slope,
        validate_args=False,
        name="spline",
    ):
        parameters = dict(locals())
        self.widths, self.heights, self.raw_slopes = widths, heights, raw_slopes
        self.bound, self.min_knot_slope = bound, min_knot_slope
        super().__init__(
            forward_min_event_ndims=0,
            dtype=widths.dtype,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype):
        bins = tfp.util.ParameterProperties(event_ndims=1)
        return dict.fromkeys(["widths", "heights", "raw_slopes"], bins)

    @classmethod
    def _is_increasing(cls):
        return True

    def _forward(self, x):
        return self._forward_and_log_det(x)[0]

    def _inverse(self, y):
        return self._inverse_and_log_det(y)[0]

    def _inverse_log_det_jacobian(self, y):
        return self._inverse_and_log_det(y)[1]

    def _forward_and_log_det(self, x):
        return self._evaluate(x, forward=True)

    def _inverse_and_log_det(self, y):
        x, log_slope = self._evaluate(y, forward=False)
        return x, -log_slope

    def _evaluate(self, point, forward):
        """Returns what a direction makes of a point, and the log slope of forward."""
        inside = tf.abs(point) < self.bound
        # Outside, what is not used may be infinite, and then makes gradients NaN.
        p = tf.where(inside, point, tf.zeros_like(point))
        (x, width), (y, height), a, b = self._bin_of(
            p, self.widths if forward else self.heights
        )
        slope = height / width
        a, b = a / slope, b / slope
        if forward:
            u = _share(p, x, width)
            rest = 1.0 - u
        else:
            u, rest = _solve(_share(p, y, height), a, b)
        n = u**2 + rest**2 + (a + b) * u * rest
        value = y + height * (u**2 + a * u * rest) / n if forward else x + width * u
        log_slope = tf.math.log(slope * (b * u**2 + 2.0 * u * rest + a * rest**2))
        log_slope -= 2.0 * tf.math.log(n)
        zeros = tf.zeros_like(log_slope)
        return tf.where(inside, value, point), tf.where(inside, log_slope, zeros)

    def _bin_of(self, p, sizes):
        """Returns start and size of the bin of `p`, in `x` and `y`, and its slopes."""
        # The knots only tell the bin. Gradients go through the sums below, not through
        # `cumsum`; and a softplus of the two slopes in use costs less than one of all.
        knots = tf.cumsum(tf.stop_gradient(sizes), axis=-1)[..., :-1] - self.bound
        above = tf.cast(p[..., tf.newaxis] >= knots, tf.int32)
        index = tf.reduce_sum(above, axis=-1, keepdims=True)
        bins = tf.range(tf.shape(sizes)[-1])
        before, here = (tf.cast(m, p.dtype) for m in (bins < index, bins == index))

        def total(mask, values):
            return tf.reduce_sum(mask * values, axis=-1)

        offset = float(np.log(np.expm1(1.0 - self.min_knot_slope)))
        return *(
            (total(before, values) - self.bound, total(here, values))
            for values in (self.widths, self.heights)
        ), *(
            self.min_knot_slope
            + tf.math.softplus(total(mask, self.raw_slopes) + offset)
            for mask in (here[..., 1:], here[..., :-1])
        )


def _share(p, start, size):
    """Returns how much of a bin is before `p`, in [0, 1] in spite of rounding."""
    share = (p - start) / size
    # Not clipped for gradients, which would be 0 at some knots.
    return share + tf.stop_gradient(tf.clip_by_value(share, 0.0, 1.0) - share)


def _solve(v, a, b):
    """Returns `u` and `1 - u` at a given `v`."""
    # The quadratic of appendix A.3, with its terms collected so that close numbers are
    # subtracted in `m` only. Each branch is a stable form of the same root.
    m = a * (1.0 - v) - b * v
    rising = m >= 0.0
    q = tf.sqrt(m**2 + 4.0 * v * (1.0 - v)) + tf.where(rising, m, -m)  # abs has a kink
    u, rest = tf.where(rising, 2.0 * v, q), tf.where(rising, q, 2.0 * (1.0 - v))
    return u / (u + rest), rest / (u + rest)
