"""Flows of zuko, https://github.com/probabilists/zuko."""

import torch
import zuko

from tests.benchmarks.peers import torch_calls


def calls(model, compiled):
    """See `torch_calls.prepared`."""
    found = _calls(model, compiled)
    if compiled and model.kind == "real_nvp":
        # What PyTorch 2.13 makes of the gradient writes past a buffer, and crashes.
        del found["step"]
    return found


@torch_calls.prepared
def _calls(model, x):
    if model.kind == "made":
        made = _autoregressive(model)
        return torch_calls.layer(
            made,
            lambda x: made().call_and_ladj(x),
            lambda y: made().inv.call_and_ladj(y),
        )
    flow = zuko.flows.Flow(_layers(model), _noise(model.size))
    if model.kind != "iaf":
        return torch_calls.density(
            flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,))
        )

    def draw(n):
        return flow().rsample_and_log_prob((n,))

    result = torch_calls.posterior(flow, draw)
    result.functions = {"sample": draw, "log_prob": lambda x: flow().log_prob(x)}
    return result


def _layers(model):
    count, size = model.num_layers, model.size
    if model.kind in ("maf", "iaf"):
        orders = [torch.arange(size), torch.arange(size).flip(0)]
        layers = [_autoregressive(model, order=orders[i % 2]) for i in range(count)]
        if model.kind == "iaf":
            layers = [zuko.lazy.LazyInverse(each) for each in layers]
        return layers
    bins = model.num_bins
    transformers = {
        "real_nvp": {},
        "nice": dict(univariate=zuko.transforms.AdditiveTransform, shapes=[()]),
        "neural_spline": dict(
            univariate=zuko.transforms.MonotonicRQSTransform,
            shapes=[(bins,), (bins,), (bins - 1,)],
        ),  # their bound is 5 by itself
    }
    return [
        zuko.flows.GeneralCouplingTransform(
            size,
            mask=torch.arange(size) % 2 == i % 2,
            hidden_features=model.hidden_units,
            **transformers[model.kind],
        )
        for i in range(count)
    ]


def _autoregressive(model, **options):
    return zuko.flows.MaskedAutoregressiveTransform(
        model.size, hidden_features=model.hidden_units, **options
    )


def _noise(size):
    return zuko.lazy.UnconditionalDistribution(
        zuko.distributions.DiagNormal, torch.zeros(size), torch.ones(size), buffer=True
    )
