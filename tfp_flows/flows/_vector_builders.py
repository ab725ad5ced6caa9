"""Helpers of the builders of flows for vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import masks
from tfp_flows._flow import Flow
from tfp_flows._seeds import integer_seeds
from tfp_flows._sizes import check_vector_sizes
from tfp_flows._typing import Bijector, DTypeLike
from tfp_flows.bijectors import ActNorm, BatchNorm, Coupling, Scan
from tfp_flows.bijectors.transformers import as_transformer
from tfp_flows.distributions import _large_events
from tfp_flows.distributions._base_distributions import BASE_DISTRIBUTIONS
from tfp_flows.networks import MADE, MLP

tfb, tfd = tfp.bijectors, tfp.distributions


def autoregressive_layers(
    layer_class: Callable[..., Bijector],
    event_size: int,
    num_layers: int,
    hidden_units: int | Sequence[int],
    transformer: Any,
    seed: int,
    order: Any,
    validate_args: bool,
    **network: Any,
) -> list[Bijector]:
    """Returns layers of a class with `MADE` conditioners, from base to data."""
    check_vector_sizes(event_size, num_layers)
    as_transformer(transformer)  # or its error
    alternating = isinstance(order, str) and order == "alternating"
    orders = ["left-to-right", "right-to-left"] if alternating else [order, order]
    return [
        layer_class(
            MADE(
                event_size,
                transformer.num_parameters,
                hidden_units,
                seed=layer_seed,
                order=orders[i % 2],
                **network,
            ),
            transformer,
            validate_args=validate_args,
        )
        for i, layer_seed in enumerate(integer_seeds(seed, num_layers))
    ]


def coupling_layers(
    event_size: int,
    num_layers: int,
    hidden_units: int | Sequence[int],
    transformer: Any,
    seed: int,
    mask: str,
    validate_args: bool,
    **network: Any,
) -> list[Bijector]:
    """Returns coupling layers, from base to data; every second mask is flipped."""
    check_vector_sizes(event_size, num_layers)
    as_transformer(transformer)  # or its error
    kinds = dict(half=masks.half, alternating=masks.alternating)
    if not isinstance(mask, str) or mask not in kinds:
        raise ValueError(f"`mask` must be one of {tuple(kinds)}; got {mask!r}.")
    layers: list[Bijector] = []
    for i, layer_seed in enumerate(integer_seeds(seed, num_layers)):
        # A single element is never masked: then no layer is conditioned on it.
        masked = kinds[mask](event_size, flip=i % 2 == 1 or event_size == 1)
        net = MLP(
            int(masked.sum()),
            [int((~masked).sum()), transformer.num_parameters],
            hidden_units,
            seed=layer_seed,
            **network,
        )
        layers.append(Coupling(masked, net, transformer, validate_args=validate_args))
    return layers


def as_scan(layers: list[Bijector], batch_norm: bool = False) -> list[Bijector]:
    """Returns a list of one `Scan` in place of layers, from base to data.

    Raises:
      ValueError: `batch_norm` is true; layers alternate, and their number is odd; or as
        for `Scan.from_layers`.
    """
    if batch_norm:
        raise ValueError("`batch_norm` must be False with `scan=True`; got True.")
    first, second = (layers * 2)[:2]
    if not _alternates(first, second):
        return [Scan.from_layers(layers)]
    if len(layers) % 2:
        raise ValueError(
            "`num_layers` must be even with `scan=True`, because two kinds of layers "
            f"alternate; got {len(layers)}."
        )
    pairs = zip(layers[::2], layers[1::2])
    return [Scan.from_layers([tfb.Chain([after, before]) for before, after in pairs])]


def _alternates(first: Any, second: Any) -> bool:
    """Returns whether two layers have different masks, or orders of the elements."""
    if isinstance(first, Coupling):
        return not np.array_equal(first.mask, second.mask)
    return not np.array_equal(first.conditioner.order, second.conditioner.order)


def insert_batch_norm(
    layers: list[Bijector], event_size: int, dtype: DTypeLike, epsilon: float = 1e-3
) -> list[Bijector]:
    """Returns the layers with a `BatchNorm`, at first the identity, between two."""
    result: list[Bijector] = []
    for i, layer in enumerate(layers):
        result.append(layer)
        if i + 1 < len(layers):
            zeros = tf.zeros([event_size], dtype)
            result.append(
                BatchNorm(
                    _statistic(zeros, f"mean_{i}"),
                    _statistic(zeros + (1.0 - epsilon), f"variance_{i}"),
                    tf.Variable(zeros, name=f"shift_{i}"),
                    tf.Variable(zeros, name=f"log_scale_{i}"),
                    epsilon=epsilon,
                )
            )
    return result


def _statistic(value: tf.Tensor, name: str) -> tf.Variable:
    return tf.Variable(
        value, trainable=False, name=name, aggregation=tf.VariableAggregation.MEAN
    )


def standardization(event_size: int, dtype: DTypeLike) -> Bijector:
    """Returns the layer next to the data that is initialized to standardize them.

    It is not trained: the steps of an optimizer have one size, unlike the columns of a
    table.
    """
    shift, log_scale = (
        _statistic(tf.zeros([event_size], dtype), f"standardization_{part}")
        for part in ["shift", "log_scale"]
    )
    return ActNorm(
        shift, log_scale, initialized_flag(), event_ndims=1, name="standardization"
    )


def initialized_flag() -> tf.Variable:
    """Returns the variable that holds whether a flow was initialized from data."""
    return tf.Variable(
        False,
        trainable=False,
        name="initialized",
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def vector_flow(
    layers: list[Bijector],
    event_size: int,
    dtype: DTypeLike,
    name: str,
    base_distribution: Callable[..., Any] = tfd.Normal,
    *,
    scan: bool = False,
    batch_norm: bool = False,
    standardize: bool = False,
) -> Flow:
    """Returns the flow of layers, from base to data, over independent elements.

    Raises:
      ValueError: as for `as_scan`, if `scan` is true.
    """
    if scan:
        layers = as_scan(layers, batch_norm)
    elif batch_norm:
        layers = insert_batch_norm(layers, event_size, dtype)
    if standardize:
        layers = [*layers, standardization(event_size, dtype)]
    return flow_of(tfb.Chain(layers[::-1]), event_size, dtype, name, base_distribution)


def flow_of(
    bijector: Bijector,
    event_size: int,
    dtype: DTypeLike,
    name: str,
    base_distribution: Callable[..., Any] = tfd.Normal,
) -> Flow:
    """Returns the flow of a bijector over independent elements."""
    kind = BASE_DISTRIBUTIONS.get(base_distribution, base_distribution)
    elements = kind(tf.zeros([event_size], dtype), tf.ones([], dtype))
    return Flow(_large_events.independent(elements), bijector, name=name)
