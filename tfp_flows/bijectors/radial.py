"""Radial flow layer."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._layer import Layer
from tfp_flows._parameters import (
    FINITE,
    POSITIVE,
    as_parameters,
    assert_parameters,
    check_input,
    check_shapes,
    is_reference,
)
from tfp_flows.bijectors import _last_axis_sums

tfb = tfp.bijectors


class Radial(Layer):
    """Radial flow layer: expands or contracts space around a point.

    `y = center + (x - center) (rho + gain) / (rho + 1)`, `rho = |x - center| / radius`:
    equation 14 of Rezende and Mohamed (2015), https://arxiv.org/abs/1505.05770, with
    `z0 = center`, `alpha = radius` and `beta = radius (gain - 1)`. The paper's
    condition `beta > -alpha` becomes `gain > 0`, so each parameter is constrained
    independently; `from_alpha_beta` takes the paper's parameters.

    The log determinant is `(D - 1) log((rho + gain) / (rho + 1))` for the directions
    orthogonal to the radius, plus `log((rho (rho + 2) + gain) / (rho + 1)^2)` for the
    radial direction. The inverse has a closed form: `rho` is the positive root of
    `rho (rho + gain) = (rho + 1) |y - center| / radius`.

    `x` and `y` have shape `[..., D]`. Their leading axes broadcast with the batch shape
    of the parameters; log determinants have the resulting shape.

    Args:
      center: fixed point, shape `[..., D]`, in the units of `x`.
      radius: distance from `center` at which the scale factor is halfway between `gain`
        and 1, shape `[...]`, positive, in the units of `x`.
      gain: scale factor at `center`, shape `[...]`, positive, unitless; 1 is the
        identity.
      validate_args: whether to check that tensors and variables are in their supports.
      name: prefix of the ops.

    Raises:
      TypeError: the parameters do not fraction one floating dtype.
      ValueError: the shapes of the parameters and the input do not match.
      ValueError: a parameter given as numbers is outside of its support.
      tf.errors.InvalidArgumentError: a check of `validate_args` fails.

    >>> layer = Radial(center=[0.0, 0.0], radius=1.0, gain=3.0)
    >>> layer.forward([[0.0, 1.0]]).numpy()  # rho = 1: scaled by (1 + 3) / (1 + 1)
    array([[0., 2.]], dtype=float32)
    """

    def __init__(self, center, radius, gain, validate_args=False, name="radial"):
        parameters = dict(locals())
        self.center, self.radius, self.gain = as_parameters(
            center=center, radius=radius, gain=gain
        )
        check_shapes(
            dict(center="D", radius="", gain=""),
            center=self.center,
            radius=self.radius,
            gain=self.gain,
        )
        super().__init__(
            forward_min_event_ndims=1,
            dtype=self.center.dtype,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def from_alpha_beta(cls, z0, alpha, beta, validate_args=False, name="radial"):
        """Build the layer from the parameters of the paper.

        Args:
          z0: fixed point, shape `[..., D]`.
          alpha: shape `[...]`, positive.
          beta: shape `[...]`, above `-alpha`; 0 is the identity.
          validate_args: as for `Radial`.
          name: as for `Radial`.

        Returns:
          bijector: `Radial`. Variables `alpha` and `beta` stay live.

        Raises:
          ValueError: `alpha` or `beta` is not a variable and outside of its support.
        """
        z0, alpha, beta = as_parameters(z0=z0, alpha=alpha, beta=beta)
        if is_reference(alpha) or is_reference(beta):
            gain = tfp.util.DeferredTensor(
                alpha,
                lambda alpha: 1.0 + beta / alpha,
                shape=tf.broadcast_static_shape(alpha.shape, beta.shape),
                also_track=beta,
            )
            return cls(z0, alpha, gain, validate_args, name)
        for argument, value, least, text in [
            ("alpha", alpha, 0.0, "0"),
            ("beta", beta, -alpha, "-`alpha`"),
        ]:
            if tf.executing_eagerly() and not np.all(value > least):
                raise ValueError(f"`{argument}` must be above {text}; got {value}.")
        return cls(z0, alpha, 1.0 + beta / alpha, validate_args, name)

    @classmethod
    def _parameter_properties(cls, dtype):
        positive = tfp.util.ParameterProperties(
            shape_fn=lambda shape: shape[:-1], default_constraining_bijector_fn=tfb.Exp
        )  # unconstrained 0 is gain 1
        center = tfp.util.ParameterProperties(event_ndims=1)
        return dict(center=center, radius=positive, gain=positive)

    def _parameter_control_dependencies(self, is_init):
        return assert_parameters(
            self, is_init, dict(center=FINITE, radius=POSITIVE, gain=POSITIVE)
        )

    def _forward(self, x):
        return self._forward_and_log_det(x)[0]

    def _inverse(self, y):
        return self._inverse_and_log_det(y)[0]

    def _inverse_log_det_jacobian(self, y):
        return self._inverse_and_log_det(y)[1]

    def _forward_and_log_det(self, x):
        offset, rho = self._polar(x)
        scale = _mixture(rho, self.gain)
        y = self.center + _last_axis_sums.scale_rows(offset, scale)
        return y, _log_det(rho, scale, x)

    def _inverse_and_log_det(self, y):
        offset, rho = self._polar_of_preimage(y)
        scale = _mixture(rho, self.gain)
        x = self.center + _last_axis_sums.scale_rows(offset, 1.0 / scale)
        return x, -_log_det(rho, scale, y)

    def _polar_of_preimage(self, y):
        """Returns `y - center`, and `rho` of the preimage of `y`."""
        # `rho (rho + gain) / (rho + 1) = scaled` is a quadratic with one root >= 0.
        # Each branch computes it in the form that does not cancel.
        offset, scaled = self._polar(y)
        b = scaled - self.gain
        unit = tf.stop_gradient(
            tf.maximum(tf.abs(b), 1.0)
        )  # against overflow of squares
        root = unit * tf.sqrt((b / unit) ** 2 + 4.0 * (scaled / unit) / unit)
        # Not `abs(b)`: its gradient at 0 is that of neither branch.
        q = 0.5 * (tf.where(b > 0.0, b, -b) + root)
        return offset, tf.where(b > 0.0, q, scaled / q)

    def _polar(self, x):
        """Returns `x - center`, and its norm in units of `radius`."""
        check_input(self, x, center=self.center)
        offset = x - self.center
        tiny = np.finfo(offset.dtype.as_numpy_dtype).tiny  # sqrt has no gradient at 0
        norm = tf.sqrt(tf.maximum(_last_axis_sums.sum_last_axis(offset**2), tiny))
        rho = norm / self.radius
        return offset, tf.minimum(rho, 0.25 * x.dtype.max)  # if squares overflow


def _log_det(rho, scale, x):
    # `rho (rho + 2) + gain = (rho + 1) (rho + scale)`, where the left side overflows.
    along = tf.math.log(_mixture(rho, scale))
    return tf.cast(tf.shape(x)[-1] - 1, x.dtype) * tf.math.log(scale) + along


def _mixture(rho, value):
    """Returns `(rho + value) / (rho + 1)`: `value` at 0, and 1 far out."""
    fraction = 1.0 / (rho + 1.0)
    # The value comes from the quotient, as `far` loses a small `value` near 0. The
    # gradient comes from `far`, as that of the quotient cancels for large `rho`.
    far = 1.0 + (value - 1.0) * fraction
    return far + tf.stop_gradient((rho + value) / (rho + 1.0) - far)
