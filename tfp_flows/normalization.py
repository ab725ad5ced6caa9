"""Data-dependent initialization, and the statistics of batch normalization."""

import tensorflow as tf

from tfp_flows import _traversal

__all__ = [
    "initialize_from_data",
    "update_moving_statistics",
    "with_batch_statistics",
]


@tf.autograph.experimental.do_not_convert  # it would be converted layer by layer
def initialize_from_data(flow, batch, direction="inverse"):
    """Sets `ActNorm`s so that a batch leaves each with mean 0 and standard deviation 1.

    Kingma and Dhariwal (2018), section 3.1, https://arxiv.org/abs/1807.03039. Call it
    once, before training, with data as they come in training, dequantized. Layers are
    started in the order in which data pass them, those inside of networks too. The
    layer that `standardize=True` puts next to the data, as in `tfp_flows.flows.maf`,
    takes mean and standard deviation of the batch: give it all the data, or many. It
    works eagerly, in a `tf.function`, compiled or not, and in a replica context of
    `tf.distribute`, where all replicas get the same start from the data of all.

    Channels without spread, such as those that are constant, are scaled by 1.

    Args:
      flow: `tfd.TransformedDistribution`, or a bijector; bind a flow that takes a
        context to that of the batch before, by `condition`.
      batch: data, shape `[..., H, W, C]` or `[..., D]`.
      direction: for a bijector, the one that goes from data to noise.

    Raises:
      TypeError: `flow` is none of those, or its layers have no variables to set;
        `batch` is of whole numbers.
      ValueError: there is nothing to start; there are fewer than 2 values of a channel;
        `direction` is neither "forward" nor "inverse"; `batch` is not finite, which in
        graphs is a `tf.errors.InvalidArgumentError`, and is not seen in compiled ones.
    """
    _traversal.initialize_from_data(flow, batch, direction)


def with_batch_statistics(flow, batch):
    """Returns the flow as it is in training, normalized by the statistics of a batch.

    It has the same variables: train `with_batch_statistics(flow, x).log_prob(x)`. Its
    two directions agree, and gradients flow through the statistics. Nothing is changed
    in `flow`; `update_moving_statistics` does that.

    Args:
      flow: `tfd.TransformedDistribution` of `BatchNorm` and other layers in a
        `tfb.Chain`.
      batch: data, shape `[..., *event_shape]`, at least two points.

    Returns:
      bound: `tfd.TransformedDistribution`.

    Raises:
      ValueError: there is no `BatchNorm` in the flow, or `batch` is too small.
    """
    return _traversal.with_batch_statistics(flow, batch)


def update_moving_statistics(flow, bound, decay=0.99):
    """Moves the running statistics of a flow towards those of a batch.

    Args:
      flow: flow whose `BatchNorm` layers have variables for `mean` and `variance`.
      bound: what `with_batch_statistics` returned for it.
      decay: share of the old statistics that is kept, in [0, 1].

    Raises:
      ValueError: `decay` is out of its range, or the two flows do not match.
    """
    _traversal.update_moving_statistics(flow, bound, decay)
