"""How a coupling layer takes its input apart along an axis, and puts it together."""

import functools

import numpy as np
import tensorflow as tf

from tfp_flows._autodiff import with_shape


class Split:
    """Two parts of the last axis, by the fastest operations that take them apart.

    Args:
      row: boolean array, the length of the axis, true for the part that is kept. All
        false, it may have length 1 and stands for an axis of any length.
    """

    def __init__(self, row):
        changes = np.flatnonzero(row[1:] != row[:-1]) + 1
        self._keeps_first = bool(row[0]) or changes.size == 0
        if changes.size < 2:
            border = changes[0] if changes.size else 0
            self._keys, self._join = [slice(border), slice(border, None)], _concat
        elif changes.size == row.size - 1:
            self._keys, self._join = [slice(0, None, 2), slice(1, None, 2)], _interleave
        else:
            self._keys = [np.flatnonzero(row == row[0]), np.flatnonzero(row != row[0])]
            places = np.argsort(np.concatenate(self._keys))
            self._join = functools.partial(_rearrange, places)

    def split(self, x):
        """Returns what is kept of `x`, and what is changed."""
        return self._ordered([_take(x, key) for key in self._keys])

    def merge(self, kept, changed):
        """Undoes `split`; `kept` may lack batch axes that `changed` has."""
        return self._join(*self._ordered(with_batch_of_both(kept, changed)))

    def _ordered(self, pair):
        return pair if self._keeps_first else pair[::-1]


def with_batch_of_both(*parts):
    """Returns two tensors with all axes but the last broadcast to each other."""
    one, other = (part.shape[:-1] for part in parts)
    if one == other and one.is_fully_defined():
        return list(parts)
    batch = tf.broadcast_dynamic_shape(*(tf.shape(part)[:-1] for part in parts))
    static = tf.broadcast_static_shape(one, other)
    return [
        with_shape(
            tf.broadcast_to(part, tf.concat([batch, tf.shape(part)[-1:]], axis=0)),
            static.concatenate(part.shape[-1:]),
        )
        for part in parts
    ]


def _take(x, key):
    return x[..., key] if isinstance(key, slice) else tf.gather(x, key, axis=-1)


def _concat(first, second):
    return tf.concat([first, second], axis=-1)


def _interleave(first, second):
    """Elements of both in turn; the first has as many as the second, or one more."""
    paired = first[..., : second.shape[-1]]
    shape = tf.concat([tf.shape(second)[:-1], [2 * second.shape[-1]]], axis=0)
    turns = tf.reshape(tf.stack([paired, second], axis=-1), shape)
    return tf.concat([turns, first[..., second.shape[-1] :]], axis=-1)


def _rearrange(places, first, second):
    return tf.gather(_concat(first, second), places, axis=-1)
