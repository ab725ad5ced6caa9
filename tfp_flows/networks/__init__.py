"""Conditioner networks, which predict the parameters of coupling and autoregressive
layers. `Network` is the base class for custom ones."""

from tfp_flows.networks.base import Network
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
    "Network",
    "PixelCNN",
    "PixelRNN",
    "ResidualConvNet",
    "ResidualMLP",
    "WaveNet",
]
