"""Tests of `tfp_flows.flows.discrete_autoregressive`."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close
from tests.networks.raster import scramble
from tfp_flows import flows
from tfp_flows.networks import MADE, PixelCNN, PixelRNN, WaveNet

tfd = tfp.distributions

NUM_VALUES = 3


class Plain(tf.Module):
    """A network without declared attributes."""

    def __init__(self, network):
        super().__init__()
        self.network, self.dtype, self.calls = network, network.dtype, 0

    def __call__(self, *args):
        self.calls += 1
        return self.network(*args)


def build(kind, num_components=None, num_values=NUM_VALUES, dtype=tf.float64, **more):
    number = num_values if num_components is None else 3 * num_components
    common = dict(seed=0, dtype=dtype, **more)
    if kind == "made":
        network = MADE(3, number, (8,), order="random", **common)
    elif kind == "image":
        network = PixelCNN([2, 2, 1], number, 6, 1, first_kernel_size=3, **common)
    else:
        network = PixelCNN([1, 2, 2], number, 6, 1, first_kernel_size=3, **common)
    scramble(network, seed=4, scale=2.0)
    return flows.discrete_autoregressive(network, num_values, num_components)


def all_events(model):
    shape = model.event_shape.as_list()
    events = itertools.product(range(NUM_VALUES), repeat=int(np.prod(shape)))
    return np.array(list(events), np.uint8).reshape([-1, *shape])


each_kind = pytest.mark.parametrize("kind", ["made", "image", "channels"])
each_head = pytest.mark.parametrize("num_components", [None, 2])


@each_kind
@each_head
def test_probabilities_sum_to_one_and_samples_have_them(kind, num_components):
    model = build(kind, num_components)
    events = all_events(model)
    p = model.prob(events).numpy()
    close(np.sum(p), 1.0)
    assert np.ptp(p) > 0.01
    number = 20_000
    samples = model.sample(number, seed=[1, 2])
    assert samples.dtype == model.dtype == tf.float64
    assert samples.shape == [number, *model.event_shape]
    place = NUM_VALUES ** np.arange(model.event_shape.num_elements())[::-1]
    index = np.int64(np.reshape(samples, [number, -1])) @ place
    counts = np.bincount(index, minlength=len(events))
    error = np.sqrt(number * p * (1.0 - p))
    assert np.all(np.abs(counts - number * p) < 5.0 * error + 3.0)


@each_kind
@each_head
def test_samples_are_those_of_one_element_after_the_other(kind, num_components):
    model = build(kind, num_components)
    shape = [50, *model.event_shape]
    u = tf.random.stateless_uniform(shape, [1, 2], dtype=tf.float64, alg="philox")
    x = np.zeros(shape)
    flat = x.reshape([50, -1])
    for i in model.network.order:
        parameters = model.network(x - 1.0)
        quantile = model._likelihood.quantile(parameters, u)
        flat[:, i] = np.reshape(quantile, [50, -1])[:, i]
    np.testing.assert_array_equal(model.sample(50, seed=[1, 2]), x)
    # Samples depend neither on how `MADE` is inverted nor on how they are arranged.
    plain = flows.discrete_autoregressive(
        Plain(model.network), NUM_VALUES, num_components, model.event_shape
    )
    same = plain.sample([10, 5], seed=[1, 2])
    np.testing.assert_array_equal(np.reshape(same, shape), x)


@pytest.mark.parametrize(
    "make",
    [
        lambda number: PixelRNN([3, 2, 1], number, 4, 1, kind="row", seed=0),
        lambda number: PixelRNN([2, 2, 1], number, 4, 1, kind="diagonal", seed=0),
        lambda number: WaveNet(number, 4, 4, (1, 2), seed=0),
    ],
    ids=["row", "diagonal", "wave"],
)
def test_other_networks_have_samples_that_agree_with_their_densities(make):
    network = make(6)
    for seed, variable in enumerate(network.trainable_variables):
        inputs = max(1, np.prod(variable.shape[:-1]))
        variable.assign(
            tf.random.stateless_normal(variable.shape, [seed, 9], stddev=inputs**-0.5)
        )
    shape = getattr(network, "event_shape", None) or [5]
    model = flows.discrete_autoregressive(network, NUM_VALUES, 2, event_shape=shape)
    events = all_events(model)
    p = model.prob(events).numpy()
    np.testing.assert_allclose(np.sum(p), 1.0, rtol=1e-5)
    samples = np.reshape(model.sample(5000, seed=[1, 2]), [5000, -1])
    flat = events.reshape([len(events), -1])
    for f in [lambda x: x == 0, lambda x: x[:, 1:] == x[:, :-1]]:
        expected = p @ f(flat)
        np.testing.assert_allclose(np.mean(f(samples), axis=0), expected, atol=0.03)


def test_sampling_stops_when_nothing_changes():
    network = PixelCNN([8, 8, 1], 4, 4, 1, seed=0)  # of zeros: pixels are independent
    plain = Plain(network)
    flows.discrete_autoregressive(plain, 4, event_shape=[8, 8, 1]).sample(
        3, seed=[0, 1]
    )
    assert plain.calls == 2


def test_values_have_the_softmax_of_the_predicted_logits():
    model = build("image")
    x = np.array([[2, 0], [1, 1]], np.uint8)[..., np.newaxis]
    logits = model.network(x / 1.0 - 1.0).numpy()  # values 0, 1, 2 as -1, 0, 1
    p = np.exp(logits) / np.sum(np.exp(logits), axis=-1, keepdims=True)
    expected = np.take_along_axis(p, x[..., np.newaxis].astype(int), axis=-1)
    close(model.log_prob(x), np.sum(np.log(expected)))


@each_head
def test_values_may_be_integers_or_numbers_that_are_whole(num_components):
    model = build("image", num_components, dtype=tf.float32)
    x = all_events(model)[::7]
    expected = model.log_prob(x)
    assert expected.dtype == tf.float32
    for dtype in [np.int32, np.int64, np.float32, np.float64]:
        close(model.log_prob(x.astype(dtype)), expected, 1e-6)
        close(model.log_prob(tf.constant(x.astype(dtype))), expected, 1e-6)
    close(model.log_prob(tf.constant(x)), expected, 1e-6)
    close(model.log_prob(x[3].tolist()), expected[3], 1e-6)
    assert np.all(np.isfinite(model.log_prob(model.sample(5, seed=[0, 0]))))


@each_kind
def test_graphs_and_compiled_ones_do_what_eager_does(kind):
    model = build(kind)
    x = all_events(model)[::5]
    samples = model.sample(20, seed=[3, 4])
    np.testing.assert_array_equal(samples, model.sample(20, seed=[3, 4]))
    more = [model.sample(300, seed=[3, i]).numpy() for i in (5, 6)]
    assert np.any(more[0] != more[1])
    assert model.sample(seed=[3, 4]).shape == model.event_shape
    for jit_compile in [False, True]:
        compiled = tf.function(jit_compile=jit_compile, autograph=False)
        drawn = compiled(lambda seed: model.sample(20, seed=seed))([3, 4])
        np.testing.assert_array_equal(drawn, samples)
        close(compiled(model.log_prob)(x), model.log_prob(x))
    unknown = [tf.TensorSpec([None, *model.event_shape], tf.uint8)]
    close(tf.function(model.log_prob, unknown, autograph=False)(x), model.log_prob(x))


@each_kind
@each_head
def test_a_context_gives_the_batch_shape(kind, num_components):
    model = build(kind, num_components, context_size=2)
    assert model.batch_shape == []
    with pytest.raises(ValueError, match="needs a context of size 2, and has none"):
        model.sample(3)
    with pytest.raises(ValueError, match="needs a context of size 2, and has none"):
        model.log_prob(all_events(model))
    contexts = tf.Variable(np.random.default_rng(0).normal(size=[4, 2]))
    conditioned = flows.condition(model, contexts)
    assert (
        conditioned.batch_shape == [4]
        and conditioned.copy().event_shape == model.event_shape
    )
    events = all_events(model)
    p = conditioned.prob(events[:, np.newaxis])
    close(np.sum(p, axis=0), np.ones(4))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(conditioned.log_prob(events[:, np.newaxis]))
    assert np.all(tape.gradient(total, contexts) != 0.0)
    samples = conditioned.sample(300, seed=[0, 1])
    assert samples.shape == [300, 4, *model.event_shape]
    for i in range(4):
        alone = flows.condition(model, contexts[i])
        assert alone.batch_shape == []
        close(alone.prob(events), p[:, i])
        share = np.mean(np.reshape(samples[:, i], [300, -1]) == 0, axis=0)
        flat = np.reshape(events, [len(events), -1])
        expected = np.sum(p.numpy()[:, i, np.newaxis] * (flat == 0), axis=0)
        np.testing.assert_allclose(share, expected, atol=0.15)


def test_is_a_distribution_of_tfp():
    model = build("image")
    assert len(model.trainable_variables) == len(model.network.trainable_variables)
    joint = tfd.JointDistributionNamed(
        dict(shift=tfd.Normal(tf.zeros([], tf.float64), 1.0), image=model)
    )
    draws = joint.sample(4, seed=[0, 1])
    close(
        joint.log_prob(draws),
        model.log_prob(draws["image"])
        + tfd.Normal(tf.zeros([], tf.float64), 1.0).log_prob(draws["shift"]),
    )
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model.log_prob(model.sample(5, seed=[0, 1])))
    gradients = tape.gradient(loss, model.trainable_variables)
    assert None not in gradients


def test_rejects_values_that_are_out_of_range():
    model = build("image")
    x = all_events(model)[:2].astype(np.float32)
    for value in [3.0, -1.0, 0.5, np.nan]:
        wrong = x.copy()
        wrong[1, 0, 1] = value
        text = rf"`value` must hold integers from 0 to 2; got {value}"
        with pytest.raises(ValueError, match=text):
            model.log_prob(wrong)
        with pytest.raises(ValueError, match=text):
            model.sample_completions(wrong, True)
        strict = tf.function(model.copy(validate_args=True).log_prob)
        with pytest.raises(tf.errors.InvalidArgumentError, match="`value` must hold"):
            strict(wrong)
    close(strict(x), model.log_prob(x))
    with pytest.raises(ValueError, match=r"from 0 to 2; got 255\.0"):
        model.log_prob(np.full([2, 2, 1], 255, np.uint8))


def test_rejects_what_it_cannot_build():
    network = MADE(3, 4, (4,), seed=0)
    build = flows.discrete_autoregressive
    with pytest.raises(ValueError, match="its distribution needs, 256; got 4"):
        build(network)
    with pytest.raises(ValueError, match="its distribution needs, 6; got 4"):
        build(network, 4, num_components=2)
    plain = Plain(network)
    with pytest.raises(ValueError, match="its distribution needs, 5; got 4"):
        build(plain, 5, event_shape=[3]).log_prob([0, 1, 2])
    with pytest.raises(ValueError, match="`event_shape` must be given .* got None"):
        build(plain, 4)
    with pytest.raises(ValueError, match=r"that of the network, \(3,\); got \(4,\)"):
        build(network, 4, event_shape=[4])
    with pytest.raises(ValueError, match="`num_values` must be .* got 1"):
        build(network, 1)
    with pytest.raises(ValueError, match="`num_components` must be .* got 0"):
        build(network, 4, num_components=0)
    with pytest.raises(ValueError, match=r"`context` must be None .* shape \(2,\)"):
        build(network, 4, context=tf.zeros([2]))
