"""One walk over a masked network that computes its own input on the way.

Where `z_i = invert(parameters_i(z_1, ..., z_{i-1}), w_i)` and the parameters come from
a masked network, everybody else evaluates the network once for each input. The walk
goes through the inputs in their order, a block at a time. A hidden unit belongs to the
block of the first input that may see it. What finished blocks tell a block comes from
one product a layer, and within the block only its own few units are evaluated again,
until nothing changes: that takes as many rounds as the block has inputs at the most,
and is exact then, since each round settles at least one more.

Many blocks go in groups: what finished groups tell a group comes from one product for
all of its blocks, and then a block asks those of its group alone.
"""

import dataclasses

import numpy as np
import tensorflow as tf


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
      plan: `_walk_plan.Plan`.
      linears: list of `Linear`.
      run: callable from an input and a callable `linear(i, h)` to the network's output;
        features come first in all of these. It calls each of `linears` once.
      invert: callable from `parameters` `[k, N, P]` and `w` `[k, N]` to `z` `[k, N]`.
      w: tensor of shape `[N, D]`.

    Returns:
      z: tensor of shape `[N, D]`.
    """
    linears = [_sorted(linear, plan) for linear in linears]
    permutation = plan.permutations[0]
    size = tf.shape(w)[0]
    w = _permuted(tf.transpose(w), permutation)
    if not w.shape[1]:  # TensorFlow cannot update rows of no length
        w = _lengthened(w)
        linears = [
            dataclasses.replace(linear, base=_lengthened(linear.base))
            for linear in linears
        ]
    z, _ = _solve(plan.levels, 0, linears, run, invert, w)
    if permutation is not None:
        z = tf.gather(z, np.argsort(permutation))
    return tf.transpose(z)[:size]


def _solve(levels, parent, linears, run, invert, w, valid=None):
    """Solves a network for its input.

    Args:
      levels: list of `_walk_plan.Level`; without any, all is one block.
      parent: number of the part that this is of the level above.
      linears, run, invert: see `walk`.
      w: tensor of shape `[k, N]`.
      valid: list of which units of each space belong to the part, `[units, 1]`.

    Returns:
      z: tensor of shape `[k, N]`.
      fed: dictionary of what linear maps, by their index, are fed; of those that are
        not fed `z`.
    """
    if not levels:
        return _settle(linears, run, invert, w, valid)
    level, *finer = levels

    def settle(part, z, fed):
        """Finishes a part, and adds it to `z` and to what the linear maps are fed."""
        rows = [_Rows(cut, part) for cut in level.cuts]
        within = []
        for i, linear in enumerate(linears):
            column = rows[linear.target].of(linear.kernel, 1)
            told = _product(column, fed.get(i, z))
            within.append(
                dataclasses.replace(
                    linear,
                    kernel=rows[linear.source].of(column, 0),
                    base=rows[linear.target].of(linear.base, 0) + told,
                )
            )
        found, found_fed = _solve(
            finer,
            part,
            within,
            run,
            invert,
            rows[0].of(w, 0),
            [each.valid for each in rows],
        )
        fed = {
            i: rows[linears[i].source].put(values, found_fed[i])
            for i, values in fed.items()
        }
        return part + 1, rows[0].put(z, found), fed

    first = parent * level.most
    last = tf.minimum(first + level.most, level.num_parts)
    _, z, fed = tf.while_loop(
        lambda part, *_: part < last,
        settle,
        (tf.convert_to_tensor(first), tf.zeros_like(w), _nothing(linears, w)),
        maximum_iterations=level.most,
    )
    return z, fed


def _settle(linears, run, invert, w, valid):
    """Evaluates the network until nothing changes."""

    def again(z, _, fed):
        fed = dict(fed)

        def linear(i, h):
            h = tf.where(valid[linears[i].source], h, tf.zeros_like(h))
            if i in fed:
                fed[i] = h
            return linears[i].base + _product(linears[i].kernel, h)

        parameters = tf.transpose(run(z, linear), [0, 2, 1])
        found = invert(parameters, w)
        return found, tf.reduce_any(valid[0] & (found != z)), fed

    z, _, fed = tf.while_loop(
        lambda z, changed, fed: changed,
        again,
        (tf.zeros_like(w), tf.constant(True), _nothing(linears, w)),
        maximum_iterations=w.shape[0],
    )
    return z, fed


def _nothing(linears, w):
    """Zeros for what linear maps are fed that are not fed `z`."""
    return {
        i: tf.zeros([linear.kernel.shape[0], tf.shape(w)[1]], w.dtype)
        for i, linear in enumerate(linears)
        if linear.source
    }


class _Rows:
    """The units of one part in one space."""

    def __init__(self, cut, part):
        self.width = cut.width
        self._start, first, last = (
            tf.gather(tf.constant(edge, tf.int32), part)
            for edge in (cut.start, cut.first, cut.last)
        )
        self._indices = (self._start + tf.range(cut.width))[:, tf.newaxis]
        # At the end of a layer a slice reaches back into the part before.
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
    source, target = (
        plan.permutations[space] for space in (linear.source, linear.target)
    )
    return dataclasses.replace(
        linear,
        kernel=_permuted(_permuted(linear.kernel, source), target, axis=1),
        base=_permuted(linear.base, target),
    )


def _lengthened(tensor):
    """Returns the tensor with a last axis of at least 1."""
    lacking = tf.maximum(1 - tf.shape(tensor)[-1], 0)
    return tf.pad(tensor, [[0, 0]] * (tensor.shape.rank - 1) + [[0, lacking]])


def _permuted(tensor, permutation, axis=0):
    if permutation is None:
        return tensor
    return tf.gather(tensor, permutation, axis=axis)


def _product(kernel, state):
    """`kernel' state`; with parameters, `[k, P, N]` from `[inputs, k, P]`."""
    if kernel.shape.rank == 2:
        return tf.matmul(kernel, state, transpose_a=True)
    inputs, size, number = kernel.shape
    flat = tf.matmul(
        tf.reshape(kernel, [inputs, size * number]), state, transpose_a=True
    )
    return tf.reshape(flat, [size, number, -1])
