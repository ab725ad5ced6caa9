"""Blocks of the units of a masked network, for its sequential inverse."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True)
class Partition:
    """The units of each part of a space, as ranges of units of the part above it."""

    first: npt.NDArray  # first unit of each part, and the one after its last
    last: npt.NDArray
    start: npt.NDArray  # start of a slice of `width` units that contains the part
    width: int


@dataclasses.dataclass(frozen=True)
class PartitionLevel:
    """The parts that each part of the level above is divided into."""

    num_parts: int  # in all
    max_parts: int  # within one part of the level above
    partitions: list[Partition]  # one for each space


class BlockSchedule:
    """The blocks of a masked network, computed from its degrees, as constants.

    Args:
      input_degrees: degrees of the inputs, a permutation of 1 to D.
      hidden_degrees: list of the degrees of each hidden layer.
      block_size: number of inputs in a block; the default was fast in measurements.
      group_size: number of blocks in a group; likewise.
    """

    def __init__(
        self,
        input_degrees: npt.NDArray,
        hidden_degrees: Sequence[npt.NDArray],
        block_size: int | None = None,
        group_size: int | None = None,
    ) -> None:
        size = len(input_degrees)
        if block_size is None:
            block_size = max(1, round(size**0.75 / 6.0))
        num_blocks = -(-size // block_size)
        if group_size is None:
            group_size = 4 if num_blocks > 24 else num_blocks
        # The input of degree d has position d - 1, and depends on units below d.
        spaces = [input_degrees - 1, *hidden_degrees]
        orders = [np.argsort(positions, kind="stable") for positions in spaces]
        self.permutations = [  # None where a space is sorted
            None if np.array_equal(order, np.arange(len(order))) else order
            for order in orders
        ]
        spaces = [positions[order] for positions, order in zip(spaces, orders)]
        self.levels: list[PartitionLevel] = []
        if group_size < num_blocks:
            edges = _part_edges(size, group_size * block_size)
            self.levels.append(_partition(spaces, edges, len(edges) - 1))
        edges = _part_edges(size, block_size)
        self.levels.append(_partition(spaces, edges, group_size, *self.levels))


def _part_edges(size, length):
    """Returns the starts of parts of this length, and the end."""
    return np.append(np.arange(0, size, length), size)


def _partition(spaces, edges, max_parts, above=None):
    """Divides spaces, whose sorted positions are given, at `edges`."""
    partitions = []
    for i, positions in enumerate(spaces):
        first, last = np.searchsorted(positions, [edges[:-1], edges[1:]])
        room = len(positions)
        if above is not None:
            outer = above.partitions[i]
            origin = outer.start[np.arange(len(first)) // max_parts]
            first, last, room = first - origin, last - origin, outer.width
        width = max(1, int(np.max(last - first)))
        partitions.append(
            Partition(first, last, np.minimum(first, room - width), width)
        )
    return PartitionLevel(len(edges) - 1, max_parts, partitions)
