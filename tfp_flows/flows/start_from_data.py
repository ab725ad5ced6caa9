"""Starts the layers of a flow that are to start from data."""

import tensorflow as tf

from tfp_flows import _compositions


@tf.autograph.experimental.do_not_convert  # it would be converted layer by layer
def start_from_data(flow, batch, direction="inverse"):
    """Sets `ActNorm`s so that a batch leaves each with mean 0 and standard deviation 1.

    Kingma and Dhariwal (2018), section 3.1, https://arxiv.org/abs/1807.03039. Call it
    once, before training, with data as they come in training, dequantised. Layers are
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
    _compositions.start_from_data(flow, batch, direction)
