"""Contexts: what a flow takes beside its points, one for each of them."""

import tensorflow as tf


def as_context(context, size, dtype, ndims=1):
    """Returns a context as a tensor of the right size and dtype, or None.

    Args:
      context: tensor or array `[..., size]`, or None.
      size: length of its last axis; 0 for a flow that takes no context.
      dtype: floating dtype of the result.
      ndims: rank of one context: 1 for vectors, 3 for maps.

    Raises:
      TypeError: it is not of floating-point numbers.
      ValueError: it is missing, not wanted, or of another size.
    """
    if (context is not None) != bool(size):
        raise ValueError(
            f"`context` must be given if and only if the flow takes one; got "
            f"{'none' if context is None else 'one'} for a flow of context size {size}."
        )
    if context is None:
        return None
    context = tf.convert_to_tensor(context)
    if not context.dtype.is_floating:
        raise TypeError(
            f"`context` must be of floating-point numbers; got {context.dtype.name} of "
            f"shape {context.shape}. Labels become such as one-hot vectors, by "
            f"`tf.one_hot(labels, {size})`; one-hot vectors and other numbers by "
            "`tf.cast`."
        )
    rank = context.shape.rank
    if rank is None or not context.shape[-1:].is_compatible_with([size]):
        raise ValueError(
            f"The last axis of `context` must have length {size}; "
            f"got shape {context.shape}."
        )
    if rank < ndims:
        one = [*{2: "T", 3: "HW"}[ndims], size]
        raise ValueError(
            f"`context` must have the axes {_listed(one)} of one context, and any "
            f"before them; got shape {context.shape}."
        )
    return tf.cast(context, dtype)


def paired(context, ndims, x, event_ndims):
    """Returns contexts, with axes of length 1 where a row of points shares one.

    TFP would broadcast contexts of other shapes: one for all points, or all for each.

    Args:
      context: tensor that `as_context` has returned.
      ndims: rank of one context.
      x: points, tensor `[N, ..., *event_shape]`.
      event_ndims: rank of one point.

    Raises:
      ValueError: contexts are not one for each point, or for each row of points.
      tf.errors.InvalidArgumentError: the same, where a graph alone can tell.
    """
    axes = context.shape.rank - ndims
    points = check_pairs(context, ndims, x, event_ndims)
    own, rows, more = context.shape[:axes], points[:axes], points.rank - axes
    if own.is_fully_defined() and rows.is_fully_defined() and not more:
        return context
    first = tf.shape(x)[:axes]
    check = tf.debugging.assert_equal(
        tf.shape(context)[:axes], first,
        "`context` must have as many rows as there are points.")
    with tf.control_dependencies([] if check is None else [check]):
        ones, event = tf.ones([more], tf.int32), tf.shape(context)[axes:]
        # Where XLA drops the assertion, other numbers of rows fail here.
        result = tf.reshape(context, tf.concat([first, ones, event], axis=0))
    return tf.ensure_shape(
        result, [*own.merge_with(rows), *[1] * more, *context.shape[axes:]])


def check_pairs(context, ndims, x, event_ndims):
    """Returns the static shape of points, after a look at that of their contexts.

    Args:
      context, ndims, x, event_ndims: as for `paired`.

    Raises:
      ValueError: contexts are not one for each point, or for each row of points.
    """
    axes = context.shape.rank - ndims
    points = x.shape[: x.shape.rank - event_ndims]
    fits = context.shape[:axes].is_compatible_with(points[:axes])
    if not (0 < axes <= points.rank and fits):
        wanted = _listed(["N", *context.shape[axes:]])
        raise ValueError(
            f"`context` must have the shape {wanted}, one context for each of the N "
            f"points; got {context.shape} for points {_listed(points)}. To give all "
            "points one context, bind it to the flow before, by "
            "`tfp_flows.flows.condition(flow, context)`."
        )
    return points


def _listed(sizes):
    return f"[{', '.join('N' if size is None else str(size) for size in sizes)}]"
