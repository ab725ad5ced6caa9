"""Per-channel scale and shift, with fast gradients under XLA.

The gradients are sums over all axes but the last. On CPUs, XLA takes 4 to 30 times as
long for `sum(g * x)` over several leading axes as for a product of `g * x` with ones.
"""

import tensorflow as tf


def scale(x, factor):
    """Returns `x * factor`, for a factor of shape `[..., C]`."""
    if not _is_of_channels(factor, x):
        return x * factor

    @tf.custom_gradient
    def multiply(x, factor):
        def gradient(g):
            return g * factor, _sum_to(factor, g * x)

        return x * factor, gradient

    return multiply(x, factor)


def shift(x, term):
    """Returns `x + term`, for a term of shape `[..., C]`."""
    if not _is_of_channels(term, x):
        return x + term

    @tf.custom_gradient
    def add(x, term):
        def gradient(g):
            return g, _sum_to(term, g)

        return x + term, gradient

    return add(x, term)


def _is_of_channels(parameter, x):
    """Returns whether one parameter of shape `[C]` serves all pixels of `x`."""
    channels = x.shape[-1] if x.shape.rank else None
    return (
        not tf.executing_eagerly()  # where the plain product is faster
        and channels is not None
        and x.shape.rank > 2
        and parameter.shape[-1:] == [channels]
        and parameter.shape.num_elements() == channels
    )


def _sum_to(parameter, values):
    rows = tf.reshape(values, [-1, parameter.shape[-1]])
    ones = tf.ones(tf.shape(rows)[:1], rows.dtype)
    total = tf.linalg.matvec(rows, ones, transpose_a=True)
    return tf.reshape(total, parameter.shape)
