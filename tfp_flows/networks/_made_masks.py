"""Degrees and masks of masked autoencoders (MADE).

An input of degree `d` is the `d`-th in the autoregressive order, from 1. A hidden unit
of degree `m` depends on inputs of degrees up to `m`. An output of degree `d` depends on
hidden units of degrees below `d`, and so on the inputs before it in the order. See
Germain et al. (2015), https://arxiv.org/abs/1502.03509.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf


class MaskSets(tf.Module):
    """Degrees of all units of a network, as variables: one set or several, one in use.

    Args:
      number: number of sets.
      seed: integer that determines them.
      **kinds: arguments of `draw_degrees`.
    """

    def __init__(self, number: int, seed: int, **kinds: Any) -> None:
        super().__init__()
        self._number, self._kinds = number, kinds
        self._degrees = [
            tf.Variable(values, trainable=False, dtype=tf.int64, name=f"degrees_{i}")
            for i, values in enumerate(self._draw(seed))
        ]
        self.index = tf.Variable(0, trainable=False, dtype=tf.int64, name="mask_index")

    def _draw(self, seed):
        rng = np.random.default_rng(seed % 2**32)
        return draw_degrees(number=self._number, rng=rng, **self._kinds)

    def read(self) -> list[tf.Tensor]:
        """Returns the degrees in use, of the inputs and each hidden layer: `[1, n]`."""
        if self._number == 1:
            return [tf.convert_to_tensor(degrees) for degrees in self._degrees]
        index = tf.reshape(self.index, [1])
        return [tf.gather(degrees, index) for degrees in self._degrees]

    def known(self) -> list[npt.NDArray]:
        """Returns the degrees in use now as arrays, also while a graph is traced."""
        with tf.init_scope():
            return [degrees.numpy()[0] for degrees in self.read()]

    def take_next(self) -> None:
        """Takes the next set; the first one after the last.

        Raises:
          ValueError: this is one of `members`.
        """
        if not isinstance(self.index, tf.Variable):
            raise ValueError(
                "`next_masks` must be called on the network itself, as the masks of "
                f"its `ensemble()` are fixed; got member {self.index}."
            )
        self.index.assign((self.index + 1) % self._number)

    def resample(self, seed: int) -> None:
        """Draws other sets."""
        for variable, values in zip(self._degrees, self._draw(seed)):
            variable.assign(values)

    def members(self) -> list[MaskSets]:
        """Returns a copy for each of the sets, on the same variables."""
        result = [copy.copy(self) for _ in range(self._number)]
        for index, member in enumerate(result):
            member.index = index
        return result


def input_order(
    event_size: int, kind: str | npt.ArrayLike, rng: np.random.Generator
) -> npt.NDArray:
    """Returns a permutation of the inputs: which one comes first, second, ...

    Args:
      event_size: `D`, number of inputs.
      kind: "left-to-right", "right-to-left", "random", or the permutation itself.
      rng: `np.random.Generator`, for "random".

    Raises:
      ValueError: `kind` is something else.
    """
    if isinstance(kind, str):
        if kind == "left-to-right":
            return np.arange(event_size)
        if kind == "right-to-left":
            return np.arange(event_size)[::-1]
        if kind == "random":
            return rng.permutation(event_size)
        raise ValueError(
            "`order` must be 'left-to-right', 'right-to-left', 'random' or a "
            f"permutation; got {kind!r}."
        )
    result = np.asarray(kind)
    if result.ndim != 1 or not np.array_equal(np.sort(result), np.arange(event_size)):
        raise ValueError(
            f"`order` must be a permutation of the numbers 0 to {event_size - 1}; "
            f"got {np.asarray(kind).tolist()}."
        )
    return result


def input_degrees(permutation: npt.ArrayLike) -> npt.NDArray:
    """Returns the degree of each input: its position in the order, from 1."""
    return np.argsort(permutation) + 1


def hidden_degrees(
    event_size: int,
    units: int,
    kind: str,
    lowest: int,
    rng: np.random.Generator,
    reach: int = 0,
) -> npt.NDArray:
    """Returns the degrees of the units of one hidden layer, in ascending order.

    Args:
      event_size: number of inputs.
      units: number of units.
      kind: "equal", the same number of units of each degree up to 1, or "random".
      lowest: minimum degree: that of the preceding layer, below which a unit depends
        on nothing. For the first layer it is 1, or 0 for units that depend on no input.
      rng: `np.random.Generator`, for "random".
      reach: lower bound of the maximum degree: that of the preceding layer, of which no
        unit may stay unused.

    Raises:
      ValueError: `kind` is something else.
    """
    highest = max(event_size - 1, lowest)  # no output could use units of all inputs
    if kind == "equal":
        degrees = lowest + np.arange(units) * (highest - lowest + 1) // units
    elif kind == "random":
        degrees = np.sort(rng.integers(lowest, highest + 1, size=units))
        if lowest == 0:  # units of degree 0 connect the first output to the context
            degrees[0] = 0
    else:
        raise ValueError(f"`hidden_degrees` must be 'equal' or 'random'; got {kind!r}.")
    degrees[-1] = max(degrees[-1], reach)
    return degrees


def draw_degrees(
    event_size: int,
    widths: Sequence[int],
    number: int,
    order_kind: str | npt.ArrayLike,
    degree_kind: str,
    lowest: int,
    rng: np.random.Generator,
) -> list[npt.NDArray]:
    """Draws the degrees of a masked network: of its inputs, and of each hidden layer.

    Args:
      event_size: number of inputs.
      widths: numbers of units of the hidden layers.
      number: number of sets to draw. From 2 on all are random, and the units of a layer
        are in random order, since they have the same weights in all sets.
      order_kind: `kind` of `input_order`.
      degree_kind: `kind` of `hidden_degrees`.
      lowest: minimum degree of hidden units of the first layer. That of another layer
        is the minimum of the preceding one, section 4.2 of Germain et al. (2015).
      rng: `np.random.Generator`.

    Returns:
      degrees: list of arrays of shape `[number, event_size]`, `[number, width]`, ... If
        an output depends on any unit, no unit is dead: each is connected to a unit of
        the preceding layer, and to one of the next.
    """
    if number > 1:
        order_kind = degree_kind = "random"
    sets = []
    for _ in range(number):
        inputs = input_degrees(input_order(event_size, order_kind, rng))
        hidden, minimum, reach = [], lowest, 0
        for width in widths:
            degrees = hidden_degrees(
                event_size, width, degree_kind, minimum, rng, reach
            )
            minimum, reach = degrees[0], degrees[-1]
            hidden.append(degrees)
        if number > 1:
            hidden = [rng.permutation(degrees) for degrees in hidden]
        sets.append([inputs, *hidden])
    return [np.stack(space) for space in zip(*sets)]


def linear_map_shapes(
    event_size: int, hidden_units: Sequence[int], outputs: int, residual: bool
) -> list[tuple[int, int, int, int]]:
    """Returns the linear maps of a network, without that of a skip connection.

    Args:
      event_size: number of inputs.
      hidden_units: widths of the hidden layers, or of the blocks.
      outputs: number of outputs.
      residual: whether there are blocks of two layers each.

    Returns:
      maps: for each map, the numbers of its inputs and outputs, and the indices of the
        spaces of both; 0 is the space of the inputs and of the outputs of the network.
    """
    if residual:
        width = hidden_units[0]
        maps = [(event_size, width, 0, 1)]
        maps += [(width, width, 1, 1)] * (2 * len(hidden_units))
    else:
        sizes = [event_size, *hidden_units]
        maps = [(*pair, i, i + 1) for i, pair in enumerate(zip(sizes, sizes[1:]))]
    return [*maps, (hidden_units[-1], outputs, maps[-1][-1], 0)]


def connectivity_mask(
    degrees: Sequence[tf.Tensor], source: int, target: int, copies: int
) -> tf.Tensor:
    """Returns the mask `[inputs, outputs]` of a linear map between two spaces.

    Args:
      degrees: what `MaskSets.read` returns, of shape `[1, n]` each.
      source, target: indices of the spaces; target 0 is the output of the network.
      copies: number of outputs of the network for each of its inputs.
    """
    inputs, outputs = tf.transpose(degrees[source]), degrees[target]
    if target != 0:
        return inputs <= outputs
    if copies != 1:
        # One operation, where `tf.repeat` makes a dozen.
        copied = np.repeat(np.arange(outputs.shape[1]), copies)
        outputs = tf.gather(outputs, copied, axis=1)
    return inputs < outputs
