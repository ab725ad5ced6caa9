"""Cached generation: inverts a causal convolutional network step by step.

Solves `z_t = invert(parameters_t(z_1, ..., z_{t-1}), w_t)` for `z`, where dilated
causal convolutions predict the parameters. The textbook algorithm evaluates the network
once for each time step. This one evaluates it at one step at a time, and keeps the
inputs of each layer at earlier steps in a ring buffer, with one row for each step that
its oldest tap reaches back. A step then reads and writes a few rows for each layer,
whatever the receptive field. See Paine et al. (2016), https://arxiv.org/abs/1611.09482.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfp_flows._autodiff import with_shape


def generate(
    dilations: Sequence[int],
    kernel_size: int,
    channels: int,
    evaluate: Callable,
    invert: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    w: tf.Tensor,
) -> tf.Tensor:
    """Returns the `z` with `z = invert(parameters(z), w)`.

    Args:
      dilations: steps between the taps of each layer.
      kernel_size: number of taps of each layer, and of the first convolution.
      channels: number of inputs of each layer.
      evaluate: callable from a step `t`, the last samples `[N, kernel_size]`, oldest
        first, and the inputs of the layers at their earlier taps,
        `[layers, kernel_size - 1, N, channels]`, to parameters `[N, num_parameters]`
        and the inputs of the layers at `t`, a list of tensors `[N, channels]`.
      invert: callable from parameters `[N, num_parameters]` and `w` `[N]` to `z` `[N]`.
      w: tensor of shape `[N, T]`.

    Returns:
      z: tensor of shape `[N, T]`.
    """
    # One array for the caches of all layers. A tensor would be copied at each step.
    delays = np.outer(dilations, np.arange(kernel_size - 1, 0, -1))  # oldest tap first
    lengths = delays[:, :1]
    starts = np.cumsum(lengths)[:, np.newaxis] - lengths
    w = tf.transpose(w)
    size, number = tf.shape(w)[0], tf.shape(w)[1]
    caches = tf.TensorArray(
        w.dtype,
        np.sum(lengths),
        element_shape=[w.shape[1], channels],
        clear_after_read=False,
    )
    caches = caches.unstack(tf.zeros([np.sum(lengths), number, channels], w.dtype))

    def step(t, recent, caches, z):
        rows = tf.math.floormod(t - delays, lengths) + starts
        # Not `gather`: TensorFlow's `vectorized_map` mixes up the axes of its result.
        past = tf.stack(
            [caches.read(row) for row in tf.unstack(tf.reshape(rows, [-1]))]
        )
        past = tf.reshape(past, [*delays.shape, number, channels])
        parameters, inputs = evaluate(t, recent, past)
        sample = invert(parameters, tf.gather(w, t))
        recent = tf.concat([recent[:, 1:], sample[:, tf.newaxis]], axis=1)
        # The oldest rows are overwritten with those of this step. The last layer is
        # written first, when all rows have been read, or XLA would copy them.
        for row, h in zip(tf.unstack(rows[:, 0])[::-1], inputs[::-1]):
            caches = caches.write(row, h)
        return t + 1, recent, caches, z.write(t, sample)

    *_, z = tf.while_loop(
        lambda t, *_: t < size,
        step,
        (
            tf.constant(0),
            tf.zeros([number, kernel_size], w.dtype),
            caches,
            tf.TensorArray(w.dtype, size, element_shape=w.shape[1:]),
        ),
        maximum_iterations=size,
    )
    return tf.transpose(z.stack())


def flatten_sequences(
    w: tf.Tensor, context: tf.Tensor | None, context_ndims: int
) -> tuple[tf.Tensor, tf.Tensor | None, Callable[[tf.Tensor], tf.Tensor]]:
    """Reshapes an input and its context to one batch axis.

    Args:
      w: tensor of shape `[..., T]`.
      context: tensor whose axes but the last `context_ndims` broadcast with the batch
        axes of `w`, or None.
      context_ndims: rank of one context.

    Returns:
      w: tensor of shape `[N, T]`.
      context: tensor of shape `[N, ...]`, or None.
      unflatten: callable from tensors `[N, T]` to the shape that results.
    """
    shape, static = tf.shape(w), w.shape
    if context is not None:
        axis = -context_ndims
        batch = tf.broadcast_dynamic_shape(shape[:-1], tf.shape(context)[:axis])
        shape = tf.concat([batch, shape[-1:]], axis=0)
        static = tf.broadcast_static_shape(static[:-1], context.shape[:axis])
        static = static.concatenate(w.shape[-1:])
    number = tf.reduce_prod(shape[:-1])

    def rows(tensor, ndims):
        event = tf.shape(tensor)[tf.rank(tensor) - ndims :]
        tensor = tf.broadcast_to(tensor, tf.concat([shape[:-1], event], axis=0))
        return tf.reshape(tensor, tf.concat([[number], event], axis=0))

    def unflatten(z):
        return with_shape(tf.reshape(z, shape), static)

    if context is not None:
        context = rows(context, context_ndims)
    return rows(w, 1), context, unflatten
