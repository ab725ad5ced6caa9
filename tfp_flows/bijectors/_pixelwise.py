"""Checks, products and log determinants of layers that act on each pixel."""

import tensorflow as tf

from tfp_flows._autodiff import with_shape
from tfp_flows._parameters import check_broadcasts


def check_pixels(bijector, x, event_ndims, channels):
    """Checks the rank, the number of channels and the batch axes of an input.

    Args:
      bijector: layer, whose batch shape must broadcast with the axes before an event.
      x: input.
      event_ndims: rank of an event.
      channels: static length of its last axis, or None.

    Raises:
      ValueError: the static shape of `x` does not match.
    """
    rank = x.shape.rank
    if rank is None or rank < event_ndims:
        raise ValueError(
            f"The input must have at least `event_ndims`, {event_ndims}, axes; "
            f"got shape {x.shape}."
        )
    if not x.shape[-1:].is_compatible_with([channels]):
        raise ValueError(
            f"The last axis of the input must have length {channels}, the number of "
            f"channels; got shape {x.shape}."
        )
    batch = bijector.experimental_batch_shape()
    if batch.rank != 0:
        subject = "The axes of the input before an event"
        check_broadcasts(x.shape[: rank - event_ndims], batch, subject)


def per_pixel(parameter, event_ndims):
    """Inserts axes of length 1 for the pixels of an event, before the last axis."""
    return parameter[(..., *[tf.newaxis] * (event_ndims - 1), slice(None))]


def sum_over_pixels(bijector, log_det, x, event_ndims):
    """Returns the log determinant of an event whose pixels all have the same one.

    Args:
      bijector: layer, whose batch shape the result gets, including the batch axes of
        parameters on which the determinant does not depend.
      log_det: log determinant of one pixel.
      x: input.
      event_ndims: rank of an event.
    """
    shape = tf.shape(x)
    axis = x.shape.rank - event_ndims
    pixels = tf.reduce_prod(shape[axis:-1])
    batch, own = shape[:axis], bijector.experimental_batch_shape()
    if own != log_det.shape:
        if not own.is_fully_defined():
            own = bijector.experimental_batch_shape_tensor()
        batch = tf.broadcast_dynamic_shape(batch, tf.convert_to_tensor(own, tf.int32))
    return tf.cast(pixels, x.dtype) * log_det + tf.zeros(batch, x.dtype)


def multiply_pixels(x, matrix, event_ndims):
    """Multiplies each pixel of `x` by a matrix of shape `[..., C, C]`."""
    if event_ndims == 1:
        return tf.linalg.matvec(matrix, x)
    shape = tf.shape(x)
    channels = matrix.shape[-1]
    if matrix.shape.rank == 2:
        flat = tf.matmul(tf.reshape(x, [-1, channels]), matrix, transpose_b=True)
        result = tf.reshape(flat, shape)
        return result if tf.executing_eagerly() else with_shape(result, x.shape)
    batch, event = shape[: x.shape.rank - event_ndims], shape[-event_ndims:]
    rows = tf.reshape(x, tf.concat([batch, [-1, channels]], axis=0))
    rows = tf.matmul(rows, matrix, transpose_b=True)
    result = tf.reshape(rows, tf.concat([tf.shape(rows)[:-2], event], axis=0))
    batch = tf.broadcast_static_shape(
        x.shape[: x.shape.rank - event_ndims], matrix.shape[:-2]
    )
    return with_shape(result, batch.concatenate(x.shape[-event_ndims:]))
