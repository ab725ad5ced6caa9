"""Recurrent network of images whose outputs see only what comes before them."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import masks
from tfp_flows._builders import register_builder
from tfp_flows._seeds import split_seed
from tfp_flows.networks._dense import describe, make_kernel
from tfp_flows.networks._lstm import run_lines, skew, unskew
from tfp_flows.networks._raster import (
    Convolution,
    apply_head,
    flatten,
    make_head,
    set_sizes,
    shift_down,
)


@register_builder(package="tfp_flows")
class PixelRNN(tf.Module):
    """Network with several outputs for each element, which see the elements before it.

    PixelRNN of van den Oord et al. (2016), https://arxiv.org/abs/1601.06759, section 3.
    Elements are in raster order, row by row, and the channels of a pixel one after the
    other. A convolution with mask A is followed by residual layers of one of two kinds,
    and by two 1 x 1 convolutions. All masks are B but the first, and are applied in
    each call. All outputs start at zero, so that a flow over this network starts as the
    identity.

    - "row", the Row LSTM of section 3.1: the state of a row comes from the row above,
      by a convolution of `kernel_size`. What is seen widens by `kernel_size // 2`
      pixels a row: a triangle above, and with it pixels to the left.
    - "diagonal", the Diagonal BiLSTM of section 3.2: the state of a pixel comes from
      its left and its upper neighbor, and a second recurrence comes from the right.
      The second one's states are taken from a row above, and it sees the image, too,
      which the paper has not: the last pixel of a row would be hidden from the first
      ones of the next. All that comes before is seen, whatever the number of layers.

    A call takes `H` steps for "row" and `H + W - 1` for "diagonal" in each layer, one
    after the other, where `PixelCNN` has none; what does not depend on states is
    computed before.

    Called with `x` of shape `[..., H, W, C]`, and a context `[..., context_size]` if it
    has one, it returns a tensor of shape `[..., H, W, C, num_parameters]`. The axes
    before the image broadcast with those of the context, which is added to all gates.
    Pixels should be of the order of 1.

    Args:
      event_shape: `[H, W, C]`.
      num_parameters: number of outputs for each element.
      hidden_channels: number of features of a state, at least `C`; twice as many go
        from layer to layer.
      num_layers: number of recurrent layers.
      kind: "row" or "diagonal".
      kernel_size: width of the convolutions of "row", odd.
      first_kernel_size: width of the first convolution, odd.
      seed: integer that decides the weights, in each process alike.
      context_size: length of a context; 0 for none.
      dtype: floating dtype of the weights.
      name: name of the module.

    Raises:
      TypeError: `seed` is no integer.
      ValueError: an argument is out of its range; the input or context of a call has
        another shape.
    """

    def __init__(
        self,
        event_shape,
        num_parameters,
        hidden_channels=32,
        num_layers=2,
        kind="diagonal",
        kernel_size=3,
        first_kernel_size=7,
        *,
        seed,
        context_size=0,
        dtype=tf.float32,
        name="pixel_rnn",
    ):
        super().__init__(name=name)
        kinds = dict(row=_RowLayer, diagonal=_DiagonalLayer)
        if not isinstance(kind, str) or kind not in kinds:
            raise ValueError(f"`kind` must be one of {tuple(kinds)}; got {kind!r}.")
        set_sizes(
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
        between = masks.groups(2 * hidden_channels, channels)
        mask = masks.raster(first_kernel_size, np.arange(channels), between, own=False)
        seeds = split_seed(seed, num_layers + 3)
        self._first = Convolution(
            seeds[0], mask[: first_kernel_size // 2 + 1], "first", dtype, centered=True
        )
        self._layers = [
            kinds[kind](seeds[i + 1], between, self, f"layer_{i}")
            for i in range(num_layers)
        ]
        self._head = make_head(self, seeds[-2], between)
        self._context_kernel = None
        if context_size:
            told = num_layers * kinds[kind].directions * 4 * hidden_channels
            self._context_kernel = make_kernel(
                seeds[-1], [context_size, told], dtype, "context_kernel", 0.5**0.5
            )

    def __call__(self, x, context=None):
        x, context, restore = flatten(self, x, context)
        told = [0.0] * len(self._layers)
        if context is not None:
            told = tf.matmul(context, self._context_kernel)[:, tf.newaxis, tf.newaxis]
            told = tf.split(told, len(self._layers), axis=-1)
        h = self._first(x)
        for layer, own in zip(self._layers, told):
            h += layer(h, x, own)
        return restore(apply_head(self, self._head, h))

    def __repr__(self):
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
    """A Row LSTM, and the map of its states to what is added.

    Args:
      seed: one of `split_seed`.
      between: channel of each feature that goes from layer to layer.
      network: network with its sizes.
      name: prefix of the names of the variables.
    """

    directions = 1

    def __init__(self, seed, between, network, name):
        super().__init__(name=name)
        hidden, dtype = _hidden_groups(network), network.dtype
        size, half = network.kernel_size, network.kernel_size // 2
        seeds = tf.unstack(tfp.random.split_seed(seed, n=3))
        mask = masks.raster(size, between, np.tile(hidden, 4), own=True)
        self._input = Convolution(
            seeds[0], mask[half : half + 1, : half + 1], f"{name}_input", dtype
        )
        self._state_kernel = _make_state_kernel(
            seeds[1], size, len(hidden), f"{name}_state_kernel", dtype
        )
        self._out = Convolution(
            seeds[2], masks.raster(1, hidden, between, own=True), f"{name}_out", dtype
        )
        self._offsets = range(-half, half + 1)

    def __call__(self, h, image, told):
        """Returns what is added to the features `h`. It does not need `image`.

        Args:
          h: features `[N, H, W, features]`.
          image: image that they are of.
          told: what the context adds to the gates, or 0.0.
        """
        inputs = tf.transpose(self._input(h) + told, [1, 0, 2, 3])[:, tf.newaxis]
        kernels = tf.convert_to_tensor(self._state_kernel)[tf.newaxis]
        states = run_lines(inputs, kernels, self._offsets)
        return self._out(tf.transpose(states[:, 0], [1, 0, 2, 3]))


class _DiagonalLayer(tf.Module):
    """A Diagonal BiLSTM, and the map of its states to what is added.

    Args:
      seed, between, network, name: as for `_RowLayer`.
    """

    directions = 2

    def __init__(self, seed, between, network, name):
        super().__init__(name=name)
        hidden, dtype = _hidden_groups(network), network.dtype
        seeds = tf.unstack(tfp.random.split_seed(seed, n=5))
        mask = masks.raster(1, between, np.tile(hidden, 4), own=True)
        self._left_input = Convolution(seeds[0], mask, f"{name}_left_input", dtype)
        # States from the right go a row down: all their pixels come before.
        seen = len(between) + network.event_shape[-1]
        self._right_input = Convolution(
            seeds[1],
            np.ones([1, 1, seen, mask.shape[-1]], bool),
            f"{name}_right_input",
            dtype,
        )
        self._state_kernels = [
            _make_state_kernel(
                seeds[2 + i], 2, len(hidden), f"{name}_{side}_state_kernel", dtype
            )
            for i, side in enumerate(["left", "right"])
        ]
        self._out = Convolution(
            seeds[4], masks.raster(1, hidden, between, own=True), f"{name}_out", dtype
        )

    def __call__(self, h, image, told):
        """Returns what is added to the features `h`; arguments as for `_RowLayer`."""
        left = self._left_input(h)
        right = self._right_input(tf.concat([h, image], axis=-1))
        if not isinstance(told, float):
            told_left, told_right = tf.split(told, 2, axis=-1)
            left, right = left + told_left, right + told_right
        inputs = tf.stack([skew(left), skew(right[:, :, ::-1])])
        states = run_lines(
            tf.transpose(inputs, [3, 0, 1, 2, 4]),
            tf.stack(self._state_kernels),
            [0, -1],
        )
        states = tf.transpose(states, [1, 2, 3, 0, 4])
        left, right = unskew(states[0]), unskew(states[1])[:, :, ::-1]
        return self._out(left + shift_down(right))


def _hidden_groups(network):
    return masks.groups(network.hidden_channels, network.event_shape[-1])


def _make_state_kernel(seed, taps, features, name, dtype):
    return make_kernel(seed, [taps * features, 4 * features], dtype, name, 0.5**0.5)
