"""Matrices of invertible 1x1 convolutions: initial values, factors, inverses."""

import numbers

import numpy as np
import tensorflow as tf

from tfp_flows._autodiff import custom_gradient

__all__ = [
    "inverse_and_log_det",
    "is_invertible",
    "plu_factors",
    "random_orthogonal",
]


def random_orthogonal(size, *, seed, dtype=tf.float32):
    """Random orthogonal matrix, uniform under the Haar measure.

    Args:
      size: number of channels.
      seed: PRNG seed, an int or a pair of ints.
      dtype: floating dtype.

    Returns:
      matrix: shape `[size, size]`; its determinant is 1 or -1.

    Raises:
      ValueError: `size` is below 1.

    >>> q = random_orthogonal(3, seed=0)
    >>> abs(round(float(tf.linalg.det(q)), 5))
    1.0
    """
    if size < 1:
        raise ValueError(f"`size` must be at least 1; got {size}.")
    seed = [0, int(seed)] if isinstance(seed, numbers.Integral) else seed
    q, r = tf.linalg.qr(tf.random.stateless_normal([size, size], seed, dtype=dtype))
    return q * tf.sign(tf.linalg.diag_part(r))  # makes the distribution uniform


def plu_factors(weight):
    """PLU factors of a matrix, as keyword arguments of `InvertibleConv1x1PLU`.

    Args:
      weight: invertible matrix, shape `[C, C]`.

    Returns:
      factors: dict of the tensors `permutation`, `lower`, `upper`, `sign` and
        `log_magnitude`.

    Raises:
      ValueError: `weight` is not a square matrix, or is singular.

    >>> plu_factors([[2.0, 0.0], [0.0, -4.0]])["sign"].numpy()
    array([ 1., -1.], dtype=float32)
    """
    weight = tf.convert_to_tensor(weight)
    if weight.shape.rank != 2 or weight.shape[0] != weight.shape[1]:
        raise ValueError(f"`weight` must be a square matrix; got shape {weight.shape}.")
    if tf.executing_eagerly() and not np.all(is_invertible(weight)):
        raise ValueError("`weight` must be invertible; got a singular matrix.")
    factors, permutation = tf.linalg.lu(weight)
    diagonal = tf.linalg.diag_part(factors)
    unit = tf.eye(weight.shape[0], dtype=weight.dtype)
    return dict(
        permutation=permutation,
        lower=tf.linalg.band_part(factors, -1, 0) - unit * diagonal,
        upper=tf.linalg.band_part(factors, 0, -1) - unit * diagonal,
        sign=tf.sign(diagonal),
        log_magnitude=tf.math.log(tf.abs(diagonal)),
    )


def is_invertible(weight):
    """Whether matrices are finite and invertible to machine precision.

    Args:
      weight: shape `[..., C, C]`.

    Returns:
      invertible: booleans, shape `[...]`.

    Raises:
      TypeError: the dtype of `weight` is not floating.

    >>> bool(is_invertible([[1.0, 2.0], [2.0, 4.0]]))
    False
    """
    weight = tf.convert_to_tensor(weight)
    finite = tf.reduce_all(tf.math.is_finite(weight), axis=[-2, -1])
    one = tf.where(finite[..., tf.newaxis, tf.newaxis], weight, tf.ones_like(weight))
    values = tf.linalg.svd(one, compute_uv=False)
    rounding = 4.0 * weight.shape[-1] * np.finfo(weight.dtype.as_numpy_dtype).eps
    return finite & (values[..., -1] > rounding * values[..., 0])


@custom_gradient
def inverse_and_log_det(matrix):
    """Inverses of matrices, and logarithms of their absolute determinants.

    Both come from a QR factorization, which XLA compiles for every device, unlike
    `tf.linalg.slogdet`.

    Args:
      matrix: shape `[..., C, C]`, invertible.

    Returns:
      inverse: shape `[..., C, C]`.
      log_det: `log |det matrix|`, shape `[...]`.

    Raises:
      ValueError: `matrix` is not square.

    >>> inverse, log_det = inverse_and_log_det(tf.constant([[2.0]]))
    >>> inverse.numpy()
    array([[0.5]], dtype=float32)
    """
    q, r = tf.linalg.qr(tf.stop_gradient(matrix))
    inverse = tf.linalg.triangular_solve(r, tf.linalg.matrix_transpose(q), lower=False)
    log_det = tf.reduce_sum(tf.math.log(tf.abs(tf.linalg.diag_part(r))), axis=-1)

    def backward(of_inverse, of_log_det):
        again, _ = inverse_and_log_det(matrix)  # so that this gradient has a gradient
        transposed = tf.linalg.matrix_transpose(again)
        return of_log_det[..., tf.newaxis, tf.newaxis] * transposed - tf.matmul(
            transposed, tf.matmul(of_inverse, transposed)
        )

    return (inverse, log_det), backward
