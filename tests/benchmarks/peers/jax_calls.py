"""Flows in JAX as calls without arguments."""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

LEARNING_RATE = 1e-5


@dataclasses.dataclass
class Flow:
    """A flow, as functions of its weights.

    Args:
      weights: tree of arrays.
      functions: dictionary of functions by quantity, of weights and a batch, or of
        weights and a key for "sample".
      loss: function of weights and a batch, or a key where `samples` is True.
      samples: whether the loss draws samples.
      updates: whether a step updates the weights.
    """

    weights: object
    functions: dict
    loss: Callable
    samples: bool = False
    updates: bool = True


def density(weights, log_prob, sample):
    """Returns a `Flow` of a density, which maximum likelihood trains."""
    return Flow(
        weights,
        {"log_prob": log_prob, "sample": sample},
        lambda weights, x: -log_prob(weights, x).mean(),
    )


def layer(weights, forward, inverse=None):
    """Returns a `Flow` of functions that return values and log determinants."""
    functions = {"forward": forward}
    if inverse is not None:
        functions["inverse"] = inverse

    def loss(weights, x):
        z, log_det = forward(weights, x)
        return -(standard_normal(z) + log_det).mean()

    return Flow(weights, functions, loss)


def posterior(weights, draw, energy=None, **options):
    """Returns a `Flow` that is trained by its samples.

    Args:
      weights: tree of arrays.
      draw: function of weights and a key, returns samples and log densities.
      energy: minus the log density of the target; of a standard normal for None.
      **options: other fields of `Flow`.
    """

    def loss(weights, key):
        x, log_prob = draw(weights, key)
        cost = -standard_normal(x) if energy is None else energy(x)
        return (log_prob + cost).mean()

    return Flow(weights, {}, loss, samples=True, **options)


def by_forward(model, forward):
    """Returns a function of weights and a key: what `forward` makes of noise."""

    def draw(weights, key):
        z = jax.random.normal(key, [model.batch_size, *model.shape])
        x, log_det = forward(weights, z)
        return x, standard_normal(z) - log_det

    return draw


def standard_normal(z):
    """Returns the log density of a standard normal, over all axes but the first."""
    z = z.reshape([z.shape[0], -1])
    return -0.5 * (z**2).sum(-1) - 0.5 * z.shape[-1] * math.log(2.0 * math.pi)


def two_moons_energy(z):
    """Returns `U1` of Rezende and Mohamed (2015), table 1."""
    ring = 0.5 * ((jnp.linalg.norm(z, axis=-1) - 2.0) / 0.4) ** 2
    sides = [-0.5 * ((z[:, 0] + side) / 0.6) ** 2 for side in (-2.0, 2.0)]
    return ring - jnp.logaddexp(*sides)


def prepared(build):
    """Makes the `calls` of a library.

    Args:
      build: function of a `peers.Model` and a key, returns a `Flow`.

    Returns:
      calls: function of a `peers.Model` and `compiled`, which is False: JAX compiles
        in any case; returns calls by quantity.
    """

    @functools.wraps(build)
    def calls(model, compiled):
        del compiled
        flow = build(model, jax.random.key(0))
        x = jax.random.normal(jax.random.key(1), [model.batch_size, *model.shape])
        key = jax.random.key(2)

        def call(quantity, function):
            argument = key if quantity == "sample" else x
            if quantity == "inverse":
                argument, _ = flow.functions["forward"](flow.weights, x)
            function = jax.jit(function)
            return lambda: jax.block_until_ready(function(flow.weights, argument))

        calls = {
            quantity: call(quantity, function)
            for quantity, function in flow.functions.items()
        }
        return calls | {"step": _step(flow, key if flow.samples else x)}

    return calls


def _step(flow, argument):
    if not flow.updates:
        gradient = jax.jit(jax.grad(flow.loss))
        return lambda: jax.block_until_ready(gradient(flow.weights, argument))
    optimizer = optax.adam(LEARNING_RATE)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(weights, state):
        gradients = jax.grad(flow.loss)(weights, argument)
        updates, state = optimizer.update(gradients, state, weights)
        return optax.apply_updates(weights, updates), state

    weights = jax.tree.map(jnp.copy, flow.weights)  # which the updates may overwrite
    states = [(weights, optimizer.init(weights))]

    def step():
        states[0] = jax.block_until_ready(update(*states[0]))

    return step
