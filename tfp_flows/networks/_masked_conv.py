"""Masked convolutions of PixelCNN and PixelRNN, over images in raster order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfp_flows._autodiff import with_shape
from tfp_flows._typing import DTypeLike, Shape, TensorLike
from tfp_flows.networks._dense_ops import add, cast
from tfp_flows.networks._initializers import make_bias, make_kernel
from tfp_flows.networks._network_checks import check_inputs, check_sizes, set_dtypes


class MaskedConvolution(tf.Module):
    """Convolution of maps `[N, H, W, inputs]`, whose outputs depend on no row below.

    Args:
      seed: one of `split_seed`; None for zeros.
      mask: boolean array `[rows, columns, inputs, outputs]`, applied to the kernel. Its
        last row is the row of the output.
      name: name of the module, and prefix of the names of its variables.
      dtype: dtype of the variables.
      centered: whether the column of the output is the middle one or the last one.
    """

    def __init__(
        self,
        seed: tf.Tensor | None,
        mask: npt.NDArray,
        name: str,
        dtype: tf.DType,
        centered: bool = False,
    ) -> None:
        super().__init__(name=name)
        rows, columns = mask.shape[:2]
        self._mask = None if mask.all() else mask
        sides = [columns // 2] * 2 if centered else [columns - 1, 0]
        pads = np.array([[0, 0], [rows - 1, 0], sides, [0, 0]])
        self._pads = pads if np.any(pads) else None
        # The variance of an output is about that of an input.
        seen = max(1.0, np.mean(np.sum(mask, axis=(0, 1, 2))))
        self._kernel = make_kernel(
            seed, mask.shape, dtype, f"{name}_kernel", (rows / (2.0 * seen)) ** 0.5
        )
        self._bias = make_bias(mask.shape[-1], dtype, f"{name}_bias")

    def __call__(self, x: tf.Tensor, dtype: tf.DType | None = None) -> tf.Tensor:
        """Returns the convolution of `x`, in a dtype, by default that of `x`.

        The product has the dtype of `x`.
        """
        kernel = tf.convert_to_tensor(self._kernel)
        if self._mask is not None:
            kernel = tf.where(self._mask, kernel, tf.zeros([], kernel.dtype))
        if self._pads is not None:
            x = tf.pad(x, self._pads)
        h = tf.nn.conv2d(x, cast(kernel, x.dtype), strides=1, padding="VALID")
        return add(h, self._bias, dtype)


def channel_groups(features: int, channels: int) -> npt.NDArray:
    """Returns the image channel that each feature of a network belongs to.

    Args:
      features: number of features, at least `channels`.
      channels: number of channels. Their numbers of features differ by 1 at most.

    Returns:
      channel: integer array of shape `[features]`, in ascending order.
    """
    return np.arange(features) * channels // features


def raster_mask(
    kernel_size: int,
    inputs: npt.ArrayLike,
    outputs: npt.ArrayLike,
    include_self: bool,
) -> npt.NDArray:
    """Mask of a convolution over an image in raster order, channels within pixels.

    Outputs depend on the pixels above and to the left. At their own pixel, they depend
    on inputs of the channels before theirs, and with `include_self` on those of their
    own channel. These are masks A and B of van den Oord et al. (2016),
    https://arxiv.org/abs/1601.06759, section 3.4.

    Args:
      kernel_size: number of rows and of columns, odd.
      inputs, outputs: channel of each input and output, as from `channel_groups`.
      include_self: true for mask B, false for mask A.

    Returns:
      mask: boolean array `[kernel_size, kernel_size, inputs, outputs]`.

    Raises:
      ValueError: `kernel_size` is even.
    """
    if kernel_size % 2 == 0:
        raise ValueError(f"`kernel_size` must be odd; got {kernel_size}.")
    inputs, outputs = np.asarray(inputs)[:, np.newaxis], np.asarray(outputs)
    place = np.arange(kernel_size**2).reshape([kernel_size, kernel_size, 1, 1])
    center = kernel_size**2 // 2
    at_pixel = inputs <= outputs if include_self else inputs < outputs
    return (place < center) | ((place == center) & at_pixel)


def set_image_sizes(
    network: Any,
    event_shape: Shape,
    num_parameters: int,
    hidden_channels: int,
    num_layers: int,
    context_size: int,
    dtype: DTypeLike,
    compute_dtype: DTypeLike | None = None,
    **kernel_sizes: int,
) -> None:
    """Checks the arguments of a network for images, and sets them as its attributes.

    Raises:
      TypeError: `compute_dtype` is wider than `dtype`, or not floating.
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


def output_layers(
    network: Any, seed: tf.Tensor, hidden: npt.NDArray
) -> list[MaskedConvolution]:
    """Returns the last two layers: 1 x 1 convolutions, the last one of zeros.

    Args:
      network: network with its sizes.
      seed: one of `split_seed`.
      hidden: channel of each feature of their input.
    """
    channels, dtype = network.event_shape[-1], network.dtype
    outputs = np.repeat(np.arange(channels), network.num_parameters)
    return [
        MaskedConvolution(seed, raster_mask(1, hidden, hidden, True), "head", dtype),
        MaskedConvolution(None, raster_mask(1, hidden, outputs, True), "last", dtype),
    ]


def apply_output_layers(
    network: Any, layers: Sequence[MaskedConvolution], h: tf.Tensor
) -> tf.Tensor:
    """Returns the result of `output_layers`, `[N, H, W, C * num_parameters]`."""
    for layer in layers:
        h = layer(cast(tf.nn.relu(h), network.compute_dtype), network.dtype)
    return h


def shift_down(x: tf.Tensor) -> tf.Tensor:
    """Moves maps `[N, H, W, F]` down by one row; the first row becomes zero."""
    return tf.pad(x, [[0, 0], [1, 0], [0, 0], [0, 0]])[:, :-1]


def flatten_batch(
    network: Any, x: TensorLike, context: TensorLike | None
) -> tuple[tf.Tensor, tf.Tensor | None, Callable[[tf.Tensor], tf.Tensor]]:
    """Checks images and contexts, and reshapes them to one batch axis.

    Returns:
      x: tensor of shape `[N, H, W, C]`.
      context: tensor of shape `[N, context_size]`, or None.
      restore: callable from `[N, H, W, C * num_parameters]` to
        `[..., H, W, C, num_parameters]`.

    Raises:
      ValueError: a shape does not fit, or the context is missing or unused.
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
