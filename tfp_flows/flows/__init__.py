"""Builders of whole flows, on new variables, and `condition`.

Builders return distributions: a `tfp_flows.Flow`, whose `bijector` holds the layers.
Two are exceptions. `discrete_autoregressive` returns a distribution over integers,
which is not a flow. `amortized_posterior` returns a conditional distribution, which is
called with the parameters that an encoder predicts.
"""

from tfp_flows.flows.amortized_posterior import amortized_posterior
from tfp_flows.flows.condition import condition, condition_on_class
from tfp_flows.flows.discrete_autoregressive import discrete_autoregressive
from tfp_flows.flows.glow import glow
from tfp_flows.flows.iaf import iaf
from tfp_flows.flows.maf import maf
from tfp_flows.flows.neural_spline import neural_spline
from tfp_flows.flows.nice import nice
from tfp_flows.flows.planar import planar
from tfp_flows.flows.radial import radial
from tfp_flows.flows.real_nvp import real_nvp
from tfp_flows.flows.real_nvp_image import real_nvp_image
from tfp_flows.flows.sylvester import sylvester
from tfp_flows.flows.transform import transform

__all__ = [
    "amortized_posterior",
    "condition",
    "condition_on_class",
    "discrete_autoregressive",
    "glow",
    "iaf",
    "maf",
    "neural_spline",
    "nice",
    "planar",
    "radial",
    "real_nvp",
    "real_nvp_image",
    "sylvester",
    "transform",
]
