"""The examples run, at a small size, and say what they should."""

import importlib.util
import pathlib
import sys

import numpy as np

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # AutoGraph looks it up
    spec.loader.exec_module(module)
    return module


def test_quickstart_beats_the_gaussian(tmp_path, capsys):
    picture = tmp_path / "quickstart.png"
    figures = load("quickstart").main(steps=20, picture=picture)
    assert picture.stat().st_size > 10_000
    np.testing.assert_allclose(figures["gaussian_nats"], 49.8, atol=0.4)
    np.testing.assert_allclose(figures["gaussian_bits_per_dimension"], 2.964, atol=0.01)
    assert figures["nats"] > figures["gaussian_nats"] + 20.0
    assert figures["round_trip"] < 1e-4
    assert f"{figures['nats']:.2f}" in capsys.readouterr().out
