"""Tests of `tfp_flows.keras.DistributionLayer`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close, fresh
from tfp_flows import flows
from tfp_flows.bijectors import Coupling
from tfp_flows.keras import (
    Conditioner,
    DistributionLayer,
    NegativeLogLikelihood,
    register_builder,
)

tfd = tfp.distributions
RNG = np.random.default_rng(0)
X = RNG.normal(size=[64, 2]).astype(np.float32)
Y = (X[:, :1] ** 2 + 0.1 * RNG.normal(size=[64, 1])).astype(np.float32)


@register_builder(package="tests")
def gaussian(parameters):
    loc, raw = tf.split(parameters, 2, axis=-1)
    return tfd.Independent(tfd.Normal(loc, tf.nn.softplus(raw)), 1)


def family(**arguments):
    return flows.neural_spline(1, 2, (8,), context_size=4, seed=0, **arguments)


def regression(head, width=4):
    return keras.Sequential(
        [keras.layers.Dense(8, activation="relu"), keras.layers.Dense(width), head]
    )


@pytest.mark.parametrize("jit_compile", [False, True])
def test_fit_trains_network_and_flow_by_the_likelihood(jit_compile):
    head = DistributionLayer(family())
    model = regression(head)
    model(X)
    assert len(model.trainable_variables) == 4 + len(
        head.conditional_distribution.trainable_variables
    )
    model.compile(
        keras.optimizers.Adam(1e-2),
        NegativeLogLikelihood(head),
        jit_compile=jit_compile,
    )
    before = [v.numpy() for v in model.trainable_variables if v.shape.num_elements()]
    history = model.fit(X, Y, epochs=10, verbose=0).history["loss"]
    assert history[-1] < history[0]
    after = [v.numpy() for v in model.trainable_variables if v.shape.num_elements()]
    assert all(np.any(old != new) for old, new in zip(before, after))
    context = model.predict(X, verbose=0)
    expected = flows.condition(head.conditional_distribution, context).log_prob(Y)
    close(model.evaluate(X, Y, verbose=0), -np.mean(expected), 1e-5)
    close(model.evaluate(X, Y[:, 0], verbose=0), -np.mean(expected), 1e-5)
    weights = np.arange(64.0, dtype=np.float32)
    weighted = model.evaluate(X, Y, sample_weight=weights, verbose=0)
    close(weighted, -np.mean(weights * expected), 1e-4)
    prediction = head.distribution(context)
    assert prediction.batch_shape == [64] and prediction.event_shape == [1]
    assert prediction.sample(3, seed=(0, 1)).shape == [3, 64, 1]


def test_any_callable_makes_a_distribution_and_is_saved_by_name(tmp_path):
    head = DistributionLayer(gaussian)
    model = regression(head, 2)
    model.compile("adam", NegativeLogLikelihood(head))
    model.fit(X, Y, verbose=0)
    loc, raw = model.predict(X, verbose=0).T
    scale = np.log1p(np.exp(raw))
    nll = 0.5 * ((Y[:, 0] - loc) / scale) ** 2 + np.log(scale * np.sqrt(2.0 * np.pi))
    close(model.evaluate(X, Y, verbose=0), np.mean(nll), 1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    close(loaded.evaluate(X, Y, verbose=0), np.mean(nll), 1e-5)


def test_a_compiled_model_is_loaded_and_goes_on_training(tmp_path):
    head = DistributionLayer(family())
    inputs = keras.Input([2])
    model = keras.Model(inputs, head(keras.layers.Dense(4)(inputs)))
    model.compile(keras.optimizers.Adam(1e-2), NegativeLogLikelihood(head))
    model.fit(X, Y, verbose=0, shuffle=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.loss.layer is loaded.layers[-1] is not head
    close(loaded.evaluate(X, Y, verbose=0), model.evaluate(X, Y, verbose=0), 0.0)
    for each in (model, loaded):
        each.fit(X, Y, verbose=0, shuffle=False)
    for one, other in zip(loaded.trainable_variables, model.trainable_variables):
        close(one, other, 1e-6)
    config = NegativeLogLikelihood(DistributionLayer(gaussian)).get_config()
    with pytest.raises(ValueError, match="loaded with it, in one model; got the loss"):
        NegativeLogLikelihood.from_config(config)


def test_dropout_within_the_flow_is_for_training_alone():
    network = keras.Sequential(
        [
            keras.layers.Dense(16, activation="tanh"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(2),
        ]
    )
    x, context = keras.Input([1]), keras.Input([4])
    both = keras.Model([x, context], network(keras.layers.Concatenate()([x, context])))
    flow = tfd.TransformedDistribution(
        tfd.Sample(tfd.Normal(0.0, 1.0), 2),
        Coupling([True, False], Conditioner(both, [1, 2], context_size=4)),
    )
    head = DistributionLayer(flow)
    loss = NegativeLogLikelihood(head)
    contexts = RNG.normal(size=[64, 4]).astype(np.float32)

    def value(training):
        return loss(X, head(contexts, training=training)).numpy()

    assert value(False) == value(False)
    close(value(False), -np.mean(flows.condition(flow, contexts).log_prob(X)), 1e-5)
    assert len({value(False), value(True), value(True)}) == 3


def test_what_a_network_within_the_flow_adds_is_in_the_loss():
    x, context = keras.Input([1]), keras.Input([4])
    dense = keras.layers.Dense(2, activity_regularizer=keras.regularizers.L2(0.5))
    both = keras.Model([x, context], dense(keras.layers.Concatenate()([x, context])))
    coupling = Coupling([True, False], Conditioner(both, [1, 2], context_size=4))
    noise = tfd.Sample(tfd.Normal(0.0, 1.0), 2)
    head = DistributionLayer(tfd.TransformedDistribution(noise, coupling))
    model = keras.Sequential([keras.Input([4]), head])
    model.compile("sgd", NegativeLogLikelihood(head))
    contexts = RNG.normal(size=[64, 4]).astype(np.float32)
    nll = -np.mean(head.distribution(contexts).log_prob(X))
    added = 0.5 * np.sum(both([X[:, :1], contexts]) ** 2) / 64
    assert added > 0.1
    for _ in range(2):  # and not once more
        actual = model.evaluate(contexts, X, batch_size=64, verbose=0)
        close(actual, nll + added, 1e-5)


def test_float64_stays_float64():
    head = DistributionLayer(family(dtype=tf.float64))
    context = RNG.normal(size=[64, 4])
    y = np.float64(Y) + 1e-12
    loss = NegativeLogLikelihood(head)(y, head(context))
    assert loss.dtype == tf.float64
    log_prob = flows.condition(head.conditional_distribution, context).log_prob(
        fresh(y)
    )
    close(loss, -np.mean(log_prob), 1e-14)


@pytest.mark.parametrize(
    "kind, make, text",
    [
        (
            TypeError,
            lambda: DistributionLayer(3),
            "`conditional_distribution` must be a flow .* got 3",
        ),
        (
            ValueError,
            lambda: DistributionLayer(flows.maf(2, 1, (4,), seed=0)),
            "`conditional_distribution` must take a context",
        ),
        (ValueError, lambda: DistributionLayer(family())(X), r"4; got shape \(64, 2\)"),
        (
            TypeError,
            lambda: DistributionLayer(tf.identity).distribution(X),
            "must return a `tfd.Distribution`; got <tf.Tensor",
        ),
        (
            ValueError,
            lambda: DistributionLayer(gaussian).log_prob(np.ones([64, 2]), X),
            r"event shape \(1,\) .* got shape \(64, 2\)",
        ),
        (TypeError, lambda: NegativeLogLikelihood(gaussian), "`layer` must be a `Dist"),
    ],
)
def test_errors(kind, make, text):
    with pytest.raises(kind, match=text):
        make()
