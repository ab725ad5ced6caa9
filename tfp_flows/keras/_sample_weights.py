"""Which point has which weight, where points may have more axes than one."""

import tensorflow as tf


def check(weights, points):
    """Raises `ValueError` unless each point has a weight, or each row of points.

    Weights of a row are those of all its points, with or without an axis of length 1
    at the end, which many Keras users have.

    Args:
      weights: static shape of the weights.
      points: static shape of the points, without the axes of an event.
    """
    rows = weights[:-1] if weights[1:][-1:].is_compatible_with([1]) else weights
    for shape in (weights, rows):
        if 0 < shape.rank <= points.rank and (
            shape.is_compatible_with(points[: shape.rank])
        ):
            return
    raise ValueError(
        f"`sample_weight` must have the shape {points} of the points, without the axes "
        f"of an event, or that of their rows, {points[:1]}, with or without a last "
        f"axis of length 1; got {weights}."
    )


def as_weights(weights, log_prob, dtype):
    """Returns a weight for each point.

    Args:
      weights: tensor or array, of a shape that `check` takes.
      log_prob: tensor `[N, ...]`, one number for each point.
      dtype: floating dtype of the result.

    Returns:
      weights: tensor of the shape of `log_prob`.

    Raises:
      ValueError: the weights have another shape.
    """
    weights, whole = tf.cast(weights, dtype), tf.shape(log_prob)
    rest = tf.reduce_prod(whole[1:])
    if weights.shape.rank is None:  # where batches have had several
        number = tf.size(weights) // tf.maximum(whole[0], 1)
        weights = tf.reshape(weights, tf.stack([whole[0], number]))
        weights = tf.broadcast_to(weights, tf.stack([whole[0], rest]))
        return tf.reshape(weights, whole)
    check(weights.shape, log_prob.shape)
    axes, rank = weights.shape.rank, log_prob.shape.rank
    if axes > rank:
        weights, axes = tf.squeeze(weights, axis=-1), rank
    # The number of rows is said: one weight would be taken for those of all.
    shape = [whole[:1], tf.shape(weights)[1:], tf.ones([rank - axes], tf.int32)]
    return tf.broadcast_to(tf.reshape(weights, tf.concat(shape, axis=0)), whole)


def replacement(weights):
    """Returns a function that puts one point of some weight for all those of none.

    Args:
      weights: tensor `[N, ...]`, a weight for each point.

    Returns:
      replace: callable of a tensor, and of the number of its first axes that number
        points, or rows of them; returns a tensor of that shape. Where no weight is
        another than 0, each number in it is 1/2.
    """
    has_weight = tf.not_equal(weights, 0)
    flat = tf.cast(tf.reshape(has_weight, [-1]), tf.float32)
    index = tf.argmax(tf.concat([flat, [0.5]], axis=0))  # of the first that has

    def replace(values, axes):
        extra = list(range(axes, weights.shape.rank))
        keep = tf.reduce_any(has_weight, axis=extra) if extra else has_weight
        first, rest = tf.shape(values)[:axes], tf.shape(values)[axes:]
        chosen = (
            index // tf.cast(tf.reduce_prod(tf.shape(weights)[axes:]), tf.int64)
            if extra
            else index
        )
        points = tf.reshape(values, tf.concat([[-1], rest], axis=0))
        half = tf.fill(tf.concat([[1], rest], axis=0), tf.cast(0.5, values.dtype))
        point = tf.concat([points, half], axis=0)[chosen]
        ones = tf.ones([values.shape.rank - axes], tf.int32)
        return tf.where(tf.reshape(keep, tf.concat([first, ones], 0)), values, point)

    return replace
