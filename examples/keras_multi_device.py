"""Trains a flow on one device or many, and goes on where it was interrupted.

One script for a laptop, for the GPUs of one machine, and for many machines: the global
batch is the same in all of them, and so are the losses. The data are the digits that
come with scikit-learn, 8 x 8 pixels with levels 0 to 16, with noise that makes them
continuous. Run

    pip install -e ".[examples]"
    python examples/keras_multi_device.py

It takes all GPUs of the machine if there are any. Without one, `--devices 2` makes two
logical devices of the processor, and `--workers 2` starts two processes that train
together as two machines would, to try it out. With `--backup DIR` a training that was
killed goes on with the batch after its last backup.

On many machines run the same command on each, with the same number of devices and a
`--backup` that all of them can read, and with

    TF_CONFIG='{"cluster": {"worker": ["host0:12345", "host1:12345"]},
                "task": {"type": "worker", "index": 0}}'

in the environment, where `index` is the machine's number. If one of them dies, the
others end with an error: start all of them again.

Losses in nats, held-out nats, and the least and most seconds of an epoch after the
first one, on 2 cores without a GPU, seed 0:

                             loss of epoch 1, 2, ..., 6     held out     seconds
    one device               -79.050  -85.743  -89.672      85.62    0.64 to 0.85
    --devices 2              -79.050  -85.744  -89.670      85.62    1.40 to 1.59
    --workers 2              -79.050  -85.744  -89.670      85.62    3.79 to 3.89
    --batch 960                                -87.337      81.92    0.29 to 0.32
    --batch 960 --devices 2                    -87.338      81.92    0.45 to 0.49

The first epoch has 4 to 10 s to trace. What the losses differ by is rounding, which 132
steps of float32 in an epoch make larger. Two devices that share a processor have
nothing to gain: a step of 5 ms takes 11 ms on two of them, and 29 ms on two workers.
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
      backup: folder to save the training to, and to go on from; or None.
      seed: integer that decides the noise, the initial values and the batches.

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
        model = DensityModel(with_units(flow, train), seed=seed)
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

    Each digit comes with ten draws of the noise, so that no draw is learnt by heart.
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--epochs", type=int, default=6)
    add("--batch", type=int, default=96, help="points in a step, on all devices")
    add("--devices", type=int, help="GPUs, or logical devices if there are none")
    add("--backup", metavar="DIR", help="where to save, and to go on from")
    add("--seed", type=int, default=0)
    add("--workers", type=int, help="start so many processes that train together")
    options = vars(parser.parse_args())
    workers = options.pop("workers")
    if workers is None:
        main(**options)
    else:
        given = [
            f"--{name}={value}" for name, value in options.items() if value is not None
        ]
        sys.exit(max(map(abs, start_workers(workers, given))))
