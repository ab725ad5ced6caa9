"""Mean and standard deviation of channels over all replicas, for initialization."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def moments(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns mean and variance over all axes but the last, and over all replicas.

    In a replica context of `tf.distribute` they are over the batches of all replicas in
    sync, which must be of equal size.

    Args:
      x: floating tensor of shape `[..., C]`.

    Returns:
      mean, variance: tensors of shape `[C]`; the divisor is the number of values.
    """
    mean = _average(x)
    mean = mean + _average(x - mean)  # corrects the rounding error of the first sum
    return mean, _average(tf.math.squared_difference(x, mean))


def mean_and_log_stddev(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the mean and the logarithm of the standard deviation of each channel.

    Args:
      x: as for `moments`.

    Returns:
      mean, log_stddev: tensors of shape `[C]`. A channel that is constant up to
        rounding errors gets standard deviation 1.
    """
    mean, variance = moments(x)
    limits = np.finfo(x.dtype.as_numpy_dtype)
    minimum = tf.maximum((100.0 * limits.eps * mean) ** 2, limits.tiny)
    variance = tf.where(variance > minimum, variance, tf.ones_like(variance))
    return mean, 0.5 * tf.math.log(variance)


def _average(x):
    mean = tf.reduce_mean(x, axis=list(range(x.shape.rank - 1)))
    replicas = tf.distribute.get_replica_context()
    if replicas is None or replicas.num_replicas_in_sync == 1:
        return mean
    return replicas.all_reduce(tf.distribute.ReduceOp.MEAN, mean)
