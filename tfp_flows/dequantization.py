"""Densities of whole numbers: dequantization, and bits per dimension."""

import math
import numbers

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import masks
from tfp_flows._builders import register_builder
from tfp_flows._dtypes import check_dtype
from tfp_flows._flow import Flow
from tfp_flows._seeds import as_stateless_seed, fresh_seed, seed_groups
from tfp_flows._sizes import check_image_shape
from tfp_flows.bijectors import Coupling, transformers
from tfp_flows.flows import _sums
from tfp_flows.flows._noise import Logistic
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


def dequantize(images, *, seed=None, num_values=256, dtype=tf.float32):
    """Spreads each whole number evenly over the unit interval above it.

    Uria et al. (2013), https://arxiv.org/abs/1306.0186: the mean log density of what
    comes of it is at most the log probability that the model gives to whole numbers.

    Args:
      images: whole numbers from 0 to `num_values - 1`, any shape.
      seed: None for new noise in each call, as in training; in `Dataset.map`, too, and
        in each epoch. `tf.random.set_seed` makes it reproducible. Or an integer or a
        pair of integers for the same noise in each call, of all batches and epochs.
      num_values: number of values that a pixel can have.
      dtype: floating dtype of the result.

    Returns:
      y: tensor of the shape of `images`, in [0, num_values).

    Raises:
      ValueError: images are out of that range or no whole numbers, in eager mode.
    """
    check_dtype("dtype", dtype)
    images = _checked(images, num_values, dtype)
    seed = fresh_seed(images) if seed is None else as_stateless_seed(seed)
    noise = tf.random.stateless_uniform(
        tf.shape(images), seed, dtype=dtype, alg="philox"
    )
    # In float32, 255 + 0.99999999 is 256.
    below = np.nextafter(num_values, 0, dtype=tf.as_dtype(dtype).as_numpy_dtype)
    return tf.minimum(images + noise, below)


def reduce_bit_depth(images, n_bits):
    """Returns images of 8 bits with the highest `n_bits` of each value alone.

    Args:
      images: whole numbers from 0 to 255, any shape.
      n_bits: integer from 1 to 8.

    Returns:
      images: tensor of the same dtype, with values from 0 to `2**n_bits - 1`.

    Raises:
      ValueError: `n_bits` is out of its range.
    """
    if n_bits not in range(1, 9):
        raise ValueError(f"`n_bits` must be an integer from 1 to 8; got {n_bits}.")
    return tf.convert_to_tensor(images) // 2 ** (8 - n_bits)


def bits_per_dimension(log_prob, event_shape):
    """Returns `-log_prob / (D log 2)`, the bits that a code takes for each number.

    Args:
      log_prob: nats, of whole numbers or of dequantized ones in units of their steps.
      event_shape: shape of one of what `log_prob` is of, with `D` elements; or `D`.

    Raises:
      ValueError: `event_shape` has no elements, or no integers.
    """
    one = isinstance(event_shape, numbers.Integral)
    sizes = [event_shape] if one else list(event_shape)
    whole = all(isinstance(size, numbers.Integral) for size in sizes)
    size = math.prod(sizes) if whole else 0
    if size < 1:
        raise ValueError(f"`event_shape` must have elements; got {event_shape}.")
    return -log_prob / (size * math.log(2.0))


@register_builder(package="tfp_flows")
def variational_dequantizer(
    event_shape,
    num_layers=4,
    hidden_channels=32,
    *,
    seed,
    dtype=tf.float32,
    name="variational_dequantizer",
):
    """Builds a flow of the noise in [0, 1) that dequantizes an image.

    Ho et al. (2019), section 3.1, https://arxiv.org/abs/1902.00275. It starts as
    uniform noise. Train it together with the flow of images, by
    `log_prob_lower_bound(..., dequantizer=...)`.

    Args:
      event_shape: [height, width, channels] of an image.
      num_layers: number of couplings with checkerboard masks.
      hidden_channels: width of their networks.
      seed: integer that decides the weights, in each process alike.
      dtype: floating dtype of the variables.
      name: name of the distribution.

    Returns:
      distribution: `tfd.TransformedDistribution`, to be bound to images, scaled to
        [-0.5, 0.5], by `condition`.

    Raises:
      TypeError: `seed` is no integer.
      ValueError: an argument is out of its range.
    """
    check_dtype("dtype", dtype)
    height, width, channels = check_image_shape(event_shape)
    layers = [_sums.Sigmoid()]
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
    noise = _sums.sample(  # what a sigmoid makes uniform
        Logistic(tf.zeros([], dtype), tf.ones([], dtype)), event_shape
    )
    return Flow(noise, tfb.Chain(layers), name=name)


def log_prob_lower_bound(flow, images, *, seed=None, num_values=256, dequantizer=None):
    """Returns a lower bound, in the mean, of the log probability of whole numbers.

    `log p(images + u) - log q(u | images)`, for one draw of noise `u`: equation 12 of
    Ho et al. (2019), https://arxiv.org/abs/1902.00275; with uniform noise the second
    term is 0.

    Args:
      flow: distribution of dequantized images, numbers in [0, num_values).
      images: whole numbers, shape `[..., *event_shape]`.
      seed: as for `dequantize`.
      num_values: number of values that a pixel can have.
      dequantizer: what `variational_dequantizer` returned, or None for uniform noise.

    Returns:
      log_prob: nats, shape `[...]`.

    Raises:
      ValueError: images are out of that range or no whole numbers, in eager mode.
    """
    if dequantizer is None:
        return flow.log_prob(
            dequantize(images, seed=seed, num_values=num_values, dtype=flow.dtype)
        )
    images = _checked(images, num_values, flow.dtype)
    bound = condition(dequantizer, images / num_values - 0.5)
    seed = fresh_seed(images) if seed is None else as_stateless_seed(seed)
    noise, log_prob = bound.experimental_sample_and_log_prob(seed=seed)
    return flow.log_prob(images + noise) - log_prob


def _checked(images, num_values, dtype):
    """Returns images in a floating dtype, after a look at their values."""
    images = tf.convert_to_tensor(images)
    if tf.executing_eagerly():
        values = images.numpy()
        whole = np.all(np.isfinite(values)) and np.all(values == np.floor(values))
        if not whole or np.any((values < 0) | (values >= num_values)):
            raise ValueError(
                f"`images` must be whole numbers from 0 to {num_values - 1}, as "
                f"`num_values` says; got values from {values.min()} to {values.max()}."
            )
    return tf.cast(images, dtype)
