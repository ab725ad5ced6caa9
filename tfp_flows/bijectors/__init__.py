"""Invertible layers, one per file."""

from tfp_flows.bijectors import bases, transformers
from tfp_flows.bijectors.activations import Activation, LeakyReLU
from tfp_flows.bijectors.autoregressive import (
    InverseAutoregressive,
    MaskedAutoregressive,
    check_autoregressive,
)
from tfp_flows.bijectors.batch_norm import BatchNorm, batch_statistics
from tfp_flows.bijectors.coupling import Coupling
from tfp_flows.bijectors.diagonal_scale import DiagonalScale
from tfp_flows.bijectors.planar import Planar, PlanarStack
from tfp_flows.bijectors.prelu import PReLU
from tfp_flows.bijectors.radial import Radial
from tfp_flows.bijectors.sylvester import Sylvester

__all__ = [
    "Activation",
    "BatchNorm",
    "Coupling",
    "DiagonalScale",
    "InverseAutoregressive",
    "LeakyReLU",
    "MaskedAutoregressive",
    "PReLU",
    "Planar",
    "PlanarStack",
    "Radial",
    "Sylvester",
    "bases",
    "batch_statistics",
    "check_autoregressive",
    "transformers",
]
