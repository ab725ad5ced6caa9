"""Causal convolutions over the second last axis, time."""

import tensorflow as tf

from tfp_flows._autodiff import with_shape
from tfp_flows.networks._dense import multiply


def delayed(h, steps):
    """Returns `h` of shape `[..., T, channels]` moved to later steps, behind zeros."""
    if steps == 0:
        return h
    paddings = [[0, 0]] * (h.shape.rank - 2) + [[steps, 0], [0, 0]]
    moved = tf.pad(h, paddings)[..., : tf.shape(h)[-2], :]
    return with_shape(moved, h.shape)


def convolve(h, kernel, dilation):
    """Returns a causal convolution of `h` of shape `[..., T, inputs]`.

    A product for each tap, as TensorFlow has no gradient of `tf.nn.conv1d` with
    dilations for CPUs outside XLA, and nothing to win within.

    Args:
      h: tensor of shape `[..., T, inputs]`.
      kernel: tensor of shape `[taps * inputs, outputs]`, the oldest tap first.
      dilation: number of steps between two taps; the last one sees its own step.
    """
    taps = tf.split(kernel, kernel.shape[0] // h.shape[-1])
    return tf.add_n(
        [
            multiply(delayed(h, age * dilation), tap)
            for age, tap in enumerate(taps[::-1])
        ]
    )
