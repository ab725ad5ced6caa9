"""Tests of the masks of MADE, PixelCNN and PixelRNN."""

import numpy as np
import pytest

from tfp_flows.networks._made_masks import (
    draw_degrees,
    hidden_degrees,
    input_degrees,
    input_order,
)
from tfp_flows.networks._masked_conv import channel_groups, raster_mask

RNG = np.random.default_rng(0)


def test_orders():
    assert input_order(4, "left-to-right", RNG).tolist() == [0, 1, 2, 3]
    assert input_order(4, "right-to-left", RNG).tolist() == [3, 2, 1, 0]
    assert input_order(4, [2, 0, 3, 1], RNG).tolist() == [2, 0, 3, 1]
    draws = [
        input_order(9, "random", np.random.default_rng(seed)) for seed in (0, 0, 1)
    ]
    assert sorted(draws[0]) == list(range(9))
    np.testing.assert_array_equal(draws[0], draws[1])
    assert np.any(draws[0] != draws[2])


def test_the_degree_of_an_input_is_its_position_in_the_order():
    assert input_degrees([2, 0, 1]).tolist() == [2, 3, 1]
    permutation = RNG.permutation(9)
    places = input_degrees(permutation)[permutation]
    np.testing.assert_array_equal(places, np.arange(1, 10))


@pytest.mark.parametrize("kind", ["equal", "random"])
@pytest.mark.parametrize("lowest", [0, 1])
@pytest.mark.parametrize("event_size, units", [(1, 3), (2, 5), (5, 3), (5, 22)])
def test_degrees_of_hidden_units(event_size, units, lowest, kind):
    degrees = hidden_degrees(event_size, units, kind, lowest, RNG)
    assert degrees.shape == (units,)
    assert np.all(np.diff(degrees) >= 0)
    assert lowest <= degrees[0] and degrees[-1] <= max(event_size - 1, lowest)
    if kind == "equal":
        values = np.arange(lowest, max(event_size - 1, lowest) + 1)
        counts = [np.sum(degrees == value) for value in values]
        assert max(counts) - min(counts) <= 1


def test_random_degrees_start_at_the_minimum_of_the_preceding_layer():
    """Section 4.2 of the paper: from there to D - 1, each as likely."""
    layers = [[], []]
    for seed in range(4000):
        _, first, second = draw_degrees(
            5, [2, 2], 1, "left-to-right", "random", 1, np.random.default_rng(seed)
        )
        assert first.min() <= second.min() and first.max() <= second.max()
        layers[0].append(first)
        layers[1].append([first.min(), second.min()])
    counts = np.bincount(np.ravel(layers[0]))[1:]
    assert np.all(np.abs(counts - 2000) < 200)
    least, below = np.transpose(layers[1])
    for degree in range(1, 5):  # the lower of two draws from [degree, 4]
        among = 5 - degree
        share = np.mean(below[least == degree] == degree)
        if among > 1:
            assert abs(share - (1.0 - (1.0 - 1.0 / among) ** 2)) < 0.08


@pytest.mark.parametrize("features, channels", [(3, 3), (7, 3), (8, 2), (5, 1)])
def test_channels_have_about_equally_many_features(features, channels):
    channel = channel_groups(features, channels)
    counts = np.bincount(channel, minlength=channels)
    assert len(channel) == features and len(counts) == channels
    assert np.all(np.diff(channel) >= 0) and np.ptp(counts) <= 1


@pytest.mark.parametrize("include_self", [False, True])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_kernels_in_raster_order(kernel_size, include_self):
    inputs, outputs = np.array([0, 1, 1, 2]), np.array([0, 2, 1])
    mask = raster_mask(kernel_size, inputs, outputs, include_self)
    assert mask.dtype == bool and mask.shape == (kernel_size, kernel_size, 4, 3)
    center = kernel_size // 2
    for (i, j, source, target), seen in np.ndenumerate(mask):
        element = (i, j, inputs[source])
        own_element = (center, center, outputs[target])
        assert seen == (
            element < own_element or include_self and element == own_element
        )


@pytest.mark.parametrize(
    "call, text",
    [
        (
            lambda: raster_mask(4, [0], [0], True),
            "`kernel_size` must be odd; got 4",
        ),
        (lambda: input_order(3, "sorted", RNG), "`order` must be .*; got 'sorted'"),
        (lambda: input_order(3, [0, 1, 1], RNG), r"numbers 0 to 2; got \[0, 1, 1\]"),
        (lambda: input_order(3, [0, 1], RNG), r"numbers 0 to 2; got \[0, 1\]"),
        (
            lambda: hidden_degrees(3, 4, "even", 1, RNG),
            "`hidden_degrees` must be 'equal' or 'random'; got 'even'",
        ),
    ],
)
def test_rejects_wrong_orders_degrees_and_kernel_sizes(call, text):
    with pytest.raises(ValueError, match=text):
        call()
