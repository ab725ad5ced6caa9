"""Tests of `DensityModel`s of distributions in float16 and bfloat16.

Log-densities have the digits of their format. Means over them have those of float32.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close
from tfp_flows.keras import BackupAndRestore, DensityModel

tfd = tfp.distributions

X = np.float32(3.0 * np.random.default_rng(0).normal(size=3000))
each_dtype = pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])


def normal(dtype):
    loc, scale = (tf.Variable(tf.constant(value, dtype)) for value in (1.0, 2.0))
    return tfd.Normal(loc, scale)


def model_of(dtype, **options):
    model = DensityModel(normal(dtype))
    model.compile(
        keras.optimizers.SGD(0.25),
        metrics=["log_likelihood", "bits_per_dimension"],
        **options,
    )
    return model


@each_dtype
def test_means_have_the_digits_of_float32(dtype):
    model = model_of(dtype)
    log_prob = np.float64(normal(dtype).log_prob(tf.cast(X, dtype)).numpy())
    mean = np.mean(log_prob)
    expected = dict(
        loss=-mean, log_likelihood=mean, bits_per_dimension=-mean / np.log(2.0)
    )
    result = model.evaluate(X, verbose=0, return_dict=True)
    assert sorted(result) == sorted(expected)
    for name, value in expected.items():
        assert type(result[name]) is float
        close(result[name], value, 2e-5)
    weights = np.linspace(0.0, 2.0, 3000)
    result = model.evaluate(X, sample_weight=weights, batch_size=3000, verbose=0)
    close(result[0], -np.mean(weights * log_prob), 2e-5)
    assert model.predict(X[:3], verbose=0).dtype == dtype.as_numpy_dtype


@each_dtype
def test_many_equal_rows_have_the_mean_of_one(dtype):
    one = np.float64(normal(dtype).log_prob(tf.constant(1.0, dtype)).numpy())
    x = np.ones(100000, np.float32)
    for size in (1000, 100000):
        close(model_of(dtype).evaluate(x, batch_size=size, verbose=0)[0], -one, 1e-5)
    history = model_of(dtype).fit(x, batch_size=100000, verbose=0).history
    close(history["loss"], [-one], 1e-5)


@each_dtype
def test_fit_tells_of_its_epochs_in_numbers(dtype, capfd, tmp_path):
    model = model_of(dtype)
    history = model.fit(
        X,
        epochs=2,
        verbose=2,
        validation_split=0.5,
        batch_size=500,
        callbacks=[keras.callbacks.CSVLogger(tmp_path / "log.csv")],
    ).history
    assert "val_log_likelihood" in capfd.readouterr().out
    assert all(type(v) is float for values in history.values() for v in values)
    assert history["loss"][1] < history["loss"][0] - 0.01
    table = np.genfromtxt(tmp_path / "log.csv", delimiter=",", names=True)
    close(table["val_loss"], history["val_loss"], 1e-6)


@each_dtype
def test_a_backup_gives_weights_back_to_the_bit(dtype, tmp_path):
    def fitted(directory, stop=None):
        def interrupt(step, logs):
            if step == stop:
                raise KeyboardInterrupt

        model = model_of(dtype)
        try:
            model.fit(
                X,
                epochs=2,
                batch_size=500,
                verbose=0,
                callbacks=[
                    BackupAndRestore(directory, save_freq=2),
                    keras.callbacks.LambdaCallback(on_train_batch_end=interrupt),
                ],
            )
        except KeyboardInterrupt:
            return fitted(directory)
        return model

    undisturbed, resumed = fitted(tmp_path / "a"), fitted(tmp_path / "b", stop=3)
    assert undisturbed.optimizer.iterations == resumed.optimizer.iterations == 12
    for a, b in zip(undisturbed.variables, resumed.variables):
        assert a.dtype == b.dtype == dtype.name
        assert np.all(a.numpy() == b.numpy())


@each_dtype
def test_a_file_gives_weights_back(dtype, tmp_path):
    model = model_of(dtype)
    model.fit(X, batch_size=500, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.distribution.dtype == dtype
    for x in (X, X[:7]):
        assert loaded.evaluate(x, verbose=0) == model.evaluate(x, verbose=0)
