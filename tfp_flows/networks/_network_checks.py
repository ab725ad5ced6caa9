"""Checks of the arguments and inputs of networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfp_flows._dtypes import check_dtype
from tfp_flows._sizes import is_size
from tfp_flows._typing import DTypeLike

_FLOATING = (tf.bfloat16, tf.float16, tf.float32, tf.float64)


def set_dtypes(
    network: Any, dtype: DTypeLike, compute_dtype: DTypeLike | None = None
) -> None:
    """Sets `dtype` and `compute_dtype` of a network.

    Raises:
      TypeError: `dtype` is neither float32 nor float64; or `compute_dtype` is not a
        floating dtype, or is wider than `dtype`.
    """
    network.dtype = network.compute_dtype = check_dtype("dtype", dtype)
    if compute_dtype is not None:
        network.compute_dtype = tf.as_dtype(compute_dtype)
    if (
        network.compute_dtype not in _FLOATING
        or network.compute_dtype.size > network.dtype.size
    ):
        raise TypeError(
            f"`compute_dtype` must be one of {[d.name for d in _FLOATING]}, and not "
            f"wider than `dtype`, {network.dtype.name}; got {compute_dtype!r}."
        )


def set_context(network: Any, size: int, ndims: int, allowed: Sequence[int]) -> None:
    """Sets `context_size` and `context_ndims` of a network.

    Raises:
      ValueError: the size is out of its range, or the rank is not one of `allowed`.
    """
    check_context_size(size)
    if ndims not in allowed:
        raise ValueError(
            f"`context_ndims` must be {' or '.join(map(str, allowed))}; got {ndims!r}."
        )
    network.context_size, network.context_ndims = size, ndims


def describe(network: Any, *names: str) -> str:
    """Returns the `repr` of a network, with these attributes and the dtypes."""
    names = (*names, "dtype")
    if network.compute_dtype != network.dtype:
        names = (*names, "compute_dtype")
    return (
        f"<{type(network).__name__} {network.name!r} "
        f"{' '.join(f'{n}={_format(getattr(network, n))}' for n in names)}>"
    )


def as_function(activation: str | Callable) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the elementwise function: a callable, or the name of one in `tf.nn`.

    Raises:
      ValueError: `tf.nn` has no function of this name.
    """
    if callable(activation):
        return activation
    function = getattr(tf.nn, activation, None) if isinstance(activation, str) else None
    if not callable(function):
        raise ValueError(
            "`activation` must be callable or the name of a function of `tf.nn`; "
            f"got {activation!r}."
        )
    return function


def as_widths(hidden_units: Any) -> tuple[int, ...]:
    """Returns a tuple of widths; one number stands for one layer."""
    if isinstance(hidden_units, (tuple, list)):
        return tuple(hidden_units)
    return (hidden_units,)


def check_sizes(**named: Any) -> None:
    """Checks that sizes, or all sizes in a sequence, are integers of at least 1.

    Raises:
      ValueError: a size is not.
    """
    for name, value in named.items():
        sizes = value if isinstance(value, (tuple, list)) else [value]
        if not all(map(is_size, sizes)):
            raise ValueError(
                f"`{name}` must be an integer of at least 1, or a sequence of such "
                f"integers; got {value!r}."
            )


def check_context_size(size: Any) -> None:
    """Raises `ValueError` if a context size is not an integer of at least 0."""
    if not is_size(size, least=0):
        raise ValueError(
            "`context_size` must be the length of a context, an integer of at least 1, "
            f"or 0 for none; got {size!r}."
        )


def check_inputs(
    network: Any, x: Any, context: Any, input_size: int | None
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Checks the input and the context of a call.

    Args:
      network: network with `context_size` and `dtype`.
      x: tensor of shape `[..., input_size]`.
      context: tensor of shape `[..., context_size]`, or None.
      input_size: length of the last axis of `x`.

    Returns:
      x, context: as tensors of the network's dtype.

    Raises:
      ValueError: a last axis has another length, or the context is missing or unused.
    """
    x = tf.convert_to_tensor(x, dtype_hint=network.dtype)
    shape = x.shape
    if not shape.rank or shape[-1] not in (input_size, None):
        raise ValueError(
            f"The last axis of the input must have length {input_size}; "
            f"got shape {shape}."
        )
    if (context is not None) != (network.context_size > 0):
        raise ValueError(
            f"`context` must be given if and only if `context_size` is above 0; got "
            f"{'none' if context is None else 'one'}, and {network.context_size}."
        )
    if context is not None:
        context = tf.convert_to_tensor(context, dtype_hint=network.dtype)
        shape = context.shape
        if not shape.rank or shape[-1] not in (network.context_size, None):
            raise ValueError(
                "The last axis of `context` must have length `context_size`, "
                f"{network.context_size}; got shape {shape}."
            )
    return x, context


def _format(value):
    if isinstance(value, tf.DType):
        return value.name
    return repr(list(value) if isinstance(value, (tuple, tf.TensorShape)) else value)
