"""Data-dependent initialization, and the statistics of batch normalization."""

from __future__ import annotations

from typing import Any, Literal

import tensorflow as tf

from tfp_flows import _traversal
from tfp_flows._typing import TensorLike

__all__ = [
    "initialize_from_data",
    "update_moving_statistics",
    "with_batch_statistics",
]


@tf.autograph.experimental.do_not_convert  # it would be converted layer by layer
def initialize_from_data(
    flow: Any, x: TensorLike, direction: Literal["forward", "inverse"] = "inverse"
) -> None:
    """Initialize `ActNorm` layers so that their outputs on a batch are standardized.

    Data-dependent initialization of Kingma and Dhariwal (2018), section 3.1,
    https://arxiv.org/abs/1807.03039. Call it once, before training, with dequantized
    data. Layers are initialized in the order in which data pass them, including those
    inside of networks. Afterwards, each output has mean 0 and standard deviation 1 over
    the batch. A channel without variation is scaled by 1.

    The layer of `standardize=True`, as in `tfp_flows.flows.maf`, takes the mean and
    standard deviation of the batch: pass all data, or many.

    The function also runs in a `tf.function`, compiled or not, and in a replica context
    of `tf.distribute`, in which all replicas get the same values from the data of all.

    >>> from tfp_flows import flows, normalization
    >>> flow = flows.maf(2, 2, (8,), standardize=True, seed=0)
    >>> normalization.initialize_from_data(flow, [[10.0, 0.0], [30.0, 2.0]])
    >>> flow.bijector.inverse([[10.0, 0.0]]).numpy().round(3)
    array([[-1., -1.]], dtype=float32)

    Args:
      flow: `tfd.TransformedDistribution` or bijector. Condition it first on the context
        of the batch, by `tfp_flows.flows.condition`, if it takes one.
      x: batch of data, shape `[..., H, W, C]` or `[..., D]`.
      direction: for a bijector, the direction from data to latents.

    Raises:
      TypeError: `flow` is not a `tfd.TransformedDistribution` or bijector.
      TypeError: a layer has no variables to initialize, or is within a bijector of
        another package.
      TypeError: `x` holds integers.
      ValueError: `flow` has no layer to initialize.
      ValueError: `x` has fewer than 2 values of a channel.
      ValueError: `direction` is neither "forward" nor "inverse".
      ValueError: `x` is not finite. Graphs raise `tf.errors.InvalidArgumentError`;
        compiled graphs do not check it.
    """
    _traversal.initialize_from_data(flow, x, direction)


def with_batch_statistics(flow: Any, x: TensorLike) -> Any:
    """Return the flow in which `BatchNorm` layers use the statistics of a batch.

    This is the flow to train: `with_batch_statistics(flow, x).log_prob(x)`. It has the
    variables of `flow`, is invertible, and its gradients include those of the
    statistics. `flow` itself does not change; see `update_moving_statistics`.

    >>> import tensorflow as tf
    >>> from tfp_flows import flows, normalization
    >>> flow = flows.maf(2, 2, (8,), batch_norm=True, seed=0)
    >>> x = tf.random.stateless_normal([100, 2], seed=[0, 1])
    >>> normalization.with_batch_statistics(flow, x).log_prob(x).shape
    TensorShape([100])

    Args:
      flow: `tfd.TransformedDistribution` whose bijector is a `tfb.Chain` with
        `BatchNorm` layers, or such a bijector.
      x: batch of at least two examples, shape `[..., *event_shape]`.

    Returns:
      batch_flow: copy of `flow` on the same variables.

    Raises:
      ValueError: `flow` has no `BatchNorm` layer.
      ValueError: `x` has fewer than two examples.
    """
    return _traversal.with_batch_statistics(flow, x)


def update_moving_statistics(
    flow: Any, batch_flow: Any, momentum: float = 0.99
) -> None:
    """Update the moving statistics of `BatchNorm` layers by those of a batch.

    `moving = momentum * moving + (1 - momentum) * batch`, for means and variances.

    >>> import tensorflow as tf
    >>> from tfp_flows import flows, normalization
    >>> flow = flows.maf(2, 2, (8,), batch_norm=True, seed=0)
    >>> x = 5.0 + tf.random.stateless_normal([100, 2], seed=[0, 1])
    >>> batch_flow = normalization.with_batch_statistics(flow, x)
    >>> normalization.update_moving_statistics(flow, batch_flow, momentum=0.9)
    >>> flow.bijector.bijectors[1].mean.numpy().round(1)
    array([0.5, 0.5], dtype=float32)

    Args:
      flow: flow whose `BatchNorm` layers have variables for `mean` and `variance`.
      batch_flow: flow that `with_batch_statistics` returned for `flow` and a batch.
      momentum: weight of the old statistics, in [0, 1].

    Raises:
      ValueError: `momentum` is out of its range.
      ValueError: `batch_flow` does not have the layers of `flow`.
    """
    _traversal.update_moving_statistics(flow, batch_flow, momentum)
