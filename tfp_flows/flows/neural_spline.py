"""Neural spline flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import tensorflow as tf

from tfp_flows._builders import register_builder
from tfp_flows._flow import Flow
from tfp_flows._typing import DTypeLike
from tfp_flows.bijectors import MaskedAutoregressive, transformers
from tfp_flows.flows import _vector_builders


@register_builder(package="tfp_flows")
def neural_spline(
    event_size: int,
    num_layers: int = 5,
    hidden_units: int | Sequence[int] = (256, 256),
    *,
    seed: int,
    kind: Literal["coupling", "autoregressive"] = "coupling",
    num_bins: int = 8,
    bound: float = 5.0,
    activation: Any = "relu",
    standardize: bool = False,
    context_size: int = 0,
    scan: bool = False,
    dtype: DTypeLike = tf.float32,
    compute_dtype: DTypeLike | None = None,
    validate_args: bool = False,
    name: str = "neural_spline",
) -> Flow:
    """Build a neural spline flow, of rational-quadratic splines.

    Durkan et al. (2019), https://arxiv.org/abs/1906.04032. The splines are the identity
    outside of an interval: scale data to mean 0 and standard deviation 1, or use
    `standardize=True`. The flow is initialized to the identity, so that it equals its
    base distribution.

    >>> from tfp_flows import flows
    >>> flow = flows.neural_spline(3, num_layers=2, hidden_units=(16,), seed=0)
    >>> flow.log_prob([[0.0, 0.0, 0.0]]).numpy().round(3)
    array([-2.757], dtype=float32)

    Args:
      event_size: `D`, the length of a vector.
      num_layers: number of layers.
      hidden_units: widths of the hidden layers of each network.
      seed: integer that determines the initial weights; they are the same in each
        process.
      kind: "coupling" for couplings that alternate between odd and even elements:
        densities and samples take one evaluation of each network. Or "autoregressive"
        for layers that alternate between an order and its reverse: samples take about
        the cost of two evaluations.
      num_bins: number of bins of a spline.
      bound: `B`, where the interval of a spline is `(-B, B)`.
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
      flow: `tfp_flows.Flow` over a standard normal distribution, on new variables.
        `flow.bijector` is the composition of the layers.

    Raises:
      TypeError: `seed` is not an integer.
      TypeError: `dtype` or `compute_dtype` is not supported.
      ValueError: a size is below 1, or another argument is not one of its options.
      ValueError: `scan` is true, and layers cannot be stacked.
      tf.errors.InvalidArgumentError: an input is not finite, with `validate_args`.
    """
    spline = transformers.RationalQuadraticSpline(num_bins, bound)
    network = dict(
        activation=activation,
        context_size=context_size,
        dtype=dtype,
        compute_dtype=compute_dtype,
    )
    if kind == "coupling":
        layers = _vector_builders.coupling_layers(
            event_size,
            num_layers,
            hidden_units,
            spline,
            seed,
            "alternating",
            validate_args,
            **network,
        )
    elif kind == "autoregressive":
        layers = _vector_builders.autoregressive_layers(
            MaskedAutoregressive,
            event_size,
            num_layers,
            hidden_units,
            spline,
            seed,
            "alternating",
            validate_args,
            **network,
        )
    else:
        raise ValueError(
            f"`kind` must be 'coupling' or 'autoregressive'; got {kind!r}."
        )
    return _vector_builders.vector_flow(
        layers, event_size, dtype, name, scan=scan, standardize=standardize
    )
