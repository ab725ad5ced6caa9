"""Checks of the inputs of models and layers: examples, contexts, weights, tables."""

from __future__ import annotations

import contextlib
import functools
import math
import numbers
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import _traversal
from tfp_flows._layer import flatten

# --- Arrays and tables


def are_arrays(data: Any) -> bool:
    """Returns whether data are arrays or tensors, or a structure of these."""
    leaves = tf.nest.flatten(data)
    return bool(leaves) and all(
        hasattr(leaf, "shape") and hasattr(leaf, "dtype") or hasattr(leaf, "__array__")
        for leaf in leaves
    )


def as_tensors(data: Any) -> Any:
    """Returns the structure with tensors for arrays and tables.

    Raises:
      TypeError: a table or array holds something other than numbers.
    """
    return tf.nest.map_structure(
        lambda a: a if tf.is_tensor(a) else tf.convert_to_tensor(_as_array(a)), data
    )


def _as_array(data: Any) -> np.ndarray:
    array = np.asarray(data)
    if array.dtype.kind not in "OUSMm":
        return array
    if array.dtype.kind != "O" or any(
        not isinstance(value, numbers.Number) for value in array.flat
    ):
        columns = getattr(data, "columns", None)
        where = "" if columns is None else f" with the columns {list(columns)}"
        raise TypeError(
            "Tables and arrays must hold only numbers, none of them missing; got "
            f"{array.dtype} in one of shape {array.shape}{where}. Drop other columns, "
            "or convert them to numbers."
        )
    return array.astype(np.float64)


def check_no_numbers(name: str, data: Any) -> None:
    """Raises `TypeError` if data are lists of Python numbers."""
    if any(isinstance(leaf, (numbers.Number, str)) for leaf in tf.nest.flatten(data)):
        raise TypeError(
            f"`{name}` must be an array, tensor, table or dataset, or `[x, context]` of"
            " two of these for a flow that takes a context; got a list with Python "
            f"numbers. Pass `np.array({name}, np.float32)`."
        )


def num_rows(data: Any) -> int:
    """Returns the number of rows.

    Raises:
      ValueError: the arrays have different numbers of rows, or none.
    """
    shapes = [leaf.shape for leaf in tf.nest.flatten(data) if leaf is not None]
    found: set[Any] = {shape[0] if shape.rank else None for shape in shapes}
    if len(found) != 1 or None in found or found == {0}:
        raise ValueError(
            "`x`, a context and `sample_weight` must have the same number of rows, "
            f"at least 1; got shapes {shapes}."
        )
    return found.pop()


def column_names(table: Any) -> list[str] | None:
    """Returns the column names of a table, such as one of pandas, or None.

    The numbers that pandas gives to unnamed columns are not names.
    """
    columns = getattr(table, "columns", None)
    if columns is None or getattr(table, "ndim", len(getattr(table, "shape", ()))) != 2:
        return None
    columns = list(columns)
    if not any(isinstance(name, (str, tuple)) for name in columns):
        return None
    return [str(name) for name in columns]


def order_columns(
    known: dict[str, list[str]], inputs: Any, places: Sequence[str]
) -> Any:
    """Returns inputs whose tables have their columns in the known order.

    Args:
      known: dictionary from the place of a table to its column names.
      inputs: `x`, or `[x, context]`, with tables, arrays, tensors, or other data.
      places: names of the components of the inputs, in the order of `tf.nest`.

    Raises:
      ValueError: a table has other columns.
    """
    leaves = tf.nest.flatten(inputs)
    if not known or all(column_names(leaf) is None for leaf in leaves):
        return inputs
    result = [
        _ordered(leaf, column_names(leaf), known.get(place), place)
        for leaf, place in zip(leaves, places)
    ]
    return tf.nest.pack_sequence_as(inputs, [*result, *leaves[len(result) :]])


@contextlib.contextmanager
def learn_columns(
    known: dict[str, list[str]], inputs: Any, places: Sequence[str]
) -> Iterator[None]:
    """Context that adds new column names to `known`, unless an error follows."""
    before = dict(known)
    for leaf, place in zip(tf.nest.flatten(inputs), places):
        names = column_names(leaf)
        if names is not None:
            known.setdefault(place, names)
    try:
        yield
    except BaseException:
        known.clear()
        known.update(before)
        raise


def _ordered(
    table: Any, names: list[str] | None, wanted: list[str] | None, place: str
) -> Any:
    if names is None or wanted is None or names == wanted:
        return table
    if sorted(names) != sorted(wanted) or len(set(names)) < len(names):
        missing = [name for name in wanted if name not in names]
        others = [name for name in names if name not in wanted]
        raise ValueError(
            f"`{place}` must have the columns that the model was fitted to, {wanted}; "
            f"got {names}: {missing or 'none'} missing, {others or 'none'} unknown. "
            "Select those columns, or pass an array to rely on their order."
        )
    return np.asarray(table)[:, [names.index(name) for name in wanted]]


# --- Contexts


def as_context(context: Any, size: int, dtype: tf.DType, ndims: int = 1) -> Any:
    """Returns a context as a tensor, or None.

    Args:
      context: tensor or array `[..., size]`, or None.
      size: length of its last axis; 0 for a flow that takes no context.
      dtype: floating dtype of the result.
      ndims: rank of one context: 1 for vectors, 3 for feature maps.

    Raises:
      TypeError: it is not floating-point.
      ValueError: it is missing, not wanted, or has another size.
    """
    if (context is not None) != bool(size):
        raise ValueError(
            f"`context` must be given if and only if the flow takes one; got "
            f"{'none' if context is None else 'one'} for a flow of context size {size}."
        )
    if context is None:
        return None
    context = tf.convert_to_tensor(context)
    if not context.dtype.is_floating:
        raise TypeError(
            f"`context` must be floating-point; got {context.dtype.name} of shape "
            f"{context.shape}. Convert labels by `tf.one_hot(labels, {size})`, one-hot "
            "vectors and other numbers by `tf.cast`."
        )
    rank = context.shape.rank
    if rank is None or not context.shape[-1:].is_compatible_with([size]):
        raise ValueError(
            f"The last axis of `context` must have length {size}; "
            f"got shape {context.shape}."
        )
    if rank < ndims:
        one = [*{2: "T", 3: "HW"}[ndims], size]
        raise ValueError(
            f"`context` must have the axes {_listed(one)} of one context, after any "
            f"batch axes; got shape {context.shape}."
        )
    return tf.cast(context, dtype)


def pair_context(
    context: tf.Tensor, ndims: int, x: tf.Tensor, event_ndims: int
) -> tf.Tensor:
    """Returns contexts with axes of length 1 where a row of examples shares one.

    TFP would broadcast other shapes: one context for all examples, or all for each.

    Args:
      context: tensor that `as_context` has returned.
      ndims: rank of one context.
      x: examples, tensor `[N, ..., *event_shape]`.
      event_ndims: rank of one example.

    Raises:
      ValueError: contexts are not one for each example, or for each row of examples.
      tf.errors.InvalidArgumentError: the same, where shapes are not static.
    """
    axes = context.shape.rank - ndims
    batch = x.shape[: x.shape.rank - event_ndims]
    own, rows = context.shape[:axes], batch[:axes]
    shared = [number if size == 1 else size for size, number in zip(own, rows)]
    shared[:1] = own[:1]  # an axis of length 1 after the first may be meant
    if not (0 < axes <= batch.rank and rows.is_compatible_with(shared)):
        wanted = _listed(["N", *context.shape[axes:]])
        raise ValueError(
            f"`context` must have the shape {wanted}, one context for each of the N "
            f"examples; got {context.shape} for examples {_listed(batch)}. To use one "
            "context for all examples, condition the flow first, by "
            "`tfp_flows.flows.condition(flow, context)`."
        )
    more = batch.rank - axes
    if own[:1].is_fully_defined() and rows[:1].is_fully_defined() and not more:
        return context
    first = tf.shape(x)[:1]
    check = tf.debugging.assert_equal(
        tf.shape(context)[:1],
        first,
        "`context` must have as many rows as there are examples.",
    )
    with tf.control_dependencies([] if check is None else [check]):
        ones, whole = tf.ones([more], tf.int32), tf.shape(context)
        # XLA drops the assertion; there, other numbers of rows fail here.
        result = tf.reshape(
            context, tf.concat([first, whole[1:axes], ones, whole[axes:]], axis=0)
        )
    return tf.ensure_shape(
        result,
        [*own[:1].merge_with(rows[:1]), *own[1:], *[1] * more, *context.shape[axes:]],
    )


def _listed(sizes: Sequence[Any]) -> str:
    return f"[{', '.join('N' if size is None else str(size) for size in sizes)}]"


# --- Weights


def check_weights(weights: tf.TensorShape, batch: tf.TensorShape) -> None:
    """Raises `ValueError` unless there is a weight for each example, or for each row.

    The weight of a row is that of all its examples. An axis of length 1 may follow.

    Args:
      weights: static shape of the weights.
      batch: static shape of the examples, without the axes of an event.
    """
    rows = weights[:-1] if weights[1:][-1:].is_compatible_with([1]) else weights
    for shape in (weights, rows):
        if 0 < shape.rank <= batch.rank and (
            shape.is_compatible_with(batch[: shape.rank])
        ):
            return
    raise ValueError(
        f"`sample_weight` must have the shape {batch} of the examples, without the axes"
        f" of an event, or that of their rows, {batch[:1]}, with or without a last "
        f"axis of length 1; got {weights}."
    )


def as_weights(weights: Any, log_prob: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns a weight for each example.

    Args:
      weights: tensor or array, of a shape that `check_weights` accepts.
      log_prob: tensor `[N, ...]`, one number for each example.
      dtype: floating dtype of the result.

    Returns:
      weights: tensor of the shape of `log_prob`.

    Raises:
      ValueError: the weights have another shape.
    """
    weights, whole = tf.cast(weights, dtype), tf.shape(log_prob)
    rest = tf.reduce_prod(whole[1:])
    if weights.shape.rank is None:  # where batches have had several
        number = tf.size(weights) // tf.maximum(whole[0], 1)
        weights = tf.reshape(weights, tf.stack([whole[0], number]))
        weights = tf.broadcast_to(weights, tf.stack([whole[0], rest]))
        return tf.reshape(weights, whole)
    check_weights(weights.shape, log_prob.shape)
    axes, rank = weights.shape.rank, log_prob.shape.rank
    if axes > rank:
        weights, axes = tf.squeeze(weights, axis=-1), rank
    # With the number of rows: one weight would be broadcast to all of them.
    shape = [whole[:1], tf.shape(weights)[1:], tf.ones([rank - axes], tf.int32)]
    return tf.broadcast_to(tf.reshape(weights, tf.concat(shape, axis=0)), whole)


def replacement(weights: tf.Tensor) -> Callable[[tf.Tensor, int], tf.Tensor]:
    """Returns a function that replaces the examples of weight 0 by another one.

    Args:
      weights: tensor `[N, ...]`, a weight for each example.

    Returns:
      replace: callable from a tensor, and the number of its first axes that index
        examples or rows of them, to a tensor of that shape. If all weights are 0, its
        elements are 1/2.
    """
    has_weight = tf.not_equal(weights, 0)
    flat = tf.cast(tf.reshape(has_weight, [-1]), tf.float32)
    index = tf.argmax(tf.concat([flat, [0.5]], axis=0))  # of the first with weight

    def replace(values: tf.Tensor, axes: int) -> tf.Tensor:
        extra = list(range(axes, weights.shape.rank))
        keep = tf.reduce_any(has_weight, axis=extra) if extra else has_weight
        first, rest = tf.shape(values)[:axes], tf.shape(values)[axes:]
        chosen = index
        if extra:
            chosen //= tf.cast(tf.reduce_prod(tf.shape(weights)[axes:]), tf.int64)
        examples = tf.reshape(values, tf.concat([[-1], rest], axis=0))
        half = tf.fill(tf.concat([[1], rest], axis=0), tf.cast(0.5, values.dtype))
        example = tf.concat([examples, half], axis=0)[chosen]
        ones = tf.ones([values.shape.rank - axes], tf.int32)
        return tf.where(tf.reshape(keep, tf.concat([first, ones], 0)), values, example)

    return replace


# --- Examples of a distribution


def floating_dtype(flow: Any) -> tf.DType:
    """Returns the floating dtype in which a module, such as a flow, computes."""
    candidates = [getattr(flow, "dtype", None), [v.dtype for v in flow.variables]]
    for dtype in tf.nest.flatten(candidates):
        if dtype is not None and tf.as_dtype(dtype).is_floating:
            return tf.as_dtype(dtype)
    return tf.float32


def event_size(distribution: Any) -> int:
    """Returns the number of elements of an example."""
    return sum(math.prod(shape) for shape in _event_shapes(distribution))


def check_batch_shape(distribution: Any) -> None:
    """Raises `ValueError` if a distribution is a batch of distributions."""
    shapes = distribution.batch_shape
    flat = [shapes] if isinstance(shapes, tf.TensorShape) else tf.nest.flatten(shapes)
    if any(isinstance(shape, tf.TensorShape) and shape.rank for shape in flat):
        raise ValueError(
            "`distribution` must have the batch shape []; got "
            f"{distribution.batch_shape}. `tfd.Independent` makes one of many."
        )


def check_no_targets(y: Any) -> None:
    """Raises `ValueError` if there are targets beside the examples."""
    if y is None or isinstance(y, tuple) and not y:
        return
    raise ValueError(
        "`y` must be None, because a density model has no targets; got one of shape "
        f"{getattr(y, 'shape', type(y).__name__)}. Pass a context with the examples, "
        "`([x, context],)`. To predict the distribution of targets, end a network with "
        "a `DistributionLayer`."
    )


def as_events(model: Any, inputs: Any) -> tuple[Any, Any]:
    """Returns examples and context as tensors of the right shapes and dtypes.

    Args:
      model: `DensityModel`.
      inputs: `x`, or `[x, context]`, arrays or tensors.

    Raises:
      TypeError: a dtype does not fit.
      ValueError: a shape does not fit; the context is missing or not wanted.
    """
    distribution, size = model.distribution, model.context_size
    x, context = inputs, None
    if size:
        if not isinstance(inputs, (list, tuple)) or len(inputs) != 2:
            found = tf.nest.map_structure(lambda t: getattr(t, "shape", t), inputs)
            raise ValueError(
                "The input must be `[x, context]`, as the distribution takes a context "
                f"of size {size}; got shape {found}."
            )
        x, context = inputs
    dtypes = distribution.dtype
    if isinstance(dtypes, dict) and (not isinstance(x, dict) or set(x) != set(dtypes)):
        found = sorted(x) if isinstance(x, dict) else type(x).__name__
        raise ValueError(
            f"`x` must be a dictionary of {sorted(dtypes)}, as an example of the "
            f"distribution is; got {found}."
        )
    names, leaves = component_names(distribution), tf.nest.flatten(x)
    if len(leaves) != len(names):
        raise ValueError(
            f"`x` must have {len(names)} component(s), as an example of the "
            f"distribution has; got {len(leaves)}."
            f"{'' if size else ' The distribution takes no context.'}"
        )
    dtypes = tf.nest.flatten(distribution.dtype)
    # Distributions of integers take integers.
    bijector = getattr(distribution, "bijector", None)
    continuous = isinstance(bijector, tfp.bijectors.Bijector)
    events = [
        _as_event(*each, continuous)
        for each in zip(names, leaves, dtypes, _event_shapes(distribution))
    ]
    if tf.nest.is_nested(distribution.dtype):
        x = tf.nest.pack_sequence_as(distribution.dtype, events)
    else:
        (x,) = events
    context = as_context(
        context, size, floating_dtype(distribution), model.context_ndims
    )
    if context is not None:
        ndims = _event_shapes(distribution)[0].rank
        context = pair_context(context, model.context_ndims, events[0], ndims)
    return x, context


def as_floating(name: str, x: Any, dtype: tf.DType) -> tf.Tensor:
    """Returns a tensor of a floating dtype.

    Raises:
      TypeError: it is not floating-point.
    """
    x = tf.convert_to_tensor(x)
    if not x.dtype.is_floating:
        raise TypeError(
            f"`{name}` must be floating-point; got {x.dtype.name}. Convert integers "
            "such as pixel values by `tfp_flows.dequantization.dequantize`, other "
            "numbers by `tf.cast`."
        )
    return tf.cast(x, dtype)


def as_data(model: Any, inputs: Any, sample_weight: Any) -> tuple[Any, None, Any]:
    """Returns arrays as tensors, checked before the first step.

    Args:
      model: `DensityModel`.
      inputs: `x`, or `[x, context]`, arrays or eager tensors.
      sample_weight: array, or None.

    Returns:
      data: `(inputs, None, sample_weight)`, as in Keras.

    Raises:
      TypeError: a dtype does not fit.
      ValueError: a shape does not fit, or numbers are not finite.
    """
    x, context = as_events(model, as_tensors(inputs))
    if sample_weight is not None:
        sample_weight = as_tensors(sample_weight)
    named = dict(zip(component_names(model.distribution), tf.nest.flatten(x)))
    named.update(context=context, sample_weight=sample_weight)
    named = {name: value for name, value in named.items() if value is not None}
    for name, value in named.items():
        _check_finite(name, value)
    _check_pixels(model, x)
    num_rows(list(named.values()))
    if sample_weight is not None:
        check_weights(sample_weight.shape, batch_shape(model, x))
    x = tuple(x) if isinstance(x, list) else x  # `tf.data` stacks the items of a list
    return (x if context is None else (x, context)), None, sample_weight


def batch_shape(model: Any, x: Any) -> tf.TensorShape:
    """Returns the static shape of examples, without the axes of an event."""
    events = zip(tf.nest.flatten(x), _event_shapes(model.distribution))
    shapes = [part.shape[: part.shape.rank - event.rank] for part, event in events]
    return functools.reduce(tf.broadcast_static_shape, shapes)


def replace_weightless(model: Any, inputs: Any, sample_weight: Any) -> Any:
    """Returns inputs with another example in place of each one of weight 0.

    Gradients at these may be infinite, and remain so when multiplied by 0.

    Args:
      model: `DensityModel`.
      inputs: `x`, or `(x, context)`, a batch.
      sample_weight: tensor of weights of the batch.
    """
    x, context = as_events(model, inputs)
    parts, events = tf.nest.flatten(x), _event_shapes(model.distribution)
    first, rank = parts[0], parts[0].shape.rank
    sums = tf.reduce_sum(first, axis=list(range(rank - events[0].rank, rank)))
    replace = replacement(as_weights(sample_weight, sums, tf.float32))
    parts = [
        replace(part, part.shape.rank - event.rank)
        for part, event in zip(parts, events)
    ]
    x = tf.nest.pack_sequence_as(x, parts)
    return x if context is None else (x, replace(context, 1))


def component_names(distribution: Any) -> list[str]:
    """Returns the names of the components of an example in error messages."""
    keys = _keys_of(distribution)
    return ["x"] if keys is None else [f"x[{key!r}]" for key in keys]


def places_of(model: Any) -> list[str]:
    """Returns the names of the components of inputs, the context last."""
    return [*component_names(model.distribution), "context"]


def specs_of(distribution: Any) -> list[tf.TensorSpec]:
    """Returns a `tf.TensorSpec` of a batch for each component of an example."""
    dtypes = [tf.as_dtype(d or tf.float32) for d in tf.nest.flatten(distribution.dtype)]
    keys = _keys_of(distribution)
    names = (
        ["x"]
        if keys is None
        else [key if isinstance(key, str) else f"x_{key}" for key in keys]
    )
    return [
        tf.TensorSpec([None, *shape], *each)
        for shape, *each in zip(_event_shapes(distribution), dtypes, names)
    ]


def _keys_of(distribution: Any) -> list[Any] | None:
    """Returns names or numbers of the components, None if there is one tensor."""
    dtypes = distribution.dtype
    number = len(tf.nest.flatten(dtypes))
    if not tf.nest.is_nested(dtypes):
        return None
    flat = isinstance(dtypes, dict) and number == len(dtypes)
    return sorted(dtypes) if flat else list(range(number))


def _check_pixels(model: Any, x: Any) -> None:
    """Warns once of numbers that are not the pixels that a flow is built for."""
    bijector = _traversal.whole_bijector_of(model.distribution)
    if bijector is None or vars(model).get("_warned_of_pixels"):
        return
    layers = flatten(bijector, "inverse")
    number = getattr(layers[0][0], "num_pixel_values", None) if layers else None
    if number is None:
        return
    low, high = (float(reduce(x)) for reduce in (tf.reduce_min, tf.reduce_max))
    if low >= 0.0 and high <= number and (high > 1.0 or number == 2):
        return
    vars(model)["_warned_of_pixels"] = True
    warnings.warn(
        f"`x` must be dequantized pixels, from 0 to {number}, the `num_values` of the "
        f"flow; got numbers from {low:.6g} to {high:.6g}. Pass images of integers "
        "through `tfp_flows.dequantization.dequantize`; first multiply images from 0 "
        f"to 1 by {number - 1} and round them.",
        stacklevel=5,
    )


def _check_finite(name: str, value: tf.Tensor) -> None:
    if not value.dtype.is_floating:
        return
    finite = tf.math.is_finite(value)
    if not tf.reduce_all(finite):
        bad = tf.reduce_any(tf.reshape(~finite, [value.shape[0], -1]), axis=1)
        rows = tf.where(bad)[:, 0].numpy()
        raise ValueError(
            f"`{name}` must be finite; got NaN or infinity in {len(rows)} of "
            f"{value.shape[0]} rows, the first of them row {rows[0]}."
        )


def _as_event(
    name: str, x: Any, dtype: Any, event_shape: tf.TensorShape, continuous: bool
) -> tf.Tensor:
    x = tf.convert_to_tensor(x)
    wanted = tf.float32 if dtype is None else tf.as_dtype(dtype)
    if wanted.is_floating and (x.dtype.is_floating or continuous):
        x = as_floating(name, x, wanted)
    rank = event_shape.rank
    if rank is not None and (
        x.shape.rank is None
        or x.shape.rank < rank + 1
        or not x.shape[x.shape.rank - rank :].is_compatible_with(event_shape)
    ):
        raise ValueError(
            f"`{name}` must have the shape [{', '.join(map(str, ['N', *event_shape]))}]"
            f", N examples of the event shape; got {x.shape}."
        )
    return tf.identity(x)  # for caches that do not distinguish graphs


def _event_shapes(distribution: Any) -> list[tf.TensorShape]:
    """Returns a list of the event shapes of the components of an example."""
    shapes = distribution.event_shape
    if isinstance(shapes, tf.TensorShape):
        return [shapes]
    parts = tf.nest.map_structure(  # `tf.nest` would flatten the shapes
        lambda dtype, shape: [tf.TensorShape(shape)], distribution.dtype, shapes
    )
    return tf.nest.flatten(parts)
