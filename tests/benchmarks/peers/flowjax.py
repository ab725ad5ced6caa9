"""Flows of flowjax, https://github.com/danielward27/flowjax."""

import equinox
import flowjax.bijections
import flowjax.distributions
import flowjax.flows
import jax
import jax.numpy as jnp
import paramax

from tests.benchmarks import peers
from tests.benchmarks.peers import jax_calls


@jax_calls.prepared
def calls(model, key):
    if model.kind == "planar_amortized":
        return _amortized(model, key)
    if model.kind in ("planar", "planar_vi", "made"):
        weights, of = _split(_bijection(model, key))
        forward = _over_points(of, "transform_and_log_det")
        if model.kind == "planar":
            return jax_calls.layer(weights, forward)
        if model.kind == "made":
            inverse = _over_points(of, "inverse_and_log_det")
            return jax_calls.layer(weights, forward, inverse)
        draw = jax_calls.by_forward(model, forward)
        return jax_calls.posterior(weights, draw, jax_calls.two_moons_energy)
    weights, of = _split(_flow(model, key))
    count = (model.batch_size,)

    def log_prob(weights, x):
        return of(weights).log_prob(x)

    if model.kind != "iaf":
        return jax_calls.density(
            weights, log_prob, lambda weights, key: of(weights).sample(key, count)
        )

    def draw(weights, key):
        return of(weights).sample_and_log_prob(key, count)

    result = jax_calls.posterior(weights, draw)
    result.functions = {"sample": draw, "log_prob": log_prob}
    return result


def _split(module):
    """Returns the weights, and a function that makes a module of weights."""
    weights, rest = equinox.partition(
        module,
        equinox.is_inexact_array,
        is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable),
    )
    return weights, lambda weights: paramax.unwrap(equinox.combine(weights, rest))


def _over_points(of, name):
    return lambda weights, x: jax.vmap(getattr(of(weights), name))(x)


def _bijection(model, key):
    if model.kind == "made":
        return flowjax.bijections.MaskedAutoregressive(
            key,
            transformer=flowjax.bijections.Affine(),
            dim=model.size,
            nn_width=model.hidden_units[0],
            nn_depth=len(model.hidden_units),
        )
    return _planar(model, key)


def _planar(model, key):
    keys = jax.random.split(key, model.num_layers)
    layers = equinox.filter_vmap(
        lambda key: flowjax.bijections.Planar(key, dim=model.size)
    )(keys)
    return flowjax.bijections.Scan(layers)


def _flow(model, key):
    noise = flowjax.distributions.Normal(jnp.zeros(model.size))
    options = dict(
        base_dist=noise,
        flow_layers=model.num_layers,
        nn_width=model.hidden_units[0],
        nn_depth=len(model.hidden_units),
    )
    if model.kind in ("maf", "iaf"):
        return flowjax.flows.masked_autoregressive_flow(
            key, invert=model.kind == "maf", **options
        )
    if model.kind == "nice":
        options["transformer"] = flowjax.bijections.Loc(jnp.zeros(()))
    if model.kind == "neural_spline":
        options["transformer"] = flowjax.bijections.RationalQuadraticSpline(
            knots=model.num_bins - 1, interval=peers.SPLINE_BOUND
        )
    return flowjax.flows.coupling_flow(key, **options)


def _amortized(model, key):
    shape = [model.num_layers, model.batch_size, 2 * model.size + 1]
    weights = 0.3 * jax.random.normal(key, shape)
    layers = _planar(model, key)

    def of_point(parameters, x):
        bijection = equinox.tree_at(
            lambda scan: scan.bijection.params, layers, parameters
        )
        return bijection.transform_and_log_det(x)

    def forward(weights, x):
        return jax.vmap(of_point, in_axes=(1, 0))(weights, x)

    result = jax_calls.posterior(
        weights, jax_calls.by_forward(model, forward), updates=False
    )
    result.functions = {"forward": forward}
    return result
