"""Masks of coupling layers: which elements are masked, and so pass unchanged.

A mask is true where a coupling layer leaves its input unchanged and passes it to the
conditioner, and false where it transforms its input. It has the rank of an event. An
axis of length 1 broadcasts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["alternating", "channelwise", "checkerboard", "half"]


def half(event_size: int, flip: bool = False) -> npt.NDArray[np.bool_]:
    """Mask of the first half of a vector, the larger one if the size is odd.

    Args:
      event_size: length of the vector.
      flip: whether to mask the other half instead.

    Returns:
      mask: boolean array of shape `[event_size]`.

    Example:

    >>> half(3).tolist()
    [True, True, False]
    """
    return (np.arange(event_size) < (event_size + 1) // 2) ^ bool(flip)


def alternating(event_size: int, flip: bool = False) -> npt.NDArray[np.bool_]:
    """Mask of every second element of a vector, starting with the first.

    Args:
      event_size: length of the vector.
      flip: whether to mask the other elements instead.

    Returns:
      mask: boolean array of shape `[event_size]`.

    Example:

    >>> alternating(3).tolist()
    [True, False, True]
    """
    return (np.arange(event_size) % 2 == 0) ^ bool(flip)


def checkerboard(height: int, width: int, flip: bool = False) -> npt.NDArray[np.bool_]:
    """Mask of the pixels of one color of a checkerboard.

    Args:
      height, width: number of rows and columns.
      flip: whether to mask the pixels of the other color instead.

    Returns:
      mask: boolean array of shape `[height, width, 1]`.

    Example:

    >>> checkerboard(2, 3)[..., 0].tolist()
    [[True, False, True], [False, True, False]]
    """
    rows, columns = np.indices([height, width])
    return ((rows + columns) % 2 == 0)[..., np.newaxis] ^ bool(flip)


def channelwise(
    channels: int, flip: bool = False, num_masked: int | None = None
) -> npt.NDArray[np.bool_]:
    """Mask of the first channels of an image.

    Args:
      channels: number of channels.
      flip: whether to mask the other channels instead.
      num_masked: number of first channels to mask (or with `flip` to transform); by
        default half of them, rounded up.

    Returns:
      mask: boolean array of shape `[1, 1, channels]`.

    Example:

    >>> channelwise(4, num_masked=1)[0, 0].tolist()
    [True, False, False, False]
    """
    if num_masked is None:
        num_masked = (channels + 1) // 2
    return ((np.arange(channels) < num_masked) ^ bool(flip))[np.newaxis, np.newaxis]
