"""Matrices of invertible 1x1 convolutions: starts, factors, inverses."""

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
    """Returns a random orthogonal matrix, of shape `[size, size]`.

    Args:
      size: number of channels.
      seed: integer, or pair of integers, that decides it.
      dtype: floating dtype.

    Raises:
      ValueError: `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"`size` must be at least 1; got {size}.")
    seed = [0, int(seed)] if isinstance(seed, numbers.Integral) else seed
    q, r = tf.linalg.qr(tf.random.stateless_normal([size, size], seed, dtype=dtype))
    return q * tf.sign(tf.linalg.diag_part(r))  # so that all rotations are as likely


def plu_factors(weight):
    """Returns the tensors that `InvertibleConv1x1PLU` takes for a matrix, by name.

    Args:
      weight: regular matrix, shape `[C, C]`.

    Raises:
      ValueError: it is singular, or no matrix.
    """
    weight = tf.convert_to_tensor(weight)
    if weight.shape.rank != 2 or weight.shape[0] != weight.shape[1]:
        raise ValueError(f"`weight` must be a square matrix; got shape {weight.shape}.")
    if tf.executing_eagerly() and not np.all(is_invertible(weight)):
        raise ValueError("`weight` must be regular; got a singular matrix.")
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
    """Returns whether matrices are finite and not singular, as far as rounding tells.

    Args:
      weight: shape `[..., C, C]`.

    Raises:
      TypeError: `weight` is not of a floating dtype.
    """
    weight = tf.convert_to_tensor(weight)
    finite = tf.reduce_all(tf.math.is_finite(weight), axis=[-2, -1])
    one = tf.where(finite[..., tf.newaxis, tf.newaxis], weight, tf.ones_like(weight))
    values = tf.linalg.svd(one, compute_uv=False)
    rounding = 4.0 * weight.shape[-1] * np.finfo(weight.dtype.as_numpy_dtype).eps
    return finite & (values[..., -1] > rounding * values[..., 0])


@custom_gradient
def inverse_and_log_det(matrix):
    """Returns the inverse of matrices, and the logarithms of their |determinants|.

    By a QR factorization, which XLA has on each device, where it lacks `slogdet`.

    Args:
      matrix: shape `[..., C, C]`, regular.

    Raises:
      ValueError: `matrix` is not square.
    """
    q, r = tf.linalg.qr(tf.stop_gradient(matrix))
    inverse = tf.linalg.triangular_solve(r, tf.linalg.matrix_transpose(q), lower=False)
    log_det = tf.reduce_sum(tf.math.log(tf.abs(tf.linalg.diag_part(r))), axis=-1)

    def backward(of_inverse, of_log_det):
        again, _ = inverse_and_log_det(matrix)  # this gradient has a gradient, too
        transposed = tf.linalg.matrix_transpose(again)
        return of_log_det[..., tf.newaxis, tf.newaxis] * transposed - tf.matmul(
            transposed, tf.matmul(of_inverse, transposed)
        )

    return (inverse, log_det), backward
