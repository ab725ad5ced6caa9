"""Tests of `BijectorLayer`; `test_distribution_layer.py` has those of the other."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close, fresh
from tfp_flows import flows
from tfp_flows.bijectors import Radial
from tfp_flows.keras import BijectorLayer

tfb, tfd = tfp.bijectors, tfp.distributions
X = np.random.default_rng(0).normal(size=[16, 3]).astype(np.float32)


def moved(flow):
    for variable in flow.trainable_variables:
        variable.assign_add(
            0.3
            * tf.cos(
                tf.reshape(
                    tf.range(variable.shape.num_elements(), dtype=variable.dtype),
                    variable.shape,
                )
            )
        )
    return flow


def maf(**arguments):
    return moved(flows.maf(3, 2, (8,), seed=0, **arguments)).bijector


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("kind", ["functional", "sequential", "subclassed"])
def test_models_own_its_variables_and_compute_what_it_computes(kind, direction):
    bijector = maf()
    layer = BijectorLayer(bijector, direction)
    before = keras.layers.Dense(3)
    if kind == "functional":
        inputs = keras.Input([3])
        model = keras.Model(inputs, layer(before(inputs)))
    elif kind == "sequential":
        model = keras.Sequential([before, layer])
    else:

        class Model(keras.Model):
            def __init__(self):
                super().__init__()
                self.before, self.layer = before, layer

            def call(self, x):
                return self.layer(self.before(x))

        model = Model()
    expected = getattr(bijector, direction)(before(X)).numpy()
    close(model(X), expected, 1e-6)
    assert len(model.trainable_variables) == 2 + len(bijector.trainable_variables)
    assert layer.count_params() == sum(
        v.shape.num_elements() for v in bijector.variables
    )
    values = [v.numpy() for v in bijector.trainable_variables]
    # XLA compiles the same layer in each kind of model, and takes long to do so.
    model.compile("sgd", loss="mse", jit_compile=kind == "functional")
    model.fit(X, np.zeros_like(X), verbose=0)
    changes = [
        np.max(np.abs(v - old)) for v, old in zip(bijector.trainable_variables, values)
    ]
    assert np.all(np.array(changes) > 0.0)


def test_maximum_likelihood_by_the_loss_of_the_layer_equals_that_of_the_distribution():
    flow = moved(flows.real_nvp(3, 2, (8,), seed=0))
    inputs = keras.Input([3])
    outputs = BijectorLayer(flow.bijector, "inverse", log_det="loss")(inputs)
    model = keras.Model(inputs, outputs)

    def normal(_, z):
        return tf.reduce_sum(0.5 * (z**2 + np.log(2.0 * np.pi)), axis=-1)

    model.compile("sgd", loss=normal)
    close(model.evaluate(X, X, verbose=0), -np.mean(flow.log_prob(X)), 1e-5)


def test_the_log_determinant_is_one_number_for_each_row():
    sequence = np.random.default_rng(1).normal(size=[4, 5, 3]).astype(np.float32)
    for bijector, x in [
        (maf(), X),
        (maf(), sequence),
        (tfb.Exp(), X),
        (tfb.Scale(2.0), X),
    ]:
        for direction in ["forward", "inverse"]:
            x = np.abs(x) + 0.1
            layer = BijectorLayer(bijector, direction, log_det="output")
            y, log_det = layer(x)
            assert log_det.shape == x.shape[:1] and y.shape == x.shape
            name = f"{direction}_log_det_jacobian"
            expected = getattr(bijector, name)(x, event_ndims=x.ndim - 1)
            close(log_det, expected + np.zeros(len(x)), 1e-5)


def test_a_context_comes_from_other_layers():
    bijector = maf(context_size=2)
    layer = BijectorLayer(bijector)
    x, features = keras.Input([3]), keras.Input([4])
    context = keras.layers.Dense(2)
    model = keras.Model([x, features], layer(x, context=context(features)))
    f = np.random.default_rng(1).normal(size=[16, 4]).astype(np.float32)
    expected = flows.condition(bijector, context(f)).forward(fresh(X))
    close(model([X, f]), expected, 1e-5)
    text = "if the flow takes one; got none for a flow of"
    with pytest.raises(ValueError, match=text):
        layer(X)
    with pytest.raises(ValueError, match=r"length 2; got shape \(16, 4\)"):
        layer(X, context=f)


def test_one_bijector_in_two_layers_is_trained_once():
    bijector = Radial(np.zeros(3, np.float32), tf.Variable(1.0), tf.Variable(2.0))
    inputs = keras.Input([3])
    there = BijectorLayer(bijector)(inputs)
    back = BijectorLayer(bijector, "inverse")(keras.layers.Dense(3)(there))
    model = keras.Model(inputs, back)
    assert len(model.trainable_variables) == 4
    before = bijector.gain.numpy()
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(X) ** 2)
    gradient = tape.gradient(loss, bijector.gain)
    model.compile(keras.optimizers.SGD(0.1), loss="mse")
    model.fit(X, np.zeros_like(X), batch_size=16, verbose=0)
    close(bijector.gain, before - 0.1 * gradient, 1e-5)


def test_variables_that_a_function_of_tfp_makes_on_its_first_call_are_found():
    bijector = tfb.RealNVP(
        num_masked=1, shift_and_log_scale_fn=tfb.real_nvp_default_template([4])
    )
    inputs = keras.Input([3])
    model = keras.Model(inputs, BijectorLayer(bijector)(inputs))
    assert len(model.trainable_variables) == 4


def test_batch_norm_normalizes_on_the_way_to_the_noise_in_training():
    bijector = flows.maf(3, 2, (8,), seed=0, batch_norm=True).bijector
    layer = BijectorLayer(bijector, "inverse")
    x = 3.0 * X + 5.0
    z = layer(x, training=True)
    close(np.mean(z, axis=0), np.zeros(3), 1e-5)
    close(np.std(z, axis=0), np.ones(3), 1e-3)
    (norm,) = [part for part in bijector.submodules if hasattr(part, "variance")]
    close(norm.mean, 0.01 * x.mean(axis=0), 1e-5)
    assert abs(np.mean(layer(x))) > 1.0
    close(layer(x), bijector.inverse(fresh(x)), 1e-5)


def test_a_model_with_it_is_saved_and_loaded(tmp_path):
    inputs = keras.Input([3])
    layer = BijectorLayer(
        tfb.Chain([maf(), tfb.Shift(tf.Variable([1.0, 2.0, 3.0]))]), "inverse", "output"
    )
    model = keras.Model(inputs, layer(keras.layers.Dense(3)(inputs)))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for value, expected in zip(loaded(X), model(X)):
        close(value, expected, 0.0)


def test_float64_stays_float64():
    layer = BijectorLayer(tfb.Scale(tf.Variable(3.0, dtype=tf.float64)))
    x = X.astype(np.float64) + 1e-10
    close(layer(x), 3.0 * x, 1e-15)


@pytest.mark.parametrize(
    "kind, make, text",
    [
        (TypeError, lambda: BijectorLayer(tfd.Normal(0.0, 1.0)), "must be a `tfb.Bije"),
        (
            ValueError,
            lambda: BijectorLayer(tfb.Exp(), "backward"),
            "`direction` must be",
        ),
        (
            ValueError,
            lambda: BijectorLayer(tfb.Exp(), log_det=True),
            "`log_det` must be",
        ),
        (TypeError, lambda: BijectorLayer(tfb.Exp())(np.ones([2, 2], int)), "int64"),
    ],
)
def test_errors(kind, make, text):
    with pytest.raises(kind, match=text):
        make()
