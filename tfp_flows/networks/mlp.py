"""Dense networks, plain and residual."""

import math

import tensorflow as tf

from tfp_flows._builders import register_builder
from tfp_flows._seeds import split_seed
from tfp_flows.networks._dense import (
    activate,
    add,
    as_function,
    as_widths,
    cast,
    check_context_size,
    check_inputs,
    check_sizes,
    describe,
    in_place_of_last,
    make_bias,
    make_kernel,
    multiply,
    set_dtypes,
)

_SIZES = ["input_size", "output_shape", "hidden_units", "context_size"]


@register_builder(package="tfp_flows")
class MLP(tf.Module):
    """Dense layers, the last of which starts at zero.

    `h_1 = act(W_1 x + C c + b_1)`, `h_i = act(W_i h_(i-1) + b_i)`, and the output is
    `W h_n + b`, with `c` the context. A flow over this network starts as the identity.

    Called with `x` of shape `[..., input_size]`, and a context `[..., context_size]` if
    it has one, it returns a tensor of shape `[..., *output_shape]`. The axes before the
    last broadcast: a context is multiplied once, for however many `x` it has.

    Args:
      input_size: length of the last axis of `x`. At 0 the output depends on the context
        and the biases alone.
      output_shape: shape of the output for one `x`, such as `[D, num_parameters]`.
      hidden_units: widths of the hidden layers.
      seed: integer that decides the weights, in each process alike.
      activation: elementwise function, or the name of one of `tf.nn`.
      context_size: length of a context; 0 for none.
      dtype: floating dtype of the weights and of the output.
      compute_dtype: floating dtype of the products and of what is between them, such as
        `tf.bfloat16` or `tf.float16`; by default `dtype`. Gradients of the weights have
        `dtype`, but with `tf.float16` pass through numbers from 6e-8 to 65504: scale
        the loss, and divide the gradients by that scale.
      name: name of the module.

    Raises:
      TypeError: `seed` is no integer; `compute_dtype` is wider than `dtype`, or not
        floating.
      ValueError: an argument is out of its range; the input or context of a call has
        another last axis.
    """

    def __init__(
        self,
        input_size,
        output_shape,
        hidden_units=(256, 256),
        *,
        seed,
        activation="relu",
        context_size=0,
        dtype=tf.float32,
        compute_dtype=None,
        name="mlp",
    ):
        super().__init__(name=name)
        _set_sizes(self, input_size, output_shape, hidden_units, context_size)
        self._activation = as_function(activation)
        set_dtypes(self, dtype, compute_dtype)
        _make_weights(self, self.hidden_units, [], seed)

    def __call__(self, x, context=None):
        last = len(self._kernels) - 1
        h = _first(self, x, context, self.compute_dtype if last else self.dtype)
        for i in range(1, last + 1):
            h = multiply(activate(self._activation, h), self._kernels[i])
            h = add(h, self._biases[i], self.dtype if i == last else None)
        return in_place_of_last(h, h, self.output_shape)

    def __repr__(self):
        return describe(self, *_SIZES)


@register_builder(package="tfp_flows")
class ResidualMLP(tf.Module):
    """Dense network of blocks that each add to what they are given.

    `h_0 = W x + C c + b`, with `c` the context, then for each block
    `h_i = h_(i-1) + W_i2 act(W_i1 act(h_(i-1)) + b_i1) + b_i2`, and the output is a
    linear map of `act(h_n)`. These are the blocks of He et al. (2016), without
    normalization, https://arxiv.org/abs/1603.05027. Each `W_i2` and the output start
    at zero.

    Args:
      input_size, output_shape: as for `MLP`.
      hidden_units: widths of the blocks, one or more and all equal.
      seed, activation, context_size, dtype, name: as for `MLP`, as are the calls.
      compute_dtype: as for `MLP`; what the blocks add is summed in `dtype`.

    Raises:
      TypeError: `seed` is no integer; `compute_dtype` is wider than `dtype`, or not
        floating.
      ValueError: an argument is out of its range; the input or context of a call has
        another last axis.
    """

    def __init__(
        self,
        input_size,
        output_shape,
        hidden_units=(256, 256),
        *,
        seed,
        activation="relu",
        context_size=0,
        dtype=tf.float32,
        compute_dtype=None,
        name="residual_mlp",
    ):
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

    def __call__(self, x, context=None):
        def linear(h, kernel, bias, dtype=self.dtype):
            h = cast(activate(self._activation, h), self.compute_dtype)
            return add(multiply(h, kernel), bias, dtype)

        h = _first(self, x, context, self.dtype)
        layers = list(zip(self._kernels[1:], self._biases[1:]))
        for (kernel_1, bias_1), (kernel_2, bias_2) in zip(layers[:-1:2], layers[1::2]):
            inner = linear(h, kernel_1, bias_1, self.compute_dtype)
            h += linear(inner, kernel_2, bias_2)
        h = linear(h, *layers[-1])
        return in_place_of_last(h, h, self.output_shape)

    def __repr__(self):
        return describe(self, *_SIZES)


def _set_sizes(network, input_size, output_shape, hidden_units, context_size):
    """Checks sizes and makes them attributes of a network."""
    hidden_units, output_shape = as_widths(hidden_units), tuple(output_shape)
    check_sizes(hidden_units=hidden_units, output_shape=output_shape)
    check_context_size(context_size)
    if input_size != 0:
        check_sizes(input_size=input_size)
    network.input_size, network.output_shape = input_size, output_shape
    network.hidden_units, network.context_size = hidden_units, context_size


def _make_weights(network, widths, starts_at_zero, seed):
    """Makes the variables of a network: kernels, biases, and a kernel for the context.

    Args:
      network: network with its sizes and dtypes.
      widths: number of outputs of each layer but the last.
      starts_at_zero: numbers of layers whose kernels do, as that of the last does.
      seed: integer.
    """
    dtype = network.dtype
    sizes = [network.input_size, *widths, math.prod(network.output_shape)]
    last = len(sizes) - 2
    seeds = split_seed(seed, len(sizes))
    for i in {*starts_at_zero, last}:
        seeds[i] = None
    # Input and context share the variance that a layer of all of them would have.
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


def _first(network, x, context, dtype):
    """Returns what the first layer makes of an input and a context, not activated."""
    x, context = check_inputs(network, x, context, network.input_size)
    h = multiply(cast(x, network.compute_dtype), network._kernels[0])
    h = add(h, network._biases[0], dtype)
    if context is None:
        return h
    context = cast(context, network.compute_dtype)
    return add(h, multiply(context, network._context_kernel))
