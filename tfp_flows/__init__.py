"""Normalizing flows as TensorFlow Probability bijectors."""

import importlib

from tfp_flows import (
    _copies,
    _keras_seam,
    bijectors,
    dequantization,
    flows,
    latent_space,
    masks,
    networks,
    normalization,
    root_finding,
    variational,
)
from tfp_flows._copies import clone

__all__ = [
    *(
        "bijectors",
        "clone",
        "dequantization",
        "flows",
        "keras",
        "latent_space",
        "masks",
    ),
    *("networks", "normalization", "root_finding", "variational"),
]
__version__ = "0.1.0"

_copies.register()
_keras_seam.register_placeholders()


def __getattr__(name):
    if name == "keras":  # when it is wanted: it needs Keras 3, and the rest does not
        return importlib.import_module("tfp_flows.keras")
    raise AttributeError(f"module 'tfp_flows' has no attribute {name!r}")
