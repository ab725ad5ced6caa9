"""Experiments as modules."""

import importlib
import pathlib
import sys

EXPERIMENTS = pathlib.Path(__file__).parents[2] / "examples" / "experiments"


def load(name):
    """Returns the module of an experiment."""
    if str(EXPERIMENTS) not in sys.path:
        sys.path.append(str(EXPERIMENTS))
    return importlib.import_module(name)
