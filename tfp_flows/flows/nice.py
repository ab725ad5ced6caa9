"""NICE: additive coupling layers and a diagonal scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._builders import register_builder
from tfp_flows._flow import Flow
from tfp_flows._typing import DTypeLike
from tfp_flows.bijectors import DiagonalScale, transformers
from tfp_flows.flows import _vector_builders


@register_builder(package="tfp_flows")
def nice(
    event_size: int,
    num_layers: int = 4,
    hidden_units: int | Sequence[int] = (1000, 1000, 1000, 1000, 1000),
    *,
    seed: int,
    base_distribution: Callable[..., Any] = tfp.distributions.Logistic,
    mask: Literal["half", "alternating"] = "alternating",
    activation: Any = "relu",
    standardize: bool = False,
    context_size: int = 0,
    scan: bool = False,
    dtype: DTypeLike = tf.float32,
    compute_dtype: DTypeLike | None = None,
    validate_args: bool = False,
    name: str = "nice",
) -> Flow:
    """Build a NICE flow, of additive coupling layers and a diagonal scale.

    Dinh et al. (2015), https://arxiv.org/abs/1410.8516. Couplings with ReLU networks
    alternate between odd and even elements. A diagonal scale and a logistic base
    distribution follow. The default sizes are those of section 5.1 for MNIST. The flow
    is initialized to the identity, so that it equals its base distribution.

    The diagonal scale is slow to train. Scale data to the standard deviation of the
    base distribution, 1.8, or use `standardize=True`, with which the base distribution
    is initially scaled to a standard deviation of 1.

    >>> from tfp_flows import flows
    >>> flow = flows.nice(2, num_layers=3, hidden_units=(16,), seed=0)
    >>> flow.log_prob([[0.0, 0.0]]).numpy().round(3)
    array([-2.773], dtype=float32)

    Args:
      event_size: `D`, the length of a vector.
      num_layers: number of couplings; 4 in the paper, and at least 3 for each element
        to depend on all others.
      hidden_units: widths of the hidden layers of each `tfp_flows.networks.MLP`.
      seed: integer that determines the initial weights; they are the same in each
        process.
      base_distribution: class of the base distribution of an element, called with
        location and scale: `tfd.Logistic` or `tfd.Normal`.
      mask: masked elements of a layer: "half" or "alternating" ones; every second layer
        has the complement.
      activation: elementwise function of the networks, or the name of one in `tf.nn`.
      standardize: whether a layer next to the data standardizes them.
        `tfp_flows.normalization.initialize_from_data` sets its shift and scale to the
        mean and standard deviation of each element. They are saved, but not trained.
        Until then the layer is the identity.
      context_size: length of the context, 0 for an unconditional flow. Condition the
        flow by `tfp_flows.flows.condition` before use.
      scan: whether the layers are one `tfp_flows.bijectors.Scan`, whose tracing and
        compile times do not depend on `num_layers`, which must be even.
      dtype: dtype of the variables, float32 or float64.
      compute_dtype: dtype of the matrix products of the networks, as for
        `tfp_flows.networks.MLP`; by default `dtype`.
      validate_args: whether to check that inputs are finite.
      name: name of the distribution.

    Returns:
      flow: `tfp_flows.Flow` over independent elements, on new variables.
        `flow.bijector` is the composition of the layers.

    Raises:
      TypeError: `seed` is not an integer.
      TypeError: `dtype` or `compute_dtype` is not supported.
      ValueError: a size is below 1, or another argument is not one of its options.
      ValueError: `scan` is true, and layers cannot be stacked.
      tf.errors.InvalidArgumentError: an input is not finite, with `validate_args`.
    """
    couplings = _vector_builders.coupling_layers(
        event_size,
        num_layers,
        hidden_units,
        transformers.Additive(),
        seed,
        mask,
        validate_args,
        activation=activation,
        context_size=context_size,
        dtype=dtype,
        compute_dtype=compute_dtype,
    )
    if scan:
        couplings = _vector_builders.as_scan(couplings)
    log_scale = tf.zeros([event_size], dtype)
    if standardize:  # to the standard deviation of standardized data
        unit = base_distribution(tf.zeros([], dtype), tf.ones([], dtype))
        log_scale -= tf.math.log(unit.stddev())
    scale = DiagonalScale(tf.Variable(log_scale, name="log_scale"))
    return _vector_builders.vector_flow(
        [scale, *couplings],
        event_size,
        dtype,
        name,
        base_distribution,
        standardize=standardize,
    )
