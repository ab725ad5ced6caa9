"""Tests of `tfp_flows.flows.condition`."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close, fresh
from tfp_flows import flows
from tfp_flows.bijectors import Radial
from tfp_flows.networks import MADE

tfb, tfd = tfp.bijectors, tfp.distributions


def conditional():
    return flows.real_nvp(3, 2, (4,), seed=0, context_size=2, dtype=tf.float64)


def test_binds_within_chain_and_invert_and_keeps_other_layers():
    flow = conditional()
    for variable in flow.trainable_variables:
        variable.assign(variable + 0.3)
    radial = Radial(np.zeros(3), 1.0, 2.0)
    whole = tfb.Invert(tfb.Chain([radial, tfb.Invert(flow.bijector)]))
    context = np.array([0.5, -1.0])
    bound = flows.condition(whole, context)
    x = np.random.default_rng(0).normal(size=[4, 3])
    inner = flows.condition(flow.bijector, context)
    expected = inner.forward(radial.inverse(x))
    close(bound.forward(x), expected)
    close(bound.inverse(fresh(expected)), x)
    assert bound.bijector.bijectors[0] is radial


def test_context_may_be_a_variable_and_has_a_gradient():
    context = tf.Variable([0.5, -1.0], dtype=tf.float64)
    flow = conditional()
    for variable in flow.trainable_variables:
        variable.assign(variable + 0.3)
    model = flows.condition(flow, context)
    x = tf.constant(np.random.default_rng(0).normal(size=[4, 3]))
    before = model.log_prob(x)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(model.log_prob(x))
    assert np.all(tape.gradient(value, context) != 0.0)
    context.assign_add([1.0, 1.0])
    assert np.all(model.log_prob(x) != before)


def test_binds_a_flow_below_another_bijector():
    flow = conditional()
    for variable in flow.trainable_variables:
        variable.assign(variable + 0.3)
    scaled = tfd.TransformedDistribution(flow, tfb.Scale(tf.constant(2.0, tf.float64)))
    context = np.array([0.5, -1.0])
    x = np.random.default_rng(0).normal(size=[4, 3])
    inner = flows.condition(flow, context).log_prob(x / 2.0)
    close(flows.condition(scaled, context).log_prob(x), inner - 3.0 * np.log(2.0))


def test_binds_a_distribution_that_takes_a_context_itself():
    network = MADE(2, 3, (4,), seed=0, context_size=2, dtype=tf.float64)
    levels = flows.autoregressive_levels(network, 3)
    context = np.array([[0.5, -1.0], [2.0, 1.0]])
    bound = flows.condition(levels, context)
    assert bound.batch_shape == [2] and levels.batch_shape == []
    close(bound.context, context)
    with pytest.raises(ValueError, match="no layer has a `context_size` above 0"):
        flows.condition(tfd.Normal(0.0, 1.0), context)


def test_rejects_what_cannot_be_bound():
    with pytest.raises(ValueError, match="no layer has a `context_size` above 0"):
        flows.condition(flows.maf(3, 1, (4,), seed=0), tf.zeros([2]))
    with pytest.raises(ValueError, match=r"`context_size`; got shape \(3,\) and 2"):
        flows.condition(conditional(), np.zeros(3))
    with pytest.raises(TypeError, match="must be a bijector or a `tfd.Dist.* got 3"):
        flows.condition(3, np.zeros(2))
    with pytest.raises(TypeError, match="dtype of the network, float64; got float32"):
        flows.condition(conditional(), tf.zeros([2]))


@pytest.mark.parametrize("context", [
    np.array([0, 1, 2]), [0, 1, 2], [[1, 0, 0]], np.eye(3, dtype=int), np.eye(3) > 0.5,
    tf.constant([[0, 1, 0]]), [[True, False, False]], np.uint8([[0, 1, 0]]),
], ids=str)
def test_labels_are_no_contexts(context):
    network = MADE(2, 4, (4,), seed=0, context_size=3)
    for flow in [
        flows.maf(2, 2, (4,), seed=0, context_size=3),
        flows.real_nvp(2, 2, (4,), seed=0, context_size=3, scan=True),
        flows.autoregressive_levels(network, 4),
    ]:
        with pytest.raises(TypeError, match="(?s)must be floating.*one-hot"):
            flows.condition(flow, context)
        floating = np.float32(context)
        bound = flows.condition(flow, floating.tolist())
        assert bound.batch_shape == floating.shape[:-1]
