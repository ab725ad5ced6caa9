"""Products, sums and activations of networks, in a compute dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfp_flows._autodiff import with_shape


def multiply(x: tf.Tensor, kernel: tf.Tensor | tf.Variable) -> tf.Tensor:
    """Returns `x @ kernel` for `x` `[..., inputs]`, as one product, in its dtype."""
    if kernel.dtype != x.dtype:
        kernel = tf.cast(kernel, x.dtype)
    if kernel.shape[0] == 0:
        # Fused with the following op, an empty product in oneDNN ends the process.
        shape = tf.concat([tf.shape(x)[:-1], kernel.shape[1:]], axis=0)
        zeros = tf.zeros(shape, x.dtype) + tf.reduce_sum(kernel)  # it has a gradient
        return with_shape(zeros, x.shape[:-1].concatenate(kernel.shape[1:]))
    if x.shape.rank == 2:
        return tf.matmul(x, kernel)
    flat = tf.matmul(tf.reshape(x, [-1, kernel.shape[0]]), kernel)
    return replace_last_axis(flat, x, [kernel.shape[1]])


def add(
    h: tf.Tensor, bias: tf.Tensor | tf.Variable, dtype: tf.DType | None = None
) -> tf.Tensor:
    """Returns `h + bias` in a dtype, by default that of `h`."""
    dtype = h.dtype if dtype is None else dtype
    if h.dtype == bias.dtype == dtype and dtype != tf.float16:
        return h + bias
    # TensorFlow would fuse a sum with a product in float16, which is about a thousand
    # times as slow on CPUs.
    wide = tf.float32 if dtype == tf.float16 else dtype
    return cast(cast(h, wide) + cast(bias, wide), dtype)


def cast(x: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns `tf.cast(x, dtype)`, without an op where `x` has that dtype."""
    return x if x.dtype == dtype else tf.cast(x, dtype)


def replace_last_axis(
    values: tf.Tensor, like: tf.Tensor, shape: Sequence[int]
) -> tf.Tensor:
    """Returns `values` with the axes of `like` but its last, and then `shape`."""
    batch = like.shape[:-1]
    if batch.rank is not None:
        sizes = [-1 if size is None else size for size in batch]
        if sizes.count(-1) <= 1 and 0 not in sizes:
            return tf.reshape(values, [*sizes, *shape])
    result = tf.reshape(values, tf.concat([tf.shape(like)[:-1], shape], axis=0))
    return with_shape(result, batch.concatenate(shape))


def activate(activation: Callable[[tf.Tensor], tf.Tensor], h: tf.Tensor) -> tf.Tensor:
    """Returns an activation of `h`.

    Raises:
      ValueError: it does not have the shape of `h`.
    """
    result = activation(h)
    if not h.shape.is_compatible_with(result.shape):
        name = getattr(activation, "__name__", repr(activation))
        raise ValueError(
            f"`activation` must keep the shape of its argument; got `{name}`, which "
            f"returns shape {result.shape} for {h.shape}. Pass an elementwise function."
        )
    return result
