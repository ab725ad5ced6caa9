"""Tests of what `DensityModel` does where a loss or its gradient is not finite."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close
from tfp_flows import flows
from tfp_flows.bijectors import ActNorm, Coupling
from tfp_flows.keras import BackupAndRestore, Conditioner, DensityModel

tfb, tfd = tfp.bijectors, tfp.distributions

RNG = np.random.default_rng(0)
X = np.float32(np.exp(RNG.normal(size=[24, 2])))
OUT = np.where(np.arange(48).reshape(24, 2) == 27, np.float32(0.0), X)  # of row 13


def positive():
    """A density of positive numbers: at 0 it has no finite logarithm, nor gradient."""
    noise = tfd.MultivariateNormalDiag(tf.Variable([0.5, -0.5]), tf.ones([2]))
    return tfd.TransformedDistribution(noise, tfb.Exp())


def exponential():
    """A density that TFP itself gives the logarithm -inf below 0."""
    rates = tf.Variable([1.0, 2.0])
    return tfd.Independent(
        tfd.Exponential(rates, force_probs_to_zero_outside_support=True), 1
    )


def model_of(flow, **options):
    model = DensityModel(flow)
    model.compile(keras.optimizers.Adam(0.1), **options)
    return model


def values_of(model):
    return [v.numpy() for v in [*model.variables, *model.optimizer.variables]]


OPTIONS = [
    dict(jit_compile=False),
    dict(jit_compile=True),
    dict(run_eagerly=True),
    dict(steps_per_execution=4),
    dict(steps_per_execution=4, jit_compile=True),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_fit_stops_before_the_weights_are_touched(options):
    expected = model_of(positive(), **options)
    expected.fit(X[:12], batch_size=4, shuffle=False, verbose=0)
    model = model_of(positive(), **options)
    text = (
        "NaN or infinite for 1 of the 4 examples of batch 4 of epoch 1. The step "
        "changed no variable. .* examples outside of the support"
    )
    with pytest.raises(ValueError, match=text):
        model.fit(OUT, batch_size=4, shuffle=False, epochs=2, verbose=0)
    for found, value in zip(values_of(model), values_of(expected)):
        close(found, value, 1e-6)
    assert model.optimizer.iterations == 3
    model.fit(X, batch_size=4, verbose=0)  # nothing is left of it
    assert model.optimizer.iterations == 9
    assert all(np.all(np.isfinite(value)) for value in values_of(model))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_one_batch_is_refused_alike(jit_compile):
    model = model_of(positive(), jit_compile=jit_compile)
    model.train_on_batch(X)
    before = values_of(model)
    with pytest.raises(
        ValueError, match="for 1 of the 24 examples of the batch. The s"
    ):
        model.train_on_batch(OUT)
    np.testing.assert_equal(values_of(model), before)
    model.train_on_batch(X)
    assert model.optimizer.iterations == 2


def test_the_epoch_and_the_step_are_named_where_training_goes_on(tmp_path):
    dataset = tf.data.Dataset.from_tensor_slices(np.stack([*[X[:12]] * 3, OUT[12:]]))
    model = model_of(positive())
    with pytest.raises(ValueError, match="1 of the 12 examples of batch 2 of epoch 4"):
        model.fit(dataset, initial_epoch=2, steps_per_epoch=2, epochs=9, verbose=0)
    model = model_of(positive())
    for _ in range(2):
        with pytest.raises(ValueError, match="examples of batch 4 of epoch 1"):
            model.fit(
                OUT,
                batch_size=4,
                shuffle=False,
                verbose=0,
                callbacks=[BackupAndRestore(tmp_path, save_freq=1)],
            )


@pytest.mark.parametrize("jit_compile", [False, True])
def test_state_of_networks_and_layers_is_as_it_was(jit_compile):
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [
            keras.layers.Dense(4),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(2),
        ]
    )
    coupling = Coupling([True, False], Conditioner(network, [1, 2], input_shape=[1]))
    normed = flows.real_nvp(2, 2, (4,), seed=0, batch_norm=True)
    chain = tfb.Chain([tfb.Exp(), coupling, normed.bijector])
    model = model_of(
        tfd.TransformedDistribution(normed.distribution, chain), jit_compile=jit_compile
    )
    before = values_of(model)
    model.train_on_batch(X)
    after = values_of(model)
    moved = [np.any(a != b) for a, b in zip(before, after)]
    assert sum(moved[: len(model.variables)]) > len(model.trainable_variables)
    with pytest.raises(ValueError, match="NaN or infinite for .* of the 24 examples"):
        model.train_on_batch(OUT)
    np.testing.assert_equal(values_of(model), after)


def test_a_start_from_points_out_of_the_support_is_refused():
    actnorm = ActNorm(
        tf.Variable([0.0, 0.0]),
        tf.Variable([0.0, 0.0]),
        event_ndims=1,
        initialized=tf.Variable(False, trainable=False),
    )
    noise = tfd.Sample(tfd.Normal(0.0, 1.0), 2)
    model = model_of(
        tfd.TransformedDistribution(noise, tfb.Chain([tfb.Exp(), actnorm]))
    )
    before = [v.numpy() for v in model.variables]
    with pytest.raises(ValueError, match="first batch must .*; got NaN or infinity"):
        model.fit(OUT, verbose=0)
    np.testing.assert_equal([v.numpy() for v in model.variables], before)
    model.fit(X, verbose=0)
    close(tf.reduce_mean(actnorm.inverse(np.log(X)), axis=0), [0.0, 0.0], 0.3)


def test_a_gradient_that_is_not_finite_is_refused_too():
    center = tf.Variable([1.0, 1.0])

    def log_prob(x):  # sqrt has no finite slope at 0
        return -tf.reduce_sum(tf.sqrt(tf.abs(x - center)), axis=-1)

    class Pointed(tfd.Distribution):
        def __init__(self):
            parameters = dict(locals())
            self._center = center
            super().__init__(
                tf.float32, tfd.FULLY_REPARAMETERIZED, False, True, parameters
            )

        def _event_shape(self):
            return tf.TensorShape([2])

        def _batch_shape(self):
            return tf.TensorShape([])

        def _log_prob(self, value):
            return log_prob(value)

    x = np.float32([[1.0, 1.0], [2.0, 3.0]])
    for jit_compile in (False, True):
        model = model_of(Pointed(), jit_compile=jit_compile)
        with pytest.raises(ValueError, match="a gradient that is not finite, from"):
            model.fit(x, verbose=0)
        close(center, [1.0, 1.0], 0.0)


def test_weights_that_were_lost_before_are_named():
    model = DensityModel(positive())
    model.compile(keras.optimizers.SGD(np.inf))
    with pytest.raises(
        ValueError, match="batch 2 .* not finite before this step.* lower"
    ):
        model.fit(X, batch_size=12, verbose=0)


def test_the_scales_of_columns_are_named():
    signs = np.resize([-1.0, 1.0], [64, 1])
    columns = np.float32(signs * [0.01, 3e3])
    model = model_of(
        tfd.TransformedDistribution(
            tfd.MultivariateNormalDiag(tf.Variable([0.0, 0.0]), tf.ones([2])),
            tfb.Invert(tfb.Exp()),
        )
    )
    with pytest.raises(ValueError, match=r"deviations of 0.01 to 3e\+03 here"):
        model.fit(columns, batch_size=64, verbose=0)


@pytest.mark.parametrize("options", [OPTIONS[0], OPTIONS[-1]], ids=str)
def test_points_of_no_weight_may_be_out_of_the_support(options):
    weights = np.where(np.arange(24) == 13, 0.0, 1.5)
    model, expected = (model_of(positive(), **options) for _ in range(2))
    model.fit(OUT, sample_weight=weights, batch_size=24, verbose=0)
    expected.fit(X, sample_weight=weights, batch_size=24, verbose=0)
    assert model.optimizer.iterations == 1
    for found, value in zip(values_of(model), values_of(expected)):
        close(found, value, 1e-6)


def test_metrics_without_weights_tell_that_a_point_is_out_of_the_support():
    model = DensityModel(positive())
    model.compile(keras.optimizers.SGD(0.5), metrics=["log_likelihood"])
    weights = np.where(np.arange(24) == 13, 0.0, 1.5)
    found = model.train_on_batch(OUT, sample_weight=weights, return_dict=True)
    assert np.isfinite(found["loss"]) and found["log_likelihood"] == -np.inf


def test_a_batch_of_no_weight_changes_nothing():
    model = DensityModel(positive())
    model.compile(keras.optimizers.SGD(0.5), weighted_metrics=["log_likelihood"])
    before = model.get_weights()
    result = model.train_on_batch(OUT[13:14], sample_weight=np.zeros(1))
    assert result == [0.0, 0.0]
    np.testing.assert_equal(model.get_weights(), before)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_evaluate_and_predict_tell_infinities_as_they_are(jit_compile):
    model = DensityModel(exponential())
    metrics = ["log_likelihood", "bits_per_dimension"]
    model.compile(
        "sgd", jit_compile=jit_compile, metrics=metrics, weighted_metrics=metrics
    )
    x = np.where(OUT > 0.0, OUT, np.float32(-1.0))
    log_prob = model.predict(x, batch_size=5, verbose=0)
    assert list(np.flatnonzero(~np.isfinite(log_prob))) == [13]
    assert log_prob[13] == -np.inf
    weights = np.where(np.arange(24) == 13, 0.0, 1.5)
    infinite = model.evaluate(x, batch_size=5, verbose=0, return_dict=True)
    assert infinite == dict(
        loss=np.inf,
        log_likelihood=-np.inf,
        bits_per_dimension=np.inf,
        weighted_log_likelihood=-np.inf,
        weighted_bits_per_dimension=np.inf,
    )
    result = model.evaluate(
        x, batch_size=5, sample_weight=weights, verbose=0, return_dict=True
    )
    rest = np.delete(log_prob, 13)
    close(result["loss"], -1.5 * np.sum(rest) / 24.0, 1e-5)
    close(result["weighted_log_likelihood"], np.mean(rest), 1e-5)
    close(result["weighted_bits_per_dimension"], -np.mean(rest) / np.log(4.0), 1e-5)
    assert result["log_likelihood"] == -np.inf
    with pytest.raises(ValueError, match="for 1 of the 24 examples"):
        model.fit(x, batch_size=24, verbose=0)
    model.fit(x, sample_weight=weights, verbose=0)


def test_scaled_gradients_may_overflow_where_the_loss_is_finite():
    model = DensityModel(positive())
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.1), initial_scale=3e38
    )
    model.compile(optimizer)
    model.train_on_batch(1e3 * X)
    assert optimizer.iterations == 0 and optimizer.dynamic_scale == np.float32(1.5e38)
    with pytest.raises(ValueError, match="for 1 of the 24 examples"):
        model.train_on_batch(OUT)
    assert optimizer.dynamic_scale == np.float32(1.5e38)
