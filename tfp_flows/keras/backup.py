"""Training that goes on after an interruption as if there had been none."""

import json
import os
import pathlib

import keras
import numpy as np
import tensorflow as tf


class BackupAndRestore(keras.callbacks.Callback):
    """Backs up training, and goes on from the step of the last backup.

    `keras.callbacks.BackupAndRestore` begins the interrupted epoch anew; this one
    goes on within it. The first batches of that epoch are taken from the data and left
    alone. So with data in the same order as before, as those that a `DensityModel` is
    given as arrays, all batches are trained on once. Then the weights are those of
    training without interruption, to the bit, with
    `tf.config.experimental.enable_op_determinism()` and, before TensorFlow is used,
    `tf.config.threading.set_inter_op_parallelism_threads(1)`: else `tf.add_n`, which
    gradients are summed by, adds three tensors in the order in which memory gets free.

    A backup is one file, written beside the last one and then put in its place: there
    is a whole one at each time. It has the variables of model and optimizer, those of
    metrics, seeds, epoch and step. On several workers the first one writes it, to a
    folder that all of them read. What other callbacks remember, such as the patience
    of early stopping, is not in it.

    Works for any Keras model.

    Args:
      directory: folder for the backup.
      save_freq: "epoch", or a number of steps.
      delete_checkpoint: whether the backup is deleted after training.

    Raises:
      ValueError: `save_freq` is neither; the backup is of another model.
    """

    def __init__(self, directory, save_freq="epoch", delete_checkpoint=True):
        super().__init__()
        whole = isinstance(save_freq, int) and not isinstance(save_freq, bool)
        if save_freq != "epoch" and not (whole and save_freq > 0):
            raise ValueError(
                "`save_freq` must be 'epoch' or a number of steps of at least 1; "
                f"got {save_freq!r}."
            )
        self.save_freq, self.delete_checkpoint = save_freq, delete_checkpoint
        self._path = pathlib.Path(directory) / "training.npz"
        self._epoch, self._last = 0, 0
        self._skipped, self._metrics = 0, None  # of the epoch that is gone on with

    def epoch(self):
        """Returns the epoch to go on in, or None if there is no backup."""
        position = self._position()
        return None if position is None else position["epoch"]

    def on_train_begin(self, logs=None):
        self._skipped, self._metrics = 0, None
        position = self._position()
        if position is None:
            return
        optimizer = self.model.optimizer
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        variables = self._variables()
        self._check(variables, position["variables"])
        with np.load(self._path) as values:
            for i, variable in enumerate(variables):
                variable.assign(values[f"variable_{i}"])
            metrics = [values[f"metric_{i}"] for i in range(position["metrics"])]
        self.model._initial_epoch = position["epoch"]
        if position["step"]:
            self._skip(position["step"], metrics)

    def _check(self, variables, saved):
        """Raises `ValueError`, before anything is changed, if a backup does not fit."""
        described = _described(variables)
        for found, wanted in zip(described, saved):
            if _key(found) != _key(wanted):
                raise ValueError(
                    "The backup must be of the same model and optimizer; got one "
                    f"with {wanted[0]} of shape {wanted[1]} in the place of "
                    f"{found[0]} of shape {found[1]}, in {self._path}."
                )
        if len(saved) != len(described):
            raise ValueError(
                "The backup must be of the same model and optimizer; got one with "
                f"{len(saved)} variables for {len(described)}, in {self._path}."
            )

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch, self._last = epoch, 0
        variables = self.model.metrics_variables  # `fit` has just reset them
        if self._metrics and len(variables) == len(self._metrics):
            for variable, value in zip(variables, self._metrics):
                variable.assign(value)
            self._metrics = None

    def on_train_batch_end(self, batch, logs=None):
        step = batch + 1
        if self.save_freq == "epoch" or step <= self._skipped:
            return
        if step // self.save_freq > self._last // self.save_freq:
            self._save(self._epoch, step)
        self._last = step

    def on_epoch_end(self, epoch, logs=None):
        self._skipped, self._metrics = 0, None
        self._save(epoch + 1, 0)

    def on_train_end(self, logs=None):
        self.model._initial_epoch = None
        if self.delete_checkpoint and self._writes():
            self._path.unlink(missing_ok=True)
            self._temporary().unlink(missing_ok=True)

    def _skip(self, number, metrics):
        """Makes the model leave so many batches alone, with the metrics that it had."""
        model = self.model
        train = getattr(model.train_function, "after_skipping", model.train_function)
        self._skipped, self._metrics, left = number, metrics, number

        def train_function(iterator):
            nonlocal left
            if left > 0:
                for _ in range(model.steps_per_execution):
                    next(iterator)
                left -= model.steps_per_execution
                return {} if left > 0 else model.get_metrics_result()
            model.train_function = train
            logs = train(iterator)
            if self._metrics:  # of metrics that the first step has made; they are sums
                for variable, value in zip(model.metrics_variables, self._metrics):
                    variable.assign(variable + value)
                self._metrics = None
            return logs

        train_function.after_skipping = train
        model.train_function = train_function

    def _variables(self):
        return [*self.model.variables, *self.model.optimizer.variables]

    def _save(self, epoch, step):
        # On all workers: to read what is summed over replicas takes them all.
        variables = self._variables()
        metrics = [_saved(variable) for variable in self.model.metrics_variables]
        values = {f"variable_{i}": _saved(v) for i, v in enumerate(variables)}
        values.update({f"metric_{i}": value for i, value in enumerate(metrics)})
        position = dict(
            epoch=epoch,
            step=step,
            metrics=len(metrics),
            variables=_described(variables),
        )
        if not self._writes():
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._temporary()
        with open(temporary, "wb") as file:
            np.savez(file, position=json.dumps(position), **values)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._path)

    def _temporary(self):
        return self._path.with_suffix(".tmp")

    def _position(self):
        if not self._path.exists():
            return None
        with np.load(self._path) as values:
            return json.loads(str(values["position"]))

    def _writes(self):
        """Tells whether this process is the one that writes."""
        strategy = self.model.distribute_strategy
        resolver = getattr(strategy, "cluster_resolver", None)
        if resolver is None or resolver.task_type is None:
            return True
        workers = resolver.cluster_spec().as_dict()
        first = "chief" if "chief" in workers else "worker"
        return (resolver.task_type, resolver.task_id) == (first, 0)


def epoch_to_resume(callbacks, initial_epoch):
    """Returns the epoch in which training goes on, so that data start there.

    Args:
      callbacks: what `fit` was given: a list of callbacks, one, or None.
      initial_epoch: where it begins without a backup.
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


def _described(variables):
    """Returns path and shape of each variable."""
    return [[variable.path, list(variable.shape)] for variable in variables]


def _key(description):
    """Returns a description without the numbers that Keras counts."""
    path, shape = description
    return "".join(c for c in path if not c.isdigit() and c != "_"), shape


def _saved(variable):
    """Returns a value as NumPy writes it: of bfloat16 it knows no more than the size.

    The variable that it is assigned to takes it back, to the bit.
    """
    value = variable.numpy()
    return value.astype(np.float32) if value.dtype.kind == "V" else value
