"""Other people's flows, called on demand by a process that times them.

    python -m tests.benchmarks.peers maf zuko

runs in an environment that has PyTorch or JAX, and knows nothing of TensorFlow. It
prepares `log_prob`, `sample` and `step` of one library, and prints those that it has,
as a list in JSON on one line. For each of them that it then reads from a line it makes
that call once, and prints `done`.
"""

import argparse
import json
import os
import sys

THREADS = 2
SIZE = 64
BATCH_SIZE = 1000
HIDDEN_UNITS = (256, 256)
NUMBERS_OF_LAYERS = {"maf": 5, "real_nvp": 8}


def zuko(model):
    """Returns functions `log_prob(x)` and `sample(n)`, and what has the weights."""
    import zuko

    kind = {"maf": zuko.flows.MAF, "real_nvp": zuko.flows.RealNVP}[model]
    flow = kind(
        SIZE, 0, transforms=NUMBERS_OF_LAYERS[model], hidden_features=HIDDEN_UNITS
    )
    return lambda x: flow().log_prob(x), lambda n: flow().sample((n,)), flow


def nflows(model):
    """As `zuko`."""
    from nflows import distributions, flows, transforms
    from nflows.nn import nets

    class Net(nets.MLP):
        def __init__(self, inputs, outputs):
            super().__init__([inputs], [outputs], HIDDEN_UNITS)

        def forward(self, x, context):
            return super().forward(x)

    layers = []
    for i in range(NUMBERS_OF_LAYERS[model]):
        if model == "maf":
            # The first layer of the network is no block.
            layers.append(transforms.MaskedAffineAutoregressiveTransform(
                SIZE, HIDDEN_UNITS[0], num_blocks=1, use_residual_blocks=False))
            layers.append(transforms.ReversePermutation(SIZE))
        else:
            keeps_first = (i % 2 == 0)
            mask = [2 * int((j >= SIZE // 2) == keeps_first) - 1 for j in range(SIZE)]
            layers.append(transforms.AffineCouplingTransform(mask, Net))
    flow = flows.Flow(
        transforms.CompositeTransform(layers), distributions.StandardNormal([SIZE]))
    return flow.log_prob, flow.sample, flow


def normflows(model):
    """As `zuko`."""
    import normflows

    layers = []
    for _ in range(NUMBERS_OF_LAYERS[model]):
        if model == "maf":
            layer = normflows.flows.MaskedAffineAutoregressive(
                SIZE, HIDDEN_UNITS[0], num_blocks=1, use_residual_blocks=False)
        else:
            net = normflows.nets.MLP([SIZE // 2, *HIDDEN_UNITS, SIZE])
            layer = normflows.flows.AffineCouplingBlock(net)
        layers += [layer, normflows.flows.Permute(SIZE, mode="swap")]
    base = normflows.distributions.DiagGaussian(SIZE, trainable=False)
    flow = normflows.NormalizingFlow(base, layers)
    return flow.log_prob, lambda n: flow.sample(n)[0], flow


def torch_calls(library, model, compile):
    """Returns calls without arguments by name, after a first call of each."""
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    log_prob, sample, module = library(model)
    x = torch.randn(BATCH_SIZE, SIZE)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-5, fused=True)

    def prepared(function):
        return torch.compile(function) if compile else function

    def without_gradients(function, argument):
        def call():
            with torch.no_grad():
                function(argument)

        return call

    loss = prepared(lambda x: -log_prob(x).mean())

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss(x).backward()
        optimizer.step()

    calls = {"log_prob": without_gradients(prepared(log_prob), x), "step": step}
    if not (compile and model == "maf"):
        # A loop over all inputs, laid out, would take minutes to compile.
        calls["sample"] = without_gradients(prepared(sample), BATCH_SIZE)
    return calls


def flowjax(model):
    """Returns calls without arguments by name."""
    import equinox
    import flowjax.distributions
    import flowjax.flows
    import jax
    import jax.numpy as jnp
    import optax
    import paramax

    make = {
        "maf": flowjax.flows.masked_autoregressive_flow,
        "real_nvp": flowjax.flows.coupling_flow,
    }[model]
    flow = make(
        jax.random.key(0), base_dist=flowjax.distributions.Normal(jnp.zeros(SIZE)),
        flow_layers=NUMBERS_OF_LAYERS[model], nn_width=HIDDEN_UNITS[0],
        nn_depth=len(HIDDEN_UNITS))
    x = jax.random.normal(jax.random.key(1), [BATCH_SIZE, SIZE])
    weights, rest = equinox.partition(
        flow, equinox.is_inexact_array,
        is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable))
    optimizer = optax.adam(1e-5)

    def loss(weights):
        return -paramax.unwrap(equinox.combine(weights, rest)).log_prob(x).mean()

    @jax.jit
    def update(weights, state):
        updates, state = optimizer.update(jax.grad(loss)(weights), state, weights)
        return optax.apply_updates(weights, updates), state

    @jax.jit
    def log_prob(weights, x):
        return paramax.unwrap(equinox.combine(weights, rest)).log_prob(x)

    @jax.jit
    def sample(weights, key):
        flow = paramax.unwrap(equinox.combine(weights, rest))
        return flow.sample(key, (BATCH_SIZE,))

    states = [(weights, optimizer.init(weights))]

    def step():
        states[0] = jax.block_until_ready(update(*states[0]))

    key = jax.random.key(2)
    return {
        "log_prob": lambda: log_prob(weights, x).block_until_ready(),
        "step": step,
        "sample": lambda: sample(weights, key).block_until_ready(),
    }


LIBRARIES = {
    "zuko": lambda model: torch_calls(zuko, model, False),
    "zuko compiled": lambda model: torch_calls(zuko, model, True),
    "nflows": lambda model: torch_calls(nflows, model, False),
    "nflows compiled": lambda model: torch_calls(nflows, model, True),
    "normflows": lambda model: torch_calls(normflows, model, False),
    "normflows compiled": lambda model: torch_calls(normflows, model, True),
    "flowjax": flowjax,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=NUMBERS_OF_LAYERS)
    parser.add_argument("library", choices=LIBRARIES)
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    # What libraries print must not come between the lines of the protocol.
    answers, sys.stdout = sys.stdout, sys.stderr
    calls = LIBRARIES[options.library](options.model)
    for name, call in list(calls.items()):
        try:
            call()
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            del calls[name]
    print(json.dumps(list(calls)), file=answers, flush=True)
    for line in sys.stdin:
        calls[line.strip()]()
        print("done", file=answers, flush=True)


if __name__ == "__main__":
    main()
