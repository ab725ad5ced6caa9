"""Gaps and bounds of posteriors that are checked on a grid."""

import numpy as np
import pytest
import tensorflow as tf

from tests.examples.loading import load
from tfp_flows import variational


class Progress:
    def update(self, steps):
        pass


@pytest.fixture(scope="module")
def example():
    return load("flow_posteriors")


def test_a_decoder_that_ignores_z_gives_each_pixel_log_two(example):
    seen = example.views_of(example.load()[1][:3])
    log_p = example.log_evidence(example.build_decoder(0), seen)
    pixels = np.repeat([64, 24], 3)
    np.testing.assert_array_equal(np.sum(np.abs(seen), axis=1), pixels)
    np.testing.assert_allclose(log_p, -pixels * np.log(2.0), rtol=1e-5)


def test_gap_is_the_divergence_and_a_flow_has_less_of_it(example):
    seen = example.views_of(example.load()[1][:4])
    gaps = {}
    for name in ["Gaussian", "planar 4"]:
        model = example.Autoencoder(name, None, None, seed=0)
        random = np.random.RandomState(3)
        for weight in model.decoder.trainable_variables:
            weight.assign(random.normal(size=weight.shape, scale=0.7))
        encoded = model.encoder(seen)
        log_p = example.log_evidence(model.decoder, seen)
        terms = model.draw(seen, encoded, 0)
        parameters, best = example.refine(
            model, seen, encoded, terms, 300, 0, Progress()
        )
        gaps[name] = log_p - np.mean(best.log_weight, axis=0)
        assert np.all(gaps[name] < log_p - np.mean(terms.log_weight, axis=0))
    assert np.mean(gaps["planar 4"]) < 0.7 * np.mean(gaps["Gaussian"])
    assert np.min(gaps["planar 4"]) > -0.02
    for case in [1, 5]:
        row = example.check("planar 4", model, seen, parameters, best, log_p, case)
        np.testing.assert_allclose(
            row["bound"] + row["divergence"],
            row["log_p"],
            atol=5.0 * row["standard_error"] + 1e-3,
        )


def test_importance_weighted_bounds_take_groups_of_samples(example):
    random = np.random.RandomState(0)
    values = np.float32(random.normal(size=[3, 100, 2]))
    terms = variational.PosteriorSamples(tf.zeros([100, 2, 2]), *values)
    bounds = [example.importance_weighted(terms, count) for count in [1, 5, 50, 100]]
    weight = values[0] + values[1] - values[2]
    np.testing.assert_allclose(bounds[0], np.mean(weight), rtol=1e-4)
    np.testing.assert_allclose(
        bounds[-1], np.mean(np.log(np.mean(np.exp(weight), axis=0))), rtol=1e-4
    )
    assert bounds == sorted(bounds)
