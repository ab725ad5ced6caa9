"""The mathematics of a stack of `K` planar layers, on tensors."""

import collections

import numpy as np
import tensorflow as tf

from tfp_flows.bijectors import _triangular_solve

# Lower bound of `1 + kappa L`, above the rounding error of `w'u_hat`.
LEAST_MARGIN = 1e-3
# Most layers in one system of equations, whose cost grows quadratically.
_MOST_AT_ONCE = 64

# `u_hat` and `w` have shape `[..., K, D]`, `b` and `margin` shape `[..., K]`. `margin`
# is `1 + kappa L`, where the slopes of the activation are in `[0, L]`.
Layers = collections.namedtuple("Layers", ["u_hat", "w", "b", "margin"])


def constrain(u, w, b, activation, constraint):
    """Returns the invertible `Layers` for unconstrained parameters."""
    bound = activation.max_slope
    v = bound * tf.reduce_sum(w * u, axis=-1)
    if constraint is None:
        return Layers(u, w, b, 1.0 + v)
    norm2 = tf.reduce_sum(w**2, axis=-1)
    if constraint == "paper":
        softplus = tf.math.softplus(v)
        least = 8.0 * np.finfo(v.dtype.as_numpy_dtype).eps  # against rounding to 0
        margin = tf.maximum(softplus, least)
        change = tf.math.softplus(-v) - 1.0 + (margin - softplus)  # L (kappa - w'u)
        # At w = 0 the guard below keeps u unchanged, and kappa is 0.
        margin = tf.where(norm2 > 0.0, margin, tf.ones_like(v))
    else:
        # The change is of order v and is divided by the norm, so it must not be a
        # difference of numbers near 1. Each branch gets only arguments of its range.
        zero, q = tf.zeros_like(v), 1.0 - np.exp(-1.0)
        above, below = tf.where(v >= 0.0, v, zero), tf.where(v >= 0.0, zero, v)
        change = tf.where(
            v >= 0.0,
            tf.math.log1p((1.0 - q) * tf.math.expm1(-above)),
            tf.math.log1p(q * tf.math.expm1(below)) - below,
        )
        change = (1.0 - LEAST_MARGIN) * change - LEAST_MARGIN * v
        softplus = tf.math.softplus(v + np.log(np.e - 1.0))
        margin = LEAST_MARGIN + (1.0 - LEAST_MARGIN) * softplus
    norm2 = tf.maximum(norm2, np.finfo(w.dtype.as_numpy_dtype).tiny)
    # Divided by the norm twice: the gradient of a quotient squares its divisor, and the
    # square of `norm2` may underflow.
    norm = tf.sqrt(norm2)
    u_hat = u + (change / bound / norm)[..., tf.newaxis] * (w / norm[..., tf.newaxis])
    # Where the sum cancels, w'u_hat is not yet kappa.
    rest = (margin - 1.0) / bound - tf.reduce_sum(w * u_hat, axis=-1)
    rest = tf.where(tf.abs(v) > 1.0, rest / norm2, tf.zeros_like(rest))
    u_hat += tf.stop_gradient(rest[..., tf.newaxis] * w)
    return Layers(u_hat, w, b, margin)


def forward(layers, activation, x):
    """Returns `y` and the log determinant there."""
    u_hat, w, b, margin = layers
    if w.shape[-2] > _MOST_AT_ONCE:
        return _in_chunks(forward, layers, activation, x)
    if w.shape.rank > 2:
        return _sequential(layers, activation, x)
    # Rows first, as in `_triangular_solve`, with the batch axes as one.
    a = tf.matmul(w, tf.reshape(x, [-1, w.shape[-1]]), transpose_b=True)
    a += b[:, tf.newaxis]
    if w.shape[-2] > 1:
        gram = tf.matmul(w, u_hat, transpose_b=True)
        gram -= tf.linalg.band_part(gram, 0, -1)  # w_k'u_hat_j of the layers j < k
        gram = _triangular_solve.rows_first(gram, 2, a)
        a = _triangular_solve.solve(-gram, a, activation, lower=True)
    h, slope, deficit = activation.evaluate(a)
    log_factor = activation.log_jacobian_factor(deficit, slope, margin[:, tf.newaxis])
    shape = tf.shape(x)
    log_det = tf.reshape(tf.reduce_sum(log_factor, axis=0), shape[:-1])
    return x + tf.reshape(tf.matmul(h, u_hat, transpose_a=True), shape), log_det


def _sequential(layers, activation, x):
    """As `_forward`, without the products `w_k'u_hat_j` of all pairs of layers.

    For per-example parameters, these products cost `K` times as much as the layers.
    """
    u_hat, w, b, margin = layers
    rows = []
    # Unstacked, as the gradient of each slice would have the size of the whole tensor.
    each = tf.unstack(u_hat, axis=-2), tf.unstack(w, axis=-2), tf.unstack(b, axis=-1)
    for direction, normal, offset in zip(*each):
        rows.append(tf.reduce_sum(normal * x, axis=-1) + offset)
        x += direction * activation(rows[-1])[..., tf.newaxis]
    return x, _triangular_solve.activate(activation, tf.stack(rows), margin)[1]


def inverse(layers, activation, y):
    """Returns `x` and the log determinant of forward there."""
    return _in_chunks(_inverse, layers, activation, y, last_first=True)


def _inverse(layers, activation, y):
    u_hat, w, b, margin = layers
    products = tf.matmul(w, u_hat, transpose_b=True)
    kappa = (margin - 1.0) / activation.max_slope
    upper = tf.linalg.band_part(products, 0, -1)
    # `w_k'u_hat_j` for the layers j < k, which precede layer k.
    below = products - upper if w.shape[-2] > 1 else None
    gram = tf.linalg.set_diag(upper, kappa)
    return _triangular_solve.invert(y, w, u_hat, gram, b, activation, margin, below)


def _in_chunks(direction, layers, activation, x, last_first=False):
    """Applies `direction` to at most `_MOST_AT_ONCE` layers at a time."""
    number = layers.w.shape[-2]
    if number <= _MOST_AT_ONCE:
        return direction(layers, activation, x)
    full, rest = divmod(number, _MOST_AT_ONCE)
    sizes = [_MOST_AT_ONCE] * full + [rest] * (rest > 0)
    axes = Layers(-2, -2, -1, -1)
    split = [tf.split(values, sizes, axis) for values, axis in zip(layers, axes)]
    parts = [Layers(*part) for part in zip(*split)]
    total = 0.0
    for part in parts[::-1] if last_first else parts:
        x, log_det = direction(part, activation, x)
        total += log_det
    return x, total
