"""Checks of tensor parameters and inputs, shared by all layers."""

import functools

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._autodiff import with_shape
from tfp_flows._dtypes import check_dtype
from tfp_flows._keras_seam import check_backend

_REFERENCES = (tf.Variable, tfp.util.DeferredTensor)

# Checks for `assert_parameters`.
POSITIVE = (lambda v: (v > 0.0) & (v < np.inf), "be positive and finite")
FINITE = (tf.math.is_finite, "be finite")


def as_parameters(**values):
    """Convert parameters to one floating dtype; variables stay references.

    Args:
      **values: tensors, variables or what `tf.convert_to_tensor` takes, by name.

    Returns:
      parameters: list of tensors and variables, in the order of `values`.

    Raises:
      TypeError: the values that have a dtype do not share one, float32 or float64.

    Example:

    >>> scale, shift = as_parameters(scale=tf.Variable(2.0), shift=[0.0, 1.0])
    >>> shift.dtype
    tf.float32
    """
    values = {name: without_keras(value) for name, value in values.items()}
    dtypes = {
        name: tf.as_dtype(value.dtype)
        for name, value in values.items()
        if hasattr(value, "dtype")
    }
    dtype = next(iter(dtypes.values()), tf.float32)
    if set(dtypes.values()) - {dtype} or not dtype.is_floating:
        found = {name: dtype.name for name, dtype in dtypes.items()}
        raise TypeError(f"Parameters must share one floating dtype; got {found}.")
    for name in dtypes:
        check_dtype(name, dtype)
    return [
        value if is_reference(value) else tf.convert_to_tensor(value, dtype, name=name)
        for name, value in values.items()
    ]


def check_shapes(axes, **parameters):
    """Check that axes of parameters with the same letter have the same length.

    Args:
      axes: for each parameter, by name, the letters of its last axes, such as
        `dict(w="KD", b="K")`. The axes before them must broadcast.
      **parameters: tensors or variables, by name.

    Returns:
      sizes: length of each axis by its letter, None if it is not statically known.

    Raises:
      ValueError: they have not, as far as shapes are statically known.

    Example:

    >>> check_shapes(dict(w="KD", b="K"), w=tf.zeros([3, 2]), b=tf.zeros([3]))
    {'K': 3, 'D': 2}
    """
    sizes, batch_shape = {}, tf.TensorShape([])
    shapes = {name: value.shape for name, value in parameters.items()}
    found = ", ".join(f"`{name}` {shape}" for name, shape in shapes.items())
    for name, shape in shapes.items():
        if shape.rank is None:
            continue
        rank = len(axes[name])
        if shape.rank < rank:
            raise ValueError(
                f"`{name}` must have at least {rank} axes; got shapes {found}."
            )
        for axis, size in zip(axes[name], shape[shape.rank - rank :]):
            if size is not None and sizes.setdefault(axis, size) != size:
                raise ValueError(
                    f"Axes of the same letter in {_format_axes(axes)} must be equally "
                    f"long; got shapes {found}."
                )
        try:
            batch_shape = tf.broadcast_static_shape(
                batch_shape, shape[: shape.rank - rank]
            )
        except ValueError as error:
            raise ValueError(
                f"The axes before those of {_format_axes(axes)} must broadcast; "
                f"got shapes {found}."
            ) from error
    return {axis: sizes.get(axis) for name in axes for axis in axes[name]}


def broadcast_batch(axes, **parameters):
    """Broadcast the batch axes of parameters, if one of them has any.

    Args:
      axes: letters of the last axes of each parameter, as for `check_shapes`.
      **parameters: tensors or variables, by name.

    Returns:
      tensors: list of tensors, all with the same batch axes.
    """
    tensors, plain = [], True
    for name, value in parameters.items():
        tensors.append(tf.convert_to_tensor(value))
        plain = plain and tensors[-1].shape.rank == len(axes[name])
    if plain:
        return tensors
    ranks = [len(axes[name]) for name in parameters]
    batches = [t.shape[: t.shape.rank - rank] for t, rank in zip(tensors, ranks)]
    if all(batch == batches[0] and batch.is_fully_defined() for batch in batches):
        return tensors
    static = functools.reduce(tf.broadcast_static_shape, batches)
    if static.is_fully_defined():
        batch = tf.constant(static.as_list(), tf.int32)
    else:
        batch = functools.reduce(
            tf.broadcast_dynamic_shape,
            [tf.shape(t)[: b.rank] for t, b in zip(tensors, batches)],
        )
    results = []
    for tensor, rank, own in zip(tensors, ranks, batches):
        event = tensor.shape[own.rank :]
        shape = tf.concat([batch, tf.shape(tensor)[own.rank :]], axis=0)
        result = tf.broadcast_to(tensor, shape)
        results.append(with_shape(result, static.concatenate(event)))
    return results


def check_input(bijector, x, **parameter):
    """Check that an input fits a layer for vectors.

    Its last axis must be as long as that of the given parameter, and the axes before it
    must broadcast with the batch axes of the parameters.

    Args:
      bijector: layer, whose batch shape TFP finds in `_parameter_properties`.
      x: input.
      **parameter: one parameter of shape `[..., D]`, by name.

    Raises:
      ValueError: it does not fit, as far as shapes are statically known.
    """
    ((name, value),) = parameter.items()
    batch = bijector.experimental_batch_shape()
    if x.shape.rank is None and batch.rank != 0:
        raise ValueError(
            "The rank of the input must be known where parameters have batch axes; "
            f"got parameters of batch shape {batch}."
        )
    if x.shape.rank == 0:
        raise ValueError(
            f"The input must have an axis as long as the last of `{name}`; "
            f"got shapes {x.shape} and {value.shape}."
        )
    if not x.shape[-1:].is_compatible_with(value.shape[-1:]):
        raise ValueError(
            f"The last axis of the input must be as long as that of `{name}`; "
            f"got shapes {x.shape} and {value.shape}."
        )
    if batch.rank != 0:
        check_broadcasts(
            x.shape[:-1], batch, "The axes of the input before its last one"
        )


def check_broadcasts(shape, batch, subject):
    """Check that a shape broadcasts with the batch shape of parameters.

    Args:
      shape: static shape.
      batch: batch shape of the parameters.
      subject: what the shape is, as subject of the message.

    Raises:
      ValueError: it does not, as far as shapes are statically known.
    """
    try:
        tf.broadcast_static_shape(shape, batch)
    except ValueError as error:
        raise ValueError(
            f"{subject} must broadcast with the batch axes of the parameters; "
            f"got shapes {shape} and {batch}."
        ) from error


def assert_parameters(bijector, is_init, checks):
    """Check values of single parameters; see `assert_condition`.

    Args:
      bijector, is_init: as for `assert_condition`.
      checks: dictionary from names to pairs, such as `POSITIVE`: a function from the
        value to booleans, and the end of the message "`name` must ...".

    Returns:
      assertions: list of assertion ops.
    """
    if not (is_init or bijector.validate_args):
        return []
    return [
        assertion
        for name, (check, words) in checks.items()
        for assertion in assert_condition(
            bijector, is_init, [name], check, f"`{name}` must {words}"
        )
    ]


def assert_condition(bijector, is_init, names, check, message):
    """Check values of several parameters together.

    Call it in `_parameter_control_dependencies`. Numbers and arrays are always checked,
    when the layer is made. With `validate_args`, tensors are checked then, too, and
    variables in each use; XLA drops these assertions.

    Args:
      bijector: layer with an attribute for each of the names.
      is_init: whether the layer is being made.
      names: names of the parameters.
      check: function from the values to booleans.
      message: what must hold.

    Returns:
      assertions: list of assertion ops.

    Raises:
      ValueError: numbers or arrays fail.
      tf.errors.InvalidArgumentError: tensors or references fail, in eager mode.
    """
    if not (is_init or bijector.validate_args):
        return []
    values = [getattr(bijector, name) for name in names]
    given = [bijector.parameters[name] for name in names]
    if all(map(_is_number, given)):
        if is_init:
            with tf.init_scope():  # out of any graph under construction
                numbers = [tf.constant(v, bijector.dtype) for v in given]
                if not np.all(check(*numbers)):
                    found = ", ".join(str(number.numpy()) for number in numbers)
                    raise ValueError(f"{message}; got {found}.")
        return []
    if not bijector.validate_args or is_init == any(map(is_reference, values)):
        return []
    values = [tf.convert_to_tensor(value) for value in values]
    holds = tf.reduce_all(check(*values))
    return [tf.debugging.Assert(holds, [f"{message}; got", *values])]


def without_keras(value):
    """Returns the `tf.Variable` of a Keras variable; other values as is.

    Raises:
      ValueError: it is a Keras variable of another backend.
    """
    # Converted to a tensor, a Keras variable would silently become a constant.
    inner = getattr(value, "value", None)
    if isinstance(inner, tf.Variable):
        return inner
    if inner is not None and not isinstance(value, _REFERENCES):
        check_backend(value, getattr(value, "name", "value"))
    return value


def is_reference(value):
    """Returns whether a parameter is a variable, or deferred: read in each use."""
    return isinstance(value, _REFERENCES)


def _is_number(value):
    """Returns whether a parameter is of numbers or arrays, which do not change."""
    return not (is_reference(value) or tf.is_tensor(value) or hasattr(value, "value"))


def _format_axes(axes):
    return ", ".join(f"`{name}` [{', '.join(['...', *axes[name]])}]" for name in axes)
