"""What every builder for images is held to."""

import numpy as np
import pytest
import tensorflow as tf

from tests.laws import check_log_dets, check_round_trips, close
from tfp_flows import dequantization, flows, normalization


def check_image_builder(make, event_shape, path, depth):
    """Checks start, seed, dtype, training, saving and errors of a builder.

    Args:
      make: callable that takes `seed` and other arguments of a builder.
      event_shape: shape of an image.
      path: empty folder.
      depth: name of the argument for the number of layers of a level.
    """
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=[4, *event_shape])
    y = dequantization.dequantize(images, seed=0, dtype=tf.float64)
    flow = make(seed=1, dtype=tf.float64)
    assert flow.event_shape == event_shape and flow.batch_shape == []
    assert {v.dtype for v in flow.trainable_variables} == {tf.float64}
    assert {v.dtype for v in make(seed=1).trainable_variables} == {tf.float32}
    for priors in [m.priors for m in flow.submodules if hasattr(m, "priors")]:
        for prior in priors:
            z = rng.normal(size=[2, 3, 5, prior.mask.shape[-1]])
            close(prior.inverse(z), z, 0.0)  # N(0, I) at first, exactly
    same, other = (make(seed=s, dtype=tf.float64) for s in (1, 2))
    for value, again in zip(flow.variables, same.variables):
        np.testing.assert_array_equal(value, again)
    assert any(np.any(v != w) for v, w in zip(flow.variables, other.variables))

    normalization.initialize_from_data(flow, y)
    before = np.mean(flow.log_prob(y))
    rate = 1e-2
    for _ in range(3):  # a step moves the last layers of networks, the next one all
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow.log_prob(y))
        gradients = tape.gradient(loss, flow.trainable_variables)
        for variable, gradient in zip(flow.trainable_variables, gradients):
            norm = tf.maximum(tf.norm(gradient), 1.0)
            variable.assign_sub(rate * gradient / norm)
    names = [v.name for v in flow.trainable_variables]
    unused = [n for n, g in zip(names, gradients) if not np.any(g != 0.0)]
    assert unused == []
    assert np.mean(flow.log_prob(y)) > before
    noise = rng.normal(size=[2, *event_shape])  # and pixels of nearly black
    check_round_trips(flow.bijector, noise, 1e-8, flow.bijector)
    check_log_dets(flow.bijector, noise)
    unknown = [tf.TensorSpec([None, *event_shape], tf.float64)]
    compiled = tf.function(flow.log_prob, unknown, autograph=False)
    for number in (4, 1, 0):
        close(compiled(y[:number]), flow.log_prob(y)[:number])

    saved = tf.train.Checkpoint(model=flow).save(f"{path}/checkpoint")
    tf.train.Checkpoint(model=other).restore(saved).assert_consumed()
    close(other.log_prob(y), flow.log_prob(y), 0.0)
    _check_context(make, images, y)
    for arguments, message in [
        (dict(num_values=1), "`num_values` must be at least 2; got 1"),
        (dict(coupling="linear"), "`coupling` must be one of .*; got 'linear'"),
        (dict(preprocessing="none"), "`preprocessing` must be .*; got 'none'"),
        ({depth: 0}, f"`{depth}` must be at least 1; got 0"),
        (dict(num_levels=0), "`num_levels` must be at least 1; got 0"),
        (dict(event_shape=[8, 8]), r"\[height, width, channels\], .*; got \[8, 8\]"),
        (dict(event_shape=[6, 7, 1]), r"must be multiples of \d .*; got \[6, 7, 1\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            make(seed=0, **arguments)
    with pytest.raises(TypeError, match="`seed` must be an integer; got 0.5"):
        make(seed=0.5)
    with pytest.raises(ValueError, match="must "):
        flow.log_prob(y[..., :-1] if event_shape[-1] > 1 else y[:, :-1])
    with pytest.raises(ValueError):
        flow.log_prob(y[0, ..., 0])


def _check_context(make, images, y):
    flow = make(seed=1, dtype=tf.float64, context_size=3)
    with pytest.raises(ValueError, match="needs a context of size 3, and has none"):
        flow.log_prob(y)
    rng = np.random.default_rng(1)
    for variable in flow.trainable_variables:
        variable.assign_add(0.1 * rng.normal(size=variable.shape))
    bound = flows.condition_on_class(flow, [0, 1, 2, 1], 3)
    assert bound.batch_shape == [4]
    log_prob = bound.log_prob(y)
    for i, label in enumerate([0, 1, 2, 1]):
        alone = flows.condition_on_class(flow, label, 3)
        close(alone.log_prob(y[i]), log_prob[i])
        wrong = flows.condition_on_class(flow, (label + 1) % 3, 3)
        assert abs(wrong.log_prob(y[i]) - log_prob[i]) > 1e-6
    assert bound.sample(2, seed=(0, 1)).shape == [2, *images.shape]
