"""Tests of `tfp_flows.flows.transform`, and of supports in Keras models."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close, fresh
from tfp_flows import flows
from tfp_flows.bijectors import Logit
from tfp_flows.keras import DensityModel

tfb, tfd = tfp.bijectors, tfp.distributions

# Each with points on the edge of what it gives, beyond, and at infinity.
OUTSIDE = {
    "Exp": (tfb.Exp(), [0.0, -1.0, -1e3, np.inf, -np.inf]),
    "Expm1": (tfb.Expm1(), [-1.0, -2.0]),
    "GumbelCDF": (tfb.GumbelCDF(), [0.0, 1.0, -0.5, 1.5]),
    "NormalCDF": (tfb.NormalCDF(), [0.0, 1.0, -0.5, 1.5]),
    "Reciprocal": (tfb.Reciprocal(), [0.0]),
    "Sigmoid": (tfb.Sigmoid(), [0.0, 1.0, -0.5, 1.5]),
    "Sigmoid of a range": (tfb.Sigmoid(-1.0, 3.0), [-1.0, 3.0, -2.0, 4.0, np.inf]),
    "SoftClip": (tfb.SoftClip(-1.0, 3.0), [-2.0, 4.0]),
    "Softplus": (tfb.Softplus(), [0.0, -1.0]),
    "Softplus above 2": (tfb.Softplus(low=2.0), [2.0, 1.0]),
    "Softsign": (tfb.Softsign(), [1.0, -1.0, 2.0, -2.0]),
    "Square of Exp": (tfb.Chain([tfb.Square(), tfb.Exp()]), [0.0, -1.0]),
    "Tanh": (tfb.Tanh(), [1.0, -1.0, 2.0]),
    "affine of Exp": (
        tfb.Chain([tfb.Shift(1.0), tfb.Scale(-2.0), tfb.Exp(), tfb.Shift(3.0)]),
        [1.0, 2.0],
    ),
    "inverse of Log": (tfb.Invert(tfb.Log()), [0.0, -1.0]),
}


def make_flow(dtype=tf.float64):
    flow = flows.maf(2, num_layers=2, hidden_units=(4,), seed=0, dtype=dtype)
    rng = np.random.default_rng(0)
    for v in flow.trainable_variables:
        v.assign(v + tf.cast(0.2 * rng.normal(size=v.shape), v.dtype))
    return flow


def cast(bijector, dtype):
    """Returns the bijector with its constants, which are numbers, in another dtype."""
    return (
        bijector.copy(
            **{
                name: tf.cast(value, dtype)
                for name, value in bijector.parameters.items()
                if isinstance(value, float)
            }
        )
        if not isinstance(bijector, tfb.Composition)
        else type(bijector)([cast(part, dtype) for part in bijector.bijectors])
    )


def value_and_gradients(distribution, y):
    with tf.GradientTape() as tape:
        tape.watch(y)
        log_prob = distribution.log_prob(y)
        total = tf.reduce_sum(log_prob)
    return log_prob, tape.gradient(total, [y, *distribution.trainable_variables])


@pytest.mark.parametrize(
    "name, dtype",
    [
        *((name, tf.float64) for name in OUTSIDE),
        *((name, tf.float32) for name in ["Exp", "Sigmoid", "Softplus", "Softsign"]),
    ],
)
def test_log_prob_outside_of_the_support(name, dtype):
    bijector, outside = OUTSIDE[name]
    bijector = cast(bijector, dtype)
    flow = make_flow(dtype)
    distribution = flows.transform(flow, bijector)
    plain = tfd.TransformedDistribution(flow, bijector)
    inside = distribution.sample(4, seed=(0, 1)).numpy()
    rows = np.array([[value, inside[0, 1]] for value in outside], inside.dtype)
    y = np.concatenate([inside[:2], rows, inside[2:]])
    is_inside = np.isin(np.arange(len(y)), [0, 1, len(y) - 2, len(y) - 1])
    expected, gradients = value_and_gradients(plain, fresh(inside))
    modes = [False, None, True] if name in ("Exp", "Sigmoid") else [False]
    for compiled in modes:
        evaluate = (
            value_and_gradients
            if compiled is False
            else tf.function(value_and_gradients, autograph=False, jit_compile=compiled)
        )
        log_prob, (of_y, *of_variables) = evaluate(distribution, fresh(y))
        log_prob, of_y = log_prob.numpy(), of_y.numpy()
        tolerance = 1e-4 if dtype == tf.float32 else 1e-9
        close(log_prob[is_inside], expected, tolerance)
        assert np.all(log_prob[~is_inside] == -np.inf)
        close(of_y[is_inside], gradients[0], tolerance)
        assert np.all(of_y[~is_inside] == 0.0)
        for actual, those in zip(of_variables, gradients[1:]):
            close(actual, those, tolerance)
    nan = np.array([[np.nan, inside[0, 1]]], inside.dtype)
    assert np.isnan(distribution.log_prob(nan)[0])


@pytest.mark.parametrize(
    "make",
    [
        lambda flow: tfb.Exp()(flow),
        lambda flow: tfd.TransformedDistribution(flow, tfb.Exp()),
        lambda flow: flow.copy(bijector=tfb.Chain([tfb.Exp(), flow.bijector])),
        lambda flow: flows.transform(flow, tfb.Exp()),
        lambda flow: flows.transform(flow, tfb.Chain([tfb.Scale(2.0), tfb.Exp()])),
        lambda flow: tfd.Independent(tfb.Exp()(flow), 0),
    ],
    ids=["called", "transformed", "chain", "transform", "affine", "independent"],
)
def test_density_models_outside_of_the_support(make):
    model = DensityModel(make(make_flow(tf.float32)))
    model.compile("adam")
    x = np.float32([[1.0, 2.0], [0.0, 1.0], [-1.0, 1.0], [0.5, 0.1]])
    log_prob = model.predict(x, verbose=0)
    assert np.all(log_prob[1:3] == -np.inf) and np.all(np.isfinite(log_prob[[0, 3]]))
    close(log_prob[[0, 3]], model.distribution.log_prob(x[[0, 3]]), 1e-5)


def test_images_outside_of_the_range_of_a_logit():
    flow = make_flow(tf.float32)
    layers = [tfb.Invert(Logit(0.05, 0.0, 256.0)), flow.bijector]
    model = DensityModel(flow.copy(bijector=tfb.Chain(layers)))
    x = np.float32([[1.0, 200.0], [-100.0, 1.0], [1.0, 300.0], [0.0, 256.0]])
    log_prob = model.predict(x, verbose=0)
    assert np.all(np.isinf(log_prob) == [False, True, True, False])
    assert not np.any(np.isnan(log_prob))


def test_is_saved_and_bound_to_contexts(tmp_path):
    family = flows.real_nvp(2, 2, (4,), seed=0, context_size=3)
    distribution = flows.transform(family, tfb.Exp())
    one_hot = np.eye(3, dtype=np.float32)
    bound = flows.condition(distribution, one_hot)
    assert bound.batch_shape == [3]
    y = np.float32([[1.0, 2.0], [-1.0, 1.0], [0.0, 1.0]])
    log_prob = bound.log_prob(y)
    assert np.all(np.isinf(log_prob) == [False, True, True])
    model = DensityModel(distribution)
    model.compile("adam")
    model.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(
        loaded.predict([y, one_hot], verbose=0), model.predict([y, one_hot], verbose=0)
    )


def test_vectors_of_a_simplex():
    base = tfd.MultivariateNormalDiag(tf.zeros(2, tf.float64))
    distribution = flows.transform(base, tfb.IteratedSigmoidCentered())
    y = distribution.sample(2, seed=(0, 1)).numpy()
    rows = np.concatenate([y, [[0.5, 0.5, 0.5], [0.0, 0.5, 0.5], [-0.5, 0.5, 1.0]]])
    log_prob = distribution.log_prob(rows)
    assert np.all(np.isinf(log_prob) == [False, False, True, True, True])
    close(
        log_prob[:2],
        tfd.TransformedDistribution(base, tfb.IteratedSigmoidCentered()).log_prob(y),
    )


def test_in_joint_distributions():
    joint = tfd.JointDistributionSequential(
        [flows.transform(make_flow(), tfb.Exp()), tfd.Normal(np.float64(0.0), 1.0)]
    )
    log_prob = joint.log_prob([np.array([[1.0, 2.0], [-1.0, 1.0]]), np.zeros(2)])
    assert np.isfinite(log_prob[0]) and log_prob[1] == -np.inf


def test_other_arguments_are_refused():
    flow = make_flow()
    with pytest.raises(TypeError, match="`flow` must be a `tfd.Distribution`; got"):
        flows.transform(flow.bijector, tfb.Exp())
    with pytest.raises(TypeError, match="`bijector` must be a `tfb.Bijector`; got"):
        flows.transform(flow, tf.exp)
