"""What the recipes for flows of images share."""

import numbers

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import masks
from tfp_flows._flow import Flow
from tfp_flows.bijectors import (
    ActNorm,
    Coupling,
    GlowStep,
    InvertibleConv1x1,
    InvertibleConv1x1PLU,
    Logit,
    matrices,
    transformers,
)
from tfp_flows.flows import _sums
from tfp_flows.flows._noise import Normal
from tfp_flows.flows._vector_builders import check_integers, start_flag
from tfp_flows.networks import ConvNet
from tfp_flows.networks._initializers import split_seed
from tfp_flows.networks._network_checks import is_size

tfb = tfp.bijectors


def check_image(event_shape, num_levels, num_halvings):
    """Returns height, width and channels.

    Args:
      event_shape: shape of an image.
      num_levels: number of levels.
      num_halvings: how many times height and width are halved.

    Raises:
      ValueError: `event_shape` is no shape of an image, or cannot be halved so often;
        `num_levels` is no integer, or below 1.
    """
    given = event_shape
    event_shape = tuple(given) if np.iterable(given) else ()
    if len(event_shape) != 3 or not all(map(is_size, event_shape)):
        raise ValueError(
            "`event_shape` must be [height, width, channels], each at least 1; "
            f"got {list(event_shape) or given!r}."
        )
    check_integers(num_levels=num_levels)
    if num_levels < 1:
        raise ValueError(f"`num_levels` must be at least 1; got {num_levels}.")
    height, width, channels = event_shape
    divisor = 2**num_halvings
    if height % divisor or width % divisor:
        raise ValueError(
            f"Height and width in `event_shape` must be multiples of {divisor} for "
            f"{num_levels} levels; got {list(event_shape)}. Pad the images, or take "
            "fewer levels."
        )
    return height, width, channels


def actnorm(channels, started, dtype, name):
    """Returns an `ActNorm` that is the identity."""
    shift, log_scale = (
        tf.Variable(
            tf.zeros([channels], dtype),
            name=f"{name}_{part}",
            aggregation=tf.VariableAggregation.MEAN,
        )
        for part in ["shift", "log_scale"]
    )
    return ActNorm(shift, log_scale, started, name=name)


def convolution(kind, channels, seed, dtype, name):
    """Returns a convolution that is a random rotation.

    Raises:
      ValueError: `kind` is neither "plu" nor "plain".
    """
    rotation = matrices.random_orthogonal(channels, seed=seed, dtype=dtype)
    if kind == "plain":
        weight = tf.Variable(rotation, name=f"{name}_weight")
        return InvertibleConv1x1(weight, name=name)
    if kind != "plu":
        raise ValueError(f"`convolution` must be 'plu' or 'plain'; got {kind!r}.")
    factors = matrices.plu_factors(rotation)
    return InvertibleConv1x1PLU(
        name=name,
        **{
            part: tf.Variable(
                value,
                name=f"{name}_{part}",
                trainable=part not in ("permutation", "sign"),
            )
            for part, value in factors.items()
        },
    )


def glow_step(channels, make_network, transformer, kind, started, seeds, dtype, name):
    """Returns a step that starts as a rotation of the channels.

    Args:
      channels: number of them.
      make_network: callable from numbers of channels and a seed to a network.
      transformer: of the coupling.
      kind: of the convolution.
      started: flag of the flow.
      seeds: two seeds.
      dtype: floating dtype.
      name: prefix of the names of variables.
    """
    mask = masks.channelwise(channels)
    kept = int(mask.sum())
    network = make_network(kept, channels - kept, seeds[1])
    return GlowStep(
        actnorm(channels, started, dtype, f"{name}_actnorm"),
        convolution(kind, channels, seeds[0], dtype, f"{name}_conv1x1"),
        Coupling(mask, network, transformer, name=f"{name}_coupling"),
        name=name,
    )


def prior(channels, kept, seed, context_size, dtype, name):
    """Returns a coupling that starts as the identity: a learned prior of the rest.

    Args:
      channels: number of channels that arrive.
      kept: number of channels that tell about the others, or 0.
      seed: seed.
      context_size: length of the context, 0 for none.
      dtype: floating dtype.
      name: name of the layer.
    """
    network = ConvNet(
        kept,
        channels - kept,
        num_layers=0,
        seed=seed,
        context_size=context_size,
        dtype=dtype,
        name=f"{name}_network",
    )
    mask = masks.channelwise(channels, num_masked=kept)
    return Coupling(mask, network, transformers.Affine(), name=name)


def coupling_kind(kind, affine):
    """Returns the transformer that a word stands for.

    Raises:
      ValueError: it is neither "affine" nor "additive".
    """
    kinds = dict(affine=affine, additive=transformers.Additive())
    if kind not in kinds:
        raise ValueError(f"`coupling` must be one of {tuple(kinds)}; got {kind!r}.")
    return kinds[kind]


def preprocessing(kind, num_values, dtype):
    """Returns layers from a flow of moderate numbers to pixels of 0 to `num_values`.

    Raises:
      ValueError: `kind` is neither "center" nor "logit", or `num_values` is no integer,
        or below 2.
    """
    check_integers(num_values=num_values)
    if num_values < 2:
        raise ValueError(f"`num_values` must be at least 2; got {num_values}.")
    if kind == "center":
        scale, shift = tf.constant(num_values, dtype), tf.constant(0.5, dtype)
        first = _sums.Scale(scale)
        layers = [first, tfb.Shift(shift)]
    elif kind == "logit":
        first = Logit(0.05, 0.0, float(num_values))
        layers = [tfb.Invert(first)]
    else:
        raise ValueError(f"`preprocessing` must be 'center' or 'logit'; got {kind!r}.")
    first.num_pixel_values = num_values  # for checks of data
    return layers


def distribution(layers, event_shape, dtype, name):
    """Returns the distribution of images of normal noise that went through layers.

    Args:
      layers: list of bijectors, the one next to the data first.
      event_shape: shape of an image.
      dtype: floating dtype.
      name: name of the distribution.
    """
    noise = _sums.sample(Normal(tf.zeros([], dtype), tf.ones([], dtype)), event_shape)
    return Flow(noise, tfb.Chain(layers), name=name)


def as_seed(seed):
    """Returns a stateless seed for an integer, and what is given otherwise."""
    return [0, int(seed)] if isinstance(seed, numbers.Integral) else seed


def seeds_of(seed, *numbers):
    """Returns lists of seeds, as many as each number says.

    Raises:
      TypeError: `seed` is no integer.
    """
    seeds = [int(pair[1]) for pair in split_seed(seed, sum(numbers))]
    return [[seeds.pop() for _ in range(number)] for number in numbers]
