"""Densities of whole numbers."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close
from tfp_flows import flows

tfb, tfd = tfp.bijectors, tfp.distributions
IMAGES = np.random.default_rng(0).integers(0, 256, size=[5, 4, 4, 2])


def test_dequantisation_is_uniform_noise():
    y = flows.dequantise(np.full([20_000], 255, np.uint8), seed=1)
    assert y.dtype == tf.float32 and np.all((y >= 255.0) & (y < 256.0))
    noise = np.sort(y - 255.0)
    assert np.max(np.abs(noise - np.linspace(0.0, 1.0, len(noise)))) < 0.02
    y = flows.dequantise(IMAGES, seed=(0, 1), dtype=tf.float64)
    close(np.floor(y), IMAGES, 0.0)


def test_the_highest_bits_are_kept():
    close(flows.reduce_bits(np.uint8([0, 7, 8, 255]), 5), [0, 0, 1, 31], 0.0)
    assert flows.reduce_bits(np.uint8([255]), 8).numpy() == [255]


def test_independent_uniform_pixels_take_eight_bits():
    uniform = tfd.Sample(tfd.Uniform(np.float64(0.0), 256.0), IMAGES.shape[1:])
    log_prob = flows.log_prob_of_images(uniform, IMAGES, seed=0)
    close(flows.bits_per_dimension(log_prob, IMAGES.shape[1:]), np.full(5, 8.0))


def test_a_bound_in_the_mean():
    """The mean of exp of the log density is the probability, for one pixel."""
    flow = tfd.Independent(tfd.Normal(np.full([1, 1, 1], 2.0), 1.5), 3)
    images = np.full([100_000, 1, 1, 1], 3)
    log_prob = flows.log_prob_of_images(flow, images, seed=0, num_values=8)
    normal = tfd.Normal(np.float64(2.0), 1.5)
    mass = normal.cdf(4.0) - normal.cdf(3.0)
    np.testing.assert_allclose(np.mean(np.exp(log_prob)), mass, rtol=1e-3)
    assert np.mean(log_prob) < np.log(mass)


def test_a_variational_dequantiser_starts_uniform_and_learns():
    make = lambda **k: flows.variational_dequantiser([4, 4, 2], 2, 3, seed=0, **k)
    dequantiser = make(dtype=tf.float64)
    bound = flows.condition(dequantiser, IMAGES / 256.0 - 0.5)
    noise, log_prob = bound.experimental_sample_and_log_prob(seed=(0, 1))
    assert bound.batch_shape == [5] and bound.event_shape == [4, 4, 2]
    assert np.all((noise > 0.0) & (noise < 1.0))
    close(log_prob, np.zeros(5))
    flow = tfd.Independent(tfd.Normal(np.full([4, 4, 2], 128.0), 60.0), 3)
    uniform = flow.log_prob(IMAGES + noise)
    call = lambda: flows.log_prob_of_images(
        flow, IMAGES, seed=(0, 1), dequantiser=dequantiser)
    close(call(), uniform)
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(call())
        variables = dequantiser.trainable_variables
        gradients = tape.gradient(loss, variables)
        for variable, gradient in zip(variables, gradients):
            variable.assign_sub(0.01 * gradient)
    assert all(np.any(g != 0.0) for g in gradients)
    assert np.mean(call()) > np.mean(uniform)
    bound = flows.condition(dequantiser, IMAGES / 256.0 - 0.5)
    noise, log_prob = bound.experimental_sample_and_log_prob(seed=(0, 1))
    assert np.all(np.abs(log_prob) > 1e-3)
    close(bound.log_prob(noise.numpy()), log_prob)
    close(call(), flow.log_prob(IMAGES + noise) - log_prob)
    close(call(), tf.function(call)())


def test_errors():
    for images, found in [([0, 256], "from 0 to 256"), ([-1], "-1"), ([0.5], "0.5")]:
        with pytest.raises(ValueError, match=f"whole numbers from 0 to 255.*{found}"):
            flows.dequantise(np.array(images), seed=0)
    with pytest.raises(ValueError, match="whole numbers from 0 to 16, .* `num_values`"):
        flows.dequantise(IMAGES, seed=0, num_values=17)
    for bits in [0, 9]:
        with pytest.raises(ValueError, match=f"integer from 1 to 8; got {bits}"):
            flows.reduce_bits(np.uint8([1]), bits)
    with pytest.raises(ValueError, match=r"must have elements; got \[0\]"):
        flows.bits_per_dimension(0.0, [0])
    with pytest.raises(TypeError, match="`seed` must be an integer; got 0.5"):
        flows.variational_dequantiser([2, 2, 1], seed=0.5)
    with pytest.raises(ValueError, match="`event_shape` must be"):
        flows.variational_dequantiser([2, 2], seed=0)
