"""Flows of distrax, https://github.com/google-deepmind/distrax.

It brings no networks: those here are products, or convolutions, and rectifiers.
"""

import distrax
import jax
import jax.numpy as jnp

from tests.benchmarks import peers
from tests.benchmarks.peers import jax_calls


@jax_calls.prepared
def calls(model, key):
    if model.kind in _LAYERS:
        build, shapes = _LAYERS[model.kind]
        weights = _weights(key, shapes(model))

        def forward(weights, x):
            return build(weights).forward_and_log_det(x)

        def inverse(weights, y):
            return build(weights).inverse_and_log_det(y)

        return jax_calls.layer(weights, forward, inverse)
    weights = [
        _weights(each, _widths(model))
        for each in jax.random.split(key, model.num_layers)
    ]
    size = model.size
    noise = distrax.MultivariateNormalDiag(jnp.zeros(size), jnp.ones(size))

    def of(weights):
        layers = [
            _coupling(model, each, swap=bool(i % 2)) for i, each in enumerate(weights)
        ]
        return distrax.Transformed(noise, distrax.Chain(layers))

    return jax_calls.density(
        weights,
        lambda weights, x: of(weights).log_prob(x),
        lambda weights, key: of(weights).sample(
            seed=key, sample_shape=[model.batch_size]
        ),
    )


def _coupling(model, weights, swap):
    half = model.size // 2

    def conditioner(x):
        return _network(weights, x, jnp.matmul).reshape([*x.shape[:-1], half, -1])

    return distrax.SplitCoupling(half, 1, conditioner, _TRANSFORMERS[model.kind], swap)


_TRANSFORMERS = {
    "real_nvp": lambda p: distrax.ScalarAffine(p[..., 0], log_scale=p[..., 1]),
    "nice": lambda p: distrax.ScalarAffine(p[..., 0], scale=jnp.ones_like(p[..., 0])),
    "neural_spline": lambda p: distrax.RationalQuadraticSpline(
        p, -peers.SPLINE_BOUND, peers.SPLINE_BOUND, boundary_slopes="identity"
    ),
}


def _widths(model):
    parameters = {"real_nvp": 2, "nice": 1, "neural_spline": 3 * model.num_bins + 1}[
        model.kind
    ]
    half = model.size // 2
    widths = [half, *model.hidden_units, half * parameters]
    return list(zip(widths[:-1], widths[1:]))


def _weights(key, shapes):
    """Returns pairs of a kernel and a bias."""
    keys = jax.random.split(key, len(shapes))
    return [
        (
            jax.random.normal(each, shape)
            / float(jnp.prod(jnp.array(shape[:-1]))) ** 0.5,
            jnp.zeros(shape[-1:]),
        )
        for each, shape in zip(keys, shapes)
    ]


def _network(weights, x, product):
    *hidden, (kernel, bias) = weights
    for each, shift in hidden:
        x = jax.nn.relu(product(x, each) + shift)
    return product(x, kernel) + bias


def _actnorm(weights):
    ((log_scale, shift),) = weights
    return distrax.Block(distrax.ScalarAffine(shift, log_scale=log_scale[0]), 3)


def _conv1x1(weights):
    ((matrix, shift),) = weights
    matrix = jnp.eye(len(shift)) + 0.1 * matrix
    return distrax.Block(distrax.LowerUpperTriangularAffine(matrix, shift), 2)


def _glow_step(weights):
    scale, mix, *network = weights

    def convolution(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def conditioner(x):
        return _network(network, x, convolution)

    def transformer(p):
        shift, logit = jnp.split(p, 2, axis=-1)
        return distrax.ScalarAffine(shift, log_scale=jax.nn.log_sigmoid(logit + 2.0))

    coupling = distrax.SplitCoupling(mix[0].shape[0] // 2, 3, conditioner, transformer)
    return distrax.Chain([coupling, _conv1x1([mix]), _actnorm([scale])])


def _thin(model):
    channels = model.shape[-1]
    return {"actnorm": [(1, channels)], "conv1x1": [(channels, channels)]}[model.kind]


def _step_shapes(model):
    channels, hidden = model.shape[-1], peers.HIDDEN_CHANNELS
    return [
        (1, channels),
        (channels, channels),
        (3, 3, channels // 2, hidden),
        (1, 1, hidden, hidden),
        (3, 3, hidden, channels),
    ]


_LAYERS = {
    "actnorm": (_actnorm, _thin),
    "conv1x1": (_conv1x1, _thin),
    "glow_step": (_glow_step, _step_shapes),
}
