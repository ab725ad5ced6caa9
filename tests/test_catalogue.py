"""What is public has an entry in the catalogue, so that all tests of its kind run."""

import tensorflow_probability as tfp

from tests.catalogue import FLOWS, NAMES, NETWORKS, case
from tfp_flows import bijectors, flows, networks

# Layers that the laws do not fit, and where their own tests are.
WITHOUT_LAWS = {
    "Layer": "the base class, in `test_layer.py`",
    "Logit": "its domain is bounded, in `bijectors/test_logit.py`",
    "Squeeze": "its output has another shape, in `bijectors/test_squeeze.py`",
}
# What `tfp_flows.flows` has besides builders.
TOOLS = {"complete", "condition", "condition_on_class", "transform"}


def public_classes(module, base):
    values = {name: getattr(module, name) for name in module.__all__}
    return {
        name
        for name, value in values.items()
        if isinstance(value, type) and issubclass(value, base)
    }


def test_every_layer_has_a_case():
    public = public_classes(bijectors, tfp.bijectors.Bijector)
    found = {type(case(name).make()).__name__ for name in NAMES}
    assert public - {*WITHOUT_LAWS} <= found
    assert not found & {*WITHOUT_LAWS}


def test_every_network_has_a_case():
    public = {n for n in networks.__all__ if isinstance(getattr(networks, n), type)}
    found = {type(network.make()).__name__ for network in NETWORKS.values()}
    assert public - {"Network"} == found


def test_every_builder_has_a_case():
    found = {flow.builder.__name__ for flow in FLOWS.values()}
    assert {*flows.__all__} - TOOLS == found
