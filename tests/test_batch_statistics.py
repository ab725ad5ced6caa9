"""Tests of `tfp_flows.flows.batch_statistics`."""

import contextlib
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import check_log_dets, close, fresh
from tfp_flows import flows, normalization
from tfp_flows.bijectors import BatchNorm, DiagonalScale, MultiScale, Squeeze
from tfp_flows.networks import MLP

tfb, tfd = tfp.bijectors, tfp.distributions

X = np.random.default_rng(0).normal(size=[50, 3], loc=2.0, scale=3.0)


@pytest.fixture(params=[flows.maf, flows.real_nvp])
def flow(request):
    result = request.param(3, 3, (5,), seed=0, batch_norm=True, dtype=tf.float64)
    rng = np.random.default_rng(1)
    for variable in result.trainable_variables:
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    return result


def test_starts_as_noise():
    flow = flows.maf(3, 3, (5,), seed=0, batch_norm=True, dtype=tf.float64)
    close(flow.log_prob(X), flow.distribution.log_prob(X))
    assert sum(isinstance(b, BatchNorm) for b in flow.bijector.bijectors) == 2


def test_training_normalizes_by_the_batch_and_is_its_own_inverse(flow):
    bound = normalization.with_batch_statistics(flow, X)
    x = tf.constant(X)
    for part in bound.bijector.bijectors:
        x = part.inverse(x)
        if isinstance(part, BatchNorm):
            normal = (x - part.shift) * tf.exp(-part.log_scale)
            close(tf.reduce_mean(normal, axis=0), np.zeros(3))
            expected = part.variance / (part.variance + part.epsilon)
            close(tf.math.reduce_variance(normal, axis=0), expected)
    close(bound.bijector.forward(fresh(x)), X)
    check_log_dets(bound.bijector, X[:4])


@pytest.mark.parametrize("scope", [contextlib.nullcontext, tf.GradientTape])
def test_a_training_step_asks_each_network_once(scope):
    flow = flows.real_nvp(3, 3, (5,), seed=0, batch_norm=True, dtype=tf.float64)
    counted = dict(autospec=True, side_effect=MLP.__call__)
    with mock.patch.object(MLP, "__call__", **counted) as calls, scope():
        x = tf.constant(X)
        normalization.with_batch_statistics(flow, x).log_prob(x)
    assert calls.call_count == 3


def test_chains_within_chains():
    flow = flows.maf(3, 3, (5,), seed=0, batch_norm=True, dtype=tf.float64)
    nested = tfd.TransformedDistribution(
        flow.distribution, tfb.Chain([DiagonalScale(np.zeros(3)), flow.bijector])
    )
    close(
        normalization.with_batch_statistics(nested, X).log_prob(X),
        normalization.with_batch_statistics(flow, X).log_prob(X),
    )


def test_gradients_flow_through_the_statistics(flow):
    def loss():
        return tf.reduce_mean(normalization.with_batch_statistics(flow, X).log_prob(X))

    for variable in flow.trainable_variables[:4]:
        with tf.GradientTape() as tape:
            value = loss()
        gradient = tape.gradient(value, variable)
        direction = np.random.default_rng(2).normal(size=variable.shape)
        start, values = variable.numpy(), []
        for sign in [1.0, -1.0]:
            variable.assign(start + sign * 1e-6 * direction)
            values.append(loss())
        variable.assign(start)
        difference = (values[0] - values[1]) / 2e-6
        close(tf.reduce_sum(gradient * direction), difference, 1e-6)


def test_state_changes_when_told_and_not_before(flow):
    before = [variable.numpy() for variable in flow.variables]
    bound = normalization.with_batch_statistics(flow, X)
    expected = bound.log_prob(X)
    for variable, value in zip(flow.variables, before):
        np.testing.assert_array_equal(variable, value)
    normalization.update_moving_statistics(flow, bound, momentum=0.9)
    part = next(b for b in flow.bijector.bijectors if isinstance(b, BatchNorm))
    own = next(b for b in bound.bijector.bijectors if isinstance(b, BatchNorm))
    assert not part.mean.trainable
    close(part.mean, 0.1 * own.mean)
    close(part.variance, 0.9 * (1.0 - 1e-3) + 0.1 * own.variance)
    normalization.update_moving_statistics(flow, bound, momentum=0.0)
    close(flow.log_prob(X), expected)


def test_rejects_what_does_not_fit(flow):
    with pytest.raises(ValueError, match="at least 2 values .* got shape"):
        normalization.with_batch_statistics(flow, X[:1])
    plain = flows.maf(3, 2, (4,), seed=0, dtype=tf.float64)
    with pytest.raises(ValueError, match="with `BatchNorm` layers; got"):
        normalization.with_batch_statistics(plain, X)
    bound = normalization.with_batch_statistics(flow, X)
    with pytest.raises(ValueError, match=r"`momentum` must be in \[0, 1\]; got 2.0"):
        normalization.update_moving_statistics(flow, bound, momentum=2.0)


def test_levels_are_no_layers_in_a_row():
    zeros = tf.zeros([4])
    norm = BatchNorm(zeros, zeros + 1.0, zeros, zeros, event_ndims=3)
    levels = MultiScale([tfb.Chain([tfb.Invert(Squeeze()), norm])])
    noise = tfd.Sample(tfd.Normal(0.0, 1.0), [4, 4, 1])
    flow = tfd.TransformedDistribution(noise, tfb.Chain([levels]))
    with pytest.raises(ValueError, match="must be a `tfb.Chain` with `BatchNorm`"):
        normalization.with_batch_statistics(flow, tf.zeros([3, 4, 4, 1]))
