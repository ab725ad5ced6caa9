"""What every recipe of the package is held to."""

import hashlib

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import check_log_dets, check_round_trips, close, fresh

tfd = tfp.distributions


def check_recipe(make, size, path):
    """Checks a recipe: start, seed, dtype, training, cache and saving.

    Args:
      make: callable that takes `seed` and `dtype` and returns the flow.
      size: length of one point.
      path: empty folder.
    """
    x = np.random.default_rng(0).normal(size=[6, size])
    flow = make(seed=1, dtype=tf.float64)
    assert isinstance(flow, tfp.bijectors.Bijector)
    close(flow.forward(x), x, 1e-12)
    close(flow.forward_log_det_jacobian(x), np.zeros(6), 1e-12)
    assert {v.dtype for v in flow.variables} == {tf.float64}
    assert {v.dtype for v in make(seed=1).variables} == {tf.float32}
    _check_seed(make, flow)

    distribution = tfd.TransformedDistribution(
        tfd.MultivariateNormalDiag(tf.zeros(size, tf.float64)), flow
    )
    point, kept = tf.constant(x), []
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(distribution.log_prob(point))
        gradients = tape.gradient(loss, flow.trainable_variables)
        with tf.GradientTape() as tape:
            expected = -tf.reduce_mean(distribution.log_prob(fresh(x)))
        kept.append((flow.inverse(point), flow.forward(point), tape, loss))
        close(loss, expected)
        for gradient, other in zip(
            gradients, tape.gradient(expected, flow.trainable_variables)
        ):
            assert np.all(np.isfinite(gradient))
            close(gradient, other)
        for variable, gradient in zip(flow.trainable_variables, gradients):
            variable.assign_sub(0.3 * gradient)
    assert kept[-1][-1] < kept[0][-1]
    assert any(np.any(g != 0.0) for g in gradients)

    check_round_trips(flow, x, 1e-9, flow)
    check_log_dets(flow, x)
    saved = tf.train.Checkpoint(flow=flow).save(f"{path}/checkpoint")
    other = make(seed=2, dtype=tf.float64)
    tf.train.Checkpoint(flow=other).restore(saved).assert_consumed()
    close(other.forward(x), flow.forward(x), 0.0)


def _check_seed(make, flow):
    values = [variable.numpy() for variable in flow.variables]
    same, other = ([v.numpy() for v in make(seed=s, dtype=tf.float64).variables]
                   for s in (1, 2))
    for value, again in zip(values, same):
        np.testing.assert_array_equal(value, again)
    assert any(np.any(value != different) for value, different in zip(values, other))


def digest(flow):
    """Returns a number that tells the variables of a flow apart from others."""
    data = b"".join(variable.numpy().tobytes() for variable in flow.variables)
    return hashlib.sha256(data).hexdigest()
