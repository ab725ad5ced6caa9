"""One walk over a masked network that computes its own input on the way.

Where `z_i = invert(parameters_i(z_1, ..., z_{i-1}), w_i)` and the parameters come from
a masked network, everybody else evaluates the network once for each input. The walk
goes through the inputs in their order, a block at a time. A hidden unit belongs to the
block in which the last of the inputs that it sees is found. What finished blocks tell a
block comes from one product a layer, and within the block only its own few units are
evaluated again, until nothing changes: that takes as many rounds as the block has
inputs at the most, and is exact then, since each round settles at least one more.
"""

import dataclasses

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class _Space:
    """Where the units of each block are, once a layer is sorted by degrees."""

    permutation: np.ndarray | None  # None where it is sorted
    first: np.ndarray  # first unit of each block, and the one after its last
    last: np.ndarray
    start: np.ndarray  # where to slice `width` units that hold those of the block
    width: int


class Plan:
    """What the walk needs to know of the degrees, as constants.

    Args:
      input_degrees: degrees of the inputs, a permutation of 1 to D.
      hidden_degrees: list of the degrees of each hidden layer.
      block_size: number of inputs in a block; by default what was fast.
    """

    def __init__(self, input_degrees, hidden_degrees, block_size=None):
        size = len(input_degrees)
        if block_size is None:
            block_size = max(1, round(size**0.75 / 6.0))
        self.num_blocks = -(-size // block_size)
        edges = np.minimum(np.arange(self.num_blocks + 1) * block_size, size)
        # The input of degree d is in place d - 1, and waits for the units below d.
        self.spaces = [_space(input_degrees - 1, edges)]
        self.spaces += [_space(degrees, edges) for degrees in hidden_degrees]


def _space(places, edges):
    order = np.argsort(places, kind="stable")
    first, last = np.searchsorted(places[order], [edges[:-1], edges[1:]])
    width = max(1, np.max(last - first))
    return _Space(
        None if np.array_equal(order, np.arange(len(order))) else order,
        first, last, np.minimum(first, len(places) - width), int(width))


@dataclasses.dataclass(frozen=True)
class Linear:
    """A masked linear map of the network.

    Args:
      kernel: masked kernel, `[inputs, outputs]`; `[inputs, outputs, P]` at the end.
      base: what is added, `[outputs, 1 or N]`; `[outputs, P, 1]` at the end.
      source, target: numbers of the spaces of inputs and outputs in the plan.
    """

    kernel: tf.Tensor
    base: tf.Tensor
    source: int
    target: int


def walk(plan, linears, run, invert, w):
    """Returns the `z` that the network and `invert` make of `w`.

    Args:
      plan: `Plan`.
      linears: list of `Linear`.
      run: callable from an input and a callable `linear(i, h)` to the network's output;
        features come first in all of these. It calls each of `linears` once.
      invert: callable from `parameters` `[k, N, P]` and `w` `[k, N]` to `z` `[k, N]`.
      w: tensor of shape `[N, D]`.

    Returns:
      z: tensor of shape `[N, D]`.
    """
    linears = [_sorted(linear, plan) for linear in linears]
    inputs = plan.spaces[0]
    size = tf.shape(w)[0]
    w = _permuted(tf.transpose(w), inputs)
    if not w.shape[1]:  # TensorFlow cannot update rows of no length
        w = _lengthened(w)
        linears = [
            dataclasses.replace(linear, base=_lengthened(linear.base))
            for linear in linears
        ]
    number = tf.shape(w)[1]
    # What each linear map is fed; for some that is `z` itself.
    states = {
        i: tf.zeros([linear.kernel.shape[0], number], w.dtype)
        for i, linear in enumerate(linears)
        if linear.source
    }

    def settle(block, z, states):
        """Finishes a block, and adds it to `z` and to what the linear maps are fed."""
        rows = [_Rows(space, block) for space in plan.spaces]
        columns = [rows[linear.target].of(linear.kernel, 1) for linear in linears]
        known = [
            rows[linear.target].of(linear.base, 0) + _product(column, states.get(i, z))
            for i, (linear, column) in enumerate(zip(linears, columns))
        ]
        own = [
            rows[linear.source].of(column, 0)
            for linear, column in zip(linears, columns)
        ]
        target = rows[0].of(w, 0)

        def again(z, _, fed):
            fed = dict(fed)

            def linear(i, h):
                h = tf.where(rows[linears[i].source].valid, h, tf.zeros_like(h))
                if i in fed:
                    fed[i] = h
                return known[i] + _product(own[i], h)

            parameters = tf.transpose(run(z, linear), [0, 2, 1])
            found = invert(parameters, target)
            changed = tf.reduce_any(rows[0].valid & (found != z))
            return found, changed, fed

        start = {
            i: tf.zeros([rows[linears[i].source].width, number], w.dtype)
            for i in states
        }
        found, _, fed = tf.while_loop(
            lambda z, changed, fed: changed,
            again,
            (tf.zeros_like(target), tf.constant(True), start),
            maximum_iterations=inputs.width,
        )
        states = {
            i: rows[linears[i].source].put(state, fed[i])
            for i, state in states.items()
        }
        return block + 1, rows[0].put(z, found), states

    _, z, _ = tf.while_loop(
        lambda block, *_: block < plan.num_blocks,
        settle,
        (tf.constant(0), tf.zeros_like(w), states),
        maximum_iterations=plan.num_blocks,
    )
    if inputs.permutation is not None:
        z = tf.gather(z, np.argsort(inputs.permutation))
    return tf.transpose(z)[:size]


class _Rows:
    """The units of one block in one space."""

    def __init__(self, space, block):
        self.width = space.width
        self._start, first, last = (
            tf.gather(tf.constant(edge, tf.int32), block)
            for edge in (space.start, space.first, space.last)
        )
        self._indices = (self._start + tf.range(space.width))[:, tf.newaxis]
        # At the end of a layer a slice reaches back into the block before.
        self.valid = (self._indices >= first) & (self._indices < last)

    def of(self, tensor, axis):
        """Returns the slice of a tensor, along one axis."""
        # Not -1 for the whole of an axis: XLA would copy the tensor with padding.
        sizes = [
            tf.shape(tensor)[i] if size is None else size
            for i, size in enumerate(tensor.shape)
        ]
        sizes[axis] = self.width
        begin = [self._start if i == axis else 0 for i in range(len(sizes))]
        return tf.slice(tensor, begin, sizes)

    def put(self, tensor, values):
        """Returns the tensor with the valid ones of the values in their rows."""
        values = tf.where(self.valid, values, self.of(tensor, 0))
        return tf.tensor_scatter_nd_update(tensor, self._indices, values)


def _sorted(linear, plan):
    """The linear map with both of its sides in the order of their degrees."""
    source, target = plan.spaces[linear.source], plan.spaces[linear.target]
    return dataclasses.replace(
        linear,
        kernel=_permuted(_permuted(linear.kernel, source), target, axis=1),
        base=_permuted(linear.base, target),
    )


def _lengthened(tensor):
    """Returns the tensor with a last axis of at least 1."""
    lacking = tf.maximum(1 - tf.shape(tensor)[-1], 0)
    return tf.pad(tensor, [[0, 0]] * (tensor.shape.rank - 1) + [[0, lacking]])


def _permuted(tensor, space, axis=0):
    if space.permutation is None:
        return tensor
    return tf.gather(tensor, space.permutation, axis=axis)


def _product(kernel, state):
    """`kernel' state`; with parameters, `[k, P, N]` from `[inputs, k, P]`."""
    if kernel.shape.rank == 2:
        return tf.matmul(kernel, state, transpose_a=True)
    inputs, size, number = kernel.shape
    flat = tf.matmul(
        tf.reshape(kernel, [inputs, size * number]), state, transpose_a=True)
    return tf.reshape(flat, [size, number, -1])
