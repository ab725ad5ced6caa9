"""What every builder of the package is held to."""

import hashlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import check_log_dets, check_round_trips, close, fresh
from tfp_flows import flows

tfd = tfp.distributions


def check_density_builder(make, size, path, starts_as_noise=True):
    """Checks a builder that makes a distribution, conditional ones among them.

    Args:
      make: callable that takes `seed`, `dtype` and `context_size` and returns the flow.
      size: length of one point.
      path: empty folder.
      starts_as_noise: whether the flow is the identity at first.
    """
    x = np.random.default_rng(0).normal(size=[6, size])
    model = make(seed=1, dtype=tf.float64)
    assert model.event_shape == [size] and model.batch_shape == []
    if starts_as_noise:
        close(model.log_prob(x), model.distribution.log_prob(x), 1e-12)
    assert {v.dtype for v in model.trainable_variables} == {tf.float64}
    assert {v.dtype for v in make(seed=1).trainable_variables} == {tf.float32}
    _check_seed(make, model)

    before = tf.reduce_mean(model.log_prob(x))
    for _ in range(4):  # a step moves the outputs of the networks, the next one all
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(model.log_prob(fresh(x)))
        gradients = tape.gradient(loss, model.trainable_variables)
        for variable, gradient in zip(model.trainable_variables, gradients):
            variable.assign_sub(0.05 * gradient)
    assert all(np.any(gradient != 0.0) for gradient in gradients if gradient.shape)
    assert tf.reduce_mean(model.log_prob(fresh(x))) > before
    check_round_trips(model.bijector, x, 1e-9, model.bijector)
    check_log_dets(model.bijector, x)

    saved = tf.train.Checkpoint(model=model).save(f"{path}/checkpoint")
    other = make(seed=2, dtype=tf.float64)
    tf.train.Checkpoint(model=other).restore(saved).assert_consumed()
    close(other.log_prob(x), model.log_prob(fresh(x)), 0.0)
    _check_context(make, x)
    bad = np.where(np.arange(x.size).reshape(x.shape) == 4, np.nan, x)
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be finite"):
        make(seed=1, dtype=tf.float64, validate_args=True).log_prob(bad)
    for seed in [0.5, True]:
        with pytest.raises(TypeError, match=f"`seed` must be an integer; got {seed}"):
            make(seed=seed)


def _check_context(make, x):
    size = x.shape[-1]
    conditional = make(seed=1, dtype=tf.float64, context_size=3)
    with pytest.raises(ValueError, match="needs a context of size 3, and has none"):
        conditional.log_prob(x)
    rng = np.random.default_rng(1)
    for variable in conditional.trainable_variables:
        variable.assign(0.5 * rng.normal(size=variable.shape) / size**0.5)
    contexts = rng.normal(size=[4, 3])
    model = flows.condition(conditional, contexts)
    assert model.batch_shape == [4] and model.event_shape == [size]
    assert len(model.trainable_variables) == len(conditional.trainable_variables)
    sample = model.sample(5, seed=(0, 1))
    assert sample.shape == [5, 4, size]
    log_prob = model.log_prob(fresh(sample))
    for i, context in enumerate(contexts):
        alone = flows.condition(conditional, context)
        close(alone.log_prob(fresh(sample[:, i])), log_prob[:, i])
        assert np.all(np.abs(log_prob[:, i] - alone.log_prob(sample[:, i - 1])) > 1e-9)

    joint = tfd.JointDistributionNamed(
        dict(
            c=tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), 1.0), 3),
            x=lambda c: flows.condition(conditional, c),
        )
    )
    draw = joint.sample(7, seed=(0, 1))
    assert draw["x"].shape == [7, size] and joint.log_prob(draw).shape == [7]


def check_builder(make, size, path):
    """Checks a builder: start, seed, dtype, training, cache and saving.

    Args:
      make: callable that takes `seed`, `dtype` and `invert` and returns the flow.
      size: length of one point.
      path: empty folder.
    """
    x = np.random.default_rng(0).normal(size=[6, size])
    model = make(seed=1, dtype=tf.float64)
    assert model.event_shape == [size] and model.batch_shape == []
    flow = model.bijector
    assert isinstance(flow, tfp.bijectors.Bijector)
    close(flow.forward(x), x, 1e-12)
    close(flow.forward_log_det_jacobian(x), np.zeros(6), 1e-12)
    assert {v.dtype for v in flow.variables} == {tf.float64}
    assert {v.dtype for v in make(seed=1).variables} == {tf.float32}
    _check_seed(make, flow)
    close(model.log_prob(x), model.distribution.log_prob(x), 1e-12)

    point, kept = tf.constant(x), []
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(model.log_prob(point))
        gradients = tape.gradient(loss, flow.trainable_variables)
        with tf.GradientTape() as tape:
            expected = -tf.reduce_mean(model.log_prob(fresh(x)))
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
    for invert in [False, True]:
        other = make(seed=2, dtype=tf.float64, invert=invert).bijector
        layers = other.bijector if invert else other
        tf.train.Checkpoint(flow=layers).restore(saved).assert_consumed()
        close(layers.forward(x), flow.forward(x), 0.0)
        close((other.inverse if invert else other.forward)(x), flow.forward(x), 0.0)


def _check_seed(make, flow):
    values = [variable.numpy() for variable in flow.variables]
    same, other = (
        [v.numpy() for v in make(seed=s, dtype=tf.float64).variables] for s in (1, 2)
    )
    for value, again in zip(values, same):
        np.testing.assert_array_equal(value, again)
    assert any(np.any(value != different) for value, different in zip(values, other))


def digest(flow):
    """Returns a number that tells the variables of a flow apart from others."""
    data = b"".join(variable.numpy().tobytes() for variable in flow.variables)
    return hashlib.sha256(data).hexdigest()
