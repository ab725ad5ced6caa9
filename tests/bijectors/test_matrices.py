"""Matrices of 1x1 convolutions."""

import numpy as np
import pytest
import tensorflow as tf

from tests.laws import close
from tfp_flows.bijectors import matrices

WEIGHT = np.random.default_rng(0).normal(size=[3, 4, 4], scale=2.0)


def test_rotations_are_orthogonal_and_decided_by_the_seed():
    one = matrices.random_orthogonal(5, seed=1, dtype=tf.float64)
    close(tf.matmul(one, one, transpose_a=True), np.eye(5))
    close(one, matrices.random_orthogonal(5, seed=1, dtype=tf.float64), 0.0)
    assert (
        np.max(np.abs(one - matrices.random_orthogonal(5, seed=2, dtype=tf.float64)))
        > 0.1
    )


def test_inverse_and_log_det_are_those_of_numpy():
    for compiled in [False, True]:
        function = tf.function(matrices.inverse_and_log_det, jit_compile=compiled)
        inverse, log_det = function(WEIGHT)
        close(inverse, np.linalg.inv(WEIGHT))
        close(log_det, np.linalg.slogdet(WEIGHT)[1])


def test_many_channels_do_not_overflow():
    weight = 100.0 * matrices.random_orthogonal(64, seed=0)  # the determinant is 1e128
    np.testing.assert_allclose(
        matrices.inverse_and_log_det(weight)[1], 64 * np.log(100.0), rtol=1e-6
    )


def test_gradients_of_both_orders():
    def value(weight):
        inverse, log_det = matrices.inverse_and_log_det(weight)
        return tf.reduce_sum(tf.sin(inverse)) + tf.reduce_sum(log_det**2)

    def gradient(weight):
        with tf.GradientTape() as tape:
            tape.watch(weight)
            total = value(weight)
        return tape.gradient(total, weight)

    def product(weight):
        with tf.GradientTape() as tape:
            tape.watch(weight)
            total = tf.reduce_sum(gradient(weight) * step)
        return tape.gradient(total, weight)

    rng = np.random.default_rng(1)
    weight, step = tf.constant(WEIGHT), rng.normal(size=WEIGHT.shape)
    h = 1e-6
    difference = (value(weight + h * step) - value(weight - h * step)) / (2 * h)
    close(tf.reduce_sum(gradient(weight) * step), difference, 1e-6)
    difference = (gradient(weight + h * step) - gradient(weight - h * step)) / (2 * h)
    close(product(weight), difference, 1e-5)


def test_factors_make_up_the_matrix():
    factors = matrices.plu_factors(WEIGHT[0])
    unit = np.eye(4)
    lower = factors["lower"] + unit
    upper = factors["upper"] + unit * factors["sign"] * np.exp(factors["log_magnitude"])
    assert np.all(np.triu(factors["lower"]) == 0.0)
    assert np.all(np.tril(factors["upper"]) == 0.0)
    close((lower.numpy() @ upper.numpy()), WEIGHT[0][factors["permutation"]])


def test_tells_singular_matrices():
    singular = WEIGHT[0].copy()
    singular[2] = singular[0] - 2.0 * singular[1]
    found = matrices.is_invertible(tf.constant([WEIGHT[0], singular, np.zeros([4, 4])]))
    np.testing.assert_array_equal(found, [True, False, False])
    rng = np.random.default_rng(0)
    for size in [2, 8, 48]:
        weights = rng.normal(size=[100, size, size])
        assert np.all(matrices.is_invertible(np.float32(weights)))
        weights[:, -1] = np.einsum(
            "ni,nij->nj", rng.normal(size=[100, size - 1]), weights[:, :-1]
        )
        assert not np.any(matrices.is_invertible(np.float32(weights)))


def test_errors():
    with pytest.raises(ValueError, match="`size` must be at least 1; got 0"):
        matrices.random_orthogonal(0, seed=0)
    with pytest.raises(ValueError, match="must be a square matrix; got shape .*2, 3"):
        matrices.plu_factors(np.ones([2, 3]))
    with pytest.raises(ValueError, match="must be invertible; got a singular matrix"):
        matrices.plu_factors(np.ones([2, 2]))
