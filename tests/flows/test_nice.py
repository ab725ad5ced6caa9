"""Tests of `tfp_flows.flows.nice`."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tests.flows.builders import check_density_builder
from tests.laws import close
from tfp_flows import flows

tfd = tfp.distributions


def test_nice_passes_the_checks_of_builders(tmp_path):
    def make(**kwargs):
        return flows.nice(4, 3, (8,), activation="tanh", **kwargs)

    check_density_builder(make, 4, tmp_path)


def test_is_the_model_of_the_paper():
    flow = flows.nice(4, 4, (8,), seed=0, dtype=tf.float64)
    scale = flow.bijector.bijectors[-1]
    log_scale = np.array([0.5, -1.0, 0.2, 0.0])
    scale.log_scale.assign(log_scale)
    x = np.random.default_rng(0).normal(size=[5, 4])
    # Section 3.4: the log-likelihood of a logistic is -log(1 + e^h) - log(1 + e^-h).
    h = x * np.exp(-log_scale)
    expected = -np.logaddexp(0.0, h) - np.logaddexp(0.0, -h) - log_scale
    close(flow.log_prob(x), np.sum(expected, axis=-1))
    kept = [layer.mask.tolist() for layer in flow.bijector.bijectors[:-1]]
    assert kept[0] == kept[2] == [not k for k in kept[1]]
    normal = flows.nice(4, 4, (8,), seed=0, base_distribution=tfd.Normal)
    assert isinstance(normal.distribution.distribution, tfd.Normal)
