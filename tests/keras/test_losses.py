"""Tests of `tfp_flows.keras.losses`; those of the loss are beside its layer's."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close
from tfp_flows.keras import BitsPerDimension, DensityModel, LogLikelihood

tfd = tfp.distributions

LOG_PROB = np.array([-1.0, -2.0, 4.0], np.float32)
WEIGHTS = np.array([1.0, 0.0, 3.0], np.float32)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize(
    "metric, factor",
    [(LogLikelihood(), 1.0), (BitsPerDimension(4), -1.0 / (4.0 * np.log(2.0)))],
)
def test_metrics_are_weighted_means_over_batches(metric, factor, weights):
    metric = type(metric).from_config(metric.get_config())
    for rows in (slice(0, 2), slice(2, 3)):
        part = None if weights is None else weights[rows]
        metric.update_state(np.zeros_like(LOG_PROB[rows]), LOG_PROB[rows], part)
    close(metric.result(), factor * np.average(LOG_PROB, weights=weights), 1e-6)
    config = keras.saving.serialize_keras_object(metric)
    assert keras.saving.deserialize_keras_object(config).name == metric.name


def test_rejects_an_event_size_below_one():
    with pytest.raises(ValueError, match="`event_size` must be at least 1; got 0"):
        BitsPerDimension(0)


@pytest.mark.parametrize(
    "callback",
    [
        keras.callbacks.EarlyStopping,
        keras.callbacks.ReduceLROnPlateau,
        lambda monitor: keras.callbacks.ModelCheckpoint("_.keras", monitor, 0, True),
    ],
)
@pytest.mark.parametrize("name", ["log_likelihood", "bits_per_dimension", "loss"])
def test_callbacks_know_in_which_direction_metrics_improve(name, callback):
    model = DensityModel(tfd.Normal(tf.Variable(0.0), 1.0))
    model.compile(
        "sgd", metrics=["log_likelihood"], weighted_metrics=["bits_per_dimension"]
    )
    model.evaluate(np.float32([1.0]), verbose=0)
    callback = callback(monitor=f"val_{name}")
    callback.set_model(model)
    callback._set_monitor_op()
    better, worse = (1.0, 0.0) if name == "log_likelihood" else (0.0, 1.0)
    assert callback._is_improvement(better, worse)
    assert not callback._is_improvement(worse, better)


def test_early_stopping_keeps_the_weights_of_the_highest_density():
    # The validation data are where the model begins: it gets worse from there.
    model = DensityModel(tfd.Normal(tf.Variable(0.0), 1.0))
    model.compile(keras.optimizers.SGD(0.1), metrics=["log_likelihood"])
    history = model.fit(
        np.ones(8),
        validation_data=(np.zeros(1),),
        epochs=9,
        verbose=0,
        callbacks=[
            keras.callbacks.EarlyStopping(
                "val_log_likelihood", restore_best_weights=True
            )
        ],
    ).history["val_log_likelihood"]
    assert len(history) == 2 and history[1] < history[0]
    close(model.distribution.loc, 0.1, 1e-6)


@pytest.mark.parametrize("weights", [WEIGHTS, WEIGHTS[:, None]])
def test_a_density_of_no_weight_may_be_infinite(weights):
    log_prob = np.where(WEIGHTS == 0.0, -np.inf, LOG_PROB)
    for values in (log_prob, log_prob[:, None]):
        metric = LogLikelihood()
        metric.update_state(np.zeros_like(values), values, weights)
        close(metric.result(), np.average(LOG_PROB, weights=WEIGHTS), 1e-6)
