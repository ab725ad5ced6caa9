"""Logit layer: maps a bounded range to the real line."""

import math

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._layer import Layer
from tfp_flows.bijectors import _last_axis_sums

tfb = tfp.bijectors


class Logit(Layer):
    """Logit layer: maps values in a range to the real line.

    `y = log(p / (1 - p))`, `p = alpha + (1 - 2 alpha) (x - low) / (high - low)`,
    elementwise: Dinh et al. (2017), section 4.1, https://arxiv.org/abs/1605.08803, with
    `alpha = 0.05`. `forward` maps data to the real line: in a flow whose `forward`
    makes images, use `tfb.Invert(Logit())`.

    The domain extends beyond the range, by `alpha / (1 - 2 alpha)` of its length on
    either side: `inverse` returns such values, and `forward` accepts them. For `|y|`
    above about 14 in float32, where `p` would round to 0 or 1, `inverse` returns the
    outermost value that `forward` accepts.

    Args:
      alpha: number in (0, 0.5), the distance of `p` from 0 and 1 at the ends of the
        range.
      low: lower end of the range.
      high: upper end of the range, above `low`.
      validate_args: whether to check in graphs that `x` is in the domain. Eager tensors
        are always checked.
      name: prefix of the ops.

    Raises:
      ValueError: `alpha` is not in (0, 0.5), or `low` is not below `high`.
      tf.errors.InvalidArgumentError: `x` is outside of the domain.

    >>> Logit().forward([0.5]).numpy().round(5)
    array([0.], dtype=float32)
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
        least = 8.0 * np.finfo(y.dtype.as_numpy_dtype).eps  # above the rounding error
        p = tf.clip_by_value(tf.sigmoid(y), least, 1.0 - least)
        return self.low + slope * (p - self.alpha)

    def _forward_log_det_jacobian(self, x):
        below, above = self._shares(x)
        return -tf.math.log(below * above) - self._log_slope()

    def _inverse_log_det_jacobian(self, y):
        # `log(p (1 - p))` from `y` itself, which does not cancel for large `|y|`.
        return tf.math.log_sigmoid(y) + tf.math.log_sigmoid(-y) + self._log_slope()

    def _sum_fn(self, x, axis=None):  # TFP's reduction over event axes
        return _last_axis_sums.sum_axes(x, axis)

    def _log_slope(self):
        return math.log((self.high - self.low) / (1.0 - 2.0 * self.alpha))

    def _shares(self, x):
        """Returns `p` and `1 - p`, each in a form that does not cancel near 0."""
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
