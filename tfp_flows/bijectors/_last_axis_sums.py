"""Sums over the last axis, and scaled rows, fast and exact under XLA.

On CPUs, XLA sums more than 32 numbers in windows of 32 and materializes the summands
first. It fuses sums of 32 numbers with the computation of the summands, so longer sums
are split into pieces of 32. Eager mode uses plain sums, which are faster there.

XLA's sums of 1e5 numbers and more lose digits, as each window is added to one
accumulator: 24 nats of the log density of 2**20 standard normal numbers. They are
split into three steps of few numbers each, which XLA does not merge.
"""

import functools

import tensorflow as tf

_WINDOW = 32
_MOST = 1024  # longest rows for which pieces are faster
LONG = 32 * _MOST  # shortest rows for which plain sums lose digits


def sum_last_axis(x):
    """Returns `sum(x, axis=-1)`."""
    size = x.shape[-1] if x.shape.rank else None
    if (
        tf.executing_eagerly()
        or size is None
        or not (_WINDOW < size <= _MOST or size >= LONG)
    ):
        return tf.reduce_sum(x, axis=-1)

    @tf.custom_gradient
    def add_up(x):
        def gradient(g):
            return tf.broadcast_to(g[..., tf.newaxis], tf.shape(x))

        return (_in_steps if size >= LONG else _in_pieces)(x, size), gradient

    return add_up(x)


def sum_axes(x, axis):
    """`tf.reduce_sum`, accurate if `axis` holds the last axes."""
    axes = tf.get_static_value(tf.convert_to_tensor(axis))
    if axes is None or list(axes) != list(range(-len(axes), 0)):
        return tf.reduce_sum(x, axis=axis)
    return sum_event(x, len(axes))


def sum_event(x, event_ndims):
    """Returns the sum over the last `event_ndims` axes of `x`."""
    known = x.shape.rank is not None
    event = x.shape[x.shape.rank - event_ndims :] if known else tf.TensorShape(None)
    size = event.num_elements()
    if tf.executing_eagerly() or size is None or size < LONG:
        return tf.reduce_sum(x, axis=list(range(-event_ndims, 0)))
    batch = tf.shape(x)[: x.shape.rank - event_ndims]
    return sum_last_axis(tf.reshape(x, tf.concat([batch, [size]], axis=0)))


def scale_rows(x, factor):
    """Returns `x * factor[..., newaxis]`."""
    # If sizes are unknown, one of the two may broadcast.
    known = factor.shape.is_fully_defined() and x.shape[:-1] == factor.shape
    if tf.executing_eagerly() or not known:
        return x * factor[..., tf.newaxis]

    @tf.custom_gradient
    def multiply(x, factor):
        def gradient(g):
            return scale_rows(g, factor), sum_last_axis(g * x)

        return x * factor[..., tf.newaxis], gradient

    return multiply(x, factor)


def _in_pieces(x, size):
    number, rest = divmod(size, _WINDOW)
    whole = x[..., :-rest] if rest else x
    shape = tf.concat([tf.shape(x)[:-1], [number, _WINDOW]], axis=0)
    sums = tf.reduce_sum(tf.reshape(whole, shape), axis=-1)
    # Not a second `reduce_sum`, which XLA would merge with the first.
    sums = tf.unstack(sums, num=number, axis=-1)
    if rest:
        sums.append(tf.reduce_sum(x[..., -rest:], axis=-1))
    return functools.reduce(tf.add, sums)  # the order of `add_n` is undefined


def _in_steps(x, size):
    rest = size % _MOST
    whole = x[..., :-rest] if rest else x
    shape = tf.concat([tf.shape(x)[:-1], [_WINDOW, _WINDOW, size // _MOST]], axis=0)
    sums = tf.reduce_sum(tf.reshape(whole, shape), axis=-1)
    sums = functools.reduce(tf.add, tf.unstack(sums, num=_WINDOW, axis=-2))
    result = tf.reduce_sum(sums, axis=-1)
    return result + tf.reduce_sum(x[..., -rest:], axis=-1) if rest else result
