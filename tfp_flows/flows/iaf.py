"""Inverse autoregressive flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfp_flows._builders import register_builder
from tfp_flows._flow import Flow
from tfp_flows._typing import DTypeLike
from tfp_flows.bijectors import InverseAutoregressive, transformers
from tfp_flows.flows import _vector_builders


@register_builder(package="tfp_flows")
def iaf(
    event_size: int,
    num_layers: int = 5,
    hidden_units: int | Sequence[int] = (256, 256),
    *,
    seed: int,
    transformer: Any = transformers.Affine(),
    order: Any = "alternating",
    activation: Any = "relu",
    residual: bool = False,
    standardize: bool = False,
    context_size: int = 0,
    scan: bool = False,
    dtype: DTypeLike = tf.float32,
    compute_dtype: DTypeLike | None = None,
    validate_args: bool = False,
    name: str = "iaf",
) -> Flow:
    """Build an inverse autoregressive flow (IAF), for variational posteriors.

    Kingma et al. (2016), https://arxiv.org/abs/1606.04934. `sample` and the density of
    samples take one evaluation of each network, and the density of other inputs about
    the cost of two. The layers are those of equation 10. The paper's experiments have
    the gate of equation 14, `transformer=GatedAffine()`. The flow is initialized to the
    identity, except with that gate.

    >>> from tfp_flows import flows
    >>> flow = flows.iaf(3, num_layers=2, hidden_units=(16,), seed=0)
    >>> z, log_prob = flow.experimental_sample_and_log_prob(5, seed=1)
    >>> z.shape, log_prob.shape
    (TensorShape([5, 3]), TensorShape([5]))

    Args:
      event_size: `D`, the length of a vector.
      num_layers: number of autoregressive layers.
      hidden_units: widths of the hidden layers of each `tfp_flows.networks.MADE`.
      seed: integer that determines the initial weights and random orders; they are the
        same in each process.
      transformer: one of `tfp_flows.bijectors.transformers`, or a custom one.
        `GatedAffine()` only contracts: given the preceding elements, no element has a
        larger scale than in the base distribution. Use it with a base distribution
        that has learned scales. Its initial scale is 0.82 in each layer.
      order: order of the elements: "alternating" between the given order and its
        reverse, or the same in all layers: "left-to-right", "right-to-left", or an
        array, as for `tfp_flows.networks.MADE`; or "random", drawn anew for each layer.
        With the same order in all layers, the first element depends on no other.
      activation: elementwise function of the networks, or the name of one in `tf.nn`.
      residual: whether the networks have residual blocks, of equal `hidden_units`.
      standardize: whether a layer next to the data standardizes them.
        `tfp_flows.normalization.initialize_from_data` sets its shift and scale to the
        mean and standard deviation of each element. They are saved, but not trained.
        Until then the layer is the identity.
      context_size: length of the context, 0 for an unconditional flow. Condition the
        flow by `tfp_flows.flows.condition` before use.
      scan: whether the layers are one `tfp_flows.bijectors.Scan`, whose tracing and
        compile times do not depend on `num_layers`. `num_layers` must be even if two
        kinds of layers alternate, as by default, and `order` must not be "random".
      dtype: dtype of the variables, float32 or float64.
      compute_dtype: dtype of the matrix products of the networks, as for
        `tfp_flows.networks.MADE`; by default `dtype`.
      validate_args: whether to check that inputs are finite.
      name: name of the distribution.

    Returns:
      flow: `tfp_flows.Flow` over a standard normal distribution, on new variables.
        `flow.bijector` is the composition of the layers, which may be applied to other
        base distributions.

    Raises:
      TypeError: `seed` is not an integer.
      TypeError: `transformer` has no `num_parameters`.
      TypeError: `dtype` or `compute_dtype` is not supported.
      ValueError: a size is below 1, or another argument is not one of its options.
      ValueError: `scan` is true, and layers cannot be stacked.
      tf.errors.InvalidArgumentError: an input is not finite, with `validate_args`.
    """
    layers = _vector_builders.autoregressive_layers(
        InverseAutoregressive,
        event_size,
        num_layers,
        hidden_units,
        transformer,
        seed,
        order,
        validate_args,
        activation=activation,
        residual=residual,
        context_size=context_size,
        dtype=dtype,
        compute_dtype=compute_dtype,
    )
    return _vector_builders.vector_flow(
        layers, event_size, dtype, name, scan=scan, standardize=standardize
    )
