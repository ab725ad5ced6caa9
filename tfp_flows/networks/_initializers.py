"""Seeds and initial values of the variables of networks."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._builders import check_outside_of_graphs


def split_seed(seed: int, number: int) -> list[tf.Tensor]:
    """Returns `number` stateless seeds, the same in every process.

    Raises:
      TypeError: `seed` is not an integer.
      RuntimeError: called while a graph is traced.
    """
    check_outside_of_graphs()
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
        raise TypeError(f"`seed` must be an integer; got {seed!r}.")
    # TFP draws a new seed for an integer on every call; a pair is used as it is.
    return tf.unstack(tfp.random.split_seed([0, int(seed)], n=int(number)))


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
