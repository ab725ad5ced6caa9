"""Facts of activation normalization that the laws do not state."""

import gc
import warnings

import numpy as np
import pytest
import tensorflow as tf

from tests.laws import close
from tfp_flows.bijectors import ActNorm

Y = np.random.default_rng(0).normal(size=[5, 4, 3, 2], scale=3.0) + [7.0, -2.0]


def make(dtype=tf.float64, **others):
    shift, log_scale = (tf.Variable(tf.zeros([2], dtype)) for _ in range(2))
    return ActNorm(shift, log_scale, **others)


def test_is_the_formula_of_the_paper():
    layer = ActNorm(np.array([1.0, 2.0]), np.array([0.5, -0.5]))
    close(layer.inverse(Y), (Y - [1.0, 2.0]) * np.exp([-0.5, 0.5]))
    close(layer.forward_log_det_jacobian(Y[:, :, :, :]), np.zeros(5))
    one = ActNorm(np.zeros(2), np.array([0.5, 0.25]))
    close(one.forward_log_det_jacobian(Y), np.full(5, 12 * 0.75))


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_starts_with_mean_0_and_deviation_1(direction):
    layer = make()
    returned = layer.initialize_from_data(Y, direction)
    values = getattr(layer, direction)(Y)
    close(values, returned)
    close(np.mean(values, axis=(0, 1, 2)), np.zeros(2))
    close(np.std(values, axis=(0, 1, 2)), np.ones(2))


def test_channels_without_spread_are_shifted_alone():
    y = np.float32(np.stack([np.full([3, 2, 2], 255.7), Y[:3, :2, :2, 0]], axis=-1))
    layer = make(tf.float32)
    close(layer.initialize_from_data(y, "inverse")[..., 0], np.zeros([3, 2, 2]), 1e-4)
    assert layer.log_scale[0] == 0.0 and layer.log_scale[1] > 0.0


def test_a_batch_of_one_starts_by_its_pixels():
    values = make().initialize_from_data(Y[:1], "inverse")
    close(np.std(values, axis=(0, 1, 2)), np.ones(2))


def test_warns_once_for_all_layers_of_a_flow_before_its_start():
    started = tf.Variable(False)
    layers = [make(initialized=started) for _ in range(3)]
    with pytest.warns(
        UserWarning, match="used before its data-dependent initialization"
    ) as caught:
        for layer in layers:
            close(layer.forward(Y), Y)
            tf.function(layer.inverse)(Y)
    assert len(caught) == 1
    other = make(initialized=tf.Variable(True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other.forward(Y)
        make().forward(Y)
        started.assign(True)
        layers[0].forward(Y)
    del layers, started
    gc.collect()
    with pytest.warns(UserWarning):
        tf.function(make(initialized=tf.Variable(False)).inverse, jit_compile=True)(Y)


@pytest.mark.parametrize(
    "arguments, kind, message",
    [
        (dict(event_ndims=0), ValueError, "`event_ndims` must be at least 1; got 0"),
        (
            dict(initialized=tf.constant(0.0)),
            TypeError,
            "`initialized` must be a boolean",
        ),
        (dict(log_scale=np.zeros(3)), ValueError, "must be equally long"),
        (dict(shift=[np.nan, 0.0]), ValueError, "`shift` must be finite"),
    ],
)
def test_errors_of_construction(arguments, kind, message):
    with pytest.raises(kind, match=message):
        ActNorm(**{**dict(shift=np.zeros(2), log_scale=np.zeros(2)), **arguments})


def test_errors_of_input():
    with pytest.raises(ValueError, match=r"at least `event_ndims`, 3, axes; got"):
        make().forward(np.zeros(2))
    with pytest.raises(ValueError, match=r"must have length 2, .*; got .*1, 3\)"):
        make().inverse(np.zeros([1, 1, 1, 3]))


def test_errors_of_a_start():
    with pytest.raises(ValueError, match=r"2 values of each channel; got .*1, 2"):
        make().initialize_from_data(Y[:1, :1, :1], "inverse")
    with pytest.raises(TypeError, match="`shift` must be a `tf.Variable`"):
        ActNorm(np.zeros(2), np.zeros(2)).initialize_from_data(Y, "inverse")
