"""Digits that layers keep: inverses far out, slopes where tanh is flat."""

import numpy as np
import pytest
import tensorflow as tf

from tests.laws import fresh
from tfp_flows.bijectors import (
    Activation,
    LeakyReLU,
    Planar,
    PlanarStack,
    Sylvester,
    orthonormal,
)
from tfp_flows.bijectors.activations import as_activation

SOFTPLUS = Activation(tf.math.softplus, tf.math.sigmoid, name="softplus")
ACTIVATIONS = [SOFTPLUS, LeakyReLU(0.1), as_activation("tanh")]

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
each_activation = pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)


def lost(make, parameters, x, dtype):
    """Returns the residuals of `forward(inverse(y)) = y`, in units of rounding.

    The residual is that of float64. Its unit is what becomes of the rounding of `y` and
    of `x`, which no method can avoid: the latter is carried over by the Jacobian.
    """
    parameters = [np.asarray(value, dtype) for value in parameters]
    layer = make(*parameters)
    exact = make(*(value.astype(np.float64) for value in parameters))
    y = layer.forward(x.astype(dtype)).numpy()
    found = layer.inverse(fresh(y)).numpy()
    assert found.dtype == dtype
    found = found.astype(np.float64)
    again = exact.forward(fresh(found)).numpy()
    signs = np.random.default_rng(1).choice([-1.0, 1.0], size=[16, *found.shape])
    moved = exact.forward(fresh(found * (1.0 + 1e-6 * signs))).numpy()
    carried = 1e6 * np.max(np.linalg.norm(moved - again, axis=-1), axis=0)
    unit = np.finfo(dtype).eps * (np.linalg.norm(y, axis=-1) + carried)
    return np.max(np.linalg.norm(again - y, axis=-1) / unit)


@both_dtypes
@pytest.mark.parametrize("compiled", [False, True])
def test_a_known_inverse(dtype, compiled):
    layer = Planar(
        np.array([54.293118], dtype),
        np.array([20.196688], dtype),
        dtype(11.147767),
        SOFTPLUS,
    )
    compile = tf.function(jit_compile=True) if compiled else lambda function: function
    found = compile(layer.inverse)(np.array([[282049.3]], dtype))
    # 256.795987, as `y = x + u_hat (w x + b)` so far out.
    np.testing.assert_allclose(found, [[256.795987]], rtol=4e-7)


@each_activation
@both_dtypes
@pytest.mark.parametrize("gain", [1.0, 30.0])
def test_steep_layers_of_scalars(gain, dtype, activation):
    x = np.random.default_rng(0).uniform(20.0, 2000.0, size=[500, 1])
    parameters = [gain], [gain], 0.0
    x = np.concatenate([x, 1e-4 * x])  # where tanh has not come to its bound
    assert lost(lambda *p: Planar(*p, activation), parameters, x, dtype) < 8.0


def points(rng, size):
    return rng.normal(size=[50, size]) * np.exp(rng.uniform(-2.0, 5.0, [50, 1]))


@each_activation
@both_dtypes
@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_planar_layers(scale, dtype, activation):
    for seed in range(2):
        rng = np.random.default_rng(seed)
        u, w = scale * rng.normal(size=[2, 6])
        parameters = u, w, scale * rng.normal()
        make = lambda *p: Planar(*p, activation)
        assert lost(make, parameters, points(rng, 6), dtype) < 16.0


@each_activation
@both_dtypes
@pytest.mark.parametrize("shape, scale", [([4, 6], 1.0), ([2, 6], 2.0)])
def test_stacks(shape, scale, dtype, activation):
    for seed in range(2):
        rng = np.random.default_rng(seed)
        u, w = scale * rng.normal(size=[2, *shape])
        parameters = u, w, scale * rng.normal(size=shape[:1])
        make = lambda *p: PlanarStack(*p, activation)
        assert lost(make, parameters, points(rng, 6), dtype) < 32.0


@each_activation
@both_dtypes
@pytest.mark.parametrize("columns", [1, 4])
def test_sylvester_layers(columns, dtype, activation):
    for seed in range(2):
        rng = np.random.default_rng(seed)
        q = orthonormal.qr_basis(rng.normal(size=[6, columns]))
        r, r_tilde = 5.0 * np.triu(rng.normal(size=[2, columns, columns]))
        diagonal = np.diag_indices(columns)
        r_tilde[diagonal] *= np.sign(r_tilde[diagonal] * r[diagonal])
        parameters = q, r, r_tilde, rng.normal(size=columns)
        make = lambda *p: Sylvester(*p, activation)
        assert lost(make, parameters, points(rng, 6), dtype) < 32.0


@both_dtypes
def test_roots_far_out_are_in_their_brackets(dtype):
    rng = np.random.default_rng(0)
    c = np.exp(rng.uniform(0.0, 16.0, size=2000)).astype(dtype)
    margin = np.exp(rng.uniform(-6.0, 10.0, size=2000)).astype(dtype)
    kappa = margin - 1
    a = np.float64(SOFTPLUS.solve(*map(tf.constant, (c, kappa, margin))))
    rise = np.float64(kappa) * np.logaddexp(a, 0.0)
    unit = np.finfo(dtype).eps * (np.abs(a) + np.abs(rise) + c)
    assert np.max(np.abs(a + rise - c) / unit) < 4.0


@pytest.mark.parametrize("compiled", [False, True])
def test_slopes_of_tanh_where_it_is_flat(compiled):
    evaluate = as_activation("tanh").evaluate
    evaluate = tf.function(evaluate, jit_compile=True) if compiled else evaluate
    a = np.float32(np.linspace(-30.0, 30.0, 601))
    _, slope, lack = evaluate(tf.constant(a))
    # Rounding of `2 a` in an exponent is no more than this.
    error = np.abs(slope.numpy() * np.cosh(np.float64(a)) ** 2 - 1.0)
    assert np.all(error < 4.0 * np.finfo(np.float32).eps * (1.0 + np.abs(a)))
    np.testing.assert_allclose(lack, np.tanh(np.float64(a)) ** 2, rtol=1e-6)


@pytest.mark.parametrize("kind", [Planar, PlanarStack, Sylvester])
def test_log_dets_where_tanh_is_flat(kind):
    # 500 times a slope of 5.5e-7, which `1 - tanh(a)^2` makes 3.6e-7 in float32.
    one = np.ones([1, 1])
    arguments = {
        Planar: ([500.0], [1.0], 0.0),
        PlanarStack: (500.0 * one, one, np.zeros(1)),
        Sylvester: (one, 500.0 * one, one, np.zeros(1)),
    }[kind]
    single, exact = (
        kind(*(np.asarray(value, dtype) for value in arguments))
        for dtype in (np.float32, np.float64)
    )
    x = np.array([[7.9]], np.float32)
    expected = exact.forward_log_det_jacobian(x.astype(np.float64)).numpy()
    assert 2.7e-4 < expected < 2.8e-4
    found = single.forward_log_det_jacobian(x)
    np.testing.assert_allclose(found, expected, rtol=1e-3)
