"""Checks of what models and layers are given: points, contexts, targets."""

import functools
import math
import warnings

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import _traversal
from tfp_flows.keras import _contexts, _data, _sample_weights


def dtype_of(flow):
    """Returns the floating dtype that a module, such as a flow, computes in."""
    candidates = [getattr(flow, "dtype", None), [v.dtype for v in flow.variables]]
    for dtype in tf.nest.flatten(candidates):
        if dtype is not None and tf.as_dtype(dtype).is_floating:
            return tf.as_dtype(dtype)
    return tf.float32


def size_of(distribution):
    """Returns the number of elements of a point."""
    return sum(math.prod(shape) for shape in _event_shapes(distribution))


def check_batch_shape(distribution):
    """Raises `ValueError` if a distribution is a batch of distributions."""
    shapes = distribution.batch_shape
    flat = [shapes] if isinstance(shapes, tf.TensorShape) else tf.nest.flatten(shapes)
    if any(isinstance(shape, tf.TensorShape) and shape.rank for shape in flat):
        raise ValueError(
            "`distribution` must have the batch shape []; got "
            f"{distribution.batch_shape}. `tfd.Independent` makes one of many."
        )


def check_no_targets(y):
    """Raises `ValueError` if there are targets beside the points."""
    if y is None or isinstance(y, tuple) and not y:
        return
    raise ValueError(
        "`y` must be None: a density model has no targets; got one of shape "
        f"{getattr(y, 'shape', type(y).__name__)}. A context goes with the points, "
        "`([x, context],)`; to predict the distribution of targets, end a network with "
        "a `DistributionLayer`."
    )


def as_points(model, inputs):
    """Returns points and context as tensors of the right shapes and dtypes.

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
            f"`x` must be a dictionary of {sorted(dtypes)}, as a point of the "
            f"distribution is; got {found}."
        )
    names, leaves = names_of(distribution), tf.nest.flatten(x)
    if len(leaves) != len(names):
        raise ValueError(
            f"`x` must have {len(names)} part(s), as a point of the distribution has; "
            f"got {len(leaves)}.{'' if size else ' A context is not wanted.'}"
        )
    dtypes = tf.nest.flatten(distribution.dtype)
    # Others, such as those of levels, may take whole numbers.
    bijector = getattr(distribution, "bijector", None)
    continuous = isinstance(bijector, tfp.bijectors.Bijector)
    points = [
        _as_point(*each, continuous)
        for each in zip(names, leaves, dtypes, _event_shapes(distribution))
    ]
    if tf.nest.is_nested(distribution.dtype):
        x = tf.nest.pack_sequence_as(distribution.dtype, points)
    else:
        (x,) = points
    context = _contexts.as_context(
        context, size, dtype_of(distribution), model.context_ndims
    )
    if context is not None:
        ndims = _event_shapes(distribution)[0].rank
        context = _contexts.paired(context, model.context_ndims, points[0], ndims)
    return x, context


def floating(name, x, dtype):
    """Returns a tensor of a floating dtype.

    Raises:
      TypeError: it is not of floating-point numbers.
    """
    x = tf.convert_to_tensor(x)
    if not x.dtype.is_floating:
        raise TypeError(
            f"`{name}` must be of floating-point numbers; got {x.dtype.name}. Whole "
            "numbers, such as pixels, become such by "
            "`tfp_flows.dequantization.dequantize`, "
            "others by `tf.cast`."
        )
    return tf.cast(x, dtype)


def as_data(model, inputs, sample_weight):
    """Returns arrays as tensors, checked before the first step.

    Args:
      model: `DensityModel`.
      inputs: `x`, or `[x, context]`, arrays or eager tensors.
      sample_weight: array, or None.

    Returns:
      data: `(inputs, None, sample_weight)`, as Keras has it.

    Raises:
      TypeError: a dtype does not fit.
      ValueError: a shape does not fit, or numbers are not finite.
    """
    x, context = as_points(model, _data.as_tensors(inputs))
    if sample_weight is not None:
        sample_weight = _data.as_tensors(sample_weight)
    named = dict(zip(names_of(model.distribution), tf.nest.flatten(x)))
    named.update(context=context, sample_weight=sample_weight)
    named = {name: value for name, value in named.items() if value is not None}
    for name, value in named.items():
        _check_finite(name, value)
    _check_pixels(model, x)
    _data.number_of(list(named.values()))
    if sample_weight is not None:
        _sample_weights.check(sample_weight.shape, axes_of_points(model, x))
    x = tuple(x) if isinstance(x, list) else x  # `tf.data` makes one tensor of a list
    return (x if context is None else (x, context)), None, sample_weight


def axes_of_points(model, x):
    """Returns the static shape of points, without the axes of an event."""
    points = zip(tf.nest.flatten(x), _event_shapes(model.distribution))
    shapes = [part.shape[: part.shape.rank - event.rank] for part, event in points]
    return functools.reduce(tf.broadcast_static_shape, shapes)


def without_weightless(model, inputs, sample_weight):
    """Returns inputs with another point for each one of weight 0.

    Such a point may be where gradients are infinite, which no factor 0 makes finite.

    Args:
      model: `DensityModel`.
      inputs: `x`, or `(x, context)`, a batch.
      sample_weight: tensor of weights of the batch.
    """
    x, context = as_points(model, inputs)
    parts, events = tf.nest.flatten(x), _event_shapes(model.distribution)
    first, rank = parts[0], parts[0].shape.rank
    numbers = tf.reduce_sum(first, axis=list(range(rank - events[0].rank, rank)))
    weights = _sample_weights.as_weights(sample_weight, numbers, tf.float32)
    replace = _sample_weights.replacement(weights)
    parts = [
        replace(part, part.shape.rank - event.rank)
        for part, event in zip(parts, events)
    ]
    x = tf.nest.pack_sequence_as(x, parts)
    return x if context is None else (x, replace(context, 1))


def names_of(distribution):
    """Returns what messages call the parts of a point."""
    keys = _keys_of(distribution)
    return ["x"] if keys is None else [f"x[{key!r}]" for key in keys]


def specs_of(distribution):
    """Returns what a batch of points is: a `tf.TensorSpec` for each part of a point."""
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


def _keys_of(distribution):
    """Returns names or numbers of the parts of a point, None if it has no parts."""
    dtypes = distribution.dtype
    number = len(tf.nest.flatten(dtypes))
    if not tf.nest.is_nested(dtypes):
        return None
    flat = isinstance(dtypes, dict) and number == len(dtypes)
    return sorted(dtypes) if flat else list(range(number))


def _check_pixels(model, x):
    """Warns once of numbers that are not pixels as a flow is made for them."""
    bijector = _traversal.whole_bijector_of(model.distribution)
    if bijector is None or vars(model).get("_warned_of_pixels"):
        return
    layers = _traversal.flatten(bijector, "inverse")
    number = getattr(layers[0][0], "num_pixel_values", None) if layers else None
    if number is None:
        return
    low, high = (float(reduce(x)) for reduce in (tf.reduce_min, tf.reduce_max))
    if low >= 0.0 and high <= number and (high > 1.0 or number == 2):
        return
    vars(model)["_warned_of_pixels"] = True
    warnings.warn(
        f"`x` must be of dequantized pixels, from 0 to {number}, as `num_values` of "
        f"the flow says; got numbers from {low:.6g} to {high:.6g}. Give images of "
        "whole numbers to `tfp_flows.dequantization.dequantize`; multiply those from "
        "0 to 1 by "
        f"{number - 1} and round them before.",
        stacklevel=5,
    )


def _check_finite(name, value):
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


def _as_point(name, x, dtype, event_shape, continuous):
    x = tf.convert_to_tensor(x)
    wanted = tf.float32 if dtype is None else tf.as_dtype(dtype)
    if wanted.is_floating and (x.dtype.is_floating or continuous):
        x = floating(name, x, wanted)
    rank = event_shape.rank
    if rank is not None and (
        x.shape.rank is None
        or x.shape.rank < rank + 1
        or not x.shape[x.shape.rank - rank :].is_compatible_with(event_shape)
    ):
        raise ValueError(
            f"`{name}` must have the shape [{', '.join(map(str, ['N', *event_shape]))}]"
            f", N points of the event shape; got {x.shape}."
        )
    return tf.identity(x)  # for caches that know no graphs


def _event_shapes(distribution):
    """Returns a list of the event shapes of the parts of a point."""
    shapes = distribution.event_shape
    if isinstance(shapes, tf.TensorShape):
        return [shapes]
    parts = tf.nest.map_structure(  # `tf.nest` would look into the shapes
        lambda dtype, shape: [tf.TensorShape(shape)], distribution.dtype, shapes
    )
    return tf.nest.flatten(parts)
