"""Columns of tables: those that a model was fitted to, by their names.

Tables are what has `columns`, such as those of pandas and polars.
"""

import contextlib

import numpy as np
import tensorflow as tf


def names_of(table):
    """Returns the names of the columns of a table, or None if it has none.

    Numbers, which pandas gives columns that nobody has named, are no names.
    """
    columns = getattr(table, "columns", None)
    if columns is None or getattr(table, "ndim", len(getattr(table, "shape", ()))) != 2:
        return None
    columns = list(columns)
    if not any(isinstance(name, (str, tuple)) for name in columns):
        return None
    return [str(name) for name in columns]


def in_order(known, inputs, places):
    """Returns inputs, with columns of tables in the order in which they are known.

    Args:
      known: dictionary of lists of names, by the place of a table.
      inputs: `x`, or `[x, context]`, with tables, arrays, tensors, or something else.
      places: what the parts of the inputs are called, in the order of `tf.nest`.

    Raises:
      ValueError: a table has other columns.
    """
    leaves = tf.nest.flatten(inputs)
    if not known or all(names_of(leaf) is None for leaf in leaves):
        return inputs
    result = [
        _ordered(leaf, names_of(leaf), known.get(place), place)
        for leaf, place in zip(leaves, places)
    ]
    return tf.nest.pack_sequence_as(inputs, [*result, *leaves[len(result) :]])


@contextlib.contextmanager
def learned(known, inputs, places):
    """Keeps the names of columns that are not known so far, unless an error follows."""
    before = dict(known)
    for leaf, place in zip(tf.nest.flatten(inputs), places):
        if names_of(leaf) is not None:
            known.setdefault(place, names_of(leaf))
    try:
        yield
    except BaseException:
        known.clear()
        known.update(before)
        raise


def _ordered(table, names, wanted, place):
    if names is None or wanted is None or names == wanted:
        return table
    if sorted(names) != sorted(wanted) or len(set(names)) < len(names):
        missing = [name for name in wanted if name not in names]
        others = [name for name in names if name not in wanted]
        raise ValueError(
            f"`{place}` must have the columns that the model was fitted to, {wanted}; "
            f"got {names}: {missing or 'none'} missing, {others or 'none'} unknown. "
            "Choose those columns, or give an array to go by their order alone."
        )
    return np.asarray(table)[:, [names.index(name) for name in wanted]]
