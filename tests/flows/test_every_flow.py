"""What every builder of the catalogue promises."""

import numpy as np
import pytest
import tensorflow as tf

from tests.catalogue import FLOWS
from tests.catalogue.flows import moved
from tests.laws import close, fresh

each_flow = pytest.mark.parametrize("name", FLOWS)


@each_flow
def test_samples_have_the_shape_of_data(name):
    one = FLOWS[name]
    flow = one.make()
    assert flow.batch_shape == [] and flow.event_shape == one.event_shape
    sample = flow.sample(3, seed=(0, 1))
    assert sample.shape == one.data(3).shape and sample.dtype == one.data(3).dtype
    assert flow.log_prob(sample).shape == [3]


@each_flow
def test_graphs_of_unknown_batch_compute_what_eager_mode_does(name):
    one = FLOWS[name]
    flow, x = moved(one.make(dtype=tf.float64)), one.data(3, np.float64)
    signature = [tf.TensorSpec([None, *x.shape[1:]], tf.float64)]
    log_prob = tf.function(flow.log_prob, signature, autograph=False)
    for number in (3, 1, 0):
        close(log_prob(x[:number]), flow.log_prob(fresh(x))[:number])


@each_flow
def test_the_seed_decides_the_initial_values(name):
    one = FLOWS[name]
    first, same, other = (one.make(seed=seed) for seed in (1, 1, 2))
    values = [[v.numpy() for v in flow.variables] for flow in (first, same, other)]
    for a, b in zip(values[0], values[1]):
        np.testing.assert_array_equal(a, b)
    assert any(np.any(a != b) for a, b in zip(values[0], values[2]))


@each_flow
def test_a_checkpoint_restores_it(name, tmp_path):
    one = FLOWS[name]
    flow, other = moved(one.make(seed=1)), one.make(seed=2)
    saved = tf.train.Checkpoint(flow=flow).save(f"{tmp_path}/checkpoint")
    tf.train.Checkpoint(flow=other).restore(saved).assert_consumed()
    x = one.data(3)
    np.testing.assert_array_equal(other.log_prob(x), flow.log_prob(x))


@each_flow
def test_a_graph_does_not_own_variables(name):
    build = tf.function(lambda: FLOWS[name].make() and 0, autograph=False)
    with pytest.raises(RuntimeError, match="created outside of graphs"):
        build()
