"""Binds a context to all layers of a flow."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._compositions import bind_context

tfb, tfd = tfp.bijectors, tfp.distributions


def condition(flow, context):
    """Returns a flow whose layers have a context, on the same variables.

    Args:
      flow: `tfd.TransformedDistribution`, or a bijector: a layer of this package that
        takes a context, or `tfb.Chain` and `tfb.Invert` of such; or another
        distribution that takes one, such as `autoregressive_levels`.
      context: tensor of shape `[..., context_size]`: what the distribution depends on,
        such as a label as one-hot vector or the output of an encoder.

    Returns:
      bound: what `flow` is: a plain distribution, whose batch shape is that of the
        context, or a bijector.

    Raises:
      TypeError: `flow` is none of those.
      ValueError: no layer takes a context, or `context` has another size than they
        take.
    """
    if not isinstance(flow, (tfb.Bijector, tfd.Distribution)):
        raise TypeError(
            f"`flow` must be a bijector or a `tfd.Distribution`; got {flow!r}.")
    bound = bind_context(flow, context)
    if bound is flow:
        raise ValueError(
            "`context` must be given to a flow that takes one; got a flow in which no "
            f"layer has a `context_size` above 0: {flow!r}."
        )
    return bound


def condition_on_class(flow, labels, num_classes):
    """Binds classes to a flow, as one-hot vectors.

    Args:
      flow: as for `condition`, with `context_size=num_classes`.
      labels: integers from 0 to `num_classes - 1`, shape `[...]`.
      num_classes: number of classes.

    Returns:
      bound: as for `condition`; its batch shape is that of `labels`.

    Raises:
      TypeError: `labels` are no integers, or as for `condition`.
      ValueError: a label is of no class; or as for `condition`. In graphs the first is
        a `tf.errors.InvalidArgumentError`, but for compiled ones, which give NaN.
    """
    labels = tf.convert_to_tensor(labels, name="labels")
    if not labels.dtype.is_integer:
        raise TypeError(f"`labels` must be integers; got {labels.dtype.name}.")
    labels = tf.cast(labels, tf.int64)
    known = (labels >= 0) & (labels < num_classes)
    message = f"`labels` must be from 0 to {num_classes - 1}; got"
    if tf.executing_eagerly() and not np.all(known):
        raise ValueError(f"{message} {labels.numpy()[~known.numpy()].ravel()[:10]}.")
    with tf.control_dependencies([tf.debugging.Assert(
        tf.reduce_all(known), [message, labels])]):
        dtype = _dtype_of(flow)
        classes = tf.one_hot(labels, num_classes, dtype=dtype)
    nan = tf.constant(float("nan"), dtype)  # compiled graphs drop the assertion
    return condition(flow, tf.where(known[..., tf.newaxis], classes, nan))


def _dtype_of(flow):
    known = [v.dtype for v in flow.variables if v.dtype.is_floating]
    return known[0] if known else tf.float32
