"""Speed, memory and precision of flows of images, and of the walk through a waveform.

    python -m tests.benchmarks.images [--only glow_step,wave_net]

prints tables as `layers` does. `--long` adds what takes many minutes.
"""

import argparse
import functools
import itertools
import statistics
import timeit

import numpy as np
import sklearn.datasets
import tensorflow as tf
import tensorflow_probability as tfp

from tests.benchmarks import (
    peers,
    report,
    timing,
    training,
    works_flows,
    works_layers,
)
from tests.benchmarks.report import COMPILERS, compare, normal, table
from tfp_flows import dequantization, flows, normalization
from tfp_flows.bijectors import matrices
from tfp_flows.networks import ConvNet, WaveNet

tfb = tfp.bijectors

STEP_SHAPE = [32, 32, 32, 48]
LENGTH = 500
TRAINING_STEPS = 2000


def glow_compile(options):
    """Building, tracing and compiling a Glow of the same sizes, in a fresh process."""
    rows = []
    for num_steps in (8, 32):
        for compiler, jit_compile in COMPILERS.items():
            if jit_compile and num_steps > 8 and not options.long:
                print(f"{num_steps} steps under XLA take minutes: see `--long`.\n")
                continue
            for quantity in ("log_prob", "step"):
                seconds, _ = timing.in_child(
                    _first_seconds, num_steps, quantity, jit_compile
                )
                row = [num_steps, compiler, f"`{quantity}`"]
                rows.append(row + [f"{value:.3g}" for value in seconds])
    columns = ["build and start, s", "trace, s", "compile, s"]
    table(["steps of each level", "", "", *columns], rows)


def glow_modes(options):
    """A training step of the work `glow`; memory as for the works."""
    rows = []
    for scan, recompute, compiler in itertools.product(
        (False, True), (False, True), COMPILERS
    ):
        modes = dict(scan=scan, recompute=recompute)
        (seconds, peak), (_, of_one) = (
            timing.in_child(
                _seconds_and_peak,
                modes,
                COMPILERS[compiler],
                num_images,
                options.rounds,
            )[0]
            for num_images in (None, 1)
        )
        rows.append(
            [
                scan,
                recompute,
                compiler,
                f"{1e3 * seconds:.3g} ms",
                f"{(peak - of_one) / 2**20:.3g}",
            ]
        )
    table(["`scan`", "`recompute`", "", "time", "peak memory, MiB"], rows)


def glow_memory(options):
    """A training step of one level, 32x32x3, B = 16, 128 hidden channels, as graph.

    The peak is that of a fresh process above what it holds after a step with one image.
    """
    rows, peaks = [], {}
    for num_steps in (4, 32):
        for recompute in (True, False):
            (seconds, before), peak = timing.in_child(
                _training_seconds, num_steps, recompute, options.rounds
            )
            peaks[num_steps, recompute] = (peak - before) / 2**20
            rows.append(
                [
                    num_steps,
                    recompute,
                    f"{1e3 * seconds:.3g} ms",
                    f"{peaks[num_steps, recompute]:.3g}",
                ]
            )
    table(["steps", "`recompute`", "time", "peak memory, MiB"], rows)
    table(
        ["`recompute`", "peak memory of 32 steps over that of 4"],
        [
            [recompute, f"{peaks[32, recompute] / peaks[4, recompute]:.2f}"]
            for recompute in (True, False)
        ],
    )


def glow_step(options):
    """One step, 32x32x48, B = 32, 128 hidden channels, and its parts.

    The products are those that no step can do without, on the same sizes; the gradients
    are those by the input and by all variables.
    """
    step = works_layers.glow_layer()
    x = normal(STEP_SHAPE, 0)
    products, kernels = _products()
    y = step.forward(x)
    variables = step.trainable_variables
    steps = {
        "products, gradients": (_gradients(_half_squares(products), kernels), x),
        "step, gradients": (_gradients(_loss(step), variables), y),
    }
    compare(
        {
            "products": (products, x),
            "step, forward": (_forward(step), x),
            "step, inverse": (_inverse(step), y),
            **steps,
        },
        [
            ("step, forward", "products", ""),
            ("step, inverse", "products", ""),
            ("step, gradients", "products, gradients", ""),
        ],
        options,
    )
    conv, actnorm = step.convolution, step.actnorm
    weight = tf.Variable(matrices.random_orthogonal(STEP_SHAPE[-1], seed=1))
    theirs = tfb.ScaleMatvecLU(*map(tf.Variable, tf.linalg.lu(weight)))
    convolution = {
        "PLU, forward": (_forward(conv), x),
        "PLU, inverse": (_inverse(conv), x),
    }
    compare(
        {
            "read and write": (lambda x: x + 1.0, x),
            "`tf.matmul`": (lambda x: _at_pixels(x, weight), x),
            **convolution,
            "actnorm, forward": (_forward(actnorm), x),
            "actnorm, inverse": (_inverse(actnorm), x),
        },
        [
            ("PLU, forward", "`tf.matmul`", ""),
            ("PLU, inverse", "`tf.matmul`", ""),
            ("actnorm, forward", "read and write", ""),
            ("actnorm, inverse", "read and write", ""),
        ],
        options,
    )
    # Theirs solves for each pixel, which takes seconds.
    few = argparse.Namespace(rounds=min(3, options.rounds), sample=0)
    name = "`tfb.ScaleMatvecLU`"
    compare(
        {
            **convolution,
            f"{name}, forward": (_forward(theirs), x),
            f"{name}, inverse": (_inverse(theirs), x),
        },
        [(f"{name}, {way}", f"PLU, {way}", "") for way in ("forward", "inverse")],
        few,
    )


def wave_net(options):
    """The walk of a WaveNet of 64 channels, one waveform of T = 500."""
    candidates = {}
    w = normal([1, LENGTH], 0)
    for highest in (64, 1024):
        for stacks in (1, 2):
            dilations = stacks * [2**i for i in range(highest.bit_length())]
            network = WaveNet(2, 64, 128, dilations, seed=0)
            for compiler, jit_compile in COMPILERS.items():
                key = highest, stacks, compiler
                for name, function in [("pass", network), ("walk", _sampler(network))]:
                    candidates[*key, name] = functools.partial(
                        timing.compiled(function, jit_compile), w
                    )
    race = timing.race(candidates, options.rounds, options.sample)
    rows = [
        [
            f"to {key[0]}",
            *key[1:],
            race.time((*key, "pass")),
            race.time((*key, "walk"), parts=LENGTH),
            race.ratio((*key, "pass"), (*key, "walk"), times=LENGTH),
        ]
        for *key, name in candidates
        if name == "walk"
    ]
    table(
        [
            "dilations",
            "stacks",
            "",
            "one pass",
            "a step of the walk",
            f"{LENGTH} passes / walk",
        ],
        rows,
    )


def precision(options):
    """Errors of going to the noise and back, float32, and trainings.

    100 steps of 64 hidden channels, started from the data, with networks that start at
    zero, and with networks off that by normals of standard deviation 0.01. Errors are
    in units of one of the 256 values.
    """
    digits = _digits()
    batches = {
        "digits, 8x8x1": dequantization.dequantize(digits[:64], seed=0),
        "random, 32x32x3": works_flows.pixels(4),
    }
    rows = []
    for name, y in batches.items():
        for scale in (0.0, 0.01):
            flow = flows.glow(y.shape[1:], 1, 100, 64, seed=0)
            networks = [m for m in flow.submodules if isinstance(m, ConvNet)]
            for i, network in enumerate(networks):
                for k, variable in enumerate(network.trainable_variables):
                    variable.assign_add(scale * normal(variable.shape, 10 * i + k))
            normalization.initialize_from_data(flow, y)
            rows.append([name, scale, *(f"{e:.2g}" for e in _errors(flow, y))])
    table(
        ["images", "networks off by", "largest error", "share of other whole numbers"],
        rows,
    )
    if options.long:
        _trainings(digits)
    else:
        print("Trainings take minutes: see `--long`.\n")


SECTIONS = [glow_compile, glow_modes, glow_memory, glow_step, wave_net, precision]


def _first_seconds(num_steps, quantity, jit_compile):
    """Returns the seconds to build a Glow and start it, to trace and to compile."""
    x = works_flows.pixels()
    start = timeit.default_timer()
    flow = works_flows.glow_flow(num_steps, x)
    variables = flow.trainable_variables
    parts = flow, variables, training.Adam(variables)
    built = timeit.default_timer() - start
    functions = training.training_functions(*parts, len(x))
    function = dict(zip(training.QUANTITIES, functions))[quantity]
    compiled = timing.compiled(function, jit_compile)
    return built, *timing.first_call(compiled, x)


def _seconds_and_peak(modes, jit_compile, num_images, rounds):
    """Returns the median seconds of a step, and the peak of the second one."""
    flow = works_flows.glow_flow(**modes)
    x = works_flows.pixels()[:num_images]
    variables = flow.trainable_variables
    *_, step = training.training_functions(
        flow, variables, training.Adam(variables), len(x)
    )
    call = functools.partial(timing.compiled(step, jit_compile), x)
    call()
    timing.restart_peak_memory()
    call()
    peak = timing.peak_memory()
    return statistics.median(timeit.repeat(call, number=1, repeat=rounds)), peak


def _training_seconds(num_steps, recompute, rounds):
    """Returns the median seconds of a step, and the memory held before the first."""
    flow = flows.glow(
        peers.IMAGE, 1, num_steps, peers.HIDDEN_CHANNELS, seed=0, recompute=recompute
    )
    variables = flow.trainable_variables
    *_, step = training.training_functions(flow, variables, training.Adam(variables), 1)
    compiled = tf.function(
        step, autograph=False, input_signature=[tf.TensorSpec([None, *peers.IMAGE])]
    )
    x = works_flows.pixels()
    compiled(x[:1])  # optimizes the graph
    before = timing.restart_peak_memory()
    compiled(x)
    seconds = timeit.repeat(lambda: compiled(x), number=1, repeat=rounds)
    return statistics.median(seconds), before


def _products():
    """Returns a function of the products of a step alone, and its kernels."""
    channels, hidden = STEP_SHAPE[-1], peers.HIDDEN_CHANNELS
    shapes = [
        [channels, channels],
        [3, 3, channels // 2, hidden],
        [hidden, hidden],
        [3, 3, hidden, channels],
    ]
    kernels = [tf.Variable(0.05 * normal(shape, i)) for i, shape in enumerate(shapes)]
    mix, first, second, last = kernels

    def function(x):
        mixed = _at_pixels(x, mix)
        h = tf.nn.conv2d(mixed[..., : channels // 2], first, 1, "SAME")
        return mixed, tf.nn.conv2d(_at_pixels(h, second), last, 1, "SAME")

    return function, kernels


def _at_pixels(x, matrix):
    product = tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), matrix)
    return tf.reshape(product, [*x.shape[:-1], matrix.shape[-1]])


def _half_squares(function):
    return lambda x: sum(0.5 * tf.reduce_mean(y**2) for y in function(x))


def _loss(bijector):
    """Returns the mean negative log density under normal noise, but for a constant."""

    def loss(y):
        x = bijector.inverse(y)
        log_det = bijector.inverse_log_det_jacobian(y, event_ndims=3)
        return tf.reduce_mean(0.5 * tf.reduce_sum(x**2, axis=[1, 2, 3]) - log_det)

    return loss


def _gradients(loss, variables):
    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(x)
        return tape.gradient(value, [x, *variables])

    return gradients


def _forward(bijector):
    return lambda x: (
        bijector.forward(x),
        bijector.forward_log_det_jacobian(x, event_ndims=3),
    )


def _inverse(bijector):
    return lambda y: (
        bijector.inverse(y),
        bijector.inverse_log_det_jacobian(y, event_ndims=3),
    )


def _sampler(network):
    def invert(parameters, w):
        shift, log_scale = tf.unstack(parameters, axis=-1)
        return w * tf.exp(tf.tanh(log_scale)) + shift

    return lambda w: network.solve_for_input(invert, w)[0]


def _errors(flow, y):
    """Returns the largest error of the way back, and how many round to another."""
    x = tf.identity(flow.bijector.inverse(y))  # a new tensor, which no cache knows
    back = flow.bijector.forward(x)
    return np.max(np.abs(back - y)), np.mean(np.floor(back) != np.floor(y))


def _trainings(digits):
    """Trains a Glow of 2 levels of 8 steps, with and without a start from data."""
    rows = []
    for starts in (True, False):
        flow = flows.glow(digits.shape[1:], 2, 8, 64, seed=0)
        if starts:
            normalization.initialize_from_data(
                flow, dequantization.dequantize(digits[:512], seed=0)
            )
        variables = flow.trainable_variables
        update = training.Adam(variables, rate=1e-3)
        *_, step = training.training_functions(flow, variables, update, 64)
        losses = _losses(timing.compiled(step, jit_compile=False), digits)
        bits = dequantization.bits_per_dimension(-losses, digits.shape[1:])
        number = int(np.sum(~np.isfinite(losses)))
        rows.append([starts, number, *(f"{b:.3f}" for b in _ends(np.array(bits)))])
    table(
        [
            "start from data",
            f"losses of {len(losses)} not finite",
            "first, bits",
            "largest",
            "mean of the last 100",
        ],
        rows,
    )


def _losses(step, digits, batch_size=64):
    random = np.random.default_rng(0)
    losses = []
    for i in range(TRAINING_STEPS):
        rows = random.integers(len(digits), size=batch_size)
        losses.append(step(dequantization.dequantize(digits[rows], seed=(1, i))))
    return np.array(losses)


def _ends(values):
    return values[0], np.max(values), np.mean(values[-100:])


def _digits():
    """Returns the digits of scikit-learn, spread over 256 values."""
    digits = sklearn.datasets.load_digits().images[..., np.newaxis]
    return (digits * 255 // 16).astype(np.int32)


def _add_arguments(parser):
    parser.add_argument(
        "--long", action="store_true", help="with what takes many minutes"
    )


if __name__ == "__main__":
    report.main(__doc__, SECTIONS, _add_arguments)
