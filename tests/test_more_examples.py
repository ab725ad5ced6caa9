"""The tutorials run, at a small size, and what they build upon holds."""

import numpy as np

from tests.test_examples import load

MOST_BYTES = 300_000


def test_toy_densities_tells_what_is_lost(tmp_path, capsys):
    picture = tmp_path / "toy.png"
    figures = load("toy_densities").main(
        steps=10, layers=1, points=1000, picture=picture
    )
    assert 10_000 < picture.stat().st_size < MOST_BYTES
    printed = capsys.readouterr().out
    for data in ["two moons", "pinwheel", "eight Gaussians", "checkerboard"]:
        for flow in ["RealNVP", "MAF", "neural spline"]:
            scores = figures[data][flow]
            difference = figures[data]["truth"]["nats"] - scores["nats"]
            np.testing.assert_allclose(scores["lost"], difference, atol=1e-4)
            assert scores["lost"] > 0.1
            assert f"{scores['lost']:.4f}" in printed
    area = 8 * 1.75**2
    np.testing.assert_allclose(
        figures["checkerboard"]["truth"]["nats"], -np.log(area), rtol=1e-5
    )


def test_toy_densities_integrate_to_one():
    module = load("toy_densities")
    for density in module.densities().values():
        mean = np.mean(density.prob(module.pixels()))
        total = mean * (2 * module.LIMIT) ** 2
        np.testing.assert_allclose(total, 1.0, atol=0.03)
