"""Flows in PyTorch as calls without arguments."""

import dataclasses
import functools
import math
from collections.abc import Callable

import torch

from tests.benchmarks import peers

LEARNING_RATE = 1e-5
# Kinds and quantities that loop over all elements of a point: such a loop, laid out,
# takes PyTorch minutes to compile.
SEQUENTIAL = {("made", "inverse"), ("maf", "sample"), ("iaf", "log_prob")}


@dataclasses.dataclass
class Flow:
    """A flow, as functions.

    Args:
      module: `torch.nn.Module` with the parameters.
      functions: dictionary of functions by quantity, of a batch, or of the number of
        samples for "sample".
      loss: function of a batch or, of the number of samples where `samples` is True.
      samples: whether the loss draws samples.
      updates: whether a step updates the parameters.
    """

    module: torch.nn.Module
    functions: dict
    loss: Callable
    samples: bool = False
    updates: bool = True


def density(module, log_prob, sample):
    """Returns a `Flow` of a density, which maximum likelihood trains.

    Args:
      module: has the parameters.
      log_prob: function of a batch.
      sample: function of the number of samples.
    """
    return Flow(
        module, {"log_prob": log_prob, "sample": sample}, lambda x: -log_prob(x).mean()
    )


def layer(module, forward, inverse=None):
    """Returns a `Flow` of a layer.

    Args:
      module: has the parameters.
      forward: function of a batch, returns value and log determinant.
      inverse: the same for the inverse, or None.
    """
    functions = {"forward": forward}
    if inverse is not None:
        functions["inverse"] = inverse

    def loss(x):
        z, log_det = forward(x)
        return -(standard_normal(z) + log_det).mean()

    return Flow(module, functions, loss)


def posterior(module, draw, energy=None, **options):
    """Returns a `Flow` that is trained by its samples.

    Args:
      module: has the parameters.
      draw: function of the number of samples, returns samples and log densities.
      energy: minus the log density of the target; of a standard normal for None.
      **options: other fields of `Flow`.
    """

    def loss(n):
        x, log_prob = draw(n)
        cost = -standard_normal(x) if energy is None else energy(x)
        return (log_prob + cost).mean()

    return Flow(module, {}, loss, samples=True, **options)


def by_forward(size, forward):
    """Returns a function of the number of samples of what `forward` makes of noise."""

    def draw(n):
        z = torch.randn(n, size)
        x, log_det = forward(z)
        return x, standard_normal(z) - log_det

    return draw


def standard_normal(z):
    """Returns the log density of a standard normal, over all axes but the first."""
    z = z.flatten(1)
    return -0.5 * (z**2).sum(-1) - 0.5 * z.shape[-1] * math.log(2.0 * math.pi)


def of_pixels(log_prob, sample):
    """Returns functions of pixels in [0, 256), of functions of small numbers."""
    log_det = math.prod(peers.IMAGE) * math.log(peers.NUM_VALUES)
    return (
        lambda x: log_prob(x / peers.NUM_VALUES - 0.5) - log_det,
        lambda n: (sample(n) + 0.5) * peers.NUM_VALUES,
    )


def two_moons_energy(z):
    """Returns `U1` of Rezende and Mohamed (2015), table 1."""
    ring = 0.5 * ((z.norm(dim=-1) - 2.0) / 0.4) ** 2
    sides = [-0.5 * ((z[:, 0] + side) / 0.6) ** 2 for side in (-2.0, 2.0)]
    return ring - torch.logaddexp(*sides)


def prepared(build):
    """Makes the `calls` of a library.

    Args:
      build: function of a `peers.Model` and an example of a batch, returns a `Flow`.

    Returns:
      calls: function of a `peers.Model` and of whether PyTorch compiles, returns calls
        by quantity.
    """

    @functools.wraps(build)
    def calls(model, compiled):
        torch.set_num_threads(peers.THREADS)
        torch.manual_seed(0)
        x = _batch(model)
        flow = build(model, x)
        with torch.no_grad():
            # What starts from data does so here, before PyTorch compiles.
            flow.loss(model.batch_size if flow.samples else x)
        flow.module.eval()
        return _calls(flow, model, x, compiled)

    return calls


def _batch(model):
    if model.kind == "glow":
        return peers.NUM_VALUES * torch.rand(model.batch_size, *_channels_first(model))
    return torch.randn(model.batch_size, *_channels_first(model))


def _channels_first(model):
    return [model.shape[-1], *model.shape[:-1]]


def _calls(flow, model, x, compiled):
    def call(quantity, function):
        argument = x
        if quantity == "sample":
            argument = model.batch_size
        elif quantity == "inverse":
            with torch.no_grad():
                argument, _ = flow.functions["forward"](x)
        function = torch.compile(function) if compiled else function

        def without_gradients():
            with torch.no_grad():
                function(argument)

        return without_gradients

    calls = {
        quantity: call(quantity, function)
        for quantity, function in flow.functions.items()
        if not (compiled and (model.kind, quantity) in SEQUENTIAL)
    }
    if any(True for _ in flow.module.parameters()):
        calls["step"] = _step(flow, model.batch_size if flow.samples else x, compiled)
    return calls


def _step(flow, argument, compiled):
    loss = torch.compile(flow.loss) if compiled else flow.loss
    parameters = list(flow.module.parameters())
    if not flow.updates:
        return lambda: torch.autograd.grad(loss(argument), parameters)
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss(argument).backward()
        optimizer.step()

    return step
