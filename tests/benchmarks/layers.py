"""Speed of layers and the solver, as ratios within one run.

    python -m tests.benchmarks.layers [--only planar_stack,solver]

prints the tables of `README.md`. A time is the median of all rounds, with the
interquartile range in percent behind `±`; a ratio is taken in each round first.
"""

from unittest import mock

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tests.benchmarks import report, timing
from tests.benchmarks.report import compare, normal, table
from tfp_flows import bijectors
from tfp_flows.bijectors import _triangular_solve
from tfp_flows.bijectors.activations import as_activation
from tfp_flows.root_finding import solve_increasing

tfb = tfp.bijectors

SIZE = 64


def planar_stack(options):
    """A stack of 16 layers against a chain of them, and against two matrix products."""
    u, w, b = _planar_parameters(16)
    stack = bijectors.PlanarStack(u, w, b)
    layers = [bijectors.Planar(*map(tf.Variable, p)) for p in zip(u, w, b)]
    chain = tfb.Chain(layers[::-1])
    x = normal([10000, SIZE], 3)
    y = stack.forward(x)
    candidates = {
        "two products": (lambda x: x + (x @ tf.transpose(w)) @ u, x),
        "stack, forward": (_forward(stack), x),
        "chain, forward": (_forward(chain), x),
        "stack, inverse": (_inverse(stack), y),
        "chain, inverse": (_inverse(chain), y),
    }
    ratios = [
        ("chain, forward", "stack, forward", "at least 3"),
        ("stack, forward", "two products", "at most 3"),
        ("chain, inverse", "stack, inverse", ""),
        ("stack, inverse", "stack, forward", ""),
    ]
    compare(candidates, ratios, options)


def inverses(options):
    """The inverse against forward, and the share of the solver in it."""
    candidates, ratios = {}, []
    for name, layer, batch_size, aim in _single_layers():
        x = normal([batch_size, SIZE], 4)
        y = layer.forward(x)
        forward, inverse, solver = (
            f"{name}, {part}" for part in ("forward", "inverse", "solver")
        )
        candidates[forward] = _forward(layer), x
        candidates[inverse] = _inverse(layer), y
        ratios.append((inverse, forward, aim))
        if name.startswith(("planar", "Sylvester")):
            candidates[solver] = _solver_alone(layer, y)
            ratios.append((solver, inverse, ""))
    compare(candidates, ratios, options)


def solver(options):
    """Our root finder against Chandrupatla's on the planar equation."""
    accuracies = []
    candidates, ratios = {}, []
    for dtype in (tf.float32, tf.float64):
        for batch_size in (1000, 10000):
            problem = _planar_equations(dtype, batch_size)
            label = f"{dtype.name}, B = {batch_size}"
            for name, function in _ROOT_FINDERS.items():
                candidates[f"{name}, {label}"] = function, *problem
                root = timing.compiled(function)(*problem)
                accuracies.append([f"{name}, {label}", *_accuracy(root, *problem)])
            ours, public, chandrupatla = (f"{name}, {label}" for name in _ROOT_FINDERS)
            ratios.append((chandrupatla, ours, ""))
            ratios.append((chandrupatla, public, ""))
    compare(candidates, ratios, options)
    headers = ["residual in units of `eps (abs(a) + abs(c))`", "median", "largest"]
    table([*headers, "NaN"], accuracies)


SECTIONS = [planar_stack, inverses, solver]


def _planar_parameters(num_layers):
    """`u`, `w` and `b` as variables: `w'x` of a normal `x` and `w'u` are of order 1."""
    matrix = [num_layers, SIZE]
    u, w, b = normal(matrix, 0), normal(matrix, 1) / SIZE**0.5, normal(matrix[:1], 2)
    return tf.Variable(u), tf.Variable(w), tf.Variable(b)


def _single_layers():
    """Yields name, layer, number of samples, and the aim for inverse over forward."""
    planar = bijectors.Planar(*(tf.Variable(p[0]) for p in _planar_parameters(1)))
    sylvester = _sylvester(32)
    center = tf.Variable(normal([SIZE], 7))
    radial = bijectors.Radial(center, tf.Variable(1.0), tf.Variable(2.0))
    prelu = bijectors.PReLU(tf.Variable(0.5))
    yield "planar", planar, 1000, "at most 4"
    yield "planar, B = 10000", planar, 10000, ""
    yield "Sylvester", sylvester, 1000, "at most 20"
    yield "Sylvester, B = 10000", sylvester, 10000, ""
    yield "radial", radial, 1000, ""
    yield "PReLU", prelu, 1000, ""


def _sylvester(num_columns):
    """A layer with `R_tilde Q'x` of order 1 for a normal `x`."""
    square = [num_columns, num_columns]
    q = tf.Variable(bijectors.orthonormal.qr_basis(normal([SIZE, num_columns], 8)))
    r, r_tilde = (
        tf.Variable(
            bijectors.orthonormal.triangular_factor(normal(square, seed) * scale)
        )
        for seed, scale in [(9, 1.0), (10, num_columns**-0.5)]
    )
    return bijectors.Sylvester(q, r, r_tilde, tf.Variable(normal([num_columns], 11)))


def _forward(bijector):
    return lambda x: (bijector.forward(x), bijector.forward_log_det_jacobian(x))


def _inverse(bijector):
    return lambda y: (bijector.inverse(y), bijector.inverse_log_det_jacobian(y))


def _solver_alone(layer, y):
    """Returns the solver as the layer's inverse calls it, and the tensors it gets."""
    with mock.patch.object(
        _triangular_solve, "solve", wraps=_triangular_solve.solve
    ) as spy:
        layer.inverse(tf.identity(y))  # a new tensor, which no cache knows
    u, d, activation, margin = spy.call_args.args
    solve = lambda u, d, margin: _triangular_solve.solve(u, d, activation, margin)
    return solve, u, d, margin


def _planar_equations(dtype, batch_size):
    """Returns `c`, `kappa` and `1 + kappa` of equations `a + kappa tanh(a) = c`."""
    random = np.random.default_rng(12)
    least = -6.0 if dtype == tf.float32 else -14.0
    kappa = np.expm1(random.uniform(least, 5.0, batch_size))
    c = random.normal(size=batch_size) * np.exp(random.uniform(-3.0, 3.0, batch_size))
    c, kappa = tf.constant(c, dtype), tf.constant(kappa, dtype)
    return c, kappa, 1.0 + kappa


def _bracket(c, kappa, margin):
    """Returns the bracket of `Activation.solve`."""
    middle = c - kappa * tf.math.tanh(c)
    other = c + (middle - c) / margin
    low = tf.maximum(tf.minimum(c, c / margin), tf.minimum(middle, other))
    high = tf.minimum(tf.maximum(c, c / margin), tf.maximum(middle, other))
    return low, high


def _left_side(kappa, margin):
    def function(a):
        h = tf.math.tanh(a)
        return a + kappa * h, h**2 + margin * (1.0 - h**2)

    return function


def _solve_by_activation(c, kappa, margin):
    return as_activation("tanh").solve(c, kappa, margin)


def _solve_increasing(c, kappa, margin):
    low, high = _bracket(c, kappa, margin)
    return solve_increasing(_left_side(kappa, margin), c, low, high)


def _chandrupatla(c, kappa, margin):
    eps = np.finfo(c.dtype.as_numpy_dtype).eps
    low, high = _bracket(c, kappa, margin)
    # By rounding the root may be outside, and both ends have the same sign.
    room = 4.0 * eps * (tf.abs(low) + tf.abs(high))
    return tfp.math.find_root_chandrupatla(
        lambda a: a + kappa * tf.math.tanh(a) - c,
        low - room,
        high + room,
        position_tolerance=2.0 * float(eps),
        value_tolerance=0.0,
        max_iterations=100,
    ).estimated_root


_ROOT_FINDERS = {
    "`Activation.solve`": _solve_by_activation,
    "`solve_increasing`": _solve_increasing,
    "Chandrupatla": _chandrupatla,
}


def _accuracy(root, c, kappa, _):
    """Returns median and largest residual in rounding units, and the number of NaN."""
    eps = np.finfo(root.dtype.as_numpy_dtype).eps
    a, c, kappa = (tensor.numpy().astype(np.float64) for tensor in (root, c, kappa))
    residual = np.abs(a + kappa * np.tanh(a) - c) / (eps * (np.abs(a) + np.abs(c)))
    found = residual[~np.isnan(residual)]
    return f"{np.median(found):.2g}", f"{np.max(found):.3g}", len(a) - len(found)


if __name__ == "__main__":
    report.main(__doc__, SECTIONS)
