"""Logit layer, which has no numbers to learn."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests import laws
from tests.laws import close
from tfp_flows.bijectors import Logit

X = np.linspace(0.0, 256.0, 12).reshape(4, 3)
LAYER = Logit(0.05, 0.0, 256.0)


def test_laws():
    laws.check_log_dets(LAYER, X)
    laws.check_modes(LAYER, X)
    laws.check_vectorized_map(LAYER, X)
    close(LAYER.inverse(LAYER.forward(X).numpy()), X)
    y = np.linspace(-30.0, 30.0, 13)
    ldj = LAYER.inverse_log_det_jacobian(y, event_ndims=0)
    assert np.all(np.isfinite(ldj)) and ldj[0] < -24.0
    chain = tfp.bijectors.Chain([LAYER, tfp.bijectors.Invert(LAYER)])
    close(chain.forward(X - 100.0), X - 100.0)
    logistic = tfp.distributions.Logistic(np.float64(0.0), 1.0)
    pixels = tfp.distributions.TransformedDistribution(
        logistic, tfp.bijectors.Invert(Logit(1e-12))
    )
    close(pixels.log_prob(X[1:3] / 256.0), np.zeros([2, 3]))  # uniform


def test_is_the_formula_of_the_paper():
    p = 0.05 + 0.9 * X / 256.0
    close(LAYER.forward(X), np.log(p) - np.log1p(-p))
    close(
        LAYER.forward_log_det_jacobian(X, event_ndims=0),
        np.log(0.9 / 256.0 / (p * (1.0 - p))),
    )


def test_accepts_what_its_inverse_gives_and_no_more():
    beyond = LAYER.inverse(np.float32(10.0))
    assert 256.0 < beyond < 256.0 * (1.0 + 0.05 / 0.9)
    for y in np.float32([10.0, 14.0, 20.0, 1e3, -1e3]):
        again = LAYER.forward(LAYER.inverse(y).numpy())
        np.testing.assert_allclose(again, np.clip(y, -13.9, 13.9), atol=0.2)
    with pytest.raises(tf.errors.InvalidArgumentError, match="for the range 0.0 to"):
        LAYER.forward(np.array([0.0, 300.0]))
    checked = tf.function(Logit(validate_args=True).forward)
    with pytest.raises(tf.errors.InvalidArgumentError, match="the range 0.0 to 1.0"):
        checked(tf.constant(-0.2))


def test_errors():
    for alpha in [0.0, 0.5]:
        with pytest.raises(ValueError, match=rf"in \(0, 0.5\); got {alpha}"):
            Logit(alpha)
    with pytest.raises(ValueError, match="`low` must be below `high`; got 1.0 and 1.0"):
        Logit(low=1.0)
