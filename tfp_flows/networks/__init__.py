"""Conditioners: networks that tell the layers of a flow their parameters."""

from tfp_flows.networks.conv import ConvNet, ResidualConvNet
from tfp_flows.networks.made import MADE
from tfp_flows.networks.mlp import MLP, ResidualMLP
from tfp_flows.networks.pixel_cnn import PixelCNN
from tfp_flows.networks.pixel_rnn import PixelRNN
from tfp_flows.networks.wave_net import WaveNet

__all__ = [
    "MADE",
    "MLP",
    "ConvNet",
    "PixelCNN",
    "PixelRNN",
    "ResidualConvNet",
    "ResidualMLP",
    "WaveNet",
]
