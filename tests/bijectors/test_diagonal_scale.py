"""Facts of `tfp_flows.bijectors.diagonal_scale` beyond the laws."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close
from tfp_flows.bijectors import DiagonalScale
from tfp_flows.bijectors._trainable import make_trainable

tfd = tfp.distributions

X = np.random.default_rng(0).normal(size=[4, 2, 3])
LOG_SCALE = np.array([0.5, -2.0, 3.0])


def test_agrees_with_the_paper():
    s = np.exp(-LOG_SCALE)  # of theirs, from the data to the noise
    bijector = DiagonalScale(LOG_SCALE)
    close(bijector.inverse(X), X * s)
    close(bijector.inverse_log_det_jacobian(X), np.full([4, 2], np.sum(np.log(s))))


def test_mean_and_covariance_are_known():
    base = tfd.MultivariateNormalDiag(np.ones(3))
    flow = tfd.TransformedDistribution(base, DiagonalScale(LOG_SCALE))
    close(flow.mean(), np.exp(LOG_SCALE))
    close(flow.covariance(), np.diag(np.exp(2.0 * LOG_SCALE)))


def test_starts_near_the_identity():
    bijector = make_trainable(DiagonalScale, [3], seed=0, dtype=tf.float64)
    close(bijector.forward(X), X, 0.1)


def test_rejects_an_input_of_another_size():
    with pytest.raises(ValueError, match=r"`log_scale`; got .*\(4, 2, 3\) and \(5,\)"):
        DiagonalScale(np.zeros(5)).forward(X)


def test_rejects_what_is_not_a_finite_vector():
    with pytest.raises(ValueError, match="`log_scale` must be finite; got .inf"):
        DiagonalScale(np.inf * np.ones([1]))
    with pytest.raises(ValueError, match="`log_scale` must have at least 1 axes"):
        DiagonalScale(0.0)
    with pytest.raises(TypeError, match="one floating dtype; got .*int64"):
        DiagonalScale(np.array([1]))
    variable = tf.Variable([np.nan])
    with pytest.raises(tf.errors.InvalidArgumentError, match="`log_scale` must be"):
        DiagonalScale(variable, validate_args=True).forward([1.0])
