"""Flows of nflows, https://github.com/bayesiains/nflows."""

import functools
import math

import torch
from nflows import distributions, flows, transforms
from nflows.nn import nets

from tests.benchmarks import peers
from tests.benchmarks.peers import torch_calls


@torch_calls.prepared
def calls(model, x):
    if model.kind == "glow":
        return _glow(model)
    if model.kind in _LAYERS:
        each = _LAYERS[model.kind](model)
        return torch_calls.layer(each, each.forward, each.inverse)
    flow = flows.Flow(
        transforms.CompositeTransform(_layers(model)),
        distributions.StandardNormal([model.size]),
    )
    if model.kind != "iaf":
        return torch_calls.density(flow, flow.log_prob, flow.sample)
    # Their own `sample_and_log_prob` takes the sequential direction for the density.
    draw = torch_calls.by_forward(model.size, flow._transform.inverse)
    result = torch_calls.posterior(flow, draw)
    result.functions = {"sample": draw, "log_prob": flow.log_prob}
    return result


def _layers(model):
    build = {
        "maf": _autoregressive,
        "iaf": lambda model: transforms.InverseTransform(_autoregressive(model)),
    }.get(model.kind)
    layers = []
    for i in range(model.num_layers):
        if build is not None:
            layers += [build(model), transforms.ReversePermutation(model.size)]
        else:
            layers.append(_coupling(model, i))
    return layers


def _autoregressive(model):
    # The first layer of the network is no block.
    return transforms.MaskedAffineAutoregressiveTransform(
        model.size,
        model.hidden_units[0],
        num_blocks=len(model.hidden_units) - 1,
        use_residual_blocks=False,
    )


class _MLP(nets.MLP):
    """Their network, called as their couplings call one."""

    def __init__(self, inputs, outputs, hidden_units):
        super().__init__([inputs], [outputs], hidden_units)
        self.hidden_features = hidden_units[0]  # by which splines scale their input

    def forward(self, x, context):
        return super().forward(x)


def _coupling(model, index):
    half = model.size // 2
    mask = half * [1] + half * [-1]
    network = functools.partial(_MLP, hidden_units=model.hidden_units)
    kind = {
        "real_nvp": transforms.AffineCouplingTransform,
        "nice": transforms.AdditiveCouplingTransform,
        "neural_spline": functools.partial(
            transforms.PiecewiseRationalQuadraticCouplingTransform,
            num_bins=model.num_bins,
            tails="linear",
            tail_bound=peers.SPLINE_BOUND,
        ),
    }[model.kind]
    return kind(mask if index % 2 else mask[::-1], network)


class _ConvNet(torch.nn.Sequential):
    """Convolutions, called as couplings call a network."""

    def forward(self, x, context):
        return super().forward(x)


def _step_network(inputs, outputs):
    hidden = peers.HIDDEN_CHANNELS
    return _ConvNet(
        torch.nn.Conv2d(inputs, hidden, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(hidden, hidden, 1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(hidden, outputs, 3, padding=1),
    )


def _prior_network(inputs, outputs):
    return _ConvNet(torch.nn.Conv2d(inputs, outputs, 3, padding=1))


def _image_coupling(channels, network):
    # The second half goes on to the next level.
    mask = [1] * (channels // 2) + [-1] * (channels // 2)
    return transforms.AffineCouplingTransform(mask, network)


def _step(channels):
    return [
        transforms.ActNorm(channels),
        transforms.OneByOneConvolution(channels),
        _image_coupling(channels, _step_network),
    ]


def _glow(model):
    height, width, channels = model.shape
    shape = channels, height, width
    levels = transforms.MultiscaleCompositeTransform(peers.NUM_LEVELS)
    for level in range(peers.NUM_LEVELS):
        squeeze = transforms.SqueezeTransform()
        shape = squeeze.get_output_shape(*shape)
        layers = [squeeze]
        for _ in range(model.num_layers):
            layers += _step(shape[0])
        if level + 1 < peers.NUM_LEVELS:
            layers.append(_image_coupling(shape[0], _prior_network))
        shape = levels.add_transform(transforms.CompositeTransform(layers), shape)
    noise = distributions.StandardNormal([math.prod(model.shape)])
    flow = flows.Flow(levels, noise)
    return torch_calls.density(flow, *torch_calls.of_pixels(flow.log_prob, flow.sample))


_LAYERS = {
    "made": _autoregressive,
    "prelu": lambda model: transforms.LeakyReLU(0.5),  # of a slope that is no parameter
    "actnorm": lambda model: transforms.ActNorm(model.shape[-1]),
    "conv1x1": lambda model: transforms.OneByOneConvolution(
        model.shape[-1], identity_init=False
    ),
    "glow_step": lambda model: transforms.CompositeTransform(_step(model.shape[-1])),
}
