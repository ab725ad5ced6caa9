"""Facts of `tfp_flows.bijectors.batch_norm` beyond the laws."""

import numpy as np
import pytest
import tensorflow as tf

from tests.laws import close, fresh
from tfp_flows.bijectors import BatchNorm, batch_statistics

RNG = np.random.default_rng(0)
Y = RNG.normal(size=[6, 3], loc=[1.0, -50.0, 0.0], scale=[0.1, 10.0, 1.0])
IMAGES = RNG.normal(size=[2, 4, 5, 3])
ZEROS = np.zeros(3)


def test_agrees_with_section_3_7():
    mean, variance = np.array([1.0, -2.0, 0.5]), np.array([0.0, 4.0, 0.3])
    bijector = BatchNorm(mean, variance, ZEROS, ZEROS, epsilon=0.1)
    close(bijector.inverse(Y), (Y - mean) / np.sqrt(variance + 0.1))
    expected = -0.5 * np.sum(np.log(variance + 0.1))
    close(bijector.inverse_log_det_jacobian(Y), np.full([6], expected))


def test_scales_and_shifts_what_it_normalized():
    shift, log_scale = np.array([1.0, 2.0, -3.0]), np.array([0.5, -1.0, 2.0])
    plain = BatchNorm(*batch_statistics(Y), ZEROS, ZEROS)
    bijector = plain.copy(shift=shift, log_scale=log_scale)
    close(bijector.inverse(Y), plain.inverse(Y) * np.exp(log_scale) + shift)


def test_a_batch_by_its_own_statistics_has_mean_0_and_variance_1():
    mean, variance = batch_statistics(Y)
    close(mean, np.mean(Y, axis=0))
    close(variance, np.var(Y, axis=0))
    x = BatchNorm(mean, variance, ZEROS, ZEROS, epsilon=1e-12).inverse(Y)
    close(np.mean(x, axis=0), ZEROS)
    close(np.var(x, axis=0), np.ones(3))


@pytest.mark.parametrize("sizes", [[4, 5], [None, None]])
def test_counts_the_pixels_of_images(sizes):
    mean, variance = batch_statistics(IMAGES, event_ndims=3)
    close(mean, np.mean(IMAGES, axis=(0, 1, 2)))
    bijector = BatchNorm(mean, variance, ZEROS, ZEROS, event_ndims=3)
    spec = tf.TensorSpec([None, *sizes, 3], tf.float64)
    log_det = tf.function(bijector.inverse_log_det_jacobian, [spec])(IMAGES)
    expected = -0.5 * 4 * 5 * np.sum(np.log(variance.numpy() + 1e-3))
    close(log_det, np.full([2], expected))


def test_gradients_flow_through_the_statistics():
    y = tf.constant(Y)
    with tf.GradientTape() as tape:
        tape.watch(y)
        layer = BatchNorm(*batch_statistics(y), ZEROS, ZEROS, epsilon=1e-12)
        total = tf.reduce_sum(layer.inverse(y) * np.arange(18.0).reshape(6, 3))
    gradient = tape.gradient(total, y)
    # A batch that is moved or stretched as a whole is normalized to the same numbers.
    close(tf.reduce_sum(gradient, axis=0), ZEROS)
    close(tf.reduce_sum(gradient * Y, axis=0), ZEROS, 1e-6)
    assert np.max(np.abs(gradient)) > 0.1


def test_no_call_changes_the_statistics():
    mean, variance = tf.Variable(ZEROS, False), tf.Variable(np.ones(3), False)
    bijector = BatchNorm(mean, variance, tf.Variable(ZEROS), tf.Variable(ZEROS))
    assert len(bijector.trainable_variables) == 2 and len(bijector.variables) == 4
    first = bijector.inverse(fresh(Y))
    bijector.forward(fresh(Y))
    training = bijector.copy(**dict(zip(["mean", "variance"], batch_statistics(Y))))
    training.inverse(fresh(Y))
    close(bijector.inverse(fresh(Y)), first, 0.0)
    close(training.forward(fresh(training.inverse(Y))), Y)
    assert len(training.trainable_variables) == 2


def test_a_feature_that_never_varies_stays_finite():
    y = np.float32(np.ones([4, 3]) * 1e4)
    zeros = np.float32(ZEROS)
    layer = BatchNorm(*batch_statistics(y), zeros, zeros)
    for value in [layer.inverse(y), layer.inverse_log_det_jacobian(y)]:
        assert np.all(np.isfinite(value))


@pytest.mark.parametrize("shape, values", [([1, 3], 1), ([3], 1), ([0, 3], 0)])
def test_rejects_a_batch_without_spread(shape, values):
    assert np.prod(shape[:-1]) == values
    with pytest.raises(ValueError, match="at least 2 values .*; got shape"):
        batch_statistics(np.ones(shape))


def test_rejects_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="`y` must have at least `event_ndims`, 3"):
        batch_statistics(Y, event_ndims=3)
    with pytest.raises(ValueError, match="Axes of the same letter"):
        BatchNorm(ZEROS, np.ones(2), ZEROS, ZEROS)
    layer = BatchNorm(ZEROS, np.ones(3), ZEROS, ZEROS, event_ndims=3)
    with pytest.raises(ValueError, match=r"`event_ndims`, 3, .* got shape \(6, 3"):
        layer.inverse(Y)
    with pytest.raises(ValueError, match=r"as long .* \(2, 4, 5, 2\) and \(3"):
        layer.inverse(IMAGES[..., :2])
    batch = BatchNorm(np.zeros([4, 3]), np.ones(3), ZEROS, ZEROS)
    with pytest.raises(ValueError, match=r"must broadcast .* \(6,\) and \(4,"):
        batch.inverse(Y)


def test_rejects_values_outside_of_their_supports():
    with pytest.raises(ValueError, match="`variance` must be at least 0 .*; got "):
        BatchNorm(ZEROS, -np.ones(3), ZEROS, ZEROS)
    with pytest.raises(ValueError, match="`mean` must be finite; got "):
        BatchNorm(np.nan * ZEROS, np.ones(3), ZEROS, ZEROS)
    with pytest.raises(ValueError, match="`epsilon` must be positive .*; got 0.0"):
        BatchNorm(ZEROS, np.ones(3), ZEROS, ZEROS, epsilon=0.0)
    with pytest.raises(ValueError, match="`event_ndims` must be at least 1; got 0"):
        BatchNorm(ZEROS, np.ones(3), ZEROS, ZEROS, event_ndims=0)
    with pytest.raises(TypeError, match="one floating dtype; got .*float32"):
        BatchNorm(ZEROS, np.ones(3, np.float32), ZEROS, ZEROS)
    variance = tf.Variable(-np.ones(3))
    layer = BatchNorm(ZEROS, variance, ZEROS, ZEROS, validate_args=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`variance` must be"):
        layer.inverse(Y)
