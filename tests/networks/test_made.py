"""Tests of `tfp_flows.networks.made`."""

import numpy as np
import pytest
import tensorflow as tf

from tests.laws import close
from tfp_flows.networks import MADE

KINDS = {
    "left-to-right": {},
    "right-to-left": dict(order="right-to-left"),
    "permutation": dict(order=[2, 0, 3, 1]),
    "random": dict(order="random", hidden_degrees="random"),
    "residual": dict(residual=True, hidden_units=(6, 6), order="random"),
    "skip": dict(skip_connections=True, order="right-to-left"),
    "context": dict(context_size=2, order="random"),
    "narrow": dict(hidden_units=(2, 1)),
    "agnostic": dict(num_masks=4),
}
SIZE, PARAMETERS = 4, 3
X = np.random.default_rng(0).normal(size=[5, SIZE])
each_kind = pytest.mark.parametrize("kind", KINDS)


def build(kind, size=SIZE, **more):
    arguments = dict(hidden_units=(7, 8), seed=3, dtype=tf.float64, activation="tanh")
    network = MADE(size, PARAMETERS, **{**arguments, **KINDS[kind], **more})
    scramble(network)
    return network


def scramble(network, seed=0):
    """Writes to the weights what no mask has a say in."""
    rng = np.random.default_rng(seed)
    for variable in network.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))


def context_of(network, shape=()):
    if not network.context_size:
        return []
    return [np.random.default_rng(1).normal(size=[*shape, network.context_size])]


def who_sees_whom(network):
    """Booleans `[outputs, inputs]`, from the Jacobian at several points."""
    x = tf.constant(X)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = network(x, *context_of(network))
    jacobian = tape.batch_jacobian(y, x)
    return np.any(jacobian != 0.0, axis=(0, 2))


@each_kind
def test_outputs_see_the_inputs_before_them_and_no_others(kind):
    network = build(kind)
    for _ in range(4 if kind == "agnostic" else 1):
        network.next_masks()
        place = np.argsort(network.order)
        before = place < place[:, np.newaxis]
        for seed in range(3):
            scramble(network, seed)
            sees = who_sees_whom(network)
            assert not np.any(sees & ~before)
            if kind not in ("narrow", "agnostic", "random"):
                np.testing.assert_array_equal(sees, before)


@pytest.mark.parametrize(
    "more",
    [
        dict(hidden_degrees="random"),
        dict(num_masks=6),
        dict(hidden_degrees="random", context_size=2),
        dict(hidden_degrees="random", residual=True, hidden_units=(9, 9)),
        dict(hidden_degrees="random", skip_connections=True),
        dict(num_masks=6, context_size=2),
        dict(hidden_units=(9, 2)),
        dict(hidden_units=(9, 1, 6)),
        dict(hidden_degrees="random", hidden_units=(6, 1, 6)),
    ],
    ids=str,
)
def test_no_unit_is_dead(more):
    """Each one is moved by an input, or a context, and moves an output."""
    options = dict(hidden_units=(9, 9, 9), activation="tanh", dtype=tf.float64) | more
    for size in [2, 3, 6]:
        for seed in range(3):
            network = MADE(size, 2, seed=seed, **options)
            for _ in range(options.get("num_masks", 1)):
                scramble(network, seed)
                x = np.random.default_rng(seed).normal(scale=0.1, size=[20, size])
                with tf.GradientTape() as tape:
                    y = network(x, *context_of(network, [20]))
                    loss = tf.reduce_sum(y**3)
                of = dict(
                    zip(
                        [v.name.split(":")[0] for v in network.trainable_variables],
                        tape.gradient(loss, network.trainable_variables),
                    )
                )
                number = sum(name.startswith("bias") for name in of) - 1
                for i in range(number):
                    sees = np.any(of[f"kernel_{i}"], axis=0)
                    if i == 0 and network.context_size:
                        sees |= np.any(of["context_kernel"], axis=0)
                    assert np.all(sees) and np.all(of[f"bias_{i}"])
                network.next_masks()


def test_random_degrees_leave_the_first_output_its_context():
    for seed in range(10):
        network = MADE(
            2,
            1,
            (3, 3),
            seed=seed,
            hidden_degrees="random",
            context_size=1,
            dtype=tf.float64,
        )
        scramble(network)
        x, contexts = np.zeros([2, 2]), np.array([[0.0], [1.0]])
        assert np.all(network(x, contexts)[0] != network(x, contexts)[1])


def test_all_outputs_see_the_context():
    for size in [1, SIZE]:
        network = build("context", size)
        context = tf.constant(context_of(network)[0])
        with tf.GradientTape() as tape:
            tape.watch(context)
            y = network(X[0, :size], context)
        jacobian = tape.jacobian(y, context)
        assert y.shape == [size, PARAMETERS] and np.all(jacobian != 0.0)


def test_one_input_sees_nothing():
    network = build("left-to-right", size=1)
    y = network(X[:, :1])
    np.testing.assert_array_equal(y, np.broadcast_to(y[:1], y.shape))


@each_kind
def test_starts_at_zero(kind):
    network = MADE(SIZE, PARAMETERS, seed=0, **{"hidden_units": (7,), **KINDS[kind]})
    context = [np.float32(c) for c in context_of(network)]
    y = network(X.astype(np.float32), *context)
    np.testing.assert_array_equal(y, np.zeros([5, SIZE, PARAMETERS]))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(X.astype(np.float32), *context))
    gradients = tape.gradient(loss, network.trainable_variables)
    assert None not in gradients and any(np.any(g != 0.0) for g in gradients)


def test_context_broadcasts():
    network = build("context")
    contexts = np.random.default_rng(2).normal(size=[3, 1, 2])
    y = network(X, contexts)
    assert y.shape == [3, 5, SIZE, PARAMETERS]
    for i in range(3):
        close(network(X, np.broadcast_to(contexts[i], [5, 2])), y[i])


def test_known_values_of_a_small_network():
    network = MADE(
        2, 1, (1,), seed=0, activation="tanh", dtype=tf.float64, skip_connections=True
    )
    # Its variables by name: the unit sees input 0, and output 1 sees both.
    values = {
        "kernel_0": [[2.0], [9.0]],
        "bias_0": [0.5],
        "kernel_1": [[9.0, 3.0]],
        "bias_1": [0.1, 0.2],
        "kernel_2": [[9.0, 4.0], [9.0, 9.0]],
    }
    for variable in network.trainable_variables:
        variable.assign(values[variable.name.split(":")[0]])
    x = np.array([0.3, -0.7])
    expected = [[0.1], [0.2 + 3.0 * np.tanh(2.0 * 0.3 + 0.5) + 4.0 * 0.3]]
    close(network(x), expected, 1e-12)


def test_masks_are_saved(tmp_path):
    one, other = (build("agnostic", seed=seed) for seed in (1, 2))
    one.next_masks()
    saved = tf.train.Checkpoint(network=one).save(f"{tmp_path}/checkpoint")
    tf.train.Checkpoint(network=other).restore(saved).assert_consumed()
    np.testing.assert_array_equal(one.order, other.order)
    np.testing.assert_array_equal(one(X), other(X))


def test_seed_decides_orders_and_weights():
    def values(seed):
        network = MADE(8, 2, (9,), seed=seed, order="random", hidden_degrees="random")
        return [variable.numpy() for variable in network.variables]

    for value, same in zip(values(5), values(5)):
        np.testing.assert_array_equal(value, same)
    assert any(np.any(value != other) for value, other in zip(values(5), values(6)))


def test_masks_change_only_when_told():
    network = build("agnostic")
    compiled = tf.function(network)
    seen = [compiled(X).numpy()]
    orders = [tuple(network.order)]
    for _ in range(4):
        np.testing.assert_array_equal(compiled(X), seen[-1])
        network.next_masks()
        seen.append(compiled(X).numpy())
        orders.append(tuple(network.order))
    np.testing.assert_array_equal(seen[0], seen[4])
    assert len(set(orders)) > 1 and np.any(seen[0] != seen[1])
    network.resample_masks(seed=9)
    assert np.any(compiled(X) != seen[0])


def test_an_ensemble_shares_weights_and_has_fixed_masks():
    network = build("agnostic")
    members = network.ensemble()
    assert len(members) == 4
    for member in members:
        np.testing.assert_array_equal(member(X), network(X))
        network.next_masks()
    scramble(network, seed=8)
    np.testing.assert_array_equal(members[0](X), network(X))
    with pytest.raises(
        ValueError, match="`next_masks` must be called on .* itself, .* got member 2"
    ):
        members[2].next_masks()
    assert {v.ref() for v in members[1].trainable_variables} == {
        v.ref() for v in network.trainable_variables
    }


@pytest.mark.parametrize(
    "arguments, text",
    [
        (dict(order=[0, 0, 1, 2]), r"permutation of the numbers 0 to 3; got \[0, 0,"),
        (dict(order="up"), "`order` must be 'left-to-right', .* got 'up'"),
        (
            dict(hidden_degrees="even"),
            "`hidden_degrees` must be 'equal' or 'random'; got 'even'",
        ),
        (dict(hidden_units=()), "`hidden_units` must be an integer of at least 1"),
        (dict(hidden_units=(3, 4), residual=True), r"equal with .* got \(3, 4\)"),
        (dict(order=3), "permutation of the numbers 0 to 3; got 3"),
        (dict(hidden_units=0), "`hidden_units` must be .* got"),
        (dict(num_masks=0), "`num_masks` must be .* got 0"),
        (dict(activation="rolu"), "`activation` must be callable .* got 'rolu'"),
    ],
)
def test_rejects_what_it_cannot_build(arguments, text):
    with pytest.raises(ValueError, match=text):
        MADE(4, 2, seed=0, **arguments)


def test_rejects_inputs_that_do_not_fit():
    with pytest.raises(ValueError, match=r"must have length 4; got shape \(5, 3\)"):
        build("left-to-right")(X[:, :3])
    with pytest.raises(ValueError, match="`context` must be given .* got none, and 2"):
        build("context")(X)
    with pytest.raises(ValueError, match="`context` must be given .* got one, and 0"):
        build("left-to-right")(X, X)
    with pytest.raises(ValueError, match=r"length `context_size`, 2; got shape \(5, 4"):
        build("context")(X, X)
    with pytest.raises(TypeError, match="`seed` must be an integer; got 0.5"):
        MADE(4, 2, seed=0.5)
