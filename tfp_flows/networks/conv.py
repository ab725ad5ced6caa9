"""Convolutional networks, plain and residual."""

import tensorflow as tf

from tfp_flows._builders import recipe
from tfp_flows.networks._conv import Convolution, check_images, set_sizes
from tfp_flows.networks._convolve import as_images
from tfp_flows.networks._dense import (
    activate,
    as_function,
    cast,
    check_sizes,
    describe,
    in_place_of_last,
    split_seed,
)

_CHANNELS = ["input_channels", "output_channels", "hidden_channels", "num_parameters"]
_OPTIONS = ["actnorm", "context_size", "context_ndims"]


@recipe(package="tfp_flows")
class ConvNet(tf.Module):
    """Convolutions over 3 x 3, 1 x 1, ... and 3 x 3 pixels, the last starting at zero.

    The network in the couplings of Kingma and Dhariwal (2018), section 3.3 and code,
    https://arxiv.org/abs/1807.03039: each layer is `exp(3 log_scale) (W * h + b)`, with
    one `log_scale` for each channel, which in hidden layers is the actnorm of their
    section 3.1. The padding carries one more channel, 1 outside of the image and 0
    inside, so that the network can tell the edge. Hidden kernels start from a normal
    distribution of standard deviation 0.05. A flow over this network starts as the
    identity.

    Called with `x` of shape `[..., H, W, input_channels]`, and a context if it has one,
    it returns a tensor of shape `[..., H, W, output_channels, num_parameters]`. A
    context is a vector `[..., context_size]`, or a map `[..., H, W, context_size]`. It
    is added to what the first layer makes of `x`, a map as more channels of `x` would
    be. The axes before these broadcast: a context is multiplied once, for however many
    `x` it has.

    Args:
      input_channels: number of channels of `x`. At 0 the first layer is made of its
        bias and the context alone.
      output_channels: number of channels that the output has parameters for.
      hidden_channels: number of channels of the hidden layers.
      num_parameters: number of outputs for each output channel.
      num_layers: number of hidden layers. The first has a kernel of 3 x 3 pixels, the
        others of 1 x 1; the layer after them has 3 x 3.
      seed: integer that decides the weights, in each process alike.
      activation: elementwise function, or the name of one of `tf.nn`.
      actnorm: whether hidden layers have a scale, for `initialize_from_data` to set.
      context_size: length of the last axis of a context; 0 for none.
      context_ndims: 1 for vectors, 3 for maps.
      dtype: floating dtype of the weights and of the output.
      compute_dtype: floating dtype of the convolutions and of what is between them;
        see `MLP`. `initialize_from_data` takes moments in `dtype`. `tf.float16` is
        for GPUs: TensorFlow's gradients of its convolutions are slow on CPUs.
      name: name of the module.

    Raises:
      TypeError: `seed` is no integer; `compute_dtype` is wider than `dtype`, or not
        floating.
      ValueError: an argument is out of its range; the input or context of a call has
        another shape.
    """

    def __init__(
        self,
        input_channels,
        output_channels,
        hidden_channels=512,
        *,
        num_parameters=2,
        num_layers=2,
        seed,
        activation="relu",
        actnorm=True,
        context_size=0,
        context_ndims=1,
        dtype=tf.float32,
        compute_dtype=None,
        name="conv_net",
    ):
        super().__init__(name=name)
        if num_layers != 0:
            check_sizes(num_layers=num_layers)
        self.num_layers = num_layers
        set_sizes(
            self,
            input_channels,
            output_channels,
            hidden_channels,
            num_parameters,
            context_size,
            context_ndims,
            actnorm,
            dtype,
            compute_dtype,
        )
        self._activation = as_function(activation)
        seeds = split_seed(seed, 2 * max(1, num_layers))
        context = dict(context_size=context_size, context_ndims=context_ndims)
        widths = [input_channels, *[hidden_channels] * num_layers]
        self._layers = [
            Convolution(
                seeds[2 * i : 2 * i + 2],
                3 if i == 0 else 1,
                widths[i],
                hidden_channels,
                scaled=actnorm,
                dtype=dtype,
                number=i,
                **(context if i == 0 else {}),
            )
            for i in range(num_layers)
        ]
        self._layers.append(
            Convolution(
                None,
                3,
                widths[-1],
                output_channels * num_parameters,
                scaled=True,
                dtype=dtype,
                number=num_layers,
                **({} if num_layers else context),
            )
        )

    def __call__(self, x, context=None):
        return self._run(x, context, Convolution.__call__)

    @property
    def needs_initialization(self):
        """Whether there is something for `initialize_from_data` to set."""
        return self.actnorm

    def initialize_from_data(self, x, context=None):
        """Sets the actnorms so that hidden layers have mean 0 and deviation 1.

        This is the data-dependent start of section 3.1, over the batch and the pixels,
        of all replicas where there are several. Channels that do not vary get scale 1.
        Without `actnorm` it is a call.

        Args:
          x: batch of inputs, as for a call.
          context: their context, as for a call.

        Returns:
          output: what a call with these inputs then returns.
        """
        return self._run(x, context, Convolution.initialize_from_data)

    def __repr__(self):
        return describe(self, *_CHANNELS, "num_layers", *_OPTIONS)

    def _run(self, x, context, call):
        x, context = check_images(self, x, context)
        calls = [(call, self.compute_dtype)] * self.num_layers
        calls.append((Convolution.__call__, self.dtype))
        (call, dtype), *calls = calls
        first = call(self._layers[0], x, context, dtype)
        h = as_images(first)
        for layer, (call, dtype) in zip(self._layers[1:], calls):
            h = call(layer, activate(self._activation, h), dtype=dtype)
        return _as_parameters(self, h, first)


@recipe(package="tfp_flows")
class ResidualConvNet(tf.Module):
    """Convolutional network of blocks that each add to what they are given.

    `h_0 = W * x + b`, then for each block
    `h_i = h_(i-1) + W_i2 * act(W_i1 * act(h_(i-1)) + b_i1) + b_i2`, and the output is
    `exp(3 log_scale) (W * act(h_n) + b)`, all convolutions over 3 x 3 pixels but the
    last, over 1 x 1. These are the networks of Dinh et al. (2017),
    https://arxiv.org/abs/1605.08803, section 4.1, with these changes: actnorm, which
    treats each image by itself, in place of batch and weight normalization, after the
    first layer and each `W_i1`; the padding tells the edge as in `ConvNet`; the last
    layer sees the last block alone. Each `W_i2` and the output start at zero, the other
    kernels as He et al. (2015) start layers of rectifiers.

    Args:
      input_channels, output_channels: as for `ConvNet`, as are the calls.
      hidden_channels: number of channels of the blocks.
      num_parameters: number of outputs for each output channel.
      num_blocks: number of blocks, of two convolutions each.
      seed, activation, actnorm, context_size, context_ndims, dtype, name: as for
        `ConvNet`.
      compute_dtype: as for `ConvNet`; what the blocks add is summed in `dtype`.

    Raises:
      TypeError: `seed` is no integer; `compute_dtype` is wider than `dtype`, or not
        floating.
      ValueError: an argument is out of its range; the input or context of a call has
        another shape.
    """

    def __init__(
        self,
        input_channels,
        output_channels,
        hidden_channels=64,
        *,
        num_parameters=2,
        num_blocks=2,
        seed,
        activation="relu",
        actnorm=True,
        context_size=0,
        context_ndims=1,
        dtype=tf.float32,
        compute_dtype=None,
        name="residual_conv_net",
    ):
        super().__init__(name=name)
        check_sizes(num_blocks=num_blocks)
        self.num_blocks = num_blocks
        set_sizes(
            self,
            input_channels,
            output_channels,
            hidden_channels,
            num_parameters,
            context_size,
            context_ndims,
            actnorm,
            dtype,
            compute_dtype,
        )
        self._activation = as_function(activation)
        seeds = split_seed(seed, 2 + 2 * num_blocks)
        self._layers = [
            Convolution(
                seeds[:2],
                3,
                input_channels,
                hidden_channels,
                stddev=None,
                scaled=actnorm,
                context_size=context_size,
                context_ndims=context_ndims,
                dtype=dtype,
                number=0,
            )
        ]
        for i in range(1, 2 * num_blocks + 1):
            ends = i % 2 == 0
            self._layers.append(
                Convolution(
                    None if ends else seeds[i + 1 : i + 3],
                    3,
                    hidden_channels,
                    hidden_channels,
                    stddev=None,
                    scaled=actnorm and not ends,
                    dtype=dtype,
                    number=i,
                )
            )
        self._layers.append(
            Convolution(
                None,
                1,
                hidden_channels,
                output_channels * num_parameters,
                scaled=True,
                dtype=dtype,
                number=2 * num_blocks + 1,
            )
        )

    def __call__(self, x, context=None):
        return self._run(x, context, Convolution.__call__)

    @property
    def needs_initialization(self):
        """Whether there is something for `initialize_from_data` to set."""
        return self.actnorm

    def initialize_from_data(self, x, context=None):
        """Sets the actnorms from a batch, as `ConvNet.initialize_from_data` does."""
        return self._run(x, context, Convolution.initialize_from_data)

    def __repr__(self):
        return describe(self, *_CHANNELS, "num_blocks", *_OPTIONS)

    def _run(self, x, context, call):
        x, context = check_images(self, x, context)
        first = call(self._layers[0], x, context, self.dtype)
        h = as_images(first)

        def activated():
            return cast(activate(self._activation, h), self.compute_dtype)

        for begin, end in zip(self._layers[1:-1:2], self._layers[2:-1:2]):
            inner = activate(self._activation, call(begin, activated()))
            h += end(inner, dtype=self.dtype)
        h = self._layers[-1](activated(), dtype=self.dtype)
        return _as_parameters(self, h, first)


def _as_parameters(network, h, like):
    """Gives images `h` the batch axes of `like`, and an axis of parameters."""
    return in_place_of_last(h, like, [network.output_channels, network.num_parameters])
