"""Parametric rectifier layer."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._layer import Layer
from tfp_flows._parameters import (
    POSITIVE,
    as_parameters,
    assert_each,
    check_broadcasts,
)

tfb = tfp.bijectors


class PReLU(Layer):
    """Scales what is negative.

    `y = x` for `x >= 0` and `y = slope x` below, elementwise; the log determinant of an
    element is `log(slope)` below 0, and 0 at 0. This is equation 1 of He et al. (2015),
    https://arxiv.org/abs/1502.01852, restricted to the slopes that make it invertible.

    The log determinant jumps where `x` changes its sign. What moves points across that
    place, such as a shift or rotation before the layer, gets the right gradient of each
    point, but not of the mean of `log_prob` over many, which misses the jump.

    Args:
      slope: tensor that broadcasts with `x`, positive, no unit; 1 is the identity.
        Shape `[]` is one slope for all, `[C]` one for each channel of `[..., C]`, and
        the shape of an event one for each element. It is trained through its logarithm.
      validate_args: whether to check that a tensor or variable `slope` is positive.
      name: prefix of the ops.

    Raises:
      TypeError: `slope` has a dtype that is not floating.
      ValueError: `slope` is a number or array, and not positive and finite.
      tf.errors.InvalidArgumentError: a check of `validate_args` fails.
    """

    def __init__(self, slope, validate_args=False, name="prelu"):
        parameters = dict(locals())
        (self.slope,) = as_parameters(slope=slope)
        super().__init__(
            forward_min_event_ndims=0,
            dtype=self.slope.dtype,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype):
        return dict(
            slope=tfp.util.ParameterProperties(
                default_constraining_bijector_fn=tfb.Exp  # unconstrained 0: identity
            )
        )

    def _parameter_control_dependencies(self, is_init):
        return assert_each(self, is_init, dict(slope=POSITIVE))

    @classmethod
    def _is_increasing(cls):
        return True

    def _forward(self, x):
        self._check(x)
        return tf.where(x < 0.0, self.slope * x, x)

    def _inverse(self, y):
        self._check(y)
        return tf.where(y < 0.0, y / self.slope, y)

    def _inverse_log_det_jacobian(self, y):
        return -self._forward_log_det_jacobian(y)  # it depends on the sign alone

    def _forward_log_det_jacobian(self, x):
        self._check(x)
        log_slope = tf.math.log(self.slope)
        return tf.where(x < 0.0, log_slope, tf.zeros_like(log_slope))

    def _check(self, x):
        check_broadcasts(x.shape, self.slope.shape, "The input")
