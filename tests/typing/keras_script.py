"""A user's script with Keras, which `mypy --strict` accepts."""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import bijectors, flows
from tfp_flows.keras import (
    BackupAndRestore,
    BijectorLayer,
    BitsPerDimension,
    Conditioner,
    DensityModel,
    DistributionLayer,
    LogLikelihood,
    NegativeLogLikelihood,
)

tfd = tfp.distributions


def fit_density(x: npt.NDArray[np.float32], folder: str) -> npt.NDArray[np.float32]:
    """Fits a flow, and returns log densities."""
    model = DensityModel(flows.maf(2, seed=0), shuffle_seed=1)
    metrics = [LogLikelihood(), BitsPerDimension(event_size=2)]
    model.compile(keras.optimizers.Adam(1e-3), metrics=metrics)
    backup = BackupAndRestore(folder, save_freq=100)
    history = model.fit(x, epochs=2, callbacks=[backup], validation_split=0.1)
    print(history.history["val_loss"], backup.epoch())
    samples: tf.Tensor = model.sample(3, seed=0)
    print(samples, model.condition(None).log_prob(samples), model.evaluate(x))
    model.save(f"{folder}/model.keras")
    log_prob: npt.NDArray[np.float32] = model.predict(x)
    return log_prob


def fit_regression(x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> tf.Tensor:
    """Fits a network that ends in a flow, and returns samples of its predictions."""
    layer = DistributionLayer(flows.maf(1, context_size=8, seed=0))
    model = keras.Sequential([keras.layers.Dense(8, "relu"), layer])
    model.compile("adam", NegativeLogLikelihood(layer))
    model.fit(x, y)
    return layer.distribution(model.predict(x)).sample(10, seed=0)


def coupling() -> DensityModel:
    """Returns a model of a coupling layer with a Keras network."""
    network = keras.Sequential([keras.layers.Dense(8), keras.layers.Dense(2)])
    conditioner = Conditioner(network, output_shape=[1, 2], input_shape=[1])
    layer = bijectors.Coupling([True, False], conditioner)
    y, log_det = BijectorLayer(layer, "forward", log_det="output")(np.ones([1, 2]))
    print(y, log_det)
    base = tfd.Sample(tfd.Normal(0.0, 1.0), 2)
    return DensityModel(tfd.TransformedDistribution(base, layer), name="coupling")
