"""The papers' formulas by hand in JAX, with inverses, which libraries lack."""

import functools

import jax
import jax.numpy as jnp

from tests.benchmarks.peers import jax_calls, primitives

NUM_NEWTON_STEPS = 60


def calls(model, compiled):
    """See `jax_calls.prepared`."""
    if model.kind == "primitives":
        return primitives.jax_calls()
    return _calls(model, compiled)


@jax_calls.prepared
def _calls(model, key):
    build = _STACKS.get(model.kind, _planar_weights)
    if model.kind in _LAYERS:
        make, forward, inverse = _LAYERS[model.kind]
        return jax_calls.layer(make(model, key), forward, inverse)
    weights = build(model, key)
    layer = _radial if model.kind == "radial" else _planar
    forward = functools.partial(_stack, layer)
    if model.kind == "planar_vi":
        draw = jax_calls.by_forward(model, forward)
        return jax_calls.posterior(weights, draw, jax_calls.two_moons_energy)
    if model.kind == "planar_amortized":
        result = jax_calls.posterior(
            weights, jax_calls.by_forward(model, forward), updates=False
        )
        result.functions = {"forward": forward}
        return result
    backward = _radial_inverse if model.kind == "radial" else _planar_inverse
    inverse = functools.partial(_stack, backward, reverse=True)
    return jax_calls.layer(weights, forward, inverse)


def _stack(layer, weights, x, reverse=False):
    """Applies layers one after the other, laid out, which XLA fuses better."""
    log_det = 0.0
    numbers = range(len(weights[0]))
    for i in reversed(numbers) if reverse else numbers:
        x, change = layer(x, *(each[i] for each in weights))
        log_det = log_det + change
    return x, log_det


def _planar_weights(model, key):
    batch = [model.num_layers]
    if model.kind == "planar_amortized":
        batch.append(model.batch_size)
    vectors = jax.random.normal(key, [2, *batch, model.size]) / model.size**0.5
    return [*vectors, 0.1 * jnp.ones(batch)]


def _planar(z, u, w, b):
    """Equation 10 of Rezende and Mohamed (2015), with appendix A.1."""
    u, kappa = _constrained(u, w)
    h = jnp.tanh(_inner(w, z) + b)
    return z + u * h[..., None], jnp.log1p((1.0 - h**2) * kappa)


def _planar_inverse(y, u, w, b):
    u, kappa = _constrained(u, w)
    a = _solve(_inner(w, y) + b, kappa)
    h = jnp.tanh(a)
    return y - u * h[..., None], -jnp.log1p((1.0 - h**2) * kappa)


def _constrained(u, w):
    inner, norm2 = _inner(w, u), _inner(w, w)
    kappa = jax.nn.softplus(inner) - 1.0
    return u + ((kappa - inner) / norm2)[..., None] * w, kappa


def _solve(c, kappa):
    """Returns `a` of `a + kappa tanh(a) = c` by Newton's method within a bracket."""
    bounds = jnp.minimum(c, c - kappa), jnp.maximum(c, c - kappa)
    others = jnp.minimum(c, c + kappa), jnp.maximum(c, c + kappa)
    low, high = jnp.minimum(bounds[0], others[0]), jnp.maximum(bounds[1], others[1])

    def unfinished(state):
        a, low, high, change, i = state
        large = jnp.abs(change) > 4e-7 * (1.0 + jnp.abs(a))
        return jnp.logical_and(i < NUM_NEWTON_STEPS, jnp.any(large))

    def step(state):
        a, low, high, _, i = state
        h = jnp.tanh(a)
        residual = a + kappa * h - c
        low = jnp.where(residual < 0.0, a, low)
        high = jnp.where(residual < 0.0, high, a)
        new = a - residual / (1.0 + kappa * (1.0 - h**2))
        inside = jnp.logical_and(new >= low, new <= high)
        new = jnp.where(inside, new, 0.5 * (low + high))
        return new, low, high, new - a, i + 1

    start = (jnp.clip(c - kappa * jnp.tanh(c), low, high), low, high, c * jnp.inf, 0)
    a, *_ = jax.lax.while_loop(unfinished, step, start)
    return a


def _radial_weights(model, key):
    keys = jax.random.split(key)
    center = jax.random.normal(keys[0], [model.num_layers, model.size])
    return [center, *jax.random.normal(keys[1], [2, model.num_layers])]


def _radial(z, center, alpha, beta):
    """Equation 14 of Rezende and Mohamed (2015), with appendix A.2."""
    alpha, beta = jax.nn.softplus(alpha), jax.nn.softplus(beta)
    beta = beta - alpha
    offset = z - center
    r = jnp.linalg.norm(offset, axis=-1)
    ratio, log_det = _radial_ratio(r, alpha, beta, z.shape[-1])
    return center + offset * ratio[..., None], log_det


def _radial_inverse(y, center, alpha, beta):
    alpha, beta = jax.nn.softplus(alpha), jax.nn.softplus(beta)
    beta = beta - alpha
    offset = y - center
    norm = jnp.linalg.norm(offset, axis=-1)
    b = alpha + beta - norm
    root = jnp.sqrt(b**2 + 4.0 * alpha * norm)
    r = jnp.where(b > 0.0, 2.0 * alpha * norm / (b + root), 0.5 * (root - b))
    ratio, log_det = _radial_ratio(r, alpha, beta, y.shape[-1])
    return center + offset / ratio[..., None], -log_det


def _radial_ratio(r, alpha, beta, size):
    h = 1.0 / (alpha + r)
    log_det = (size - 1) * jnp.log1p(beta * h) + jnp.log1p(beta * h - beta * r * h**2)
    return 1.0 + beta * h, log_det


def _sylvester_weights(model, key):
    columns = model.num_columns
    keys = jax.random.split(key, 3)
    q, _ = jnp.linalg.qr(jax.random.normal(keys[0], [model.size, columns]))
    r, r_tilde = jax.random.normal(keys[1], [2, columns, columns]) / columns**0.5
    return q, r, r_tilde, jax.random.normal(keys[2], [columns])


def _sylvester(weights, z):
    """Equation 13 of van den Berg et al. (2018), on diagonals within (-1, 1)."""
    q, r, r_tilde, b = _factors(weights)
    h = jnp.tanh(z @ (q @ r_tilde.T) + b)
    return z + h @ (q @ r).T, _sylvester_log_det(h, r, r_tilde)


def _sylvester_inverse(weights, y):
    """Solves for the last column first: the product of the factors is triangular."""
    q, r, r_tilde, b = _factors(weights)
    product = r_tilde @ r
    c = y @ (q @ r_tilde.T) + b

    def column(i, h):
        i = len(b) - 1 - i
        rest = c[:, i] - h @ product[i]  # of the columns behind it: the others are 0
        return h.at[:, i].set(jnp.tanh(_solve(rest, product[i, i])))

    h = jax.lax.fori_loop(0, len(b), column, jnp.zeros_like(c))
    return y - h @ (q @ r).T, -_sylvester_log_det(h, r, r_tilde)


def _factors(weights):
    q, r, r_tilde, b = weights
    r, r_tilde = (
        jnp.triu(each, 1) + jnp.diag(jnp.tanh(jnp.diag(each))) for each in (r, r_tilde)
    )
    return jax.lax.stop_gradient(q), r, r_tilde, b


def _sylvester_log_det(h, r, r_tilde):
    return jnp.log1p((1.0 - h**2) * (jnp.diag(r) * jnp.diag(r_tilde))).sum(-1)


def _prelu(sign, weights, x):
    """Equation 1 of He et al. (2015)."""
    log_slope = sign * weights
    y = jnp.where(x < 0.0, x * jnp.exp(log_slope), x)
    return y, jnp.where(x < 0.0, log_slope, 0.0).sum(-1)


def _actnorm_weights(model, key):
    return 0.1 * jax.random.normal(key, [2, model.shape[-1]])


def _actnorm(weights, x):
    """Table 1 of Kingma and Dhariwal (2018), on channels last."""
    shift, log_scale = weights
    return x * jnp.exp(log_scale) + shift, _of_images(x, log_scale)


def _actnorm_inverse(weights, y):
    shift, log_scale = weights
    return (y - shift) * jnp.exp(-log_scale), -_of_images(y, log_scale)


def _conv1x1_weights(model, key):
    channels = model.shape[-1]
    q, _ = jnp.linalg.qr(jax.random.normal(key, [channels, channels]))
    permutation, lower, upper = jax.scipy.linalg.lu(q)
    diagonal = jnp.diag(upper)
    fixed = permutation, jnp.sign(diagonal)
    return lower, jnp.triu(upper, 1), jnp.log(jnp.abs(diagonal)), *fixed


def _conv1x1(weights, x):
    """Equation 10 of Kingma and Dhariwal (2018), on channels last."""
    permutation, lower, upper = _plu(weights)
    return x @ (permutation @ lower @ upper).T, _of_images(x, weights[2])


def _conv1x1_inverse(weights, y):
    permutation, lower, upper = _plu(weights)
    solve = jax.scipy.linalg.solve_triangular
    matrix = solve(upper, solve(lower, permutation.T, lower=True, unit_diagonal=True))
    return y @ matrix.T, -_of_images(y, weights[2])


def _plu(weights):
    lower, upper, log_diagonal, *fixed = weights
    permutation, sign = map(jax.lax.stop_gradient, fixed)
    lower = jnp.tril(lower, -1) + jnp.eye(len(lower))
    upper = jnp.triu(upper, 1) + jnp.diag(sign * jnp.exp(log_diagonal))
    return permutation, lower, upper


def _of_images(x, log_scale):
    height, width = x.shape[1:3]
    return jnp.full(x.shape[:1], height * width * log_scale.sum())


def _inner(w, z):
    return z @ w if w.ndim == 1 else (w * z).sum(-1)


_STACKS = {"radial": _radial_weights}
_LAYERS = {
    "sylvester": (_sylvester_weights, _sylvester, _sylvester_inverse),
    "prelu": (
        lambda model, key: jnp.array(-0.7),
        functools.partial(_prelu, 1.0),
        functools.partial(_prelu, -1.0),
    ),
    "actnorm": (_actnorm_weights, _actnorm, _actnorm_inverse),
    "conv1x1": (_conv1x1_weights, _conv1x1, _conv1x1_inverse),
}
