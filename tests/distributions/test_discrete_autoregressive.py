"""Tests of `tfp_flows.distributions.DiscreteAutoregressive`: likelihoods, completions."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.flows.test_discrete_autoregressive import (
    all_events,
    build,
    each_head,
    each_kind,
)
from tests.laws import close
from tfp_flows import flows
from tfp_flows.distributions._discrete_likelihoods import (
    Categorical,
    DiscretizedLogisticMixture,
)

tfd = tfp.distributions


def test_a_mixture_has_the_equation_of_its_paper():
    values, size = 6, 3
    head = DiscretizedLogisticMixture(values, size)
    parameters = np.random.default_rng(0).normal(size=[3 * size])
    w, m, s = np.split(parameters, 3)
    w = np.exp(w) / np.sum(np.exp(w))
    m = m + np.array([-2.0, 0.0, 2.0]) / 3.0
    s = np.log1p(np.exp(s)) / size + 0.01 / (values - 1)
    y = np.arange(values)
    x = 2.0 * y / (values - 1) - 1.0
    half = 1.0 / (values - 1)
    cdf = 1.0 / (1.0 + np.exp(-(x[:, np.newaxis] + half - m) / s))
    cdf[-1] = 1.0
    expected = np.log(np.diff(cdf, axis=0, prepend=0.0) @ w)
    close(head.log_prob(tf.constant(parameters), tf.constant(1.0 * y)), expected)

    # The same of TFP, in units of values.
    to_values = 0.5 * (values - 1)
    logistic = tfd.Logistic(to_values * (m + 1.0) - 0.5, to_values * s)
    rounded = tfd.QuantizedDistribution(
        logistic, tf.constant(0.0, tf.float64), tf.constant(values - 1.0, tf.float64)
    )
    peer = tfd.MixtureSameFamily(tfd.Categorical(probs=w), rounded)
    close(peer.log_prob(1.0 * y), expected)


@pytest.mark.parametrize("num_values", [2, 3, 7, 8, 256])
@pytest.mark.parametrize(
    "make_head", [Categorical, lambda n: DiscretizedLogisticMixture(n, 2)]
)
def test_quantiles_invert_the_distribution_function(make_head, num_values):
    head = make_head(num_values)
    parameters = tf.constant(
        np.random.default_rng(1).normal(size=[5, 1, head.num_parameters])
    )
    values = tf.range(num_values, dtype=tf.float64)
    cdf = np.cumsum(np.exp(head.log_prob(parameters, values)), axis=-1)
    close(cdf[:, -1], np.ones(5))
    inside = cdf[:, :-1]
    for shift, expected in [(-1e-9, values[:-1]), (1e-9, values[:-1] + 1.0)]:
        drawn = head.quantile(parameters, tf.constant(inside + shift))
        np.testing.assert_array_equal(drawn, np.broadcast_to(expected, inside.shape))
    ends = tf.constant([[0.0, 1.0 - 1e-16]] * 5, tf.float64)
    drawn = head.quantile(parameters, ends)
    np.testing.assert_array_equal(drawn, [[0.0, num_values - 1.0]] * 5)


def test_values_of_no_probability_are_not_drawn():
    logits = tf.constant([-np.inf, 0.0, -np.inf, 0.1, -np.inf], tf.float32)
    u = tf.constant([0.0, 0.3, np.nextafter(np.float32(1.0), np.float32(0.0))])
    logits = tf.broadcast_to(logits, [3, 5])
    np.testing.assert_array_equal(Categorical(5).quantile(logits, u), [1, 1, 3])


@pytest.mark.parametrize("size", [1e2, 1e4, 1e10, 1e20])
def test_far_off_parameters_give_numbers_in_float32(size):
    head = DiscretizedLogisticMixture(256, 2)
    signs = np.array(list(itertools.product([-1, 0, 1], repeat=4)), np.float32)
    weight = np.zeros_like(signs[:, :2])
    parameters = tf.constant(size * np.concatenate([weight, signs], axis=-1))
    parameters = tf.concat(
        [
            parameters,
            size * np.roll(signs[:, :1] * np.ones([1, 6], np.float32), 1, axis=-1),
        ],
        axis=0,
    )[:, tf.newaxis]
    values = tf.range(256, dtype=tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        log_prob = head.log_prob(parameters, values)
    assert np.all(np.isfinite(log_prob)) and np.all(log_prob.numpy() <= 1e-6)
    np.testing.assert_allclose(np.sum(np.exp(log_prob), axis=-1), 1.0, rtol=1e-4)
    assert np.all(np.isfinite(tape.gradient(log_prob, parameters)))
    u = tf.random.stateless_uniform(log_prob.shape, [0, 1])
    drawn = head.quantile(parameters, u)
    assert np.all((drawn >= 0.0) & (drawn <= 255.0))


def test_a_new_mixture_gives_each_component_its_own_gradient():
    parameters = tf.zeros([1, 9])
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        log_prob = DiscretizedLogisticMixture(16, 3).log_prob(
            parameters, tf.constant([4.0])
        )
    assert len(np.unique(tape.gradient(log_prob, parameters))) == 9


@each_kind
@each_head
def test_completions_have_the_probabilities_given_the_observed_elements(
    kind, num_components
):
    model = build(kind, num_components)
    shape = model.event_shape.as_list()
    observed = np.zeros(np.prod(shape), bool)
    observed[model.network.order[:2]] = True
    observed = observed.reshape(shape)
    events = all_events(model)
    x = np.where(observed, events[len(events) // 2], 99)
    number = 10_000
    drawn = model.sample_completions(x, observed, number, seed=[1, 2]).numpy()
    assert drawn.shape == (number, *shape)
    np.testing.assert_array_equal(drawn[:, observed], np.tile(x[observed], [number, 1]))
    fits = events[np.all(events[:, observed] == x[observed], axis=-1)]
    p = model.prob(fits).numpy()
    p /= np.sum(p)
    for event, expected in zip(fits, p):
        share = np.mean(np.all(drawn.reshape([number, -1]) == event.ravel(), axis=-1))
        np.testing.assert_allclose(share, expected, atol=5.0 * 0.5 / number**0.5)


def test_completions_without_and_with_all_observed():
    model = build("image")
    x = all_events(model)[[7, 30]]
    everything = model.sample_completions(x, True, seed=[0, 1])
    np.testing.assert_array_equal(everything, x)
    nothing = model.sample_completions(x, False, seed=[0, 1])
    np.testing.assert_array_equal(nothing, model.sample(2, seed=[0, 1]))


def test_completions_of_several_images_and_contexts():
    model = build("image", context_size=2)
    contexts = np.array([[1.0, 2.0], [-3.0, 1.0]])
    x = all_events(model)[[7, 30]]
    observed = np.array([[True], [False]])[..., np.newaxis]
    conditioned = flows.condition(model, contexts)
    drawn = conditioned.sample_completions(x, observed, [5, 4], [0, 1])
    assert drawn.shape == [5, 4, 2, 2, 2, 1]
    np.testing.assert_array_equal(
        drawn[..., 0, :, :], np.broadcast_to(x[:, 0], [5, 4, 2, 2, 1])
    )
    assert conditioned.sample_completions(x[0], observed, seed=[0, 1]).shape == [
        2,
        2,
        2,
        1,
    ]
    compiled = tf.function(
        lambda: conditioned.sample_completions(x, observed, [5, 4], [0, 1]),
        jit_compile=True,
    )
    np.testing.assert_array_equal(compiled(), drawn)


def test_rejects_what_it_cannot_complete():
    model = build("image")
    x = all_events(model)[0]
    lower = np.array([[False], [True]])[..., np.newaxis]
    with pytest.raises(
        ValueError, match="`observed_mask` must be true only .* got 2 true elements"
    ):
        model.sample_completions(x, lower)
