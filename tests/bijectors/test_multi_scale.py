"""Facts of the multi-scale architecture that the laws do not state."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.catalogue import case
from tests.catalogue.conditioned_layers import conv_coupling, glow_step, multi_scale
from tests.laws import close, distribution_of
from tfp_flows import masks
from tfp_flows.bijectors import (
    Coupling,
    GlowStep,
    MultiScale,
    Squeeze,
    transformers,
)
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
    latent, prior_log_det = transformers.Affine().inverse_and_log_det(rest, parameters)
    latents = [latent, second.inverse(kept)]
    for found, expected in zip(layer.split_levels(X), latents):
        close(found, expected)
    log_det = first.inverse_log_det_jacobian(y, event_ndims=3)
    log_det += second.inverse_log_det_jacobian(kept, event_ndims=3)
    log_det += tf.reduce_sum(prior_log_det, axis=[1, 2, 3])
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
                gradients, autograph=False, jit_compile=mode == "compiled"
            )
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
                4, 2, 0, tf.float64, transformers.Affine(), context
            )
            for variable in coupling.trainable_variables:
                variable.assign(
                    np.linspace(-1.0, 1.0, num=variable.shape.num_elements()).reshape(
                        variable.shape
                    )
                )
            level = tfb.Chain([tfb.Invert(Squeeze()), coupling])
            layer = MultiScale([level], recompute=recompute)
            value = layer.inverse_log_det_jacobian(np.tile(X[:, :2, :2], [2, 1, 1, 1]))
        gradients.append(tape.gradient(value, encoder))
    assert np.all(np.abs(gradients[0]) > 0.0)
    close(gradients[1], gradients[0])


@pytest.mark.parametrize("recompute", [False, True])
def test_one_image_meets_a_batch_of_contexts(recompute):
    layer = multi_scale(0, tf.float64, recompute, context=np.eye(3))
    rng = np.random.default_rng(0)
    for variable in layer.trainable_variables:
        variable.assign_add(0.3 * rng.normal(size=variable.shape))
    x = tf.constant(X[0])
    for direction in ["forward", "inverse"]:
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            one = getattr(layer, direction)(x)
            log_det = getattr(layer, f"{direction}_log_det_jacobian")(x)
            many = tf.broadcast_to(x, [3, *x.shape])
            every = getattr(layer, direction)(many)
        assert log_det.shape == [3]
        close(one, every)
        close(tape.gradient(one, x), tape.gradient(every, x))


class _Probe(tf.Module):
    """Network whose gradient is alive as long as a tape keeps what it needs."""

    def __init__(self):
        super().__init__()
        self.scale, self.gradients = tf.Variable(0.5, dtype=tf.float64), []

    def __call__(self, kept):
        @tf.custom_gradient
        def identity(x):
            backward = lambda gradient: gradient
            self.gradients.append(weakref.ref(backward))
            return tf.identity(x), backward

        return tf.stack([identity(kept * self.scale), tf.sin(kept)], axis=-1)


def test_recomputing_keeps_nothing_on_eager_tapes():
    alive = []
    for recompute in [False, True]:
        probe = _Probe()
        coupling = Coupling(masks.channelwise(4), probe)
        level = tfb.Chain([tfb.Invert(Squeeze()), coupling])
        layer = MultiScale([level], recompute=recompute)
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(layer.forward(tf.constant(X)) ** 2)
        gc.collect()
        alive.append(sum(gradient() is not None for gradient in probe.gradients))
        assert tape.gradient(value, probe.scale) != 0.0
    assert alive == [1, 0]


def test_any_bijector_may_be_a_layer():
    rng = np.random.default_rng(0)
    vectors = Coupling(masks.half(4), MLP(2, [2, 2], (3,), seed=0, dtype=tf.float64))
    widths, heights = 10.0 * rng.dirichlet(np.ones(4), size=[2, 2, 4, 4])
    slopes = rng.uniform(0.5, 2.0, size=[2, 4, 4, 3])
    spline = tfb.RationalQuadraticSpline(widths, heights, slopes, range_min=-5.0)
    for variable in vectors.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    chain = tfb.Chain([tfb.Invert(Squeeze()), spline, vectors, tfb.Invert(spline)])
    x = rng.normal(size=[3, 4, 8, 1])
    for recompute in [False, True]:
        layer = MultiScale([chain], recompute=recompute)
        y = layer.forward(x).numpy()
        close(y, chain.forward(Squeeze().forward(x)))
        close(layer.inverse(y), x)
        close(
            layer.forward_log_det_jacobian(x),
            chain.forward_log_det_jacobian(Squeeze().forward(x), event_ndims=3),
        )


def test_layers_check_their_parameters():
    step = glow_step(4, 0, tf.float64, plain=True)
    conv = step.convolution.copy(validate_args=True)
    checked = GlowStep(step.actnorm, conv, step.coupling)
    layer = MultiScale([tfb.Chain([tfb.Invert(Squeeze()), checked])])
    layer.inverse(X)
    conv.weight.assign(np.ones([4, 4]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be invertible"):
        layer.inverse(X)


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
    prior = Coupling(masks.channelwise(4), network)
    layer = MultiScale([tfb.Invert(Squeeze()), tfb.Identity()], [prior])
    x = tf.constant(X)
    before = layer.forward(x)
    scale.assign(2.0)
    assert np.any(layer.forward(x) != before)


def test_errors():
    squeeze = tfb.Invert(Squeeze())
    prior = conv_coupling(4, 2, 0, tf.float64, transformers.Affine())
    with pytest.raises(
        TypeError, match="`bijectors` and `priors` must be a bijector; got 1"
    ):
        MultiScale([1])
    with pytest.raises(ValueError, match="one entry less than `bijectors`; got 0 "):
        MultiScale([squeeze, squeeze])
    nothing = Coupling([[[False] * 4]], MLP(0, [4, 2], seed=0))
    for wrong in [squeeze, nothing, Coupling(masks.channelwise(4, flip=True), len)]:
        with pytest.raises(ValueError, match="true for the first channels, at least"):
            MultiScale([squeeze, squeeze], [wrong])
    layer = MultiScale([squeeze, tfb.Identity()], [prior])
    with pytest.raises(ValueError, match=r"must be images .*; got shape \(4, 8\)"):
        layer.forward(X[0, ..., 0])
    with pytest.raises(ValueError, match="Height and width of the input must be mult"):
        layer.forward(X[:, :3])
    latents = layer.split_levels(X)
    with pytest.raises(ValueError, match="each of the 2 levels; got 1"):
        layer.merge_levels(latents[:1])
    with pytest.raises(ValueError, match="`latents` must be of sizes that fit; got"):
        layer.merge_levels([latents[0][:, :1], latents[1]])
    with pytest.raises(ValueError, match=r"must have \[2, 2\] channels, level by leve"):
        layer.merge_levels([latents[0], latents[1][..., :1]])
    fixed = layer.copy(event_shape=[4, 8, 1])
    fixed.forward(X)
    with pytest.raises(ValueError, match=r"\(4, 8, 1\), .*; got .*\(1, 8, 4, 1\)"):
        fixed.inverse(X.transpose(0, 2, 1, 3))
    function = Coupling(masks.channelwise(4), lambda kept: kept)
    with pytest.raises(
        ValueError, match="`recompute` must be False with plain functions"
    ):
        MultiScale([tfb.Chain([squeeze, function])], recompute=True)
    with pytest.raises(
        ValueError,
        match="initialized in its inverse direction, .*; got `direction='forward'`",
    ):
        layer.initialize_from_data(X, "forward")
