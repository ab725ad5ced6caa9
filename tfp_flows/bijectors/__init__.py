"""Invertible layers, one per file."""

from tfp_flows import _builders
from tfp_flows._freshness import never_stale
from tfp_flows._layer import Layer
from tfp_flows.bijectors import matrices, orthonormal, transformers
from tfp_flows.bijectors._trainable import make_trainable
from tfp_flows.bijectors.activations import Activation, LeakyReLU
from tfp_flows.bijectors.actnorm import ActNorm
from tfp_flows.bijectors.autoregressive import (
    InverseAutoregressive,
    MaskedAutoregressive,
    check_autoregressive,
)
from tfp_flows.bijectors.batch_norm import BatchNorm, batch_statistics
from tfp_flows.bijectors.conv1x1 import InvertibleConv1x1, InvertibleConv1x1PLU
from tfp_flows.bijectors.coupling import Coupling
from tfp_flows.bijectors.diagonal_scale import DiagonalScale
from tfp_flows.bijectors.glow_step import GlowStep
from tfp_flows.bijectors.logit import Logit
from tfp_flows.bijectors.multi_scale import MultiScale
from tfp_flows.bijectors.planar import Planar, PlanarStack
from tfp_flows.bijectors.prelu import PReLU
from tfp_flows.bijectors.radial import Radial
from tfp_flows.bijectors.scan import Scan
from tfp_flows.bijectors.squeeze import Squeeze
from tfp_flows.bijectors.sylvester import Sylvester

__all__ = [
    "ActNorm",
    "Activation",
    "BatchNorm",
    "Coupling",
    "DiagonalScale",
    "GlowStep",
    "InverseAutoregressive",
    "InvertibleConv1x1",
    "InvertibleConv1x1PLU",
    "Layer",
    "LeakyReLU",
    "Logit",
    "MaskedAutoregressive",
    "MultiScale",
    "PReLU",
    "Planar",
    "PlanarStack",
    "Radial",
    "Scan",
    "Squeeze",
    "Sylvester",
    "batch_statistics",
    "check_autoregressive",
    "make_trainable",
    "matrices",
    "never_stale",
    "orthonormal",
    "transformers",
]

for _value in map(globals().get, __all__):
    if isinstance(_value, type):
        _builders.register(_value)
