"""Tests of `tfp_flows.flows.condition`."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close, fresh
from tfp_flows import flows
from tfp_flows.bijectors import Radial
from tfp_flows.networks import MADE

tfb, tfd = tfp.bijectors, tfp.distributions


def conditional():
    return flows.real_nvp(3, 2, (4,), seed=0, context_size=2, dtype=tf.float64)


def test_binds_within_chain_and_invert_and_keeps_other_layers():
    flow = conditional()
    for variable in flow.trainable_variables:
        variable.assign(variable + 0.3)
    radial = Radial(np.zeros(3), 1.0, 2.0)
    whole = tfb.Invert(tfb.Chain([radial, tfb.Invert(flow.bijector)]))
    context = np.array([0.5, -1.0])
    bound = flows.condition(whole, context)
    x = np.random.default_rng(0).normal(size=[4, 3])
    inner = flows.condition(flow.bijector, context)
    expected = inner.forward(radial.inverse(x))
    close(bound.forward(x), expected)
    close(bound.inverse(fresh(expected)), x)
    assert bound.bijector.bijectors[0] is radial


def test_context_may_be_a_variable_and_has_a_gradient():
    context = tf.Variable([0.5, -1.0], dtype=tf.float64)
    flow = conditional()
    for variable in flow.trainable_variables:
        variable.assign(variable + 0.3)
    model = flows.condition(flow, context)
    x = tf.constant(np.random.default_rng(0).normal(size=[4, 3]))
    before = model.log_prob(x)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(model.log_prob(x))
    assert np.all(tape.gradient(value, context) != 0.0)
    context.assign_add([1.0, 1.0])
    assert np.all(model.log_prob(x) != before)


def test_binds_a_flow_below_another_bijector():
    flow = conditional()
    for variable in flow.trainable_variables:
        variable.assign(variable + 0.3)
    scaled = tfd.TransformedDistribution(flow, tfb.Scale(tf.constant(2.0, tf.float64)))
    context = np.array([0.5, -1.0])
    x = np.random.default_rng(0).normal(size=[4, 3])
    inner = flows.condition(flow, context).log_prob(x / 2.0)
    close(flows.condition(scaled, context).log_prob(x), inner - 3.0 * np.log(2.0))


def test_binds_a_distribution_that_takes_a_context_itself():
    network = MADE(2, 3, (4,), seed=0, context_size=2, dtype=tf.float64)
    levels = flows.discrete_autoregressive(network, 3)
    context = np.array([[0.5, -1.0], [2.0, 1.0]])
    bound = flows.condition(levels, context)
    assert bound.batch_shape == [2] and levels.batch_shape == []
    close(bound.context, context)
    with pytest.raises(ValueError, match="no layer takes a context"):
        flows.condition(tfd.Normal(0.0, 1.0), context)


def test_rejects_what_cannot_be_bound():
    with pytest.raises(ValueError, match="no layer takes a context"):
        flows.condition(flows.maf(3, 1, (4,), seed=0), tf.zeros([2]))
    with pytest.raises(ValueError, match=r"`context_size`; got shape \(3,\) and 2"):
        flows.condition(conditional(), np.zeros(3))
    with pytest.raises(TypeError, match="must be a bijector or a `tfd.Dist.* got 3"):
        flows.condition(3, np.zeros(2))
    with pytest.raises(TypeError, match="dtype of the network, float64; got float32"):
        flows.condition(conditional(), tf.zeros([2]))


@pytest.mark.parametrize(
    "context",
    [
        np.array([0, 1, 2]),
        [0, 1, 2],
        [[1, 0, 0]],
        np.eye(3, dtype=int),
        np.eye(3) > 0.5,
        tf.constant([[0, 1, 0]]),
        [[True, False, False]],
        np.uint8([[0, 1, 0]]),
    ],
    ids=str,
)
def test_labels_are_no_contexts(context):
    network = MADE(2, 4, (4,), seed=0, context_size=3)
    for flow in [
        flows.maf(2, 2, (4,), seed=0, context_size=3),
        flows.real_nvp(2, 2, (4,), seed=0, context_size=3, scan=True),
        flows.discrete_autoregressive(network, 4),
    ]:
        with pytest.raises(TypeError, match="(?s)must be floating.*one-hot"):
            flows.condition(flow, context)
        floating = np.float32(context)
        bound = flows.condition(flow, floating.tolist())
        assert bound.batch_shape == floating.shape[:-1]


LABELS = np.array([0, 2, 1, 1])
POINTS = np.random.default_rng(0).normal(size=[4, 2])


def of_classes():
    flow = flows.real_nvp(2, 2, (4,), seed=0, context_size=3, dtype=tf.float64)
    for variable in flow.trainable_variables:
        variable.assign(variable + 0.3)
    return flow


def graph(function, jit_compile):
    return tf.function(function, autograph=False, jit_compile=jit_compile)


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        LABELS[:, np.newaxis],
        LABELS.tolist(),
        np.uint8(LABELS)[:, np.newaxis],
        *(
            np.eye(3)[LABELS].astype(dtype)
            for dtype in (int, np.uint8, bool, np.float32)
        ),
        np.eye(3)[LABELS].tolist(),
    ],
    ids=lambda labels: f"{np.asarray(labels).dtype}{list(np.shape(labels))}",
)
def test_labels_and_one_hot_rows_mean_the_same(labels):
    flow = of_classes()
    expected = [
        flows.condition(flow, np.eye(3)[label]).log_prob(point)
        for label, point in zip(LABELS, POINTS)
    ]
    assert np.ptp(expected) > 0.1
    bound = flows.condition_on_class(flow, labels, 3)
    assert bound.batch_shape == [4]
    close(bound.log_prob(POINTS), expected)
    for jit_compile in (False, True):
        call = graph(
            lambda labels: flows.condition_on_class(flow, labels, 3).log_prob(POINTS),
            jit_compile,
        )
        close(call(tf.constant(labels)), expected)


def test_one_label_is_a_plain_distribution():
    flow = of_classes()
    expected = flows.condition(flow, np.eye(3)[2]).log_prob(POINTS)
    for label in (2, np.float32([0, 0, 1]), np.array([False, False, True])):
        bound = flows.condition_on_class(flow, label, 3)
        assert bound.batch_shape == []
        close(bound.log_prob(POINTS), expected)


def test_as_many_labels_as_classes_are_labels():
    bound = flows.condition_on_class(of_classes(), [0, 1, 0], 3)
    assert bound.batch_shape == [3]
    close(bound.bijector.bijectors[0].context, np.eye(3)[[0, 1, 0]])


@pytest.mark.parametrize(
    "kind, labels, text",
    [
        (ValueError, [[0, 1], [1, 2]], r"\[N\] or \[N, 1\], or .*; got shape \(2, 2\)"),
        (ValueError, np.zeros([2, 4, 1], int), r"got shape \(2, 4, 1\)"),
        (ValueError, [[1, 0, 0], [1, 1, 0]], r"must be one-hot.* Got \[\[1 1 0\]\]"),
        (ValueError, [[2, -1, 0]], "must be one-hot"),
        (ValueError, [[0.5, 0.5, 0.0]], "one-hot.*pass other contexts to `condition`"),
        (ValueError, [[False, False, False]], "must be one-hot"),
        (ValueError, [[0], [3]], r"from 0 to 2; got \[3\]"),
        (TypeError, [0.0, 1.0], r"last axis has length 3; got float32 of shape \(2,\)"),
        (TypeError, ["0", "1"], "must be integers or one-hot vectors; got string"),
    ],
)
def test_other_labels_are_an_error(kind, labels, text):
    with pytest.raises(kind, match=text):
        flows.condition_on_class(of_classes(), labels, 3)


def test_rows_that_are_not_one_hot_in_graphs():
    flow = of_classes()

    def call(labels):
        return flows.condition_on_class(flow, labels, 3).log_prob(POINTS[:2])

    labels = tf.constant([[1, 0, 0], [1, 1, 0]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be one-hot"):
        graph(call, False)(labels)
    close(np.isnan(graph(call, True)(labels)), [False, True])


def test_what_holds_a_flow_is_told_to_give_it():
    class Model:
        distribution = of_classes()

    for call in (
        lambda: flows.condition(Model(), np.eye(3)),
        lambda: flows.condition_on_class(Model(), [0], 3),
    ):
        with pytest.raises(TypeError, match="got .*Model.*. Pass its `distribution`."):
            call()
    with pytest.raises(ValueError, match="`num_classes` must be .* got 0"):
        flows.condition_on_class(of_classes(), [0], 0)


@pytest.mark.parametrize(
    "call",
    [
        lambda flow, x, c: flow.log_prob(x, c),
        lambda flow, x, c: flow.log_prob(x, context=c),
        lambda flow, x, c: flow.prob(x, np.array(c)),
        lambda flow, x, c: flow.sample(3, c),
        lambda flow, x, c: flow.sample(3, [0.5, 1.0, 2.0]),
        lambda flow, x, c: flow.sample(3, context=c),
    ],
    ids=["second", "keyword", "prob", "seed", "list", "sample"],
)
@pytest.mark.parametrize("context_size", [0, 3])
def test_a_context_along_with_points_is_an_error(call, context_size):
    context = tf.one_hot([0, 1, 2, 1], 3)
    flow = flows.maf(2, 1, (4,), seed=0, context_size=context_size)
    flow = flows.condition(flow, context) if context_size else flow
    with pytest.raises(TypeError, match=r"condition\(flow, context\)"):
        call(flow, tf.zeros([4, 2]), context)


def test_names_and_seeds_are_taken_as_those_of_tfp_are():
    flow = flows.maf(2, 1, (4,), seed=0)
    x = flow.sample(3, (0, 1), "draw")
    np.testing.assert_array_equal(x, flow.sample(3, seed=tf.constant([0, 1])))
    np.testing.assert_array_equal(flow.log_prob(x, "density"), flow.log_prob(x))
    assert flow.copy(name="other").name == "other"
