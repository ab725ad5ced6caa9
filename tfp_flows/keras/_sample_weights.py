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
    weights = tf.cast(weights, dtype)
    if weights.shape.rank is None:  # of a generator whose batches Keras cannot foresee
        return tf.reshape(weights, tf.shape(log_prob))
    check(weights.shape, log_prob.shape)
    axes, rank = weights.shape.rank, log_prob.shape.rank
    if axes > rank:
        weights, axes = tf.squeeze(weights, axis=-1), rank
    whole = tf.shape(log_prob)
    # Without the first axis, along which one weight would be taken for those of all.
    shape = [whole[:1], tf.shape(weights)[1:], tf.ones([rank - axes], tf.int32)]
    return tf.broadcast_to(tf.reshape(weights, tf.concat(shape, axis=0)), whole)
