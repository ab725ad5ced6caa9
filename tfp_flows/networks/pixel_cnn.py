"""Convolutional network of images whose outputs see only what comes before them."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import masks
from tfp_flows._builders import register_builder
from tfp_flows._seeds import split_seed
from tfp_flows.networks._dense import cast, describe, make_kernel, multiply
from tfp_flows.networks._raster import (
    Convolution,
    apply_head,
    flatten,
    make_head,
    set_sizes,
    shift_down,
)


@register_builder(package="tfp_flows")
class PixelCNN(tf.Module):
    """Network with several outputs for each element, which see the elements before it.

    Gated PixelCNN of van den Oord et al. (2016), https://arxiv.org/abs/1606.05328,
    section 2. Elements are in raster order, row by row, and the channels of a pixel one
    after the other: an output sees all channels of the pixels above and to the left,
    and the channels of its own pixel before its own.

    Each layer has two stacks. With `*` a convolution, `1x1` one of single pixels, and
    `c` the context,

        v' = tanh(a_f) sigmoid(a_g)            [a_f, a_g] = W_v * v + V_v c
        h' = h + 1x1(tanh(b_f) sigmoid(b_g))   [b_f, b_g] = W_h * h + 1x1(a) + V_h c

    These are equations 2 and 4, wired as in figure 2. The vertical stack `v` sees all
    rows above; it starts from the image one row down and so needs no masks. The
    horizontal stack `h` sees the pixels to the left, and `v`. At its own pixel it has
    mask A of https://arxiv.org/abs/1601.06759 in the first layer, which has no `h` to
    add to, and mask B in the others: a feature belongs to one of the channels. Masks
    are applied in each call, so that no training undoes them. All outputs start at
    zero, so that a flow over this network starts as the identity.

    With `n` layers an output sees `n (kernel_size // 2) + first_kernel_size // 2`
    pixels far, up, left and right. There is no blind spot in that area.

    Called with `x` of shape `[..., H, W, C]`, and a context `[..., context_size]` if it
    has one, it returns a tensor of shape `[..., H, W, C, num_parameters]`. The axes
    before the image broadcast with those of the context. Pixels should be of the order
    of 1.

    Args:
      event_shape: `[H, W, C]`.
      num_parameters: number of outputs for each element.
      hidden_channels: number of features of each stack, at least `C`.
      num_layers: number of layers after the first one.
      kernel_size: width of the convolutions, odd; the height is that of the part that
        may be seen.
      first_kernel_size: the same, of the first layer.
      seed: integer that decides the weights, in each process alike.
      context_size: length of a context; 0 for none.
      dtype: floating dtype of the weights and of the output.
      compute_dtype: floating dtype of the convolutions, see `MLP`; the horizontal stack
        is summed in `dtype`.
      name: name of the module.

    Raises:
      TypeError: `seed` is no integer; `compute_dtype` is wider than `dtype`, or not
        floating.
      ValueError: an argument is out of its range; a kernel size is even; the input or
        context of a call has another shape.
    """

    def __init__(
        self,
        event_shape,
        num_parameters,
        hidden_channels=64,
        num_layers=5,
        kernel_size=3,
        first_kernel_size=7,
        *,
        seed,
        context_size=0,
        dtype=tf.float32,
        compute_dtype=None,
        name="pixel_cnn",
    ):
        super().__init__(name=name)
        set_sizes(
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
        hidden = masks.groups(hidden_channels, self.event_shape[-1])
        self._head = make_head(self, seeds[-2], hidden)
        self._context_kernel = None
        if context_size:
            self._context_kernel = make_kernel(
                seeds[-1],
                [context_size, len(sizes) * 4 * hidden_channels],
                dtype,
                "context_kernel",
                0.5**0.5,
            )

    def __call__(self, x, context=None):
        x, context, restore = flatten(self, x, context)
        told = [0.0] * (2 * len(self._layers))
        if context is not None:
            context = cast(context, self.compute_dtype)
            told = multiply(context, self._context_kernel)[:, tf.newaxis, tf.newaxis]
            told = tf.split(told, 2 * len(self._layers), axis=-1)
        v, h = shift_down(cast(x, self.compute_dtype)), x
        for i, layer in enumerate(self._layers):
            seen = cast(h, self.compute_dtype)
            v, change = layer(v, seen, *told[2 * i : 2 * i + 2], self.dtype)
            h = change if i == 0 else h + change
        return restore(apply_head(self, self._head, h))

    def __repr__(self):
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
      index: number of the layer; that of number 0 sees the image.
    """

    def __init__(self, seed, kernel_size, network, index):
        super().__init__(name=f"layer_{index}")
        is_first = index == 0
        channels, features = network.event_shape[-1], network.hidden_channels
        hidden = masks.groups(features, channels)
        gates = np.tile(hidden, 2)
        inputs = np.arange(channels) if is_first else hidden
        half = kernel_size // 2
        rows = half if is_first else half + 1  # the image comes a row down
        all_above = np.ones([rows, kernel_size, len(inputs), 2 * features], bool)
        raster = masks.raster(kernel_size, inputs, gates, own=not is_first)
        parts = dict(
            vertical=(all_above, True),
            horizontal=(raster[half : half + 1, : half + 1], False),
            across=(np.ones([1, 1, 2 * features, 2 * features], bool), False),
            out=(masks.raster(1, hidden, hidden, own=True), False),
        )
        seeds = tf.unstack(tfp.random.split_seed(seed, n=len(parts)))
        for (part, (mask, centered)), own in zip(parts.items(), seeds):
            name = f"{self.name}_{part}"
            layer = Convolution(own, mask, name, network.dtype, centered)
            setattr(self, part, layer)

    def __call__(self, v, h, told_v, told_h, dtype):
        a = self.vertical(v) + told_v
        b = self.horizontal(h) + self.across(a) + told_h
        return _gate(a), self.out(_gate(b), dtype)


def _gate(both):
    f, g = tf.split(both, 2, axis=-1)
    return tf.tanh(f) * tf.sigmoid(g)
