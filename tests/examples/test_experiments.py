"""Experiments with latent variables, and the tables made from recorded results."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.examples.loading import load

tfd = tfp.distributions


def test_tables_are_those_of_the_recorded_results():
    make_tables = load("make_tables")
    documents = [path.read_text() for path in make_tables.DOCUMENTS]
    for path, text in zip(make_tables.DOCUMENTS, documents):
        assert make_tables.with_tables(text) == text, (
            f"{path} must have the tables of the recorded results; run "
            "`python examples/experiments/make_tables.py`."
        )


def test_a_table_has_a_row_for_each_model_and_a_column_for_each_metric(tmp_path):
    make_tables = load("make_tables")
    common = dict(data="digits", unit="nats", metric="log-likelihood", error=0.21)
    rows = [
        dict(common, model="maf", value=86.0, seed=0, seconds=10.0),
        dict(common, model="maf", value=87.0, seed=1, seconds=20.0),
        dict(common, model="nice", value=80.0, seed=0, error=None),
        dict(common, model="maf", value=0.97, seed=0, metric="accuracy", unit="1"),
    ]
    make_tables.recording.record("fits", rows, tmp_path)
    text = "a\n<!-- results: fits -->\nold\n<!-- end of results -->\nb\n"
    assert make_tables.with_tables(text, tmp_path) == (
        "a\n<!-- results: fits -->\n"
        "| data | model | log-likelihood (nats) | seconds |\n"
        "| --- | --- | ---: | ---: |\n"
        "| digits | maf | 86.50 ± 0.21 (2 seeds) | 15 |\n"
        "| digits | nice | 80 |  |\n"
        "\n"
        "| data | model | accuracy | seconds |\n"
        "| --- | --- | ---: | ---: |\n"
        "| digits | maf | 0.97 ± 0.21 | 15 |\n"
        "<!-- end of results -->\nb\n"
    )
    make_tables.draw(tmp_path / "results.png", tmp_path)
    assert (tmp_path / "results.png").stat().st_size > 5_000
    with pytest.raises(ValueError, match="`results/none.json` must exist .* `none.py`"):
        make_tables.with_tables(text.replace("fits", "none"), tmp_path)
    text = make_tables.with_tables(text.replace("fits", "all"), tmp_path)
    assert text.startswith("a\n<!-- results: all -->\n### fits\n| data | model |")


def tiny(module, monkeypatch, size=60):
    """Leaves few images."""
    everything = module.load

    def few(paths):
        parts, labels, levels, small = everything(paths)
        parts = [part[:size] for part in parts]
        return parts, None if labels is None else labels[:size], levels, small

    monkeypatch.setattr(module, "load", few)


def test_vae_explains_digits_by_few_numbers(tmp_path, monkeypatch, capsys):
    module = load("vae")
    tiny(module, monkeypatch)
    picture = tmp_path / "vae.png"
    figures = module.main(
        "iaf",
        latent_size=2,
        num_layers=2,
        width=8,
        epochs=40,
        batch_size=20,
        samples=200,
        images=30,
        picture=picture,
        rate=5e-3,
        verbose=0,
    )
    assert 10_000 < picture.stat().st_size < 300_000
    # Levels that are all alike have 64 log 17 = 181 nats, histograms of pixels 108.
    assert figures["validation"] > -125.0
    assert figures["marginal"] > figures["test"] - 6.0
    np.testing.assert_allclose(
        figures["test_bits"], -figures["test"] / (64 * np.log(2.0))
    )
    assert f"{figures['test']:.2f} nats" in capsys.readouterr().out


def test_layouts_of_files(tmp_path):
    module = load("vae")
    random = np.random.RandomState(0)

    def file(name, **arrays):
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    faces = random.randint(0, 256, [1965, 28, 20]).astype(np.uint8)
    order = random.permutation(1965).astype(np.int16)
    parts, _, levels, _ = module.load([file("frey.npz", x=faces, order_123=order)])
    assert levels == 256 and [len(part) for part in parts] == [1565, 200, 200]
    np.testing.assert_array_equal(parts[2][0], faces[order[1765]])

    bits = random.randint(0, 2, [9, 784]).astype(np.uint8)
    packed = dict.fromkeys(["train", "val", "test"], np.packbits(bits, axis=1))
    parts, _, levels, _ = module.load([file("shapes.npz", **packed)])
    assert levels == 2
    np.testing.assert_array_equal(parts[1].reshape([9, 784]), bits)

    gray = random.randint(0, 256, [50, 28, 28]).astype(np.uint8)
    drawer = np.repeat(np.arange(1, 26), 2)
    path = file("omniglot.npz", x=gray, drawer=drawer, alphabet=drawer)
    parts, labels, _, _ = module.load([path])
    assert [len(part) for part in parts] == [27, 5, 18] and len(labels) == 18

    one, two = file("a.npz", x=gray), file("b.npz", x=gray[:20], y=np.arange(20))
    parts, labels, _, _ = module.load([one, two])
    assert [len(part) for part in parts] == [42, 8, 20] and len(labels) == 20
    black = np.mean(parts[0]) - np.mean(gray / 255.0)
    assert set(np.unique(parts[0])) == {0, 1} and abs(black) < 0.02

    with pytest.raises(ValueError, match=r"`data` must be .* got .*\['other'\]"):
        module.load([file("c.npz", other=gray)])


def test_levels_have_probabilities_that_add_up_to_1():
    module = load("vae")
    family = module.flows.amortized_posterior(
        3, "sylvester_orthogonal", 1, num_columns=2
    )
    model = module.VAE([4, 8], 3, family, 2, None)
    z = np.random.RandomState(0).normal(size=[2, 5, 3]).astype(np.float32)
    random = np.random.RandomState(1)
    x = random.randint(0, 3, [5, 4, 8]).astype(np.int32)
    total = 0.0
    for level in range(3):  # of one pixel, beside the others as they are
        x[:, 1, 2] = level
        total = total + np.exp(model.log_likelihood(x, z))
    rest = np.array(model.decode(z))
    rest = rest - np.log(np.sum(np.exp(rest), axis=-1, keepdims=True))
    each = np.sum(rest * np.eye(3)[x], axis=-1)
    each[:, :, 1, 2] = 0.0
    np.testing.assert_allclose(total, np.exp(np.sum(each, axis=(-2, -1))), rtol=1e-4)


def test_convolutions_in_bfloat16_are_those_in_float32_but_for_rounding():
    module = load("vae")
    family = module.flows.amortized_posterior(3, "gaussian")
    plain = module.VAE([8, 8], 17, family, 4, None)
    mixed = module.VAE([8, 8], 17, family, 4, None, "mixed_bfloat16")
    mixed.set_weights(plain.get_weights())
    random = np.random.RandomState(0)
    x = random.randint(0, 17, [5, 8, 8]).astype(np.int32)
    z = random.normal(size=[2, 5, 3]).astype(np.float32)
    expected = plain.log_likelihood(x, z)
    actual = mixed.log_likelihood(x, z)
    assert actual.dtype == expected.dtype == np.float32
    assert 0.0 < np.max(np.abs(actual - expected)) < 0.01 * np.max(np.abs(expected))
    means = [model.posterior(x).mean() for model in (plain, mixed)]
    np.testing.assert_allclose(*means, atol=0.05)


@pytest.fixture(scope="module")
def gan_vae_flow():
    example = load("gan_vae_flow")
    # To compile takes longer than what is trained here.
    example.compiled = functools.partial(tf.function, reduce_retracing=True)
    example.DRAWS = 40
    return example


def planar_vae(gan_vae_flow, seed=0):
    """Returns an autoencoder of the plane, with a posterior that bends."""
    model = gan_vae_flow.VAE(
        2,
        2,
        (8,),
        4,
        lambda outputs: tfd.MultivariateNormalDiag(
            outputs[..., :2], 0.5 + tf.nn.softplus(outputs[..., 2:])
        ),
        gan_vae_flow.adam(1e-3, 1),
        seed,
    )
    bias = model.encoder.trainable_variables[-1]
    value = 0.7 * np.random.RandomState(seed).normal(size=bias.shape)
    value[2:4] = 0.0  # of the scales, about 0.7
    bias.assign(value)
    return model


def test_gap_of_the_bound_is_a_divergence_between_posteriors(gan_vae_flow, monkeypatch):
    model, x = planar_vae(gan_vae_flow), np.float32([[1.0, -0.5], [0.3, 2.0]])
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
    monkeypatch.setattr(gan_vae_flow, "DRAWS", 5000)
    np.testing.assert_allclose(model.log_prob(x), log_q, atol=0.2)


def test_measures_on_what_is_known(gan_vae_flow):
    random = np.random.RandomState(0)
    x, y, z = np.float32(random.normal(size=[3, 1000, 2]))
    assert abs(gan_vae_flow.energy_distance(x, y)) < 0.01
    # Of points far apart it grows by twice the shift.
    far = gan_vae_flow.energy_distance(x, y + np.float32([50.0, 0.0]))
    np.testing.assert_allclose(far, 100.0 - 2.0 * np.pi**0.5, atol=0.3)

    ring = tfd.MixtureSameFamily(
        tfd.Categorical(logits=tf.zeros(8)),
        tfd.MultivariateNormalDiag(*gan_vae_flow.TRUTH),
    )
    near = gan_vae_flow.CENTERS[random.randint(8, size=1000)] + gan_vae_flow.SCALE * x
    np.testing.assert_allclose(
        gan_vae_flow.log_mixture(near, *gan_vae_flow.TRUTH),
        ring.log_prob(near),
        atol=1e-3,
    )
    all_there = gan_vae_flow.from_samples(near, near)
    assert all_there["modes"] == 8 and all_there["off"] < 0.01
    half = gan_vae_flow.from_samples(near[near[:, 0] > 0.0], near)
    assert half["modes"] < 7 and half["most"] > 1.3 and half["energy"] > 0.1
    assert gan_vae_flow.from_samples(z, near)["off"] > 0.9

    class Known:  # the right density, and one that is stretched
        def __init__(self, scale):
            self.normal = tfd.MultivariateNormalDiag(tf.zeros(2), tf.fill([2], scale))
            self.log_prob = self.normal.log_prob

    class Truth:
        log_prob = staticmethod(
            lambda x: gan_vae_flow.log_mixture(x, *gan_vae_flow.TRUTH)
        )

    right = gan_vae_flow.densities(Truth(), near, near)
    assert abs(right["lost"]) < 1e-5 and abs(right["js"]) < 1e-5
    wide = gan_vae_flow.densities(Known(2.0), 2.0 * x, near)
    np.testing.assert_allclose(
        wide["lost"], -np.mean(Known(2.0).log_prob(near)) + right["nats"], rtol=1e-4
    )
    assert 0.4 < wide["js"] < np.log(2.0)

    for model in (Truth(), None):  # by a grid, and by the formula
        mixture = None if model else gan_vae_flow.TRUTH
        given = gan_vae_flow.imputed(model, mixture, near[:200])["imputed"]
        alone = tfd.MixtureSameFamily(
            tfd.Categorical(logits=tf.zeros(8)),
            tfd.Normal(gan_vae_flow.CENTERS[:, 0], gan_vae_flow.SCALE),
        )
        exact = np.mean(ring.log_prob(near[:200]) - alone.log_prob(near[:200, 0]))
        np.testing.assert_allclose(given, exact, atol=1e-3)


def test_each_model_learns_where_the_data_are(gan_vae_flow):
    noise = np.random.RandomState(0).normal(size=[500, 2])
    data = np.float32([2.0, -1.0] + 0.5 * noise)
    models = [
        gan_vae_flow.Flow(2, 2, (8,), [], gan_vae_flow.adam(3e-2, 150), 0),
        gan_vae_flow.VAE(
            2, 2, (16,), 4, gan_vae_flow.gaussian, gan_vae_flow.adam(2e-2, 200), 0
        ),
        gan_vae_flow.GAN(2, 2, (32, 32), tf.identity, 0.5, 5e-3, 400, 0),
    ]
    for model, steps in zip(models, [150, 200, 400]):
        before = gan_vae_flow.energy_distance(model.sample(500, 0), data)
        gan_vae_flow.train(model, data, steps, 0, 64)
        after = gan_vae_flow.energy_distance(model.sample(500, 0), data)
        assert after < 0.3 * before, model
    entropy = np.log(2.0 * np.pi * np.e * 0.25)
    for model in models[:2]:
        assert -entropy - 0.6 < np.mean(model.log_prob(data)) < -entropy + 0.1
        assert np.mean(model.bound(data)) <= np.mean(model.log_prob(data)) + 1e-5
    x = models[0].decode(models[0].encode(data) + 0.0)
    np.testing.assert_allclose(x, data, atol=1e-4)


def test_pixels_of_the_vae_are_as_likely_as_their_level(gan_vae_flow):
    outputs = np.float32(np.random.RandomState(0).normal(size=[3, 64 * 17]))
    levels = np.random.RandomState(1).randint(0, 17, size=[3, 64])
    logits = outputs.reshape([3, 64, 17])
    log_mass = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
    expected = np.sum(np.eye(17)[levels] * log_mass, axis=(-2, -1)) + 64 * np.log(17)
    for seed in range(2):
        x = gan_vae_flow.dequantize(np.float32(levels), [seed, 0])
        np.testing.assert_allclose(
            gan_vae_flow.histograms(outputs).log_prob(x), expected, rtol=1e-4
        )


def test_whole_example_at_a_small_size(gan_vae_flow, monkeypatch, tmp_path, capsys):
    real_nvp, mlp = gan_vae_flow.flows.real_nvp, gan_vae_flow.mlp
    monkeypatch.setattr(
        gan_vae_flow.flows,
        "neural_spline",
        lambda size, layers, hidden, seed: real_nvp(size, 1, (8,), seed=seed),
    )
    monkeypatch.setattr(
        gan_vae_flow, "mlp", lambda size, hidden, *rest: mlp(size, (8,), *rest)
    )
    monkeypatch.setattr(gan_vae_flow, "compiled", lambda function: function)
    monkeypatch.setattr(gan_vae_flow, "PIXELS", 30)
    monkeypatch.setattr(gan_vae_flow, "DRAWS", 20)
    picture = tmp_path / "three.png"
    figures = gan_vae_flow.main(
        steps=3, digit_steps=2, points=500, seeds=1, picture=picture
    )
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
