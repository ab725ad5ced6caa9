"""Training of flows with batch norm, where each change of state is a call."""

from tfp_flows import _compositions


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
    return _compositions.with_batch_statistics(flow, batch)


def update_running_statistics(flow, bound, decay=0.99):
    """Moves the running statistics of a flow towards those of a batch.

    Args:
      flow: flow whose `BatchNorm` layers have variables for `mean` and `variance`.
      bound: what `with_batch_statistics` returned for it.
      decay: share of the old statistics that is kept, in [0, 1].

    Raises:
      ValueError: `decay` is out of its range, or the two flows do not match.
    """
    _compositions.update_running_statistics(flow, bound, decay)
