"""Normalizing flows as TensorFlow Probability bijectors."""

import importlib

from tfp_flows import (
    bijectors,
    flows,
    masks,
    networks,
    root_finding,
    trainable,
    variational,
)

__all__ = [
    *("bijectors", "flows", "keras", "masks", "networks", "root_finding", "trainable"),
    "variational",
]
__version__ = "0.1.0"


def __getattr__(name):
    if name == "keras":  # when it is wanted: it needs Keras 3, and the rest does not
        return importlib.import_module("tfp_flows.keras")
    raise AttributeError(f"module 'tfp_flows' has no attribute {name!r}")
