"""Tests of `tfp_flows.keras.Conditioner`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close, fresh
from tfp_flows import flows
from tfp_flows.bijectors import (
    Coupling,
    InverseAutoregressive,
    MaskedAutoregressive,
    MultiScale,
    transformers,
)
from tfp_flows.keras import Conditioner, DensityModel
from tfp_flows.keras._training_mode import training_mode

tfd = tfp.distributions
X = np.random.default_rng(0).normal(size=[8, 3]).astype(np.float32)
KEPT = [True, True, False]


def dense(size=2, dtype="float32", **arguments):
    return keras.layers.Dense(size, dtype=dtype, **arguments)


def subclassed():
    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden, self.out = dense(4), dense(2)

        def call(self, x):
            return self.out(tf.nn.tanh(self.hidden(x)))

    return Network()


def functional():
    inputs = keras.Input([2])
    return keras.Model(inputs, dense(2)(dense(4, activation="tanh")(inputs)))


@pytest.mark.parametrize(
    "network",
    [dense, functional, subclassed, lambda: keras.Sequential([dense(4), dense(2)])],
    ids=["layer", "functional", "subclassed", "sequential"],
)
def test_its_variables_are_those_of_the_bijector_and_have_gradients(network):
    network = network()
    conditioner = Conditioner(network, [1, 2], input_shape=[2])
    layer = Coupling(KEPT, conditioner)
    assert {id(v) for v in layer.trainable_variables} == {
        id(v.value) for v in network.trainable_variables
    }
    assert len(layer.trainable_variables) >= 2
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer.forward(X) ** 2)
    for gradient in tape.gradient(loss, layer.trainable_variables):
        assert np.any(gradient != 0.0)
    close(layer.inverse(fresh(layer.forward(X))), X, 1e-5)
    parameters = network(X[:, :2]).numpy()
    scale = np.exp(layer.forward_log_det_jacobian(X))
    close(layer.forward(X)[:, 2], X[:, 2] * scale + parameters[:, 0], 1e-5)


def test_any_batch_axes_and_a_context_that_broadcasts():
    x, context = keras.Input([2]), keras.Input([3])
    both = keras.layers.Concatenate()([x, context])
    network = keras.Model([x, context], dense(2)(both))
    conditioner = Conditioner(network, [1, 2], context_size=3)
    contexts = np.random.default_rng(1).normal(size=[5, 1, 3]).astype(np.float32)
    flow = tfd.TransformedDistribution(
        tfd.Sample(tfd.Normal(0.0, 1.0), 3), Coupling(KEPT, conditioner)
    )
    bound = flows.condition(flow, contexts)
    values = bound.log_prob(X)
    assert bound.batch_shape == [5, 1] and values.shape == [5, 8]
    for row, one in zip(values, contexts):
        close(row, flows.condition(flow, one[0]).log_prob(X), 1e-5)
    assert np.std(values, axis=0).min() > 1e-3
    compiled = tf.function(
        lambda x: flows.condition(flow, contexts[0, 0]).log_prob(x),
        [tf.TensorSpec([None, 3])],
        jit_compile=True,
    )
    close(compiled(X[:0]), np.zeros(0))
    close(compiled(X), values[0], 1e-5)


def test_images():
    network = keras.Sequential([keras.layers.Conv2D(2, 3, padding="same")])
    conditioner = Conditioner(network, [4, 4, 1, 2], input_shape=[4, 4, 1])
    layer = Coupling([[[True, False]]], conditioner)
    x = np.random.default_rng(0).normal(size=[2, 3, 4, 4, 2]).astype(np.float32)
    y = layer.forward(x)
    close(layer.inverse(fresh(y)), x, 1e-5)
    close(y[1, 2], layer.forward(x[1, 2]), 1e-5)


def test_an_autoregressive_network_is_inverted():
    def strict(x):  # each parameter sees the elements before its own
        return keras.ops.cumsum(x, axis=-1) - x

    inputs = keras.Input([3])
    outputs = keras.ops.stack([strict(inputs), 0.1 * strict(inputs)], axis=-1)
    conditioner = Conditioner(keras.Model(inputs, outputs))
    for kind in (MaskedAutoregressive, InverseAutoregressive):
        layer = kind(conditioner)
        close(layer.inverse(fresh(layer.forward(X))), X, 1e-4)


def stochastic():
    return keras.Sequential(
        [
            dense(8, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5, seed=1),
            dense(2),
        ]
    )


def test_dropout_and_batch_norm_know_training_and_change_once_a_call():
    network = stochastic()
    layer = Coupling(KEPT, Conditioner(network, [1, 2], input_shape=[2]))
    state = [v for v in network.variables if not v.trainable]
    before = [v.numpy() for v in state]
    inference = layer.forward(X).numpy()
    close(layer.forward(fresh(X)), inference, 0.0)
    np.testing.assert_equal([v.numpy() for v in state], before)
    close(
        inference[:, 2:],
        layer.transformer.forward_and_log_det(
            X[:, 2:], tf.reshape(network(X[:, :2], training=False), [8, 1, 2])
        )[0],
        1e-6,
    )

    with training_mode(True):
        y = layer.forward(fresh(X)).numpy()
        # The same mask in all directions of one phase; another in the next one.
        close(layer.inverse(y), X, 1e-4)
        close(layer.forward(fresh(X)), y, 0.0)
    assert np.any(y != inference)
    after = [v.numpy() for v in state]
    for old, new in zip(before, after):
        assert np.any(old != new)
    mean = np.maximum(network.layers[0](X[:, :2]), 0.0).mean(axis=0)
    norm = network.layers[1]
    close(norm.moving_mean, (1.0 - norm.momentum) * mean, 1e-5)
    with training_mode(True):
        assert np.any(layer.forward(fresh(X)) != y)


def test_the_sequential_direction_refuses_networks_that_change_in_training():
    inputs = keras.Input([1])
    outputs = keras.layers.Dropout(0.5)(
        keras.ops.zeros_like(inputs)[..., None]
        + dense(2)(keras.ops.zeros_like(inputs))[:, None]
    )
    layer = MaskedAutoregressive(Conditioner(keras.Model(inputs, outputs)))
    x = X[:, :1]
    layer.forward(x)
    with training_mode(True):
        layer.inverse(fresh(x))
        with pytest.raises(ValueError, match="direction .* in training .*dropout"):
            layer.forward(fresh(x))


def test_float64_stays_float64():
    conditioner = Conditioner(dense(dtype="float64"), [1, 2], input_shape=[2])
    layer = Coupling(KEPT, conditioner)
    x = np.float64(X) + 1e-12
    kernel, bias = layer.trainable_variables
    assert layer.dtype == kernel.dtype == tf.float64
    parameters = tf.constant(x[:, None, :2] @ kernel.numpy())
    expected, _ = transformers.Affine().forward_and_log_det(x[:, 2:], parameters)
    close(layer.forward(x)[:, 2:], expected, 1e-15)
    with pytest.raises(TypeError, match="float32; got float64"):
        Conditioner(dense(), input_shape=[2])(tf.constant(x[:, :2]))


def test_a_mixed_policy_computes_in_half_precision_and_returns_float32():
    network = dense(dtype="mixed_bfloat16")
    conditioner = Conditioner(network, [1, 2], input_shape=[2])
    parameters = conditioner(X[:, :2])
    assert parameters.dtype == conditioner.dtype == tf.float32
    close(parameters[:, 0], tf.cast(network(X[:, :2]), tf.float32), 0.0)
    assert np.any(parameters[:, 0] != X[:, :2] @ network.kernel.numpy())


def test_layers_refuse_raw_networks_with_state():
    network = stochastic()
    network(X[:, :2])
    with pytest.raises(ValueError, match="no state.* `tfp_flows.keras.Cond"):
        Coupling(KEPT, network)


@pytest.mark.parametrize(
    "kind, make, text",
    [
        (
            TypeError,
            lambda: Conditioner(lambda x: x),
            "must be a Keras layer; got <func",
        ),
        (ValueError, lambda: Conditioner(dense()), "`network` must be built, or"),
        (
            ValueError,
            lambda: Conditioner(dense(3), [1, 2], input_shape=[2]),
            r"as `output_shape` \[1, 2\] has; got shape \(3,\)",
        ),
        (
            ValueError,
            lambda: Conditioner(keras.layers.Conv2D(2, 3), input_shape=[2]),
            r"must take an input of shape \(2,\); got an error from <Conv2D",
        ),
        (
            TypeError,
            lambda: Conditioner(
                keras.Sequential([dense(4, dtype="float64"), dense(2)]), input_shape=[2]
            ),
            "must share one floating dtype; got .*float64.*float32",
        ),
        (
            ValueError,
            lambda: Conditioner(dense(), input_shape=[2])(X),
            r"those of an example, \(2,\); got shape \(8, 3\)",
        ),
        (
            ValueError,
            lambda: Conditioner(dense(), input_shape=[2])(X[:, :2], X),
            "if `context_size` is above 0; got one, and 0",
        ),
    ],
)
def test_errors(kind, make, text):
    with pytest.raises(kind, match=text):
        make()


def test_a_regularizer_of_the_network_is_in_the_loss():
    network = dense(kernel_regularizer=keras.regularizers.L2(0.5))
    layer = Coupling(KEPT, Conditioner(network, [1, 2], input_shape=[2]))
    model = DensityModel(
        tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), 3), layer)
    )
    model.compile()
    loss = model.evaluate(X, verbose=0)
    penalty = 0.5 * np.sum(network.kernel.numpy() ** 2)
    close(loss, penalty - np.mean(model.distribution.log_prob(X)), 1e-5)


def test_recomputation_refuses_networks_that_change_in_training():
    network = keras.Sequential([keras.layers.Dropout(0.5), dense(2)])
    conditioner = Conditioner(network, [4, 4, 1, 2], input_shape=[4, 4, 1])
    layer = Coupling([[[True, False]]], conditioner)
    x = np.ones([2, 4, 4, 2], np.float32)
    flow = MultiScale([layer], [], recompute=True)
    flow.inverse(x)
    with training_mode(True):
        MultiScale([layer], []).inverse(fresh(x))
        text = "Recomputation of .* in training .*dropout"
        with pytest.raises(ValueError, match=text):
            flow.inverse(fresh(x))
