"""Elementwise transformations of coupling and autoregressive layers.

A transformer maps each element by an increasing function, whose parameters a
conditioner predicts. `Transformer` is the contract. Those here are the identity, or
close to it, if all parameters are 0.
"""

from __future__ import annotations

import dataclasses
import numbers
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_flows._builders import register

__all__ = [
    "Additive",
    "Affine",
    "GatedAffine",
    "RationalQuadraticSpline",
    "SigmoidAffine",
    "Transformer",
]


class Transformer:
    """Base class of transformers: increasing functions of each element.

    A subclass has `num_parameters` and two methods. Both take values of shape
    `[..., *event]` and parameters of shape `[..., *event, num_parameters]`, and return
    the transformed values and the logarithm of the derivative at each element. The
    logarithms have the shape of the values, or broadcast with them. Batch axes of
    values and parameters broadcast. A transformer has no variables.

    A callable from parameters to a `tfb.Bijector` of scalars, with an attribute
    `num_parameters`, also works as a transformer.

    Attributes:
      num_parameters: number of parameters of each element.

    Example:

    >>> class Scale(Transformer):
    ...     num_parameters = 1
    ...
    ...     def forward_and_log_det(self, x, parameters):
    ...         log_scale = parameters[..., 0]
    ...         return x * tf.exp(log_scale), log_scale
    ...
    ...     def inverse_and_log_det(self, y, parameters):
    ...         log_scale = parameters[..., 0]
    ...         return y * tf.exp(-log_scale), -log_scale
    >>> y, log_det = Scale().forward_and_log_det(tf.ones([3]), tf.zeros([3, 1]))
    >>> y.numpy().tolist(), log_det.numpy().tolist()
    ([1.0, 1.0, 1.0], [0.0, 0.0, 0.0])
    """

    num_parameters: int

    def forward_and_log_det(
        self, x: tf.Tensor, parameters: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Transform `x`, in the direction of `forward`.

        Args:
          x: tensor of shape `[..., *event]`.
          parameters: tensor of shape `[..., *event, num_parameters]`.

        Returns:
          y: transformed values.
          log_det: logarithm of `dy/dx` of each element.
        """
        raise NotImplementedError(
            f"`{type(self).__name__}` must implement `forward_and_log_det`."
        )

    def inverse_and_log_det(
        self, y: tf.Tensor, parameters: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Invert `forward_and_log_det`.

        Args:
          y: tensor of shape `[..., *event]`.
          parameters: tensor of shape `[..., *event, num_parameters]`.

        Returns:
          x: values that are transformed to `y`.
          log_det: logarithm of `dx/dy` of each element.
        """
        raise NotImplementedError(
            f"`{type(self).__name__}` must implement `inverse_and_log_det`."
        )


@register
@dataclasses.dataclass(frozen=True)
class Additive(Transformer):
    """`y = x + t`, with log-determinant 0, as in NICE.

    Dinh et al. (2015), https://arxiv.org/abs/1410.8516, section 3.2, with `t` as the
    only parameter.

    Example:

    >>> parameters = tf.constant([[0.5]])
    >>> Additive().forward_and_log_det(tf.constant([1.0]), parameters)[0].numpy()
    array([1.5], dtype=float32)
    """

    num_parameters = 1

    def forward_and_log_det(
        self, x: tf.Tensor, parameters: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Transform `x`; see `Transformer`."""
        y = x + tf.squeeze(parameters, axis=-1)
        return y, tf.zeros_like(y)

    def inverse_and_log_det(
        self, y: tf.Tensor, parameters: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Invert `forward_and_log_det`; see `Transformer`."""
        x = y - tf.squeeze(parameters, axis=-1)
        return x, tf.zeros_like(x)


class _ScaleAndShift(Transformer):
    """`y = x exp(log_scale) + shift`, with both computed from two parameters."""

    num_parameters = 2

    def _log_scale_and_shift(self, parameters):
        raise NotImplementedError

    def forward_and_log_det(
        self, x: tf.Tensor, parameters: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Transform `x`; see `Transformer`."""
        log_scale, shift = self._log_scale_and_shift(parameters)
        return x * tf.exp(log_scale) + shift, log_scale

    def inverse_and_log_det(
        self, y: tf.Tensor, parameters: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Invert `forward_and_log_det`; see `Transformer`."""
        log_scale, shift = self._log_scale_and_shift(parameters)
        log_det = -log_scale
        return (y - shift) * tf.exp(log_det), log_det


@register
@dataclasses.dataclass(frozen=True)
class Affine(_ScaleAndShift):
    """`y = x exp(s) + t`, as in MAF, IAF and RealNVP, with bounded `s`.

    Dinh et al. (2017), https://arxiv.org/abs/1605.08803, equation 8. Two parameters,
    `t` and `r`, with `s = r / (1 + |r| / max_log_scale)`. The bound is approached but
    never reached, so that gradients do not vanish.

    Args:
      max_log_scale: bound of `|s|`, positive. By default scales are in (1e-3, 1e3).

    Raises:
      ValueError: `max_log_scale` is not positive and finite.

    Example:

    >>> parameters = tf.constant([[0.5, 0.0]])
    >>> Affine().forward_and_log_det(tf.constant([1.0]), parameters)[0].numpy()
    array([1.5], dtype=float32)
    """

    max_log_scale: float = float(np.log(1e3))

    def __post_init__(self) -> None:
        _check_positive(max_log_scale=self.max_log_scale)

    def _log_scale_and_shift(self, parameters):
        shift, raw = tf.unstack(parameters, axis=-1)
        return _bound(raw, self.max_log_scale), shift


@register
@dataclasses.dataclass(frozen=True)
class GatedAffine(_ScaleAndShift):
    """`y = g x + (1 - g) m`, `g = sigmoid(s + bias)`, which is a contraction.

    The update of an LSTM, as Kingma et al. (2016) use it in their inverse
    autoregressive flow, https://arxiv.org/abs/1606.04934, equation 14. Two parameters,
    `m` and `r`, with `s = r / (1 + |r| / max_log_scale)` as in `Affine`: a closed gate
    would lose `x` to rounding.

    Derivatives are below 1. In a flow of these layers no conditional distribution of an
    element is wider than in the base distribution. The paper uses a base distribution
    with trainable scales.

    Args:
      bias: initial logit of the gate. At `s = 0` and `bias = 1.5` the gate is 0.82; it
        is never the identity.
      max_log_scale: bound of `|s|`, positive.

    Raises:
      ValueError: `bias` is not finite, or `max_log_scale` is not positive and finite.

    Example:

    >>> parameters = tf.constant([[0.0, 0.0]])
    >>> y, _ = GatedAffine().forward_and_log_det(tf.constant([1.0]), parameters)
    >>> y.numpy().round(2)
    array([0.82], dtype=float32)
    """

    bias: float = 1.5
    max_log_scale: float = float(np.log(1e3))

    def __post_init__(self) -> None:
        _check_gate(self)

    def _log_scale_and_shift(self, parameters):
        candidate, raw = tf.unstack(parameters, axis=-1)
        logit = _bound(raw, self.max_log_scale) + self.bias
        log_gate = tf.math.log_sigmoid(logit)
        return log_gate, tf.sigmoid(-logit) * candidate


@register
@dataclasses.dataclass(frozen=True)
class SigmoidAffine(_ScaleAndShift):
    """`x = (y + t) sigmoid(s + bias)`, as in Glow, which expands from base to data.

    The couplings of Kingma and Dhariwal (2018), https://arxiv.org/abs/1807.03039, as in
    their code: the contraction from data to base is bounded. Two parameters, `t` and
    `r`, with `s = r / (1 + |r| / max_log_scale)` as in `Affine`. Derivatives of
    `forward` are above 1. Data that are narrower than the base distribution need other
    layers, such as the `ActNorm` of a Glow.

    Args:
      bias: initial logit of the gate, which is 0.88 at 2.
      max_log_scale: bound of `|s|`, positive.

    Raises:
      ValueError: `bias` is not finite, or `max_log_scale` is not positive and finite.

    Example:

    >>> parameters = tf.constant([[0.0, 0.0]])
    >>> x, _ = SigmoidAffine().inverse_and_log_det(tf.constant([1.0]), parameters)
    >>> x.numpy().round(2)
    array([0.88], dtype=float32)
    """

    bias: float = 2.0
    max_log_scale: float = float(np.log(1e3))

    def __post_init__(self) -> None:
        _check_gate(self)

    def _log_scale_and_shift(self, parameters):
        shift, raw = tf.unstack(parameters, axis=-1)
        logit = _bound(raw, self.max_log_scale) + self.bias
        return -tf.math.log_sigmoid(logit), -shift


@register
@dataclasses.dataclass(frozen=True)
class RationalQuadraticSpline(Transformer):
    """Monotonic spline of rational-quadratic pieces, the identity outside an interval.

    Durkan et al. (2019), https://arxiv.org/abs/1906.04032, equations 4 to 8. There are
    `3 num_bins - 1` parameters: the widths and the heights of the bins, through a
    softmax, and the slopes at the inner knots, through a softplus. With all parameters
    0 it is the identity.

    Args:
      num_bins: number of pieces, at least 1.
      bound: `B`; the interval is `(-B, B)`.
      min_bin_size: minimum width and height of a bin, as a fraction of the interval.
      min_knot_slope: minimum slope at a knot, below 1.

    Raises:
      ValueError: an argument is out of its range.

    Example:

    >>> spline = RationalQuadraticSpline(num_bins=4, bound=3.0)
    >>> spline.num_parameters
    11
    >>> y, log_det = spline.forward_and_log_det(tf.constant([0.5]), tf.zeros([1, 11]))
    >>> y.numpy().round(5)
    array([0.5], dtype=float32)
    """

    num_bins: int = 8
    bound: float = 5.0
    min_bin_size: float = 1e-3
    min_knot_slope: float = 1e-3

    def __post_init__(self) -> None:
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
    def num_parameters(self) -> int:  # type: ignore[override]
        """Number of parameters of each element, `3 num_bins - 1`."""
        return 3 * self.num_bins - 1

    def forward_and_log_det(
        self, x: tf.Tensor, parameters: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Transform `x`; see `Transformer`."""
        return self._evaluate(x, parameters, forward=True)

    def inverse_and_log_det(
        self, y: tf.Tensor, parameters: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Invert `forward_and_log_det`; see `Transformer`."""
        x, log_slope = self._evaluate(y, parameters, forward=False)
        return x, -log_slope

    def _evaluate(self, point, parameters, forward):
        """Returns the result of a direction at a point, and the log slope of forward.

        In a bin, let `u` be the fraction of its width before `x`, `v` that of its
        height below `y`, and `a` and `b` the slopes at its ends in units of
        `height / width`. Then `v = (u^2 + a u (1 - u)) / n`,
        `n = u^2 + (1 - u)^2 + (a + b) u (1 - u)`, and
        `dv/du = (b u^2 + 2 u (1 - u) + a (1 - u)^2) / n^2`; no term is negative.
        """
        # `tfb.RationalQuadraticSpline` is wrong under `tf.vectorized_map`, and finds
        # bins by `searchsorted` and `gather`, which are slow to compile.
        inside = tf.abs(point) < self.bound
        # Values outside may be infinite; unused, they would make gradients NaN.
        p = tf.where(inside, point, tf.zeros_like(point))
        (x, width), (y, height), a, b = self._find_bin(p, parameters, forward)
        slope = height / width
        a, b = a / slope, b / slope
        if forward:
            u = _fraction(p, x, width)
            rest = 1.0 - u
        else:
            u, rest = _solve_quadratic(_fraction(p, y, height), a, b)
        n = u**2 + rest**2 + (a + b) * u * rest
        value = y + height * (u**2 + a * u * rest) / n if forward else x + width * u
        log_slope = tf.math.log(slope * (b * u**2 + 2.0 * u * rest + a * rest**2))
        log_slope -= 2.0 * tf.math.log(n)
        zeros = tf.zeros_like(log_slope)
        return tf.where(inside, value, point), tf.where(inside, log_slope, zeros)

    def _find_bin(self, p, parameters, forward):
        """Returns start and size of the bin of `p`, in `x` and `y`, and its slopes."""
        k, dtype = self.num_bins, p.dtype
        widths, heights = (
            2.0
            * self.bound
            * (self.min_bin_size + (1.0 - k * self.min_bin_size) * _softmax(raw))
            for raw in (parameters[..., :k], parameters[..., k : 2 * k])
        )
        raw_slopes, sizes = parameters[..., 2 * k :], widths if forward else heights
        # The knots only determine the bin. Gradients pass through the sums below, not
        # through `cumsum`; and a softplus of two slopes costs less than one of all.
        knots = tf.cumsum(tf.stop_gradient(sizes), axis=-1)[..., :-1] - self.bound
        above = tf.cast(p[..., tf.newaxis] >= knots, tf.int32)
        index = tf.reduce_sum(above, axis=-1, keepdims=True)
        bins = tf.range(k)
        before, here = tf.cast(bins < index, dtype), tf.cast(bins == index, dtype)
        offset = float(np.log(np.expm1(1.0 - self.min_knot_slope)))
        return *(
            (
                tf.reduce_sum(before * values, axis=-1) - self.bound,
                tf.reduce_sum(here * values, axis=-1),
            )
            for values in (widths, heights)
        ), *(
            self.min_knot_slope
            + tf.math.softplus(tf.reduce_sum(mask * raw_slopes, axis=-1) + offset)
            for mask in (here[..., 1:], here[..., :-1])
        )


class _BijectorTransformer(Transformer):
    """Transformer from a callable that returns `tfb.Bijector`s of scalars.

    Args:
      factory: callable from parameters to a bijector, with `num_parameters`.
    """

    def __init__(self, factory: Any) -> None:
        self.factory, self.num_parameters = factory, factory.num_parameters

    def forward_and_log_det(
        self, x: tf.Tensor, parameters: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        bijector = self.factory(parameters)
        y = bijector.forward(x)
        return y, bijector.forward_log_det_jacobian(x, event_ndims=0)

    def inverse_and_log_det(
        self, y: tf.Tensor, parameters: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        bijector = self.factory(parameters)
        x = bijector.inverse(y)
        return x, bijector.inverse_log_det_jacobian(y, event_ndims=0)


def as_transformer(transformer: Any) -> Transformer:
    """Returns a transformer for the argument of a layer, of either kind.

    Raises:
      TypeError: it is neither a `Transformer` nor a factory of bijectors.
    """
    number = getattr(transformer, "num_parameters", None)
    if isinstance(number, numbers.Integral) and not isinstance(transformer, type):
        if isinstance(transformer, Transformer):
            return transformer
        if callable(transformer):
            return _BijectorTransformer(transformer)
    if isinstance(transformer, type):
        hint = f"Make an instance: `{transformer.__name__}()`."
    elif callable(transformer):
        hint = "Set that number as an attribute of a function: `f.num_parameters = 2`."
    else:
        hint = "The default is `Affine()`."
    raise TypeError(
        "`transformer` must be a `tfp_flows.bijectors.transformers.Transformer`, or "
        "callable with an integer `num_parameters`; "
        f"got {transformer!r}. {hint}"
    )


def _softmax(x):
    """Softmax along the last axis, for any rank, where oneDNN supports up to 5 axes."""
    powers = tf.exp(x - tf.stop_gradient(tf.reduce_max(x, axis=-1, keepdims=True)))
    return powers / tf.reduce_sum(powers, axis=-1, keepdims=True)


def _fraction(p, start, size):
    """Returns the fraction of a bin before `p`, in [0, 1] in spite of rounding."""
    fraction = (p - start) / size
    # Not clipped for gradients, which would be 0 at some knots.
    clipped = tf.clip_by_value(fraction, 0.0, 1.0)
    return fraction + tf.stop_gradient(clipped - fraction)


def _solve_quadratic(v, a, b):
    """Returns `u` and `1 - u` at a given `v`."""
    # The quadratic of appendix A.3, with its terms collected so that close numbers are
    # subtracted in `m` only. Each branch is a stable form of the same root.
    m = a * (1.0 - v) - b * v
    rising = m >= 0.0
    q = tf.sqrt(m**2 + 4.0 * v * (1.0 - v)) + tf.where(rising, m, -m)  # abs has a kink
    u, rest = tf.where(rising, 2.0 * v, q), tf.where(rising, q, 2.0 * (1.0 - v))
    return u / (u + rest), rest / (u + rest)


def _bound(raw, bound):
    """Returns a number in (-bound, bound), with a slope that never vanishes."""
    return raw / (1.0 + tf.abs(raw) / bound)


def _check_gate(transformer):
    _check_positive(max_log_scale=transformer.max_log_scale)
    if not np.isfinite(transformer.bias):
        raise ValueError(f"`bias` must be finite; got {transformer.bias}.")


def _check_positive(**named):
    for name, value in named.items():
        if not 0.0 < value < np.inf:
            raise ValueError(f"`{name}` must be positive and finite; got {value}.")
