"""Densities of integers: dequantization, and bits per dimension."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import masks
from tfp_flows._builders import register_builder
from tfp_flows._dtypes import check_dtype
from tfp_flows._flow import Flow
from tfp_flows._seeds import as_stateless_seed, fresh_seed, seed_groups
from tfp_flows._sizes import check_image_shape
from tfp_flows._typing import Distribution, DTypeLike, Seed, TensorLike
from tfp_flows.bijectors import Coupling, transformers
from tfp_flows.distributions import Logistic, _large_events
from tfp_flows.flows.condition import condition
from tfp_flows.networks import ConvNet

__all__ = [
    "bits_per_dimension",
    "dequantize",
    "log_prob_lower_bound",
    "reduce_bit_depth",
    "variational_dequantizer",
]

tfb = tfp.bijectors


def dequantize(
    images: TensorLike,
    *,
    seed: Seed = None,
    num_values: int = 256,
    dtype: DTypeLike = tf.float32,
) -> tf.Tensor:
    """Add uniform noise from [0, 1) to integers.

    Uria et al. (2013), https://arxiv.org/abs/1306.0186. The expected log density of the
    result is a lower bound on the log probability of the integers.

    >>> from tfp_flows import dequantization
    >>> y = dequantization.dequantize([[0, 3]], seed=0, num_values=4)
    >>> y.dtype, y.numpy().astype(int)
    (tf.float32, array([[0, 3]]))

    Args:
      images: integers from 0 to `num_values - 1`, any shape.
      seed: int or pair of ints for the same noise in each call, or None for new noise
        in each call, also in each epoch of a `tf.data.Dataset.map`. Draws with None are
        reproducible after `tf.random.set_seed`.
      num_values: number of values of a pixel.
      dtype: dtype of the result, float32 or float64.

    Returns:
      y: tensor of the shape of `images`, in [0, num_values).

    Raises:
      TypeError: `dtype` is not supported.
      ValueError: a pixel is not an integer in the range, in eager mode.
    """
    check_dtype("dtype", dtype)
    images = _checked_images(images, num_values, dtype)
    seed = fresh_seed(images) if seed is None else as_stateless_seed(seed)
    noise = tf.random.stateless_uniform(
        tf.shape(images), seed, dtype=dtype, alg="philox"
    )
    # In float32, 255 + 0.99999999 is 256.
    below = np.nextafter(num_values, 0, dtype=tf.as_dtype(dtype).as_numpy_dtype)
    return tf.minimum(images + noise, below)


def reduce_bit_depth(images: TensorLike, num_bits: int) -> tf.Tensor:
    """Reduce 8-bit images to their most significant bits.

    >>> from tfp_flows import dequantization
    >>> dequantization.reduce_bit_depth([0, 100, 255], num_bits=5).numpy()
    array([ 0, 12, 31], dtype=int32)

    Args:
      images: integers from 0 to 255, any shape.
      num_bits: number of bits of the result, from 1 to 8.

    Returns:
      images: tensor of the same dtype, with values from 0 to `2**num_bits - 1`.

    Raises:
      ValueError: `num_bits` is not an integer from 1 to 8.
    """
    if num_bits not in range(1, 9):
        raise ValueError(f"`num_bits` must be an integer from 1 to 8; got {num_bits}.")
    return tf.convert_to_tensor(images) // 2 ** (8 - num_bits)


def bits_per_dimension(
    log_prob: TensorLike, event_shape: int | Sequence[int]
) -> tf.Tensor:
    """Convert log probabilities to bits per dimension, `-log_prob / (D log 2)`.

    >>> import math
    >>> from tfp_flows import dequantization
    >>> dequantization.bits_per_dimension(-12.0 * math.log(2.0), [2, 2, 3])
    1.0

    Args:
      log_prob: log probabilities of integers, or log densities of dequantized integers
        before any rescaling, in nats.
      event_shape: shape of an event of `D` elements, or `D`.

    Returns:
      bits: tensor or number of the shape of `log_prob`.

    Raises:
      ValueError: `event_shape` has no elements, or is not of integers.
    """
    one = isinstance(event_shape, numbers.Integral)
    sizes = [event_shape] if one else list(event_shape)  # type: ignore[arg-type]
    whole = all(isinstance(size, numbers.Integral) for size in sizes)
    size = math.prod(sizes) if whole else 0  # type: ignore[arg-type]
    if size < 1:
        raise ValueError(
            f"`event_shape` must be of integers of at least 1; got {event_shape}."
        )
    return -log_prob / (size * math.log(2.0))  # type: ignore[operator]


@register_builder(package="tfp_flows")
def variational_dequantizer(
    event_shape: Sequence[int],
    num_layers: int = 4,
    hidden_channels: int = 32,
    *,
    seed: int,
    dtype: DTypeLike = tf.float32,
    name: str = "variational_dequantizer",
) -> Flow:
    """Build a flow of dequantization noise in [0, 1), conditioned on the image.

    Ho et al. (2019), section 3.1, https://arxiv.org/abs/1902.00275. The flow is
    initialized to uniform noise. Train it together with the flow of images: maximize
    `log_prob_lower_bound(..., dequantizer=...)`.

    >>> from tfp_flows import dequantization
    >>> q = dequantization.variational_dequantizer([4, 4, 1], 1, 8, seed=0)
    >>> q.event_shape
    TensorShape([4, 4, 1])

    Args:
      event_shape: [height, width, channels] of an image.
      num_layers: number of couplings with checkerboard masks.
      hidden_channels: width of their networks.
      seed: integer that determines the initial weights; they are the same in each
        process.
      dtype: dtype of the variables, float32 or float64.
      name: name of the distribution.

    Returns:
      dequantizer: `tfp_flows.Flow`. Condition it on images scaled to [-0.5, 0.5], by
        `tfp_flows.flows.condition`.

    Raises:
      TypeError: `seed` is not an integer, or `dtype` is not supported.
      ValueError: `event_shape` is not the shape of an image, or a size is below 1.
    """
    check_dtype("dtype", dtype)
    height, width, channels = check_image_shape(event_shape)
    layers = [_large_events.Sigmoid()]
    for i, layer_seed in enumerate(seed_groups(seed, num_layers)[0]):
        network = ConvNet(
            channels,
            channels,
            hidden_channels,
            seed=layer_seed,
            actnorm=False,
            context_size=channels,
            context_ndims=3,
            dtype=dtype,
            name=f"coupling_{i}_network",
        )
        mask = masks.checkerboard(height, width, flip=i % 2 == 1)
        layers.append(
            Coupling(mask, network, transformers.Affine(), name=f"coupling_{i}")
        )
    base = _large_events.sample_of(  # which a sigmoid makes uniform
        Logistic(tf.zeros([], dtype), tf.ones([], dtype)), event_shape
    )
    return Flow(base, tfb.Chain(layers), name=name)


def log_prob_lower_bound(
    flow: Distribution,
    images: TensorLike,
    *,
    seed: Seed = None,
    num_values: int = 256,
    dequantizer: Distribution | None = None,
) -> tf.Tensor:
    """Estimate a lower bound on the log probability of integers.

    `log p(images + u) - log q(u | images)` for one sample `u` of the noise: equation 12
    of Ho et al. (2019), https://arxiv.org/abs/1902.00275. The expectation over `u` is
    the bound. For uniform noise the second term is 0.

    >>> from tfp_flows import dequantization, flows
    >>> flow = flows.glow([4, 4, 1], 1, 1, 8, seed=0)
    >>> x = [[[[0]] * 4] * 4] * 3
    >>> dequantization.log_prob_lower_bound(flow, x, seed=0).shape
    TensorShape([3])

    Args:
      flow: distribution of dequantized images, real numbers in [0, num_values).
      images: integers of shape `[..., *event_shape]`.
      seed: int or pair of ints for the same noise in each call, or None for new noise
        in each call, as for `dequantize`.
      num_values: number of values of a pixel.
      dequantizer: flow of `variational_dequantizer`, or None for uniform noise.

    Returns:
      log_prob: tensor of shape `[...]`, in nats.

    Raises:
      ValueError: a pixel is not an integer in the range, in eager mode.
    """
    if dequantizer is None:
        return flow.log_prob(
            dequantize(images, seed=seed, num_values=num_values, dtype=flow.dtype)
        )
    images = _checked_images(images, num_values, flow.dtype)
    conditioned = condition(dequantizer, images / num_values - 0.5)
    seed = fresh_seed(images) if seed is None else as_stateless_seed(seed)
    noise, log_prob = conditioned.experimental_sample_and_log_prob(seed=seed)
    return flow.log_prob(images + noise) - log_prob


def _checked_images(images: TensorLike, num_values: int, dtype: DTypeLike) -> tf.Tensor:
    """Returns images in a floating dtype, after a check of their values."""
    images = tf.convert_to_tensor(images)
    if tf.executing_eagerly():
        values = images.numpy()
        whole = np.all(np.isfinite(values)) and np.all(values == np.floor(values))
        if not whole or np.any((values < 0) | (values >= num_values)):
            raise ValueError(
                f"`images` must be integers from 0 to {num_values - 1}, for "
                f"`num_values` {num_values}; got values from {values.min()} to "
                f"{values.max()}."
            )
    return tf.cast(images, dtype)
