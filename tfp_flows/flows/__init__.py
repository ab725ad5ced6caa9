"""Whole flows as functions, on variables of their own.

`planar`, `radial` and `sylvester` return a bijector, the others a distribution.
"""

from tfp_flows.flows.batch_statistics import (
    update_running_statistics,
    with_batch_statistics,
)
from tfp_flows.flows.condition import condition
from tfp_flows.flows.iaf import iaf
from tfp_flows.flows.maf import maf
from tfp_flows.flows.neural_spline import neural_spline
from tfp_flows.flows.nice import nice
from tfp_flows.flows.planar import planar
from tfp_flows.flows.radial import radial
from tfp_flows.flows.real_nvp import real_nvp
from tfp_flows.flows.sylvester import sylvester

__all__ = [
    "condition",
    "iaf",
    "maf",
    "neural_spline",
    "nice",
    "planar",
    "radial",
    "real_nvp",
    "sylvester",
    "update_running_statistics",
    "with_batch_statistics",
]
