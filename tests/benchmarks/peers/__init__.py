"""Other people's flows, called on demand by a process that times them.

    python -m tests.benchmarks.peers maf zuko
    python -m tests.benchmarks.peers glow nflows
    python -m tests.benchmarks.peers posterior textbook

runs in an environment that has PyTorch or JAX, and knows nothing of TensorFlow. It
prepares `log_prob`, `sample` and `step` of one library (for posteriors one call for
each kind and number of layers), and prints those that it has,
as a list in JSON on one line. For each of them that it then reads from a line it makes
that call once, and prints `done`.
"""

import argparse
import json
import os
import sys

from tests.benchmarks import textbook

THREADS = 2
SIZE = 64
BATCH_SIZE = 1000
HIDDEN_UNITS = (256, 256)
NUMBERS_OF_LAYERS = {"maf": 5, "real_nvp": 8}

IMAGE = (32, 32, 3)
NUMBER_OF_IMAGES = 16
NUM_VALUES = 256
NUM_LEVELS = 3
NUM_STEPS = 8
HIDDEN_CHANNELS = 128


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

    if model == "glow":
        return _nflows_glow()

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

    if model == "glow":
        return _normflows_glow()
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


def _nflows_glow():
    import math

    import torch
    from nflows import distributions, flows, transforms

    class Net(torch.nn.Sequential):
        def forward(self, x, context):
            return super().forward(x)

    def step_network(inputs, outputs):
        return Net(
            torch.nn.Conv2d(inputs, HIDDEN_CHANNELS, 3, padding=1), torch.nn.ReLU(),
            torch.nn.Conv2d(HIDDEN_CHANNELS, HIDDEN_CHANNELS, 1), torch.nn.ReLU(),
            torch.nn.Conv2d(HIDDEN_CHANNELS, outputs, 3, padding=1))

    def prior_network(inputs, outputs):
        return Net(torch.nn.Conv2d(inputs, outputs, 3, padding=1))

    def coupling(channels, network):
        # The second half goes on to the next level.
        mask = [1] * (channels // 2) + [-1] * (channels // 2)
        return transforms.AffineCouplingTransform(mask, network)

    height, width, channels = IMAGE
    shape = channels, height, width
    levels = transforms.MultiscaleCompositeTransform(NUM_LEVELS)
    for level in range(NUM_LEVELS):
        squeeze = transforms.SqueezeTransform()
        shape = squeeze.get_output_shape(*shape)
        layers = [squeeze]
        for _ in range(NUM_STEPS):
            layers += [
                transforms.ActNorm(shape[0]), transforms.OneByOneConvolution(shape[0]),
                coupling(shape[0], step_network)]
        if level + 1 < NUM_LEVELS:
            layers.append(coupling(shape[0], prior_network))
        shape = levels.add_transform(transforms.CompositeTransform(layers), shape)
    noise = distributions.StandardNormal([math.prod(IMAGE)])
    flow = flows.Flow(levels, noise)
    return _of_pixels(flow.log_prob, flow.sample, flow)


def _normflows_glow():
    import normflows

    height, width, channels = IMAGE
    bases, levels, merges = [], [], []
    for level in range(NUM_LEVELS):
        channels, height, width = 4 * channels, height // 2, width // 2
        layers = [
            normflows.flows.GlowBlock(channels, HIDDEN_CHANNELS)
            for _ in range(NUM_STEPS)
        ]
        half = channels // 2
        last = level + 1 == NUM_LEVELS
        if not last:
            prior = normflows.nets.ConvNet2d([half, channels], [3])
            layers.insert(0, normflows.flows.AffineCouplingBlock(prior))
            merges.append(normflows.flows.Merge())
        levels.append([*layers, normflows.flows.Squeeze()])
        bases.append(normflows.distributions.DiagGaussian(
            (channels if last else half, height, width), trainable=False))
        channels = half
    # It wants the level of the data last.
    flow = normflows.MultiscaleFlow(
        bases[::-1], levels[::-1], merges[::-1], class_cond=False)
    return _of_pixels(
        lambda x: flow.log_prob(x, None), lambda n: flow.sample(n)[0], flow)


def _of_pixels(log_prob, sample, module):
    """Returns functions of pixels in [0, 256), of functions of small numbers."""
    import math

    log_det = math.prod(IMAGE) * math.log(NUM_VALUES)
    return (
        lambda x: log_prob(x / NUM_VALUES - 0.5) - log_det,
        lambda n: (sample(n) + 0.5) * NUM_VALUES,
        module,
    )


def torch_calls(library, model, compile):
    """Returns calls without arguments by name, after a first call of each."""
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    log_prob, sample, module = library(model)
    if model == "glow":
        height, width, channels = IMAGE
        batch_size = NUMBER_OF_IMAGES
        x = NUM_VALUES * torch.rand(batch_size, channels, height, width)
    else:
        batch_size = BATCH_SIZE
        x = torch.randn(batch_size, SIZE)
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
        calls["sample"] = without_gradients(prepared(sample), batch_size)
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
    "textbook": lambda model: textbook.calls(False, THREADS),
    "textbook compiled": lambda model: textbook.calls(True, THREADS),
}

GLOWS = ["nflows", "normflows"]
TEXTBOOKS = ["textbook", "textbook compiled"]
FLOWS = [name for name in LIBRARIES if name not in TEXTBOOKS]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=[*NUMBERS_OF_LAYERS, "glow", "posterior"])
    parser.add_argument("library", choices=LIBRARIES)
    options = parser.parse_args()
    if options.model == "glow" and options.library.split()[0] not in GLOWS:
        parser.error(f"{options.library} has no Glow")
    if (options.model == "posterior") != (options.library in TEXTBOOKS):
        parser.error(f"{options.library} has no {options.model}")
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
