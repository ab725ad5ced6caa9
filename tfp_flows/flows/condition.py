"""Condition a flow on a context, or on classes."""

from __future__ import annotations

import numbers
from typing import Any, TypeVar, Union

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._traversal import bind_context
from tfp_flows._typing import Bijector, Distribution, TensorLike

tfb, tfd = tfp.bijectors, tfp.distributions

FlowT = TypeVar("FlowT", bound=Union[Bijector, Distribution])


def condition(flow: FlowT, context: TensorLike) -> FlowT:
    """Condition a flow on a context.

    The axes of the context before its last are the batch shape of the result, which
    broadcasts with that of the data, as everywhere in TFP. `N` contexts of shape
    `[N, context_size]` pair with `N` examples of shape `[N, *event_shape]`, one context
    for each. Contexts of shape `[N, 1, context_size]` pair with all examples.

    >>> from tfp_flows import flows
    >>> flow = flows.maf(2, 2, (8,), context_size=3, seed=0)
    >>> conditioned = flows.condition(flow, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    >>> conditioned.batch_shape, conditioned.sample(5, seed=1).shape
    (TensorShape([2]), TensorShape([5, 2, 2]))

    Args:
      flow: distribution or bijector that takes a context. It may be a layer of this
        package with a `context_size`, a `tfb.Chain` or `tfb.Invert` of such layers, or
        a distribution composed of them, such as `tfd.TransformedDistribution` and
        `tfd.Sample`.
      context: tensor of shape `[..., context_size]`, such as a one-hot label or the
        output of an encoder.

    Returns:
      conditioned: copy of `flow` on the same variables, of the same class. The batch
        shape of a distribution is that of the context.

    Raises:
      TypeError: `flow` is not a distribution or bijector.
      ValueError: no layer of `flow` takes a context.
      ValueError: the length of `context` is not the `context_size` of the layers.
    """
    _check_is_flow(flow)
    conditioned = bind_context(flow, context)
    if conditioned is flow:
        raise ValueError(
            f"`flow` must be conditional; got {flow!r}, in which no layer takes a "
            "context. Build it with `context_size` above 0."
        )
    return conditioned


def condition_on_class(flow: FlowT, labels: TensorLike, num_classes: int) -> FlowT:
    """Condition a flow on classes, given as labels or one-hot vectors.

    >>> from tfp_flows import flows
    >>> flow = flows.maf(2, 2, (8,), context_size=10, seed=0)
    >>> flows.condition_on_class(flow, [3, 7, 7], num_classes=10).batch_shape
    TensorShape([3])

    Args:
      flow: distribution or bijector, as for `condition`, with
        `context_size=num_classes`.
      labels: integers from 0 to `num_classes - 1`, of shape `[]`, `[N]` or `[N, 1]`; or
        one-hot vectors `[..., num_classes]` of any dtype. A vector of integers holds
        labels.
      num_classes: number of classes.

    Returns:
      conditioned: copy of `flow` on the same variables, of the same class. Its batch
        shape is `[N]`, or `[]` for one label.

    Raises:
      TypeError: `labels` are neither integers nor one-hot vectors.
      TypeError: `flow` is not a distribution or bijector.
      ValueError: a label is not below `num_classes`, or a vector is not one-hot. Graphs
        raise `tf.errors.InvalidArgumentError`; compiled graphs return NaN.
      ValueError: `labels` have another shape.
      ValueError: no layer of `flow` takes a context of this size.
    """
    _check_is_flow(flow)
    if not isinstance(num_classes, numbers.Integral) or num_classes < 1:
        raise ValueError(
            f"`num_classes` must be an integer of at least 1; got {num_classes!r}."
        )
    labels, dtype = tf.convert_to_tensor(labels, name="labels"), _floating_dtype(flow)
    if _are_vectors(labels, num_classes):
        classes = tf.cast(labels, dtype)
        valid = tf.reduce_all((classes == 0.0) | (classes == 1.0), axis=-1)
        valid &= tf.reduce_sum(classes, axis=-1) == 1.0
        message = (
            f"`labels` of shape [..., {num_classes}] must be one-hot, with a single 1 "
            "in each row; pass other contexts to `condition`. Got"
        )
    else:
        if labels.shape.rank == 2:
            labels = tf.squeeze(labels, axis=-1)
        labels = tf.cast(labels, tf.int64)
        classes = tf.one_hot(labels, num_classes, dtype=dtype)
        valid = (labels >= 0) & (labels < num_classes)
        message = f"`labels` must be from 0 to {num_classes - 1}; got"
    if tf.executing_eagerly() and not np.all(valid):
        raise ValueError(f"{message} {labels.numpy()[~valid.numpy()][:10]}.")
    with tf.control_dependencies(
        [tf.debugging.Assert(tf.reduce_all(valid), [message, labels])]
    ):
        classes = tf.identity(classes)
    nan = tf.constant(float("nan"), dtype)  # compiled graphs drop the assertion
    return condition(flow, tf.where(valid[..., tf.newaxis], classes, nan))


def _are_vectors(labels: tf.Tensor, num_classes: int) -> bool:
    """Returns whether labels are one-hot vectors, by their dtype and shape."""
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


def _check_is_flow(flow: Any) -> None:
    if isinstance(flow, (tfb.Bijector, tfd.Distribution)):
        return
    remedy = ""
    if isinstance(getattr(flow, "distribution", None), tfd.Distribution):
        remedy = " Pass its `distribution`."
    raise TypeError(
        f"`flow` must be a bijector or a `tfd.Distribution`; got {flow!r}.{remedy}"
    )


def _floating_dtype(flow: Any) -> tf.DType:
    dtypes = [v.dtype for v in flow.variables if v.dtype.is_floating]
    return dtypes[0] if dtypes else tf.float32
