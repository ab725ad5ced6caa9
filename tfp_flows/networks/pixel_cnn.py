"""Gated convolutional autoregressive network for images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._builders import register_builder
from tfp_flows._seeds import split_seed
from tfp_flows._typing import DTypeLike, Shape, TensorLike
from tfp_flows.networks._dense_ops import cast, multiply
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
class PixelCNN(Network):
    """Gated PixelCNN, a convolutional autoregressive network for images.

    See van den Oord et al. (2016), https://arxiv.org/abs/1606.05328, section 2.
    Elements are in raster order, row by row, and the channels of a pixel in turn: the
    outputs of an element depend on all channels of the pixels above and to the left,
    and on the preceding channels of its own pixel.

    Each layer has two stacks. With `*` a convolution, `1x1` one of single pixels, and
    `c` the context,

        v' = tanh(a_f) sigmoid(a_g)            [a_f, a_g] = W_v * v + V_v c
        h' = h + 1x1(tanh(b_f) sigmoid(b_g))   [b_f, b_g] = W_h * h + 1x1(a) + V_h c

    These are equations 2 and 4, connected as in figure 2. The vertical stack `v`
    depends on all rows above; it starts from the image one row down and so needs no
    masks. The horizontal stack `h` depends on the pixels to the left, and on `v`. At
    its own pixel it has mask A of https://arxiv.org/abs/1601.06759 in the first layer,
    which has no `h` to add to, and mask B in the others, where each feature belongs to
    one of the channels. Masks are applied in every call, so that no training step can
    violate the autoregressive order. All outputs are initialized to zero, so that a
    flow over this network is initialized to the identity.

    With `n` layers the receptive field reaches
    `n (kernel_size // 2) + first_kernel_size // 2` pixels up, left and right, without a
    blind spot.

    Called with `x` of shape `[..., H, W, C]`, and a context `[..., context_size]` if it
    takes one, it returns a tensor of shape `[..., H, W, C, num_parameters]`. Axes
    before the image broadcast with those of the context. Pixels should be of the order
    of 1.

    Args:
      event_shape: `[H, W, C]`.
      num_parameters: number of outputs for each element.
      hidden_channels: number of features of each stack, at least `C`.
      num_layers: number of layers after the first one.
      kernel_size: width of the convolutions, odd; their height is that of its unmasked
        part.
      first_kernel_size: likewise, of the first layer.
      seed: integer that determines the weights, the same in every process.
      context_size: length of a context; 0 for none.
      dtype: floating dtype of the weights and of the output.
      compute_dtype: floating dtype of the convolutions, see `MLP`; the sum over the
        layers of the horizontal stack has `dtype`.
      name: name of the module.

    Raises:
      TypeError: `seed` is not an integer; `compute_dtype` is not floating, or is wider
        than `dtype`.
      ValueError: an argument is out of its range; a kernel size is even; the input or
        context of a call has another shape.

    Example:

    >>> network = PixelCNN([4, 4, 1], num_parameters=2, hidden_channels=8,
    ...                    num_layers=1, seed=0)
    >>> network(tf.zeros([5, 4, 4, 1])).shape
    TensorShape([5, 4, 4, 1, 2])
    """

    event_shape: tf.TensorShape

    def __init__(
        self,
        event_shape: Shape,
        num_parameters: int,
        hidden_channels: int = 64,
        num_layers: int = 5,
        kernel_size: int = 3,
        first_kernel_size: int = 7,
        *,
        seed: int,
        context_size: int = 0,
        dtype: DTypeLike = tf.float32,
        compute_dtype: DTypeLike | None = None,
        name: str = "pixel_cnn",
    ) -> None:
        super().__init__(name=name)
        set_image_sizes(
            self,
            event_shape,
            num_parameters,
            hidden_channels,
            num_layers,
            context_size,
            dtype,
            compute_dtype,
            kernel_size=kernel_size,
            first_kernel_size=first_kernel_size,
        )
        self.kernel_size, self.first_kernel_size = kernel_size, first_kernel_size
        seeds = split_seed(seed, num_layers + 3)
        sizes = [first_kernel_size] + [kernel_size] * num_layers
        self._layers = [
            _GatedLayer(seeds[i], size, self, i) for i, size in enumerate(sizes)
        ]
        hidden = channel_groups(hidden_channels, self.event_shape[-1])
        self._head = output_layers(self, seeds[-2], hidden)
        self._context_kernel = None
        if context_size:
            self._context_kernel = make_kernel(
                seeds[-1],
                [context_size, len(sizes) * 4 * hidden_channels],
                dtype,
                "context_kernel",
                0.5**0.5,
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
        biases = [0.0] * (2 * len(self._layers))
        if context is not None:
            bias = multiply(cast(context, self.compute_dtype), self._context_kernel)
            bias = bias[:, tf.newaxis, tf.newaxis]
            biases = tf.split(bias, 2 * len(self._layers), axis=-1)
        v, h = shift_down(cast(x, self.compute_dtype)), x
        for i, layer in enumerate(self._layers):
            inputs = cast(h, self.compute_dtype)
            v_bias, h_bias = biases[2 * i : 2 * i + 2]
            v, change = layer(v, inputs, v_bias, h_bias, self.dtype)
            h = change if i == 0 else h + change
        return restore(apply_output_layers(self, self._head, h))

    def __repr__(self) -> str:
        return describe(
            self,
            "event_shape",
            "num_parameters",
            "hidden_channels",
            "num_layers",
            "kernel_size",
            "first_kernel_size",
            "context_size",
        )


class _GatedLayer(tf.Module):
    """The maps of one layer, from both stacks to both.

    Args:
      seed: one of `split_seed`.
      kernel_size: number of columns of the vertical kernel.
      network: network with its sizes.
      index: index of the layer; layer 0 has the image as its input.
    """

    def __init__(
        self, seed: tf.Tensor, kernel_size: int, network: PixelCNN, index: int
    ) -> None:
        super().__init__(name=f"layer_{index}")
        is_first = index == 0
        channels, features = network.event_shape[-1], network.hidden_channels
        hidden = channel_groups(features, channels)
        inputs = np.arange(channels) if is_first else hidden
        half = kernel_size // 2
        rows = half if is_first else half + 1  # the image comes a row down
        seeds = tf.unstack(tfp.random.split_seed(seed, n=4))

        def convolution(part: str, mask: npt.NDArray, centered: bool = False):
            return MaskedConvolution(
                seeds.pop(0), mask, f"{self.name}_{part}", network.dtype, centered
            )

        self.vertical = convolution(
            "vertical",
            np.ones([rows, kernel_size, len(inputs), 2 * features], bool),
            centered=True,
        )
        raster = raster_mask(
            kernel_size, inputs, np.tile(hidden, 2), include_self=not is_first
        )
        self.horizontal = convolution("horizontal", raster[half : half + 1, : half + 1])
        self.across = convolution(
            "across", np.ones([1, 1, 2 * features, 2 * features], bool)
        )
        self.out = convolution("out", raster_mask(1, hidden, hidden, include_self=True))

    def __call__(self, v, h, v_bias, h_bias, dtype):
        a = self.vertical(v) + v_bias
        b = self.horizontal(h) + self.across(a) + h_bias
        return _gate(a), self.out(_gate(b), dtype)


def _gate(both):
    f, g = tf.split(both, 2, axis=-1)
    return tf.tanh(f) * tf.sigmoid(g)
