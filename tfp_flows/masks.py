"""Who may see whom: degrees of autoregressive networks, and masks of coupling layers.

An input of degree d is the d-th in its order, from 1. A hidden unit of degree m sees
the inputs of degree m and below, and an output of degree d the hidden units below d:
so an output sees the inputs that come before it, as Germain et al. (2015) have it,
https://arxiv.org/abs/1502.03509.

The masks of coupling layers are true where a layer leaves its input as it is. They have
the rank of an event; an axis of length 1 stands for one of any length.
"""

import numpy as np

__all__ = [
    "alternating",
    "channelwise",
    "checkerboard",
    "half",
]


def order(event_size, kind, rng):
    """Returns a permutation of the inputs: which comes first, second, ...

    Args:
      event_size: `D`, number of inputs.
      kind: "given", "reversed", "random", or the permutation itself.
      rng: `np.random.Generator`, for "random".

    Raises:
      ValueError: `kind` is none of those.
    """
    if isinstance(kind, str):
        if kind == "given":
            return np.arange(event_size)
        if kind == "reversed":
            return np.arange(event_size)[::-1]
        if kind == "random":
            return rng.permutation(event_size)
        raise ValueError(
            "`order` must be 'given', 'reversed', 'random' or a permutation; "
            f"got {kind!r}."
        )
    result = np.asarray(kind)
    if result.ndim != 1 or not np.array_equal(np.sort(result), np.arange(event_size)):
        raise ValueError(
            f"`order` must be a permutation of the numbers 0 to {event_size - 1}; "
            f"got {np.asarray(kind).tolist()}."
        )
    return result


def input_degrees(permutation):
    """Returns the degree of each input: its place in the order, from 1."""
    return np.argsort(permutation) + 1


def hidden_degrees(event_size, units, kind, lowest, rng, reach=0):
    """Returns the degrees of the units of one hidden layer, in ascending order.

    Args:
      event_size: number of inputs.
      units: number of units.
      kind: "equal", as many units of each degree as can be, or "random".
      lowest: least degree to give: that of the layer before, below which a unit sees
        nothing; for the first layer 1, or 0 for units that see no input at all.
      rng: `np.random.Generator`, for "random".
      reach: degree that the highest one is not to fall short of: that of the layer
        before, whose units nobody sees otherwise.

    Raises:
      ValueError: `kind` is none of those.
    """
    highest = max(event_size - 1, lowest)  # who sees all the inputs helps no output
    if kind == "equal":
        degrees = lowest + np.arange(units) * (highest - lowest + 1) // units
    elif kind == "random":
        degrees = np.sort(rng.integers(lowest, highest + 1, size=units))
        if lowest == 0:  # the first output sees a context through such units alone
            degrees[0] = 0
    else:
        raise ValueError(f"`degrees` must be 'equal' or 'random'; got {kind!r}.")
    degrees[-1] = max(degrees[-1], reach)
    return degrees


def degree_sets(event_size, widths, number, order_kind, degree_kind, lowest, rng):
    """Draws degrees for a masked network: of its inputs, and of each hidden layer.

    Args:
      event_size: number of inputs.
      widths: list of the numbers of units of the hidden layers.
      number: how many sets to draw. From 2 on all are random, and the units of a layer
        are in any order: they keep their weights from set to set, and change places.
      order_kind: `kind` of `order`.
      degree_kind: `kind` of `hidden_degrees`.
      lowest: least degree of hidden units of the first layer. That of another is the
        least of the layer before, as Germain et al. (2015) have it in section 4.2.
      rng: `np.random.Generator`.

    Returns:
      degrees: list of arrays of shape `[number, event_size]`, `[number, width]`, ... No
        unit is dead, if there is an output that sees any: each sees one of the layer
        before, and is seen by one of the next.
    """
    if number > 1:
        order_kind = degree_kind = "random"
    sets = []
    for _ in range(number):
        inputs = input_degrees(order(event_size, order_kind, rng))
        hidden, least, reach = [], lowest, 0
        for width in widths:
            degrees = hidden_degrees(event_size, width, degree_kind, least, rng, reach)
            least, reach = degrees[0], degrees[-1]
            hidden.append(degrees)
        if number > 1:
            hidden = [rng.permutation(degrees) for degrees in hidden]
        sets.append([inputs, *hidden])
    return [np.stack(space) for space in zip(*sets)]


def half(event_size, flip=False):
    """Mask of a vector: the first half stays, the larger one of an odd size.

    Args:
      event_size: length of the vector.
      flip: whether the other half stays.

    Returns:
      mask: boolean array of shape `[event_size]`.
    """
    return (np.arange(event_size) < (event_size + 1) // 2) ^ bool(flip)


def alternating(event_size, flip=False):
    """Mask of a vector: every second element stays, the first one among them.

    Args:
      event_size: length of the vector.
      flip: whether the others stay.

    Returns:
      mask: boolean array of shape `[event_size]`.
    """
    return (np.arange(event_size) % 2 == 0) ^ bool(flip)


def checkerboard(height, width, flip=False):
    """Mask of an image: the pixels of one color of a chess board stay.

    Args:
      height, width: number of rows and columns.
      flip: whether those of the other color stay.

    Returns:
      mask: boolean array of shape `[height, width, 1]`.
    """
    rows, columns = np.indices([height, width])
    return ((rows + columns) % 2 == 0)[..., np.newaxis] ^ bool(flip)


def channelwise(channels, flip=False, kept=None):
    """Mask of an image: the first channels stay.

    Args:
      channels: number of channels.
      flip: whether the others stay.
      kept: how many the first ones are; by default half, the larger one of an odd
        number.

    Returns:
      mask: boolean array of shape `[1, 1, channels]`.
    """
    if kept is None:
        kept = (channels + 1) // 2
    return ((np.arange(channels) < kept) ^ bool(flip))[np.newaxis, np.newaxis]


def groups(features, channels):
    """Returns the channel of an image that each feature of a network belongs to.

    Args:
      features: number of features, at least `channels`.
      channels: number of channels; each has as many features as can be.

    Returns:
      channel: integer array of shape `[features]`, in ascending order.
    """
    return np.arange(features) * channels // features


def raster(kernel_size, inputs, outputs, own):
    """Mask of a convolution over an image in raster order, channels within pixels.

    The pixels above and to the left are seen, those below and to the right are not. At
    the pixel itself, an output sees the inputs of the channels before its own, and with
    `own` those of its own channel. These are masks A and B of van den Oord et al.
    (2016), https://arxiv.org/abs/1601.06759, section 3.4.

    Args:
      kernel_size: number of rows and of columns, odd.
      inputs, outputs: the channel of each input and output, as `groups` returns.
      own: whether an output sees its own channel: true for mask B, false for A.

    Returns:
      mask: boolean array `[kernel_size, kernel_size, inputs, outputs]`.

    Raises:
      ValueError: `kernel_size` is even.
    """
    if kernel_size % 2 == 0:
        raise ValueError(f"`kernel_size` must be odd; got {kernel_size}.")
    inputs, outputs = np.asarray(inputs)[:, np.newaxis], np.asarray(outputs)
    place = np.arange(kernel_size**2).reshape([kernel_size, kernel_size, 1, 1])
    center = kernel_size**2 // 2
    at_pixel = inputs <= outputs if own else inputs < outputs
    return (place < center) | ((place == center) & at_pixel)
