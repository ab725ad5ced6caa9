"""Recipes' noise: TFP's numbers, by a generator that is quick under XLA, too."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import dequantization, flows

tfd = tfp.distributions

FLOWS = {
    "vectors": lambda: flows.maf(3, 1, (8,), seed=0),
    "logistic": lambda: flows.nice(4, 2, (8,), seed=0),
    "images": lambda: flows.glow([4, 4, 1], 1, 1, 4, seed=0),
    "dequantizer": lambda: dequantization.variational_dequantizer(
        [4, 4, 1], 2, 4, seed=0
    ),
    "posterior": lambda: flows.amortized_posterior(3, "planar", 2)(tf.zeros([5, 20])),
}


def base_of(name):
    return FLOWS[name]().distribution


@pytest.mark.parametrize("name", FLOWS)
def test_no_device_chooses_the_generator(name):
    noise = base_of(name)
    draw = tf.function(lambda seed: noise.sample(2, seed=seed), autograph=False)
    operations = draw.get_concrete_function(tf.constant([1, 2])).graph.get_operations()
    generators = {op.type for op in operations if op.type.startswith("StatelessRandom")}
    assert generators & {"StatelessRandomNormalV2", "StatelessRandomUniformV2"}
    assert not generators & {"StatelessRandomGetAlg", "StatelessRandomGetKeyCounter"}


@pytest.mark.parametrize("name", ["vectors", "logistic"])
@pytest.mark.parametrize("seed", [[1, 2], 3, None])
def test_it_draws_as_the_distribution_of_tfp_does(name, seed):
    noise = base_of(name).distribution
    kind = type(noise).__mro__[1]
    assert kind in (tfd.Normal, tfd.Logistic)
    theirs = kind(noise.loc, noise.scale)
    if isinstance(seed, list):
        np.testing.assert_array_equal(
            noise.sample(5, seed=seed), theirs.sample(5, seed=seed)
        )
    draws = noise.sample(20000, seed=seed)
    mean, spread = np.mean(draws, axis=0), np.std(draws, axis=0)
    spread_of_mean = theirs.stddev() / np.sqrt(20000)
    assert np.all(np.abs(mean - theirs.mean()) < 5.0 * spread_of_mean)
    np.testing.assert_allclose(spread, theirs.stddev(), rtol=0.05)


def test_shapes_and_parameters_of_its_own():
    kind = type(base_of("vectors").distribution)
    noise = kind(tf.constant([[5.0], [0.0]]), [1.0, 3.0])
    draws = noise.sample([1000, 2], seed=[0, 1])
    assert draws.shape == [1000, 2, 2, 2]
    np.testing.assert_allclose(
        np.mean(draws, axis=(0, 1)), [[5.0, 5.0], [0.0, 0.0]], atol=0.4
    )
    np.testing.assert_allclose(
        np.std(draws, axis=(0, 1)), [[1.0, 3.0], [1.0, 3.0]], rtol=0.1
    )
