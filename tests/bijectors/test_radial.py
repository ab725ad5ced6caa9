"""Facts of `tfp_flows.bijectors.radial` beyond the laws."""

import numpy as np
import pytest
import tensorflow as tf

from tests.laws import close
from tfp_flows.bijectors import Radial
from tfp_flows.bijectors._trainable import make_trainable

X = np.random.default_rng(0).normal(size=[4, 2, 3])


@pytest.mark.parametrize("beta", [-1.9, 0.0, 0.5, 40.0])
def test_agrees_with_equation_14(beta):
    alpha, center = 2.0, np.array([0.5, -1.0, 2.0])
    r = np.linalg.norm(X - center, axis=-1, keepdims=True)
    h = 1.0 / (alpha + r)
    bijector = Radial.from_alpha_beta(center, alpha, beta)
    close(bijector.forward(X), X + beta * h * (X - center))
    across, along = 1.0 + beta * h, 1.0 + beta * h - beta * h**2 * r
    expected = np.log(across**2 * along)[..., 0]
    close(bijector.forward_log_det_jacobian(X), expected)


def test_the_symbols_of_the_paper_may_be_variables():
    alpha, beta = (
        tf.Variable(v, dtype=tf.float64, name=n)
        for n, v in [("alpha", 2.0), ("beta", 0.5)]
    )
    bijector = Radial.from_alpha_beta(np.zeros(3), alpha, beta)
    assert {v.name for v in bijector.trainable_variables} == {"alpha:0", "beta:0"}
    for variable, value in [(alpha, 3.0), (beta, -1.5)]:
        variable.assign(value)
    close(
        bijector.forward(X),
        Radial.from_alpha_beta(np.zeros(3), 3.0, -1.5).forward(X),
    )


def test_gradients_at_the_center():
    bijector = make_trainable(Radial, [3], seed=0, dtype=tf.float64)
    assert bijector.gain.shape == bijector.radius.shape == []
    for method in ["forward", "inverse"]:
        with tf.GradientTape() as tape:
            point = tf.convert_to_tensor(bijector.center)
            ldj = getattr(bijector, f"{method}_log_det_jacobian")(tf.identity(point))
            total = ldj + tf.reduce_sum(getattr(bijector, method)(tf.identity(point)))
        for gradient in tape.gradient(total, bijector.trainable_variables):
            assert gradient is not None and np.all(np.isfinite(gradient))


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "XLA"])
def test_long_points_in_graphs_are_as_in_eager_mode(jit_compile):
    """Their norms, and gradients of their factors, are sums of pieces in graphs."""
    rng = np.random.default_rng(1)
    center, radius, gain = rng.normal(size=67), np.float64(8.0), np.float64(3.0)
    variables = [tf.Variable(value) for value in (center, radius, gain)]
    bijector, points = Radial(*variables), tf.constant(rng.normal(size=[5, 67]))

    def evaluate(points):
        results = []
        for method in ["forward", "inverse"]:
            with tf.GradientTape() as tape:
                tape.watch(points)
                value = getattr(bijector, method)(points)
                log_det = getattr(bijector, f"{method}_log_det_jacobian")(points)
                total = tf.reduce_sum(tf.sin(value)) + tf.reduce_sum(log_det**2)
            results += [value, log_det, *tape.gradient(total, [points, *variables])]
        return results

    in_graph = tf.function(evaluate, jit_compile=jit_compile, autograph=False)
    for got, expected in zip(in_graph(points), evaluate(points)):
        close(got, expected, 1e-12)


@pytest.mark.parametrize("jit_compile", [None, True], ids=["eager", "XLA"])
@pytest.mark.parametrize("gain", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("radius, unit", [(1e-10, 1e10), (1.0, 1e25)])
def test_far_out_it_is_the_identity(radius, unit, gain, jit_compile):
    """So many radii from the center that float32 has no square of the distance."""
    radius, gain = np.float32(radius), np.float32(gain)
    bijector = Radial(np.zeros(3, np.float32), radius, gain)

    def evaluate(x):
        results = []
        for method in ["forward", "inverse"]:
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(x)
                value = getattr(bijector, method)(x)
                log_det = getattr(bijector, f"{method}_log_det_jacobian")(x)
            slope = unit * tape.gradient(log_det, x)
            results.append((value, log_det, tape.batch_jacobian(value, x), slope))
        return results

    if jit_compile:
        evaluate = tf.function(evaluate, jit_compile=True, autograph=False)
    far = tf.constant([[1.0, 0.0, 2.0]]) * unit
    for value, log_det, jacobian, slope in evaluate(far):
        close(value, far, 1e-6)
        close(log_det, [0.0], 1e-6)
        close(jacobian, np.eye(3)[np.newaxis], 1e-6)
        close(slope, tf.zeros_like(far), 1e-6)


def test_small_gains_keep_their_digits():
    gain = np.float32(1e-9)  # which 1 + (gain - 1) loses
    x = np.array([[0.0, 0.0], [3e-9, -4e-9], [3e-3, -4e-3]])
    exact = Radial(np.zeros(2), np.float64(1.0), np.float64(gain))
    single = Radial(np.zeros(2, np.float32), np.float32(1.0), gain)
    expected = exact.forward_log_det_jacobian(x)
    close(single.forward_log_det_jacobian(np.float32(x)), expected, 1e-6)
    close(1e9 * single.forward(np.float32(x)), 1e9 * exact.forward(x), 1e-6)


def test_gradients_of_the_inverse_where_its_branches_meet():
    bijector = Radial(np.zeros(2), np.float64(1.0), np.float64(2.0))
    y = np.array([2.0, 0.0])

    def derivative(of):
        with tf.GradientTape() as tape:
            point = tf.constant(y)
            tape.watch(point)
            value = of(point)
        h = 1e-6 * np.array([1.0, 0.0])
        difference = (of(tf.constant(y + h)) - of(tf.constant(y - h))) / 2e-6
        return tape.gradient(value, point)[0], difference

    for of in [lambda p: bijector.inverse(p)[0], bijector.inverse_log_det_jacobian]:
        actual, expected = derivative(of)
        close(actual, expected, 1e-8)


def test_rejects_two_dtypes():
    with pytest.raises(TypeError, match="one floating dtype; got .*float64.*float32"):
        Radial(np.zeros(3), np.float32(1.0), 1.0)


def test_rejects_an_input_of_another_size():
    with pytest.raises(ValueError, match=r"`center`; got .*\(4, 2, 3\) and \(5,\)"):
        Radial(np.zeros(5), 1.0, 1.0).forward(X)


def test_rejects_parameters_that_do_not_broadcast():
    with pytest.raises(ValueError, match=r"must broadcast; got .*`radius` \(3,\)"):
        Radial(np.zeros([2, 5]), np.ones(3), 1.0)


def test_rejects_an_input_whose_batch_axes_do_not_fit():
    bijector = Radial(np.zeros([3, 5]), 1.0, 1.0)
    with pytest.raises(ValueError, match=r"must broadcast .* got .*\(2,\) and \(3,\)"):
        bijector.forward(np.zeros([2, 5]))
    with pytest.raises(ValueError, match="rank of the input must be known"):
        compiled = tf.function(bijector.forward, [tf.TensorSpec(None, tf.float64)])
        compiled(np.zeros([3, 5]))


def test_a_keras_variable_stays_a_variable():
    gain = tf.keras.Variable(2.0, dtype="float64")
    bijector = Radial(np.zeros(3), 1.0, gain)
    (variable,) = bijector.trainable_variables
    gain.assign(5.0)
    assert variable is gain.value
    close(bijector.forward(X), Radial(np.zeros(3), 1.0, 5.0).forward(X))


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_rejects_a_gain_outside_of_its_support(value):
    with pytest.raises(ValueError, match=f"`gain` must be positive .*; got {value}"):
        Radial(np.zeros(3), 1.0, value)
    variable = tf.Variable(value, dtype=tf.float64)
    bijector = Radial(np.zeros(3), 1.0, variable, validate_args=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`gain` must be positive"):
        bijector.forward(X)


@pytest.mark.parametrize(
    "alpha, beta, text",
    [
        (0.0, 1.0, r"`alpha` must be above 0; got 0.0"),
        (-1.0, 2.0, r"`alpha` must be above 0; got -1.0"),
        (1.0, -1.0, r"`beta` must be above -`alpha`; got -1.0"),
    ],
)
def test_rejects_alpha_and_beta_outside_of_their_supports(alpha, beta, text):
    with pytest.raises(ValueError, match=text):
        Radial.from_alpha_beta(np.zeros(3), alpha, beta)
