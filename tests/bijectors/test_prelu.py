"""Facts of `tfp_flows.bijectors.prelu` beyond the laws."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close
from tfp_flows.bijectors import PReLU
from tfp_flows.bijectors._trainable import make_trainable

tfd = tfp.distributions


def test_agrees_with_equation_1():
    x = np.array([[-2.0, 0.0, 3.0], [-1.0, -4.0, 0.5]])
    slope = np.array([0.5, 2.0, 9.0])
    bijector = PReLU(slope)
    close(bijector.forward(x), np.maximum(x, 0.0) + slope * np.minimum(x, 0.0))
    expected = np.where(x < 0.0, np.log(slope), 0.0)
    close(bijector.forward_log_det_jacobian(x), expected)
    close(
        bijector.forward_log_det_jacobian(x, event_ndims=1), np.sum(expected, axis=-1)
    )


def test_is_increasing():
    flow = tfd.TransformedDistribution(tfd.Normal(0.0, 1.0), PReLU(0.25))
    close(flow.cdf([-0.25, 1.0]), tfd.Normal(0.0, 1.0).cdf([-1.0, 1.0]), 1e-6)
    close(flow.quantile(flow.cdf([-0.25, 1.0])), [-0.25, 1.0], 1e-6)


def test_is_trained_through_its_logarithm():
    bijector = make_trainable(PReLU, [3], seed=0)
    (raw,) = bijector.trainable_variables
    raw.assign([-2.0, 0.0, 1.0])
    np.testing.assert_allclose(bijector.slope, np.exp([-2.0, 0.0, 1.0]), rtol=1e-6)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(bijector.forward_log_det_jacobian(-tf.ones(3)))
    np.testing.assert_allclose(tape.gradient(total, raw), 1.0, rtol=1e-6)


@pytest.mark.parametrize("slope", [0.0, -0.1, np.nan])
def test_rejects_a_slope_that_is_not_positive(slope):
    with pytest.raises(ValueError, match=rf"`slope` must be positive .*; got {slope}"):
        PReLU(slope)
    variable = PReLU(tf.Variable(slope), validate_args=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`slope` must be"):
        variable.forward([1.0])


def test_rejects_an_input_that_does_not_fit():
    with pytest.raises(ValueError, match=r"input must broadcast.*\(2, 4\) and \(3,\)"):
        PReLU(np.ones(3)).forward(np.ones([2, 4]))


def test_rejects_integers():
    with pytest.raises(TypeError, match="one floating dtype; got {'slope': 'int64'}"):
        PReLU(np.array([1, 2]))
