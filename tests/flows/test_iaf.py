"""Tests of `tfp_flows.flows.iaf`."""

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tests.flows.builders import check_density_builder
from tests.laws import close
from tfp_flows import flows
from tfp_flows.bijectors import transformers

tfd = tfp.distributions


def test_iaf_passes_the_checks_of_builders(tmp_path):
    def make(**kwargs):
        return flows.iaf(3, 2, (8, 8), activation="tanh", **kwargs)

    check_density_builder(make, 3, tmp_path)


def test_fits_what_is_wider_than_its_noise():
    target = tfd.MultivariateNormalDiag(scale_diag=[10.0, 10.0])
    flow = flows.iaf(2, 2, (8,), seed=0)
    tfp.vi.fit_surrogate_posterior(
        target.log_prob,
        flow,
        keras.optimizers.Adam(0.05),
        150,
        sample_size=32,
        seed=(0, 1),
        trainable_variables=flow.trainable_variables,
    )
    z, log_q = flow.experimental_sample_and_log_prob(10_000, seed=(0, 2))
    assert abs(np.mean(target.log_prob(z) - log_q)) < 0.05
    close(np.std(z, axis=0), [10.0, 10.0], 0.1)


def test_the_gate_of_the_paper_only_contracts():
    gate = transformers.GatedAffine()
    flow = flows.iaf(2, 2, (8,), seed=0, transformer=gate, dtype=tf.float64).bijector
    rng = np.random.default_rng(0)
    for variable in flow.trainable_variables:
        variable.assign(3.0 * rng.normal(size=variable.shape))
    x = rng.normal(size=[100, 2], scale=3.0)
    assert np.all(flow.forward_log_det_jacobian(x) < 0.0)


def test_starts_with_the_gate_of_the_paper_if_asked_to():
    flow = flows.iaf(
        3, 2, (8,), seed=0, transformer=transformers.GatedAffine(), dtype=tf.float64
    ).bijector
    x = np.random.default_rng(0).normal(size=[5, 3])
    close(flow.forward(x), x / (1.0 + np.exp(-1.5)) ** 2)
