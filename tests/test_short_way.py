"""Budgets of Python calls: what depends on structure is found when objects are made."""

import os
import sys

import numpy as np
import pytest
import tensorflow as tf

import tfp_flows
from tfp_flows import bijectors, flows, networks

PACKAGE = os.path.dirname(os.path.abspath(tfp_flows.__file__)) + os.sep
X = np.random.default_rng(0).normal(size=[32, 4]).astype(np.float32)


def count_calls(function):
    """Number of calls of Python functions of the package."""
    count = 0

    def hook(frame, event, _):
        nonlocal count
        count += event == "call" and frame.f_code.co_filename.startswith(PACKAGE)

    sys.setprofile(hook)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def maf(num_layers):
    flow = flows.maf(4, num_layers, (16, 16), seed=0)
    return lambda: flow.log_prob(tf.constant(X))


def coupling():
    network = networks.MLP(2, [2, 2], (16, 16), seed=0)
    layer = bijectors.Coupling([True, True, False, False], network)
    return lambda: layer.inverse_and_log_det(tf.constant(X))


@pytest.mark.parametrize(
    "make, budget",
    [(lambda: maf(1), 60), (lambda: maf(5), 280), (coupling, 40)],
    ids=["maf, 1 layer", "maf, 5 layers", "coupling"],
)
def test_calls_of_an_evaluation(make, budget):
    evaluate = make()
    evaluate()  # what is found on first use is not counted
    assert count_calls(evaluate) <= budget
