"""What the networks of images in raster order share."""

import math

import numpy as np
import tensorflow as tf

from tfp_flows import masks
from tfp_flows._autodiff import with_shape
from tfp_flows.networks._dense import (
    add,
    cast,
    check_inputs,
    check_sizes,
    make_bias,
    make_kernel,
    set_dtypes,
)


class Convolution(tf.Module):
    """Convolution of maps `[N, H, W, inputs]` that sees rows up to its own alone.

    Args:
      seed: one of `split_seed`; None for zeros.
      mask: boolean array `[rows, columns, inputs, outputs]`, applied to the kernel. Its
        last row is the row of the output.
      name: of the module, and prefix of the names of its variables.
      dtype: dtype of the variables.
      centered: whether the middle column is that of the output, else the last one is.
    """

    def __init__(self, seed, mask, name, dtype, centered=False):
        super().__init__(name=name)
        rows, columns = mask.shape[:2]
        self._mask = None if mask.all() else mask
        sides = [columns // 2] * 2 if centered else [columns - 1, 0]
        self._pads = [[0, 0], [rows - 1, 0], sides, [0, 0]]
        # The variance of an output is about that of an input.
        seen = max(1.0, np.mean(np.sum(mask, axis=(0, 1, 2))))
        self._kernel = make_kernel(
            seed, mask.shape, dtype, f"{name}_kernel", (rows / (2.0 * seen)) ** 0.5
        )
        self._bias = make_bias(mask.shape[-1], dtype, f"{name}_bias")

    def __call__(self, x, dtype=None):
        """Returns what it makes of `x`, in a dtype, by default that of `x`.

        The product runs in the dtype of `x`.
        """
        kernel = tf.convert_to_tensor(self._kernel)
        if self._mask is not None:
            kernel = tf.where(self._mask, kernel, tf.zeros([], kernel.dtype))
        if np.any(self._pads):
            x = tf.pad(x, self._pads)
        h = tf.nn.conv2d(x, cast(kernel, x.dtype), strides=1, padding="VALID")
        return add(h, self._bias, dtype)


def set_sizes(
    network,
    event_shape,
    num_parameters,
    hidden_channels,
    num_layers,
    context_size,
    dtype,
    compute_dtype=None,
    **kernel_sizes,
):
    """Checks what the networks of images are given, and makes it their attributes.

    Raises:
      TypeError: `compute_dtype` does not fit.
      ValueError: another argument is out of its range.
    """
    event_shape = tuple(tf.TensorShape(event_shape).as_list())
    if len(event_shape) != 3:
        raise ValueError(
            "`event_shape` must have three axes, [height, width, channels]; "
            f"got {list(event_shape)}."
        )
    check_sizes(
        event_shape=event_shape,
        num_parameters=num_parameters,
        hidden_channels=hidden_channels,
        num_layers=num_layers,
        **({"context_size": context_size} if context_size != 0 else {}),
    )
    if hidden_channels < event_shape[-1]:
        raise ValueError(
            "`hidden_channels` must be at least the number of channels of the image, "
            f"{event_shape[-1]}; got {hidden_channels}."
        )
    for name, size in kernel_sizes.items():
        check_sizes(**{name: size})
        if size % 2 == 0 or size < 3:
            raise ValueError(f"`{name}` must be odd and at least 3; got {size}.")
    network.event_shape, network.event_ndims = tf.TensorShape(event_shape), 3
    network.num_parameters, network.hidden_channels = num_parameters, hidden_channels
    network.num_layers = num_layers
    network.context_size, network.context_ndims = context_size, 1
    set_dtypes(network, dtype, compute_dtype)
    network.order = np.arange(math.prod(event_shape))


def make_head(network, seed, hidden):
    """Returns the last two layers: 1 x 1 convolutions, the last one of zeros.

    Args:
      network: network with its sizes.
      seed: one of `split_seed`.
      hidden: channel of each feature that they are given.
    """
    channels = network.event_shape[-1]
    outputs = np.repeat(np.arange(channels), network.num_parameters)
    return [
        Convolution(seed, masks.raster(1, hidden, hidden, True), "head", network.dtype),
        Convolution(
            None, masks.raster(1, hidden, outputs, True), "last", network.dtype
        ),
    ]


def apply_head(network, head, h):
    """Returns `[N, H, W, C * num_parameters]`."""
    for layer in head:
        h = layer(cast(tf.nn.relu(h), network.compute_dtype), network.dtype)
    return h


def shift_down(x):
    """Moves maps `[N, H, W, F]` down by one row; the first row is zero."""
    return tf.pad(x, [[0, 0], [1, 0], [0, 0], [0, 0]])[:, :-1]


def flatten(network, x, context):
    """Gives images and contexts one batch axis, and checks them.

    Returns:
      x: tensor of shape `[N, H, W, C]`.
      context: tensor of shape `[N, context_size]`, or None.
      restore: callable from `[N, H, W, C * num_parameters]` to
        `[..., H, W, C, num_parameters]`.

    Raises:
      ValueError: a shape does not fit, or the context is missing or not wanted.
    """
    event_shape = network.event_shape.as_list()
    x, context = check_inputs(network, x, context, event_shape[-1])
    if x.shape.rank < 3 or not x.shape[-3:].is_compatible_with(event_shape):
        raise ValueError(
            f"The last axes of the input must be those of `event_shape`, {event_shape};"
            f" got shape {x.shape}."
        )
    batch, known = tf.shape(x)[:-3], x.shape[:-3]
    if context is not None:
        batch = tf.broadcast_dynamic_shape(batch, tf.shape(context)[:-1])
        known = tf.broadcast_static_shape(known, context.shape[:-1])
        x = tf.broadcast_to(x, tf.concat([batch, event_shape], axis=0))
        size = [network.context_size]
        context = tf.broadcast_to(context, tf.concat([batch, size], axis=0))
        context = tf.reshape(context, [-1, *size])

    def restore(flat):
        shape = [*event_shape, network.num_parameters]
        result = tf.reshape(flat, tf.concat([batch, shape], axis=0))
        return with_shape(result, known.concatenate(shape))

    return tf.reshape(x, [-1, *event_shape]), context, restore
