"""Copies of flows by `copy.deepcopy`, `pickle` and `clone`."""

import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_flows
from tests import catalogue
from tests.laws import close, fresh
from tfp_flows import flows
from tfp_flows.bijectors import Coupling, Radial
from tfp_flows.keras import Conditioner
from tfp_flows.networks import MADE

tfb, tfd = tfp.bijectors, tfp.distributions


def _maf(seed=0, **others):
    return flows.maf(2, 2, (4,), seed=seed, **others)


def _variable(*shape):
    return tf.Variable(np.full(shape, 0.5, np.float32))


def _with_keras():
    network = keras.Sequential([keras.layers.Dense(4, "relu"), keras.layers.Dense(2)])
    conditioner = Conditioner(network, [1, 2], input_shape=[1])
    noise = tfd.Sample(tfd.Normal(0.0, 1.0), 2)
    return tfd.TransformedDistribution(noise, Coupling([True, False], conditioner))


FLOWS = {
    **{name: one.make for name, one in catalogue.FLOWS.items()},
    "scan": lambda: flows.real_nvp(2, 2, (4,), seed=0, scan=True),
    "bound to a context": lambda: flows.condition(
        _maf(context_size=3), np.ones([2, 3], np.float32)
    ),
    "a keras network": _with_keras,
    "a mixture": lambda: tfd.Mixture(
        tfd.Categorical(logits=_variable(2)), [_maf(0), _maf(1)]
    ),
    "a deferred scale": lambda: tfd.Independent(
        tfd.Normal(
            _variable(2), tfp.util.TransformedVariable([1.0, 2.0], tfb.Softplus())
        ),
        1,
    ),
}


def _log_prob(flow, x):
    return flow.log_prob(tf.nest.map_structure(fresh, x))


@pytest.mark.parametrize("make", FLOWS.values(), ids=FLOWS)
def test_copies_are_equal_and_share_no_variable(make):
    flow = make()
    for variable in flow.trainable_variables:  # away from the start
        variable.assign_add(0.05 * tf.ones_like(variable))
    x = flow.sample(seed=(0, 1))
    expected = _log_prob(flow, x)
    for duplicate in [
        copy.deepcopy,
        lambda flow: pickle.loads(pickle.dumps(flow)),
        tfp_flows.clone,
    ]:
        other = duplicate(flow)
        assert type(other) is type(flow) and other.name == flow.name
        assert [v.shape for v in other.variables] == [v.shape for v in flow.variables]
        assert [v.trainable for v in other.variables] == [
            v.trainable for v in flow.variables
        ]
        close(_log_prob(other, x), expected, 0.0)
        tf.nest.map_structure(
            lambda a, b: close(a, b, 0.0), other.sample(seed=(0, 1)), x
        )
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(_log_prob(other, x))
        gradients = tape.gradient(total, other.trainable_variables)
        assert all(gradient is not None for gradient in gradients)
        for variable in other.trainable_variables:
            waves = tf.reshape(tf.range(tf.size(variable)), variable.shape)
            variable.assign_add(0.1 * tf.cos(tf.cast(waves, variable.dtype)))
        assert np.any(_log_prob(other, x) != expected)
        close(_log_prob(flow, x), expected, 0.0)


def test_networks_and_bijectors_are_cloned():
    network = MADE(3, 2, (4,), seed=0)
    x = np.ones([2, 3], np.float32)
    close(tfp_flows.clone(network)(x), network(x), 0.0)
    chain = tfb.Invert(tfb.Chain([Radial(_variable(3), 1.0, _variable()), tfb.Exp()]))
    other = tfp_flows.clone(chain)
    close(other.forward(fresh(np.exp(x))), chain.forward(fresh(np.exp(x))), 0.0)
    assert not {id(v) for v in other.variables} & {id(v) for v in chain.variables}


def test_errors():
    shift = tf.Variable([1.0, 2.0], name="hidden")
    inline = tfb.Inline(
        lambda x: x + shift,
        lambda y: y - shift,
        forward_min_event_ndims=0,
        forward_log_det_jacobian_fn=lambda x: tf.zeros([]),
    )
    with pytest.raises(ValueError, match=r"functions that refer to \['hidden:0'\]"):
        tfp_flows.clone(tfb.Chain([inline]))
    for wrong in [None, 3.0, tfb.Exp, lambda x: x]:
        with pytest.raises(TypeError, match="`flow` must be a distribution, a bij"):
            tfp_flows.clone(wrong)
    joint = tfd.JointDistributionNamed(dict(a=tfd.Normal(_variable(), 1.0), b=_maf()))
    with pytest.raises(ValueError, match="part by part where it is joint"):
        tfp_flows.clone(joint)
    network = keras.Sequential([keras.Input([1]), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="in `tfp_flows.keras.Conditioner` to be clo"):
        tfp_flows.clone(Coupling([True, False], network))
