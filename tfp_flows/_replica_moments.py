"""Mean and spread of channels, alike on all replicas: for starts from data."""

import numpy as np
import tensorflow as tf


def moments(x):
    """Returns mean and variance over all axes but the last, of all replicas.

    In a replica of `tf.distribute` they are those of the batches of all replicas that
    are in sync, which must have one size.

    Args:
      x: floating tensor of shape `[..., C]`.

    Returns:
      mean, variance: tensors of shape `[C]`; the divisor is the number of values.
    """
    mean = _average(x)
    mean = mean + _average(x - mean)  # what the first sum lost to rounding
    return mean, _average(tf.math.squared_difference(x, mean))


def standardizing(x):
    """Returns the mean and the logarithm of the standard deviation of each channel.

    Args:
      x: as for `moments`.

    Returns:
      mean, log_deviation: tensors of shape `[C]`. The deviation of a channel that has
        none but by rounding counts as 1.
    """
    mean, variance = moments(x)
    limits = np.finfo(x.dtype.as_numpy_dtype)
    least = tf.maximum((100.0 * limits.eps * mean) ** 2, limits.tiny)
    variance = tf.where(variance > least, variance, tf.ones_like(variance))
    return mean, 0.5 * tf.math.log(variance)


def _average(x):
    mean = tf.reduce_mean(x, axis=list(range(x.shape.rank - 1)))
    replicas = tf.distribute.get_replica_context()
    if replicas is None or replicas.num_replicas_in_sync == 1:
        return mean
    return replicas.all_reduce(tf.distribute.ReduceOp.MEAN, mean)
