"""The three kinds of models are compared by measures that are what they are called."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.test_examples import load

tfd = tfp.distributions


@pytest.fixture(scope="module")
def module():
    example = load("gan_vae_flow")
    # To compile takes longer than what is trained here.
    example.compiled = functools.partial(tf.function, reduce_retracing=True)
    example.DRAWS = 40
    return example


def vae(module, seed=0):
    """Returns an autoencoder of the plane, with a posterior that bends."""
    model = module.VAE(
        2,
        2,
        (8,),
        4,
        lambda outputs: tfd.MultivariateNormalDiag(
            outputs[..., :2], 0.5 + tf.nn.softplus(outputs[..., 2:])
        ),
        module.adam(1e-3, 1),
        seed,
    )
    bias = model.encoder.trainable_variables[-1]
    value = 0.7 * np.random.RandomState(seed).normal(size=bias.shape)
    value[2:4] = 0.0  # of the scales, about 0.7
    bias.assign(value)
    return model


def test_gap_of_the_bound_is_a_divergence_between_posteriors(module, monkeypatch):
    model, x = vae(module), np.float32([[1.0, -0.5], [0.3, 2.0]])
    line = np.linspace(-7.0, 7.0, 141, dtype=np.float32)
    z = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 1, 2)
    area = (line[1] - line[0]) ** 2
    log_joint = model.given(z).log_prob(x) + model.prior.log_prob(z)
    log_q = tf.reduce_logsumexp(log_joint, axis=0) + np.log(area)
    log_r = model.posterior(x).log_prob(z + np.zeros_like(x))
    r = np.exp(log_r)
    np.testing.assert_allclose(np.sum(r, axis=0) * area, 1.0, atol=0.02)
    gap = np.sum(r * (log_r - log_joint + log_q), axis=0) * area

    bound = np.mean(model.terms(x, 5000, [0, 1]).log_weight, axis=0)
    np.testing.assert_allclose(log_q - bound, gap, rtol=0.05)
    assert np.all(gap > 0.1)
    monkeypatch.setattr(module, "DRAWS", 5000)
    np.testing.assert_allclose(model.log_prob(x), log_q, atol=0.2)


def test_measures_on_what_is_known(module):
    random = np.random.RandomState(0)
    x, y, z = np.float32(random.normal(size=[3, 1000, 2]))
    assert abs(module.energy_distance(x, y)) < 0.01
    # Of points far apart it grows by twice the shift.
    far = module.energy_distance(x, y + np.float32([50.0, 0.0]))
    np.testing.assert_allclose(far, 100.0 - 2.0 * np.pi**0.5, atol=0.3)

    ring = tfd.MixtureSameFamily(
        tfd.Categorical(logits=tf.zeros(8)), tfd.MultivariateNormalDiag(*module.TRUTH)
    )
    near = module.CENTERS[random.randint(8, size=1000)] + module.SCALE * x
    np.testing.assert_allclose(
        module.log_mixture(near, *module.TRUTH), ring.log_prob(near), atol=1e-3
    )
    all_there = module.from_samples(near, near)
    assert all_there["modes"] == 8 and all_there["off"] < 0.01
    half = module.from_samples(near[near[:, 0] > 0.0], near)
    assert half["modes"] < 7 and half["most"] > 1.3 and half["energy"] > 0.1
    assert module.from_samples(z, near)["off"] > 0.9

    class Known:  # the right density, and one that is stretched
        def __init__(self, scale):
            self.normal = tfd.MultivariateNormalDiag(tf.zeros(2), tf.fill([2], scale))
            self.log_prob = self.normal.log_prob

    class Truth:
        log_prob = staticmethod(lambda x: module.log_mixture(x, *module.TRUTH))

    right = module.densities(Truth(), near, near)
    assert abs(right["lost"]) < 1e-5 and abs(right["js"]) < 1e-5
    wide = module.densities(Known(2.0), 2.0 * x, near)
    np.testing.assert_allclose(
        wide["lost"], -np.mean(Known(2.0).log_prob(near)) + right["nats"], rtol=1e-4
    )
    assert 0.4 < wide["js"] < np.log(2.0)

    for model in (Truth(), None):  # by a grid, and by the formula
        mixture = None if model else module.TRUTH
        given = module.imputed(model, mixture, near[:200])["imputed"]
        alone = tfd.MixtureSameFamily(
            tfd.Categorical(logits=tf.zeros(8)),
            tfd.Normal(module.CENTERS[:, 0], module.SCALE),
        )
        exact = np.mean(ring.log_prob(near[:200]) - alone.log_prob(near[:200, 0]))
        np.testing.assert_allclose(given, exact, atol=1e-3)


def test_each_model_learns_where_the_data_are(module):
    noise = np.random.RandomState(0).normal(size=[500, 2])
    data = np.float32([2.0, -1.0] + 0.5 * noise)
    models = [
        module.Flow(2, 2, (8,), [], module.adam(3e-2, 150), 0),
        module.VAE(2, 2, (16,), 4, module.gaussian, module.adam(2e-2, 200), 0),
        module.GAN(2, 2, (32, 32), tf.identity, 0.5, 5e-3, 400, 0),
    ]
    for model, steps in zip(models, [150, 200, 400]):
        before = module.energy_distance(model.sample(500, 0), data)
        module.train(model, data, steps, 0, 64)
        after = module.energy_distance(model.sample(500, 0), data)
        assert after < 0.3 * before, model
    entropy = np.log(2.0 * np.pi * np.e * 0.25)
    for model in models[:2]:
        assert -entropy - 0.6 < np.mean(model.log_prob(data)) < -entropy + 0.1
        assert np.mean(model.bound(data)) <= np.mean(model.log_prob(data)) + 1e-5
    x = models[0].decode(models[0].encode(data) + 0.0)
    np.testing.assert_allclose(x, data, atol=1e-4)


def test_pixels_of_the_vae_are_as_likely_as_their_level(module):
    outputs = np.float32(np.random.RandomState(0).normal(size=[3, 64 * 17]))
    levels = np.random.RandomState(1).randint(0, 17, size=[3, 64])
    logits = outputs.reshape([3, 64, 17])
    log_mass = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
    expected = np.sum(np.eye(17)[levels] * log_mass, axis=(-2, -1)) + 64 * np.log(17)
    for seed in range(2):
        x = module.dequantize(np.float32(levels), [seed, 0])
        np.testing.assert_allclose(
            module.histograms(outputs).log_prob(x), expected, rtol=1e-4
        )


def test_whole_example_at_a_small_size(module, monkeypatch, tmp_path, capsys):
    real_nvp, mlp = module.flows.real_nvp, module.mlp
    monkeypatch.setattr(
        module.flows,
        "neural_spline",
        lambda size, layers, hidden, seed: real_nvp(size, 1, (8,), seed=seed),
    )
    monkeypatch.setattr(
        module, "mlp", lambda size, hidden, *rest: mlp(size, (8,), *rest)
    )
    monkeypatch.setattr(module, "compiled", lambda function: function)
    monkeypatch.setattr(module, "PIXELS", 30)
    monkeypatch.setattr(module, "DRAWS", 20)
    picture = tmp_path / "three.png"
    figures = module.main(steps=3, digit_steps=2, points=500, seeds=1, picture=picture)
    assert 10_000 < picture.stat().st_size < 150_000
    plane, digits = figures["plane"], figures["digits"]
    assert list(plane) == ["truth", "flow", "VAE", "GAN"]
    for name in ("flow", "VAE"):
        difference = plane["truth"]["nats"] - plane[name]["nats"]
        np.testing.assert_allclose(plane[name]["lost"], difference, atol=1e-3)
        assert -30.0 < digits[name]["nats"] < 80.0  # levels all alike have 0
    assert plane["VAE"]["bound"] < plane["VAE"]["nats"]
    assert digits["VAE"]["bound"] < digits["VAE"]["nats"] + 1e-3
    assert "nats" not in plane["GAN"] and "nats" not in digits["GAN"]
    assert plane["GAN"]["js_at_least"] < np.log(2.0)
    assert set(figures["gans"]) == {(0.5, 0), (0.0, 0)}
    assert f"{plane['flow']['lost']:.3f}" in capsys.readouterr().out
