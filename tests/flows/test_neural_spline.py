"""Tests of `tfp_flows.flows.neural_spline`."""

import pytest

from tests.flows.builders import check_density_builder
from tfp_flows import flows


@pytest.mark.parametrize("kind", ["coupling", "autoregressive"])
def test_neural_spline_passes_the_checks_of_builders(kind, tmp_path):
    def make(**kwargs):
        return flows.neural_spline(
            3, 2, (8,), activation="tanh", kind=kind, num_bins=4, bound=3.0, **kwargs
        )

    check_density_builder(make, 3, tmp_path)


def test_rejects_an_unknown_kind():
    with pytest.raises(ValueError, match="`kind` must be 'coupling' or .* got 'made'"):
        flows.neural_spline(3, 2, seed=0, kind="made")
