"""Dense networks, plain and residual."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfp_flows._builders import register_builder
from tfp_flows._seeds import split_seed
from tfp_flows._typing import DTypeLike, Shape, TensorLike
from tfp_flows.networks._dense_ops import activate, add, multiply, replace_last_axis
from tfp_flows.networks._initializers import make_bias, make_kernel
from tfp_flows.networks._network_checks import (
    as_function,
    as_widths,
    check_context_size,
    check_inputs,
    check_sizes,
    describe,
    set_dtypes,
)
from tfp_flows.networks.base import Network

_SIZES = ["input_size", "output_shape", "hidden_units", "context_size"]


@register_builder(package="tfp_flows")
class MLP(Network):
    """Multilayer perceptron, whose last layer is initialized to zero.

    `h_1 = act(W_1 x + C c + b_1)`, `h_i = act(W_i h_(i-1) + b_i)`, and the output is
    `W h_n + b`, with `c` the context. A flow over this network is initialized to the
    identity.

    Called with `x` of shape `[..., input_size]`, and a context `[..., context_size]` if
    it takes one, it returns a tensor of shape `[..., *output_shape]`. Axes before the
    last broadcast. The product with the context is computed once for each context.

    Args:
      input_size: length of the last axis of `x`. At 0 the output depends on the context
        and the biases alone.
      output_shape: shape of the output for one `x`, such as `[D, num_parameters]`.
      hidden_units: widths of the hidden layers.
      seed: integer that determines the weights, the same in every process.
      activation: elementwise function, or the name of a function in `tf.nn`.
      context_size: length of a context; 0 for none.
      dtype: floating dtype of the weights and of the output.
      compute_dtype: floating dtype of the matrix products and hidden layers, such as
        `tf.bfloat16` or `tf.float16`; by default `dtype`. Gradients of the weights have
        `dtype`. With `tf.float16` they pass through numbers from 6e-8 to 65504: scale
        the loss, and divide the gradients by that scale.
      name: name of the module.

    Raises:
      TypeError: `seed` is not an integer; `compute_dtype` is not floating, or is wider
        than `dtype`.
      ValueError: an argument is out of its range; the input or context of a call has
        another last axis.

    Example:

    >>> network = MLP(input_size=3, output_shape=[4, 2], hidden_units=(16,), seed=0)
    >>> network(tf.zeros([5, 3])).shape
    TensorShape([5, 4, 2])
    """

    def __init__(
        self,
        input_size: int,
        output_shape: Shape,
        hidden_units: int | Sequence[int] = (256, 256),
        *,
        seed: int,
        activation: str | Callable[[tf.Tensor], tf.Tensor] = "relu",
        context_size: int = 0,
        dtype: DTypeLike = tf.float32,
        compute_dtype: DTypeLike | None = None,
        name: str = "mlp",
    ) -> None:
        super().__init__(name=name)
        _set_sizes(self, input_size, output_shape, hidden_units, context_size)
        self._activation = as_function(activation)
        set_dtypes(self, dtype, compute_dtype)
        _make_weights(self, self.hidden_units, [], seed)

    def __call__(self, x: TensorLike, context: TensorLike | None = None) -> tf.Tensor:
        """Predict the parameters of each element.

        Args:
          x: tensor of shape `[..., input_size]`.
          context: tensor of shape `[..., context_size]`, or None.

        Returns:
          parameters: tensor of shape `[..., *output_shape]`.
        """
        last = len(self._kernels) - 1
        h = _first_layer(self, x, context, self.compute_dtype if last else self.dtype)
        for i in range(1, last + 1):
            h = multiply(activate(self._activation, h), self._kernels[i])
            h = add(h, self._biases[i], self.dtype if i == last else None)
        return replace_last_axis(h, h, self.output_shape)

    def __repr__(self) -> str:
        return describe(self, *_SIZES)


@register_builder(package="tfp_flows")
class ResidualMLP(Network):
    """Dense network of residual blocks.

    `h_0 = W x + C c + b`, with `c` the context, then for each block
    `h_i = h_(i-1) + W_i2 act(W_i1 act(h_(i-1)) + b_i1) + b_i2`, and the output is a
    linear map of `act(h_n)`. These are the blocks of He et al. (2016), without
    normalization, https://arxiv.org/abs/1603.05027. Each `W_i2` and the output are
    initialized to zero.

    Args:
      input_size, output_shape: as for `MLP`.
      hidden_units: widths of the blocks, one or more, all equal.
      seed, activation, context_size, dtype, name: as for `MLP`, as are the calls.
      compute_dtype: as for `MLP`; the sum over the blocks has `dtype`.

    Raises:
      TypeError: `seed` is not an integer; `compute_dtype` is not floating, or is wider
        than `dtype`.
      ValueError: an argument is out of its range; the input or context of a call has
        another last axis.

    Example:

    >>> network = ResidualMLP(3, [4, 2], hidden_units=(16, 16), seed=0)
    >>> network(tf.zeros([5, 3])).shape
    TensorShape([5, 4, 2])
    """

    def __init__(
        self,
        input_size: int,
        output_shape: Shape,
        hidden_units: int | Sequence[int] = (256, 256),
        *,
        seed: int,
        activation: str | Callable[[tf.Tensor], tf.Tensor] = "relu",
        context_size: int = 0,
        dtype: DTypeLike = tf.float32,
        compute_dtype: DTypeLike | None = None,
        name: str = "residual_mlp",
    ) -> None:
        super().__init__(name=name)
        _set_sizes(self, input_size, output_shape, hidden_units, context_size)
        if len(set(self.hidden_units)) != 1:
            raise ValueError(
                "`hidden_units` must be one or more equal numbers; "
                f"got {self.hidden_units}."
            )
        self._activation = as_function(activation)
        blocks = len(self.hidden_units)
        widths = self.hidden_units[:1] * (1 + 2 * blocks)
        ends = range(2, 1 + 2 * blocks, 2)
        set_dtypes(self, dtype, compute_dtype)
        _make_weights(self, widths, ends, seed)

    def __call__(self, x: TensorLike, context: TensorLike | None = None) -> tf.Tensor:
        """Predict the parameters of each element, as `MLP.__call__`."""
        activation, kernels, biases = self._activation, self._kernels, self._biases
        dtype, compute_dtype = self.dtype, self.compute_dtype

        def linear(i, h, result_dtype):
            h = activate(activation, h)
            if h.dtype != compute_dtype:
                h = tf.cast(h, compute_dtype)
            return add(multiply(h, kernels[i]), biases[i], result_dtype)

        h, last = _first_layer(self, x, context, dtype), len(kernels) - 1
        for i in range(1, last, 2):
            h += linear(i + 1, linear(i, h, compute_dtype), dtype)
        h = linear(last, h, dtype)
        return replace_last_axis(h, h, self.output_shape)

    def __repr__(self) -> str:
        return describe(self, *_SIZES)


def _set_sizes(network: Any, input_size, output_shape, hidden_units, context_size):
    """Checks sizes and sets them as attributes of a network."""
    hidden_units, output_shape = as_widths(hidden_units), tuple(output_shape)
    check_sizes(hidden_units=hidden_units, output_shape=output_shape)
    check_context_size(context_size)
    if input_size != 0:
        check_sizes(input_size=input_size)
    network.input_size, network.output_shape = input_size, output_shape
    network.hidden_units, network.context_size = hidden_units, context_size


def _make_weights(network: Any, widths, zero_layers, seed):
    """Creates the variables of a network: kernels, biases, a kernel for the context.

    Args:
      network: network with its sizes and dtypes.
      widths: number of outputs of each layer but the last.
      zero_layers: indices of layers with kernels of zeros, besides the last one.
      seed: integer.
    """
    dtype = network.dtype
    sizes = [network.input_size, *widths, math.prod(network.output_shape)]
    last = len(sizes) - 2
    seeds = split_seed(seed, len(sizes))
    for i in {*zero_layers, last}:
        seeds[i] = None
    # Input and context share the variance of one layer for both.
    total = max(1, network.input_size + network.context_size)
    network._kernels = [
        make_kernel(
            seeds[i],
            sizes[i : i + 2],
            dtype,
            f"kernel_{i}",
            (network.input_size / total) ** 0.5 if i == 0 else 1.0,
        )
        for i in range(last + 1)
    ]
    network._biases = [
        make_bias(size, dtype, f"bias_{i}") for i, size in enumerate(sizes[1:])
    ]
    network._context_kernel = None
    if network.context_size:
        network._context_kernel = make_kernel(
            seeds[-1] if widths else None,
            [network.context_size, sizes[1]],
            dtype,
            "context_kernel",
            (network.context_size / total) ** 0.5,
        )


def _first_layer(network: Any, x, context, dtype):
    """Returns the first layer of an input and a context, before its activation."""
    x, context = check_inputs(network, x, context, network.input_size)
    if x.dtype != network.compute_dtype:
        x = tf.cast(x, network.compute_dtype)
    h = add(multiply(x, network._kernels[0]), network._biases[0], dtype)
    if context is None:
        return h
    context = tf.cast(context, network.compute_dtype)
    return add(h, multiply(context, network._context_kernel))
