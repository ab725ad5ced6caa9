"""Arithmetic of several replicas: sums over them, and what their batches lack.

Replicas may have unequal numbers of rows of a batch, or none. So a mean over a batch is
the sum of the contributions of its replicas, never a mean of their means. On one device
the functions of this module change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfp_flows.keras._keras_versions import check_private

_SUM = tf.distribute.ReduceOp.SUM


def number() -> int:
    """Returns the number of replicas of the current strategy."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def sum_over_replicas(values: Any) -> Any:
    """Returns the sum of a tensor, or of each of a list, over replicas."""
    if number() == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(_SUM, values)


def contribution_to_mean(
    losses: tf.Tensor, added: Sequence[tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the contribution of this replica to the mean over a batch.

    Args:
      losses: tensor `[N]`, those of this replica.
      added: list of scalars, the same on each replica, which are added to the mean.

    Returns:
      contribution: scalar; the sum of all replicas is the mean.
      examples: mean number of examples of a replica.
    """
    replicas = number()
    examples = sum_over_replicas(tf.cast(tf.shape(losses)[0], losses.dtype))
    contribution = tf.reduce_sum(losses) / examples
    contribution = tf.add_n([contribution, *(each / replicas for each in added)])
    return contribution, examples / replicas


def clip_sum(
    gradients: Sequence[tf.Tensor | None], optimizer: keras.optimizers.Optimizer
) -> Sequence[tf.Tensor | None]:
    """Clips the sum of the gradients of all replicas.

    Keras clips the gradients of each replica, before their sum.

    Returns:
      gradients: shares of this replica in the sum, too short for Keras to clip.
    """
    clips = [optimizer.clipnorm, optimizer.global_clipnorm, optimizer.clipvalue]
    if number() == 1 or clips == [None] * 3:
        return gradients
    summed = sum_over_replicas([g for g in gradients if g is not None])
    if optimizer.clipnorm is not None:
        summed = [tf.clip_by_norm(g, optimizer.clipnorm) for g in summed]
    elif optimizer.global_clipnorm is not None:
        summed, _ = tf.clip_by_global_norm(summed, optimizer.global_clipnorm)
    else:
        bound = optimizer.clipvalue
        summed = [tf.clip_by_value(g, -bound, bound) for g in summed]
    clipped = iter(summed)
    return [None if g is None else next(clipped) / number() for g in gradients]


def check_rows(x: Any) -> None:
    """Fails, in the step, where batch normalization on a replica has no rows."""
    if number() > 1:
        tf.debugging.assert_positive(
            tf.shape(tf.nest.flatten(x)[0])[0],
            "Each replica must have a row of each batch where layers of batch "
            "normalization average over rows; got one without. Use a batch size that "
            "divides the data, or drop the last batch.",
        )


def stack_of_workers(logs: dict[str, Any]) -> dict[str, Any]:
    """Returns logs with the first axis along which Keras averages over workers."""
    strategy = tf.distribute.get_strategy()
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        jobs = strategy.cluster_resolver.cluster_spec().as_dict()
        if sum(len(jobs.get(job, [])) for job in ("chief", "worker")) > 1:
            return {name: value[tf.newaxis] for name, value in logs.items()}
    return logs


def sync_workers(
    strategy: tf.distribute.Strategy, variables: Sequence[keras.Variable]
) -> None:
    """Assigns to floating-point variables the mean of their values over workers.

    Data-dependent initialization may differ, where data have another order on each.
    """
    if strategy.num_replicas_in_sync == 1:
        return
    floating = [v.value for v in variables if v.dtype.startswith("float")]
    values = strategy.run(lambda: [tf.identity(variable) for variable in floating])
    for variable, value in zip(floating, values):
        variable.assign(strategy.reduce("MEAN", value, axis=None))


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process is the only one, or the first of the workers."""
    resolver = getattr(strategy, "cluster_resolver", None)
    if resolver is None or resolver.task_type is None:
        return True
    first = "chief" if "chief" in resolver.cluster_spec().as_dict() else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


def gather(batch: Any, strategy: tf.distribute.Strategy) -> Any:
    """Returns a batch of a distributed dataset as tensors of all rows."""
    return tf.nest.map_structure(lambda t: strategy.gather(t, axis=0), batch)


def shard_by_row(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns a dataset of which each worker gets its share of each batch."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return dataset.with_options(options)


def variable_of_all(variable: tf.Variable) -> tf.Variable:
    """Returns the variable of all replicas for the component of one of them."""
    container = getattr(variable, "_distributed_container", None)
    container = container or getattr(variable.handle, "_distributed_container", None)
    return variable if container is None else container()


def check_scope(variable: tf.Variable) -> None:
    """Raises `ValueError` if a variable was created under another strategy."""
    if not tf.distribute.get_strategy().extended.variable_created_in_scope(variable):
        raise ValueError(
            "A flow and its Keras model must be built within one `strategy.scope()`; "
            f"got the variable `{variable.name}` of another scope, or of none."
        )


class ReplicatedModel(keras.Model):
    """Model whose replicas may have batches of unequal numbers of rows, or None."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.distribute_strategy.num_replicas_in_sync > 1:
            exists = hasattr(keras.Model, "_maybe_symbolic_build")
            check_private(exists, "Model", "_maybe_symbolic_build")

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None):
        """Builds optimizer and metrics, whose variables replicas cannot create."""
        with self.distribute_strategy.scope():
            if self.optimizer is not None and not self.optimizer.built:
                self.optimizer.build(self.trainable_variables)
            if not vars(self).get("_has_built_metrics"):
                self.build_metrics()
                self.__dict__["_has_built_metrics"] = True

    def build_metrics(self) -> None:
        """Updates the metrics once, which creates their variables, and resets them."""
        raise NotImplementedError
