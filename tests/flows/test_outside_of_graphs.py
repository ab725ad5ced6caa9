"""Flows own variables: they are created outside of graphs, and used within."""

import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close
from tfp_flows import flows
from tfp_flows.networks import MLP

tfd = tfp.distributions
BUILDERS = {
    "maf": lambda: flows.maf(2, 1, (3,), seed=0),
    "nice": lambda: flows.nice(2, 2, (3,), seed=0),
    "planar": lambda: flows.planar(2, 2, seed=0),
    "radial": lambda: flows.radial(2, 2, seed=0),
    "sylvester": lambda: flows.sylvester(2, 2, seed=0),
    "glow": lambda: flows.glow([8, 8, 1], seed=0),
    "network": lambda: MLP(2, [2], (3,), seed=0),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_a_graph_does_not_own_variables(name):
    build = tf.function(lambda: BUILDERS[name]() and 0, autograph=False)
    with pytest.raises(RuntimeError, match=r"created outside of graphs, .* once b"):
        build()


def test_a_model_does_not_own_variables():
    def model():
        yield flows.maf(2, 1, (3,), seed=0)

    joint = tfd.JointDistributionCoroutineAutoBatched(model)
    with pytest.raises(RuntimeError, match="`tfd.JointDistributionCoroutine`, or a `D"):
        joint.sample(seed=(0, 1))


@pytest.fixture(scope="module")
def prior():
    return flows.real_nvp(2, 1, (3,), seed=0, name="z")


@pytest.fixture(scope="module")
def family():
    family = flows.real_nvp(2, 1, (3,), seed=0, context_size=2, name="y")
    for variable in family.trainable_variables:
        variable.assign(variable + 0.3)
    return family


def coroutine(kind, prior, family):
    def model():
        z = yield prior
        yield flows.condition(family, z)

    return kind(model)


JOINTS = {
    "coroutine": lambda *flows: coroutine(
        tfd.JointDistributionCoroutineAutoBatched, *flows
    ),
    "sequential": lambda prior, family: tfd.JointDistributionSequentialAutoBatched(
        [prior, lambda z: flows.condition(family, z)]
    ),
    "named": lambda prior, family: tfd.JointDistributionNamedAutoBatched(
        dict(a=prior, b=lambda a: flows.condition(family, a))
    ),
}


@pytest.mark.parametrize("name", JOINTS)
def test_flows_in_models_with_batches_of_their_own(name, prior, family):
    joint = JOINTS[name](prior, family)
    draw = joint.sample(3, seed=0)
    z, y = tf.nest.flatten(draw)
    assert z.shape == y.shape == [3, 2]
    with tf.GradientTape() as tape:
        log_prob = joint.log_prob(draw)
    expected = prior.log_prob(z) + flows.condition(family, z).log_prob(y)
    close(log_prob, expected, 1e-5)
    variables = prior.trainable_variables + family.trainable_variables
    assert any(g is not None for g in tape.gradient(log_prob, variables))
