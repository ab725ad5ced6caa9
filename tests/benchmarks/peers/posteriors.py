"""Amortized posteriors by the formulas of papers: see `tests.benchmarks.textbook`.

Constraints within each layer, batched products for each image, and Bjorck's iteration
for all layers at once, up to 100 times, with a look at the residual each time.
"""

import torch
from torch.nn import functional

from tests.benchmarks import peers
from tests.benchmarks.peers import formulas
from tests.benchmarks.textbook import (
    BATCH_SIZE,
    HIDDEN_UNITS,
    KINDS,
    NUM_COLUMNS,
    NUM_REFLECTIONS,
    NUMBERS_OF_LAYERS,
    SIZE,
)


def calls(compiled):
    """Returns calls by "KIND K sample" and "KIND K step".

    Args:
      compiled: whether PyTorch compiles them.
    """
    torch.set_num_threads(peers.THREADS)
    torch.manual_seed(0)
    found = {}
    for kind in KINDS:
        for number in NUMBERS_OF_LAYERS:
            posterior = _Posterior(kind, number)
            sample, step = _calls_of(posterior, compiled)
            found[f"{kind} {number} sample"] = sample
            found[f"{kind} {number} step"] = step
    return found


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
    """Normal noise of each image, through so many layers of a kind."""

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
        """Yields functions of points, which return value and log determinant."""
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
    """Returns values with the orthogonal factors in place of what they come from."""
    if kind == "orthogonal":
        return [_bjorck(values[0]), *values[1:]]
    if kind == "householder":
        return [[_reflections(v) for v in values[0]], *values[1:]]
    if kind == "triangular":
        eye = torch.eye(SIZE)[:, :NUM_COLUMNS]
        in_turn = [
            (eye.flip(0) if i % 2 else eye).expand(BATCH_SIZE, -1, -1)
            for i in range(len(values[0]))
        ]
        return [in_turn, *values]
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
    """A gated layer of one hidden layer, which returns points in reversed order."""

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
