"""Training of flows with batch norm, where each change of state is a call."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._compositions import layers_of
from tfp_flows.bijectors import BatchNorm, batch_statistics

tfb = tfp.bijectors


def with_batch_statistics(flow, batch):
    """Returns the flow as it is in training, normalised by the statistics of a batch.

    It has the same variables: train `with_batch_statistics(flow, x).log_prob(x)`. Its
    two directions agree, and gradients flow through the statistics. Nothing is changed
    in `flow`; `update_running_statistics` does that.

    Args:
      flow: `tfd.TransformedDistribution` of `BatchNorm` and other layers in a
        `tfb.Chain`.
      batch: data, shape `[..., *event_shape]`, at least two points.

    Returns:
      bound: `tfd.TransformedDistribution`.

    Raises:
      ValueError: there is no `BatchNorm` in the flow, or `batch` is too small.
    """
    parts = _parts(flow)
    last = max(i for i, part in enumerate(parts) if isinstance(part, BatchNorm))
    # Held by the result, for the layers to answer from their caches.
    values = [tf.convert_to_tensor(batch, dtype_hint=flow.dtype)]
    for i, part in enumerate(parts[: last + 1]):
        if isinstance(part, BatchNorm):
            mean, variance = batch_statistics(values[-1], part.event_ndims)
            parts[i] = part.copy(mean=mean, variance=variance)
        if i < last:
            values.append(parts[i].inverse(values[-1]))
    bound = flow.copy(bijector=tfb.Chain(parts, name=flow.bijector.name))
    bound._values_of_batch = values
    return bound


def update_running_statistics(flow, bound, decay=0.99):
    """Moves the running statistics of a flow towards those of a batch.

    Args:
      flow: flow whose `BatchNorm` layers have variables for `mean` and `variance`.
      bound: what `with_batch_statistics` returned for it.
      decay: share of the old statistics that is kept, in [0, 1].

    Raises:
      ValueError: `decay` is out of its range, or the two flows do not match.
    """
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"`decay` must be in [0, 1]; got {decay}.")
    parts, bound_parts = _parts(flow), _parts(bound)
    if len(parts) != len(bound_parts):
        raise ValueError(
            "`bound` must be made of `flow` by `with_batch_statistics`; "
            f"got {len(bound_parts)} layers for {len(parts)}."
        )
    for part, bound_part in zip(parts, bound_parts):
        if isinstance(part, BatchNorm):
            for variable, value in [
                (part.mean, bound_part.mean), (part.variance, bound_part.variance)
            ]:
                variable.assign_sub((1.0 - decay) * (variable - value))


def _parts(flow):
    """Returns a list of the layers of a flow, out of chains of chains."""
    layers = layers_of(flow.bijector, "inverse")
    parts = [part if way == "inverse" else tfb.Invert(part) for part, way in layers]
    if not any(isinstance(part, BatchNorm) for part in parts):
        raise ValueError(
            "The flow must be a `tfb.Chain` with `BatchNorm` layers; "
            f"got {flow.bijector!r}."
        )
    return parts
