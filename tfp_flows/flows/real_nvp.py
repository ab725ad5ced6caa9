"""RealNVP: affine coupling layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import tensorflow as tf

from tfp_flows._builders import register_builder
from tfp_flows._flow import Flow
from tfp_flows._typing import DTypeLike
from tfp_flows.bijectors import transformers
from tfp_flows.flows import _vector_builders


@register_builder(package="tfp_flows")
def real_nvp(
    event_size: int,
    num_layers: int = 10,
    hidden_units: int | Sequence[int] = (256, 256),
    *,
    seed: int,
    transformer: Any = transformers.Affine(),
    mask: Literal["half", "alternating"] = "alternating",
    activation: Any = "relu",
    batch_norm: bool = False,
    standardize: bool = False,
    context_size: int = 0,
    scan: bool = False,
    dtype: DTypeLike = tf.float32,
    compute_dtype: DTypeLike | None = None,
    validate_args: bool = False,
    name: str = "real_nvp",
) -> Flow:
    """Build a RealNVP flow for vectors, of affine coupling layers.

    Dinh et al. (2017), https://arxiv.org/abs/1605.08803. Densities and samples both
    take one evaluation of each network. The flow is initialized to the identity, so
    that it equals its base distribution. Scale data to mean 0 and standard deviation 1,
    or use `standardize=True`.

    >>> from tfp_flows import flows
    >>> flow = flows.real_nvp(3, num_layers=2, hidden_units=(16,), seed=0)
    >>> flow.log_prob([[0.0, 0.0, 0.0]]).numpy().round(3)
    array([-2.757], dtype=float32)

    Args:
      event_size: `D`, the length of a vector.
      num_layers: number of couplings.
      hidden_units: widths of the hidden layers of each `tfp_flows.networks.MLP`.
      seed: integer that determines the initial weights; they are the same in each
        process.
      transformer: one of `tfp_flows.bijectors.transformers`, or a custom one.
      mask: masked elements of a layer: "alternating" ones or "half"; every second layer
        has the complement.
      activation: elementwise function of the networks, or the name of one in `tf.nn`.
      batch_norm: whether `BatchNorm` layers are inserted between the layers. Train such
        a flow through `tfp_flows.normalization.with_batch_statistics`.
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
      flow: `tfp_flows.Flow` over a standard normal distribution, on new variables.
        `flow.bijector` is the composition of the layers.

    Raises:
      TypeError: `seed` is not an integer.
      TypeError: `transformer` has no `num_parameters`.
      TypeError: `dtype` or `compute_dtype` is not supported.
      ValueError: a size is below 1, or another argument is not one of its options.
      ValueError: `scan` is true, and layers cannot be stacked.
      tf.errors.InvalidArgumentError: an input is not finite, with `validate_args`.
    """
    layers = _vector_builders.coupling_layers(
        event_size,
        num_layers,
        hidden_units,
        transformer,
        seed,
        mask,
        validate_args,
        activation=activation,
        context_size=context_size,
        dtype=dtype,
        compute_dtype=compute_dtype,
    )
    return _vector_builders.vector_flow(
        layers,
        event_size,
        dtype,
        name,
        scan=scan,
        batch_norm=batch_norm,
        standardize=standardize,
    )
