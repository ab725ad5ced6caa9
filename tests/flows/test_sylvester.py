"""Tests of `tfp_flows.flows.sylvester`."""

import contextlib
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.flows.builders import check_builder
from tfp_flows import flows
from tfp_flows.bijectors import Sylvester

tfb, tfd = tfp.bijectors, tfp.distributions


@pytest.mark.parametrize("basis", ["orthogonal", "householder", "triangular"])
def test_sylvester_passes_the_checks_of_builders(basis, tmp_path):
    def make(**kwargs):
        return flows.sylvester(3, 2, 2, basis=basis, **kwargs)

    check_builder(make, 3, tmp_path)


@pytest.mark.parametrize("scope", [contextlib.nullcontext, tf.GradientTape])
def test_each_layer_is_evaluated_once(scope):
    flow = flows.sylvester(3, 4, 2, seed=0).bijector
    base = tfd.MultivariateNormalDiag(tf.zeros(3))
    for bijector, method in [
        (flow, "_inverse_and_log_det"),
        (tfb.Invert(flow), "_forward_and_log_det"),
    ]:
        model = tfd.TransformedDistribution(base, bijector)
        counted = dict(autospec=True, side_effect=getattr(Sylvester, method))
        with mock.patch.object(Sylvester, method, **counted) as calls, scope():
            model.log_prob(tf.ones([5, 3]))
        assert calls.call_count == 4


def test_triangular_layers_alternate():
    first, second = flows.sylvester(3, 2, seed=0, basis="triangular").bijector.bijectors
    np.testing.assert_array_equal(first.q, np.eye(3)[::-1])
    np.testing.assert_array_equal(second.q, np.eye(3))


@pytest.mark.parametrize(
    "arguments, text",
    [
        (dict(num_columns=4), "at most `event_size`; got 4 and 3"),
        (dict(num_columns=0), "at least 1; got 3, 2, 0 and 8"),
        (dict(basis="qr"), r"`basis` must be one of \('orthogonal'.*got 'qr'"),
    ],
)
def test_rejects_what_it_cannot_build(arguments, text):
    with pytest.raises(ValueError, match=text):
        flows.sylvester(3, 2, seed=0, **arguments)
