"""Primitives of flows in PyTorch and JAX: see `tests.benchmarks.peers`."""

from tests.benchmarks import peers

FUNCTIONS = {
    "call": lambda x: x + 1.0,
    "copy": lambda x: x + 1.0,
    "product": lambda x, w: x @ w,
    "row sums": lambda x, w: (x + 1.0, (x * w).sum(-1)),
    "channel sums": lambda x, y: (x * y).sum((0, 1, 2)),
}


def torch_calls(compiled):
    """Returns calls without arguments by primitive."""
    import torch

    torch.set_num_threads(peers.THREADS)

    def call(name):
        function = torch.compile(FUNCTIONS[name]) if compiled else FUNCTIONS[name]
        arguments = [torch.randn(*shape) for shape in peers.PRIMITIVES[name]]

        def without_gradients():
            with torch.no_grad():
                function(*arguments)

        return without_gradients

    return {name: call(name) for name in peers.PRIMITIVES}


def jax_calls():
    """Returns calls without arguments by primitive."""
    import jax

    def call(name):
        function, key = jax.jit(FUNCTIONS[name]), jax.random.key(0)
        arguments = [jax.random.normal(key, shape) for shape in peers.PRIMITIVES[name]]
        return lambda: jax.block_until_ready(function(*arguments))

    return {name: call(name) for name in peers.PRIMITIVES}
