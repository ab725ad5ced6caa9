"""Radial flow."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._builders import register_builder
from tfp_flows._flow import Flow
from tfp_flows._seeds import integer_seeds
from tfp_flows._sizes import check_vector_sizes
from tfp_flows._typing import DTypeLike
from tfp_flows.bijectors import Radial, Scan, make_trainable
from tfp_flows.flows import _vector_builders


@register_builder(package="tfp_flows")
def radial(
    event_size: int,
    num_layers: int,
    *,
    seed: int,
    invert: bool = False,
    scan: bool = False,
    dtype: DTypeLike = tf.float32,
    name: str = "radial",
) -> Flow:
    """Build a radial flow.

    Rezende and Mohamed (2015), https://arxiv.org/abs/1505.05770. Both directions of the
    layers have closed forms, at the same cost. The flow is initialized to the identity,
    so that it equals its base distribution.

    >>> from tfp_flows import flows
    >>> flow = flows.radial(2, num_layers=4, seed=0, invert=True)
    >>> flow.log_prob([[0.0, 0.0]]).numpy().round(3)
    array([-1.838], dtype=float32)

    Args:
      event_size: `D`, the length of a vector.
      num_layers: number of layers.
      seed: integer that determines the initial values; they are the same in each
        process.
      invert: whether `flow.bijector` is the inverse of the layers. False is the usual
        choice for variational posteriors, True for density estimation.
      scan: whether the layers are one `tfp_flows.bijectors.Scan`, whose tracing and
        compile times do not depend on `num_layers`.
      dtype: dtype of the variables, float32 or float64.
      name: name of the distribution.

    Returns:
      flow: `tfp_flows.Flow` over a standard normal distribution. `flow.bijector` is a
        `tfb.Chain` or `Scan` of `Radial` layers, in `tfb.Invert` if `invert`, on new
        variables: gains and radii are 1, and centers are standard normal.

    Raises:
      TypeError: `seed` is not an integer, or `dtype` is not supported.
      ValueError: `event_size` or `num_layers` is not an integer of at least 1.
    """
    check_vector_sizes(event_size, num_layers)
    layers = [
        make_trainable(
            Radial,
            [event_size],
            seed=layer_seed,
            stddev=dict(center=1.0, radius=0.0, gain=0.0),
            dtype=dtype,
        )
        for layer_seed in integer_seeds(seed, num_layers)
    ]
    if scan:
        bijector = Scan.from_layers(layers, name=name)
    else:
        bijector = tfp.bijectors.Chain(layers[::-1], name=name)
    if invert:
        bijector = tfp.bijectors.Invert(bijector)
    return _vector_builders.flow_of(bijector, event_size, dtype, name)
