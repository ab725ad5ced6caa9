"""Seeds: integers and pairs, split for several draws, or another one in each call."""

from __future__ import annotations

import numbers
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._builders import check_outside_of_graphs
from tfp_flows._typing import Seed


def split_seed(seed: int, number: int) -> list[tf.Tensor]:
    """Returns a list of stateless seeds, the same in each process.

    Raises:
      TypeError: `seed` is not an integer.
      RuntimeError: a graph is being traced.
    """
    check_outside_of_graphs()
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
        raise TypeError(f"`seed` must be an integer; got {seed!r}.")
    # TFP draws a new seed for an integer on every call; a pair is taken as it is.
    return tf.unstack(tfp.random.split_seed([0, int(seed)], n=int(number)))


def integer_seeds(seed: int, number: int) -> list[int]:
    """Returns a list of integer seeds, as `split_seed` of pairs."""
    return [int(pair[1]) for pair in split_seed(seed, number)]


def seed_groups(seed: int, *sizes: int) -> list[list[int]]:
    """Returns a list of integer seeds for each of the sizes."""
    seeds = integer_seeds(seed, sum(sizes))
    return [[seeds.pop() for _ in range(size)] for size in sizes]


def as_stateless_seed(seed: Seed) -> Any:
    """Returns a stateless seed for an integer, and any other seed unchanged."""
    return [0, int(seed)] if isinstance(seed, numbers.Integral) else seed


def fresh_seed(like: tf.Tensor) -> tf.Tensor:
    """Returns a stateless seed, another one in each call; `tf.random.set_seed` decides.

    In `Dataset.map`, too. With a global seed, TensorFlow restarts the generators of the
    mapped function in each epoch, so that all epochs would have the same noise. Here
    the seed also depends on a count of the calls, which is not reset.

    Args:
      like: tensor of the graph in which the seed is drawn.
    """
    limits = tf.int32
    seed = tf.random.uniform([2], limits.min, limits.max, limits)
    graph = getattr(like, "graph", None)  # eager tensors have none
    while graph is not None:
        if getattr(graph, "name", "").startswith("Dataset"):
            return tf.random.experimental.stateless_fold_in(seed, _count_calls(graph))
        graph = getattr(graph, "outer_graph", None)
    return seed


def _count_calls(graph: Any) -> tf.Tensor:
    """Returns a number that grows with each call of the function of a dataset.

    The first number differs between datasets. The count is no `tf.Variable`, which the
    function of a dataset must not create, because it is traced twice.
    """
    with tf.init_scope(), tf.device("CPU:0"):
        count = tf.raw_ops.VarHandleOp(
            dtype=tf.int64, shape=[], shared_name=f"tfp_flows_calls_{id(graph)}"
        )
        start = tf.random.uniform([], 0, 2**62, tf.int64)
        tf.raw_ops.AssignVariableOp(resource=count, value=start)
    add = tf.raw_ops.AssignAddVariableOp(resource=count, value=tf.ones([], tf.int64))
    with tf.control_dependencies([add]):
        return tf.raw_ops.ReadVariableOp(resource=count, dtype=tf.int64)
