"""Facts of `tfp_flows.bijectors.planar` beyond the laws."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import check_log_dets, close, fresh
from tfp_flows.bijectors import Activation, Planar, PlanarStack

tfb = tfp.bijectors
RNG = np.random.default_rng(0)
X = RNG.normal(size=[5, 3])
U, W, B = RNG.normal(size=3), RNG.normal(size=3), np.array(RNG.normal())


def softplus(v):
    return np.log1p(np.exp(v))


def u_hat_of(constraint, u, w):
    v = w @ u
    kappa = {
        "paper": softplus(v) - 1.0,
        "shifted": (1.0 - 1e-3) * (softplus(v + np.log(np.e - 1.0)) - 1.0),
        None: v,
    }[constraint]
    return u + (kappa - v) * w / (w @ w)


@pytest.mark.parametrize("constraint", ["paper", "shifted", None])
def test_agrees_with_equations_10_to_12(constraint):
    u = 0.3 * U
    u_hat = u_hat_of(constraint, u, W)
    a = X @ W + B
    bijector = Planar(u, W, B, constraint=constraint)
    close(bijector.forward(X), X + np.tanh(a)[:, None] * u_hat)
    psi = (1.0 - np.tanh(a) ** 2)[:, None] * W
    close(bijector.forward_log_det_jacobian(X), np.log(1.0 + psi @ u_hat))


def test_stays_invertible_for_any_parameters():
    # The norm in place of its square, as others have it, turns the sign of some of
    # these.
    for seed in range(200):
        rng = np.random.default_rng(seed)
        u, w = rng.normal(size=[2, 3]) * rng.uniform(1.0, 5.0, size=[2, 1])
        layer = Planar(u, w, np.array(0.0))
        log_det = layer.forward_log_det_jacobian(np.zeros(3))
        close(np.exp(log_det), 1.0 + w @ u_hat_of("shifted", u, w), 1e-12)


def test_stays_invertible_under_descent_on_its_determinant():
    layer = Planar(tf.Variable(-W), tf.Variable(W), tf.Variable(B))
    for _ in range(200):
        with tf.GradientTape() as tape:
            loss = layer.forward_log_det_jacobian(np.zeros(3))
        gradients = tape.gradient(loss, layer.trainable_variables)
        norm = tf.linalg.global_norm(gradients)  # it grows as the determinant goes to 0
        for variable, gradient in zip(layer.trainable_variables, gradients):
            variable.assign_sub(0.05 / norm * gradient)
    assert loss < -5.0
    check_log_dets(layer, X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_direction_is_the_identity(dtype):
    w, x = W.astype(dtype), X.astype(dtype)
    for normal in [w, np.zeros_like(w), 1e-30 * w]:
        layer = Planar(np.zeros_like(w), normal, dtype(0.7))
        np.testing.assert_array_equal(layer.forward(x), x)
        np.testing.assert_allclose(layer.forward_log_det_jacobian(x), 0.0, atol=1e-6)


@pytest.mark.parametrize("constraint", ["shifted", "paper"])
def test_no_normal_is_a_translation(constraint):
    layer = Planar(U, np.zeros(3), np.array(0.7), constraint=constraint)
    close(layer.forward(X), X + np.tanh(0.7) * U)
    close(layer.forward_log_det_jacobian(X), np.zeros(5))
    close(layer.inverse(fresh(layer.forward(X))), X)


def test_the_change_of_the_direction_is_bounded_near_no_normal():
    for scale in [1.0, 1e-3, 1e-6, 1e-12]:
        moved = Planar(U, scale * W, np.array(20.0)).forward(X) - X
        assert np.max(np.linalg.norm(moved - U, axis=-1)) <= 0.37 * np.linalg.norm(U)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e-3, 1e-10, 1e-12, 1e-15, 1e-25, 0.0])
def test_layers_that_fade_out_have_gradients_in_compiled_graphs(dtype, size):
    u, w = (dtype(size) * np.array(v, dtype) for v in ([0.3, 0.1], [1.0, -0.7]))
    x = np.array([[1.0, 2.0], [-0.3, 0.4]], dtype)

    def gradients(u, w):
        with tf.GradientTape() as tape:
            tape.watch([u, w])
            layer = Planar(u, w, dtype(0.1))
            total = tf.reduce_sum(layer.forward(x) ** 2)
            total += tf.reduce_sum(layer.forward_log_det_jacobian(x))
        return tape.gradient(total, [u, w])

    arguments = tf.constant(u), tf.constant(w)
    compiled = tf.function(gradients, jit_compile=True)(*arguments)
    for one, other in zip(compiled, gradients(*arguments)):
        assert np.all(np.isfinite(one)) and (size == 0.0 or np.any(one != 0.0))
        close(one, other, 1e-5)


def test_gradients_at_the_start_are_those_of_differences():
    w, h = W.astype(np.float64), 1e-6
    u = tf.Variable(np.zeros(3))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(Planar(u, w, B).forward(X)[:, 0])
    for i, actual in enumerate(tape.gradient(value, u)):
        ends = [
            np.sum(Planar(s * h * np.eye(3)[i], w, B).forward(X)[:, 0])
            for s in (1.0, -1.0)
        ]
        close(actual, (ends[0] - ends[1]) / (2 * h), 1e-7)


def test_the_log_det_keeps_its_digits_near_the_border():
    # kappa is -1 + 3e-6: in float32 `log(1 + kappa h')` is off by a per cent.
    w = np.array([1.0, 0.0])
    u = np.array([-12.8, 0.0])
    x = np.array([[0.0, 1.0], [1e-4, 0.0], [1e-3, 0.0], [0.3, 0.0]])
    exact = Planar(u, w, np.array(0.0), constraint="paper")
    exact = exact.forward_log_det_jacobian(x)
    single = Planar(*(np.float32(v) for v in (u, w, 0.0)), constraint="paper")
    actual = single.forward_log_det_jacobian(x.astype(np.float32))
    np.testing.assert_allclose(actual, exact, rtol=1e-5)


@pytest.mark.parametrize("activation", ["tanh", "leaky_relu"])
@pytest.mark.parametrize("constraint", ["shifted", "paper"])
def test_far_beyond_the_border_nothing_breaks(activation, constraint):
    rng = np.random.default_rng(3)
    w = np.float32(rng.normal(size=64, scale=2.0))
    for u in [-w, -100.0 * w, np.float32([-1e4] + [0.0] * 63)]:
        layer = Planar(u, w, np.float32(0.0), activation, constraint)
        x = np.float32(rng.normal(size=[50, 64]))
        y = layer.forward(x)
        fldj = layer.forward_log_det_jacobian(x)
        ildj = layer.inverse_log_det_jacobian(fresh(y))
        assert np.all(np.isfinite(fldj)) and np.all(np.isfinite(ildj))
        if constraint == "shifted" and u[-1] != 0.0:  # where it is well-conditioned
            close(layer.forward(fresh(layer.inverse(fresh(y)))), y, 1e-5)
            close(layer.inverse(fresh(y)), x, 1e-2)


@pytest.mark.parametrize("activation", ["tanh", "leaky_relu"])
def test_the_inverse_keeps_its_digits_for_large_kappa(activation):
    rng = np.random.default_rng(4)
    w = rng.normal(size=16, scale=2.0)
    u, x = 10.0 * w, rng.normal(size=[200, 16])
    single = Planar(*(np.float32(v) for v in (u, w, 0.0)), activation)
    y = single.forward(np.float32(x)).numpy()
    # Of what float32 keeps of `y`, the exact inverse.
    exact = Planar(*(np.float64(np.float32(v)) for v in (u, w, 0.0)), activation)
    attainable = np.max(np.abs(exact.inverse(np.float64(y)) - x))
    assert np.max(np.abs(single.inverse(y) - x)) < 8.0 * attainable + 1e-5


@pytest.mark.parametrize(
    "shape, number, scale, activation",
    [
        ([], 6, 1.0, "tanh"),
        ([4], 6, 1.0, "tanh"),
        ([], 6, 1.0, "leaky_relu"),
        ([4], 6, 1.0, "leaky_relu"),
        ([], 65, 0.3, "leaky_relu"),  # one more than are computed at once
        ([4], 65, 0.3, "leaky_relu"),
    ],
)
def test_a_stack_is_the_chain_of_its_layers(shape, number, scale, activation):
    rng = np.random.default_rng(1)
    u, w = rng.normal(size=[2, *shape, number, 3], scale=scale)
    b = rng.normal(size=[*shape, number])
    stack = PlanarStack(u, w, b, activation)
    chain = tfb.Chain(
        [
            Planar(u[..., k, :], w[..., k, :], b[..., k], activation)
            for k in reversed(range(number))
        ]
    )
    x = rng.normal(size=[2, 4, 3])
    y = chain.forward(x)
    close(stack.forward(x), y)
    close(stack.inverse(fresh(y)), x)
    close(stack.forward_log_det_jacobian(x), chain.forward_log_det_jacobian(x))
    ildj = chain.inverse_log_det_jacobian(fresh(y))
    close(stack.inverse_log_det_jacobian(fresh(y)), ildj)


def test_parameters_of_unknown_batch_size():
    rng = np.random.default_rng(2)
    u, w = rng.normal(size=[2, 4, 6, 3])
    b = rng.normal(size=[4, 6])

    @tf.function(
        input_signature=[
            *[tf.TensorSpec([None, 6, 3], tf.float64)] * 2,
            tf.TensorSpec([None, 6], tf.float64),
            tf.TensorSpec([None, None, 3], tf.float64),
        ]
    )
    def inverse_and_gradient(u, w, b, y):
        with tf.GradientTape() as tape:
            tape.watch(u)
            x = PlanarStack(u, w, b).inverse(y)
        return x, tape.gradient(x, u)

    x = rng.normal(size=[2, 4, 3])
    for i in (4, 1):  # one set of parameters serves all samples, too
        stack = PlanarStack(u[:i], w[:i], b[:i])
        y = fresh(stack.forward(x))
        with tf.GradientTape() as tape:
            tape.watch(u_ := tf.constant(u[:i]))
            x_ = PlanarStack(u_, w[:i], b[:i]).inverse(y)
        found, gradient = inverse_and_gradient(u[:i], w[:i], b[:i], y)
        close(found, x)
        close(gradient, tape.gradient(x_, u_))


@pytest.mark.parametrize(
    "u, w, b, found",
    [
        (np.zeros(3), np.zeros(2), 0.0, r"got shapes `u` \(3,\), `w` \(2,\), `b` \(\)"),
        (np.zeros([2, 3]), np.zeros(3), np.zeros(4), r"broadcast; got .*`b` \(4,\)"),
        (np.float64(0), np.zeros(3), 0.0, r"`u` must have at least 1 axes; got"),
    ],
)
def test_rejects_parameters_whose_sizes_differ(u, w, b, found):
    with pytest.raises(ValueError, match=found):
        Planar(u, w, b)


def test_rejects_a_stack_whose_sizes_differ():
    with pytest.raises(ValueError, match=r"`u` \[..., K, D\].*got shapes `u` \(2, 3\)"):
        PlanarStack(np.zeros([2, 3]), np.zeros([4, 3]), np.zeros(2))


@pytest.mark.parametrize("shape, text", [([], r"\(\) and"), ([4, 2], r"\(4, 2\) and")])
def test_rejects_an_input_of_another_size(shape, text):
    with pytest.raises(ValueError, match=rf"`w`; got shapes {text} \(3,\)"):
        Planar(U, W, B).forward(np.zeros(shape))


def test_rejects_mixed_and_integer_dtypes():
    with pytest.raises(TypeError, match="one floating dtype; got .*float64.*float32"):
        Planar(U, np.float32(W), B)
    with pytest.raises(TypeError, match="one floating dtype; got .*'u': 'int64'"):
        Planar(np.zeros(3, np.int64), np.zeros(3, np.int64), np.int64(0))


@pytest.mark.parametrize("kind", [Planar, PlanarStack])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rejects_parameters_that_are_not_finite(kind, value):
    shape = [2, 3] if kind is PlanarStack else [3]
    w, b = np.ones(shape), np.ones(shape[:-1])
    with pytest.raises(ValueError, match=f"`u` must be finite; got .*{value}"):
        kind(value * w, w, b)
    variable = tf.Variable(value * w)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`u` must be finite"):
        kind(variable, w, b, validate_args=True).forward(np.ones([2, 3]))


def test_rejects_an_activation_without_its_derivative():
    with pytest.raises(TypeError, match="with its derivative; got <function"):
        Planar(U, W, B, activation=tf.math.softplus)
    with pytest.raises(TypeError, match="`derivative` must be callable; got None"):
        Activation(tf.math.softplus, None)


def test_rejects_what_it_does_not_know():
    with pytest.raises(ValueError, match=r"'leaky_relu', 'tanh'\]; got 'selu'"):
        Planar(U, W, B, activation="selu")
    with pytest.raises(ValueError, match="\"paper\" or None; got 'softplus'"):
        Planar(U, W, B, constraint="softplus")


def test_rejects_unconstrained_parameters_outside_of_the_support():
    u = -2.0 * W / (W @ W)
    with pytest.raises(ValueError, match="product with `w` above -1"):
        Planar(u, W, B, constraint=None)
    variable = Planar(tf.Variable(u), W, B, constraint=None, validate_args=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="with `w` above -1"):
        variable.forward(X)
