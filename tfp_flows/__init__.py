"""Normalizing flows as TensorFlow Probability bijectors."""

import importlib
from typing import TYPE_CHECKING, Any

from tfp_flows import (
    _copies,
    _keras_seam,
    bijectors,
    checks,
    dequantization,
    distributions,
    flows,
    latent_space,
    masks,
    networks,
    normalization,
    root_finding,
    testing,
    variational,
)
from tfp_flows._copies import clone
from tfp_flows._flow import Flow

__all__ = [
    "Flow",
    "bijectors",
    "checks",
    "clone",
    "dequantization",
    "distributions",
    "flows",
    "keras",
    "latent_space",
    "masks",
    "networks",
    "normalization",
    "root_finding",
    "testing",
    "variational",
]
__version__ = "0.1.0"

_copies.register()
_keras_seam.register_placeholders()


if TYPE_CHECKING:
    from tfp_flows import keras as keras


def __getattr__(name: str) -> Any:
    if name == "keras":  # on first use: it needs Keras 3, and the rest does not
        return importlib.import_module("tfp_flows.keras")
    raise AttributeError(f"module 'tfp_flows' has no attribute {name!r}")
