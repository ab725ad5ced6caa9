"""Normalizing flows as TensorFlow Probability bijectors."""

from tfp_flows import bijectors, flows, masks, networks, root_finding, trainable

__all__ = ["bijectors", "flows", "masks", "networks", "root_finding", "trainable"]
__version__ = "0.1.0"
