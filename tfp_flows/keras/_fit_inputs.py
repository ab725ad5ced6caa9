"""Data for `fit`, `evaluate` and `predict`, and initialization from the first batch.

Arrays become datasets whose order is a function of seed and epoch, so that interrupted
training resumes with the batches that it would have had.
"""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_flows import _traversal
from tfp_flows.keras import _inputs, _replicas
from tfp_flows.keras._training_mode import training_mode
from tfp_flows.keras._variable_tracking import untracked_variables


def prepare_training_data(
    model: Any,
    x: Any,
    sample_weight: Any,
    batch_size: int | None,
    shuffle: bool,
    initial_epoch: int,
    steps_per_epoch: int | None,
) -> tuple[Any, int | None]:
    """Returns data for `fit` of Keras, after checks and initialization.

    Args:
      model: `DensityModel`.
      x: inputs, as arrays or as any data that Keras takes.
      sample_weight, batch_size, shuffle, steps_per_epoch: arguments of `fit`.
      initial_epoch: the epoch in which training resumes.

    Returns:
      data: dataset.
      steps_per_epoch: number of batches of an epoch, or None.

    Raises:
      TypeError, ValueError: see `DensityModel`.
    """
    if not _inputs.are_arrays(x):
        batch, x = _first_batch(x, model.distribute_strategy)
        inputs, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        _inputs.check_no_targets(y)
        initialize(model, _inputs.as_data(model, inputs, sample_weight)[0])
        return x, steps_per_epoch
    batch_size = batch_size or 32
    data = _inputs.as_data(model, x, sample_weight)
    number = _inputs.num_rows(data)
    rows = min(_rows_for_initialization(model, batch_size), number)
    initialize(model, _subsample(data, rows)[0])
    steps_per_epoch = steps_per_epoch or -(-number // batch_size)
    order = dict(batch_size=batch_size, seed=model.shuffle_seed, shuffle=shuffle)
    if steps_per_epoch % model.steps_per_execution == 0:
        first_batch = initial_epoch * steps_per_epoch
        return _shuffled(data, first_batch, **order), steps_per_epoch
    # From endless data, Keras would execute steps of the next epoch as well.
    epoch = lambda: model.position.epoch  # noqa: E731
    return _one_epoch(data, steps_per_epoch, epoch, **order), None


def prepare_evaluation_data(
    model: Any, x: Any, y: Any, sample_weight: Any, batch_size: int | None
) -> Any:
    """Returns a dataset for arrays, and other data as they are.

    Raises:
      ValueError: there are targets, `y`; and as for `DensityModel`.
    """
    _inputs.check_no_targets(y)
    x = known_columns(model, x)
    if not _inputs.are_arrays(x):
        return x
    data = _inputs.as_data(model, x, sample_weight)
    dataset = tf.data.Dataset.from_tensor_slices(_present(data))
    dataset = dataset.batch(batch_size or 32).prefetch(tf.data.AUTOTUNE)
    return _replicas.shard_by_row(dataset)


def split(
    model: Any, x: Any, sample_weight: Any, fraction: float
) -> tuple[Any, Any, Any]:
    """Returns inputs and weights without the last rows, and these for validation."""
    if not _inputs.are_arrays(x):
        raise ValueError(
            "`validation_split` must be 0 unless data are arrays, of which the last "
            f"rows are taken; got {fraction} for {type(x).__name__}. Pass "
            "`validation_data`."
        )
    data = _inputs.as_data(model, x, sample_weight)
    number = _inputs.num_rows(data)
    first = int(number * (1.0 - fraction))
    if not 0 < first < number:
        raise ValueError(
            "`validation_split` must leave rows for training and for validation; "
            f"got {fraction} for {number} rows."
        )
    x, _, sample_weight = _map(lambda leaf: leaf[:first], data)
    return x, sample_weight, _map(lambda leaf: leaf[first:], data)


def known_columns(model: Any, x: Any) -> Any:
    """Returns inputs whose tables have their columns in the order of the first fit.

    Raises:
      TypeError: the inputs are lists of Python numbers.
      ValueError: a table has other columns.
    """
    _inputs.check_no_numbers("x", x)
    return _inputs.order_columns(model.columns, x, _inputs.places_of(model))


def new_columns(model: Any, x: Any) -> Any:
    """Returns a context in which column names are learned, unless an error follows."""
    return _inputs.learn_columns(model.columns, x, _inputs.places_of(model))


def _rows_for_initialization(model: Any, batch_size: int) -> int:
    """Returns the number of rows: more than a batch where examples are vectors."""
    shape = model.distribution.event_shape
    is_vector = isinstance(shape, tf.TensorShape) and shape.rank == 1
    return max(batch_size, 10_000) if is_vector else batch_size


# --- Datasets of arrays


def _shuffled(
    data: Any, first_batch: int, batch_size: int, seed: int, shuffle: bool
) -> tf.data.Dataset:
    """Returns an endless dataset, in which each pass has an order of its own.

    The order is a function of the seed and of the number of the pass.

    Args:
      data: `(inputs, None, weights or None)` of tensors.
      first_batch: number of batches of earlier epochs, in this and earlier runs.
      batch_size: number of rows of a batch; the last one of a pass may have fewer.
      seed: integer.
      shuffle: whether the order of rows differs from that of the data.
    """
    rows = _row_numbers(_inputs.num_rows(data), first_batch, batch_size, seed, shuffle)
    return _gathered(data, rows)


def _one_epoch(
    data: Any,
    steps: int,
    epoch: Callable[[], int],
    batch_size: int,
    seed: int,
    shuffle: bool,
) -> tf.data.Dataset:
    """Returns a dataset of the batches of `_shuffled` that belong to an epoch.

    Args:
      data: `(inputs, None, weights or None)` of tensors.
      steps: number of batches of an epoch.
      epoch: callable without arguments that returns the number of the epoch. It is
        called for each iterator.
      batch_size, seed, shuffle: as for `_shuffled`.
    """

    def rows_of(number: tf.Tensor) -> tf.data.Dataset:
        first = number * steps
        rows = _row_numbers(_inputs.num_rows(data), first, batch_size, seed, shuffle)
        return rows.take(steps)

    epochs = tf.data.Dataset.from_generator(
        lambda: iter([epoch()]), output_signature=tf.TensorSpec([], tf.int64)
    )
    rows = epochs.flat_map(rows_of)
    return _gathered(data, rows.apply(tf.data.experimental.assert_cardinality(steps)))


def _row_numbers(
    number: int, first_batch: Any, batch_size: int, seed: int, shuffle: bool
) -> tf.data.Dataset:
    """Returns an endless dataset of the numbers of the rows of each batch."""
    per_pass = -(-number // batch_size)

    def one_pass(index: tf.Tensor) -> tf.data.Dataset:
        order = tf.range(number, dtype=tf.int64)
        if shuffle:
            seeds = tf.stack([tf.constant(seed, tf.int64), index])
            order = tf.random.experimental.stateless_shuffle(order, seeds)
        starts = tf.data.Dataset.range(0, number, batch_size)
        return starts.map(lambda start: order[start : start + batch_size])

    passes = tf.data.Dataset.range(first_batch // per_pass, tf.int64.max)
    return passes.flat_map(one_pass).skip(first_batch % per_pass)


def _gathered(data: Any, rows: tf.data.Dataset) -> tf.data.Dataset:
    data = _present(data)

    def gather(rows: tf.Tensor) -> Any:
        return tf.nest.map_structure(lambda leaf: tf.gather(leaf, rows), data)

    dataset = rows.map(gather, num_parallel_calls=2, deterministic=True)
    return _replicas.shard_by_row(dataset.prefetch(tf.data.AUTOTUNE))


def _present(data: Any) -> tuple[Any, ...]:
    """Returns inputs, and weights if there are any: strategies fail at None."""
    inputs, _, weights = data
    return (inputs,) if weights is None else (inputs, (), weights)


def _subsample(data: Any, number: int) -> Any:
    """Returns evenly spaced rows."""
    rows = np.linspace(0, _inputs.num_rows(data) - 1, number).astype(np.int64)
    return _map(lambda leaf: tf.gather(leaf, rows), data)


def _first_batch(data: Any, strategy: tf.distribute.Strategy) -> tuple[Any, Any]:
    """Returns the first batch of data, and data that still contain it.

    Args:
      data: `tf.data.Dataset`, distributed or not, `PyDataset`, generator, or another
        iterable.
      strategy: distribution strategy of the model.
    """
    if isinstance(data, keras.utils.PyDataset):
        return data[0], data
    if isinstance(data, types.GeneratorType):
        batch = next(data)
        return batch, _prepend(batch, data)
    batch = next(iter(data))
    if isinstance(data, tf.distribute.DistributedDataset):
        batch = _replicas.gather(batch, strategy)
    return batch, data


def _map(function: Callable[[Any], Any], data: Any) -> Any:
    return tf.nest.map_structure(
        lambda leaf: None if leaf is None else function(leaf), data
    )


def _prepend(batch: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield batch
    yield from rest


# --- First evaluations


def initialize(model: Any, inputs: Any) -> None:
    """Initializes layers such as `ActNorm` from a batch, unless they are initialized.

    Layers in the components of a mixture, or of a joint distribution, cannot be: it is
    not known which data reach them. They keep their parameters, and a warning says so.

    Args:
      model: `DensityModel`.
      inputs: `x`, or `(x, context)`.
    """
    distribution = model.distribution
    missing = {
        id(flag)
        for flag in _traversal.initialized_flags(distribution)
        if not bool(flag.numpy())
    }
    bijector = _traversal.whole_bijector_of(distribution)
    flags = [] if bijector is None else _traversal.initialized_flags(bijector)
    reached = missing & {id(flag) for flag in flags}
    if reached != missing:
        warnings.warn(
            f"Layers such as `ActNorm` in {distribution!r} are not initialized from "
            "data, because they are in no flow that all data pass through. Call "
            "`tfp_flows.normalization.initialize_from_data` on each flow in it before "
            "`fit`.",
            stacklevel=4,
        )
    if not reached:
        return
    x, context = _inputs.as_events(model, inputs)
    before = [(variable, variable.numpy()) for variable in model.variables]
    with training_mode(False):
        _traversal.initialize_from_data(model.condition(context), x)
    not_finite = model.not_finite_variables()
    if not_finite:
        for variable, value in before:
            variable.assign(value)
        raise ValueError(
            "The first batch must initialize layers to finite numbers; got NaN or "
            f"infinity for {not_finite}. {model.likely_causes(x)}"
        )
    _replicas.sync_workers(model.distribute_strategy, model.variables)


def untracked_variables_of(model: Any) -> list[tf.Variable]:
    """Returns variables that the distribution of a model uses but may not track."""
    distribution = model.distribution
    specs = _inputs.specs_of(distribution)
    shapes = [spec.shape[1:] for spec in specs]
    if not all(shape.is_fully_defined() for shape in shapes):
        return []
    size, dtype = model.context_size, _inputs.floating_dtype(distribution)
    maps = _shapes_of_feature_maps(shapes[0], model.context_ndims)

    def evaluate() -> None:
        flow = distribution
        if size:
            flow = model.condition(tf.zeros([1, *maps[0], size], dtype))
        x = [tf.zeros([1, *shape], spec.dtype) for shape, spec in zip(shapes, specs)]
        with warnings.catch_warnings():  # of layers that are not initialized
            warnings.simplefilter("ignore")
            flow.log_prob(tf.nest.pack_sequence_as(distribution.dtype, x))

    while True:
        try:
            return untracked_variables(distribution, evaluate)
        except ValueError:  # of feature maps of another size
            maps.pop(0)
            if not maps and model.context_ndims == 1:
                raise
            if not maps:
                return []


def _shapes_of_feature_maps(
    event_shape: tf.TensorShape, context_ndims: int
) -> list[list[int]]:
    """Returns candidates for the axes of a context before its last, of each level."""
    sizes = event_shape[: context_ndims - 1]
    shapes = [sizes.as_list()]
    while all(size % 2 == 0 for size in shapes[-1]) and context_ndims > 1:
        shapes.append([size // 2 for size in shapes[-1]])
    return shapes
