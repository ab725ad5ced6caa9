"""Sums over the last axis, and factors of rows, whose gradients are such sums.

XLA on CPUs takes a sum of more than 32 numbers in windows of 32, and not in one loop
with what makes these numbers: it writes them down, and reads them again. Pieces of 32
it sums in the loop that makes them. In eager mode both would cost more than they save.

Sums of 1e5 numbers and more lose digits there, as each window is added to one number in
turn: 24 nats of the log density of 2**20 normal numbers. They are taken in three steps
here, each of few numbers, which XLA does not make one again.
"""

import functools

import tensorflow as tf

_WINDOW = 32
_MOST = 1024  # so long are rows at most that are worth their many pieces
LONG = 32 * _MOST  # so long are rows that lose digits


def total(x):
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


def total_over(x, axis):
    """`tf.reduce_sum` that knows how to sum over last axes."""
    axes = tf.get_static_value(tf.convert_to_tensor(axis))
    if axes is None or list(axes) != list(range(-len(axes), 0)):
        return tf.reduce_sum(x, axis=axis)
    return total_of_event(x, len(axes))


def total_of_event(x, event_ndims):
    """Returns the sum over the last `event_ndims` axes of `x`."""
    known = x.shape.rank is not None
    event = x.shape[x.shape.rank - event_ndims :] if known else tf.TensorShape(None)
    size = event.num_elements()
    if tf.executing_eagerly() or size is None or size < LONG:
        return tf.reduce_sum(x, axis=list(range(-event_ndims, 0)))
    batch = tf.shape(x)[: x.shape.rank - event_ndims]
    return total(tf.reshape(x, tf.concat([batch, [size]], axis=0)))


def scale(x, factor):
    """Returns `x * factor[..., newaxis]`."""
    # Where sizes are unknown, one of the two may broadcast.
    known = factor.shape.is_fully_defined() and x.shape[:-1] == factor.shape
    if tf.executing_eagerly() or not known:
        return x * factor[..., tf.newaxis]

    @tf.custom_gradient
    def multiply(x, factor):
        def gradient(g):
            return scale(g, factor), total(g * x)

        return x * factor[..., tf.newaxis], gradient

    return multiply(x, factor)


def _in_pieces(x, size):
    number, rest = divmod(size, _WINDOW)
    whole = x[..., :-rest] if rest else x
    shape = tf.concat([tf.shape(x)[:-1], [number, _WINDOW]], axis=0)
    sums = tf.reduce_sum(tf.reshape(whole, shape), axis=-1)
    # Not their sum, which XLA would make one sum with the others again.
    sums = tf.unstack(sums, num=number, axis=-1)
    if rest:
        sums.append(tf.reduce_sum(x[..., -rest:], axis=-1))
    return functools.reduce(tf.add, sums)  # `add_n` adds in any order


def _in_steps(x, size):
    rest = size % _MOST
    whole = x[..., :-rest] if rest else x
    shape = tf.concat([tf.shape(x)[:-1], [_WINDOW, _WINDOW, size // _MOST]], axis=0)
    sums = tf.reduce_sum(tf.reshape(whole, shape), axis=-1)
    sums = functools.reduce(tf.add, tf.unstack(sums, num=_WINDOW, axis=-2))
    result = tf.reduce_sum(sums, axis=-1)
    return result + tf.reduce_sum(x[..., -rest:], axis=-1) if rest else result
