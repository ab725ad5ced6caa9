"""Tests of `tfp_flows.flows.real_nvp`."""

import numpy as np
import pytest

from tests.flows.builders import check_density_builder
from tfp_flows import flows


@pytest.mark.parametrize("mask", ["half", "alternating"])
def test_real_nvp_passes_the_checks_of_builders(mask, tmp_path):
    def make(**kwargs):
        return flows.real_nvp(3, 4, (8,), activation="tanh", mask=mask, **kwargs)

    check_density_builder(make, 3, tmp_path)


def test_what_is_kept_alternates():
    layers = flows.real_nvp(5, 3, (4,), seed=0).bijector.bijectors
    masks = np.array([layer.mask for layer in layers])
    np.testing.assert_array_equal(masks[0], ~masks[1])
    np.testing.assert_array_equal(masks[0], masks[2])


def test_one_dimension_works():
    flow = flows.real_nvp(1, 2, (4,), seed=0)
    assert flow.log_prob([[0.5]]).shape == [1]


def test_rejects_an_unknown_mask():
    with pytest.raises(ValueError, match=r"`mask` must be one of \('half'.* got 'odd'"):
        flows.real_nvp(3, 2, seed=0, mask="odd")
    with pytest.raises(ValueError, match="`mask` must be one of"):
        flows.real_nvp(3, 2, seed=0, mask=np.array([True, False, True]))
