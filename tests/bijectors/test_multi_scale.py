"""Facts of the multi-scale architecture that the laws do not state."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.catalogue import case
from tests.laws import close, distribution_of
from tests.network_cases import conv_coupling, multi_scale
from tfp_flows import masks
from tfp_flows.bijectors import Coupling, MultiScale, Squeeze, transformers
from tfp_flows.networks import MLP

tfb = tfp.bijectors
X = case("multi_scale/steep").x


def test_is_the_levels_one_after_the_other():
    layer = case("multi_scale/steep").make()
    y = layer.forward(X).numpy()
    first, second = layer.bijectors
    h = first.inverse(y)
    kept, rest = h[..., :1], h[..., 1:]
    prior = layer.priors[0]
    parameters = prior.conditioner(kept)
    transform = transformers.Affine()(parameters)
    latents = [transform.inverse(rest), second.inverse(kept)]
    for found, expected in zip(layer.split_levels(X), latents):
        close(found, expected)
    log_det = first.inverse_log_det_jacobian(y, event_ndims=3)
    log_det += second.inverse_log_det_jacobian(kept, event_ndims=3)
    log_det += tf.reduce_sum(
        transform.inverse_log_det_jacobian(rest, event_ndims=0), axis=[1, 2, 3])
    close(layer.inverse_log_det_jacobian(y), log_det)


def test_splits_into_levels_and_merges_them():
    layer = multi_scale(0, tf.float64)
    latents = layer.split_levels(X)
    assert [z.shape for z in latents] == [[1, 2, 4, 3], [1, 1, 2, 4]]
    close(layer.merge_levels(latents), X, 0.0)
    assert layer.forward_event_shape([8, 4, 1]) == [8, 4, 1]


@pytest.mark.parametrize("mode", ["eager", "graph", "compiled"])
@pytest.mark.parametrize("quantity", ["log_prob", "forward"])
def test_recomputing_gives_the_same_gradients(quantity, mode):
    results = []
    for recompute in [False, True]:
        layer = case("multi_scale/steep").make()
        layer = layer.copy(recompute=recompute)

        def gradients(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                if quantity == "log_prob":
                    value = distribution_of(layer, X.shape).log_prob(x)
                else:
                    value = tf.reduce_sum(tf.sin(layer.forward(x)))
                    value += tf.reduce_sum(layer.forward_log_det_jacobian(x))
            return value, tape.gradient(value, [x, *layer.trainable_variables])

        if mode != "eager":
            gradients = tf.function(
                gradients, autograph=False, jit_compile=mode == "compiled")
        results.append(tf.nest.flatten(gradients(tf.constant(X))))
    for plain, again in zip(*results):
        close(again, plain)


def test_recomputing_gives_gradients_of_contexts():
    encoder = tf.Variable(np.ones([2, 3]))
    gradients = []
    for recompute in [False, True]:
        with tf.GradientTape() as tape:
            context = tf.tanh(encoder)
            coupling = conv_coupling(
                4, 2, 0, tf.float64, transformers.Affine(), context)
            for variable in coupling.trainable_variables:
                variable.assign(np.linspace(-1.0, 1.0, num=variable.shape.num_elements(
                )).reshape(variable.shape))
            level = tfb.Chain([tfb.Invert(Squeeze()), coupling])
            layer = MultiScale([level], recompute=recompute)
            value = layer.inverse_log_det_jacobian(np.tile(X[:, :2, :2], [2, 1, 1, 1]))
        gradients.append(tape.gradient(value, encoder))
    assert np.all(np.abs(gradients[0]) > 0.0)
    close(gradients[1], gradients[0])


def test_recomputing_refuses_second_gradients():
    layer = multi_scale(0, tf.float64, recompute=True)
    x = tf.constant(X)
    with pytest.raises(NotImplementedError, match="`recompute=True` gives first"):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                value = layer.forward(x)
            gradient = inner.gradient(value, x)
        outer.gradient(gradient, x)


def test_any_number_of_channels_may_go_on():
    for kept in [1, 2, 3]:
        prior = conv_coupling(4, kept, 0, tf.float64, transformers.Affine())
        levels = [tfb.Invert(Squeeze()), tfb.Identity()]
        layer = MultiScale(levels, [prior])
        latents = layer.split_levels(X)
        assert [z.shape[-1] for z in latents] == [4 - kept, kept]
        close(layer.forward(X), X, 0.0)  # a new prior is the identity
        close(layer.merge_levels(latents), X, 0.0)


def test_plain_functions_as_networks_are_asked_anew():
    scale = tf.Variable(1.0, dtype=tf.float64)
    network = lambda kept: tf.stack([scale * kept, 0.0 * kept], axis=-1)
    prior = Coupling(masks.channel(4), network)
    layer = MultiScale([tfb.Invert(Squeeze()), tfb.Identity()], [prior])
    x = tf.constant(X)
    before = layer.forward(x)
    scale.assign(2.0)
    assert np.any(layer.forward(x) != before)


def test_errors():
    squeeze = tfb.Invert(Squeeze())
    prior = conv_coupling(4, 2, 0, tf.float64, transformers.Affine())
    with pytest.raises(TypeError, match="Each level must be a bijector; got 1"):
        MultiScale([1])
    with pytest.raises(ValueError, match="one entry less than `bijectors`; got 0 "):
        MultiScale([squeeze, squeeze])
    nothing = Coupling([[[False] * 4]], MLP(0, [4, 2], seed=0))
    for wrong in [squeeze, nothing, Coupling(masks.channel(4, flip=True), len)]:
        with pytest.raises(ValueError, match="true for the first channels, at least"):
            MultiScale([squeeze, squeeze], [wrong])
    layer = MultiScale([squeeze, tfb.Identity()], [prior])
    with pytest.raises(ValueError, match=r"\[..., H, W, C\]; got shape \(4, 8\)"):
        layer.forward(X[0, ..., 0])
    with pytest.raises(ValueError, match="Height and width of the input must be mult"):
        layer.forward(X[:, :3])
    latents = layer.split_levels(X)
    with pytest.raises(ValueError, match="each of the 2 levels; got 1"):
        layer.merge_levels(latents[:1])
    with pytest.raises(ValueError, match="`latents` must be of sizes that fit; got"):
        layer.merge_levels([latents[0][:, :1], latents[1]])
    with pytest.raises(ValueError, match="got such that come as its `x`"):
        layer.start_from_data(X, "forward")
