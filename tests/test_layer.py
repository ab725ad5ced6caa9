"""The base class of layers: one evaluation for value and log determinant."""

import os
import sys
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_flows
from tfp_flows import bijectors, flows
from tfp_flows._flow import Flow

tfb, tfd = tfp.bijectors, tfp.distributions

PACKAGE = os.path.dirname(os.path.abspath(tfp_flows.__file__)) + os.sep
X = np.random.default_rng(0).normal(size=[5, 3]).astype(np.float32)
BASE = tfd.Independent(tfd.Normal(tf.zeros(3), 1.0), 1)


def planar():
    u, w = np.random.default_rng(1).normal(size=[2, 3]).astype(np.float32)
    return bijectors.Planar(tf.Variable(u), tf.Variable(w), tf.Variable(0.3))


def count_calls(function):
    """Number of calls of Python functions of the package, after two warm-up calls."""
    count = 0

    def hook(frame, event, _):
        nonlocal count
        count += event == "call" and frame.f_code.co_filename.startswith(PACKAGE)

    function(), function()
    sys.setprofile(hook)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def test_calls_of_a_planar_layer():
    flow = Flow(BASE, tfb.Invert(planar()))
    assert count_calls(lambda: flow.log_prob(tf.constant(X))) <= 12


@pytest.mark.filterwarnings("ignore:A flow with `ActNorm`")
def test_calls_of_a_glow_step():
    images = np.random.default_rng(0).uniform(size=[2, 8, 8, 3]).astype(np.float32)
    few, more = (
        flows.glow([8, 8, 3], num_levels=1, num_steps=n, hidden_channels=8, seed=0)
        for n in (1, 3)
    )
    calls = [
        count_calls(lambda flow=flow: flow.log_prob(tf.constant(images)))
        for flow in (few, more)
    ]
    assert calls[1] - calls[0] <= 2 * 60 * 1.2


def test_flows_compute_what_tfp_computes():
    chain = tfb.Chain([tfb.Shift([0.1, 0.2, 0.3]), planar(), tfb.Invert(planar())])
    ours, theirs = Flow(BASE, chain), tfd.TransformedDistribution(BASE, chain)
    np.testing.assert_allclose(ours.log_prob(X), theirs.log_prob(X), rtol=1e-5)
    joint = tfd.Sample(ours, 2)
    points = np.stack([X, X], axis=1)
    np.testing.assert_allclose(
        joint.log_prob(points), 2.0 * theirs.log_prob(X), rtol=1e-5
    )


def test_a_sample_is_not_inverted_for_its_density():
    flow = Flow(BASE, tfb.Chain([planar(), planar()]))
    y = flow.sample(4, seed=(0, 1))
    with mock.patch.object(bijectors.Planar, "_inverse_and_log_det") as inverse:
        log_prob = flow.log_prob(y)
        assert inverse.call_count == 0
    np.testing.assert_allclose(log_prob, flow.log_prob(tf.identity(y)), rtol=1e-4)


def test_flows_of_tfp_bijectors_are_never_stale():
    scale = tf.Variable([1.0, 2.0, 3.0])
    flow = Flow(BASE, tfb.Chain([tfb.Scale(scale), planar()]))
    y = tf.constant(X)
    for _ in range(2):
        np.testing.assert_array_equal(flow.log_prob(y), flow.log_prob(tf.constant(X)))
        scale.assign(scale * 1.5)


def test_an_edge_that_cannot_be_found_again_is_dropped():
    layer = planar()
    kept = []
    for _ in range(3):
        kept.append(layer.forward(tf.constant(X)))
        layer.u.assign_add([0.1, 0.1, 0.1])
    assert len(layer._cache.edges) == 1

    @tf.function(autograph=False)
    def compute(x):
        return layer.forward(x), layer.inverse(x)

    compute(tf.constant(X))
    assert all(edge.graph is not None for edge in layer._cache.edges)
    kept.append(layer.forward(tf.constant(X)))
    assert [edge.graph for edge in layer._cache.edges] == [None]
