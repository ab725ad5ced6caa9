"""Flows of Pyro, https://pyro.ai."""

import pyro.distributions as dist
import torch
from pyro import nn
from pyro.distributions import transforms
from pyro.distributions.transforms.planar import ConditionedPlanar

from tests.benchmarks import peers
from tests.benchmarks.peers import torch_calls


@torch_calls.prepared
def calls(model, x):
    if model.kind == "planar_amortized":
        return _amortized(model)
    layers = _layers(model)
    module = torch.nn.ModuleList(
        each for each in layers if isinstance(each, torch.nn.Module)
    )
    if model.kind in ("prelu", "conv1x1", "made", "planar", "radial"):
        inverse = (
            None
            if model.kind in ("planar", "radial")
            else _chain([each.inv for each in layers[::-1]])
        )
        return torch_calls.layer(module, _chain(layers), inverse)
    if model.kind == "planar_vi":
        draw = torch_calls.by_forward(model.size, _chain(layers))
        return torch_calls.posterior(module, draw, torch_calls.two_moons_energy)
    noise = dist.Normal(torch.zeros(model.size), torch.ones(model.size)).to_event(1)
    if model.kind == "iaf":
        log_prob = dist.TransformedDistribution(noise, layers).log_prob
        draw = torch_calls.by_forward(model.size, _chain(layers))
        result = torch_calls.posterior(module, draw)
        result.functions = {"sample": draw, "log_prob": lambda x: log_prob(_new(x))}
        return result
    if model.kind == "maf":
        layers = [each.inv for each in layers]
    flow = dist.TransformedDistribution(noise, layers)
    return torch_calls.density(
        module, lambda x: flow.log_prob(_new(x)), lambda n: flow.sample((n,))
    )


def _layers(model):
    size, count = model.size if len(model.shape) == 1 else None, model.num_layers
    if model.kind in ("planar", "planar_vi"):
        return [transforms.Planar(size) for _ in range(count)]
    if model.kind == "radial":
        return [transforms.Radial(size) for _ in range(count)]
    if model.kind == "prelu":
        return [transforms.LeakyReLUTransform()]  # of a slope that is no parameter
    if model.kind == "conv1x1":
        return [transforms.GeneralizedChannelPermute(model.shape[-1])]
    if model.kind == "made":
        return [_autoregressive(model)]
    layers = []
    for _ in range(count):
        if model.kind in ("maf", "iaf"):
            layers.append(_autoregressive(model))
        else:
            layers.append(_coupling(model))
        layers.append(transforms.Permute(torch.arange(size).flip(0)))
    return layers


def _autoregressive(model):
    network = nn.AutoRegressiveNN(
        model.size, list(model.hidden_units), permutation=torch.arange(model.size)
    )
    return transforms.AffineAutoregressive(network)


def _coupling(model):
    half, bins = model.size // 2, model.num_bins
    widths = list(model.hidden_units)
    if model.kind == "real_nvp":
        return transforms.AffineCoupling(half, nn.DenseNN(half, widths, [half, half]))
    network = nn.DenseNN(half, widths, [half * bins, half * bins, half * (bins - 1)])
    return transforms.SplineCoupling(
        model.size,
        half,
        network,
        bins,
        peers.SPLINE_BOUND,
        order="quadratic",
        identity=True,
    )


class _PerPoint(torch.nn.Module):
    """Parameters of planar layers, for each point, as an encoder would give them."""

    def __init__(self, model):
        super().__init__()
        batch = [model.num_layers, model.batch_size]
        self.u, self.w, self.b = (
            torch.nn.Parameter(0.3 * torch.randn(*batch, size))
            for size in (model.size, model.size, 1)
        )


def _amortized(model):
    parameters = _PerPoint(model)

    def forward(x):
        layers = [
            ConditionedPlanar(each)
            for each in zip(parameters.b, parameters.u, parameters.w)
        ]
        return _chain(layers)(x)

    result = torch_calls.posterior(
        parameters, torch_calls.by_forward(model.size, forward), updates=False
    )
    result.functions = {"forward": forward}
    return result


def _chain(layers):
    def function(x):
        x, log_det = _new(x), 0.0
        for each in layers:
            y = each(x)
            change = each.log_abs_det_jacobian(x, y)
            # That of an elementwise layer is not summed.
            if change.dim() > 1:
                change = change.flatten(1).sum(-1)
            log_det = log_det + change
            x = y
        return x, log_det

    return function


def _new(x):
    """Returns the same numbers as a tensor that no cache of a transform knows."""
    return x.view(x.shape)
