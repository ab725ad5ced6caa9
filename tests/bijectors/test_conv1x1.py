"""Facts of invertible 1x1 convolutions that the laws do not state."""

import numpy as np
import pytest
import tensorflow as tf

from tests.laws import close
from tfp_flows.bijectors import InvertibleConv1x1, InvertibleConv1x1PLU, matrices
from tfp_flows.bijectors._trainable import make_trainable

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=[4, 4], scale=2.0)
X = RNG.normal(size=[2, 3, 5, 4])
FACTORS = matrices.plu_factors(WEIGHT)


def both():
    return [InvertibleConv1x1(WEIGHT), InvertibleConv1x1PLU(**FACTORS)]


@pytest.mark.parametrize("layer", both(), ids=["plain", "plu"])
def test_is_a_convolution(layer):
    kernel = WEIGHT.T[np.newaxis, np.newaxis]
    close(layer.forward(X), tf.nn.conv2d(X, kernel, 1, "SAME"))
    close(layer.matrix(), WEIGHT)
    close(layer.inverse_matrix(), np.linalg.inv(WEIGHT))
    log_det = np.linalg.slogdet(WEIGHT)[1]
    close(layer.log_abs_det(), log_det)
    close(layer.forward_log_det_jacobian(X), np.full(2, 15 * log_det))


def test_the_sign_of_the_determinant_does_not_matter():
    flipped = WEIGHT * [[-1.0], [1.0], [1.0], [1.0]]
    one, other = both()[0], InvertibleConv1x1(flipped)
    close(other.forward_log_det_jacobian(X), one.forward_log_det_jacobian(X))
    close(other.inverse(other.forward(X).numpy()), X)


def test_one_small_solve_serves_all_pixels():
    for layer in both():
        for jit_compile in [False, True]:
            tf.function(layer.inverse, jit_compile=jit_compile)(X)
        graph = (
            tf.function(layer.inverse)
            .get_concrete_function(tf.TensorSpec(X.shape, tf.float64))
            .graph
        )
        solves = [op for op in graph.get_operations() if "Triangular" in op.type]
        assert solves and all(op.outputs[0].shape == [4, 4] for op in solves)


def test_plu_starts_as_the_identity_where_it_is_built_trainable():
    layer = make_trainable(
        InvertibleConv1x1PLU,
        [2, 2, 3],
        seed=0,
        stddev=0.0,
        permutation=[0, 1, 2],
        sign=[1.0, 1.0, 1.0],
    )
    close(layer.matrix(), np.eye(3))
    plain = make_trainable(InvertibleConv1x1, [2, 2, 3], seed=0, stddev=0.0)
    close(plain.matrix(), np.eye(3))
    assert len(plain.trainable_variables) == 1
    names = {variable.name[:5] for variable in layer.trainable_variables}
    assert names == {"lower", "upper", "log_m"}


@pytest.mark.parametrize(
    "arguments, kind, message",
    [
        (dict(sign=[1.0, 1.0, 0.5, 1.0]), ValueError, "`sign` must be 1 or -1"),
        (dict(permutation=[0.0, 1.0, 2.0, 3.0]), TypeError, "must be of integers"),
        (
            dict(permutation=[0, 1, 2]),
            ValueError,
            r"shape \[C\], .*; got shapes \(3,\)",
        ),
        (
            dict(permutation=[0, 1, 1, 3]),
            ValueError,
            "must hold each of 0 to C - 1 once",
        ),
        (dict(event_ndims=0), ValueError, "`event_ndims` must be at least 1; got 0"),
        (dict(lower=np.zeros([4, 3])), ValueError, "must be equally long"),
    ],
)
def test_errors_of_factors(arguments, kind, message):
    with pytest.raises(kind, match=message):
        InvertibleConv1x1PLU(**{**FACTORS, **arguments})


def test_errors_of_a_matrix():
    with pytest.raises(ValueError, match="`weight` must be invertible"):
        InvertibleConv1x1(np.ones([2, 2]))
    with pytest.raises(ValueError, match="must be equally long"):
        InvertibleConv1x1(np.ones([2, 3]))
    with pytest.raises(ValueError, match="`event_ndims` must be at least 1; got 0"):
        InvertibleConv1x1(WEIGHT, event_ndims=0)
    variable = tf.Variable(WEIGHT)
    layer = InvertibleConv1x1(variable, validate_args=True)
    layer.forward(X)
    variable.assign(np.ones([4, 4]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be invertible"):
        layer.forward(X)


@pytest.mark.parametrize(
    "call",
    [
        lambda layer, x: layer.inverse(x),
        lambda layer, x: layer.forward_log_det_jacobian(x),
        lambda layer, x: layer.inverse_log_det_jacobian(x),
        lambda layer, x: layer.inverse_matrix(),
        lambda layer, x: layer.log_abs_det(),
    ],
)
def test_a_matrix_that_became_singular_is_named(call):
    for dtype in [np.float32, np.float64]:
        for bad in [
            [[1.0, 2.0], [2.0, 4.0]],
            [[0.1, 0.3], [0.2, 0.6]],
            np.zeros([2, 2]),
            np.full([2, 2], np.nan),
            [np.eye(2), np.ones([2, 2])],
        ]:
            bad = np.array(bad, dtype)
            variable = tf.Variable(np.broadcast_to(np.eye(2, dtype=dtype), bad.shape))
            layer = InvertibleConv1x1(variable, event_ndims=1)
            x = np.ones([3, *bad.shape[:-1]], dtype)
            assert np.all(np.isfinite(call(layer, x)))
            variable.assign(bad)
            with pytest.raises(
                ValueError, match="`weight` must be invertible to .*log .de"
            ):
                call(layer, x)


@pytest.mark.parametrize("layer", both(), ids=["plain", "plu"])
def test_errors_of_input(layer):
    with pytest.raises(ValueError, match="must have length 4, the number of channels"):
        layer.forward(X[..., :3])
    with pytest.raises(ValueError, match="at least `event_ndims`, 3, axes; got"):
        layer.inverse(X[0, 0])
