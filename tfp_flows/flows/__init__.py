"""Whole flows as functions that return a bijector on variables of its own."""

from tfp_flows.flows.planar import planar
from tfp_flows.flows.radial import radial
from tfp_flows.flows.sylvester import sylvester

__all__ = ["planar", "radial", "sylvester"]
