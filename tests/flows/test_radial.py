"""Tests of `tfp_flows.flows.radial`."""

from tests.flows.recipes import check_recipe
from tfp_flows import flows


def test_radial_is_a_good_recipe(tmp_path):
    check_recipe(lambda **kwargs: flows.radial(3, 4, **kwargs), 3, tmp_path)
