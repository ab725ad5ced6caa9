"""Parametric rectified linear layer."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._layer import Layer
from tfp_flows._parameters import (
    POSITIVE,
    as_parameters,
    assert_parameters,
    check_broadcasts,
)

tfb = tfp.bijectors


class PReLU(Layer):
    """Parametric ReLU: scales negative elements by a learned slope.

    `y = x` for `x >= 0` and `y = slope x` for `x < 0`, elementwise: equation 1 of He et
    al. (2015), https://arxiv.org/abs/1502.01852, restricted to positive slopes, for
    which it is invertible. The log determinant of an element is `log(slope)` for
    `x < 0` and 0 otherwise.

    The log determinant is discontinuous at `x = 0`. Parameters that move points across
    0, such as those of a shift before the layer, get the exact gradient of each
    point's `log_prob`. The gradient of its mean over many points, however, misses the
    contribution of the jump.

    Args:
      slope: tensor that broadcasts with `x`, positive, unitless; 1 is the identity.
        Shape `[]` is one slope for all elements, `[C]` one for each channel of
        `[..., C]`, and the event shape one for each element. `make_trainable` trains
        its logarithm.
      validate_args: whether to check that a tensor or variable `slope` is positive.
      name: prefix of the ops.

    Raises:
      TypeError: the dtype of `slope` is not floating.
      ValueError: `slope` is a number or array that is not positive and finite.
      tf.errors.InvalidArgumentError: a check of `validate_args` fails.

    >>> PReLU(slope=0.5).forward([-2.0, 0.0, 2.0]).numpy()
    array([-1.,  0.,  2.], dtype=float32)
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
        return assert_parameters(self, is_init, dict(slope=POSITIVE))

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
        return -self._forward_log_det_jacobian(y)  # both have the same sign

    def _forward_log_det_jacobian(self, x):
        self._check(x)
        log_slope = tf.math.log(self.slope)
        return tf.where(x < 0.0, log_slope, tf.zeros_like(log_slope))

    def _check(self, x):
        check_broadcasts(x.shape, self.slope.shape, "The input")
