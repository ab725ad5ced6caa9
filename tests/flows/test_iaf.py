"""Tests of `tfp_flows.flows.iaf`."""

import numpy as np
import tensorflow as tf

from tests.flows.recipes import check_density_recipe
from tests.laws import close
from tfp_flows import flows
from tfp_flows.bijectors import transformers


def test_iaf_is_a_good_recipe(tmp_path):
    def make(**kwargs):
        affine = transformers.Affine()
        return flows.iaf(3, 2, (8, 8), activation="tanh", transformer=affine, **kwargs)

    check_density_recipe(make, 3, tmp_path)


def test_starts_with_the_gate_of_the_paper():
    flow = flows.iaf(3, 2, (8,), seed=0, dtype=tf.float64).bijector
    x = np.random.default_rng(0).normal(size=[5, 3])
    close(flow.forward(x), x / (1.0 + np.exp(-1.5)) ** 2)
