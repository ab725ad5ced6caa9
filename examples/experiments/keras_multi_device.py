"""Trains a flow on one device, several devices or several machines, resumably.

The script takes all GPUs of the machine. Without one, `--devices 2` splits the
processor into two logical devices, and `--workers 2` starts two processes that train
together as two machines would. Run

    python examples/experiments/keras_multi_device.py --backup runs/digits

On several machines run the same command on each, with the same number of devices, with
a `--backup` that all of them can read, and with this in the environment, where `index`
is the number of the machine:

    TF_CONFIG='{"cluster": {"worker": ["host0:12345", "host1:12345"]},
                "task": {"type": "worker", "index": 0}}'

If one machine fails, the others end with an error: restart all of them, and training
resumes after the batch of the last backup. Results are recorded in
`results/keras_multi_device.json`.
"""

import argparse
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import recording
import sklearn.datasets
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import flows
from tfp_flows.keras import BackupAndRestore, DensityModel

tfb, tfd = tfp.bijectors, tfp.distributions

SIZE, LEVELS = 64, 17


def main(epochs=6, batch=96, devices=None, backup=None, seed=0):
    """Fits the flow, and prints its losses and the seconds of each epoch.

    Args:
      epochs: number of passes through the training data.
      batch: number of points in a step, on all devices of all machines together.
      devices: number of GPUs, or of logical devices of the processor if there is no
        GPU; by default all GPUs, or one device.
      backup: directory of the backups, from which training resumes; or None.
      seed: integer, seed of noise, initial values and batches.

    Returns:
      figures: dictionary of lists with a number for each epoch run, `loss`, `val_loss`
        and `seconds`, and of the number of `replicas` and the held-out `nats`.

    Raises:
      ValueError: there are fewer GPUs than `devices`, or logical devices can no longer
        be made.
    """
    strategy = strategy_for(devices)  # before anything else runs
    train, validation, test = load_digits(seed)

    # Variables that are born in here are one on each device, and are kept the same.
    with strategy.scope():
        flow = flows.real_nvp(SIZE, num_layers=6, hidden_units=(128, 128), seed=seed)
        model = DensityModel(with_units(flow, train), shuffle_seed=seed)
        steps = epochs * -(-len(train) // batch)
        optimizer = keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(2e-3, steps),
            weight_decay=4.0,
            global_clipnorm=5.0,
        )
        model.compile(optimizer, metrics=["bits_per_dimension"])

    clock = Clock()
    callbacks = [clock]
    if backup is not None:
        callbacks.append(BackupAndRestore(backup, save_freq=10))
    history = model.fit(
        train,
        validation_data=(validation,),
        batch_size=batch,
        epochs=epochs,
        callbacks=callbacks,
        verbose=0,
    )
    loss = model.evaluate(test, batch_size=batch, verbose=0, return_dict=True)["loss"]
    print(f"held out: {-loss:.2f} nats, on {strategy.num_replicas_in_sync} replica(s)")
    return dict(
        {name: history.history.get(name, []) for name in ["loss", "val_loss"]},
        seconds=clock.seconds,
        replicas=strategy.num_replicas_in_sync,
        nats=-loss,
    )


def strategy_for(devices):
    """Returns the strategy for several machines, several devices, or one."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and devices is not None:
        if len(gpus) < devices:
            raise ValueError(
                f"`devices` must be at most the number of GPUs, {len(gpus)}; "
                f"got {devices}."
            )
        gpus = gpus[:devices]
        tf.config.set_visible_devices(gpus, "GPU")
    if "TF_CONFIG" in os.environ:
        return tf.distribute.MultiWorkerMirroredStrategy()
    if gpus:
        names = [f"GPU:{i}" for i in range(len(gpus))]
    else:
        names = [f"CPU:{i}" for i in range(devices or 1)]
        if len(names) > 1:
            split_processor(len(names))
    if len(names) == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy(names)


def split_processor(number):
    """Makes logical devices of the processor."""
    (processor,) = tf.config.list_physical_devices("CPU")
    parts = [tf.config.LogicalDeviceConfiguration()] * number
    if tf.config.get_logical_device_configuration(processor) == parts:
        return
    try:
        tf.config.set_logical_device_configuration(processor, parts)
    except RuntimeError as error:
        raise ValueError(
            f"`devices` must be set before TensorFlow is used; got {number}, after it."
        ) from error


def load_digits(seed):
    """Returns dequantized digits in [0, 1) for training, validation and test.

    Each digit comes with ten draws of the noise, against overfitting.
    """
    levels = sklearn.datasets.load_digits().data
    levels = levels[np.random.RandomState(0).permutation(len(levels))]
    random = np.random.RandomState(seed)  # alike on all machines
    return [
        np.concatenate(
            [
                np.float32((part + random.uniform(size=part.shape)) / LEVELS)
                for _ in range(10)
            ]
        )
        for part in np.split(levels, [1260, 1400])
    ]


def with_units(flow, train):
    """Returns the flow with the location and scale of the logits of the data."""
    margin = 0.02  # keeps the logarithms away from 0
    to_data = [tfb.Scale(1.0 / (1.0 - 2.0 * margin)), tfb.Shift(-margin), tfb.Sigmoid()]
    logits = tfb.Chain(to_data).inverse(train).numpy()
    mean, scale = np.mean(logits, axis=0), np.std(logits, axis=0)
    return flow.copy(
        bijector=tfb.Chain(
            [*to_data, tfb.Shift(mean), tfb.Scale(scale), *flow.bijector.bijectors]
        )
    )


class Clock(keras.callbacks.Callback):
    """Prints losses, and keeps the seconds of each epoch."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self._start)
        print(
            f"epoch {epoch + 1:3}  loss {logs['loss']:8.3f}  validation "
            f"{logs['val_loss']:8.3f}  {self.seconds[-1]:6.2f} s",
            flush=True,
        )


def start_workers(number, arguments):
    """Starts this script once for each worker; returns their exit statuses."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    processes = []
    for index in range(number):
        task = dict(cluster=dict(worker=workers), task=dict(type="worker", index=index))
        environment = dict(os.environ, TF_CONFIG=json.dumps(task))
        quiet = None if index == 0 else subprocess.DEVNULL
        command = [sys.executable, pathlib.Path(__file__).resolve(), *arguments]
        processes.append(subprocess.Popen(command, env=environment, stdout=quiet))
    return [process.wait() for process in processes]


def index_of_worker():
    """Returns the number of this machine among those that train together."""
    return json.loads(os.environ["TF_CONFIG"])["task"]["index"]


def rows(results, options):
    """Returns the results as rows of the record."""
    workers = "TF_CONFIG" in os.environ
    return [
        dict(
            data="digits",
            model=f"{results['replicas']} {'workers' if workers else 'devices'}",
            metric="held-out log-likelihood",
            value=float(results["nats"]),
            unit="nats",
            seed=options["seed"],
            seconds=float(sum(results["seconds"])),
        )
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--epochs", type=int, default=6)
    add("--batch", type=int, default=96, help="points in a step, on all devices")
    add("--devices", type=int, help="GPUs, or logical devices if there are none")
    add("--backup", metavar="DIR", help="directory of the backups")
    add("--seed", type=int, default=0)
    add("--workers", type=int, help="number of processes to start that train together")
    options = vars(parser.parse_args())
    workers = options.pop("workers")
    if workers is None:
        results = main(**options)
        if "TF_CONFIG" not in os.environ or index_of_worker() == 0:
            recording.record("keras_multi_device", rows(results, options))
    else:
        given = [
            f"--{name}={value}" for name, value in options.items() if value is not None
        ]
        sys.exit(max(map(abs, start_workers(workers, given))))
