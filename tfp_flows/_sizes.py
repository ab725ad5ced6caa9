"""Checks of sizes: integers, and the shapes of events."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np


def is_size(value: Any, least: float = 1) -> bool:
    """Returns whether a value is an integer, and at least `least`."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return whole and value >= least


def check_integers(**sizes: Any) -> None:
    """Raises `ValueError` if an argument is not an integer."""
    for name, value in sizes.items():
        if is_size(value, least=-np.inf):
            continue
        shape = [value] if value is None else np.ravel(value).tolist()
        hint = f" Pass {shape[0]}." if len(shape) == 1 and is_size(shape[0]) else ""
        raise ValueError(
            f"`{name}` must be an integer of at least 1; got {value!r}.{hint}"
        )


def check_positive(**sizes: Any) -> None:
    """Raises `ValueError` if an argument is not an integer of at least 1."""
    check_integers(**sizes)
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1; got {value}.")


def check_vector_sizes(event_size: Any, num_layers: Any) -> None:
    """Raises `ValueError` if a size is not an integer of at least 1."""
    check_integers(event_size=event_size, num_layers=num_layers)
    if min(event_size, num_layers) < 1:
        raise ValueError(
            "`event_size` and `num_layers` must be at least 1; "
            f"got {event_size} and {num_layers}."
        )


def check_image_shape(
    event_shape: Any, num_levels: Any = 1, num_halvings: int = 0
) -> tuple[int, int, int]:
    """Returns height, width and channels.

    Args:
      event_shape: shape of an image.
      num_levels: number of levels of a multi-scale flow.
      num_halvings: how many times height and width are halved.

    Raises:
      ValueError: `event_shape` is not the shape of an image, or is not divisible by
        `2**num_halvings`; `num_levels` is not an integer of at least 1.
    """
    given = event_shape
    event_shape = tuple(given) if np.iterable(given) else ()
    if len(event_shape) != 3 or not all(map(is_size, event_shape)):
        raise ValueError(
            "`event_shape` must be [height, width, channels], each at least 1; "
            f"got {list(event_shape) or given!r}."
        )
    check_positive(num_levels=num_levels)
    height, width, channels = event_shape
    divisor = 2**num_halvings
    if height % divisor or width % divisor:
        raise ValueError(
            f"Height and width in `event_shape` must be multiples of {divisor} for "
            f"{num_levels} levels; got {list(event_shape)}. Pad the images, or use "
            "fewer levels."
        )
    return height, width, channels
