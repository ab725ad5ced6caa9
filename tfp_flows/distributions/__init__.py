"""Distributions: autoregressive ones over integers, and base distributions of flows."""

from tfp_flows.distributions._base_distributions import Logistic, Normal
from tfp_flows.distributions.discrete_autoregressive import DiscreteAutoregressive

__all__ = ["DiscreteAutoregressive", "Logistic", "Normal"]
