"""Sequential inversion of a masked network at about the cost of two evaluations.

Solves `z_i = invert(parameters_i(z_1, ..., z_{i-1}), w_i)` for `z`, where a masked
network predicts the parameters. The textbook algorithm evaluates the network once for
each input. This one processes the inputs in their order, a block at a time. A hidden
unit belongs to the block of the first input that it may depend on. The contributions of
finished blocks to a block are one product for each layer. Within the block only its own
units are evaluated repeatedly, until a fixed point is reached. This takes at most as
many iterations as the block has inputs, and is exact, since each iteration determines
at least one more input.

Many blocks are put into groups: the contributions of finished groups are one product
for all blocks of a group, and a block needs those of its own group alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfp_flows.networks._block_schedule import BlockSchedule


@dataclasses.dataclass(frozen=True)
class Linear:
    """A masked linear map of the network.

    Args:
      kernel: masked kernel, `[inputs, outputs]`; `[inputs, outputs, P]` at the end.
      base: term that is added, `[outputs, 1 or N]`; `[outputs, P, 1]` at the end.
      source, target: indices of the spaces of inputs and outputs in the schedule.
    """

    kernel: tf.Tensor
    base: tf.Tensor
    source: int
    target: int


def invert_by_blocks(
    schedule: BlockSchedule,
    linears: Sequence[Linear],
    run: Callable,
    invert: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    w: tf.Tensor,
) -> tf.Tensor:
    """Returns the `z` with `z = invert(parameters(z), w)`.

    Args:
      schedule: blocks of the network.
      linears: masked linear maps of the network.
      run: callable from an input and a callable `linear(i, h)` to the output of the
        network; features are the first axis in all of these. It calls each of `linears`
        once.
      invert: callable from `parameters` `[k, N, P]` and `w` `[k, N]` to `z` `[k, N]`.
      w: tensor of shape `[N, D]`.

    Returns:
      z: tensor of shape `[N, D]`.
    """
    linears = [_sort_by_degree(linear, schedule) for linear in linears]
    permutation = schedule.permutations[0]
    size = tf.shape(w)[0]
    w = _permute(tf.transpose(w), permutation)
    if not w.shape[1]:  # TensorFlow cannot update empty rows
        w = _pad_if_empty(w)
        linears = [
            dataclasses.replace(linear, base=_pad_if_empty(linear.base))
            for linear in linears
        ]
    z, _ = _solve_levels(schedule.levels, 0, linears, run, invert, w)
    if permutation is not None:
        z = tf.gather(z, np.argsort(permutation))
    return tf.transpose(z)[:size]


def _solve_levels(levels, parent, linears, run, invert, w, valid=None):
    """Solves a network for its input.

    Args:
      levels: list of `PartitionLevel`; without any, everything is one block.
      parent: index of the part of the level above that this is.
      linears, run, invert: see `invert_by_blocks`.
      w: tensor of shape `[k, N]`.
      valid: for each space, which units belong to the part, `[units, 1]`.

    Returns:
      z: tensor of shape `[k, N]`.
      layer_inputs: dictionary of the inputs of linear maps, by their index, except for
        those with input `z`.
    """
    if not levels:
        return _solve_block(linears, run, invert, w, valid)
    level, *finer = levels

    def solve_part(part, z, layer_inputs):
        """Solves a part, and updates `z` and the inputs of the linear maps."""
        rows = [_Rows(partition, part) for partition in level.partitions]
        within = []
        for i, linear in enumerate(linears):
            column = rows[linear.target].slice(linear.kernel, 1)
            finished = _apply_kernel(column, layer_inputs.get(i, z))
            within.append(
                dataclasses.replace(
                    linear,
                    kernel=rows[linear.source].slice(column, 0),
                    base=rows[linear.target].slice(linear.base, 0) + finished,
                )
            )
        part_z, part_inputs = _solve_levels(
            finer,
            part,
            within,
            run,
            invert,
            rows[0].slice(w, 0),
            [each.valid for each in rows],
        )
        layer_inputs = {
            i: rows[linears[i].source].update(values, part_inputs[i])
            for i, values in layer_inputs.items()
        }
        return part + 1, rows[0].update(z, part_z), layer_inputs

    first = parent * level.max_parts
    if tf.executing_eagerly():  # parts are numbers, and slices of them constants
        z, layer_inputs = tf.zeros_like(w), _zero_inputs(linears, w)
        for part in range(first, min(first + level.max_parts, level.num_parts)):
            _, z, layer_inputs = solve_part(part, z, layer_inputs)
        return z, layer_inputs
    last = tf.minimum(first + level.max_parts, level.num_parts)
    _, z, layer_inputs = tf.while_loop(
        lambda part, *_: part < last,
        solve_part,
        (tf.convert_to_tensor(first), tf.zeros_like(w), _zero_inputs(linears, w)),
        maximum_iterations=level.max_parts,
    )
    return z, layer_inputs


def _solve_block(linears, run, invert, w, valid):
    """Evaluates the units of a block until a fixed point is reached."""

    def iterate(z, _, layer_inputs):
        layer_inputs = dict(layer_inputs)

        def linear(i, h):
            h = _keep(valid[linears[i].source], h, lambda: tf.zeros_like(h))
            if i in layer_inputs:
                layer_inputs[i] = h
            return linears[i].base + _apply_kernel(linears[i].kernel, h)

        parameters = tf.transpose(run(z, linear), [0, 2, 1])
        new_z = invert(parameters, w)
        return new_z, tf.reduce_any(valid[0] & (new_z != z)), layer_inputs

    z, _, layer_inputs = tf.while_loop(
        lambda z, changed, layer_inputs: changed,
        iterate,
        (tf.zeros_like(w), tf.constant(True), _zero_inputs(linears, w)),
        maximum_iterations=w.shape[0],
    )
    return z, layer_inputs


def _zero_inputs(linears, w):
    """Returns zeros as inputs of the linear maps, except for those with input `z`."""
    return {
        i: tf.zeros([linear.kernel.shape[0], tf.shape(w)[1]], w.dtype)
        for i, linear in enumerate(linears)
        if linear.source
    }


class _Rows:
    """The units of one part in one space.

    Args:
      partition: of the space.
      part: index of the part, an integer or a tensor.
    """

    def __init__(self, partition, part):
        self.width = partition.width
        edges = partition.start, partition.first, partition.last
        if isinstance(part, int):
            self._start, first, last = (int(edge[part]) for edge in edges)
            self._indices = (self._start + np.arange(self.width))[:, np.newaxis]
        else:
            self._start, first, last = (
                tf.gather(tf.constant(edge, tf.int32), part) for edge in edges
            )
            self._indices = (self._start + tf.range(self.width))[:, tf.newaxis]
        # At the end of a layer a slice extends back into the preceding part.
        self.valid = (self._indices >= first) & (self._indices < last)

    def slice(self, tensor, axis):
        """Returns the slice of a tensor, along one axis."""
        # Not -1 for a whole axis: XLA would copy the tensor with padding.
        sizes = [
            tf.shape(tensor)[i] if size is None else size
            for i, size in enumerate(tensor.shape)
        ]
        sizes[axis] = self.width
        begin = [self._start if i == axis else 0 for i in range(len(sizes))]
        return tf.slice(tensor, begin, sizes)

    def update(self, tensor, values):
        """Returns the tensor with the valid rows of `values` in their place."""
        values = _keep(self.valid, values, lambda: self.slice(tensor, 0))
        return tf.tensor_scatter_nd_update(tensor, self._indices, values)


def _keep(valid, values, others):
    """Returns `values` where they are valid, else those of `others()`."""
    if isinstance(valid, np.ndarray) and valid.all():
        return values
    return tf.where(valid, values, others())


def _sort_by_degree(linear, schedule):
    """Returns the linear map with inputs and outputs in the order of their degrees."""
    source, target = (
        schedule.permutations[space] for space in (linear.source, linear.target)
    )
    return dataclasses.replace(
        linear,
        kernel=_permute(_permute(linear.kernel, source), target, axis=1),
        base=_permute(linear.base, target),
    )


def _pad_if_empty(tensor):
    """Returns the tensor with a last axis of length at least 1."""
    lacking = tf.maximum(1 - tf.shape(tensor)[-1], 0)
    return tf.pad(tensor, [[0, 0]] * (tensor.shape.rank - 1) + [[0, lacking]])


def _permute(tensor, permutation, axis=0):
    if permutation is None:
        return tensor
    return tf.gather(tensor, permutation, axis=axis)


def _apply_kernel(kernel, state):
    """Returns `kernel^T state`; `[k, P, N]` for a kernel `[inputs, k, P]`."""
    if kernel.shape.rank == 2:
        return tf.matmul(kernel, state, transpose_a=True)
    inputs, size, number = kernel.shape
    flat = tf.matmul(
        tf.reshape(kernel, [inputs, size * number]), state, transpose_a=True
    )
    return tf.reshape(flat, [size, number, -1])
