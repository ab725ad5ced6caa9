"""Glow."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.flows.image_builders import check_image_builder
from tests.laws import close
from tfp_flows import dequantization, flows, latent_space, normalization
from tfp_flows.bijectors import InvertibleConv1x1, InvertibleConv1x1PLU


def make(event_shape=(4, 8, 1), num_levels=2, num_steps=1, **others):
    return flows.glow(event_shape, num_levels, num_steps, 2, **others)


def test_passes_the_checks_of_image_builders(tmp_path):
    check_image_builder(make, [4, 8, 1], tmp_path, "num_steps")


def test_starts_as_noise_turned_around():
    """Actnorm and priors are the identity, convolutions rotate, couplings scale."""
    flow = make(seed=0, dtype=tf.float64, coupling="additive")
    y = np.random.default_rng(0).uniform(0.0, 256.0, size=[3, 4, 8, 1])
    noise = flow.bijector.inverse(y)
    v = y / 256.0 - 0.5
    close(tf.reduce_sum(noise**2, [1, 2, 3]), np.sum(v**2, axis=(1, 2, 3)))
    normal = tfp.distributions.Normal(np.float64(0.0), 1.0)
    close(
        flow.log_prob(y),
        tf.reduce_sum(normal.log_prob(v), [1, 2, 3]) - 32 * np.log(256.0),
    )
    affine = make(seed=0, dtype=tf.float64)
    # Two couplings, each on half of what has come so far.
    scaled = (16 + 8) * np.log(1.0 / (1.0 + np.exp(-2.0)))
    close(
        affine.bijector.inverse_log_det_jacobian(y, event_ndims=3),
        np.full(3, scaled - 32 * np.log(256.0)),
    )


def test_options():
    for kind, layer in dict(plain=InvertibleConv1x1, plu=InvertibleConv1x1PLU).items():
        flow = make(seed=0, convolution=kind)
        assert sum(isinstance(m, layer) for m in flow.submodules) == 2
    logit = make(seed=0, preprocessing="logit", num_values=32)
    y = np.random.default_rng(0).uniform(0.0, 32.0, size=[3, 4, 8, 1])
    assert np.all(np.isfinite(logit.log_prob(np.float32(y))))
    everywhere = make(seed=0, context_size=3, conditioning="all")
    at_the_top = make(seed=0, context_size=3)
    counts = [
        sum("context_kernel" in v.name for v in flow.variables)
        for flow in (everywhere, at_the_top)
    ]
    assert counts == [4, 1]
    with pytest.raises(ValueError, match="`convolution` must be .*; got 'lu'"):
        make(seed=0, convolution="lu")
    with pytest.raises(ValueError, match="`conditioning` must be .*; got 'some'"):
        make(seed=0, conditioning="some")


def test_one_image_is_scored_against_all_classes():
    flow = make(seed=0, dtype=tf.float64, context_size=3)
    rng = np.random.default_rng(0)
    for variable in flow.trainable_variables:
        variable.assign_add(0.1 * rng.normal(size=variable.shape))
    classes = flows.condition_on_class(flow, np.uint8([0, 1, 2]), 3)
    y = rng.uniform(0.0, 256.0, size=[2, 4, 8, 1])
    log_prob = classes.log_prob(y[:, np.newaxis])
    assert log_prob.shape == [2, 3]
    for i in range(2):
        close(classes.log_prob(y[i]), log_prob[i])
    with pytest.raises(ValueError, match=r"from 0 to 255; got \[256\]"):
        flows.condition_on_class(make(seed=0, context_size=256), [3, 256], 256)
    flows.condition_on_class(make(seed=0, context_size=256), np.uint8([3, 255]), 256)


@pytest.mark.parametrize(
    "shape, levels", [([2, 6, 3], 1), ([8, 8, 1], 3), ([2, 2, 5], 1), ([4, 12, 2], 2)]
)
def test_any_size_that_can_be_halved(shape, levels):
    flow = make(shape, levels, seed=0, dtype=tf.float64)
    y = np.random.default_rng(0).uniform(0.0, 256.0, size=[2, *shape])
    close(
        latent_space.decode(flow, [z.numpy() for z in latent_space.encode(flow, y)]), y
    )


def test_many_steps_keep_real_precision():
    """In float32, through 100 steps and back."""
    flow = make([8, 8, 3], 1, 100, seed=0)
    y = dequantization.dequantize(
        np.random.default_rng(0).integers(0, 256, size=[4, 8, 8, 3]), seed=0
    )
    normalization.initialize_from_data(flow, y)
    rng = np.random.default_rng(1)
    for variable in flow.trainable_variables:
        variable.assign_add(0.02 * rng.normal(size=variable.shape))
    noise = flow.bijector.inverse(y).numpy()
    error = np.max(np.abs(flow.bijector.forward(noise) - y)) / 256.0
    assert error < 1e-4


def test_a_graph_that_has_lost_the_shape_of_an_image():
    flow = make(seed=0)
    y = np.random.default_rng(0).uniform(0.0, 256.0, size=[2, 4, 8, 1])
    y = y.astype(np.float32)
    graph = tf.function(
        flow.log_prob, input_signature=[tf.TensorSpec([None] * 4, tf.float32)]
    )
    close(graph(y), flow.log_prob(y), 1e-5)


@pytest.mark.parametrize("builder", [flows.glow, flows.real_nvp_image])
def test_rejects_sizes_that_are_no_integers(builder):
    for shape in [4, None, "441", [4, 4], (4, 4, 1.0), (4, 4, True)]:
        with pytest.raises(ValueError, match="`event_shape` must be .height, width"):
            builder(shape, 1, 1, 4, seed=0)
    for size in [1.0, "1", [1], None, True]:
        steps = "num_steps" if builder is flows.glow else "num_couplings"
        for name in ["num_levels", steps, "num_values"]:
            with pytest.raises(ValueError, match=f"`{name}` must be an integer of at"):
                builder([4, 4, 1], **{"num_levels": 1, steps: 1, name: size}, seed=0)
    for size in [[3], 2.5, -1, True]:
        with pytest.raises(ValueError, match="`context_size` must be the length of a"):
            builder([4, 4, 1], 1, 1, 4, seed=0, context_size=size)
    with pytest.raises(ValueError, match="`hidden_channels` must be .* got 4.5"):
        builder([4, 4, 1], 1, 1, 4.5, seed=0)


def test_log_densities_of_large_images_keep_their_digits():
    shape = [256, 256, 3]
    images = np.random.default_rng(0).uniform(0.0, 256.0, size=[1, *shape])
    found = []
    for dtype in (np.float32, np.float64):
        flow = flows.glow(shape, 1, 1, 2, seed=0, dtype=dtype)
        log_prob = tf.function(flow.log_prob, jit_compile=True, autograph=False)
        found.append(log_prob(images.astype(dtype)).numpy())
    # Equal log slopes have equal errors of rounding, which add up.
    np.testing.assert_allclose(*found, rtol=2e-6)
