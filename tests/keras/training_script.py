"""A training script that tests start in processes of their own.

It trains the same on one device, on several logical devices, and as one of several
workers if `TF_CONFIG` says so; with backups; and it dies where it is told to.
"""

import argparse
import json
import os
import pathlib
import signal

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import bijectors, flows
from tfp_flows.keras import BackupAndRestore, Conditioner, DensityModel

tfb, tfd = tfp.bijectors, tfp.distributions


def points(number, size=3):
    return np.random.default_rng(0).normal(size=[number, size])


def real_nvp(**kwargs):
    return DensityModel(flows.real_nvp(3, 2, (4,), seed=0, dtype=tf.float64, **kwargs))


def arrays():
    """The last batch of an epoch has 3 rows: 2 replicas do not divide it."""
    model, x = real_nvp(), points(27)
    # Gradients are longer than that, in sum and on each replica.
    optimizer = keras.optimizers.Adam(1e-2, global_clipnorm=0.1)
    model.compile(optimizer, metrics=["log_likelihood"])
    return model, dict(x=x, validation_data=(x[:5],), epochs=3), x[:7]


def spline():
    """Gradients of splines are sums of many tensors."""
    model = DensityModel(flows.neural_spline(2, 2, (8,), seed=0), shuffle_seed=1)
    model.compile("adam", metrics=["log_likelihood"])
    return model, dict(x=np.float32(points(27, 2)), epochs=3), np.float32(points(7, 2))


def weights():
    """The last batch of an epoch has 1 row, and a replica none; rows have weights."""
    model, x = real_nvp(context_size=2), points(25)
    x = [x, x[:, :2] ** 2]
    model.compile("sgd", metrics=["log_likelihood"])
    weights = np.linspace(0.0, 2.0, 25)
    return model, dict(x=x, sample_weight=weights), [each[:7] for each in x]


def axes():
    """Points `[N, T, D]`, with a weight for each; metrics have their own weights."""
    model, x = real_nvp(), np.reshape(1.0 + points(75), [25, 3, 3])
    model.compile(
        "sgd", metrics=["log_likelihood"], weighted_metrics=["bits_per_dimension"]
    )
    weights = np.linspace(0.0, 2.0, 75).reshape([25, 3])
    return model, dict(x=x, sample_weight=weights), x[:7]


def columns():
    """Weights `[N, 1]`, of which one is 0, of a point out of the support."""
    flow = flows.real_nvp(3, 2, (4,), seed=0, dtype=tf.float64)
    model = DensityModel(flow.copy(bijector=tfb.Chain([tfb.Exp(), flow.bijector])))
    model.compile("sgd", weighted_metrics=["log_likelihood"])
    weights = np.linspace(0.0, 2.0, 25)
    x = np.exp(points(25))
    x[0] = 0.0
    return model, dict(x=x, sample_weight=weights[:, None], shuffle=False), x[1:8]


def refused():
    """The third batch has a point out of the support, for one replica."""
    model, arguments, x = columns()
    x = np.exp(points(25))
    x[18] = 0.0
    return model, dict(x=x, shuffle=False), x[:7]


def dataset():
    """A `tf.data.Dataset` of global batches, of which the last has 1 row."""
    flow = flows.real_nvp(3, 2, (4,), seed=0, dtype=tf.float64)
    chain = tfb.Chain([tfb.Scale(tf.constant(2.0, tf.float64)), flow.bijector])
    model, x = DensityModel(flow.copy(bijector=chain)), points(25)  # of no recipe
    model.compile("sgd")
    batches = tf.data.Dataset.from_tensor_slices((x,)).batch(8)
    return model, dict(x=batches, batch_size=None), x[:7]


def glow():
    """Layers of actnorm start from the data; all of it is float32."""
    x = np.float32(np.random.default_rng(0).uniform(0.0, 256.0, [10, 4, 4, 1]))
    model = DensityModel(flows.glow([4, 4, 1], 1, 1, 2, seed=0))
    model.compile(keras.optimizers.Adam(1e-3))
    return model, dict(x=x), x[:7]


def batch_norm():
    """The last batch of an epoch has 1 row, which batch norm on a replica lacks."""
    network = keras.Sequential(
        [
            keras.Input([1]),
            keras.layers.Dense(4),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(4),
            keras.layers.Reshape([2, 2]),
        ]
    )
    coupling = bijectors.Coupling([True, False, False], Conditioner(network))
    noise = tfd.Sample(tfd.Normal(0.0, 1.0), 3)
    model, x = DensityModel(tfd.TransformedDistribution(noise, coupling)), points(25)
    model.compile("sgd")
    return model, dict(x=np.float32(x)), np.float32(x[:7])


def unordered():
    """A Glow that starts from a dataset in another order on each worker."""
    model, arguments, x = glow()
    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    batches = tf.data.Dataset.from_tensor_slices((arguments["x"],))
    return model, dict(x=batches.shuffle(10, seed=index).batch(5), batch_size=None), x


def dropout():
    """A coupling with dropout, in a Keras network; two steps in each execution."""
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.Input([1]),
            keras.layers.Dense(8, "relu"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(4),
            keras.layers.Reshape([2, 2]),
        ]
    )
    coupling = bijectors.Coupling([True, False, False], Conditioner(network))
    noise = tfd.Sample(tfd.Normal(0.0, 1.0), 3)
    model = DensityModel(tfd.TransformedDistribution(noise, coupling), shuffle_seed=3)
    x = np.float32(points(32))
    model.compile("adam", metrics=["bits_per_dimension"], steps_per_execution=2)
    return model, dict(x=x, epochs=3), x[:7]


def plain():
    """A Keras model without a flow, with a pipeline that draws from a seed."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input([3]), keras.layers.Dropout(0.2), keras.layers.Dense(1)]
    )
    model.compile("adam", "mse", metrics=["mae"])

    def noisy(i, x):
        return x + tf.random.stateless_normal([3], [0, i]), tf.reduce_sum(x)[None]

    batches = tf.data.Dataset.from_tensor_slices(np.float32(points(27)))
    batches = batches.shuffle(27, seed=1, reshuffle_each_iteration=False)
    batches = batches.enumerate().map(noisy, num_parallel_calls=2).batch(8)
    return model, dict(x=batches, epochs=3, batch_size=None), np.float32(points(7))


class Count(keras.callbacks.Callback):
    """Notes each step in a file, and dies after one of them, or before an epoch.

    Args:
      path: path of the file, or None.
      kill: [epoch, step]: die after so many steps of the epoch, or before it.
      torn: whether to die while the next backup is written, instead.
    """

    def __init__(self, path, kill, torn):
        super().__init__()
        self._path, self._kill, self._torn = path, kill, torn

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._die_at(0)

    def on_train_batch_end(self, batch, logs=None):
        iterations = int(self.model.optimizer.iterations.numpy())
        if self._path is not None:
            with open(self._path, "a") as file:
                print(self._epoch, batch + 1, iterations, file=file)
        self._die_at(batch + 1)

    def _die_at(self, step):
        if self._kill != [self._epoch, step]:
            return
        if self._torn:
            os.fsync = die
        else:
            die()


def die(*args):
    os.kill(os.getpid(), signal.SIGKILL)


def main(
    trainings,
    result,
    devices=1,
    deterministic=False,
    backup=None,
    frequency=3,
    kill=None,
    torn=False,
):
    """Runs trainings, and writes histories, weights and predictions to a file."""
    if deterministic:
        tf.config.experimental.enable_op_determinism()
        tf.config.threading.set_inter_op_parallelism_threads(1)
    strategy = strategy_for(devices)
    results = {}
    for name in trainings:
        with strategy.scope():
            model, arguments, x = globals()[name]()
        arguments = dict(batch_size=8, epochs=2, verbose=0) | arguments
        if backup is not None:
            backup.mkdir(parents=True, exist_ok=True)
            steps = backup / f"{name}.{os.getpid()}.steps"
            arguments["callbacks"] = [
                BackupAndRestore(backup / name, frequency),
                Count(steps, kill, torn),
            ]
        try:
            history = model.fit(**arguments)
        except (tf.errors.InvalidArgumentError, ValueError) as error:
            results[f"{name}/error"] = str(error)
            results[f"{name}/steps"] = model.optimizer.iterations.numpy()
            results[f"{name}/rest"] = model.get_weights()[0]
            continue
        results |= {f"{name}/{k}": v for k, v in history.history.items()}
        values = [strategy.experimental_local_results(v.value) for v in model.variables]
        results[f"{name}/weights"] = np.stack(
            [np.concatenate([np.ravel(v) for v in replica]) for replica in zip(*values)]
        )
        results[f"{name}/epochs"] = history.epoch
        results[f"{name}/predictions"] = model.predict(x, batch_size=4, verbose=0)
    np.savez(result, **results)


def strategy_for(devices):
    """Returns the strategy for workers, for logical devices, or for one device."""
    if "TF_CONFIG" in os.environ:
        return tf.distribute.MultiWorkerMirroredStrategy()
    if devices == 1:
        return tf.distribute.get_strategy()
    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        processor, [tf.config.LogicalDeviceConfiguration()] * devices
    )
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(devices)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("trainings", nargs="+", help="names of functions of this file")
    add("--devices", type=int, default=1, help="number of logical devices")
    add("--deterministic", action="store_true")
    add("--backup", type=pathlib.Path, help="folder for backups")
    add("--frequency", default=3, type=lambda n: int(n) if n.isdigit() else n)
    add(
        "--kill",
        type=lambda text: list(map(int, text.split(","))),
        metavar="EPOCH,STEP",
        help="die after so many steps, or before the epoch",
    )
    add("--torn", action="store_true", help="die while the backup after it is written")
    add("--result", type=pathlib.Path, help="file to write, `.npz`")
    main(**vars(parser.parse_args()))
