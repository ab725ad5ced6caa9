"""What every bijector does to its tensor parameters and to its input."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

_REFERENCES = (tf.Variable, tfp.util.DeferredTensor)

# Checks for `assert_each`.
POSITIVE = (lambda v: (v > 0.0) & (v < np.inf), "be positive and finite")
FINITE = (tf.math.is_finite, "be finite")


def as_parameters(**values):
    """Gives the values one floating dtype; variables stay references.

    Args:
      **values: tensors, references or what `tf.convert_to_tensor` takes, by name.

    Returns:
      parameters: list of tensors and references, in the order of `values`.

    Raises:
      TypeError: the values that have a dtype do not share one floating dtype.
    """
    dtypes = {
        name: tf.as_dtype(value.dtype)
        for name, value in values.items()
        if hasattr(value, "dtype")
    }
    dtype = next(iter(dtypes.values()), tf.float32)
    if set(dtypes.values()) - {dtype} or not dtype.is_floating:
        found = {name: dtype.name for name, dtype in dtypes.items()}
        raise TypeError(f"Parameters must share one floating dtype; got {found}.")
    return [
        value
        if is_reference(value)
        else tf.convert_to_tensor(value, dtype, name=name)
        for name, value in values.items()
    ]


def check_shapes(axes, **parameters):
    """Checks that axes of parameters that bear the same name are as long.

    Args:
      axes: names of the last axes of each parameter, by its name, such as
        `dict(w="KD", b="K")`. What is before them must broadcast.
      **parameters: tensors or references, by name.

    Returns:
      sizes: length of each named axis, None where it is not known statically.

    Raises:
      ValueError: they are not, as far as static shapes tell.
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
                    f"Axes of the same letter in {_spell(axes)} must be equally long; "
                    f"got shapes {found}."
                )
        try:
            batch_shape = tf.broadcast_static_shape(
                batch_shape, shape[: shape.rank - rank]
            )
        except ValueError as error:
            raise ValueError(
                f"The axes before those of {_spell(axes)} must broadcast; "
                f"got shapes {found}."
            ) from error
    return {axis: sizes.get(axis) for name in axes for axis in axes[name]}


def check_event_size(x, **parameter):
    """Checks that the last axes of `x` and of the one parameter given are as long.

    Raises:
      ValueError: they are not, as far as static shapes tell.
    """
    ((name, value),) = parameter.items()
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


def assert_each(bijector, is_init, checks):
    """Checks values of parameters of `bijector`.

    Numbers and arrays are checked under construction, always. Tensors are then, and
    references on each use, under `validate_args`; XLA drops these assertions.

    Args:
      bijector: bijector with an attribute for each of the names.
      is_init: whether it is under construction.
      checks: for each name a function, from the value to booleans, and the words that
        say what the value must do.

    Returns:
      assertions: list of assertion ops.

    Raises:
      ValueError: a number or an array fails.
      tf.errors.InvalidArgumentError: a tensor or a reference fails, in eager mode.
    """
    assertions = []
    for name, (check, words) in checks.items():
        value = getattr(bijector, name)
        message = f"`{name}` must {words}"
        if is_init and _is_number(bijector.parameters[name]):
            if not np.all(check(tf.get_static_value(value))):
                given = np.asarray(bijector.parameters[name])
                raise ValueError(f"{message}; got {given}.")
        elif bijector.validate_args and is_init != is_reference(value):
            value = tf.convert_to_tensor(value)
            assertions.append(
                tf.debugging.Assert(
                    tf.reduce_all(check(value)), [f"{message}; got", value]
                )
            )
    return assertions


def is_reference(value):
    """Returns whether a parameter is one that is read anew on each use."""
    return isinstance(value, _REFERENCES)


def _is_number(value):
    return not is_reference(value) and not tf.is_tensor(value)


def _spell(axes):
    return ", ".join(f"`{name}` [..., {', '.join(axes[name])}]" for name in axes)
