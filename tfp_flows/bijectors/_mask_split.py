"""Splits the last axis of a tensor into a masked part and the rest, and merges them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfp_flows._autodiff import with_shape


class MaskSplit:
    """Two parts of the last axis, by the fastest operations for a mask.

    Args:
      row: boolean array, the length of the axis, true for the masked part. If it is
        false everywhere, it may have length 1 for an axis of any length.
    """

    def __init__(self, row: npt.NDArray[np.bool_]) -> None:
        changes = np.flatnonzero(row[1:] != row[:-1]) + 1
        self._is_masked_first = bool(row[0]) or changes.size == 0
        self._join: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
        self._keys: list = []
        self._border = None  # where the axis is cut, if it is in one place
        if changes.size < 2:
            self._border = int(changes[0]) if changes.size else 0
            self._join = _concat
        elif changes.size == row.size - 1:
            self._keys, self._join = [slice(0, None, 2), slice(1, None, 2)], _interleave
        else:
            self._keys = [np.flatnonzero(row == row[0]), np.flatnonzero(row != row[0])]
            places = np.argsort(np.concatenate(self._keys))
            self._join = functools.partial(_rearrange, places)

    def split(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the masked part of `x`, and the rest."""
        if self._border is not None:
            first, second = x[..., : self._border], x[..., self._border :]
        elif isinstance(self._keys[0], slice):
            first, second = x[..., self._keys[0]], x[..., self._keys[1]]
        else:
            first, second = (tf.gather(x, key, axis=-1) for key in self._keys)
        return (first, second) if self._is_masked_first else (second, first)

    def merge(self, masked: tf.Tensor, rest: tf.Tensor) -> tf.Tensor:
        """Inverts `split`; `masked` may lack batch axes that `rest` has."""
        masked, rest = with_batch_of_both(masked, rest)
        if self._is_masked_first:
            return self._join(masked, rest)
        return self._join(rest, masked)


def with_batch_of_both(*parts: tf.Tensor) -> list[tf.Tensor]:
    """Returns two tensors with all axes but the last broadcast to each other."""
    one, other = parts[0].shape[:-1], parts[1].shape[:-1]
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
