"""What holds for every network of images in raster order, as functions of a maker.

A maker takes `event_shape`, `num_parameters`, `seed`, `dtype` and `context_size`, all
but the first by name, and returns the network.
"""

import numpy as np
import pytest
import tensorflow as tf

from tests.laws import close
from tfp_flows.bijectors import (
    InverseAutoregressive,
    MaskedAutoregressive,
    check_autoregressive,
    transformers,
)

RNG = np.random.default_rng(0)


def scramble(network, seed=0, scale=0.7):
    """Writes to all weights what no mask has a say in."""
    rng = np.random.default_rng(seed)
    for variable in network.trainable_variables:
        inputs = np.prod(variable.shape[:-1])  # 1 for a bias
        value = rng.normal(size=variable.shape, scale=scale / np.sqrt(inputs))
        variable.assign(tf.cast(value, variable.dtype))


def images_for(network, batch_shape=(5,)):
    return np.random.default_rng(1).normal(size=[*batch_shape, *network.event_shape])


def context_for(network, batch_shape=()):
    if not network.context_size:
        return []
    return [np.random.default_rng(2).normal(size=[*batch_shape, network.context_size])]


def who_sees_whom(network, seeds=range(3), points=4):
    """Booleans `[outputs, inputs]`, from Jacobians with several sets of weights.

    In a few of them a rectifier may hide what there is to see.
    """
    x = tf.constant(images_for(network, (points,)))
    size = network.event_shape.num_elements()

    @tf.function(autograph=False)
    def jacobians():
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = network(x, *context_for(network))
        shape = [points, size, network.num_parameters, size]
        return tf.reshape(tape.batch_jacobian(y, x), shape)

    sees = np.zeros([size, size], bool)
    for seed in seeds:
        scramble(network, seed)
        sees |= np.any(jacobians() != 0.0, axis=(0, 2))
    return sees


def strictly_before(event_shape):
    place = np.arange(np.prod(event_shape))
    return place < place[:, np.newaxis]


def check_starts_at_zero(make, context_size):
    network = make(
        [3, 4, 2], num_parameters=3, dtype=tf.float32, context_size=context_size
    )
    x = images_for(network).astype(np.float32)
    context = [np.float32(c) for c in context_for(network)]
    y = network(x, *context)
    assert y.dtype == tf.float32
    np.testing.assert_array_equal(y, np.zeros([5, 3, 4, 2, 3]))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(x, *context))
    gradients = tape.gradient(loss, network.trainable_variables)
    assert None not in gradients and any(np.any(g != 0.0) for g in gradients)


def check_all_weights_matter(make):
    """The loss depends on many numbers of each variable: those that no mask hides."""
    network = make([3, 3, 2], num_parameters=2, context_size=2)
    scramble(network)
    with tf.GradientTape() as tape:
        y = network(images_for(network), *context_for(network))
        loss = tf.reduce_sum(tf.constant(RNG.normal(size=y.shape)) * y)
    gradients = tape.gradient(loss, network.trainable_variables)
    for variable, gradient in zip(network.trainable_variables, gradients):
        assert np.mean(gradient != 0.0) > 0.3, variable.name


def check_context(make):
    """All outputs see it, and it broadcasts with the images."""
    network = make([2, 3, 2], num_parameters=2, context_size=2)
    scramble(network)
    context = tf.constant(context_for(network)[0])
    with tf.GradientTape() as tape:
        tape.watch(context)
        y = network(images_for(network, ()), context)
    assert y.shape == [2, 3, 2, 2]
    assert np.all(tape.jacobian(y, context) != 0.0)
    x, contexts = images_for(network), context_for(network, (3, 1))[0]
    y = network(x, contexts)
    assert y.shape == [3, 5, 2, 3, 2, 2]
    for i in range(3):
        close(network(x, np.broadcast_to(contexts[i], [5, 2])), y[i])
    close(network(x[0], contexts), y[:, :1])


def check_batch_axes(make):
    network = make([3, 2, 1], num_parameters=2)
    scramble(network)
    x = images_for(network, (2, 3))
    y = network(x)
    assert y.shape == [2, 3, 3, 2, 1, 2]
    for i in range(2):
        for j in range(3):
            close(network(x[i, j]), y[i, j])
    assert network(x[:0]).shape == [0, 3, 3, 2, 1, 2]


def check_modes(make):
    """Graphs, compiled ones, unknown batch sizes and maps compute what eager does."""
    network = make([3, 3, 2], num_parameters=2, context_size=2, num_layers=1)
    scramble(network)
    x, context = images_for(network), context_for(network, (5,))[0]
    weights = tf.constant(RNG.normal(size=[5, 3, 3, 2, 2]))

    def both(x, context):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as tape:
                tape.watch([x, context])
                y = network(x, context)
                loss = tf.reduce_sum(y * weights)
            sources = [x, context, network.trainable_variables]
            first = tape.gradient(loss, sources)
            norm = tf.reduce_sum(first[0] ** 2)
        return y, *first[:2], *first[2], outer.gradient(norm, x)

    expected = both(tf.constant(x), tf.constant(context))
    shapes = [[None, None, 3, 3, 2], [None, 2]]
    for jit_compile in [False, True]:
        function = tf.function(both, autograph=False, jit_compile=jit_compile)
        for value, other in zip(function(x, context), expected, strict=True):
            close(value, other)
    unknown = tf.function(
        network, [tf.TensorSpec(s, tf.float64) for s in shapes], autograph=False
    )
    close(unknown(x[np.newaxis], context), expected[0][np.newaxis])
    mapped = tf.vectorized_map(lambda pair: network(*pair), (x, context))
    close(mapped, expected[0])


def check_seed(make):
    def values(seed):
        network = make([2, 2, 2], num_parameters=2, seed=seed, context_size=2)
        names = [variable.name for variable in network.variables]
        assert len(set(names)) == len(names)
        return [variable.numpy() for variable in network.variables]

    for value, same in zip(values(5), values(5)):
        np.testing.assert_array_equal(value, same)
    kernels = [(v, w) for v, w in zip(values(5), values(6)) if np.any(v)]
    assert len(kernels) > 3 and all(np.all(v != w) for v, w in kernels)
    drawn = [v.ravel() for v in values(-5) if np.any(v)]
    assert len(np.unique(np.concatenate(drawn))) == sum(map(np.size, drawn))


def check_checkpoint(make, tmp_path):
    one, other = (make([2, 2, 2], num_parameters=2, seed=seed) for seed in (1, 2))
    scramble(one)
    saved = tf.train.Checkpoint(network=one).save(f"{tmp_path}/checkpoint")
    tf.train.Checkpoint(network=other).restore(saved).assert_consumed()
    x = images_for(one)
    np.testing.assert_array_equal(one(x), other(x))


def check_conditions_flows(make, event_shape=(2, 3, 2)):
    """As conditioner of both autoregressive layers it gives an exact bijector."""
    for kind in [MaskedAutoregressive, InverseAutoregressive]:
        network = make(
            list(event_shape), num_parameters=2, context_size=2, num_layers=1
        )
        scramble(network)
        context = context_for(network, (2,))[0]
        check_autoregressive(network, images_for(network, ()), context[0])
        layer = kind(network, transformers.Affine(), context, event_ndims=3)
        x = tf.constant(images_for(network, (2,)))
        solves, passes = layer.forward, layer.inverse
        if kind is InverseAutoregressive:
            solves, passes = passes, solves
        z = tf.function(passes, autograph=False)(x)
        close(tf.function(solves, autograph=False)(tf.constant(z.numpy())), x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            z = passes(tf.identity(x))
        size = int(np.prod(event_shape))
        jacobian = np.reshape(tape.batch_jacobian(z, x), [2, size, size])
        _, expected = np.linalg.slogdet(jacobian)
        sign = 1.0 if kind is InverseAutoregressive else -1.0
        close(
            sign
            * layer.forward_log_det_jacobian(
                tf.constant((x if sign > 0.0 else z).numpy())
            ),
            expected,
        )


def check_errors(make):
    for event_shape, text in [
        ([3, 3], r"`event_shape` must have three axes, .*; got \[3, 3\]"),
        ([3, 0, 1], "`event_shape` must be an integer of at least 1"),
        ([3, None, 1], "`event_shape` must be an integer of at least 1"),
        ([3, 3, 99], "`hidden_channels` must be at least .* 99; got"),
    ]:
        with pytest.raises(ValueError, match=text):
            make(event_shape, num_parameters=2)
    with pytest.raises(ValueError, match="`num_parameters` must be .* got 0"):
        make([3, 3, 1], num_parameters=0)
    with pytest.raises(TypeError, match="`seed` must be an integer; got 0.5"):
        make([3, 3, 1], num_parameters=1, seed=0.5)
    network = make([3, 4, 2], num_parameters=1)
    with pytest.raises(ValueError, match=r"length 2; got shape \(3, 4, 1\)"):
        network(np.zeros([3, 4, 1]))
    for shape in [(4, 3, 2), (4, 2)]:
        text = rf"`event_shape`, \[3, 4, 2\]; got shape \({', '.join(map(str, shape))}"
        with pytest.raises(ValueError, match=text):
            network(np.zeros(shape))
    with pytest.raises(ValueError, match="`context` must be given .* got one, and 0"):
        network(np.zeros([3, 4, 2]), np.zeros(2))
    network = make([3, 4, 2], num_parameters=1, context_size=3)
    with pytest.raises(ValueError, match="`context` must be given .* got none, and 3"):
        network(np.zeros([3, 4, 2]))
    with pytest.raises(ValueError, match=r"`context_size`, 3; got shape \(2,\)"):
        network(np.zeros([3, 4, 2]), np.zeros(2))
    for text in ["event_shape=[3, 4, 2]", "context_size=3", "dtype=float64"]:
        assert text in repr(network)
