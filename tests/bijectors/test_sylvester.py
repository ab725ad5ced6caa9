"""Facts of `tfp_flows.bijectors.sylvester` beyond the laws."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import check_log_dets, close, fresh
from tfp_flows.bijectors import Planar, Sylvester, orthonormal

tfb = tfp.bijectors
RNG = np.random.default_rng(0)
X = RNG.normal(size=[5, 4])
Q = orthonormal.qr_basis(RNG.normal(size=[4, 3]))
R, R_TILDE = (
    orthonormal.triangular_factor(3.0 * RNG.normal(size=[3, 3])) for _ in range(2)
)
B = RNG.normal(size=3)


def test_agrees_with_the_equation_of_the_paper():
    q, r, r_tilde = (np.array(v) for v in (Q, R, R_TILDE))
    t = X @ q @ r_tilde.T + B
    bijector = Sylvester(Q, R, R_TILDE, B)
    close(bijector.forward(X), X + np.tanh(t) @ r.T @ q.T)
    slopes = (1.0 - np.tanh(t) ** 2) * np.diag(r) * np.diag(r_tilde)
    close(bijector.forward_log_det_jacobian(X), np.sum(np.log1p(slopes), axis=-1))


def test_one_column_is_a_planar_layer():
    q, r, r_tilde, b = Q[:, :1], R[:1, :1], R_TILDE[:1, :1], B[:1]
    planar = Planar((q @ r)[:, 0], (q @ r_tilde)[:, 0], b[0], constraint=None)
    sylvester = Sylvester(q, r, r_tilde, b)
    for method in ["forward", "inverse", "inverse_log_det_jacobian"]:
        close(getattr(sylvester, method)(X), getattr(planar, method)(X))


def test_what_is_below_the_diagonals_is_not_read():
    below = np.tril(RNG.normal(size=[3, 3]), -1)
    bijector, other = (
        Sylvester(Q, R + z * below, R_TILDE - z * below, B) for z in (0.0, 1.0)
    )
    close(other.forward(X), bijector.forward(X))
    close(other.inverse(X), bijector.inverse(X))


def test_inverts_with_a_singular_factor():
    r_tilde = tf.linalg.set_diag(R_TILDE, [0.5, 0.0, 0.0])
    bijector = Sylvester(Q, R, r_tilde, B)
    close(bijector.inverse(fresh(bijector.forward(X))), X)
    check_log_dets(bijector, X)


@pytest.mark.parametrize(
    "make", [orthonormal.bjorck_basis, orthonormal.householder_basis]
)
def test_amortized_parameters_for_many_samples(make):
    rng = np.random.default_rng(1)
    raw = rng.normal(size=[6, 4, 4]).astype(np.float32)
    q = (
        make(raw)[..., :3]
        if make is orthonormal.householder_basis
        else make(raw[..., :3])
    )
    r, r_tilde = (
        orthonormal.triangular_factor(rng.normal(size=[6, 3, 3]).astype(np.float32))
        for _ in range(2)
    )
    bijector = Sylvester(q, r, r_tilde, np.float32(rng.normal(size=[6, 3])))
    assert bijector.experimental_batch_shape() == [6]
    x = np.float32(rng.normal(size=[7, 6, 4]))
    y = bijector.forward(x)
    assert y.shape == [7, 6, 4]
    assert bijector.forward_log_det_jacobian(x).shape == [7, 6]
    close(bijector.inverse(fresh(y)), x, 1e-5)


def test_every_diagonal_of_triangular_factors_is_allowed_in_float32():
    # A product of two tanh rounds to -1, and the determinant to 0, without the margin.
    raw = np.float32([[20.0, 0.0], [0.0, -20.0]])
    r, r_tilde = orthonormal.triangular_factor(raw), orthonormal.triangular_factor(-raw)
    bijector = Sylvester(tf.eye(2), r, r_tilde, tf.zeros(2), validate_args=True)
    assert np.all(np.isfinite(bijector.forward_log_det_jacobian(np.zeros([1, 2], "f"))))


def test_makes_its_basis_once_a_call():
    calls = []

    def make(matrix):
        calls.append(matrix)
        return orthonormal.qr_basis(matrix)

    q = tfp.util.DeferredTensor(tf.Variable(Q), make, shape=Q.shape)
    bijector = Sylvester(q, R, R_TILDE, B)
    for method in ["forward", "inverse"]:
        calls.clear()
        getattr(bijector, method)(X)
        assert len(calls) == 1


def test_rejects_more_columns_than_rows():
    with pytest.raises(ValueError, match=r"more columns than rows; got .*\(2, 3\)"):
        Sylvester(np.zeros([2, 3]), np.eye(3), np.eye(3), np.zeros(3))


def test_rejects_no_columns():
    with pytest.raises(ValueError, match=r"at least 1 column .*; got shape \(2, 0\)"):
        Sylvester(np.zeros([2, 0]), np.zeros([0, 0]), np.zeros([0, 0]), np.zeros(0))


def test_rejects_a_basis_that_is_not_orthonormal():
    message = "`q` must have orthonormal columns"
    with pytest.raises(ValueError, match=f"{message}; got"):
        Sylvester(2.0 * np.array(Q), R, R_TILDE, B)
    variable = Sylvester(tf.Variable(1.01 * Q), R, R_TILDE, B, validate_args=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        variable.forward(X)


def test_rejects_sizes_that_differ():
    with pytest.raises(ValueError, match=r"equally long; got .*`r_tilde` \(2, 2\)"):
        Sylvester(Q, R, R_TILDE[:2, :2], B)
    with pytest.raises(ValueError, match=r"`q`; got shapes \(5, 3\) and \(4,\)"):
        Sylvester(Q, R, R_TILDE, B).forward(np.zeros([5, 3]))


def test_rejects_mixed_dtypes():
    with pytest.raises(TypeError, match="one floating dtype; got .*'b': 'float32'"):
        Sylvester(Q, R, R_TILDE, np.float32(B))


def test_rejects_diagonals_outside_of_their_support():
    r = tf.linalg.set_diag(R, [2.0, 0.0, 0.0])
    r_tilde = tf.linalg.set_diag(R_TILDE, [-1.0, 0.0, 0.0])
    message = "of `r` and `r_tilde` must have products above -1"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        Sylvester(Q, r, r_tilde, B, validate_args=True)
    with pytest.raises(ValueError, match=message):
        Sylvester(Q, r.numpy(), r_tilde.numpy(), B)


def test_rejects_parameters_that_are_not_finite():
    with pytest.raises(ValueError, match="`b` must be finite; got .*nan"):
        Sylvester(Q, R, R_TILDE, B * np.nan)
