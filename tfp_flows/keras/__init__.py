"""Flows in Keras 3, and Keras networks in flows.

Keras 3 does not find the variables of a bijector, and a bijector does not find those of
a Keras network. Either way training would change nothing, and say nothing. With these
layers, models and callbacks each finds the other's, and they are the same variables.
"""

import keras

from tfp_flows._keras_seam import REMEDY

if not hasattr(keras, "StatelessScope") or keras.config.backend() != "tensorflow":
    raise ImportError(
        "`tfp_flows.keras` needs Keras 3 on TensorFlow; got Keras "
        f"{keras.__version__} on {keras.backend.backend()}. {REMEDY}. The rest of "
        "`tfp_flows` works with any backend. Models of Keras 2 find the variables of "
        "bijectors by themselves."
    )

from tfp_flows._builders import register_builder
from tfp_flows.keras.backup import BackupAndRestore
from tfp_flows.keras.bijector_layer import BijectorLayer
from tfp_flows.keras.conditioner import Conditioner
from tfp_flows.keras.density_model import DensityModel
from tfp_flows.keras.distribution_layer import DistributionLayer
from tfp_flows.keras.losses import BitsPerDimension, Nats, NegativeLogLikelihood

__all__ = [
    "BackupAndRestore",
    "BijectorLayer",
    "BitsPerDimension",
    "Conditioner",
    "DensityModel",
    "DistributionLayer",
    "Nats",
    "NegativeLogLikelihood",
    "register_builder",
]
