"""What goes into `fit`: arrays as datasets in a known order, and the first batch."""

import numbers
import types

import keras
import numpy as np
import tensorflow as tf


def are_arrays(data):
    """Tells whether data are arrays or tensors, or a structure of such."""
    leaves = tf.nest.flatten(data)
    return bool(leaves) and all(
        hasattr(leaf, "shape") and hasattr(leaf, "dtype") or hasattr(leaf, "__array__")
        for leaf in leaves
    )


def as_tensors(data):
    """Returns the structure with tensors for what may be arrays or tables.

    Raises:
      TypeError: a table or array holds something else than numbers.
    """
    return tf.nest.map_structure(
        lambda a: a if tf.is_tensor(a) else tf.convert_to_tensor(_as_array(a)), data
    )


def _as_array(data):
    array = np.asarray(data)
    if array.dtype.kind not in "OUSMm":
        return array
    if array.dtype.kind != "O" or any(
        not isinstance(value, numbers.Number) for value in array.flat
    ):
        columns = getattr(data, "columns", None)
        where = "" if columns is None else f" with the columns {list(columns)}"
        raise TypeError(
            "Tables and arrays must hold numbers alone, none of them missing; got "
            f"{array.dtype} in one of shape {array.shape}{where}. Leave columns of "
            "other things out, or make numbers of them."
        )
    return array.astype(np.float64)


def check_no_numbers(name, data):
    """Raises `TypeError` if data are lists of Python numbers."""
    if any(isinstance(leaf, (numbers.Number, str)) for leaf in tf.nest.flatten(data)):
        raise TypeError(
            f"`{name}` must be an array, tensor, table or dataset, or `[x, context]` "
            "of such for a flow that takes a context; got a list with numbers of "
            f"Python in it. `np.array({name}, np.float32)` makes an array of rows."
        )


def number_of(data):
    """Returns the number of rows.

    Raises:
      ValueError: the arrays have different numbers of rows, or none.
    """
    shapes = [leaf.shape for leaf in tf.nest.flatten(data) if leaf is not None]
    numbers = {shape[0] if shape.rank else None for shape in shapes}
    if len(numbers) != 1 or None in numbers or numbers == {0}:
        raise ValueError(
            "`x`, a context and `sample_weight` must have the same number of rows, "
            f"at least 1; got shapes {shapes}."
        )
    return numbers.pop()


def split(data, fraction):
    """Returns the first rows, and the last ones as data for validation."""
    number = number_of(data)
    first = int(number * (1.0 - fraction))
    if not 0 < first < number:
        raise ValueError(
            "`validation_split` must leave rows to both sides; "
            f"got {fraction} for {number} rows."
        )
    return _map(lambda leaf: leaf[:first], data), _map(lambda leaf: leaf[first:], data)


def in_order(data, batch_size):
    """Returns a dataset of the rows as they come, in batches."""
    dataset = tf.data.Dataset.from_tensor_slices(_present(data)).batch(batch_size)
    return _sharded(dataset.prefetch(tf.data.AUTOTUNE))


def shuffled(data, first_batch, batch_size, seed, shuffle):
    """Returns a dataset without end, in which each pass has an order of its own.

    The order is a function of the seed and of the number of the pass: training that
    was interrupted goes on with the batches that it would have had.

    Args:
      data: `(inputs, None, weights or None)` of tensors.
      first_batch: number of batches that have been, in this and former runs.
      batch_size: number of rows of a batch; the last one of a pass may have fewer.
      seed: integer.
      shuffle: whether rows change their order at all.
    """
    rows = _rows(number_of(data), first_batch, batch_size, seed, shuffle)
    return _taken(data, rows)


def one_epoch(data, steps, epoch, batch_size, seed, shuffle):
    """Returns a dataset of those batches of `shuffled` that belong to an epoch.

    Args:
      data: `(inputs, None, weights or None)` of tensors.
      steps: number of batches of an epoch.
      epoch: callable without arguments that tells the number of the epoch, and is
        asked for each iterator.
      batch_size, seed, shuffle: as for `shuffled`.
    """

    def rows_of(number):
        first = number * steps
        rows = _rows(number_of(data), first, batch_size, seed, shuffle)
        return rows.take(steps)

    epochs = tf.data.Dataset.from_generator(
        lambda: iter([epoch()]), output_signature=tf.TensorSpec([], tf.int64)
    )
    rows = epochs.flat_map(rows_of)
    return _taken(data, rows.apply(tf.data.experimental.assert_cardinality(steps)))


def _rows(number, first_batch, batch_size, seed, shuffle):
    """Returns a dataset of the numbers of rows of each batch, without end."""
    per_pass = -(-number // batch_size)

    def one_pass(index):
        order = tf.range(number, dtype=tf.int64)
        if shuffle:
            seeds = tf.stack([tf.constant(seed, tf.int64), index])
            order = tf.random.experimental.stateless_shuffle(order, seeds)
        starts = tf.data.Dataset.range(0, number, batch_size)
        return starts.map(lambda start: order[start : start + batch_size])

    passes = tf.data.Dataset.range(first_batch // per_pass, tf.int64.max)
    return passes.flat_map(one_pass).skip(first_batch % per_pass)


def _taken(data, rows):
    data = _present(data)

    def take(rows):
        return tf.nest.map_structure(lambda leaf: tf.gather(leaf, rows), data)

    dataset = rows.map(take, num_parallel_calls=2, deterministic=True)
    return _sharded(dataset.prefetch(tf.data.AUTOTUNE))


def _present(data):
    """Returns inputs, and weights if there are any: strategies stumble at None."""
    inputs, _, weights = data
    return (inputs,) if weights is None else (inputs, (), weights)


def spread(data, number):
    """Returns so many rows, from everywhere in the data."""
    rows = np.linspace(0, number_of(data) - 1, number).astype(np.int64)
    return _map(lambda leaf: tf.gather(leaf, rows), data)


def first_batch(data, strategy):
    """Looks at the first batch of what Keras takes as data.

    Args:
      data: `tf.data.Dataset`, distributed or not, `PyDataset`, generator, or other
        iterable.
      strategy: distribution strategy of the model.

    Returns:
      batch: what comes first.
      data: what to use from now on, which gives that batch as well.
    """
    if isinstance(data, keras.utils.PyDataset):
        return data[0], data
    if isinstance(data, types.GeneratorType):
        batch = next(data)
        return batch, _again(batch, data)
    batch = next(iter(data))
    if isinstance(data, tf.distribute.DistributedDataset):
        batch = tf.nest.map_structure(lambda t: strategy.gather(t, axis=0), batch)
    return batch, data


def _map(function, data):
    return tf.nest.map_structure(
        lambda leaf: None if leaf is None else function(leaf), data
    )


def _again(batch, rest):
    yield batch
    yield from rest


def _sharded(dataset):
    """Gives each worker its share of each batch."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return dataset.with_options(options)
