"""Tests of `tfp_flows.bijectors.orthonormal`."""

import numpy as np
import pytest
import tensorflow as tf

from tests.laws import close
from tfp_flows.bijectors import orthonormal

RNG = np.random.default_rng(0)
MATRIX = RNG.normal(size=[5, 6, 4])
MAKERS = {
    "qr": lambda: orthonormal.qr_basis(MATRIX),
    "bjorck": lambda: orthonormal.bjorck_basis(MATRIX),
    "householder": lambda: orthonormal.householder_basis(RNG.normal(size=[5, 3, 6]), 4),
    "reversal": lambda: orthonormal.permutation_basis(
        6, 4, reverse=True, dtype=tf.float64
    ),
}


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_columns_are_orthonormal(maker):
    q = maker()
    assert q.shape[-2:] == [6, 4]
    gram = tf.matmul(q, q, transpose_a=True)
    close(gram, np.broadcast_to(np.eye(4), gram.shape), 1e-13)


@pytest.mark.parametrize("make", [orthonormal.qr_basis, orthonormal.bjorck_basis])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_orthonormal_matrix_is_kept(make, dtype):
    q = np.linalg.qr(MATRIX)[0].astype(dtype)
    close(make(q), q, 10 * np.finfo(dtype).eps)


def test_bjorck_gives_the_nearest_orthonormal_matrix():
    left, _, right = np.linalg.svd(MATRIX, full_matrices=False)
    close(orthonormal.bjorck_basis(MATRIX), left @ right)


def test_bjorck_converges_for_ill_conditioned_matrices():
    left, _, right = np.linalg.svd(MATRIX, full_matrices=False)
    matrix = left * np.array([1e3, 1.0, 1e-1, 1e-3]) @ right
    close(orthonormal.bjorck_basis(matrix), left @ right, 1e-8)


def test_qr_has_a_positive_diagonal():
    r = tf.matmul(orthonormal.qr_basis(MATRIX), MATRIX, transpose_a=True)
    assert np.all(np.array(tf.linalg.diag_part(r)) > 0.0)
    close(np.tril(r, -1), np.zeros(r.shape))


def test_householder_is_the_product_of_reflections():
    a, b = RNG.normal(size=[2, 3])
    h = [np.eye(3) - 2.0 * np.outer(v, v) / (v @ v) for v in (a, b)]
    close(orthonormal.householder_basis(np.stack([a, b])), h[0] @ h[1])
    close(orthonormal.householder_basis(np.zeros([2, 3])), np.eye(3))


def test_mirrors_may_be_parallel_and_missing():
    v = RNG.normal(size=[1, 8]).astype(np.float32)
    lengths = np.float32([[1.0], [-1e6], [0.0], [1e-6], [3.0]])
    mirrors = tf.constant(lengths * v)
    with tf.GradientTape() as tape:
        tape.watch(mirrors)
        q = orthonormal.householder_basis(mirrors)
        total = tf.reduce_sum(q * RNG.normal(size=[8, 8]).astype(np.float32))
    close(q, np.eye(8), 16 * np.finfo(np.float32).eps)  # four times the same, and none
    assert np.all(np.isfinite(tape.gradient(total, mirrors)))


def test_reversal_takes_the_last_coordinate_first():
    q = orthonormal.permutation_basis(3, 2, reverse=True)
    np.testing.assert_array_equal(q, [[0, 0], [0, 1], [1, 0]])


@pytest.mark.parametrize(
    "make",
    [orthonormal.qr_basis, orthonormal.bjorck_basis, orthonormal.householder_basis],
)
def test_gradients_are_those_of_differences(make):
    start, step = MATRIX[0], RNG.normal(size=MATRIX[0].shape)
    weights = RNG.normal(size=make(start).shape)
    with tf.GradientTape() as tape:
        tape.watch(matrix := tf.constant(start))
        total = tf.reduce_sum(weights * make(matrix))
    h = 1e-6
    ends = [np.sum(weights * make(start + s * h * step)) for s in (1.0, -1.0)]
    expected = (ends[0] - ends[1]) / (2 * h)
    close(tf.reduce_sum(tape.gradient(total, matrix) * step), expected, 1e-7)


def test_triangular_factors_agree():
    vector = RNG.normal(size=[2, 6], scale=3.0)
    bijector = orthonormal.triangular_factor_bijector(tf.float64)
    factor = bijector.forward(vector)
    assert np.all(np.abs(np.diagonal(factor, axis1=-2, axis2=-1)) < 1.0)
    raw = bijector.bijectors[1].forward(vector)
    close(orthonormal.triangular_factor(raw), factor)
    close(bijector.inverse(tf.identity(factor)), vector)


def test_rejects_wide_matrices():
    with pytest.raises(ValueError, match=r"more columns than rows; got .*\(2, 3\)"):
        orthonormal.qr_basis(np.zeros([2, 3]))
    with pytest.raises(ValueError, match=r"`num_columns` must be in \[1, 3\].*; got 4"):
        orthonormal.householder_basis(np.zeros([2, 3]), 4)
