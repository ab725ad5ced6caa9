"""Surrogate posteriors and samplers of the experiment on NeuTra."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.examples.loading import load
from tfp_flows import flows
from tfp_flows.bijectors import transformers


def test_neutra_goes_down_the_neck_of_the_funnel():
    example = load("neutra")
    target = example.funnel(size=4)
    flow = flows.iaf(4, 1, (16,), seed=0, transformer=transformers.Affine()).bijector
    row = example.fit(target, flow, steps=800, rate=1e-2, seed=0)
    assert -0.5 < row["elbo"] < 4.0 * row["standard_error"]  # a bound of log 1
    noise = tf.random.stateless_normal([16, 4], [0, 3])
    row, states = example.sample(target, flow, noise, draws=500, seed=0)
    assert states.shape == (500, 16, 4)
    assert abs(row["sd"] - 3.0) < 0.4
    assert abs(row["mean"]) < 0.4
    assert np.mean(states[..., 0] < -4.0) > 0.04  # truly 0.091
    assert row["ess_per_gradient"] > 0.005  # plain HMC has about 0.0003
    np.testing.assert_allclose(
        row["ess_per_gradient"], row["ess"] / (16 * 500 * row["leapfrog_steps"])
    )


def test_neutra_counts_independent_draws_and_sees_chains_that_disagree():
    example = load("neutra")
    states = np.random.RandomState(0).normal(size=[1000, 8, 3])
    np.testing.assert_allclose(example.effective_sizes(states), 8000.0, rtol=0.15)
    correlated = np.repeat(states[:100], 10, axis=0)
    np.testing.assert_allclose(example.effective_sizes(correlated), 800.0, rtol=0.3)
    states[:, 0] += 3.0
    assert np.min(example.effective_sizes(states)) < 100.0


@pytest.mark.parametrize("name", ["funnel", "eight schools", "diabetes"])
def test_neutra_has_densities_of_vectors(name):
    target = load("neutra").TARGETS[name]()
    z = tf.random.stateless_normal([4, target.size], [0, 1])
    point = target.to_model.forward(z)
    parts = tf.nest.flatten(point)
    assert sum(np.prod(part.shape[1:], dtype=int) for part in parts) == target.size
    # A scale is the exponential of an element, so its log Jacobian is the element.
    one = tf.nest.map_structure(lambda part: part[1], point)
    log_det = sum(
        np.sum(np.log(getattr(point, scale)[1]))
        for scale in ["scale_of_effects", "noise", "shared", "own"]
        if hasattr(point, scale)
    )
    expected = target.posterior.unnormalized_log_prob(one) + log_det
    np.testing.assert_allclose(target.log_prob(z)[1], expected, rtol=1e-4)


def test_neutra_knows_the_evidence_of_the_eight_schools():
    """Effects integrated out, importance sampling from the prior has it, too."""
    example = load("neutra")
    truth = example.eight_schools().truth
    seeds = tfp.random.split_seed([0, 1], n=2)
    mean = 5.0 * tf.random.stateless_normal([400_000, 1], seeds[0], dtype=tf.float64)
    spread = 5.0 * np.tan(
        np.pi / 2.0 * tf.random.stateless_uniform([400_000, 1], seeds[1])
    )
    scale = np.sqrt(np.float64(spread) ** 2 + np.float64(example.ERROR) ** 2)
    normal = tfp.distributions.Normal(mean, scale)
    weights = np.exp(np.sum(normal.log_prob(np.float64(example.EFFECT)), axis=-1))
    np.testing.assert_allclose(np.log(np.mean(weights)), truth["evidence"], atol=0.02)
    log_spread = np.log(np.float64(spread[:, 0]))
    first = np.average(log_spread, weights=weights)
    second = np.average((log_spread - first) ** 2, weights=weights)
    np.testing.assert_allclose(first, truth["mean"], atol=0.02)
    np.testing.assert_allclose(np.sqrt(second), truth["sd"], atol=0.03)
