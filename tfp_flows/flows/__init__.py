"""Whole flows as functions, on variables of their own.

`planar`, `radial` and `sylvester` return a bijector, `amortised_posterior` a family of
distributions, the others a distribution.
"""

from tfp_flows.flows.amortised_posterior import amortised_posterior
from tfp_flows.flows.autoregressive_levels import autoregressive_levels, complete
from tfp_flows.flows.batch_statistics import (
    update_running_statistics,
    with_batch_statistics,
)
from tfp_flows.flows.condition import condition, condition_on_class
from tfp_flows.flows.dequantisation import (
    bits_per_dimension,
    dequantise,
    log_prob_of_images,
    reduce_bits,
    variational_dequantiser,
)
from tfp_flows.flows.glow import glow
from tfp_flows.flows.iaf import iaf
from tfp_flows.flows.latents import (
    attribute_direction,
    decode,
    encode,
    interpolate,
    move,
    sample_at_temperature,
)
from tfp_flows.flows.maf import maf
from tfp_flows.flows.neural_spline import neural_spline
from tfp_flows.flows.nice import nice
from tfp_flows.flows.planar import planar
from tfp_flows.flows.radial import radial
from tfp_flows.flows.real_nvp import real_nvp
from tfp_flows.flows.real_nvp_image import real_nvp_image
from tfp_flows.flows.scan_layers import scan_layers
from tfp_flows.flows.start_from_data import start_from_data
from tfp_flows.flows.sylvester import sylvester
from tfp_flows.flows.transform import transform

__all__ = [
    "amortised_posterior",
    "attribute_direction",
    "autoregressive_levels",
    "bits_per_dimension",
    "complete",
    "condition",
    "condition_on_class",
    "decode",
    "dequantise",
    "encode",
    "glow",
    "iaf",
    "interpolate",
    "log_prob_of_images",
    "maf",
    "move",
    "neural_spline",
    "nice",
    "planar",
    "radial",
    "real_nvp",
    "real_nvp_image",
    "reduce_bits",
    "sample_at_temperature",
    "scan_layers",
    "start_from_data",
    "sylvester",
    "transform",
    "update_running_statistics",
    "variational_dequantiser",
    "with_batch_statistics",
]
