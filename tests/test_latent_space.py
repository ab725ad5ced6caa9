"""Latents, temperatures and ways between images."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close
from tfp_flows import flows, latent_space, normalization

tfb, tfd = tfp.bijectors, tfp.distributions
RNG = np.random.default_rng(0)
Y = RNG.uniform(0.0, 256.0, size=[5, 4, 4, 1])


@pytest.fixture(scope="module", name="flow")
def moved_flow():
    flow = flows.glow([4, 4, 1], 2, 1, 2, seed=0, dtype=tf.float64)
    normalization.initialize_from_data(flow, Y)
    rng = np.random.default_rng(1)
    for variable in flow.trainable_variables:
        variable.assign_add(0.1 * rng.normal(size=variable.shape))
    return flow


def test_latents_are_the_noise_level_by_level(flow):
    latents = latent_space.encode(flow, Y)
    assert [z.shape for z in latents] == [[5, 2, 2, 2], [5, 1, 1, 8]]
    total = sum(
        tf.reduce_sum(tfd.Normal(np.float64(0.0), 1.0).log_prob(z), [1, 2, 3])
        for z in latents
    )
    log_det = flow.bijector.inverse_log_det_jacobian(Y, event_ndims=3)
    close(flow.log_prob(Y), total + log_det)
    close(latent_space.decode(flow, [z.numpy() for z in latents]), Y)


def test_a_flow_of_one_level_has_one_latent():
    flow = flows.real_nvp(3, 2, (4,), seed=0)
    x = np.float32(RNG.normal(size=[2, 3]))
    (latent,) = latent_space.encode(flow, x)
    close(latent, flow.bijector.inverse(x))
    close(latent_space.decode(flow, [latent]), x, 1e-6)
    assert latent_space.sample_at_temperature(flow, (), [0.5], seed=0).shape == [3]


def test_temperature_scales_the_noise_of_each_level(flow):
    warm = latent_space.encode(
        flow, latent_space.sample_at_temperature(flow, 4, 1.0, seed=(0, 3))
    )
    close(flow.sample(4, seed=(0, 3)), latent_space.decode(flow, warm), 1e-7)
    for temperature in [0.5, [0.3, 0.7], [0.0, 1.0]]:
        y = latent_space.sample_at_temperature(flow, 4, temperature, seed=(0, 3))
        latents = latent_space.encode(flow, y.numpy())
        for z, one, t in zip(latents, warm, np.broadcast_to(temperature, [2])):
            close(z, t * one, 1e-7)  # as far as the way back from images allows
    mode = latent_space.sample_at_temperature(flow, [2, 2], 0.0, seed=1)
    close(mode, np.broadcast_to(mode[0, 0], mode.shape))
    assert mode.shape == [2, 2, 4, 4, 1]


def test_each_member_of_a_conditional_flow_has_its_noise():
    flow = flows.glow([4, 4, 1], 1, 1, 2, seed=0, context_size=2)
    bound = flows.condition_on_class(flow, [0, 1, 1], 2)
    y = latent_space.sample_at_temperature(bound, 6, 0.7, seed=0)
    assert y.shape == [6, 3, 4, 4, 1]
    assert np.all(np.abs(y[:, 1] - y[:, 2]) > 0.0)


def test_interpolation_ends_at_the_images(flow):
    way = latent_space.interpolate(flow, Y[:2], Y[2:4], 5)
    assert way.shape == [5, 2, 4, 4, 1]
    close(way[0], Y[:2])
    close(way[-1], Y[2:4])
    middle = [
        (a + b) / 2
        for a, b in zip(
            latent_space.encode(flow, Y[:2]), latent_space.encode(flow, Y[2:4])
        )
    ]
    close(way[2], latent_space.decode(flow, middle))


def test_moving_along_an_attribute_moves_the_mean(flow):
    labels = [True, False, True, False, False]
    direction = latent_space.attribute_direction(flow, Y, labels)
    latents = latent_space.encode(flow, Y)
    for step, z in zip(direction, latents):
        z = z.numpy()
        close(step, np.mean(z[[0, 2]], axis=0) - np.mean(z[[1, 3, 4]], axis=0))
    moved = latent_space.encode(
        flow, latent_space.manipulate(flow, Y[1:2], direction, 0.5).numpy()
    )
    for z, start, step in zip(moved, latents, direction):
        close(z[0], start[1] + 0.5 * step)
    close(latent_space.manipulate(flow, Y, direction, 0.0), Y)


def test_errors(flow):
    latents = latent_space.encode(flow, Y)
    with pytest.raises(TypeError, match="must be a `tfd.TransformedDistribution`"):
        latent_space.encode(tfd.Normal(0.0, 1.0), Y)
    with pytest.raises(ValueError, match=r"images of shape \(4, 4, 1\), .*8, 8, 1\)"):
        latent_space.encode(flow, np.zeros([8, 8, 1]))
    with pytest.raises(ValueError, match="each of the 2 levels; got 3"):
        latent_space.decode(flow, [*latents, latents[0]])
    one = tfd.TransformedDistribution(tfd.Normal(0.0, 1.0), tfb.Scale(2.0))
    with pytest.raises(ValueError, match="must have one entry for a flow without"):
        latent_space.decode(one, latents)
    for temperature in [-0.1, [1.0, -1.0], np.nan]:
        with pytest.raises(ValueError, match="`temperature` must be at least 0 and"):
            latent_space.sample_at_temperature(flow, 1, temperature, seed=0)
    with pytest.raises(ValueError, match="`temperature` must have .* 2 levels; got 3"):
        latent_space.sample_at_temperature(flow, 1, [1.0, 1.0, 1.0], seed=0)
    with pytest.raises(ValueError, match="`num_points` must be at least 2; got 1"):
        latent_space.interpolate(flow, Y[0], Y[1], 1)
    for labels in [[True] * 5, [False] * 5, [True, False]]:
        with pytest.raises(
            ValueError, match=r"`labels` must be booleans of shape \[5\]"
        ):
            latent_space.attribute_direction(flow, Y, labels)
    with pytest.raises(ValueError, match="`direction` must have one entry for each of"):
        latent_space.manipulate(flow, Y, latents[:1], 1.0)
