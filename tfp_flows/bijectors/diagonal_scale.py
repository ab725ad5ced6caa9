"""Diagonal scaling layer."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._layer import Layer
from tfp_flows._parameters import (
    FINITE,
    as_parameters,
    assert_parameters,
    check_input,
    check_shapes,
)
from tfp_flows.bijectors import _last_axis_sums

tfb = tfp.bijectors


class DiagonalScale(Layer):
    """Diagonal scaling layer: multiplies each element by a learned scale.

    `y = x exp(log_scale)`, with log determinant `sum_d log_scale_d`: the last layer of
    NICE, whose couplings preserve volume (Dinh et al., 2015, section 3.3),
    https://arxiv.org/abs/1410.8516. The paper writes the map from data to latents:
    its `S_dd` is `exp(-log_scale_d)`.

    `x` and `y` have shape `[..., D]`. Their leading axes broadcast with the batch shape
    of `log_scale`; log determinants have the resulting shape.

    Args:
      log_scale: logarithm of the scale, shape `[..., D]`, unitless; 0 is the identity.
      validate_args: whether to check that a tensor or variable is finite.
      name: prefix of the ops.

    Raises:
      TypeError: the dtype of `log_scale` is not floating.
      ValueError: the last axes of the input and of `log_scale` differ in length.
      ValueError: `log_scale` is given as numbers that are not finite.
      tf.errors.InvalidArgumentError: a check of `validate_args` fails.

    >>> DiagonalScale(log_scale=[0.0, 1.0]).forward([2.0, 0.0]).numpy()
    array([2., 0.], dtype=float32)
    """

    def __init__(self, log_scale, validate_args=False, name="diagonal_scale"):
        parameters = dict(locals())
        (self.log_scale,) = as_parameters(log_scale=log_scale)
        check_shapes(dict(log_scale="D"), log_scale=self.log_scale)
        super().__init__(
            forward_min_event_ndims=1,
            dtype=self.log_scale.dtype,
            is_constant_jacobian=True,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype):
        return dict(log_scale=tfp.util.ParameterProperties(event_ndims=1))

    def _parameter_control_dependencies(self, is_init):
        return assert_parameters(self, is_init, dict(log_scale=FINITE))

    def _forward(self, x):
        check_input(self, x, log_scale=self.log_scale)
        return x * tf.exp(self.log_scale)

    def _inverse(self, y):
        check_input(self, y, log_scale=self.log_scale)
        return y * tf.exp(-self.log_scale)

    def _forward_log_det_jacobian(self, x):
        check_input(self, x, log_scale=self.log_scale)
        log_det = _last_axis_sums.sum_event(tf.convert_to_tensor(self.log_scale), 1)
        return log_det + tf.zeros(tf.shape(x)[:-1], x.dtype)

    def _inverse_log_det_jacobian(self, y):
        return -self._forward_log_det_jacobian(y)  # independent of the input
