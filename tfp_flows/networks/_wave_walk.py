"""One walk over a causal convolutional network that computes its own input on the way.

Where `z_t = invert(parameters_t(z_1, ..., z_{t-1}), w_t)` and the parameters come from
dilated causal convolutions, everybody else evaluates the network once for each time
step. The walk evaluates it at one step at a time: what a layer needs from steps before
is kept in a ring of as many rows as its oldest tap reaches back. So a step reads and
writes a few rows for each layer, however far back the layers reach.
"""

import numpy as np
import tensorflow as tf

from tfp_flows._autodiff import with_shape


def walk(dilations, kernel_size, channels, evaluate, invert, w):
    """Returns the `z` that a network and `invert` make of `w`.

    Args:
      dilations: steps between the taps of each layer.
      kernel_size: number of taps of each layer, and of samples that the first sees.
      channels: number of inputs of each layer.
      evaluate: callable from a step `t`, the last samples `[N, kernel_size]`, oldest
        first, and what the layers were fed at their earlier taps,
        `[layers, kernel_size - 1, N, channels]`, to parameters `[N, num_parameters]`
        and what the layers are fed at `t`, a list of tensors `[N, channels]`.
      invert: callable from parameters `[N, num_parameters]` and `w` `[N]` to `z` `[N]`.
      w: tensor of shape `[N, T]`.

    Returns:
      z: tensor of shape `[N, T]`.
    """
    # The rings of all layers are one array. A tensor would be copied at each step.
    delays = np.outer(dilations, np.arange(kernel_size - 1, 0, -1))  # oldest tap first
    lengths = delays[:, :1]
    starts = np.cumsum(lengths)[:, np.newaxis] - lengths
    w = tf.transpose(w)
    size, number = tf.shape(w)[0], tf.shape(w)[1]
    rings = tf.TensorArray(
        w.dtype,
        np.sum(lengths),
        element_shape=[w.shape[1], channels],
        clear_after_read=False,
    )
    rings = rings.unstack(tf.zeros([np.sum(lengths), number, channels], w.dtype))

    def step(t, recent, rings, z):
        rows = tf.math.floormod(t - delays, lengths) + starts
        # Not `gather`: TensorFlow's `vectorized_map` mixes up the axes of its result.
        past = tf.stack([rings.read(row) for row in tf.unstack(tf.reshape(rows, [-1]))])
        past = tf.reshape(past, [*delays.shape, number, channels])
        parameters, fed = evaluate(t, recent, past)
        found = invert(parameters, tf.gather(w, t))
        recent = tf.concat([recent[:, 1:], found[:, tf.newaxis]], axis=1)
        # The rows that were the oldest are those of this step from now on. The last
        # layer goes first: all rows have been read by then, or XLA would copy them.
        for row, h in zip(tf.unstack(rows[:, 0])[::-1], fed[::-1]):
            rings = rings.write(row, h)
        return t + 1, recent, rings, z.write(t, found)

    *_, z = tf.while_loop(
        lambda t, *_: t < size,
        step,
        (
            tf.constant(0),
            tf.zeros([number, kernel_size], w.dtype),
            rings,
            tf.TensorArray(w.dtype, size, element_shape=w.shape[1:]),
        ),
        maximum_iterations=size,
    )
    return tf.transpose(z.stack())


def flatten(w, context, context_ndims):
    """Gives an input and its context one batch axis.

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
