"""A layer and a network of a user, for mypy alone: `tests/test_typing.py` runs it."""

from __future__ import annotations

import tensorflow as tf

from tfp_flows import bijectors


class Stretch(bijectors.Layer):
    """`y = exp(log_scale) x`."""

    def __init__(self, log_scale: tf.Variable, name: str = "stretch") -> None:
        parameters = dict(locals())
        self.log_scale = log_scale
        super().__init__(
            forward_min_event_ndims=0,
            dtype=log_scale.dtype,
            parameters=parameters,
            name=name,
        )

    def _forward(self, x: tf.Tensor) -> tf.Tensor:
        return tf.exp(self.log_scale) * x

    def _inverse(self, y: tf.Tensor) -> tf.Tensor:
        return tf.exp(-self.log_scale) * y

    def _inverse_log_det_jacobian(self, y: tf.Tensor) -> tf.Tensor:
        return -self.log_scale


def use(x: tf.Tensor) -> tf.Tensor:
    """Evaluates it in both directions."""
    layer = Stretch(tf.Variable(0.5))
    y, log_det = layer.forward_and_log_det(x)
    z, inverse_log_det = layer.inverse_and_log_det(y)
    total: tf.Tensor = log_det + inverse_log_det
    return total + tf.reduce_sum(z)
