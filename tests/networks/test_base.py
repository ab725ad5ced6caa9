"""Tests of `tfp_flows.networks.base`."""

import numpy as np
import pytest
import tensorflow as tf

from tfp_flows.networks import MADE, MLP, ConvNet, Network, PixelCNN, WaveNet
from tfp_flows.networks.base import AdaptedNetwork, as_network


class Foreign(tf.Module):
    """A module that states nothing but what is given."""

    def __init__(self, **stated):
        super().__init__()
        vars(self).update(stated)

    def __call__(self, x, context=None):
        return x


@pytest.mark.parametrize(
    "network, event_ndims",
    [
        (MLP(3, [2], (4,), seed=0), 1),
        (MADE(3, 2, (4,), seed=0), 1),
        (ConvNet(1, 2, 4, seed=0), 3),
        (PixelCNN([4, 4, 1], 2, 4, 1, seed=0), 3),
        (WaveNet(2, 2, 2, (1, 2), seed=0), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_networks_state_what_layers_need(network, event_ndims):
    assert isinstance(network, Network) and as_network(network) is network
    assert network.event_ndims == event_ndims and network.context_ndims == 1
    assert network.dtype == network.compute_dtype == tf.float32
    assert network.hidden_variables == () and network.is_copyable
    assert not network.changes_in_training
    assert network.needs_initialization == isinstance(network, ConvNet)
    can_be_inverted = isinstance(network, (MADE, WaveNet))
    assert (network.solve_for_input is not None) == can_be_inverted


def test_a_plain_function_states_nothing():
    network = as_network(lambda x: x)
    assert isinstance(network, AdaptedNetwork)
    assert network.num_parameters is network.context_size is network.dtype is None
    assert network.hidden_variables is None and not network.is_copyable
    assert network.solve_for_input is None and network.event_ndims == 1
    np.testing.assert_array_equal(network(tf.ones([2])), np.ones([2]))


def test_a_module_states_its_attributes():
    network = as_network(
        Foreign(num_parameters=2, context_size=3, dtype="float64", event_size=4)
    )
    assert (network.num_parameters, network.context_size) == (2, 3)
    assert network.dtype == tf.float64 and network.event_shape == [4]
    assert network.hidden_variables == [] and network.is_copyable


def test_a_network_must_implement_its_call():
    class Nothing(Network):
        pass

    with pytest.raises(NotImplementedError, match="`Nothing` must implement `__call__"):
        Nothing()(tf.ones([2]))


def test_rejects_what_is_not_callable():
    with pytest.raises(TypeError, match="`conditioner` must be callable; got 3"):
        as_network(3)
