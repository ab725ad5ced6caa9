"""Invertible layers, one per file."""

from tfp_flows.bijectors import bases
from tfp_flows.bijectors.activations import Activation, LeakyReLU
from tfp_flows.bijectors.planar import Planar, PlanarStack
from tfp_flows.bijectors.prelu import PReLU
from tfp_flows.bijectors.radial import Radial
from tfp_flows.bijectors.sylvester import Sylvester

__all__ = [
    "Activation",
    "LeakyReLU",
    "PReLU",
    "Planar",
    "PlanarStack",
    "Radial",
    "Sylvester",
    "bases",
]
