"""Tests of `tfp_flows.flows.maf`."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.flows.builders import check_density_builder
from tfp_flows import flows
from tfp_flows.bijectors import PReLU, transformers

tfb, tfd = tfp.bijectors, tfp.distributions


def test_maf_passes_the_checks_of_builders(tmp_path):
    def make(**kwargs):
        return flows.maf(3, 2, (8, 8), activation="tanh", **kwargs)

    check_density_builder(make, 3, tmp_path)


def test_orders_alternate():
    layers = flows.maf(4, 3, (8,), seed=0).bijector.bijectors[::-1]
    orders = [layer.conditioner.order.tolist() for layer in layers]
    assert orders == [[0, 1, 2, 3], [3, 2, 1, 0], [0, 1, 2, 3]]
    given = flows.maf(4, 1, (8,), seed=0, order=[2, 0, 1, 3]).bijector.bijectors[0]
    assert given.conditioner.order.tolist() == [2, 0, 1, 3]


def test_arguments_reach_the_layers():
    spline = transformers.RationalQuadraticSpline(4)
    flow = flows.maf(4, 2, (8, 8), seed=0, transformer=spline, residual=True)
    for layer in flow.bijector.bijectors:
        assert layer.transformer == spline
        assert len(layer.trainable_variables) == 12  # kernels and biases of 6 maps


def test_one_dimension_is_an_affine_map():
    flow = flows.maf(1, 2, (4,), seed=0)
    for variable in flow.trainable_variables:
        variable.assign(variable + 0.3)
    x = np.float32([[0.0], [1.0], [3.0]])
    y = flow.bijector.forward(x).numpy()
    np.testing.assert_allclose(y[2] - y[1], 2.0 * (y[1] - y[0]), rtol=1e-5)


@pytest.mark.parametrize("builder", [flows.maf, flows.iaf, flows.real_nvp, flows.nice])
def test_rejects_sizes_below_one(builder):
    with pytest.raises(ValueError, match="at least 1; got 0 and 2"):
        builder(0, 2, seed=0)
    with pytest.raises(ValueError, match="`hidden_units` must be .* got .4, 0"):
        builder(3, 2, (4, 0), seed=0)


@pytest.mark.parametrize(
    "builder",
    [
        flows.maf,
        flows.iaf,
        flows.real_nvp,
        flows.nice,
        flows.neural_spline,
        flows.planar,
        flows.radial,
        flows.sylvester,
    ],
)
def test_rejects_sizes_that_are_no_integers(builder):
    for size in [[2], (2,), tf.TensorShape([2]), np.array([2])]:
        with pytest.raises(ValueError, match="`event_size` must be .* got .*. Pass 2."):
            builder(size, 2, seed=0)
    for size in [2.0, "2", None, True, [2, 3], tf.constant(2)]:
        with pytest.raises(ValueError, match="`event_size` must be an integer of at"):
            builder(size, 2, seed=0)
        with pytest.raises(ValueError, match="`num_layers` must be an integer of at"):
            builder(2, size, seed=0)
    builder(np.int64(2), np.int32(2), seed=0)


@pytest.mark.parametrize(
    "builder", [flows.maf, flows.iaf, flows.real_nvp, flows.nice, flows.neural_spline]
)
def test_rejects_lengths_of_contexts_that_are_none(builder):
    for size in [[3], 2.5, -1, True, None]:
        with pytest.raises(ValueError, match="`context_size` must be the length of a"):
            builder(2, 2, (4,), seed=0, context_size=size)


@pytest.mark.parametrize("builder", [flows.maf, flows.iaf, flows.real_nvp])
def test_rejects_what_is_no_transformer(builder):
    for given, hint in [
        (lambda parameters: None, "Set that number as an attribute"),
        (transformers.Affine, "Make an instance: `Affine..`"),
        (transformers.RationalQuadraticSpline, "Make an instance: `Rational"),
        ("affine", "The default is `Affine"),
        (None, "The default is `Affine"),
    ]:
        message = f"`transformer` must be a .*; got .*{hint}"
        with pytest.raises(TypeError, match=message):
            builder(2, 2, (4,), seed=0, transformer=given)

    def shift(parameters):
        return tfp.bijectors.Shift(parameters[..., 0])

    shift.num_parameters = 1
    x = np.float32([[1.0, 2.0]])
    assert builder(2, 2, (4,), seed=0, transformer=shift).log_prob(x).shape == [1]


def test_rejects_an_unknown_order():
    with pytest.raises(
        ValueError, match="`order` must be 'left-to-right', .* got 'up'"
    ):
        flows.maf(3, 2, seed=0, order="up")


def test_training_under_xla_changes_every_variable():
    flow = flows.maf(4, 2, (8,), seed=0, batch_norm=False)
    x = tf.constant(np.random.default_rng(0).normal(size=[64, 4]) ** 3, tf.float32)
    start = [variable.numpy() for variable in flow.trainable_variables]

    @tf.function(jit_compile=True, autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow.log_prob(x))
        gradients = tape.gradient(loss, flow.trainable_variables)
        for variable, gradient in zip(flow.trainable_variables, gradients):
            variable.assign_sub(0.01 * gradient)
        return loss

    losses = [step() for _ in range(5)]
    assert losses[-1] < losses[0]
    for variable, old in zip(flow.trainable_variables, start):
        assert np.any(variable != old)


@pytest.mark.parametrize(
    "flow",
    [
        flows.maf(2, 1, (4,), seed=0),
        flows.nice(2, 2, (4,), seed=0),
        flows.neural_spline(2, 2, (4,), seed=0, scan=True, standardize=True),
        *[
            build(2, 2, seed=0, invert=invert)
            for build in [flows.planar, flows.radial]
            for invert in [False, True]
        ],
    ],
    ids=str,
)
def test_has_no_distribution_function(flow):
    x = tf.constant([0.3, 0.7])
    for method in ["cdf", "log_cdf", "survival_function", "quantile"]:
        with pytest.raises(NotImplementedError, match="Estimate the CDF from"):
            getattr(flow, method)(x)
    x = np.float32([[1.0], [-2.0]])  # an increasing map of numbers has one
    affine = tfd.TransformedDistribution(tfd.Normal(0.0, 1.0), PReLU(tf.constant(2.0)))
    expected = tfd.Normal(0.0, 1.0).cdf(np.where(x < 0.0, x / 2.0, x))
    np.testing.assert_allclose(affine.cdf(x), expected, rtol=1e-6)
