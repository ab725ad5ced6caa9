"""Convolution with an edge channel and a scale, the layer of `conv`."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_flows._replica_moments import mean_and_log_stddev
from tfp_flows._typing import TensorLike
from tfp_flows.networks._conv_ops import convolve_images
from tfp_flows.networks._dense_ops import add, cast
from tfp_flows.networks._network_checks import (
    check_inputs,
    check_sizes,
    set_context,
    set_dtypes,
)

_LOG_SCALE_FACTOR = 3.0  # as in the code of Kingma and Dhariwal (2018)


class Convolution(tf.Module):
    """`exp(3 log_scale) (kernel * x + context_kernel * context + bias)`.

    The padding of a convolution over 3 x 3 pixels carries one more channel, which is 1
    outside of the image and 0 inside.

    Args:
      seeds: pair of stateless seeds, for kernel and edges, and for the context; None
        for zeros.
      size: 1 or 3, number of pixels along each side of the kernel.
      inputs: number of channels of `x`; at 0 there is no convolution of `x`.
      outputs: number of channels of the result.
      stddev: standard deviation of the initial kernels; None for that of He et al.
        (2015).
      scaled: whether there is a scale for each output.
      context_size: length of the last axis of a context; 0 for none.
      context_ndims: 1 for a vector, 3 for a map.
      dtype: dtype of the variables.
      number: suffix of their names.
    """

    def __init__(
        self,
        seeds: Any,
        size: int,
        inputs: int,
        outputs: int,
        *,
        stddev: float | None = 0.05,
        scaled: bool = False,
        context_size: int = 0,
        context_ndims: int = 1,
        dtype: tf.DType,
        number: int,
    ) -> None:
        super().__init__(name=f"convolution_{number}")
        maps = inputs + (context_size if context_ndims == 3 else 0)
        has_edges = size == 3 and maps > 0
        if stddev is None:
            vectors = context_size if context_ndims == 1 else 0
            stddev = (2.0 / max(1, size**2 * maps + vectors)) ** 0.5
        seed, context_seed = (None, None) if seeds is None else seeds
        shape = [size, size, inputs + has_edges, outputs]  # the edge's channel is last
        kernels, zeros = _draw(seed, shape, stddev, dtype), tf.zeros([outputs], dtype)
        self.kernel = self.edge_kernel = self.context_kernel = self.log_scale = None
        if inputs:
            self.kernel = _variable(kernels[:, :, :inputs], f"kernel_{number}")
        if has_edges:
            self.edge_kernel = _variable(kernels[:, :, -1], f"edge_kernel_{number}")
        if context_size:
            shape = [size, size, context_size, outputs][3 - context_ndims :]
            kernel = _draw(context_seed, shape, stddev, dtype)
            self.context_kernel = _variable(kernel, f"context_kernel_{number}")
        if scaled:
            self.log_scale = _variable(zeros, f"log_scale_{number}")
        self.bias = _variable(zeros, f"bias_{number}")

    def __call__(self, x, context=None, dtype=None):
        """Returns the convolution of `x` `[..., H, W, inputs]`, of the same axes.

        Products have the dtype of `x` and `context`. Their sum has `dtype`, by default
        the same.
        """
        dtype = x.dtype if dtype is None else dtype
        if self.log_scale is None:
            return self._apply(x, context, dtype, self.bias)
        scale = tf.exp(_LOG_SCALE_FACTOR * self.log_scale)
        return self._apply(x, context, dtype, self.bias, scale)

    def initialize_from_data(self, x, context=None, dtype=None):
        """Sets scale and bias for results of mean 0 and variance 1; returns these."""
        if self.log_scale is None:
            return self(x, context, dtype)
        h = self._apply(x, context, self.bias.dtype, tf.zeros_like(self.bias))
        mean, log_stddev = mean_and_log_stddev(h)
        self.bias.assign(-mean)
        self.log_scale.assign(-log_stddev / _LOG_SCALE_FACTOR)
        h = (h - mean) * tf.exp(-log_stddev)
        return cast(h, x.dtype if dtype is None else dtype)

    def _apply(self, x, context, dtype, bias, scale=None):
        """Scales bias and kernels, which are smaller than the images that result."""
        base = bias
        if self.edge_kernel is not None:
            base = base + _edge_bias(x, self.edge_kernel)
        base = base * scale if scale is not None else tf.identity(base)
        if context is not None:
            kernel = self.context_kernel
            kernel = kernel * scale if scale is not None else tf.identity(kernel)
            if kernel.shape.rank == 2:
                kernel = kernel[tf.newaxis, tf.newaxis]
                context = context[..., tf.newaxis, tf.newaxis, :]
            base = add(convolve_images(context, kernel), base, dtype)
        if self.kernel is not None:
            kernel = self.kernel
            kernel = kernel * scale if scale is not None else tf.identity(kernel)
            return add(convolve_images(x, kernel), base, dtype)
        zeros = tf.reduce_sum(x, axis=-1, keepdims=True)  # of no channels
        return add(zeros, base, dtype)


def set_conv_sizes(
    network,
    input_channels,
    output_channels,
    hidden_channels,
    num_parameters,
    context_size,
    context_ndims,
    actnorm,
    dtype,
    compute_dtype,
):
    """Checks the arguments of a network, and sets them as its attributes.

    Raises:
      TypeError: `compute_dtype` is wider than `dtype`, or not floating.
      ValueError: another argument is out of its range.
    """
    check_sizes(
        output_channels=output_channels,
        hidden_channels=hidden_channels,
        num_parameters=num_parameters,
    )
    if input_channels != 0:
        check_sizes(input_channels=input_channels)
    set_context(network, context_size, context_ndims, (1, 3))
    network.input_channels, network.output_channels = input_channels, output_channels
    network.hidden_channels, network.num_parameters = hidden_channels, num_parameters
    network.actnorm = bool(actnorm)
    set_dtypes(network, dtype, compute_dtype)


def check_images(
    network: Any, x: TensorLike, context: TensorLike | None
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Returns input and context as tensors of the compute dtype.

    Raises:
      ValueError: their shapes do not fit the network or each other.
    """
    x, context = check_inputs(network, x, context, network.input_channels)
    if x.shape.rank < 3:
        raise ValueError(
            "The input must have shape [..., H, W, input_channels]; "
            f"got shape {x.shape}."
        )
    if (
        context is not None
        and network.context_ndims == 3
        and (
            context.shape.rank < 3
            or not context.shape[-3:-1].is_compatible_with(x.shape[-3:-1])
        )
    ):
        raise ValueError(
            "`context` must have shape [..., H, W, context_size], with `H` and `W` of "
            f"the input; got shapes {context.shape} and {x.shape}."
        )
    x = cast(x, network.compute_dtype)
    if context is not None:
        context = cast(context, network.compute_dtype)
    return x, context


def _edge_bias(x, kernel):
    """Returns the term of the edge channel for images like `x`: `[H, W, outputs]`."""
    height, width = x.shape[-3], x.shape[-2]
    if height is not None and width is not None:
        outside = _outside(height, width, kernel.dtype)
        flat = tf.reshape(kernel, [9, kernel.shape[-1]])
        bias = tf.matmul(outside, flat, name="edges")
        return tf.reshape(bias, [height, width, kernel.shape[-1]])
    sizes = [tf.shape(x)[a] if x.shape[a] is None else x.shape[a] for a in (-3, -2)]
    rows, columns = (_is_inside(length, kernel.dtype) for length in sizes)
    outside = 1.0 - rows[:, np.newaxis, :, np.newaxis] * columns[:, np.newaxis, :]
    return tf.tensordot(outside, kernel, axes=2, name="edges")


@functools.lru_cache(maxsize=32)
def _outside(height, width, dtype):
    """Returns `[H * W, 9]`: 1 where the neighbor of a pixel is outside the image."""
    rows, columns = (
        ((n := np.arange(length)[:, np.newaxis] + [-1, 0, 1]) >= 0) & (n < length)
        for length in (height, width)
    )
    inside = rows[:, np.newaxis, :, np.newaxis] & columns[:, np.newaxis, :]
    return (~inside).reshape([-1, 9]).astype(dtype.as_numpy_dtype)


def _is_inside(length, dtype):
    """Returns 1 for each pixel `[length, 3]` and neighbor in the image, and else 0."""
    neighbors = tf.range(length)[:, tf.newaxis] + [-1, 0, 1]
    return tf.cast((neighbors >= 0) & (neighbors < length), dtype)


def _draw(seed, shape, stddev, dtype):
    if seed is None:
        return tf.zeros(shape, dtype)
    return tf.random.stateless_normal(shape, seed, stddev=stddev, dtype=dtype)


def _variable(value, name):
    # With an aggregation, replicas may assign the value that all have computed.
    return tf.Variable(value, name=name, aggregation=tf.VariableAggregation.MEAN)
