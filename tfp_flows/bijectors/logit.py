"""Logit layer, from a range of pixel values to all numbers."""

import math

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._layer import Layer
from tfp_flows.bijectors import _last_axis_sums

tfb = tfp.bijectors


class Logit(Layer):
    """Takes values of a range to all numbers, by a logit that keeps off its ends.

    `y = log(p / (1 - p))` with `p = alpha + (1 - 2 alpha) (x - low) / (high - low)`,
    for each element: Dinh et al. (2017), section 4.1,
    https://arxiv.org/abs/1605.08803, who take `alpha = 0.05`. `forward` goes from the
    data to the flow: a flow to images has `tfb.Invert` of it. `inverse` can give values
    beyond the range, by less than `alpha / (1 - 2 alpha)` of its length; these are
    accepted by `forward`, too, and no others. Where the dtype cannot tell `p` from 0 or
    1, beyond about 14 in float32, `inverse` gives the last value that it can.

    Args:
      alpha: number in (0, 0.5): what the ends of the range are apart from 0 and 1.
      low, high: ends of the range, numbers with `low < high`.
      validate_args: whether to check in graphs that `x` is such a value. Eager tensors
        are checked always.
      name: prefix of the ops.

    Raises:
      ValueError: the numbers are out of their ranges.
      tf.errors.InvalidArgumentError: `x` is beyond that.
    """

    def __init__(
        self, alpha=0.05, low=0.0, high=1.0, validate_args=False, name="logit"
    ):
        parameters = dict(locals())
        if not 0.0 < alpha < 0.5:
            raise ValueError(f"`alpha` must be in (0, 0.5); got {alpha}.")
        if not low < high:
            raise ValueError(f"`low` must be below `high`; got {low} and {high}.")
        self.alpha, self.low, self.high = alpha, low, high
        super().__init__(
            forward_min_event_ndims=0,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    restricts_support = True

    @classmethod
    def _parameter_properties(cls, dtype):
        return {}

    @classmethod
    def _is_increasing(cls):
        return True

    def _forward(self, x):
        below, above = self._shares(x)
        return tf.math.log(below) - tf.math.log(above)

    def _inverse(self, y):
        slope = (self.high - self.low) / (1.0 - 2.0 * self.alpha)
        least = 8.0 * np.finfo(y.dtype.as_numpy_dtype).eps  # with room for rounding
        p = tf.clip_by_value(tf.sigmoid(y), least, 1.0 - least)
        return self.low + slope * (p - self.alpha)

    def _forward_log_det_jacobian(self, x):
        below, above = self._shares(x)
        return -tf.math.log(below * above) - self._log_slope()

    def _inverse_log_det_jacobian(self, y):
        # The product of both shares, from y itself: it does not cancel far out.
        return tf.math.log_sigmoid(y) + tf.math.log_sigmoid(-y) + self._log_slope()

    def _sum_fn(self, x, axis=None):  # what TFP sums over the axes of an event with
        return _last_axis_sums.total_over(x, axis)

    def _log_slope(self):
        return math.log((self.high - self.low) / (1.0 - 2.0 * self.alpha))

    def _shares(self, x):
        """Returns `p` and `1 - p`, each by a form that does not cancel near its 0."""
        slope = (1.0 - 2.0 * self.alpha) / (self.high - self.low)
        below = self.alpha + slope * (x - self.low)
        above = self.alpha + slope * (self.high - x)
        if not (self.validate_args or tf.executing_eagerly()):
            return below, above
        margin = self.alpha / slope
        message = (
            f"Values must be above {self.low - margin} and below {self.high + margin}, "
            f"for the range {self.low} to {self.high}; got"
        )
        inside = tf.reduce_all((below > 0.0) & (above > 0.0))
        with tf.control_dependencies([tf.debugging.Assert(inside, [message, x])]):
            return tf.identity(below), tf.identity(above)
