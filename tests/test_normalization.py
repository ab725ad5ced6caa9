"""Tests of `tfp_flows.normalization`: initialization from data, batch statistics."""

import contextlib
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import check_log_dets, close, fresh
from tfp_flows import dequantization, flows, normalization
from tfp_flows.bijectors import ActNorm, BatchNorm, DiagonalScale, MultiScale, Squeeze
from tfp_flows.networks import MLP

tfb, tfd = tfp.bijectors, tfp.distributions
Y = dequantization.dequantize(
    np.random.default_rng(0).integers(0, 100, size=[6, 4, 4, 1]),
    seed=0,
    dtype=tf.float64,
)
X = np.random.default_rng(0).normal(size=[50, 3], loc=2.0, scale=3.0)


def make(seed=0, **others):
    return flows.glow(
        [4, 4, 1], 2, 1, 3, seed=seed, **{**dict(dtype=tf.float64), **others}
    )


def actnorm(size=2):
    shift, log_scale = (tf.Variable(np.zeros(size)) for _ in range(2))
    return ActNorm(shift, log_scale, event_ndims=1)


def first_of(flow):
    """What comes out of the actnorm next to the data."""
    step = flow.bijector.bijectors[-1].bijectors[0].bijectors[1]
    y = tfb.Chain([*flow.bijector.bijectors[:-1]]).inverse(Y)
    squeezed = flow.bijector.bijectors[-1].bijectors[0].bijectors[0].inverse(y)
    return step.actnorm.inverse(squeezed)


@pytest.mark.parametrize("mode", ["eager", "graph", "compiled"])
def test_starts_a_whole_flow(mode):
    flow = make()
    before = np.mean(flow.log_prob(Y))
    call = lambda y: normalization.initialize_from_data(flow, y)
    if mode != "eager":
        call = tf.function(call, jit_compile=mode == "compiled")
    call(Y)
    values = first_of(flow)
    close(np.mean(values, axis=(0, 1, 2)), np.zeros(4))
    close(np.std(values, axis=(0, 1, 2)), np.ones(4))
    assert np.mean(flow.log_prob(Y)) > before
    flags = {
        id(m.initialized): m.initialized
        for m in flow.submodules
        if getattr(m, "initialized", None) is not None
    }
    assert len(flags) == 1 and bool(next(iter(flags.values())))


def test_the_start_is_saved(tmp_path):
    flow, other = make(), make(seed=1)
    normalization.initialize_from_data(flow, Y)
    saved = tf.train.Checkpoint(model=flow).save(f"{tmp_path}/checkpoint")
    tf.train.Checkpoint(model=other).restore(saved).assert_consumed()
    close(other.log_prob(Y), flow.log_prob(Y), 0.0)
    flags = [getattr(m, "initialized", None) for m in other.submodules]
    assert next(flag for flag in flags if flag is not None)


def test_goes_through_chains_and_inverses_either_way():
    x = np.random.default_rng(1).normal(size=[50, 2], scale=4.0) + 3.0
    for direction, wrap in [("inverse", tfb.Invert), ("forward", lambda b: b)]:
        layers = [actnorm(), actnorm()]
        chain = tfb.Chain([tfb.Scale(np.float64(3.0)), *map(wrap, layers)])
        normalization.initialize_from_data(chain, x, direction)
        values = getattr(chain, direction)(x)
        if direction == "forward":
            values = values / 3.0
        close(np.std(values, axis=0), np.ones(2))
        close(np.mean(values, axis=0), np.zeros(2))
        inner = layers[-1] if direction == "forward" else layers[0]
        assert np.all(np.abs(inner.log_scale) > 0.05)
        outer = layers[0] if direction == "forward" else layers[1]
        close(outer.log_scale, np.zeros(2))  # nothing was left to do


def test_conditional_flows_start_with_their_context():
    flow = make(context_size=3, conditioning="all")
    bound = flows.condition_on_class(flow, [0, 1, 2, 0, 1, 2], 3)
    normalization.initialize_from_data(bound, Y)
    close(np.std(first_of(flow), axis=(0, 1, 2)), np.ones(4))


def test_constant_images_stay_finite():
    flow = make(dtype=tf.float32)
    normalization.initialize_from_data(flow, np.full([3, 4, 4, 1], 7.0, np.float32))
    assert np.all(np.isfinite(flow.log_prob(np.float32(Y))))


def test_replicas_start_alike():
    script = """
import numpy as np
import tensorflow as tf
device = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    device, [tf.config.LogicalDeviceConfiguration()] * 2)
from tfp_flows import flows, normalization
from tests.test_normalization import Y, make
alone = make()
normalization.initialize_from_data(alone, Y)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    flow = make()
parts = strategy.experimental_distribute_values_from_function(
    lambda context: Y[context.replica_id_in_sync_group::2])
density = tf.function(lambda y: flow.log_prob(y))
strategy.run(density, [parts])  # before the start it works, too
strategy.run(tf.function(lambda y: normalization.initialize_from_data(flow, y)), [parts])
log_prob = strategy.experimental_local_results(strategy.run(density, [parts]))
for i, value in enumerate(log_prob):
    np.testing.assert_allclose(value, alone.log_prob(Y[i::2]), rtol=1e-7)
for mirrored, expected in zip(flow.variables, alone.variables):
    for value in strategy.experimental_local_results(mirrored):
        np.testing.assert_allclose(
            np.float64(value), np.float64(expected), rtol=1e-7, atol=1e-9)
flags = [getattr(m, "initialized", None) for m in flow.submodules]
assert all(bool(flag) for flag in flags if flag is not None)
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_errors():
    with pytest.raises(TypeError, match="`flow` must be a bijector or"):
        normalization.initialize_from_data(tfd.Normal(0.0, 1.0), Y)
    with pytest.raises(
        ValueError, match="must have layers to initialize, such as `ActNorm`"
    ):
        normalization.initialize_from_data(tfb.Scale(2.0), Y)
    with pytest.raises(ValueError, match="'forward' or 'inverse'; got 'back'"):
        normalization.initialize_from_data(actnorm(), Y, "back")
    flow = make()
    values = [variable.numpy() for variable in flow.variables]
    bad = np.where(np.arange(96).reshape(Y.shape) == 5, np.nan, Y)
    with pytest.raises(ValueError, match="`batch` must be finite"):
        normalization.initialize_from_data(flow, bad)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`batch` must be finite"):
        tf.function(lambda y: normalization.initialize_from_data(flow, y))(bad)
    for variable, value in zip(flow.variables, values):
        np.testing.assert_array_equal(variable, value)
    with pytest.raises(
        ValueError, match="must have layers to initialize, such as `ActNorm`"
    ):
        normalization.initialize_from_data(
            flows.nice(4, 3, (4,), seed=0), np.zeros([3, 4])
        )
    with pytest.raises(TypeError, match="`batch` must be floating, .*; got int32"):
        normalization.initialize_from_data(flow, tf.zeros([3, 4, 4, 1], tf.int32))
    for batch in [
        np.ones([3, 4, 4, 1], np.uint8),
        np.ones([3, 4, 4, 1], bool),
        np.ones([3, 4, 4, 1], int).tolist(),
    ]:
        with pytest.raises(
            TypeError, match="must be floating, such as the result of `dequantize`"
        ):
            normalization.initialize_from_data(flow, batch)
    with pytest.raises(ValueError, match=r"shape \(4, 4, 1\), .*; got shape \(3, 8, 8"):
        normalization.initialize_from_data(flow, np.ones([3, 8, 8, 1]))
    joint = tfb.JointMap([actnorm()])
    with pytest.raises(TypeError, match="its layers to initialize in `tfb.Chain`"):
        normalization.initialize_from_data(tfb.Chain([joint]), np.zeros([1, 3, 2]))


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
