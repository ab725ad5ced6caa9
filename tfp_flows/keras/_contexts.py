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
    points = x.shape[: x.shape.rank - event_ndims]
    own, rows = context.shape[:axes], points[:axes]
    shared = [number if size == 1 else size for size, number in zip(own, rows)]
    shared[:1] = own[:1]  # an axis of length 1 after the first may be meant
    if not (0 < axes <= points.rank and rows.is_compatible_with(shared)):
        wanted = _listed(["N", *context.shape[axes:]])
        raise ValueError(
            f"`context` must have the shape {wanted}, one context for each of the N "
            f"points; got {context.shape} for points {_listed(points)}. To give all "
            "points one context, bind it to the flow before, by "
            "`tfp_flows.flows.condition(flow, context)`."
        )
    more = points.rank - axes
    if own[:1].is_fully_defined() and rows[:1].is_fully_defined() and not more:
        return context
    first = tf.shape(x)[:1]
    check = tf.debugging.assert_equal(
        tf.shape(context)[:1],
        first,
        "`context` must have as many rows as there are points.",
    )
    with tf.control_dependencies([] if check is None else [check]):
        ones, whole = tf.ones([more], tf.int32), tf.shape(context)
        # Where XLA drops the assertion, other numbers of rows fail here.
        result = tf.reshape(
            context, tf.concat([first, whole[1:axes], ones, whole[axes:]], axis=0)
        )
    return tf.ensure_shape(
        result,
        [*own[:1].merge_with(rows[:1]), *own[1:], *[1] * more, *context.shape[axes:]],
    )


def _listed(sizes):
    return f"[{', '.join('N' if size is None else str(size) for size in sizes)}]"
