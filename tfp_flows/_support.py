"""Log densities that are -inf, and not NaN, where a distribution has no points.

TFP's bijectors take points that they never give, such as -1 for `tfb.Exp`, to NaN or
infinity, and so does the density of all that is before them. Here, such points are
found by those of TFP's bijectors that data meet before any layer of this package, and
others are put in their place before anything is computed with them: their log density
is -inf, with a gradient of zero.

What is not seen: bounds that the layers of this package, or what comes before them,
put on points, such as a base that is positive; and the parts of mixtures and of joint
distributions.
"""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._flow import TRANSFORMED, Flow
from tfp_flows._layer import Layer, flatten

tfb, tfd = tfp.bijectors, tfp.distributions

_INDEPENDENT, _SAMPLE = (  # of anything, also of what is no tensor
    kind.__mro__[1] for kind in (tfd.Independent, tfd.Sample)
)
_NETWORKS = (
    *(tfb.BatchNormalization, tfb.FFJORD, tfb.Glow, tfb.MaskedAutoregressiveFlow),
    tfb.RealNVP,
)


class OnSupport(Flow):
    """`tfd.TransformedDistribution` with log density -inf outside of its support."""

    def _log_prob(self, y, **kwargs):
        y, outside = _inside(self, y)
        return _masked(super()._log_prob(y, **kwargs), outside)

    def experimental_local_measure(self, y, backward_compat=False, **kwargs):
        y, outside = _inside(self, y)
        log_prob, space = super().experimental_local_measure(
            y, backward_compat=backward_compat, **kwargs
        )
        return _masked(log_prob, outside), space


def log_prob(distribution, y):
    """Returns log densities, which are -inf outside of the support, as far as seen.

    Args:
      distribution: any `tfd.Distribution`.
      y: points, as its `log_prob` takes them.
    """
    if isinstance(distribution, OnSupport):
        return distribution.log_prob(y)
    y, outside = _inside(distribution, y)
    return _masked(distribution.log_prob(y), outside)


def _masked(log_prob, outside):
    if outside is None:
        return log_prob
    return tf.where(outside, tf.constant(-np.inf, log_prob.dtype), log_prob)


def _inside(distribution, y):
    """Returns points with others for those outside of the support, and which these are.

    The second result is of the shape of log densities, or None if nothing bounds them.
    """
    bounds = _bounds_of(distribution)
    if bounds is None or not isinstance(distribution.event_shape, tf.TensorShape):
        return y, None
    y = tf.convert_to_tensor(y, dtype_hint=distribution.dtype)
    ndims = distribution.event_shape.rank
    given = tf.stop_gradient(y)
    x = bounds.inverse(given)
    back = bounds.forward(tf.identity(x))  # TFP would know where `x` is from
    # A few of TFP's inverses are finite everywhere: `tfb.Softsign` takes 2 to -2.
    rounding = 1e-3 if y.dtype.size > 2 else 0.1
    wrong = ~(tf.abs(back - given) <= rounding * (1.0 + tf.abs(given)))
    outside = _any(wrong, ndims) | _any(
        ~tf.math.is_finite(x), bounds.inverse_event_ndims(ndims)
    )
    outside &= ~_any(tf.math.is_nan(given), ndims)  # NaN stays NaN
    stand_in = bounds.forward(tf.fill(tf.shape(x), tf.constant(0.5, x.dtype)))
    of_points = tf.reshape(
        outside, tf.concat([tf.shape(outside), tf.ones([ndims], tf.int32)], 0)
    )
    return tf.where(of_points, tf.stop_gradient(stand_in), y), outside


def _any(condition, ndims):
    return tf.reduce_any(condition, axis=list(range(-ndims, 0)))


def _bounds_of(distribution):
    """Returns the bijectors of TFP that data meet first, if some may bound them."""
    layers = []
    for layer, way in _layers_of(distribution):
        plain = type(layer).__module__.startswith("tensorflow_probability.")
        if isinstance(layer, _NETWORKS) or not (
            plain or isinstance(layer, Layer) and layer.restricts_support
        ):
            break
        layers.append(layer if way == "inverse" else tfb.Invert(layer))
    while layers and layers[-1].is_constant_jacobian:  # takes all points to all points
        layers.pop()
    return tfb.Chain(layers) if layers else None


def _layers_of(distribution):
    while True:
        if isinstance(distribution, _INDEPENDENT) or (
            isinstance(distribution, _SAMPLE)
            and distribution.distribution.batch_shape == []  # else axes change places
        ):
            distribution = distribution.distribution
        elif isinstance(distribution, TRANSFORMED):
            yield from flatten(distribution.bijector, "inverse")
            distribution = distribution.distribution
        else:
            return
