"""The autoencoder of the examples trains, and its figures are what they are called."""

import numpy as np
import pytest

from tests.test_examples import load


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
    family = module.flows.amortized_posterior(3, "sylvester_orthogonal", 1, num_columns=2)
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
