"""What works with `tf_keras`, the Keras 2 that TFP itself uses, and what does not.

A layer or model of Keras 2 is a `tf.Module`, as bijectors and distributions are. So
each finds the variables of the other by itself.
"""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from tests.laws import close
from tfp_flows import flows
from tfp_flows.bijectors import (
    Coupling,
    InverseAutoregressive,
    MaskedAutoregressive,
    Radial,
)
from tfp_flows.keras import Conditioner, DensityModel

tfb, tfd, tfpl = tfp.bijectors, tfp.distributions, tfp.layers
layers = tf_keras.layers

X = np.random.default_rng(0).normal(size=[96, 2]).astype(np.float32)
X = X * np.float32([2.0, 0.5]) + np.float32([1.0, -1.0])


class Density(tf_keras.Model):
    """Log-densities of a flow, which it holds."""

    def __init__(self, flow):
        super().__init__()
        self.flow = flow

    def call(self, x):
        return self.flow.log_prob(x)


def fitted(model, x=X, y=X[:, 0], loss=lambda _, log_prob: -log_prob, rate=0.02):
    """Fits a model of Keras 2, and asserts that it learns."""
    model.compile(tf_keras.optimizers.Adam(rate), loss=loss)
    losses = model.fit(x, y, batch_size=32, epochs=3, verbose=0).history["loss"]
    assert np.all(np.isfinite(losses)) and losses[-1] < losses[0]
    return model


def flow_of(bijector):
    noise = tfd.MultivariateNormalDiag(tf.zeros(2))
    return tfd.TransformedDistribution(noise, bijector)


def maf(seed=0):
    return flows.maf(2, 2, (4,), seed=seed)


def chain():
    center = tf.Variable([0.0, 0.0], name="center")
    radius, gain = (
        tfp.util.TransformedVariable(value, tfb.Softplus()) for value in (1.0, 2.0)
    )
    shift = tf.Variable([0.0, 0.0], name="shift")
    return flow_of(tfb.Chain([tfb.Shift(shift), Radial(center, radius, gain)]))


def network(*before):
    """A network that a coupling of two elements can ask."""
    return tf_keras.Sequential(
        [
            *before,
            layers.Dense(4, activation="tanh"),
            layers.Dense(2),
            layers.Reshape([1, 2]),
        ]
    )


def built(*before):
    result = network(*before)
    result(tf.zeros([1, 1]))
    return result


def same(variables, others):
    return set(map(id, variables)) == set(map(id, others))


def values(variables):
    return [variable.numpy() for variable in variables]


def moved(variables, before):
    return [np.any(v.numpy() != old) for v, old in zip(variables, before)]


@pytest.mark.parametrize("make, number", [(maf, 8), (chain, 4)])
def test_a_model_sees_the_variables_of_a_flow_and_trains_them(make, number):
    flow = make()
    model = Density(flow)
    assert len(model.trainable_variables) == number
    assert same(model.trainable_variables, flow.trainable_variables)
    before = values(flow.trainable_variables)
    fitted(model)
    assert all(moved(flow.trainable_variables, before))
    close(model.predict(X[:9], verbose=0), flow.log_prob(X[:9]), 1e-5)


def test_a_layer_holds_a_bijector_in_a_sequential_model():
    class ToNoise(layers.Layer):
        def __init__(self, bijector):
            super().__init__()
            self.bijector = bijector

        def call(self, x):
            self.add_loss(-tf.reduce_mean(self.bijector.inverse_log_det_jacobian(x, 1)))
            return self.bijector.inverse(x)

    flow = maf()
    model = tf_keras.Sequential([layers.InputLayer([2]), ToNoise(flow.bijector)])
    assert same(model.trainable_variables, flow.trainable_variables)
    normal = tfd.MultivariateNormalDiag(tf.zeros(2))
    fitted(model, loss=lambda _, z: -normal.log_prob(z))
    loss = model.evaluate(X, X[:, 0], batch_size=len(X), verbose=0)
    close(loss, -np.mean(flow.log_prob(X)), 1e-5)


def test_weights_are_kept_by_checkpoints_and_not_by_h5(tmp_path):
    model = fitted(Density(maf(0)))
    expected = model(X[:9])
    for name, kept in [("w", True), ("w.h5", False), ("w.weights.h5", False)]:
        other = Density(maf(1))
        assert not np.allclose(other(X[:9]), expected)
        model.save_weights(tmp_path / name)
        other.load_weights(tmp_path / name)
        assert np.array_equal(other(X[:9]), expected) == kept


def test_a_saved_model_serves_densities(tmp_path):
    model = fitted(Density(maf()))
    model.save(tmp_path / "model", save_format="tf")
    loaded = tf_keras.models.load_model(tmp_path / "model", compile=False)
    # One rounding: Grappler adds log determinants in an order by their static shapes.
    close(loaded.predict(X[:9], verbose=0), model.predict(X[:9], verbose=0), 1e-6)


@pytest.mark.filterwarnings("ignore:.*were used in a Lambda layer's call")
def test_a_functional_model_of_a_log_density_misses_the_variables():
    flow = maf()
    x = tf_keras.Input([2])
    assert tf_keras.Model(x, flow.log_prob(x)).trainable_variables == []
    model = Density(flow)  # which is the way to go
    found = tf_keras.Model(x, model(x)).trainable_variables
    assert same(found, flow.trainable_variables)


def test_a_built_network_is_a_conditioner_of_a_coupling():
    net = built()
    coupling = Coupling([True, False], net)
    assert len(net.trainable_variables) == 4
    assert same(coupling.trainable_variables, net.trainable_variables)
    x = X[:5]
    changed, _ = coupling.transformer.forward_and_log_det(x[:, 1:], net(x[:, :1]))
    close(coupling.forward(x), np.concatenate([x[:, :1], changed], axis=1), 1e-6)
    chained = flow_of(tfb.Chain([coupling, Coupling([False, True], built())]))
    fitted(Density(chained))
    before = values(chained.trainable_variables)
    model = DensityModel(chained)
    assert len(model.trainable_variables) == 8
    model.compile("adam")
    model.fit(X, verbose=0)
    assert all(moved(chained.trainable_variables, before))


def test_the_network_of_tfp_is_a_conditioner_of_autoregressive_layers():
    for layer in (MaskedAutoregressive, InverseAutoregressive):
        net = tfb.AutoregressiveNetwork(2, event_shape=[2], hidden_units=[4])
        net.build([None, 2])
        bijector = layer(net)
        assert len(bijector.trainable_variables) == 4
        assert same(bijector.trainable_variables, net.trainable_variables)
        close(bijector.inverse(tf.identity(bijector.forward(X[:5]))), X[:5], 1e-5)
        fitted(Density(flow_of(bijector)))


class Late(tf_keras.Model):
    """Has variables after the first call."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(x)[..., tf.newaxis, :]


@pytest.mark.parametrize("make", [network, Late])
def test_a_network_that_is_not_built_is_an_error(make):
    with pytest.raises(ValueError, match="must be built, so that its variables are kn"):
        Coupling([True, False], make())
    with pytest.raises(ValueError, match="must be built, so that its variables are kn"):
        MaskedAutoregressive(tfb.AutoregressiveNetwork(2, hidden_units=[4]))


def test_a_network_that_changes_in_training_is_an_error():
    with pytest.raises(ValueError, match="must have no state, such as that of"):
        Coupling([True, False], built(layers.BatchNormalization()))


def test_another_dtype_than_that_of_the_network_is_an_error():
    with pytest.raises(ValueError, match="requested dtype float32 for Tensor with"):
        Coupling([True, False], built()).forward(tf.zeros([3, 2], tf.float64))


def test_a_conditioner_is_of_keras_3_and_says_so():
    with pytest.raises(TypeError, match="must be a Keras.* layer; got <tf_keras"):
        Conditioner(built())


@pytest.mark.filterwarnings("ignore:.*were used in a Lambda layer's call")
def test_a_flow_is_the_head_of_a_regression():
    family = flows.maf(1, 1, (4,), seed=0, context_size=2)
    rng = np.random.default_rng(0)
    x = rng.normal(size=[128, 3]).astype(np.float32)
    y = (2.0 * x[:, :1] + 0.3 * rng.normal(size=[128, 1])).astype(np.float32)

    class Regression(tf_keras.Sequential):
        def __init__(self):
            super().__init__(
                [
                    layers.InputLayer([3]),
                    layers.Dense(4, activation="tanh"),
                    layers.Dense(2),
                    tfpl.DistributionLambda(lambda t: flows.condition(family, t)),
                ]
            )
            self.family = family  # so that its variables are those of the model

    model = Regression()
    assert len(model.trainable_variables) == 4 + 5
    before = values(family.trainable_variables)
    fitted(model, x, y, lambda y, distribution: -distribution.log_prob(y))
    names = [v.name for v in family.trainable_variables]
    # There is one element, which sees none: the kernel for elements is masked.
    has_moved = moved(family.trainable_variables, before)
    assert [n for n, m in zip(names, has_moved) if not m] == ["kernel_0:0"]
    distribution = model(x[:4])
    assert distribution.batch_shape == [4] and distribution.event_shape == [1]
    hidden = tf_keras.Model(model.inputs, model.layers[-2].output)(x[:4])
    bound = flows.condition(family, hidden)
    close(distribution.log_prob(y[:4]), bound.log_prob(y[:4]), 1e-5)


def test_a_density_model_trains_a_flow_of_tfp_with_layers_of_keras_2(tmp_path):
    def make():
        nets = [
            tfb.AutoregressiveNetwork(
                2, event_shape=[2], hidden_units=[4], activation="tanh"
            )
            for _ in range(2)
        ]
        first, second = map(tfb.MaskedAutoregressiveFlow, nets)
        return nets, DensityModel(
            flow_of(tfb.Chain([first, tfb.Permute([1, 0]), second]))
        )

    tf_keras.utils.set_random_seed(0)
    nets, model = make()
    variables = [v for net in nets for v in net.trainable_variables]
    assert len(variables) == 8
    assert same([v.value for v in model.trainable_variables], variables)
    before = values(variables)
    model.compile(keras.optimizers.Adam(0.01))
    losses = model.fit(X, epochs=3, verbose=0).history["loss"]
    assert all(moved(variables, before)) and losses[-1] < losses[0]
    model.save_weights(tmp_path / "flow.weights.h5")
    _, other = make()
    other.load_weights(tmp_path / "flow.weights.h5")
    close(other.predict(X[:9], verbose=0), model.predict(X[:9], verbose=0), 0.0)


SCRIPT = """
import sys
import numpy as np
import tensorflow as tf
import tfp_flows
import tf_keras
from tfp_flows import flows
from tfp_flows.bijectors import Radial
assert tf.keras.Model is tf_keras.Model and "keras" not in sys.modules
class Density(tf.keras.Model):
    def __init__(self, flow):
        super().__init__()
        self.flow = flow
    def call(self, x):
        return self.flow.log_prob(x)
x = np.random.default_rng(0).normal(size=[64, 2]).astype(np.float32)
flow = flows.maf(2, 1, (4,), seed=0)
model = Density(flow)
model.compile("adam", loss=lambda _, log_prob: -log_prob)
losses = model.fit(x, x, epochs=2, verbose=0).history["loss"]
assert losses[1] < losses[0] and len(model.trainable_variables) == 4
y = Radial(tf.Variable([0.0, 0.0]), 1.0, 2.0).forward(x)
assert np.all(np.isfinite(y)) and "keras" not in sys.modules
import keras
model = tfp_flows.keras.DensityModel(flow)
assert isinstance(model, keras.Model) and not isinstance(model, tf.keras.Model)
model.compile(keras.optimizers.Adam())
losses = model.fit(x, epochs=2, verbose=0).history["loss"]
assert losses[1] < losses[0]
try:
    model.compile(tf.keras.optimizers.Adam())
except ValueError as error:
    assert "Could not interpret optimizer" in str(error), error
else:
    raise AssertionError("an optimizer of Keras 2")
"""


def test_under_tf_use_legacy_keras_flows_work_and_keras_3_stays_keras_3():
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},
    )
    assert run.returncode == 0, run.stderr
