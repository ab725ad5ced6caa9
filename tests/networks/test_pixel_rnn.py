"""Facts of `tfp_flows.networks.pixel_rnn`."""

import functools

import numpy as np
import pytest

from tests.laws import close
from tests.networks import raster
from tfp_flows.networks import PixelRNN

each_kind = pytest.mark.parametrize("kind", ["row", "diagonal"])
SHAPES = [(3, 4, 1), (4, 3, 2), (2, 3, 3), (1, 4, 2), (4, 1, 1)]


def make(event_shape, kind, **arguments):
    defaults = dict(
        hidden_channels=4,
        num_layers=1,
        first_kernel_size=3,
        seed=3,
        kind=kind,
        dtype="float64",
    )
    return PixelRNN(event_shape, **{**defaults, **arguments})


@pytest.mark.parametrize("event_shape", SHAPES)
def test_diagonals_see_all_elements_before_them_and_no_others(event_shape):
    network = make(event_shape, "diagonal", num_parameters=2, hidden_channels=6)
    sees = raster.who_sees_whom(network)
    np.testing.assert_array_equal(sees, raster.strictly_before(event_shape))


@pytest.mark.parametrize("event_shape", [(3, 6, 1), (2, 5, 2), (1, 3, 3)])
def test_rows_see_a_triangle_that_widens_by_a_pixel_a_row(event_shape):
    # Each layer and the first convolution go one pixel to the left, too.
    network = make(
        event_shape, "row", num_parameters=2, num_layers=2, hidden_channels=6
    )
    rows, columns, _ = (i.ravel() for i in np.indices(event_shape))
    up = rows[:, np.newaxis] - rows
    right = columns - columns[:, np.newaxis]
    triangle = (right <= up) & (right >= -up - 3)
    expected = triangle & raster.strictly_before(event_shape)
    np.testing.assert_array_equal(raster.who_sees_whom(network), expected)


def test_known_values_of_a_row_of_a_small_network():
    network = make([1, 3, 1], "row", num_parameters=1, hidden_channels=1)
    raster.scramble(network)
    v = {
        variable.name.split(":")[0]: variable.numpy() for variable in network.variables
    }
    x = np.array([0.4, -0.7, 1.3])
    before = np.concatenate([[0.0], x[:-1]])
    h = before[:, np.newaxis] * v["first_kernel"][1, 0, 0] + v["first_bias"]
    left = np.concatenate([np.zeros([1, 2]), h[:-1]])
    kernel = v["layer_0_input_kernel"][0]
    o, _, i, g = (left @ kernel[0] + h @ kernel[1] + v["layer_0_input_bias"]).T
    state = _sigmoid(o) * np.tanh(_sigmoid(i) * np.tanh(g))  # no row is above
    h = h + state[:, np.newaxis] * v["layer_0_out_kernel"][0, 0] + v["layer_0_out_bias"]
    h = np.maximum(h, 0.0) @ v["head_kernel"][0, 0] + v["head_bias"]
    expected = np.maximum(h, 0.0) @ v["last_kernel"][0, 0] + v["last_bias"]
    close(network(x.reshape([1, 3, 1]))[0, :, 0], expected, 1e-12)


@each_kind
def test_states_are_those_of_the_paper_pixel_by_pixel(kind):
    """Recurrences written out over pixels, without skewed maps."""
    height, width, features = 3, 4, 2
    network = make([height, width, 1], kind, num_parameters=1, hidden_channels=features)
    raster.scramble(network)
    layer = network._layers[0]
    x = np.random.default_rng(0).normal(size=[height, width, 2 * features])
    image = np.random.default_rng(1).normal(size=[height, width, 1])

    def run(inputs, kernel, taps, columns):
        """Returns `h`; `taps` are the steps to the states that a pixel sees."""
        h = np.zeros([height + 2, width + 2, features])  # of zeros around the image
        c = np.zeros_like(h)
        for i in range(1, height + 1):
            for j in columns:
                seen = np.concatenate([h[i + di, j + dj] for di, dj in taps])
                o, f, gate, g = np.split(inputs[i - 1, j - 1] + seen @ kernel, 4)
                di, dj = (-1, 0) if kind == "row" else taps[0]
                c[i, j] = _sigmoid(f) * c[i + di, j + dj] + _sigmoid(gate) * np.tanh(g)
                h[i, j] = _sigmoid(o) * np.tanh(c[i, j])
        return h[1:-1, 1:-1]

    if kind == "row":
        inputs = layer._input(x[np.newaxis])[0].numpy()
        taps = [(-1, -1), (-1, 0), (-1, 1)]
        h = run(inputs, layer._state_kernel.numpy(), taps, range(1, width + 1))
    else:
        left = layer._left_input(x[np.newaxis])[0].numpy()
        both = np.concatenate([x, image], axis=-1)
        right = layer._right_input(both[np.newaxis])[0].numpy()
        kernels = [kernel.numpy() for kernel in layer._state_kernels]
        h = run(left, kernels[0], [(0, -1), (-1, 0)], range(1, width + 1))
        other = run(right, kernels[1], [(0, 1), (-1, 0)], range(width, 0, -1))
        h[1:] += other[:-1]
    expected = layer._out(h[np.newaxis])
    close(layer(x[np.newaxis], image[np.newaxis], 0.0), expected, 1e-12)


def _sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


@each_kind
@pytest.mark.parametrize("context_size", [0, 2])
def test_starts_at_zero(kind, context_size):
    raster.check_starts_at_zero(functools.partial(make, kind=kind), context_size)


@each_kind
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
def test_is_a_network_of_images(check, kind):
    check(functools.partial(make, kind=kind))


@each_kind
def test_weights_are_saved(kind, tmp_path):
    raster.check_checkpoint(functools.partial(make, kind=kind), tmp_path)


def test_rejects_what_it_cannot_build_or_take():
    raster.check_errors(functools.partial(make, kind="row"))
    for arguments, text in [
        (dict(kind="column"), "`kind` must be one of .* got 'column'"),
        (dict(kind="row", kernel_size=4), "`kernel_size` must be odd .* got 4"),
        (dict(kind="row", first_kernel_size=1), "`first_kernel_size` must be .* got 1"),
        (dict(kind="row", num_layers=0), "`num_layers` must be .* got 0"),
    ]:
        with pytest.raises(ValueError, match=text):
            make([3, 3, 1], num_parameters=1, **arguments)
