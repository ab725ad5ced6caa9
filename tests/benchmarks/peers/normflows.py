"""Flows of normflows, https://github.com/VincentStimper/normalizing-flows.

Its `forward` draws samples: for planar and radial layers that is the paper's equation,
for layers of Glow the inverse of it.
"""

import normflows
import torch
from normflows.flows.neural_spline import coupling as splines

from tests.benchmarks import peers
from tests.benchmarks.peers import torch_calls


@torch_calls.prepared
def calls(model, x):
    if model.kind == "glow":
        return _glow(model)
    if model.kind in _STEPS:
        each = _STEPS[model.kind](model.shape[-1])
        return torch_calls.layer(each, each.inverse, each.forward)
    flow = normflows.NormalizingFlow(
        normflows.distributions.DiagGaussian(model.size, trainable=False),
        _layers(model),
        _Energy(),
    )
    if model.kind == "made":
        (each,) = flow.flows
        return torch_calls.layer(each, each.forward, each.inverse)
    if model.kind in ("planar", "radial"):
        return torch_calls.layer(flow, flow.forward_and_log_det)
    if model.kind == "planar_vi":
        return torch_calls.Flow(flow, {}, flow.reverse_kld, samples=True)
    if model.kind == "iaf":
        result = torch_calls.posterior(flow, flow.sample)
        result.functions = {"sample": flow.sample, "log_prob": flow.log_prob}
        return result
    return torch_calls.density(flow, flow.log_prob, lambda n: flow.sample(n)[0])


class _Energy(normflows.distributions.Target):
    def __init__(self):
        super().__init__()

    def log_prob(self, z):
        return -torch_calls.two_moons_energy(z)


def _layers(model):
    size, count = model.size, model.num_layers
    if model.kind in ("planar", "planar_vi"):
        return [normflows.flows.Planar((size,)) for _ in range(count)]
    if model.kind == "radial":
        return [normflows.flows.Radial((size,)) for _ in range(count)]
    if model.kind == "made":
        return [_autoregressive(model)]
    layers = []
    for i in range(count):
        if model.kind == "iaf":
            layer = _autoregressive(model)
        elif model.kind == "maf":
            # By itself their class would draw samples fast, and take `size` passes of
            # the network for each density.
            layer = normflows.flows.Reverse(_autoregressive(model))
        else:
            layer = _coupling(model, i)
        layers.append(layer)
        if model.kind != "neural_spline":
            layers.append(normflows.flows.Permute(size, mode="swap"))
    return layers


def _autoregressive(model):
    return normflows.flows.MaskedAffineAutoregressive(
        model.size,
        model.hidden_units[0],
        num_blocks=len(model.hidden_units) - 1,
        use_residual_blocks=False,
    )


def _coupling(model, index):
    half = model.size // 2
    if model.kind == "neural_spline":
        return _SplineCoupling(model, index)
    additive = model.kind == "nice"
    network = normflows.nets.MLP(
        [half, *model.hidden_units, half if additive else 2 * half]
    )
    return normflows.flows.AffineCouplingBlock(network, scale=not additive)


class _SplineCoupling(normflows.flows.Flow):
    """`normflows.flows.CoupledRationalQuadraticSpline` with another network.

    The original takes residual networks, and splines of the elements that it keeps.
    """

    def __init__(self, model, index):
        super().__init__()

        class Network(normflows.nets.MLP):
            hidden_features = model.hidden_units[0]

            def __init__(self, inputs, outputs):
                super().__init__([inputs, *model.hidden_units, outputs])

            def forward(self, x, context):
                return super().forward(x)

        mask = torch.arange(model.size) % 2 == index % 2
        self.coupling = splines.PiecewiseRationalQuadraticCoupling(
            mask.long(),
            Network,
            num_bins=model.num_bins,
            tails="linear",
            tail_bound=peers.SPLINE_BOUND,
        )

    def forward(self, z):
        return self.coupling.inverse(z)

    def inverse(self, z):
        return self.coupling.forward(z)


def _glow(model):
    height, width, channels = model.shape
    bases, levels, merges = [], [], []
    for level in range(peers.NUM_LEVELS):
        channels, height, width = 4 * channels, height // 2, width // 2
        layers = [_glow_step(channels) for _ in range(model.num_layers)]
        half = channels // 2
        last = level + 1 == peers.NUM_LEVELS
        if not last:
            prior = normflows.nets.ConvNet2d([half, channels], [3])
            layers.insert(0, normflows.flows.AffineCouplingBlock(prior))
            merges.append(normflows.flows.Merge())
        levels.append([*layers, normflows.flows.Squeeze()])
        bases.append(
            normflows.distributions.DiagGaussian(
                (channels if last else half, height, width), trainable=False
            )
        )
        channels = half
    # It wants the level of the data last.
    flow = normflows.MultiscaleFlow(
        bases[::-1], levels[::-1], merges[::-1], class_cond=False
    )
    return torch_calls.density(
        flow,
        *torch_calls.of_pixels(
            lambda x: flow.log_prob(x, None), lambda n: flow.sample(n)[0]
        ),
    )


def _glow_step(channels):
    return normflows.flows.GlowBlock(channels, peers.HIDDEN_CHANNELS)


_STEPS = {
    "actnorm": lambda channels: normflows.flows.ActNorm((channels, 1, 1)),
    "conv1x1": lambda channels: normflows.flows.Invertible1x1Conv(
        channels, use_lu=True
    ),
    "glow_step": _glow_step,
}
