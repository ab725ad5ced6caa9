"""Writes files that every later version must read: `tests/test_compatibility.py`.

    python -m tests.write_compatibility_data

writes `tests/data/VERSION`, and nothing if that is there: the files of a version are
never written again. They are `.keras` files, one TensorFlow checkpoint, and for each
the points, contexts and log densities, in `NAME.npz`.
"""

import pathlib

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_flows
from tests.catalogue.flows import moved
from tfp_flows import flows, normalization
from tfp_flows.bijectors import Coupling
from tfp_flows.keras import Conditioner, DensityModel
from tfp_flows.networks import MADE

DATA = pathlib.Path(__file__).parent / "data"
RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=[5, 4]).astype(np.float32)
CONTEXTS = RNG.normal(size=[5, 3]).astype(np.float32)
IMAGES = RNG.uniform(0.0, 256.0, size=[5, 4, 4, 1]).astype(np.float32)
INTEGERS = RNG.integers(0, 5, size=[5, 4]).astype(np.float32)


def of_keras_network():
    network = keras.Sequential(
        [
            keras.layers.Dense(4, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(4),
        ]
    )
    conditioner = Conditioner(network, [2, 2], input_shape=[2])
    mask = [True, False, True, False]
    noise = tfp.distributions.Sample(tfp.distributions.Normal(0.0, 1.0), 4)
    return tfp.distributions.TransformedDistribution(noise, Coupling(mask, conditioner))


def standardized():
    flow = flows.real_nvp(4, 2, (4,), seed=0, batch_norm=True, standardize=True)
    normalization.initialize_from_data(flow, 3.0 + 2.0 * VECTORS)
    return flow


def glow():
    flow = flows.glow([4, 4, 1], 1, 2, 4, seed=0)
    normalization.initialize_from_data(flow, IMAGES)
    return flow


# For each file, the flow, and what it is asked for.
MODELS = {
    "maf": (lambda: flows.maf(4, 2, (4,), seed=0, order="random"), [VECTORS]),
    "maf_context": (
        lambda: flows.maf(4, 2, (4,), seed=0, context_size=3),
        [VECTORS, CONTEXTS],
    ),
    "iaf": (lambda: flows.iaf(4, 2, (4,), seed=0), [VECTORS]),
    "real_nvp_scan": (
        lambda: flows.real_nvp(4, 4, (4,), seed=0, scan=True),
        [VECTORS],
    ),
    "real_nvp_standardized": (standardized, [VECTORS]),
    "nice": (lambda: flows.nice(4, 2, (4,), seed=0), [VECTORS]),
    "neural_spline": (lambda: flows.neural_spline(4, 2, (4,), seed=0), [VECTORS]),
    "planar": (lambda: flows.planar(4, 2, seed=0, invert=True), [VECTORS]),
    "radial": (lambda: flows.radial(4, 2, seed=0, invert=True), [VECTORS]),
    "sylvester": (lambda: flows.sylvester(4, 2, seed=0, invert=True), [VECTORS]),
    "glow": (glow, [IMAGES]),
    "discrete_autoregressive": (
        lambda: flows.discrete_autoregressive(MADE(4, 5, (4,), seed=0), 5),
        [INTEGERS],
    ),
    "conditioner": (of_keras_network, [VECTORS]),
}


def checkpointed(seed=0):
    """Returns the flow of the checkpoint, with the initial values of a seed."""
    return flows.maf(4, 2, (4,), seed=seed)


def main(folder=DATA / tfp_flows.__version__):
    """Writes the files of this version.

    Args:
      folder: where, which must not exist.
    """
    folder.mkdir(parents=True)
    for name, (make, inputs) in MODELS.items():
        model = DensityModel(moved(make()))
        model.compile(run_eagerly=True)  # files do not depend on graphs
        log_prob = model.predict(inputs[0] if len(inputs) == 1 else inputs, verbose=0)
        model.save(folder / f"{name}.keras")
        save(folder / f"{name}.npz", inputs, log_prob)
    flow = moved(checkpointed())
    tf.train.Checkpoint(flow=flow).write(str(folder / "checkpoint"))
    save(folder / "checkpoint.npz", [VECTORS], flow.log_prob(VECTORS))


def save(path, inputs, log_prob):
    """Writes points, contexts and log densities."""
    arrays = dict(zip(["x", "context"], inputs))
    np.savez_compressed(path, log_prob=log_prob, **arrays)


if __name__ == "__main__":
    main()
