"""Tests of `tfp_flows.flows.planar`."""

import pytest

from tests.flows.builders import check_builder
from tfp_flows import flows


def test_planar_passes_the_checks_of_builders(tmp_path):
    check_builder(lambda **kwargs: flows.planar(3, 4, **kwargs), 3, tmp_path)


def test_activation_reaches_the_layers():
    flow = flows.planar(3, 4, seed=0, activation="leaky_relu")
    assert flow.bijector.activation == "leaky_relu"


@pytest.mark.parametrize("sizes", [(0, 2), (2, 0)])
def test_rejects_sizes_below_one(sizes):
    with pytest.raises(ValueError, match=f"at least 1; got {sizes[0]} and {sizes[1]}"):
        flows.planar(*sizes, seed=0)
    with pytest.raises(ValueError, match=f"at least 1; got {sizes[0]} and {sizes[1]}"):
        flows.radial(*sizes, seed=0)
