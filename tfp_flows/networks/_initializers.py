"""Initial values of the variables of networks."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def make_kernel(
    seed: tf.Tensor | None,
    shape: Sequence[int],
    dtype: tf.DType,
    name: str,
    scale: float = 1.0,
) -> tf.Variable:
    """Returns a kernel with the initialization of He et al. (2015).

    Args:
      seed: one of `split_seed`; None for zeros.
      shape: shape, inputs before outputs.
      dtype: dtype of the variable.
      name: name of the variable.
      scale: factor of the standard deviation, `sqrt(2 / inputs)`.
    """
    if seed is None:
        return tf.Variable(tf.zeros(shape, dtype), name=name)
    stddev = scale * (2.0 / max(1, shape[0])) ** 0.5
    value = tf.random.stateless_normal(shape, seed, stddev=stddev, dtype=dtype)
    return tf.Variable(value, name=name)


def make_bias(size: int, dtype: tf.DType, name: str) -> tf.Variable:
    """Returns a variable of zeros."""
    return tf.Variable(tf.zeros([size], dtype), name=name)
