"""Facts of `tfp_flows.flows.discrete_autoregressive`."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close
from tests.networks.raster import scramble
from tfp_flows import flows
from tfp_flows.flows._level_heads import Categorical, LogisticMixture
from tfp_flows.networks import MADE, PixelCNN, PixelRNN, WaveNet

tfb, tfd = tfp.bijectors, tfp.distributions

LEVELS = 3


class Plain(tf.Module):
    """A network that tells no more than what it returns."""

    def __init__(self, network):
        super().__init__()
        self.network, self.dtype, self.calls = network, network.dtype, 0

    def __call__(self, *args):
        self.calls += 1
        return self.network(*args)


def build(kind, mixture_size=None, num_levels=LEVELS, dtype=tf.float64, **more):
    number = num_levels if mixture_size is None else 3 * mixture_size
    common = dict(seed=0, dtype=dtype, **more)
    if kind == "made":
        network = MADE(3, number, (8,), order="random", **common)
    elif kind == "image":
        network = PixelCNN([2, 2, 1], number, 6, 1, first_kernel_size=3, **common)
    else:
        network = PixelCNN([1, 2, 2], number, 6, 1, first_kernel_size=3, **common)
    scramble(network, seed=4, scale=2.0)
    return flows.discrete_autoregressive(network, num_levels, mixture_size)


def all_events(model):
    shape = model.event_shape.as_list()
    events = itertools.product(range(LEVELS), repeat=int(np.prod(shape)))
    return np.array(list(events), np.uint8).reshape([-1, *shape])


each_kind = pytest.mark.parametrize("kind", ["made", "image", "channels"])
each_head = pytest.mark.parametrize("mixture_size", [None, 2])


@each_kind
@each_head
def test_probabilities_sum_to_one_and_samples_have_them(kind, mixture_size):
    model = build(kind, mixture_size)
    events = all_events(model)
    p = model.prob(events).numpy()
    close(np.sum(p), 1.0)
    assert np.ptp(p) > 0.01
    number = 20_000
    samples = model.sample(number, seed=[1, 2])
    assert samples.dtype == model.dtype == tf.float64
    assert samples.shape == [number, *model.event_shape]
    place = LEVELS ** np.arange(model.event_shape.num_elements())[::-1]
    index = np.int64(np.reshape(samples, [number, -1])) @ place
    counts = np.bincount(index, minlength=len(events))
    error = np.sqrt(number * p * (1.0 - p))
    assert np.all(np.abs(counts - number * p) < 5.0 * error + 3.0)


@each_kind
@each_head
def test_samples_are_those_of_one_element_after_the_other(kind, mixture_size):
    model = build(kind, mixture_size)
    shape = [50, *model.event_shape]
    u = tf.random.stateless_uniform(shape, [1, 2], dtype=tf.float64, alg="philox")
    x = np.zeros(shape)
    flat = x.reshape([50, -1])
    for i in model.network.order:
        parameters = model.network(x - 1.0)
        quantile = model._head.quantile(parameters, u)
        flat[:, i] = np.reshape(quantile, [50, -1])[:, i]
    np.testing.assert_array_equal(model.sample(50, seed=[1, 2]), x)
    # Neither the walk of `MADE` nor how samples are arranged has a say in them.
    plain = flows.discrete_autoregressive(
        Plain(model.network), LEVELS, mixture_size, model.event_shape
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
    model = flows.discrete_autoregressive(network, LEVELS, 2, event_shape=shape)
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


def test_levels_have_the_softmax_of_what_the_network_says_of_those_before():
    model = build("image")
    x = np.array([[2, 0], [1, 1]], np.uint8)[..., np.newaxis]
    logits = model.network(x / 1.0 - 1.0).numpy()  # levels 0, 1, 2 as -1, 0, 1
    p = np.exp(logits) / np.sum(np.exp(logits), axis=-1, keepdims=True)
    expected = np.take_along_axis(p, x[..., np.newaxis].astype(int), axis=-1)
    close(model.log_prob(x), np.sum(np.log(expected)))


def test_a_mixture_has_the_equation_of_its_paper():
    levels, size = 6, 3
    head = LogisticMixture(levels, size)
    parameters = np.random.default_rng(0).normal(size=[3 * size])
    w, m, s = np.split(parameters, 3)
    w = np.exp(w) / np.sum(np.exp(w))
    m = m + np.array([-2.0, 0.0, 2.0]) / 3.0
    s = np.log1p(np.exp(s)) / size + 0.01 / (levels - 1)
    y = np.arange(levels)
    x = 2.0 * y / (levels - 1) - 1.0
    half = 1.0 / (levels - 1)
    cdf = 1.0 / (1.0 + np.exp(-(x[:, np.newaxis] + half - m) / s))
    cdf[-1] = 1.0
    expected = np.log(np.diff(cdf, axis=0, prepend=0.0) @ w)
    close(head.log_prob(tf.constant(parameters), tf.constant(1.0 * y)), expected)

    # The same of TFP, in units of levels.
    to_levels = 0.5 * (levels - 1)
    logistic = tfd.Logistic(to_levels * (m + 1.0) - 0.5, to_levels * s)
    rounded = tfd.QuantizedDistribution(
        logistic, tf.constant(0.0, tf.float64), tf.constant(levels - 1.0, tf.float64)
    )
    peer = tfd.MixtureSameFamily(tfd.Categorical(probs=w), rounded)
    close(peer.log_prob(1.0 * y), expected)


@pytest.mark.parametrize("num_levels", [2, 3, 7, 8, 256])
@pytest.mark.parametrize("make_head", [Categorical, lambda n: LogisticMixture(n, 2)])
def test_quantiles_invert_the_distribution_function(make_head, num_levels):
    head = make_head(num_levels)
    parameters = tf.constant(
        np.random.default_rng(1).normal(size=[5, 1, head.num_parameters])
    )
    levels = tf.range(num_levels, dtype=tf.float64)
    cdf = np.cumsum(np.exp(head.log_prob(parameters, levels)), axis=-1)
    close(cdf[:, -1], np.ones(5))
    inside = cdf[:, :-1]
    for shift, expected in [(-1e-9, levels[:-1]), (1e-9, levels[:-1] + 1.0)]:
        drawn = head.quantile(parameters, tf.constant(inside + shift))
        np.testing.assert_array_equal(drawn, np.broadcast_to(expected, inside.shape))
    ends = tf.constant([[0.0, 1.0 - 1e-16]] * 5, tf.float64)
    drawn = head.quantile(parameters, ends)
    np.testing.assert_array_equal(drawn, [[0.0, num_levels - 1.0]] * 5)


def test_levels_of_no_probability_are_not_drawn():
    logits = tf.constant([-np.inf, 0.0, -np.inf, 0.1, -np.inf], tf.float32)
    u = tf.constant([0.0, 0.3, np.nextafter(np.float32(1.0), np.float32(0.0))])
    logits = tf.broadcast_to(logits, [3, 5])
    np.testing.assert_array_equal(Categorical(5).quantile(logits, u), [1, 1, 3])


@pytest.mark.parametrize("size", [1e2, 1e4, 1e10, 1e20])
def test_far_off_parameters_give_numbers_in_float32(size):
    head = LogisticMixture(256, 2)
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
    levels = tf.range(256, dtype=tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        log_prob = head.log_prob(parameters, levels)
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
        log_prob = LogisticMixture(16, 3).log_prob(parameters, tf.constant([4.0]))
    assert len(np.unique(tape.gradient(log_prob, parameters))) == 9


@each_head
def test_levels_may_be_integers_or_numbers_that_are_whole(mixture_size):
    model = build("image", mixture_size, dtype=tf.float32)
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
def test_a_context_gives_the_batch_shape(kind, mixture_size):
    model = build(kind, mixture_size, context_size=2)
    assert model.batch_shape == []
    with pytest.raises(ValueError, match="needs a context of size 2, and has none"):
        model.sample(3)
    with pytest.raises(ValueError, match="needs a context of size 2, and has none"):
        model.log_prob(all_events(model))
    contexts = tf.Variable(np.random.default_rng(0).normal(size=[4, 2]))
    bound = flows.condition(model, contexts)
    assert bound.batch_shape == [4] and bound.copy().event_shape == model.event_shape
    events = all_events(model)
    p = bound.prob(events[:, np.newaxis])
    close(np.sum(p, axis=0), np.ones(4))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(bound.log_prob(events[:, np.newaxis]))
    assert np.all(tape.gradient(total, contexts) != 0.0)
    samples = bound.sample(300, seed=[0, 1])
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


@each_kind
@each_head
def test_completions_have_the_probabilities_given_what_is_known(kind, mixture_size):
    model = build(kind, mixture_size)
    shape = model.event_shape.as_list()
    known = np.zeros(np.prod(shape), bool)
    known[model.network.order[:2]] = True
    known = known.reshape(shape)
    events = all_events(model)
    x = np.where(known, events[len(events) // 2], 99)
    number = 10_000
    drawn = flows.complete(model, x, known, seed=[1, 2], sample_shape=number).numpy()
    assert drawn.shape == (number, *shape)
    np.testing.assert_array_equal(drawn[:, known], np.tile(x[known], [number, 1]))
    fits = events[np.all(events[:, known] == x[known], axis=-1)]
    p = model.prob(fits).numpy()
    p /= np.sum(p)
    for event, expected in zip(fits, p):
        share = np.mean(np.all(drawn.reshape([number, -1]) == event.ravel(), axis=-1))
        np.testing.assert_allclose(share, expected, atol=5.0 * 0.5 / number**0.5)


def test_completions_without_and_with_all_known():
    model = build("image")
    x = all_events(model)[[7, 30]]
    everything = flows.complete(model, x, True, seed=[0, 1])
    np.testing.assert_array_equal(everything, x)
    nothing = flows.complete(model, x, False, seed=[0, 1])
    np.testing.assert_array_equal(nothing, model.sample(2, seed=[0, 1]))


def test_completions_of_several_images_and_contexts():
    model = build("image", context_size=2)
    contexts = np.array([[1.0, 2.0], [-3.0, 1.0]])
    x = all_events(model)[[7, 30]]
    known = np.array([[True], [False]])[..., np.newaxis]
    bound = flows.condition(model, contexts)
    drawn = flows.complete(bound, x, known, [0, 1], [5, 4])
    assert drawn.shape == [5, 4, 2, 2, 2, 1]
    np.testing.assert_array_equal(
        drawn[..., 0, :, :], np.broadcast_to(x[:, 0], [5, 4, 2, 2, 1])
    )
    assert flows.complete(bound, x[0], known, [0, 1]).shape == [2, 2, 2, 1]
    compiled = tf.function(
        lambda: flows.complete(bound, x, known, [0, 1], [5, 4]), jit_compile=True
    )
    np.testing.assert_array_equal(compiled(), drawn)


def test_rejects_values_that_are_no_levels():
    model = build("image")
    x = all_events(model)[:2].astype(np.float32)
    for value in [3.0, -1.0, 0.5, np.nan]:
        wrong = x.copy()
        wrong[1, 0, 1] = value
        text = rf"`value` must hold whole numbers from 0 to 2; got {value}"
        with pytest.raises(ValueError, match=text):
            model.log_prob(wrong)
        with pytest.raises(ValueError, match=text):
            flows.complete(model, wrong, True)
        strict = tf.function(model.copy(validate_args=True).log_prob)
        with pytest.raises(tf.errors.InvalidArgumentError, match="`value` must hold"):
            strict(wrong)
    close(strict(x), model.log_prob(x))
    with pytest.raises(ValueError, match=r"from 0 to 2; got 255\.0"):
        model.log_prob(np.full([2, 2, 1], 255, np.uint8))


def test_rejects_what_it_cannot_build():
    network = MADE(3, 4, (4,), seed=0)
    build = flows.discrete_autoregressive
    with pytest.raises(ValueError, match="its levels need, 256; got 4"):
        build(network)
    with pytest.raises(ValueError, match="its levels need, 6; got 4"):
        build(network, 4, mixture_size=2)
    plain = Plain(network)
    with pytest.raises(ValueError, match="its levels need, 5; got 4"):
        build(plain, 5, event_shape=[3]).log_prob([0, 1, 2])
    with pytest.raises(ValueError, match="`event_shape` must be given .* got None"):
        build(plain, 4)
    with pytest.raises(ValueError, match=r"that of the network, \(3,\); got \(4,\)"):
        build(network, 4, event_shape=[4])
    with pytest.raises(ValueError, match="`num_levels` must be .* got 1"):
        build(network, 1)
    with pytest.raises(ValueError, match="`mixture_size` must be .* got 0"):
        build(network, 4, mixture_size=0)
    with pytest.raises(ValueError, match=r"`context` must be None .* shape \(2,\)"):
        build(network, 4, context=tf.zeros([2]))


def test_rejects_what_it_cannot_complete():
    model = build("image")
    x = all_events(model)[0]
    lower = np.array([[False], [True]])[..., np.newaxis]
    with pytest.raises(ValueError, match="`known` must be true .* got 2 true elements"):
        flows.complete(model, x, lower)
    with pytest.raises(TypeError, match="`model` must be .*; got 3"):
        flows.complete(3, x, lower)
