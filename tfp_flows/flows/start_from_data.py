"""Starts the layers of a flow that are to start from data."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows.bijectors import _start

tfb, tfd = tfp.bijectors, tfp.distributions


@tf.autograph.experimental.do_not_convert  # it would be converted layer by layer
def start_from_data(flow, batch, direction="inverse"):
    """Sets `ActNorm`s so that a batch leaves each with mean 0 and standard deviation 1.

    Kingma and Dhariwal (2018), section 3.1, https://arxiv.org/abs/1807.03039. Call it
    once, before training, with data as they come in training, dequantised. Layers are
    started in the order in which data pass them, those inside of networks too. It works
    eagerly, in a `tf.function`, compiled or not, and in a replica context of
    `tf.distribute`, where all replicas get the same start from the data of all.

    Channels without spread, such as those that are constant, are scaled by 1.

    Args:
      flow: `tfd.TransformedDistribution`, or a bijector; bind a flow that takes a
        context to that of the batch before, by `condition`.
      batch: data, shape `[..., H, W, C]`.
      direction: for a bijector, the one that goes from data to noise.

    Raises:
      TypeError: `flow` is none of those, or its layers have no variables to set;
        `batch` is of whole numbers.
      ValueError: there is nothing to start; there are fewer than 2 values of a channel;
        `direction` is neither "forward" nor "inverse"; `batch` is not finite, which in
        graphs is a `tf.errors.InvalidArgumentError`, and is not seen in compiled ones.
    """
    bijector = getattr(flow, "bijector", None) if isinstance(
        flow, tfd.Distribution) else flow
    if not isinstance(bijector, tfb.Bijector):
        raise TypeError(
            "`flow` must be a bijector or a `tfd.TransformedDistribution`; "
            f"got {flow!r}."
        )
    if direction not in _start.OTHER:
        raise ValueError(
            f"`direction` must be 'forward' or 'inverse'; got {direction!r}.")
    modules = [bijector, *bijector.submodules]
    if not any(
        hasattr(module, "started") or getattr(module, "actnorm", None) is True
        for module in modules
    ):
        raise ValueError(
            f"`flow` must have layers such as `ActNorm` to start; got {flow!r}.")
    batch = tf.convert_to_tensor(batch, dtype_hint=flow.dtype)
    if not batch.dtype.is_floating:
        raise TypeError(
            "`batch` must be floating, such as `dequantise` returns; "
            f"got {batch.dtype.name}."
        )
    if tf.executing_eagerly() and not np.all(np.isfinite(batch)):
        raise ValueError("`batch` must be finite; got NaN or infinity in it.")
    check = tf.debugging.assert_all_finite(batch, "`batch` must be finite.")
    flags = [getattr(module, "started", None) for module in modules]
    with tf.control_dependencies([check]):
        _start.start(bijector, tf.identity(batch), direction)
        for flag in {id(flag): flag for flag in flags if flag is not None}.values():
            flag.assign(True)
