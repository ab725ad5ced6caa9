"""Which units of a masked network belong together, for a walk through its inputs."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Cut:
    """Where the units of each part of a space are, within what is cut."""

    first: np.ndarray  # first unit of each part, and the one after its last
    last: np.ndarray
    start: np.ndarray  # where to slice `width` units that hold those of the part
    width: int


@dataclasses.dataclass(frozen=True)
class Level:
    """The parts that each part of the level above is cut into."""

    num_parts: int  # in all
    most: int  # within one part of the level above
    cuts: list  # of `Cut`, one for each space


class Plan:
    """What the walk needs to know of the degrees, as constants.

    Args:
      input_degrees: degrees of the inputs, a permutation of 1 to D.
      hidden_degrees: list of the degrees of each hidden layer.
      block_size: number of inputs in a block; by default what was fast.
      group_size: number of blocks in a group; by default what was fast.
    """

    def __init__(self, input_degrees, hidden_degrees, block_size=None, group_size=None):
        size = len(input_degrees)
        if block_size is None:
            block_size = max(1, round(size**0.75 / 6.0))
        num_blocks = -(-size // block_size)
        if group_size is None:
            group_size = 4 if num_blocks > 24 else num_blocks
        # The input of degree d is in place d - 1, and waits for the units below d.
        spaces = [input_degrees - 1, *hidden_degrees]
        orders = [np.argsort(places, kind="stable") for places in spaces]
        self.permutations = [  # None where a space is sorted
            None if np.array_equal(order, np.arange(len(order))) else order
            for order in orders
        ]
        spaces = [places[order] for places, order in zip(spaces, orders)]
        self.levels = []
        if group_size < num_blocks:
            edges = _edges(size, group_size * block_size)
            self.levels.append(_level(spaces, edges, len(edges) - 1))
        edges = _edges(size, block_size)
        self.levels.append(_level(spaces, edges, group_size, *self.levels))


def _edges(size, length):
    """Where parts of this length begin, and the end."""
    return np.append(np.arange(0, size, length), size)


def _level(spaces, edges, most, above=None):
    """Cuts spaces, whose sorted places are given, at `edges`."""
    cuts = []
    for i, places in enumerate(spaces):
        first, last = np.searchsorted(places, [edges[:-1], edges[1:]])
        room = len(places)
        if above is not None:
            origin = above.cuts[i].start[np.arange(len(first)) // most]
            first, last, room = first - origin, last - origin, above.cuts[i].width
        width = max(1, int(np.max(last - first)))
        cuts.append(Cut(first, last, np.minimum(first, room - width), width))
    return Level(len(edges) - 1, most, cuts)
