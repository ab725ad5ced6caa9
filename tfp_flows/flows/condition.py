"""Binds a context to all layers of a flow."""

import numbers

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._traversal import bind_context

tfb, tfd = tfp.bijectors, tfp.distributions


def condition(flow, context):
    """Returns a flow whose layers have a context, on the same variables.

    The axes of the context before its last are the batch shape of the result, which
    broadcasts against that of points, as everywhere in TFP: `N` contexts `[N,
    context_size]` pair with `N` points, one each, where the points have the shape
    `[N, *event_shape]`; contexts `[N, 1, context_size]` would meet each of the points.

    Args:
      flow: `tfd.TransformedDistribution`, or a bijector: a layer of this package that
        takes a context, or `tfb.Chain` and `tfb.Invert` of such; or another
        distribution that takes one, such as `discrete_autoregressive`, or that is
        made of such, such as `tfd.Sample`.
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
    _check_flow(flow)
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
      labels: integers from 0 to `num_classes - 1`, of shape `[N]`, or `[N, 1]`, which
        means the same, or one integer; or one-hot vectors `[..., num_classes]` of any
        dtype. A single integer vector holds labels.
      num_classes: number of classes.

    Returns:
      bound: as for `condition`; its batch shape is `[N]`, `[]` for one label.

    Raises:
      TypeError: `labels` are neither integers nor one-hot vectors, or as for
        `condition`.
      ValueError: a label is of no class, vectors are not one-hot, `labels` have another
        shape; or as for `condition`. In graphs, values are a
        `tf.errors.InvalidArgumentError`, but for compiled ones, which give NaN.
    """
    _check_flow(flow)
    if not isinstance(num_classes, numbers.Integral) or num_classes < 1:
        raise ValueError(
            f"`num_classes` must be an integer of at least 1; got {num_classes!r}."
        )
    labels, dtype = tf.convert_to_tensor(labels, name="labels"), _dtype_of(flow)
    if _are_vectors(labels, num_classes):
        classes = tf.cast(labels, dtype)
        known = tf.reduce_all((classes == 0.0) | (classes == 1.0), axis=-1)
        known &= tf.reduce_sum(classes, axis=-1) == 1.0
        message = (
            f"`labels` of width {num_classes} must be one-hot, a 1 and zeros in each "
            "row; other contexts are for `condition`. Got"
        )
    else:
        if labels.shape.rank == 2:
            labels = tf.squeeze(labels, axis=-1)
        labels = tf.cast(labels, tf.int64)
        classes = tf.one_hot(labels, num_classes, dtype=dtype)
        known = (labels >= 0) & (labels < num_classes)
        message = f"`labels` must be from 0 to {num_classes - 1}; got"
    if tf.executing_eagerly() and not np.all(known):
        raise ValueError(f"{message} {labels.numpy()[~known.numpy()][:10]}.")
    with tf.control_dependencies(
        [tf.debugging.Assert(tf.reduce_all(known), [message, labels])]
    ):
        classes = tf.identity(classes)
    nan = tf.constant(float("nan"), dtype)  # compiled graphs drop the assertion
    return condition(flow, tf.where(known[..., tf.newaxis], classes, nan))


def _are_vectors(labels, num_classes):
    """Tells whether labels are to be one-hot vectors, by their dtype and shape."""
    shape, whole = labels.shape, labels.dtype.is_integer
    if not (whole or labels.dtype.is_bool or labels.dtype.is_floating):
        raise TypeError(
            f"`labels` must be integers or one-hot vectors; got {labels.dtype.name}."
        )
    if whole and (shape.rank in (0, 1) or shape.rank == 2 and shape[-1] == 1):
        return False
    if shape.rank and shape[-1] == num_classes:
        return True
    if not whole:
        raise TypeError(
            "`labels` must be integers, or one-hot vectors whose last axis has length "
            f"{num_classes}; got {labels.dtype.name} of shape {shape}."
        )
    raise ValueError(
        f"`labels` must be integers of shape [N] or [N, 1], or one-hot vectors [N, "
        f"{num_classes}]; got shape {shape}."
    )


def _check_flow(flow):
    if isinstance(flow, (tfb.Bijector, tfd.Distribution)):
        return
    remedy = ""
    if isinstance(getattr(flow, "distribution", None), tfd.Distribution):
        remedy = " Give its `distribution`."
    raise TypeError(
        f"`flow` must be a bijector or a `tfd.Distribution`; got {flow!r}.{remedy}"
    )


def _dtype_of(flow):
    known = [v.dtype for v in flow.variables if v.dtype.is_floating]
    return known[0] if known else tf.float32
