"""Conditioners: networks that tell the layers of a flow their parameters."""

from tfp_flows.networks.made import MADE
from tfp_flows.networks.mlp import MLP, ResidualMLP

__all__ = ["MADE", "MLP", "ResidualMLP"]
