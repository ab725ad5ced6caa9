"""Facts of `tfp_flows.masks`."""

import numpy as np
import pytest

from tfp_flows import masks

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("size", [1, 2, 5, 6])
@pytest.mark.parametrize("mask", [masks.half, masks.alternating])
def test_a_flipped_mask_keeps_the_others(mask, size):
    kept = mask(size)
    assert kept.dtype == bool and kept.shape == (size,)
    assert np.sum(kept) == (size + 1) // 2
    np.testing.assert_array_equal(mask(size, flip=True), ~kept)


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


def test_orders():
    assert masks.order(4, "given", RNG).tolist() == [0, 1, 2, 3]
    assert masks.order(4, "reversed", RNG).tolist() == [3, 2, 1, 0]
    assert masks.order(4, [2, 0, 3, 1], RNG).tolist() == [2, 0, 3, 1]
    draws = [
        masks.order(9, "random", np.random.default_rng(seed)) for seed in (0, 0, 1)
    ]
    assert sorted(draws[0]) == list(range(9))
    np.testing.assert_array_equal(draws[0], draws[1])
    assert np.any(draws[0] != draws[2])


def test_the_degree_of_an_input_is_its_place_in_the_order():
    assert masks.input_degrees([2, 0, 1]).tolist() == [2, 3, 1]
    permutation = RNG.permutation(9)
    places = masks.input_degrees(permutation)[permutation]
    np.testing.assert_array_equal(places, np.arange(1, 10))


@pytest.mark.parametrize("kind", ["equal", "random"])
@pytest.mark.parametrize("lowest", [0, 1])
@pytest.mark.parametrize("event_size, units", [(1, 3), (2, 5), (5, 3), (5, 22)])
def test_degrees_of_hidden_units(event_size, units, lowest, kind):
    degrees = masks.hidden_degrees(event_size, units, kind, lowest, RNG)
    assert degrees.shape == (units,)
    assert np.all(np.diff(degrees) >= 0)
    assert lowest <= degrees[0] and degrees[-1] <= max(event_size - 1, lowest)
    if kind == "equal":
        values = np.arange(lowest, max(event_size - 1, lowest) + 1)
        counts = [np.sum(degrees == value) for value in values]
        assert max(counts) - min(counts) <= 1


def test_random_degrees_are_drawn_from_the_least_of_the_layer_before():
    """Section 4.2 of the paper: from there to D - 1, each as likely."""
    layers = [[], []]
    for seed in range(4000):
        _, first, second = masks.degree_sets(
            5, [2, 2], 1, "given", "random", 1, np.random.default_rng(seed)
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
def test_each_channel_has_as_many_features_as_can_be(features, channels):
    channel = masks.groups(features, channels)
    counts = np.bincount(channel, minlength=channels)
    assert len(channel) == features and len(counts) == channels
    assert np.all(np.diff(channel) >= 0) and np.ptp(counts) <= 1


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_kernels_in_raster_order(kernel_size, own):
    inputs, outputs = np.array([0, 1, 1, 2]), np.array([0, 2, 1])
    mask = masks.raster(kernel_size, inputs, outputs, own)
    assert mask.dtype == bool and mask.shape == (kernel_size, kernel_size, 4, 3)
    center = kernel_size // 2
    for (i, j, source, target), seen in np.ndenumerate(mask):
        element = (i, j, inputs[source])
        own_element = (center, center, outputs[target])
        assert seen == (element < own_element or own and element == own_element)


@pytest.mark.parametrize(
    "call, text",
    [
        (
            lambda: masks.raster(4, [0], [0], True),
            "`kernel_size` must be odd; got 4",
        ),
        (lambda: masks.order(3, "sorted", RNG), "`order` must be .*; got 'sorted'"),
        (lambda: masks.order(3, [0, 1, 1], RNG), r"numbers 0 to 2; got \[0, 1, 1\]"),
        (lambda: masks.order(3, [0, 1], RNG), r"numbers 0 to 2; got \[0, 1\]"),
        (
            lambda: masks.hidden_degrees(3, 4, "even", 1, RNG),
            "`degrees` must be 'equal' or 'random'; got 'even'",
        ),
    ],
)
def test_rejects_what_is_no_order_or_degrees(call, text):
    with pytest.raises(ValueError, match=text):
        call()
