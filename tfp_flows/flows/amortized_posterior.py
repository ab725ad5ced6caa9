"""Amortized posteriors: an encoder predicts their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import tensorflow as tf

from tfp_flows._builders import register_builder
from tfp_flows._sizes import check_integers, check_vector_sizes
from tfp_flows._typing import DTypeLike
from tfp_flows.bijectors import transformers
from tfp_flows.flows import _amortized_families
from tfp_flows.flows.iaf import iaf

_BASES = dict(
    sylvester_orthogonal="orthogonal",
    sylvester_householder="householder",
    sylvester_triangular="triangular",
)
_FLOWS = ("gaussian", "planar", "radial", *_BASES, "iaf")
_USED_BY = dict(
    num_columns=tuple(_BASES),
    num_reflections=("sylvester_householder",),
    activation=("planar", *_BASES),
    context_size=("iaf",),
    hidden_units=("iaf",),
    transformer=("iaf",),
)


@register_builder(package="tfp_flows")
def amortized_posterior(
    event_size: int,
    flow: Literal[
        "gaussian",
        "planar",
        "radial",
        "sylvester_orthogonal",
        "sylvester_householder",
        "sylvester_triangular",
        "iaf",
    ] = "gaussian",
    num_layers: int = 4,
    *,
    num_columns: int | None = None,
    num_reflections: int | None = None,
    activation: Any = None,
    context_size: int | None = None,
    hidden_units: int | Sequence[int] | None = None,
    transformer: Any = None,
    seed: int | None = None,
    dtype: DTypeLike = tf.float32,
    name: str = "amortized_posterior",
) -> _amortized_families.GaussianPosterior:
    """Build an amortized posterior `q(z | x)`, whose parameters an encoder predicts.

    `z_0 ~ N(loc, diag(scale)^2)` and `z = f_K(... f_1(z_0))`. The encoder predicts
    `loc`, `scale` and the parameters of each layer `f_k`, as in Rezende and Mohamed
    (2015), https://arxiv.org/abs/1505.05770, and van den Berg et al. (2018),
    https://arxiv.org/abs/1803.05649. The layers of an inverse autoregressive flow,
    Kingma et al. (2016), https://arxiv.org/abs/1606.04934, have networks with weights
    of their own, for which the encoder predicts a context.

    `experimental_sample_and_log_prob` takes one forward evaluation of the layers.
    `log_prob` of any other `z` takes their inverse.

    >>> import tensorflow as tf
    >>> from tfp_flows import flows
    >>> q = flows.amortized_posterior(2, "planar", num_layers=3)
    >>> q.num_parameters
    19
    >>> posterior = q(tf.zeros([7, 19]))  # the output of an encoder for 7 examples
    >>> posterior.batch_shape, posterior.event_shape
    (TensorShape([7]), TensorShape([2]))

    Args:
      event_size: `D`, the length of `z`.
      flow: "gaussian" for no layers, or the kind of the layers: "planar", "radial",
        "sylvester_orthogonal", "sylvester_householder", "sylvester_triangular" (named
        by their basis), or "iaf".
      num_layers: `K`; ignored for "gaussian".
      num_columns: `M <= D`, the width of a Sylvester layer; by default `min(D, 32)`.
      num_reflections: number of reflections of "sylvester_householder"; by default 8.
      activation: activation of planar and Sylvester layers: "tanh", "leaky_relu", or a
        `tfp_flows.bijectors.Activation`; by default "tanh".
      context_size: length of the context of "iaf", 0 for none; by default `D`.
      hidden_units, transformer: for "iaf", as in `tfp_flows.flows.iaf`; by default
        (320,) and `GatedAffine()`, the gate of the paper, whose contraction `scale` can
        compensate.
      seed: integer that determines the initial weights of "iaf"; they are the same in
        each process. The other kinds have no weights.
      dtype: dtype of parameters and samples, float32 or float64.
      name: name of the distributions.

    Returns:
      conditional_distribution: `tf.Module`, called with a tensor of shape
        `[..., num_parameters]`. It returns a distribution of batch shape `[...]` and
        event shape `[D]`. `conditional_distribution.num_parameters` is the number of
        outputs that the encoder needs. For parameters of 0, the Gaussian is standard
        normal and the layers are the identity, except those of "iaf", but have nonzero
        gradients: an encoder may be initialized to 0. In a Keras model, it goes into a
        `tfp_flows.keras.DistributionLayer`.

    Raises:
      TypeError: `flow` is "iaf", and `seed` is not an integer.
      ValueError: `flow` is not one of its options.
      ValueError: a size is not an integer of at least 1, or `num_columns` is above `D`.
      ValueError: an argument is given that `flow` does not use.
      ValueError: in a call, the last axis of the parameters is not `num_parameters`.
    """
    check_vector_sizes(event_size, num_layers)
    if flow not in _FLOWS:
        raise ValueError(f"`flow` must be one of {_FLOWS}; got {flow!r}.")
    _check_used(
        flow,
        num_columns=num_columns,
        num_reflections=num_reflections,
        activation=activation,
        context_size=context_size,
        hidden_units=hidden_units,
        transformer=transformer,
    )
    activation = "tanh" if activation is None else activation
    options: dict[str, Any] = dict(
        size=event_size, num_layers=num_layers, dtype=dtype, name=name
    )
    if flow == "gaussian":
        return _amortized_families.GaussianPosterior(**options)
    if flow == "planar":
        return _amortized_families.PlanarPosterior(activation, **options)
    if flow == "radial":
        return _amortized_families.RadialPosterior(**options)
    if flow == "iaf":
        context_size = event_size if context_size is None else context_size
        layers = iaf(
            event_size,
            num_layers,
            (320,) if hidden_units is None else hidden_units,
            transformer=transformer or transformers.GatedAffine(),
            seed=seed,  # type: ignore[arg-type]  # `iaf` checks it
            context_size=context_size,
            dtype=dtype,
        ).bijector
        return _amortized_families.AutoregressivePosterior(
            layers, context_size, **options
        )
    columns = min(event_size, 32) if num_columns is None else num_columns
    reflections = 8 if num_reflections is None else num_reflections
    check_integers(num_columns=columns, num_reflections=reflections)
    if not 1 <= columns <= event_size or reflections < 1:
        raise ValueError(
            f"`num_columns` must be in [1, {event_size}] and `num_reflections` at "
            f"least 1; got {num_columns} and {reflections}."
        )
    return _amortized_families.SylvesterPosterior(
        _BASES[flow], columns, reflections, activation, **options
    )


def _check_used(flow: str, **arguments: Any) -> None:
    """Raises `ValueError` for arguments that a kind of flow does not use."""
    for name, value in arguments.items():
        if value is not None and flow not in _USED_BY[name]:
            raise ValueError(
                f"`{name}` must be None with flow={flow!r}, which does not use it; got "
                f"{value!r}. It is for flow={' or '.join(map(repr, _USED_BY[name]))}."
            )
