"""How a coupling layer takes its input apart along an axis, and puts it together."""

import functools

import numpy as np
import tensorflow as tf


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
        batch = changed.shape[:-1]
        if kept.shape[:-1] != batch or not batch.is_fully_defined():
            shape = tf.concat([tf.shape(changed)[:-1], tf.shape(kept)[-1:]], axis=0)
            kept = tf.broadcast_to(kept, shape)
        return self._join(*self._ordered([kept, changed]))

    def _ordered(self, pair):
        return pair if self._keeps_first else pair[::-1]


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
