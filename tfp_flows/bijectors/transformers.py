"""Elementwise transformations of network layers, by what a network tells of each one.

A transformer has `num_parameters`, how many numbers it takes for each element, and is
called with a tensor of shape `[..., num_parameters]`. It returns a bijector of scalars
with batch shape `[...]`, increasing. Any object like that will do. Those here are the
identity, or near it, where the numbers are 0.
"""

import dataclasses

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._builders import register
from tfp_flows._layer import Layer
from tfp_flows.bijectors._spline import Spline

__all__ = [
    "Additive",
    "Affine",
    "GatedAffine",
    "RationalQuadraticSpline",
    "SigmoidAffine",
]

tfb = tfp.bijectors


@register
@dataclasses.dataclass(frozen=True)
class Additive:
    """`y = x + t`, which keeps volumes, as in NICE (Dinh et al., 2015).

    See https://arxiv.org/abs/1410.8516, section 3.2. One parameter: `t`.
    """

    num_parameters = 1

    def __call__(self, parameters):
        return tfb.Shift(parameters[..., 0])


@register
@dataclasses.dataclass(frozen=True)
class Affine:
    """`y = x exp(s) + t`, as in MAF, IAF and RealNVP, with a bounded `s`.

    Dinh et al. (2017), https://arxiv.org/abs/1605.08803, equation 8. Two parameters:
    `t` and a number `r`, `s = r / (1 + |r| / max_log_scale)`. The bound is approached
    but never reached, so that the gradient stays alive.

    Args:
      max_log_scale: bound of `|s|`, positive. By default scales are in (1e-3, 1e3).

    Raises:
      ValueError: `max_log_scale` is not positive and finite.
    """

    max_log_scale: float = float(np.log(1e3))
    num_parameters = 2

    def __post_init__(self):
        _check_positive(max_log_scale=self.max_log_scale)

    def __call__(self, parameters):
        shift, raw = tf.unstack(parameters, axis=-1)
        return _ScaleAndShift(_bounded(raw, self.max_log_scale), shift)


@register
@dataclasses.dataclass(frozen=True)
class GatedAffine:
    """`y = g x + (1 - g) m`, `g = sigmoid(s + bias)`, which only contracts.

    The update of an LSTM, as Kingma et al. (2016) have it for their inverse
    autoregressive flow, https://arxiv.org/abs/1606.04934, equation 14. Two parameters:
    `m` and a number `r`, `s = r / (1 + |r| / max_log_scale)` as for `Affine`: a gate
    that shuts loses `x` in rounding.

    Slopes are below 1: a flow of such layers has no element that is wider, given those
    before it, than the noise. The paper gives it noise whose scales are trained.

    Args:
      bias: what opens the gate at the start. It is never the identity: at `s = 0` and
        `bias = 1.5` the gate is 0.82.
      max_log_scale: bound of `|s|`, positive.

    Raises:
      ValueError: `bias` is not finite, or `max_log_scale` not positive and finite.
    """

    bias: float = 1.5
    max_log_scale: float = float(np.log(1e3))
    num_parameters = 2

    def __post_init__(self):
        _check_gate(self)

    def __call__(self, parameters):
        candidate, raw = tf.unstack(parameters, axis=-1)
        logit = _bounded(raw, self.max_log_scale) + self.bias
        log_gate = tf.math.log_sigmoid(logit)
        return _ScaleAndShift(log_gate, tf.sigmoid(-logit) * candidate)


@register
@dataclasses.dataclass(frozen=True)
class SigmoidAffine:
    """`x = (y + t) sigmoid(s + bias)`, as in Glow, which stretches on the way to data.

    The couplings of Kingma and Dhariwal (2018), https://arxiv.org/abs/1807.03039, as
    their code has them: data come near the noise at a rate that is bounded. Two
    parameters: `t` and a number `r`, `s = r / (1 + |r| / max_log_scale)` as for
    `Affine`. Slopes are above 1: what is narrower than the noise takes other layers,
    such as the `ActNorm` of a Glow.

    Args:
      bias: what opens the gate at the start, where it is 0.88 at 2.
      max_log_scale: bound of `|s|`, positive.

    Raises:
      ValueError: `bias` is not finite, or `max_log_scale` not positive and finite.
    """

    bias: float = 2.0
    max_log_scale: float = float(np.log(1e3))
    num_parameters = 2

    def __post_init__(self):
        _check_gate(self)

    def __call__(self, parameters):
        shift, raw = tf.unstack(parameters, axis=-1)
        logit = _bounded(raw, self.max_log_scale) + self.bias
        return _ScaleAndShift(-tf.math.log_sigmoid(logit), -shift)


@register
@dataclasses.dataclass(frozen=True)
class RationalQuadraticSpline:
    """Monotonic spline of rational-quadratic pieces, the identity outside an interval.

    Durkan et al. (2019), https://arxiv.org/abs/1906.04032, equations 4 to 8.
    `3 num_bins - 1` parameters: the widths and the heights of the bins, through a
    softmax, and the slopes at the inner knots, through a softplus. All parameters 0 are
    the identity.

    Args:
      num_bins: number of pieces, at least 1.
      bound: `B`, the interval is `(-B, B)`.
      min_bin_size: least width and height of a bin, as a share of the interval.
      min_knot_slope: least slope at a knot, below 1.

    Raises:
      ValueError: an argument is out of its range.
    """

    num_bins: int = 8
    bound: float = 5.0
    min_bin_size: float = 1e-3
    min_knot_slope: float = 1e-3

    def __post_init__(self):
        if not isinstance(self.num_bins, (int, np.integer)):
            raise ValueError(f"`num_bins` must be an integer; got {self.num_bins}.")
        _check_positive(
            num_bins=self.num_bins,
            bound=self.bound,
            min_bin_size=self.min_bin_size,
            min_knot_slope=self.min_knot_slope,
        )
        if self.min_bin_size * self.num_bins >= 1.0 or self.min_knot_slope >= 1.0:
            raise ValueError(
                "`min_bin_size` times `num_bins` and `min_knot_slope` must be below "
                "1; got "
                f"{self.min_bin_size}, {self.num_bins} and {self.min_knot_slope}."
            )

    @property
    def num_parameters(self):
        return 3 * self.num_bins - 1

    def __call__(self, parameters):
        k = self.num_bins
        parameters = tf.convert_to_tensor(parameters)
        widths, heights = (
            2.0
            * self.bound
            * (self.min_bin_size + (1.0 - k * self.min_bin_size) * _softmax(raw))
            for raw in (parameters[..., :k], parameters[..., k : 2 * k])
        )
        return Spline(
            widths, heights, parameters[..., 2 * k :], self.bound, self.min_knot_slope
        )


def _softmax(x):
    """Softmax along the last axis, for tensors of any rank: oneDNN takes 5 axes."""
    powers = tf.exp(x - tf.stop_gradient(tf.reduce_max(x, axis=-1, keepdims=True)))
    return powers / tf.reduce_sum(powers, axis=-1, keepdims=True)


class _ScaleAndShift(Layer):
    """`y = x exp(log_scale) + shift`; a chain of two does more, in part in float32."""

    def __init__(self, log_scale, shift, validate_args=False, name="scale_and_shift"):
        parameters = dict(locals())
        self.log_scale, self.shift = log_scale, shift
        super().__init__(
            forward_min_event_ndims=0,
            dtype=shift.dtype,
            is_constant_jacobian=True,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype):
        return dict.fromkeys(["log_scale", "shift"], tfp.util.ParameterProperties())

    @classmethod
    def _is_increasing(cls):
        return True

    def _forward(self, x):
        return x * tf.exp(self.log_scale) + self.shift

    def _inverse(self, y):
        return (y - self.shift) * tf.exp(-self.log_scale)

    def _forward_log_det_jacobian(self, x):
        return self.log_scale

    def _inverse_log_det_jacobian(self, y):
        return -self.log_scale


def _bounded(raw, bound):
    """Number in (-bound, bound), with a slope that never vanishes."""
    return raw / (1.0 + tf.abs(raw) / bound)


def _check_gate(transformer):
    _check_positive(max_log_scale=transformer.max_log_scale)
    if not np.isfinite(transformer.bias):
        raise ValueError(f"`bias` must be finite; got {transformer.bias}.")


def _check_positive(**numbers):
    for name, value in numbers.items():
        if not 0.0 < value < np.inf:
            raise ValueError(f"`{name}` must be positive and finite; got {value}.")
