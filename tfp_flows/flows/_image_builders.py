"""Helpers of the builders of flows for images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import masks
from tfp_flows._flow import Flow
from tfp_flows._sizes import check_integers
from tfp_flows._typing import Bijector, DTypeLike
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
from tfp_flows.distributions import Normal, _large_events
from tfp_flows.flows._vector_builders import initialized_flag
from tfp_flows.networks import ConvNet

tfb = tfp.bijectors

__all__ = [
    "actnorm",
    "convolution",
    "coupling_transformer",
    "glow_step",
    "image_flow",
    "initialized_flag",
    "preprocessing_layers",
    "prior",
]


def actnorm(
    channels: int, initialized: tf.Variable, dtype: DTypeLike, name: str
) -> Bijector:
    """Returns an `ActNorm` that is the identity until it is initialized."""
    shift, log_scale = (
        tf.Variable(
            tf.zeros([channels], dtype),
            name=f"{name}_{part}",
            aggregation=tf.VariableAggregation.MEAN,
        )
        for part in ["shift", "log_scale"]
    )
    return ActNorm(shift, log_scale, initialized, name=name)


def convolution(
    kind: str, channels: int, seed: int, dtype: DTypeLike, name: str
) -> Bijector:
    """Returns a 1x1 convolution, initialized to a random orthogonal matrix.

    Raises:
      ValueError: `kind` is neither "plu" nor "plain".
    """
    matrix = matrices.random_orthogonal(channels, seed=seed, dtype=dtype)
    if kind == "plain":
        weight = tf.Variable(matrix, name=f"{name}_weight")
        return InvertibleConv1x1(weight, name=name)
    if kind != "plu":
        raise ValueError(f"`convolution` must be 'plu' or 'plain'; got {kind!r}.")
    factors = matrices.plu_factors(matrix)
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


def glow_step(
    channels: int,
    make_network: Callable[[int, int, int], Any],
    transformer: Any,
    kind: str,
    initialized: tf.Variable,
    seeds: Sequence[int],
    dtype: DTypeLike,
    name: str,
) -> Bijector:
    """Returns a step of Glow, initialized to an orthogonal map of the channels.

    Args:
      channels: number of channels.
      make_network: callable from the numbers of masked and transformed channels and a
        seed to a network.
      transformer: transformer of the coupling.
      kind: kind of the convolution.
      initialized: flag of the flow.
      seeds: two seeds.
      dtype: floating dtype.
      name: prefix of the names of variables.
    """
    mask = masks.channelwise(channels)
    masked = int(mask.sum())
    network = make_network(masked, channels - masked, seeds[1])
    return GlowStep(
        actnorm(channels, initialized, dtype, f"{name}_actnorm"),
        convolution(kind, channels, seeds[0], dtype, f"{name}_conv1x1"),
        Coupling(mask, network, transformer, name=f"{name}_coupling"),
        name=name,
    )


def prior(
    channels: int,
    num_passed: int,
    seed: int,
    context_size: int,
    dtype: DTypeLike,
    name: str,
) -> Bijector:
    """Returns the prior of factored-out channels: a coupling, at first the identity.

    Args:
      channels: number of channels of the level.
      num_passed: number of channels that pass to the next level, on which the prior is
        conditioned; 0 for the last level.
      seed: seed.
      context_size: length of the context, 0 for none.
      dtype: floating dtype.
      name: name of the layer.
    """
    network = ConvNet(
        num_passed,
        channels - num_passed,
        num_layers=0,
        seed=seed,
        context_size=context_size,
        dtype=dtype,
        name=f"{name}_network",
    )
    mask = masks.channelwise(channels, False, num_passed)
    return Coupling(mask, network, transformers.Affine(), name=name)


def coupling_transformer(kind: str, affine: Any) -> Any:
    """Returns the transformer of a kind of coupling.

    Raises:
      ValueError: `kind` is neither "affine" nor "additive".
    """
    kinds = dict(affine=affine, additive=transformers.Additive())
    if kind not in kinds:
        raise ValueError(f"`coupling` must be one of {tuple(kinds)}; got {kind!r}.")
    return kinds[kind]


def preprocessing_layers(
    kind: str, num_values: int, dtype: DTypeLike
) -> list[Bijector]:
    """Returns layers whose inverse maps pixels in [0, num_values) to a scale near 1.

    Raises:
      ValueError: `kind` is neither "center" nor "logit", or `num_values` is not an
        integer of at least 2.
    """
    check_integers(num_values=num_values)
    if num_values < 2:
        raise ValueError(f"`num_values` must be at least 2; got {num_values}.")
    first: Bijector
    if kind == "center":
        scale, shift = tf.constant(num_values, dtype), tf.constant(0.5, dtype)
        first = _large_events.Scale(scale)
        layers = [first, tfb.Shift(shift)]
    elif kind == "logit":
        first = Logit(0.05, 0.0, float(num_values))
        layers = [tfb.Invert(first)]
    else:
        raise ValueError(f"`preprocessing` must be 'center' or 'logit'; got {kind!r}.")
    first.num_pixel_values = num_values  # for checks of data
    return layers


def image_flow(
    layers: list[Bijector], event_shape: Sequence[int], dtype: DTypeLike, name: str
) -> Flow:
    """Returns the flow of layers, from data to base, over standard normal images."""
    elements = Normal(tf.zeros([], dtype), tf.ones([], dtype))
    base = _large_events.sample_of(elements, event_shape)
    return Flow(base, tfb.Chain(layers), name=name)
