"""Tests of `tfp_flows.flows.radial`."""

from tests.flows.builders import check_builder
from tfp_flows import flows


def test_radial_passes_the_checks_of_builders(tmp_path):
    check_builder(lambda **kwargs: flows.radial(3, 4, **kwargs), 3, tmp_path)
