"""Facts of `tfp_flows.networks.pixel_cnn`."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.laws import close
from tests.networks import raster
from tfp_flows.networks import PixelCNN


def make(event_shape, **arguments):
    defaults = dict(
        hidden_channels=5, num_layers=2, first_kernel_size=3, seed=3, dtype=tf.float64
    )
    return PixelCNN(event_shape, **{**defaults, **arguments})


@pytest.mark.parametrize(
    "event_shape", [(3, 4, 1), (4, 3, 2), (2, 3, 3), (1, 5, 2), (5, 1, 1), (1, 1, 3)]
)
def test_outputs_see_all_elements_before_them_and_no_others(event_shape):
    network = make(event_shape, num_parameters=2, num_layers=3, hidden_channels=10)
    sees = raster.who_sees_whom(network)
    np.testing.assert_array_equal(sees, raster.strictly_before(event_shape))


@pytest.mark.parametrize("kernel_size, first, num_layers", [(3, 5, 1), (5, 3, 2)])
def test_what_is_seen_grows_with_the_layers_without_a_blind_spot(
    kernel_size, first, num_layers
):
    shape = (8, 9, 1)
    network = make(
        shape,
        num_parameters=1,
        kernel_size=kernel_size,
        first_kernel_size=first,
        num_layers=num_layers,
        hidden_channels=8,
    )
    reach = first // 2 + num_layers * (kernel_size // 2)
    rows, columns = (places.ravel() for places in np.indices(shape[:2]))
    up = rows[:, np.newaxis] - rows
    across = columns[:, np.newaxis] - columns
    # The horizontal stack goes left over the columns that the vertical one sees.
    near = (up <= reach) & (across >= -reach) & (across <= 2 * reach)
    sees = raster.who_sees_whom(network)
    assert not np.any(sees & ~(near & raster.strictly_before(shape)))
    square = near & (across <= reach) & raster.strictly_before(shape)
    assert np.all(sees[square])


def test_known_values_of_a_small_network():
    # One feature and a single column: a layer is a recursion from row to row.
    network = make([3, 1, 1], num_parameters=1, hidden_channels=1, num_layers=1)
    raster.scramble(network)
    v = {
        variable.name.split(":")[0]: variable.numpy().squeeze()
        for variable in network.variables
    }

    def gate(both):
        return np.tanh(both[..., 0]) / (1.0 + np.exp(-both[..., 1]))

    x = np.array([0.4, -0.7, 1.3])
    above = np.array([0.0, 0.4, -0.7])
    a = (
        above[:, np.newaxis] * v["layer_0_vertical_kernel"][1]
        + (v["layer_0_vertical_bias"])
    )
    b = (
        a @ v["layer_0_across_kernel"]
        + v["layer_0_across_bias"]
        + (v["layer_0_horizontal_bias"])
    )  # no pixel is to the left
    h = gate(b) * v["layer_0_out_kernel"] + v["layer_0_out_bias"]
    s = gate(a)
    before = np.array([0.0, s[0], s[1]])
    kernel = v["layer_1_vertical_kernel"][:, 1]
    a = (
        before[:, np.newaxis] * kernel[0]
        + s[:, np.newaxis] * kernel[1]
        + (v["layer_1_vertical_bias"])
    )
    b = (
        a @ v["layer_1_across_kernel"]
        + v["layer_1_across_bias"]
        + (
            h[:, np.newaxis] * v["layer_1_horizontal_kernel"][1]
            + v["layer_1_horizontal_bias"]
        )
    )
    h = h + gate(b) * v["layer_1_out_kernel"] + v["layer_1_out_bias"]
    h = np.maximum(h, 0.0) * v["head_kernel"] + v["head_bias"]
    expected = np.maximum(h, 0.0) * v["last_kernel"] + v["last_bias"]
    close(tf.squeeze(network(x.reshape([3, 1, 1]))), expected, 1e-12)


@pytest.mark.parametrize("context_size", [0, 2])
def test_starts_at_zero(context_size):
    raster.check_starts_at_zero(make, context_size)


@pytest.mark.parametrize(
    "check",
    [
        raster.check_all_weights_matter,
        raster.check_context,
        raster.check_batch_axes,
        raster.check_modes,
        raster.check_seed,
        raster.check_conditions_flows,
    ],
    ids=lambda check: check.__name__,
)
def test_is_a_network_of_images(check):
    check(make)


def test_weights_are_saved(tmp_path):
    raster.check_checkpoint(make, tmp_path)


def test_rejects_what_it_cannot_build_or_take():
    raster.check_errors(make)
    build = functools.partial(make, [3, 3, 1], num_parameters=1)
    for arguments, text in [
        (dict(kernel_size=2), "`kernel_size` must be odd and at least 3; got 2"),
        (dict(first_kernel_size=1), "`first_kernel_size` must be odd .* got 1"),
        (dict(num_layers=0), "`num_layers` must be .* got 0"),
        (dict(hidden_channels=0), "`hidden_channels` must be .* got 0"),
        (dict(context_size=-1), "`context_size` must be .* got -1"),
    ]:
        with pytest.raises(ValueError, match=text):
            build(**arguments)
