"""What parts of a work cost in TensorFlow, and in PyTorch and JAX.

    python -m tests.benchmarks.parts --peers-python PATH

A flow can't be faster than the parts that it is made of. `call` adds 1 to a number:
what it costs to call a compiled function. `copy` adds 1 to `[10000, 64]`, `row sums`
does so, too, and returns the product of each row with a vector. `product` is
`[1000, 256]` times `[256, 256]`. `channel sums` are sums of products of two tensors
`[32, 32, 32, 48]` over all but the last axis, as the gradient of a scale takes them.
"""

import functools

import tensorflow as tf

from tests.benchmarks import peer_processes, peers, report, timing

FUNCTIONS = {
    "call": lambda x: x + 1.0,
    "copy": lambda x: x + 1.0,
    "product": tf.matmul,
    "row sums": lambda x, w: (x + 1.0, tf.reduce_sum(x * w, axis=-1)),
    "channel sums": lambda x, y: tf.reduce_sum(x * y, axis=[0, 1, 2]),
}
OURS = [f"TensorFlow, {compiler}" for compiler in report.COMPILERS]


def parts(options):
    """Times of each part, and of TensorFlow's faster mode over the fastest."""
    with peer_processes.Peers("parts", options) as others:
        libraries = list(others.told)
        rows = []
        for name, shapes in peers.PARTS.items():
            arguments = [report.normal(shape, i) for i, shape in enumerate(shapes)]
            calls = {
                candidate: functools.partial(
                    timing.compiled(FUNCTIONS[name], jit_compile), *arguments
                )
                for candidate, jit_compile in zip(OURS, report.COMPILERS.values())
            }
            calls |= {library: others.calls[library, name] for library in libraries}
            race = timing.race(
                calls, options.rounds, options.sample, peer_processes.PAUSE
            )
            fastest = [min(among, key=race.median) for among in (OURS, race.names)]
            rows.append([name, *map(race.time, race.names), race.ratio(*fastest)])
    report.table(["part", *OURS, *libraries, "TensorFlow / fastest"], rows)


if __name__ == "__main__":
    report.main(
        __doc__,
        [parts],
        functools.partial(
            peer_processes.add_arguments, libraries=peers.libraries("parts")
        ),
    )
