"""Amortized posteriors in PyTorch, layer by layer, by the formulas of their papers.

Constraints are applied within each layer; products are batched over examples. Bjorck's
iteration runs for all layers at once, up to 100 times, and checks its residual.
"""

import torch
from torch.nn import functional

from tests.benchmarks import peers
from tests.benchmarks.peers import (
    NUM_COLUMNS,
    NUM_REFLECTIONS,
    SIZE,
    formulas,
)

HIDDEN_UNITS = peers.POSTERIOR_HIDDEN_UNITS
BATCH_SIZE = 100


def calls(model, compiled):
    """Returns calls of "sample" and "step".

    Args:
      model: `peers.Model`.
      compiled: whether PyTorch compiles them.
    """
    torch.set_num_threads(peers.THREADS)
    torch.manual_seed(0)
    kind = model.kind.removeprefix("posterior_")
    sample, step = _calls_of(_Posterior(kind, model.num_layers), compiled)
    return {"sample": sample, "step": step}


def _calls_of(posterior, compiled):
    def divergence():
        z, log_prob = posterior()
        return (log_prob + 0.5 * (z**2).sum(-1)).mean()

    draw, loss = posterior, divergence
    if compiled:
        draw, loss = torch.compile(draw), torch.compile(loss)
    parameters = list(posterior.parameters())

    def sample():
        with torch.no_grad():
            draw()

    def step():
        torch.autograd.grad(loss(), parameters)

    return sample, step


class _Posterior(torch.nn.Module):
    """A normal for each example, transformed by `number` layers of a kind."""

    def __init__(self, kind, number):
        super().__init__()
        self.kind = kind
        self.loc, self.scale = (
            torch.nn.Parameter(0.3 * torch.randn(BATCH_SIZE, SIZE)) for _ in range(2)
        )
        if kind == "iaf":
            self.networks = torch.nn.ModuleList(_Made() for _ in range(number))
            shapes = [[BATCH_SIZE, SIZE]]
        else:
            shapes = [[number, BATCH_SIZE, *shape] for shape in _SHAPES[kind]]
        self.values = torch.nn.ParameterList(
            0.3 * torch.randn(shape) for shape in shapes
        )

    def forward(self):
        noise = torch.randn(BATCH_SIZE, SIZE)
        scale = functional.softplus(self.scale)
        z = self.loc + scale * noise
        log_prob = -(0.5 * noise**2 + torch.log(scale)).sum(-1)
        for layer in self._layers():
            z, log_det = layer(z)
            log_prob = log_prob - log_det
        return z, log_prob

    def _layers(self):
        """Yields functions of a batch, which return value and log determinant."""
        if self.kind == "iaf":
            for network in self.networks:
                yield lambda z, network=network: network(z, self.values[0])
            return
        layer = dict(planar=formulas.planar, radial=formulas.radial).get(
            self.kind, formulas.sylvester
        )
        for values in zip(*_prepared(self.kind, list(self.values))):
            yield lambda z, values=values: layer(z, *values)


_COLUMNS = [NUM_COLUMNS, NUM_COLUMNS]
_SHAPES = {
    "planar": [[SIZE], [SIZE], []],
    "radial": [[SIZE], [], []],
    "orthogonal": [[SIZE, NUM_COLUMNS], _COLUMNS, _COLUMNS, [NUM_COLUMNS]],
    "householder": [[NUM_REFLECTIONS, SIZE], _COLUMNS, _COLUMNS, [NUM_COLUMNS]],
    "triangular": [_COLUMNS, _COLUMNS, [NUM_COLUMNS]],
}


def _prepared(kind, values):
    """Returns values, with orthogonal factors instead of their parameters."""
    if kind == "orthogonal":
        return [_bjorck(values[0]), *values[1:]]
    if kind == "householder":
        return [[_reflections(v) for v in values[0]], *values[1:]]
    if kind == "triangular":
        eye = torch.eye(SIZE)[:, :NUM_COLUMNS]
        alternating = [
            (eye.flip(0) if i % 2 else eye).expand(BATCH_SIZE, -1, -1)
            for i in range(len(values[0]))
        ]
        return [alternating, *values]
    return values


def _bjorck(q):
    q = q / q.norm(dim=(-2, -1), keepdim=True)
    eye = torch.eye(q.shape[-1])
    for _ in range(100):
        product = torch.matmul(q.mT, q)
        if float((product - eye).detach().norm(dim=(-2, -1)).max()) < 1e-6:
            break
        q = q @ (eye + 0.5 * (eye - product))
    return q


def _reflections(v):
    v = v / v.norm(dim=-1, keepdim=True)
    q = torch.eye(SIZE).expand(v.shape[0], SIZE, SIZE)
    for i in range(v.shape[1]):
        each = v[:, i, :, None]
        q = q - 2.0 * torch.bmm(torch.bmm(q, each), each.mT)
    return q[..., :NUM_COLUMNS]


class _Made(torch.nn.Module):
    """A gated layer with one hidden layer; it reverses the order of the elements."""

    def __init__(self):
        super().__init__()
        degrees = torch.arange(HIDDEN_UNITS) % (SIZE - 1)
        index = torch.arange(SIZE)
        self.into = torch.nn.Linear(SIZE, HIDDEN_UNITS)
        self.context = torch.nn.Linear(SIZE, HIDDEN_UNITS)
        self.out = torch.nn.Linear(HIDDEN_UNITS, 2 * SIZE)
        self.register_buffer("into_mask", (degrees[:, None] >= index).float())
        self.register_buffer("out_mask", (index.repeat(2)[:, None] > degrees).float())

    def forward(self, z, context):
        linear = functional.linear
        h = linear(z, self.into.weight * self.into_mask, self.into.bias)
        h = torch.relu(h + self.context(context))
        gate, value = linear(h, self.out.weight * self.out_mask, self.out.bias).chunk(
            2, dim=-1
        )
        gate = torch.sigmoid(gate + 2.0)
        z = gate * z + (1.0 - gate) * value
        return z.flip(-1), torch.log(gate).sum(-1)
