"""Tests of `tfp_flows.masks`."""

import numpy as np
import pytest

from tfp_flows import masks


@pytest.mark.parametrize("size", [1, 2, 5, 6])
@pytest.mark.parametrize("mask", [masks.half, masks.alternating])
def test_a_flipped_mask_is_the_complement(mask, size):
    masked = mask(size)
    assert masked.dtype == bool and masked.shape == (size,)
    assert np.sum(masked) == (size + 1) // 2
    np.testing.assert_array_equal(mask(size, flip=True), ~masked)


def test_masks_of_vectors():
    assert masks.half(5).tolist() == [True, True, True, False, False]
    assert masks.alternating(5).tolist() == [True, False, True, False, True]


def test_neighbors_on_a_checkerboard_differ():
    mask = masks.checkerboard(3, 4)
    assert mask.dtype == bool and mask.shape == (3, 4, 1) and mask[0, 0, 0]
    assert np.all(mask[1:] != mask[:-1]) and np.all(mask[:, 1:] != mask[:, :-1])
    np.testing.assert_array_equal(masks.checkerboard(3, 4, flip=True), ~mask)


def test_channels_are_those_of_a_vector():
    for flip in [False, True]:
        expected = masks.half(5, flip).reshape([1, 1, 5])
        np.testing.assert_array_equal(masks.channelwise(5, flip), expected)


def test_the_number_of_masked_channels():
    for number in range(4):
        mask = masks.channelwise(3, num_masked=number)
        assert mask.shape == (1, 1, 3) and mask.sum() == number
        np.testing.assert_array_equal(
            masks.channelwise(3, flip=True, num_masked=number), ~mask
        )
