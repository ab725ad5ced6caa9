"""Dtypes: those that layers hold, and integers."""

import numbers

import tensorflow as tf

HELD = (tf.float32, tf.float64)


def check_dtype(argument, dtype):
    """Check that a dtype is float32 or float64, as layers require.

    Sums over an event or a batch, log determinants and inverses need more digits than
    16 bits have; products of networks do not.

    Args:
      argument: name of the argument, for the message.
      dtype: what `tf.as_dtype` takes.

    Returns:
      dtype: `tf.DType`.

    Raises:
      TypeError: it is neither float32 nor float64.
    """
    dtype = tf.as_dtype(dtype)
    if dtype not in HELD:
        remedy = "Cast it"
        if dtype in (tf.float16, tf.bfloat16):
            remedy = (
                "Use float32; for speed, let the networks compute in fewer bits, with "
                f"`compute_dtype=tf.{dtype.name}`"
            )
        raise TypeError(
            f"`{argument}` must be of float32 or float64; got {dtype.name}. {remedy}."
        )
    return dtype


def holds_whole_numbers(value):
    """Returns whether a tensor, array or nested list has integers or booleans.

    `tf.convert_to_tensor` converts them to floating tensors, if there is a hint.
    """
    while isinstance(value, (list, tuple)) and value:  # elements of a list are alike
        value = value[0]
    if not hasattr(value, "dtype"):
        return isinstance(value, numbers.Integral)
    dtype = tf.as_dtype(value.dtype)
    return dtype.is_integer or dtype.is_bool
