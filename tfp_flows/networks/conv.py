"""Convolutional networks, plain and residual."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfp_flows._builders import register_builder
from tfp_flows._seeds import split_seed
from tfp_flows._typing import DTypeLike, TensorLike
from tfp_flows.networks._conv_layer import Convolution, check_images, set_conv_sizes
from tfp_flows.networks._conv_ops import as_images
from tfp_flows.networks._dense_ops import activate, cast, replace_last_axis
from tfp_flows.networks._network_checks import as_function, check_sizes, describe
from tfp_flows.networks.base import Network

_CHANNELS = ["input_channels", "output_channels", "hidden_channels", "num_parameters"]
_OPTIONS = ["actnorm", "context_size", "context_ndims"]


@register_builder(package="tfp_flows")
class ConvNet(Network):
    """Convolutional network with kernels of 3 x 3, 1 x 1, ..., and 3 x 3 pixels.

    The network in the couplings of Kingma and Dhariwal (2018), section 3.3 and code,
    https://arxiv.org/abs/1807.03039. Each layer is `exp(3 log_scale) (W * h + b)`, with
    one `log_scale` for each channel: in hidden layers the actnorm of their section 3.1.
    The padding carries one more channel, 1 outside of the image and 0 inside, so that
    the network can locate the edge. Hidden kernels are initialized from a normal
    distribution of standard deviation 0.05, the last layer to zero, so that a flow over
    this network is initialized to the identity.

    Called with `x` of shape `[..., H, W, input_channels]`, and a context if it takes
    one, it returns a tensor of shape `[..., H, W, output_channels, num_parameters]`. A
    context is a vector `[..., context_size]`, or a map `[..., H, W, context_size]`. Its
    image under a linear map, of a map under a convolution, is added in the first layer.
    Axes before these broadcast. This image is computed once for each context.

    Args:
      input_channels: number of channels of `x`. At 0 the first layer consists of its
        bias and the context alone.
      output_channels: number of channels that the output has parameters for.
      hidden_channels: number of channels of the hidden layers.
      num_parameters: number of outputs for each output channel.
      num_layers: number of hidden layers. The first has a kernel of 3 x 3 pixels, the
        others of 1 x 1; the output layer after them has 3 x 3.
      seed: integer that determines the weights, the same in every process.
      activation: elementwise function, or the name of a function in `tf.nn`.
      actnorm: whether hidden layers have a scale, which `initialize_from_data` sets.
      context_size: length of the last axis of a context; 0 for none.
      context_ndims: 1 for vectors, 3 for maps.
      dtype: floating dtype of the weights and of the output.
      compute_dtype: floating dtype of the convolutions and hidden layers, see `MLP`.
        `initialize_from_data` computes moments in `dtype`. Use `tf.float16` on GPUs
        only: the gradients of its convolutions in TensorFlow are slow on CPUs.
      name: name of the module.

    Raises:
      TypeError: `seed` is not an integer; `compute_dtype` is not floating, or is wider
        than `dtype`.
      ValueError: an argument is out of its range; the input or context of a call has
        another shape.

    Example:

    >>> network = ConvNet(input_channels=1, output_channels=3, hidden_channels=8,
    ...                   seed=0)
    >>> network(tf.zeros([5, 4, 4, 1])).shape
    TensorShape([5, 4, 4, 3, 2])
    """

    event_ndims = 3

    def __init__(
        self,
        input_channels: int,
        output_channels: int,
        hidden_channels: int = 512,
        *,
        num_parameters: int = 2,
        num_layers: int = 2,
        seed: int,
        activation: str | Callable[[tf.Tensor], tf.Tensor] = "relu",
        actnorm: bool = True,
        context_size: int = 0,
        context_ndims: int = 1,
        dtype: DTypeLike = tf.float32,
        compute_dtype: DTypeLike | None = None,
        name: str = "conv_net",
    ) -> None:
        super().__init__(name=name)
        if num_layers != 0:
            check_sizes(num_layers=num_layers)
        self.num_layers = num_layers
        set_conv_sizes(
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

    def __call__(self, x: TensorLike, context: TensorLike | None = None) -> tf.Tensor:
        """Predict the parameters of each element.

        Args:
          x: tensor of shape `[..., H, W, input_channels]`.
          context: tensor of shape `[..., context_size]`, or `[..., H, W, context_size]`
            with `context_ndims` 3, or None.

        Returns:
          parameters: tensor of shape `[..., H, W, output_channels, num_parameters]`.
        """
        return self._run(x, context, Convolution.__call__)

    @property
    def needs_initialization(self) -> bool:  # type: ignore[override]
        """Whether `initialize_from_data` sets variables: with `actnorm`."""
        return self.actnorm

    def initialize_from_data(
        self, x: TensorLike, context: TensorLike | None = None
    ) -> tf.Tensor:
        """Set the actnorms so that hidden layers have mean 0 and standard deviation 1.

        This is the data-dependent initialization of section 3.1, over the batch and the
        pixels of all replicas. Constant channels get scale 1. Without `actnorm` it is a
        call.

        Args:
          x: batch of inputs, as for a call.
          context: their context, as for a call.

        Returns:
          parameters: result of a call with these inputs after the initialization.
        """
        return self._run(x, context, Convolution.initialize_from_data)

    def __repr__(self) -> str:
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


@register_builder(package="tfp_flows")
class ResidualConvNet(Network):
    """Convolutional network of residual blocks.

    `h_0 = W * x + b`, then for each block
    `h_i = h_(i-1) + W_i2 * act(W_i1 * act(h_(i-1)) + b_i1) + b_i2`, and the output is
    `exp(3 log_scale) (W * act(h_n) + b)`, all convolutions over 3 x 3 pixels but the
    last, over 1 x 1. These are the networks of Dinh et al. (2017),
    https://arxiv.org/abs/1605.08803, section 4.1, with three changes. Actnorm, which is
    independent for each image, takes the place of batch and weight normalization, after
    the first layer and each `W_i1`. The padding marks the edge as in `ConvNet`. The
    last layer has the last block as its only input. Each `W_i2` and the output are
    initialized to zero, the other kernels as He et al. (2015) initialize ReLU layers.

    Args:
      input_channels, output_channels: as for `ConvNet`, as are the calls.
      hidden_channels: number of channels of the blocks.
      num_parameters: number of outputs for each output channel.
      num_blocks: number of blocks, of two convolutions each.
      seed, activation, actnorm, context_size, context_ndims, dtype, name: as for
        `ConvNet`.
      compute_dtype: as for `ConvNet`; the sum over the blocks has `dtype`.

    Raises:
      TypeError: `seed` is not an integer; `compute_dtype` is not floating, or is wider
        than `dtype`.
      ValueError: an argument is out of its range; the input or context of a call has
        another shape.

    Example:

    >>> network = ResidualConvNet(1, 3, hidden_channels=8, num_blocks=1, seed=0)
    >>> network(tf.zeros([5, 4, 4, 1])).shape
    TensorShape([5, 4, 4, 3, 2])
    """

    event_ndims = 3

    def __init__(
        self,
        input_channels: int,
        output_channels: int,
        hidden_channels: int = 64,
        *,
        num_parameters: int = 2,
        num_blocks: int = 2,
        seed: int,
        activation: str | Callable[[tf.Tensor], tf.Tensor] = "relu",
        actnorm: bool = True,
        context_size: int = 0,
        context_ndims: int = 1,
        dtype: DTypeLike = tf.float32,
        compute_dtype: DTypeLike | None = None,
        name: str = "residual_conv_net",
    ) -> None:
        super().__init__(name=name)
        check_sizes(num_blocks=num_blocks)
        self.num_blocks = num_blocks
        set_conv_sizes(
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

    def __call__(self, x: TensorLike, context: TensorLike | None = None) -> tf.Tensor:
        """Predict the parameters of each element, as `ConvNet.__call__`."""
        return self._run(x, context, Convolution.__call__)

    @property
    def needs_initialization(self) -> bool:  # type: ignore[override]
        """Whether `initialize_from_data` sets variables: with `actnorm`."""
        return self.actnorm

    def initialize_from_data(
        self, x: TensorLike, context: TensorLike | None = None
    ) -> tf.Tensor:
        """Set the actnorms from a batch, as `ConvNet.initialize_from_data`."""
        return self._run(x, context, Convolution.initialize_from_data)

    def __repr__(self) -> str:
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


def _as_parameters(network: Any, h, like):
    """Gives images `h` the batch axes of `like`, and an axis of parameters."""
    return replace_last_axis(h, like, [network.output_channels, network.num_parameters])
