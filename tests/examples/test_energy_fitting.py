"""Energies, and flows fitted to them."""

import numpy as np
import tensorflow as tf
import tqdm

from tests.examples.loading import load

LOG_Z = {"U1": 1.8775, "U2": 2.1429, "U3": 2.7025, "U4": 2.7715}


def papers_energies(z1, z2):
    """Table 1 of Rezende and Mohamed (2015), with walls for the last three."""
    w1 = np.sin(2.0 * np.pi * z1 / 4.0)
    w2 = 3.0 * np.exp(-0.5 * ((z1 - 1.0) / 0.6) ** 2)
    w3 = 3.0 / (1.0 + np.exp(-(z1 - 1.0) / 0.3))
    wall = 0.5 * (np.maximum(np.abs(z1) - 4.0, 0.0) / 0.2) ** 2
    return {
        "U1": 0.5 * ((np.hypot(z1, z2) - 2.0) / 0.4) ** 2
        - np.log(
            np.exp(-0.5 * ((z1 - 2.0) / 0.6) ** 2)
            + np.exp(-0.5 * ((z1 + 2.0) / 0.6) ** 2)
        ),
        "U2": 0.5 * ((z2 - w1) / 0.4) ** 2 + wall,
        "U3": wall
        - np.log(
            np.exp(-0.5 * ((z2 - w1) / 0.35) ** 2)
            + np.exp(-0.5 * ((z2 - w1 + w2) / 0.35) ** 2)
        ),
        "U4": wall
        - np.log(
            np.exp(-0.5 * ((z2 - w1) / 0.4) ** 2)
            + np.exp(-0.5 * ((z2 - w1 + w3) / 0.35) ** 2)
        ),
    }


def test_energies_are_those_of_the_paper():
    module = load("energy_fitting")
    z = np.random.RandomState(0).uniform(-4.5, 4.5, [1000, 2])
    for name, values in papers_energies(z[:, 0], z[:, 1]).items():
        energy = module.POTENTIALS[name]
        np.testing.assert_allclose(energy(tf.constant(z)), values, rtol=1e-9)
        np.testing.assert_allclose(
            module.log_normalizer(energy), LOG_Z[name], atol=1e-4
        )
    batch = np.stack([z[:500], z[500:]], axis=1)[:, :, np.newaxis]
    np.testing.assert_allclose(
        module.energies(["U2", "U3"], batch)[:, 1, 0],
        papers_energies(*z[500:].T)["U3"],
        rtol=1e-9,
    )


def test_planar_flows_learn_the_moons_without_points():
    module = load("energy_fitting")
    flow = module.build("planar", 8, [1, 2])
    with tqdm.tqdm(disable=True) as progress:
        module.fit(flow, ["U1"], 500, 0.25, progress)
    gaps, errors = module.divergence(flow, ["U1"], LOG_Z, 20_000)
    assert np.all(errors < 0.01)
    assert np.all(gaps > 0.0)
    assert np.all(gaps < 0.35)  # one mode would be log 2, a Gaussian is at 3.2

    # The density, by the inverse, agrees with the samples, by the forward formula.
    sums = module.check_on_grid(flow[0, 1], "U1", LOG_Z["U1"])
    np.testing.assert_allclose(sums["mass"], 1.0, atol=1e-3)
    np.testing.assert_allclose(sums["KL(q || p)"], gaps[0, 1], atol=0.03)
    assert sums["KL(p || q)"] > 0.0
