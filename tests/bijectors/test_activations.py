"""Tests of `tfp_flows.bijectors.activations`."""

import numpy as np
import pytest
import tensorflow as tf

from tests.catalogue.layers import ERF
from tests.laws import close
from tfp_flows.bijectors import Activation, LeakyReLU
from tfp_flows.bijectors.activations import as_activation

SOFTPLUS = Activation(tf.math.softplus, tf.math.sigmoid, name="softplus")
STEPS = Activation(  # flat nearly everywhere, and never 0
    lambda a: tf.floor(a) + tf.minimum(10.0 * (a - tf.floor(a)), 1.0),
    lambda a: tf.where(a - tf.floor(a) < 0.1, 10.0 * tf.ones_like(a), tf.zeros_like(a)),
    max_slope=10.0,
)
TANH = as_activation("tanh")
ACTIVATIONS = [TANH, LeakyReLU(0.0), LeakyReLU(0.3), ERF, SOFTPLUS, STEPS]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_solves_its_equation(activation, dtype, jit_compile):
    rng = np.random.default_rng(0)
    least = -6.0 if dtype == np.float32 else -14.0
    margin = np.exp(rng.uniform(least, 5.0, size=2000)).astype(dtype)
    kappa = (margin - 1.0) / dtype(activation.max_slope)
    c = (rng.normal(size=2000) * np.exp(rng.uniform(-3.0, 3.0, 2000))).astype(dtype)
    solve = tf.function(activation.solve, autograph=False, jit_compile=jit_compile)
    a = solve(tf.constant(c), tf.constant(kappa), tf.constant(margin))
    wide_a, wide_c = (tf.constant(np.float64(v)) for v in (a, c))
    residual = np.abs(wide_a + np.float64(kappa) * activation(wide_a) - wide_c)
    size = np.abs(c) + np.abs(a) + np.abs(wide_a - wide_c)
    steepest = np.maximum(1.0, margin)
    assert np.all(residual <= 8.0 * np.finfo(dtype).eps * size * steepest)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_slopes_are_those_of_autodiff(activation):
    a = tf.constant(np.random.default_rng(0).normal(size=100, scale=2.0))
    with tf.GradientTape() as tape:
        tape.watch(a)
        value = activation(a)
    h, slope, lack = activation.evaluate(a)
    close(h, value)
    close(slope, tape.gradient(value, a))
    close(lack, activation.max_slope - slope)
    assert np.all(slope >= 0.0) and np.all(lack >= 0.0)


@pytest.mark.parametrize("slope", [0.0, -1.0, np.inf, np.nan])
def test_rejects_a_bound_that_is_none(slope):
    with pytest.raises(ValueError, match=f"`max_slope` must be positive .*got {slope}"):
        Activation(tf.math.tanh, tf.math.tanh, max_slope=slope)


@pytest.mark.parametrize("slope", [-0.1, 1.1, np.nan])
def test_rejects_a_negative_slope_that_is_out_of_range(slope):
    with pytest.raises(ValueError, match=rf"`negative_slope` .*\[0, 1\]; got {slope}"):
        LeakyReLU(slope)
