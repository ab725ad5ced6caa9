"""Planar flow."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._builders import register_builder
from tfp_flows._flow import Flow
from tfp_flows._sizes import check_vector_sizes
from tfp_flows._typing import DTypeLike
from tfp_flows.bijectors import PlanarStack, make_trainable
from tfp_flows.flows import _vector_builders


@register_builder(package="tfp_flows")
def planar(
    event_size: int,
    num_layers: int,
    *,
    seed: int,
    invert: bool = False,
    activation: Any = "tanh",
    dtype: DTypeLike = tf.float32,
    name: str = "planar",
) -> Flow:
    """Build a planar flow.

    Rezende and Mohamed (2015), https://arxiv.org/abs/1505.05770. The forward direction
    of the layers has a closed form. The inverse is a scalar root search for each layer,
    and costs a few times as much. The flow is initialized to the identity, so that it
    equals its base distribution.

    >>> from tfp_flows import flows
    >>> flow = flows.planar(2, num_layers=4, seed=0)
    >>> z, log_prob = flow.experimental_sample_and_log_prob(5, seed=1)
    >>> z.shape, log_prob.shape
    (TensorShape([5, 2]), TensorShape([5]))
    >>> flow.bijector.forward([[1.0, 2.0]]).numpy().round(3)
    array([[1., 2.]], dtype=float32)

    Args:
      event_size: `D`, the length of a vector.
      num_layers: number of layers.
      seed: integer that determines the initial values; they are the same in each
        process.
      invert: whether `flow.bijector` is the inverse of the layers. False makes sampling
        cheap, for variational posteriors; True makes `log_prob` cheap, for density
        estimation.
      activation: "tanh", "leaky_relu", or a `tfp_flows.bijectors.Activation`.
      dtype: dtype of the variables, float32 or float64.
      name: name of the distribution.

    Returns:
      flow: `tfp_flows.Flow` over a standard normal distribution. `flow.bijector` is a
        `PlanarStack`, in `tfb.Invert` if `invert`, on new variables: `u` is 0, and `w`
        and `b` are random.

    Raises:
      TypeError: `seed` is not an integer, or `dtype` is not supported.
      ValueError: `event_size` or `num_layers` is not an integer of at least 1.
    """
    check_vector_sizes(event_size, num_layers)
    matrix = [num_layers, event_size]
    stack = make_trainable(
        PlanarStack,
        [event_size],
        seed=seed,
        # Then `w . x + b` of standard normal `x` has a scale near 1 in each layer.
        stddev=dict(u=0.0, w=event_size**-0.5, b=1.0),
        parameter_shapes=dict(u=matrix, w=matrix, b=[num_layers]),
        dtype=dtype,
        activation=activation,
        name=name,
    )
    bijector = tfp.bijectors.Invert(stack) if invert else stack
    return _vector_builders.flow_of(bijector, event_size, dtype, name)
