"""What the recipes for flows of layers with networks share."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import masks
from tfp_flows._flow import Flow
from tfp_flows.bijectors import ActNorm, BatchNorm, Coupling, Scan
from tfp_flows.bijectors._conditioner import check_transformer
from tfp_flows.flows import _noise, _sums
from tfp_flows.networks import MADE, MLP
from tfp_flows.networks._initializers import split_seed
from tfp_flows.networks._network_checks import is_size

tfb, tfd = tfp.bijectors, tfp.distributions


def check_sizes(event_size, num_layers):
    """Raises `ValueError` if a size is no integer, or below 1."""
    check_integers(event_size=event_size, num_layers=num_layers)
    if min(event_size, num_layers) < 1:
        raise ValueError(
            "`event_size` and `num_layers` must be at least 1; "
            f"got {event_size} and {num_layers}."
        )


def check_integers(**sizes):
    """Raises `ValueError` if one of the arguments named is no integer."""
    for name, value in sizes.items():
        if is_size(value, minimum=-np.inf):
            continue
        shape = [value] if value is None else np.ravel(value).tolist()
        hint = f" Give {shape[0]}." if len(shape) == 1 and is_size(shape[0]) else ""
        raise ValueError(
            f"`{name}` must be an integer of at least 1; got {value!r}.{hint}"
        )


def layer_seeds(seed, num_layers):
    """Returns an integer for each layer.

    Raises:
      TypeError: `seed` is no integer.
    """
    return [int(pair[1]) for pair in split_seed(seed, num_layers)]


def autoregressive_layers(
    kind,
    event_size,
    num_layers,
    hidden_units,
    transformer,
    seed,
    order,
    validate_args,
    **network,
):
    """Returns layers of a class, from noise to data."""
    check_sizes(event_size, num_layers)
    check_transformer(transformer)
    alternating = isinstance(order, str) and order == "alternating"
    orders = ["left-to-right", "right-to-left"] if alternating else [order, order]
    return [
        kind(
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
        for i, layer_seed in enumerate(layer_seeds(seed, num_layers))
    ]


def coupling_layers(
    event_size,
    num_layers,
    hidden_units,
    transformer,
    seed,
    mask,
    validate_args,
    **network,
):
    """Returns coupling layers, from noise to data; every second one the other way."""
    check_sizes(event_size, num_layers)
    check_transformer(transformer)
    kinds = dict(half=masks.half, alternating=masks.alternating)
    if not isinstance(mask, str) or mask not in kinds:
        raise ValueError(f"`mask` must be one of {tuple(kinds)}; got {mask!r}.")
    layers = []
    for i, layer_seed in enumerate(layer_seeds(seed, num_layers)):
        # A single element is never kept: then the layers are not conditioned on it.
        kept = kinds[mask](event_size, flip=i % 2 == 1 or event_size == 1)
        net = MLP(
            int(kept.sum()),
            [int((~kept).sum()), transformer.num_parameters],
            hidden_units,
            seed=layer_seed,
            **network,
        )
        layers.append(Coupling(kept, net, transformer, validate_args=validate_args))
    return layers


def scanned(layers, batch_norm=False):
    """Returns a list of one layer in place of layers, from noise to data.

    Raises:
      ValueError: there is to be batch norm; layers take turns, and the last has none;
        or as `Scan.from_layers`.
    """
    if batch_norm:
        raise ValueError("`batch_norm` must be false with `scan`; got both.")
    first, second = (layers * 2)[:2]
    if not _takes_turns(first, second):
        return [Scan.from_layers(layers)]
    if len(layers) % 2:
        raise ValueError(
            "`num_layers` must be even with `scan`, where two kinds of layers take "
            f"turns; got {len(layers)}."
        )
    pairs = zip(layers[::2], layers[1::2])
    return [Scan.from_layers([tfb.Chain([after, before]) for before, after in pairs])]


def _takes_turns(first, second):
    """Returns whether layers see elements in other orders, or by other masks."""
    if hasattr(first, "mask"):
        return not np.array_equal(first.mask, second.mask)
    return not np.array_equal(first.conditioner.order, second.conditioner.order)


def with_batch_norm(layers, event_size, dtype, epsilon=1e-3):
    """Returns the layers, each but the last followed by the identity to start from."""
    result = []
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


def _statistic(value, name):
    return tf.Variable(
        value, trainable=False, name=name, aggregation=tf.VariableAggregation.MEAN
    )


def standardization(event_size, dtype):
    """Returns the layer next to the data that takes mean and scale from them.

    It is not trained: a step of an optimizer is of one size, and columns are not.
    """
    shift, log_scale = (
        _statistic(tf.zeros([event_size], dtype), f"standardization_{part}")
        for part in ["shift", "log_scale"]
    )
    return ActNorm(
        shift, log_scale, start_flag(), event_ndims=1, name="standardization"
    )


def start_flag():
    """Returns the variable that tells whether a flow was started from data."""
    return tf.Variable(
        False,
        trainable=False,
        name="initialized",
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def distribution(layers, event_size, dtype, name, base=tfd.Normal, standardize=False):
    """Returns the distribution of independent noise that went through the layers."""
    if standardize:
        layers = [*layers, standardization(event_size, dtype)]
    base = _noise.KINDS.get(base, base)
    noise = _sums.independent(base(tf.zeros([event_size], dtype), tf.ones([], dtype)))
    return Flow(noise, tfb.Chain(layers[::-1]), name=name)
