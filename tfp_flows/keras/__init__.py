"""Flows in Keras 3, and Keras networks in flows.

Keras 3 does not track the variables of a bijector, and a bijector does not track those
of a Keras network. Without these classes, training silently skips those variables. With
them, Keras and TFP track the same variables, not copies.
"""

from tfp_flows.keras._keras_versions import check_keras

check_keras()

from tfp_flows._builders import register_builder
from tfp_flows.keras.backup import BackupAndRestore
from tfp_flows.keras.conditioner import Conditioner
from tfp_flows.keras.layers import BijectorLayer, DistributionLayer
from tfp_flows.keras.losses import (
    BitsPerDimension,
    LogLikelihood,
    NegativeLogLikelihood,
)
from tfp_flows.keras.model import DensityModel

__all__ = [
    "BackupAndRestore",
    "BijectorLayer",
    "BitsPerDimension",
    "Conditioner",
    "DensityModel",
    "DistributionLayer",
    "LogLikelihood",
    "NegativeLogLikelihood",
    "register_builder",
]
