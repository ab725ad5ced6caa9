"""Backups from which interrupted training resumes within an epoch."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from tfp_flows.keras import _replicas
from tfp_flows.keras._keras_versions import check_private


class BackupAndRestore(keras.callbacks.Callback):
    """Backs up training, and resumes it at the step of the last backup.

    `keras.callbacks.BackupAndRestore` restarts the interrupted epoch; this callback
    resumes within it, and skips the batches of that epoch that were trained on. If the
    data have the same order as before, as arrays have in a `DensityModel`, each batch
    is trained on once. Then the weights are bit for bit those of training without an
    interruption, provided that the script calls
    `tf.config.experimental.enable_op_determinism()` and, before TensorFlow is used,
    `tf.config.threading.set_inter_op_parallelism_threads(1)`. Without these, `tf.add_n`
    sums gradients in an order that depends on memory allocation.

    A backup is one file. It is written beside the last one and then replaces it, so
    that a complete backup exists at all times. It contains the variables of model,
    optimizer and metrics, seeds, epoch and step. With several workers the first one
    writes it, to a folder that all of them can read. It does not contain the state of
    other callbacks, such as the patience of early stopping.

    The callback works for any Keras model.

    >>> import tempfile
    >>> model = keras.Sequential([keras.layers.Dense(1)])
    >>> model.compile("adam", "mse")
    >>> backup = BackupAndRestore(tempfile.mkdtemp(), save_freq=1)
    >>> history = model.fit(
    ...     np.ones([4, 2]), np.ones([4, 1]), verbose=0, callbacks=[backup])
    >>> backup.epoch() is None  # deleted after training
    True

    Args:
      backup_dir: folder for the backup.
      save_freq: "epoch", or a number of steps.
      delete_checkpoint: whether the backup is deleted after training.

    Raises:
      ValueError: `save_freq` is neither; the backup is of another model.
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: int | Literal["epoch"] = "epoch",
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__()
        whole = isinstance(save_freq, int) and not isinstance(save_freq, bool)
        if save_freq != "epoch" and not (whole and save_freq > 0):
            raise ValueError(
                "`save_freq` must be 'epoch' or a number of steps of at least 1; "
                f"got {save_freq!r}."
            )
        self.save_freq, self.delete_checkpoint = save_freq, delete_checkpoint
        self._file = pathlib.Path(backup_dir) / "training.npz"
        self._epoch, self._last = 0, 0
        # Of the epoch that is resumed.
        self._skipped = 0
        self._metric_values: list[np.ndarray] | None = None

    def epoch(self) -> int | None:
        """Return the epoch to resume in, or None if there is no backup."""
        position = self._position()
        return None if position is None else position["epoch"]

    def on_train_begin(self, logs: Any = None) -> None:
        """Restore the backup, if there is one."""
        self._skipped, self._metric_values = 0, None
        position = self._position()
        if position is None:
            return
        optimizer = self.model.optimizer
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        variables = self._all_variables()
        self._check(variables, position["variables"])
        with np.load(self._file) as values:
            for i, variable in enumerate(variables):
                variable.assign(values[f"variable_{i}"])
            metrics = [values[f"metric_{i}"] for i in range(position["metrics"])]
        exists = hasattr(self.model, "_initial_epoch")
        check_private(exists, "Model", "_initial_epoch")
        self.model._initial_epoch = position["epoch"]
        if position["step"]:
            self._skip(position["step"], metrics)

    def _check(self, variables: Sequence[Any], saved: list[Any]) -> None:
        """Raises `ValueError`, before any assignment, if a backup does not fit."""
        described = _described(variables)
        for found, wanted in zip(described, saved):
            if _key(found) != _key(wanted):
                raise ValueError(
                    "The backup must be of the same model and optimizer; got one "
                    f"with {wanted[0]} of shape {wanted[1]} in place of "
                    f"{found[0]} of shape {found[1]}, in {self._file}."
                )
        if len(saved) != len(described):
            raise ValueError(
                "The backup must be of the same model and optimizer; got one with "
                f"{len(saved)} variables for {len(described)}, in {self._file}."
            )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Restore the metrics of the epoch that is resumed."""
        self._epoch, self._last = epoch, 0
        variables = self.model.metrics_variables  # `fit` has just reset them
        if self._metric_values and len(variables) == len(self._metric_values):
            for variable, value in zip(variables, self._metric_values):
                variable.assign(value)
            self._metric_values = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Write a backup every `save_freq` steps."""
        step = batch + 1
        if self.save_freq == "epoch" or step <= self._skipped:
            return
        if step // self.save_freq > self._last // self.save_freq:
            self._save(self._epoch, step)
        self._last = step

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write a backup."""
        self._skipped, self._metric_values = 0, None
        self._save(epoch + 1, 0)

    def on_train_end(self, logs: Any = None) -> None:
        """Delete the backup, if `delete_checkpoint` is true."""
        self.model._initial_epoch = None
        if self.delete_checkpoint and self._is_chief():
            self._file.unlink(missing_ok=True)
            self._temporary().unlink(missing_ok=True)

    def _skip(self, number: int, metrics: list[np.ndarray]) -> None:
        """Makes the model skip batches, with the metrics that it had after them.

        Args:
          number: number of batches.
          metrics: values of the variables of metrics.
        """
        model = self.model
        train = getattr(model.train_function, "after_skipping", model.train_function)
        self._skipped, self._metric_values, left = number, metrics, number

        def train_function(iterator):
            nonlocal left
            if left > 0:
                for _ in range(model.steps_per_execution):
                    next(iterator)
                left -= model.steps_per_execution
                return {} if left > 0 else model.get_metrics_result()
            model.train_function = train
            logs = train(iterator)
            if (
                self._metric_values
            ):  # of metrics that the first step created; they are sums
                for variable, value in zip(
                    model.metrics_variables, self._metric_values
                ):
                    variable.assign(variable + value)
                self._metric_values = None
            return logs

        model.train_function = train_function
        model.train_function.after_skipping = train

    def _all_variables(self) -> list[Any]:
        return [*self.model.variables, *self.model.optimizer.variables]

    def _save(self, epoch: int, step: int) -> None:
        # On all workers: reading a variable that is summed over replicas needs them.
        variables = self._all_variables()
        metrics = [_saved(variable) for variable in self.model.metrics_variables]
        values: dict[str, Any] = {
            f"variable_{i}": _saved(variable) for i, variable in enumerate(variables)
        }
        values.update({f"metric_{i}": value for i, value in enumerate(metrics)})
        position = dict(
            epoch=epoch,
            step=step,
            metrics=len(metrics),
            variables=_described(variables),
        )
        if not self._is_chief():
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._temporary()
        with open(temporary, "wb") as file:
            np.savez(file, position=json.dumps(position), **values)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._file)

    def _temporary(self) -> pathlib.Path:
        return self._file.with_suffix(".tmp")

    def _position(self) -> dict[str, Any] | None:
        if not self._file.exists():
            return None
        with np.load(self._file) as values:
            return json.loads(str(values["position"]))

    def _is_chief(self) -> bool:
        return _replicas.is_chief(self.model.distribute_strategy)


def epoch_to_resume(callbacks: Any, initial_epoch: int) -> int:
    """Returns the epoch in which training resumes, so that the data start there.

    Args:
      callbacks: argument of `fit`: a list of callbacks, one, or None.
      initial_epoch: the first epoch without a backup.
    """
    for callback in tf.nest.flatten(callbacks or []):
        if isinstance(callback, BackupAndRestore):
            epoch = callback.epoch()
            if epoch is not None:
                return epoch
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            position = pathlib.Path(callback.backup_dir) / "training_metadata.json"
            if position.exists():
                return json.loads(position.read_text())["epoch"]
    return initial_epoch


def _described(variables: Sequence[Any]) -> list[list[Any]]:
    """Returns path and shape of each variable."""
    return [[variable.path, list(variable.shape)] for variable in variables]


def _key(description: Any) -> tuple[str, Any]:
    """Returns a description without the numbers by which Keras makes names unique."""
    path, shape = description
    return "".join(c for c in path if not c.isdigit() and c != "_"), shape


def _saved(variable: Any) -> np.ndarray:
    """Returns a value as NumPy writes it: bfloat16 as float32.

    The variable that it is assigned to converts it back, bit for bit.
    """
    value = variable.numpy()
    return value.astype(np.float32) if value.dtype.kind == "V" else value
