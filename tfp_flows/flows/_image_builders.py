"""What the recipes for flows of images share."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import masks
from tfp_flows._flow import Flow
from tfp_flows._sizes import check_integers
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
from tfp_flows.flows._vector_builders import start_flag
from tfp_flows.networks import ConvNet

tfb = tfp.bijectors


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
    mask = masks.channelwise(channels, kept=kept)
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
