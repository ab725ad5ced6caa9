"""Densities of whole numbers."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close
from tfp_flows import dequantization, flows

tfb, tfd = tfp.bijectors, tfp.distributions
IMAGES = np.random.default_rng(0).integers(0, 256, size=[5, 4, 4, 2])


def test_dequantization_is_uniform_noise():
    y = dequantization.dequantize(np.full([20_000], 255, np.uint8), seed=1)
    assert y.dtype == tf.float32 and np.all((y >= 255.0) & (y < 256.0))
    noise = np.sort(y - 255.0)
    assert np.max(np.abs(noise - np.linspace(0.0, 1.0, len(noise)))) < 0.02
    y = dequantization.dequantize(IMAGES, seed=(0, 1), dtype=tf.float64)
    close(np.floor(y), IMAGES, 0.0)


def epochs(number_of_calls=None, nested=False, seed=None):
    """Noise of three epochs of two batches, drawn in `Dataset.map`."""
    call = lambda x: dequantization.dequantize(x, seed=seed) - tf.cast(x, tf.float32)
    call = tf.function(call) if nested else call
    data = tf.data.Dataset.from_tensor_slices(np.full([4, 3], 7, np.uint8))
    data = data.batch(2).map(call, num_parallel_calls=number_of_calls)
    return np.array([[batch.numpy() for batch in data] for _ in range(3)])


def are_all_unlike(*noises):
    noises = np.ravel(noises)
    return len(np.unique(noises)) == len(noises)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("number_of_calls", [None, 2])
def test_each_epoch_of_a_dataset_has_new_noise(number_of_calls, nested):
    options = number_of_calls, nested
    tf.random.set_seed(3)
    first, second = epochs(*options), epochs(*options)
    assert np.all((first >= 0.0) & (first < 1.0))
    assert are_all_unlike(first, second)
    if number_of_calls is None:  # else batches are in any order
        tf.random.set_seed(3)
        np.testing.assert_array_equal(epochs(*options), first)
        np.testing.assert_array_equal(epochs(*options), second)


def test_new_noise_in_each_call():
    x = tf.constant([[7, 7], [7, 7]])
    dequantizer = dequantization.variational_dequantizer([1, 2, 1], 1, 2, seed=0)
    flow = tfd.Independent(tfd.Normal(tf.fill([1, 2, 1], 7.0), 1.0), 3)
    images = tf.fill([2, 1, 2, 1], 7)
    for draw in [
        lambda: dequantization.dequantize(x),
        lambda: dequantization.log_prob_lower_bound(flow, images),
        lambda: dequantization.log_prob_lower_bound(
            flow, images, dequantizer=dequantizer
        ),
    ]:
        for call in [draw, tf.function(draw), tf.function(draw, jit_compile=True)]:
            assert are_all_unlike(call(), call())
        tf.random.set_seed(5)
        first = draw()
        tf.random.set_seed(5)
        np.testing.assert_array_equal(draw(), first)


def test_a_seed_is_the_same_noise_in_each_call():
    noise = epochs(seed=0)
    np.testing.assert_array_equal(noise, np.broadcast_to(noise[0, 0], noise.shape))


@pytest.mark.parametrize("shape", [64, [64], [8, 4, 2], tf.TensorShape([8, 8])])
def test_bits_of_so_many_elements(shape):
    close(dequantization.bits_per_dimension(-64.0 * np.log(2.0), shape), 1.0)


def test_the_highest_bits_are_kept():
    close(
        dequantization.reduce_bit_depth(np.uint8([0, 7, 8, 255]), 5), [0, 0, 1, 31], 0.0
    )
    assert dequantization.reduce_bit_depth(np.uint8([255]), 8).numpy() == [255]


def test_independent_uniform_pixels_take_eight_bits():
    uniform = tfd.Sample(tfd.Uniform(np.float64(0.0), 256.0), IMAGES.shape[1:])
    log_prob = dequantization.log_prob_lower_bound(uniform, IMAGES, seed=0)
    close(
        dequantization.bits_per_dimension(log_prob, IMAGES.shape[1:]), np.full(5, 8.0)
    )


def test_a_bound_in_the_mean():
    """The mean of exp of the log density is the probability, for one pixel."""
    flow = tfd.Independent(tfd.Normal(np.full([1, 1, 1], 2.0), 1.5), 3)
    images = np.full([100_000, 1, 1, 1], 3)
    log_prob = dequantization.log_prob_lower_bound(flow, images, seed=0, num_values=8)
    normal = tfd.Normal(np.float64(2.0), 1.5)
    mass = normal.cdf(4.0) - normal.cdf(3.0)
    np.testing.assert_allclose(np.mean(np.exp(log_prob)), mass, rtol=1e-3)
    assert np.mean(log_prob) < np.log(mass)


def test_a_variational_dequantizer_starts_uniform_and_learns():
    make = lambda **k: dequantization.variational_dequantizer(
        [4, 4, 2], 2, 3, seed=0, **k
    )
    dequantizer = make(dtype=tf.float64)
    bound = flows.condition(dequantizer, IMAGES / 256.0 - 0.5)
    noise, log_prob = bound.experimental_sample_and_log_prob(seed=(0, 1))
    assert bound.batch_shape == [5] and bound.event_shape == [4, 4, 2]
    assert np.all((noise > 0.0) & (noise < 1.0))
    close(log_prob, np.zeros(5))
    flow = tfd.Independent(tfd.Normal(np.full([4, 4, 2], 128.0), 60.0), 3)
    uniform = flow.log_prob(IMAGES + noise)
    call = lambda: dequantization.log_prob_lower_bound(
        flow, IMAGES, seed=(0, 1), dequantizer=dequantizer
    )
    close(call(), uniform)
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(call())
        variables = dequantizer.trainable_variables
        gradients = tape.gradient(loss, variables)
        for variable, gradient in zip(variables, gradients):
            variable.assign_sub(0.01 * gradient)
    assert all(np.any(g != 0.0) for g in gradients)
    assert np.mean(call()) > np.mean(uniform)
    bound = flows.condition(dequantizer, IMAGES / 256.0 - 0.5)
    noise, log_prob = bound.experimental_sample_and_log_prob(seed=(0, 1))
    assert np.all(np.abs(log_prob) > 1e-3)
    close(bound.log_prob(noise.numpy()), log_prob)
    close(call(), flow.log_prob(IMAGES + noise) - log_prob)
    close(call(), tf.function(call)())


def test_errors():
    for images, found in [([0, 256], "from 0 to 256"), ([-1], "-1"), ([0.5], "0.5")]:
        with pytest.raises(ValueError, match=f"must be integers from 0 to 255.*{found}"):
            dequantization.dequantize(np.array(images), seed=0)
    with pytest.raises(ValueError, match="must be integers from 0 to 16, .* `num_values`"):
        dequantization.dequantize(IMAGES, seed=0, num_values=17)
    for bits in [0, 9]:
        with pytest.raises(ValueError, match=f"integer from 1 to 8; got {bits}"):
            dequantization.reduce_bit_depth(np.uint8([1]), bits)
    for shape in [[0], [None, 2], 2.5 * np.ones([1]), 0]:
        with pytest.raises(ValueError, match="`event_shape` must be of integers of at least 1; got"):
            dequantization.bits_per_dimension(0.0, shape)
    with pytest.raises(TypeError, match="`seed` must be an integer; got 0.5"):
        dequantization.variational_dequantizer([2, 2, 1], seed=0.5)
    with pytest.raises(ValueError, match="`event_shape` must be"):
        dequantization.variational_dequantizer([2, 2], seed=0)
