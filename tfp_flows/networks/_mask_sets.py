"""Degrees of a masked network, as variables that are saved with it."""

import copy

import numpy as np
import tensorflow as tf

from tfp_flows import masks


class MaskSets(tf.Module):
    """A set of degrees for all units of a network, or several, one of them in use.

    Args:
      number: size of the set.
      seed: integer that decides it.
      **kinds: arguments of `masks.degree_sets`.
    """

    def __init__(self, number, seed, **kinds):
        super().__init__()
        self._number, self._kinds = number, kinds
        self._degrees = [
            tf.Variable(values, trainable=False, dtype=tf.int64, name=f"degrees_{i}")
            for i, values in enumerate(self._draw(seed))
        ]
        self.index = tf.Variable(0, trainable=False, dtype=tf.int64, name="mask_index")

    def _draw(self, seed):
        rng = np.random.default_rng(seed % 2**32)
        return masks.degree_sets(number=self._number, rng=rng, **self._kinds)

    def read(self):
        """Returns a list of the degrees in use: of the inputs, and of each layer."""
        if self._number == 1:
            return [tf.convert_to_tensor(degrees)[0] for degrees in self._degrees]
        return [tf.gather(degrees, self.index) for degrees in self._degrees]

    def known(self):
        """Returns them as arrays, as they are now, also while a graph is made."""
        with tf.init_scope():
            return [degrees.numpy() for degrees in self.read()]

    def take_next(self):
        """Takes the next of the set; the first after the last.

        Raises:
          ValueError: this is one of `each`.
        """
        if not isinstance(self.index, tf.Variable):
            raise ValueError(f"A view keeps its masks; got one of set {self.index}.")
        self.index.assign((self.index + 1) % self._number)

    def resample(self, seed):
        """Draws another set."""
        for variable, values in zip(self._degrees, self._draw(seed)):
            variable.assign(values)

    def each(self):
        """Returns one of these for each in the set, on the same variables."""
        result = [copy.copy(self) for _ in range(self._number)]
        for index, one in enumerate(result):
            one.index = index
        return result


def maps_between(event_size, hidden_units, outputs, residual):
    """Returns the linear maps of a network, but for one that skips its layers.

    Args:
      event_size: number of inputs.
      hidden_units: widths of the hidden layers, or of the blocks.
      outputs: number of outputs.
      residual: whether there are blocks of two layers each.

    Returns:
      maps: list of the numbers of inputs and outputs of each, and of the spaces that
        they belong to; 0 is that of the inputs and of the outputs of the network.
    """
    if residual:
        width = hidden_units[0]
        maps = [(event_size, width, 0, 1)]
        maps += [(width, width, 1, 1)] * (2 * len(hidden_units))
    else:
        sizes = [event_size, *hidden_units]
        maps = [(*pair, i, i + 1) for i, pair in enumerate(zip(sizes, sizes[1:]))]
    return [*maps, (hidden_units[-1], outputs, maps[-1][-1], 0)]


def who_sees_whom(degrees, source, target, copies):
    """Returns the mask `[inputs, outputs]` of a linear map between two spaces.

    Args:
      degrees: what `MaskSets.read` returns.
      source, target: numbers of the spaces; 0 as target is the output of the network.
      copies: number of outputs of the network for each of its inputs.
    """
    sees, seen = degrees[source][:, tf.newaxis], degrees[target]
    return sees < tf.repeat(seen, copies) if target == 0 else sees <= seen
