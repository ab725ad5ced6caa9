"""Flows that take mean and scale of each column from the data: `standardize=True`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.laws import close
from tfp_flows import flows, normalization
from tfp_flows.keras import DensityModel

SCALE, SHIFT = np.array([1e-2, 1.0, 30.0, 1e3]), np.array([0.05, -3.0, 100.0, 4e3])
RECIPES = {
    "maf": lambda **k: flows.maf(4, 2, (8,), seed=0, **k),
    "iaf": lambda **k: flows.iaf(4, 2, (8,), seed=0, **k),
    "real_nvp": lambda **k: flows.real_nvp(4, 2, (8,), seed=0, **k),
    "nice": lambda **k: flows.nice(4, 2, (8,), seed=0, **k),
    "spline": lambda **k: flows.neural_spline(4, 2, (8,), seed=0, **k),
    "autoregressive spline": lambda **k: flows.neural_spline(
        4, 2, (8,), seed=0, kind="autoregressive", **k
    ),
}


def columns(number=600):
    """Points of bent columns, as they are and standardized, and `log` of the scale."""
    z = np.random.default_rng(0).normal(size=[number, 4])
    z[:, 1] += 0.8 * z[:, 0] ** 2
    raw = z * SCALE + SHIFT
    deviation = np.std(raw, axis=0)
    return raw, (raw - np.mean(raw, axis=0)) / deviation, np.sum(np.log(deviation))


@pytest.mark.parametrize("name", RECIPES)
def test_density_of_raw_columns_is_that_of_standardized_ones(name):
    raw, standardized, log_scale = columns(50)
    flow, plain = (
        RECIPES[name](dtype=tf.float64, standardize=yes) for yes in (True, False)
    )
    normalization.initialize_from_data(flow, raw)
    assert len(flow.trainable_variables) == len(plain.trainable_variables)
    rng = np.random.default_rng(1)
    for variable, same in zip(plain.trainable_variables, flow.trainable_variables):
        assert variable.shape == same.shape
        same.assign(0.3 * rng.normal(size=variable.shape))
        variable.assign(same)
    close(flow.log_prob(raw), plain.log_prob(standardized) - log_scale, 1e-9)
    y = flow.bijector.forward(plain.bijector.inverse(standardized))
    close(np.array(y), raw, 1e-9)


def test_noise_of_nice_starts_with_the_spread_of_the_data():
    raw, *_ = columns(50)
    flow = RECIPES["nice"](dtype=tf.float64, standardize=True)
    normalization.initialize_from_data(flow, raw)
    sample = flow.sample(100_000, seed=(0, 1))
    close(np.std(sample, axis=0) / np.std(raw, axis=0), np.ones(4), 0.02)


def test_raw_columns_fit_as_standardized_ones(tmp_path):
    raw, standardized, log_scale = (np.float32(value) for value in columns())

    def fitted(x, **options):
        model = DensityModel(RECIPES["real_nvp"](**options))
        model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
        losses = model.fit(x, batch_size=len(x), epochs=15, verbose=0).history["loss"]
        return model, losses[-1]

    model, loss = fitted(raw, standardize=True, scan=True)
    _, expected = fitted(standardized)
    before = 4 * 0.5 * np.log(2.0 * np.pi * np.e)  # of what is but standardized
    assert abs(loss - (expected + log_scale)) < 0.05
    assert loss < before + log_scale - 0.1
    model.save(f"{tmp_path}/flow.keras")
    read = keras.models.load_model(f"{tmp_path}/flow.keras")
    np.testing.assert_array_equal(
        read.predict(raw, verbose=0), model.predict(raw, verbose=0)
    )


def test_density_models_take_the_scale_from_more_than_a_batch():
    rng = np.random.default_rng(0)
    x = np.float32(rng.standard_t(2, size=[5000, 4]))  # its spread varies by batch
    model = DensityModel(RECIPES["real_nvp"](standardize=True))
    model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    model.fit(x, epochs=1, steps_per_epoch=1, verbose=0)
    layer = model.distribution.bijector.bijectors[0]
    close(layer.log_scale, np.log(np.std(x, axis=0)), 1e-4)
    assert bool(layer.initialized)
