"""Deep flows: layers in one `Scan`, against a `tfb.Chain` of the same layers.

    python -m tests.benchmarks.deep [--only compilation,running]

prints tables in the manner of `layers`.
"""

import functools

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tests.benchmarks import report, timing
from tests.benchmarks.report import COMPILERS, normal, table
from tfp_flows import bijectors, flows

tfb, tfd = tfp.bijectors, tfp.distributions

SIZE, BATCH = 64, 1000
IMAGE, IMAGES = (16, 16, 12), 16
NUMBERS_OF_LAYERS = [8, 64]


def compilation(options):
    """Seconds to trace and compile `log_prob` with its gradient, in fresh processes."""
    rows = []
    few, many = NUMBERS_OF_LAYERS
    for kind in FLOWS:
        found = [
            timing.in_child(_first_gradients, kind, *of)[0]
            for of in [(few, True), (many, True), (few, False)]
        ]
        for compiler in COMPILERS:
            seconds = [each[compiler] for each in found]
            a, b, chain = map(sum, seconds)
            rows.append(
                [
                    kind,
                    compiler,
                    *(f"{t:.2f} + {c:.2f}" for t, c in seconds),
                    f"{b / a:.2f}",
                    f"{a / chain:.2f}",
                ]
            )
    table(
        [
            "trace + compile, s",
            "",
            f"scan of {few}",
            f"scan of {many}",
            f"chain of {few}",
            f"scan of {many} / of {few}, at most 1.5",
            f"scan / chain of {few}",
        ],
        rows,
    )


def running(options):
    """16 layers: `log_prob`, and a step, its gradient by all variables."""
    number, rows = 16, []
    for kind in FLOWS:
        candidates = {}
        for scan in (True, False):
            functions = _functions(kind, number, scan)
            for name, function in zip(["`log_prob`", "step"], functions):
                for compiler, jit_compile in COMPILERS.items():
                    call = timing.compiled(function, jit_compile)
                    candidates[scan, name, compiler] = functools.partial(
                        call, _points(kind)
                    )
        race = timing.race(candidates, options.rounds, options.sample)
        for name in ["`log_prob`", "step"]:
            for compiler in COMPILERS:
                ours, chain = ((scan, name, compiler) for scan in (True, False))
                rows.append(
                    [
                        kind,
                        name,
                        compiler,
                        race.time(ours),
                        race.time(chain),
                        race.ratio(ours, chain),
                    ]
                )
    table(["", "", "", "scan", "chain", "scan / chain"], rows)


SECTIONS = [compilation, running]


def _planar(number):
    shapes = [[SIZE], [SIZE], []]
    return [
        bijectors.Planar(
            *(
                tf.Variable(normal(s, 3 * i + j) / SIZE**0.5)
                for j, s in enumerate(shapes)
            )
        )
        for i in range(number)
    ]


def _pairs(flow):
    """The layers of a flow, from noise to data, two by two."""
    layers = flow.bijector.bijectors[::-1]
    return [tfb.Chain(pair[::-1]) for pair in zip(layers[::2], layers[1::2])]


def _glow_steps(number):
    """The steps of one level, from noise to data."""
    height, width, channels = IMAGE
    flow = flows.glow([2 * height, 2 * width, channels // 4], 1, number, 64, seed=0)
    (level,) = flow.bijector.bijectors[-1].bijectors
    return level.bijectors[number:0:-1]  # without the squeezing layer and the prior


# For each kind the layers from noise to data, and whether densities take the forward
# direction of the layers.
FLOWS = {
    "planar": (_planar, True),
    "radial": (lambda k: flows.radial(SIZE, k, seed=0).bijector.bijectors[::-1], False),
    "Sylvester, M = 32": (
        lambda k: flows.sylvester(SIZE, k, 32, seed=0).bijector.bijectors[::-1],
        True,
    ),
    "RealNVP, 128 x 128": (
        lambda k: _pairs(flows.real_nvp(SIZE, k, (128, 128), seed=0)),
        False,
    ),
    "MAF, 128 x 128": (lambda k: _pairs(flows.maf(SIZE, k, (128, 128), seed=0)), False),
    "Glow step, 16x16x12, 64 hidden": (_glow_steps, False),
}


def _points(kind):
    shape = [IMAGES, *IMAGE] if kind.startswith("Glow") else [BATCH, SIZE]
    return normal(shape, 5)


def _functions(kind, number, scan):
    """Returns functions: mean `log_prob`, and that with its gradient."""
    make, forward = FLOWS[kind]
    layers = list(make(number))
    for i, layer in enumerate(layers):  # away from the identity
        for j, variable in enumerate(layer.trainable_variables):
            inputs = max(1, np.prod(variable.shape[:-1]))
            value = normal(variable.shape, 100 * i + j)
            variable.assign_add(0.3 * value / inputs**0.5)
    flow = bijectors.Scan.from_layers(layers) if scan else tfb.Chain(layers[::-1])
    points = _points(kind)
    ndims = points.shape.rank - 1
    noise = tfd.Independent(tfd.Normal(tf.zeros(points.shape[1:]), 1.0), ndims)
    distribution = tfd.TransformedDistribution(
        noise, tfb.Invert(flow) if forward else flow
    )

    def value(x):
        return tf.reduce_mean(distribution.log_prob(x))

    def gradient(x):
        with tf.GradientTape() as tape:
            result = value(x)
        return result, tape.gradient(result, flow.trainable_variables)

    return value, gradient


def _first_gradients(kind, number, scan):
    """Returns the seconds to trace and to compile, by compiler."""
    points, seconds = _points(kind), {}
    for compiler, jit_compile in COMPILERS.items():
        _, gradient = _functions(kind, number, scan)
        # What the first function of all takes is no part of it.
        timing.compiled(tf.reduce_sum, jit_compile)(points)
        seconds[compiler] = timing.first_call(
            timing.compiled(gradient, jit_compile), points
        )
    return seconds


if __name__ == "__main__":
    report.main(__doc__, SECTIONS)
