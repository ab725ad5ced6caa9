"""Recurrent autoregressive network for images."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._builders import register_builder
from tfp_flows._seeds import split_seed
from tfp_flows._typing import DTypeLike, Shape, TensorLike
from tfp_flows.networks._convolutional_lstm import scan_lines, skew, unskew
from tfp_flows.networks._initializers import make_kernel
from tfp_flows.networks._masked_conv import (
    MaskedConvolution,
    apply_output_layers,
    channel_groups,
    flatten_batch,
    output_layers,
    raster_mask,
    set_image_sizes,
    shift_down,
)
from tfp_flows.networks._network_checks import describe
from tfp_flows.networks.base import Network


@register_builder(package="tfp_flows")
class PixelRNN(Network):
    """PixelRNN, a recurrent autoregressive network for images.

    See van den Oord et al. (2016), https://arxiv.org/abs/1601.06759, section 3.
    Elements are in raster order, row by row, and the channels of a pixel in turn. A
    convolution with mask A is followed by residual layers of one of two kinds, and by
    two 1 x 1 convolutions. All masks but the first are B, and are applied in every
    call. All outputs are initialized to zero, so that a flow over this network is
    initialized to the identity.

    - "row", the Row LSTM of section 3.1: the state of a row is computed from the row
      above, by a convolution of `kernel_size`. The receptive field widens by
      `kernel_size // 2` pixels a row: a triangle above, and pixels to the left of it.
    - "diagonal", the Diagonal BiLSTM of section 3.2: the state of a pixel is computed
      from its left and its upper neighbor, and a second recurrence runs from the right.
      States of the second one are taken from a row above. Unlike in the paper, it also
      has the image as an input: otherwise the first pixels of a row would not depend on
      the last ones of the preceding row. The receptive field is all preceding elements,
      for any number of layers.

    Each layer takes `H` sequential steps for "row" and `H + W - 1` for "diagonal",
    where `PixelCNN` takes none. Terms that do not depend on states are computed before.

    Called with `x` of shape `[..., H, W, C]`, and a context `[..., context_size]` if it
    takes one, it returns a tensor of shape `[..., H, W, C, num_parameters]`. Axes
    before the image broadcast with those of the context, which is added to all gates.
    Pixels should be of the order of 1.

    Args:
      event_shape: `[H, W, C]`.
      num_parameters: number of outputs for each element.
      hidden_channels: number of features of a state, at least `C`; between layers there
        are twice as many.
      num_layers: number of recurrent layers.
      kind: "row" or "diagonal".
      kernel_size: width of the convolutions of "row", odd.
      first_kernel_size: width of the first convolution, odd.
      seed: integer that determines the weights, the same in every process.
      context_size: length of a context; 0 for none.
      dtype: floating dtype of the weights and of the output.
      name: name of the module.

    Raises:
      TypeError: `seed` is not an integer.
      ValueError: an argument is out of its range; the input or context of a call has
        another shape.

    Example:

    >>> network = PixelRNN([4, 4, 1], num_parameters=2, hidden_channels=4,
    ...                    num_layers=1, kind="row", seed=0)
    >>> network(tf.zeros([5, 4, 4, 1])).shape
    TensorShape([5, 4, 4, 1, 2])
    """

    event_shape: tf.TensorShape

    def __init__(
        self,
        event_shape: Shape,
        num_parameters: int,
        hidden_channels: int = 32,
        num_layers: int = 2,
        kind: str = "diagonal",
        kernel_size: int = 3,
        first_kernel_size: int = 7,
        *,
        seed: int,
        context_size: int = 0,
        dtype: DTypeLike = tf.float32,
        name: str = "pixel_rnn",
    ) -> None:
        super().__init__(name=name)
        kinds: dict[str, Any] = dict(row=_RowLayer, diagonal=_DiagonalLayer)
        if not isinstance(kind, str) or kind not in kinds:
            raise ValueError(f"`kind` must be one of {tuple(kinds)}; got {kind!r}.")
        set_image_sizes(
            self,
            event_shape,
            num_parameters,
            hidden_channels,
            num_layers,
            context_size,
            dtype,
            kernel_size=kernel_size,
            first_kernel_size=first_kernel_size,
        )
        self.kind, self.kernel_size = kind, kernel_size
        self.first_kernel_size = first_kernel_size
        channels = self.event_shape[-1]
        between = channel_groups(2 * hidden_channels, channels)
        mask = raster_mask(
            first_kernel_size, np.arange(channels), between, include_self=False
        )
        seeds = split_seed(seed, num_layers + 3)
        self._first = MaskedConvolution(
            seeds[0], mask[: first_kernel_size // 2 + 1], "first", dtype, centered=True
        )
        self._layers = [
            kinds[kind](seeds[i + 1], between, self, f"layer_{i}")
            for i in range(num_layers)
        ]
        self._head = output_layers(self, seeds[-2], between)
        self._context_kernel = None
        if context_size:
            gates = num_layers * kinds[kind].directions * 4 * hidden_channels
            self._context_kernel = make_kernel(
                seeds[-1], [context_size, gates], dtype, "context_kernel", 0.5**0.5
            )

    def __call__(self, x: TensorLike, context: TensorLike | None = None) -> tf.Tensor:
        """Predict the parameters of each element.

        Args:
          x: tensor of shape `[..., H, W, C]`.
          context: tensor of shape `[..., context_size]`, or None.

        Returns:
          parameters: tensor of shape `[..., H, W, C, num_parameters]`.
        """
        x, context, restore = flatten_batch(self, x, context)
        biases = [0.0] * len(self._layers)
        if context is not None:
            bias = tf.matmul(context, self._context_kernel)[:, tf.newaxis, tf.newaxis]
            biases = tf.split(bias, len(self._layers), axis=-1)
        h = self._first(x)
        for layer, context_bias in zip(self._layers, biases):
            h += layer(h, x, context_bias)
        return restore(apply_output_layers(self, self._head, h))

    def __repr__(self) -> str:
        return describe(
            self,
            "event_shape",
            "num_parameters",
            "hidden_channels",
            "num_layers",
            "kind",
            "kernel_size",
            "first_kernel_size",
            "context_size",
        )


class _RowLayer(tf.Module):
    """A Row LSTM, and a linear map of its states to the residual.

    Args:
      seed: one of `split_seed`.
      between: channel of each feature between layers.
      network: network with its sizes.
      name: prefix of the names of the variables.
    """

    directions = 1

    def __init__(
        self, seed: tf.Tensor, between: npt.NDArray, network: PixelRNN, name: str
    ) -> None:
        super().__init__(name=name)
        hidden, dtype = _hidden_groups(network), network.dtype
        size, half = network.kernel_size, network.kernel_size // 2
        seeds = tf.unstack(tfp.random.split_seed(seed, n=3))
        mask = raster_mask(size, between, np.tile(hidden, 4), include_self=True)
        self._input = MaskedConvolution(
            seeds[0], mask[half : half + 1, : half + 1], f"{name}_input", dtype
        )
        self._state_kernel = _make_state_kernel(
            seeds[1], size, len(hidden), f"{name}_state_kernel", dtype
        )
        self._out = MaskedConvolution(
            seeds[2],
            raster_mask(1, hidden, between, include_self=True),
            f"{name}_out",
            dtype,
        )
        self._offsets = range(-half, half + 1)

    def __call__(self, h, image, context_bias):
        """Returns the residual that is added to the features `h`.

        Args:
          h: features `[N, H, W, features]`.
          image: image of these features; not used here.
          context_bias: term of the context in the gates, or 0.0.
        """
        inputs = tf.transpose(self._input(h) + context_bias, [1, 0, 2, 3])[
            :, tf.newaxis
        ]
        kernels = tf.convert_to_tensor(self._state_kernel)[tf.newaxis]
        states = scan_lines(inputs, kernels, self._offsets)
        return self._out(tf.transpose(states[:, 0], [1, 0, 2, 3]))


class _DiagonalLayer(tf.Module):
    """A Diagonal BiLSTM, and a linear map of its states to the residual.

    Args:
      seed, between, network, name: as for `_RowLayer`.
    """

    directions = 2

    def __init__(
        self, seed: tf.Tensor, between: npt.NDArray, network: PixelRNN, name: str
    ) -> None:
        super().__init__(name=name)
        hidden, dtype = _hidden_groups(network), network.dtype
        seeds = tf.unstack(tfp.random.split_seed(seed, n=5))
        mask = raster_mask(1, between, np.tile(hidden, 4), include_self=True)
        self._left_input = MaskedConvolution(
            seeds[0], mask, f"{name}_left_input", dtype
        )
        # States from the right move a row down, so that all their pixels precede.
        inputs = len(between) + network.event_shape[-1]
        self._right_input = MaskedConvolution(
            seeds[1],
            np.ones([1, 1, inputs, mask.shape[-1]], bool),
            f"{name}_right_input",
            dtype,
        )
        self._state_kernels = [
            _make_state_kernel(
                seeds[2 + i], 2, len(hidden), f"{name}_{side}_state_kernel", dtype
            )
            for i, side in enumerate(["left", "right"])
        ]
        self._out = MaskedConvolution(
            seeds[4],
            raster_mask(1, hidden, between, include_self=True),
            f"{name}_out",
            dtype,
        )

    def __call__(self, h, image, context_bias):
        """Returns the residual of the features `h`; arguments as for `_RowLayer`."""
        left = self._left_input(h)
        right = self._right_input(tf.concat([h, image], axis=-1))
        if not isinstance(context_bias, float):
            left_bias, right_bias = tf.split(context_bias, 2, axis=-1)
            left, right = left + left_bias, right + right_bias
        inputs = tf.stack([skew(left), skew(right[:, :, ::-1])])
        states = scan_lines(
            tf.transpose(inputs, [3, 0, 1, 2, 4]),
            tf.stack(self._state_kernels),
            [0, -1],
        )
        states = tf.transpose(states, [1, 2, 3, 0, 4])
        left, right = unskew(states[0]), unskew(states[1])[:, :, ::-1]
        return self._out(left + shift_down(right))


def _hidden_groups(network):
    return channel_groups(network.hidden_channels, network.event_shape[-1])


def _make_state_kernel(seed, taps, features, name, dtype):
    return make_kernel(seed, [taps * features, 4 * features], dtype, name, 0.5**0.5)
