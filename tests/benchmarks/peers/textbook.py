"""The formulas of the papers in PyTorch, where libraries lack a layer."""

import torch
from torch.nn import functional

from tests.benchmarks.peers import formulas, posteriors, primitives, torch_calls


def calls(model, compiled):
    """See `torch_calls.prepared`."""
    if model.kind.startswith("posterior_"):
        return posteriors.calls(model, compiled)
    if model.kind == "primitives":
        return primitives.torch_calls(compiled)
    return _calls(model, compiled)


@torch_calls.prepared
def _calls(model, x):
    if model.kind in ("planar", "radial"):
        stack = _Stack(model, per_point=False)
        return torch_calls.layer(stack, stack, getattr(stack, "inverse", None))
    if model.kind == "planar_vi":
        stack = _Stack(model, per_point=False)
        draw = torch_calls.by_forward(model.size, stack)
        return torch_calls.posterior(stack, draw, torch_calls.two_moons_energy)
    if model.kind == "planar_amortized":
        stack = _Stack(model, per_point=True)
        result = torch_calls.posterior(
            stack, torch_calls.by_forward(model.size, stack), updates=False
        )
        result.functions = {"forward": stack}
        return result
    layer = _LAYERS[model.kind](model)
    return torch_calls.layer(layer, layer, getattr(layer, "inverse", None))


class _Stack(torch.nn.Module):
    """Planar or radial layers, one after the other."""

    def __init__(self, model, per_point):
        super().__init__()
        batch = [model.num_layers] + ([model.batch_size] if per_point else [])
        vector, scalar = [*batch, model.size], batch
        scale = model.size**-0.5
        self.layer = formulas.radial if model.kind == "radial" else formulas.planar
        shapes = (
            [vector, scalar, scalar]
            if model.kind == "radial"
            else [vector, vector, scalar]
        )
        self.values = torch.nn.ParameterList(
            scale * torch.randn(shape) for shape in shapes
        )
        if model.kind == "radial":
            self.inverse = self._inverse

    def forward(self, x):
        log_det = 0.0
        for values in zip(*self.values):
            x, change = self.layer(x, *values)
            log_det = log_det + change
        return x, log_det

    def _inverse(self, y):
        log_det = 0.0
        for values in list(zip(*self.values))[::-1]:
            y, change = formulas.radial_inverse(y, *values)
            log_det = log_det + change
        return y, log_det


class _Sylvester(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        columns = model.num_columns
        q, _ = torch.linalg.qr(torch.randn(model.size, columns))
        self.register_buffer("q", q)
        self.r, self.r_tilde = (
            torch.nn.Parameter(torch.randn(columns, columns) / columns**0.5)
            for _ in range(2)
        )
        self.b = torch.nn.Parameter(torch.randn(columns))

    def forward(self, x):
        return formulas.sylvester(x, self.q, self.r, self.r_tilde, self.b)


class _PReLU(torch.nn.Module):
    """Equation 1 of He et al. (2015)."""

    def __init__(self, model):
        super().__init__()
        self.log_slope = torch.nn.Parameter(torch.tensor([-0.7]))

    def forward(self, x):
        return self._scaled(x, self.log_slope)

    def inverse(self, y):
        return self._scaled(y, -self.log_slope)

    def _scaled(self, x, log_slope):
        y = functional.prelu(x, log_slope.exp())
        return y, (x < 0.0).sum(-1) * log_slope


class _ActNorm(torch.nn.Module):
    """Table 1 of Kingma and Dhariwal (2018), on channels first."""

    def __init__(self, model):
        super().__init__()
        height, width, channels = model.shape
        self.pixels = height * width
        self.shift, self.log_scale = (
            torch.nn.Parameter(0.1 * torch.randn(channels, 1, 1)) for _ in range(2)
        )

    def forward(self, x):
        y = x * self.log_scale.exp() + self.shift
        return y, (self.pixels * self.log_scale.sum()).expand(x.shape[0])

    def inverse(self, y):
        x = (y - self.shift) * (-self.log_scale).exp()
        return x, (-self.pixels * self.log_scale.sum()).expand(y.shape[0])


class _Conv1x1(torch.nn.Module):
    """Equation 10 of Kingma and Dhariwal (2018), on channels first."""

    def __init__(self, model):
        super().__init__()
        height, width, channels = model.shape
        self.pixels = height * width
        q, _ = torch.linalg.qr(torch.randn(channels, channels))
        permutation, lower, upper = torch.linalg.lu(q)
        diagonal = upper.diagonal()
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign", diagonal.sign())
        self.lower = torch.nn.Parameter(lower)
        self.upper = torch.nn.Parameter(upper.triu(1))
        self.log_diagonal = torch.nn.Parameter(diagonal.abs().log())

    def forward(self, x):
        lower, upper = self._factors()
        kernel = self.permutation @ lower @ upper
        return self._mixed(x, kernel), self._log_det(x)

    def inverse(self, y):
        lower, upper = self._factors()
        solve = torch.linalg.solve_triangular
        kernel = solve(lower, self.permutation.mT, upper=False, unitriangular=True)
        return self._mixed(y, solve(upper, kernel, upper=True)), -self._log_det(y)

    def _factors(self):
        lower = self.lower.tril(-1) + torch.eye(len(self.lower))
        upper = self.upper.triu(1) + torch.diag(self.sign * self.log_diagonal.exp())
        return lower, upper

    def _mixed(self, x, kernel):
        return functional.conv2d(x, kernel[..., None, None])

    def _log_det(self, x):
        return (self.pixels * self.log_diagonal.sum()).expand(x.shape[0])


_LAYERS = {
    "sylvester": _Sylvester,
    "prelu": _PReLU,
    "actnorm": _ActNorm,
    "conv1x1": _Conv1x1,
}
