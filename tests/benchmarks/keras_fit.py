"""Speed of training in Keras, as ratios within one run.

    python -m tests.benchmarks.keras_fit [--only fit,devices]

prints the tables of `README.md`, in about ten minutes.
"""

import contextlib
import functools

import keras
import tensorflow as tf

from tests.benchmarks import report, timing
from tests.benchmarks.training import training_functions
from tfp_flows import flows
from tfp_flows.keras import DensityModel

NUMBER, EPOCHS = 12_800, 3
FLOWS = {  # by name: flow, dimensions, and size of batches
    "small RealNVP": (
        functools.partial(flows.real_nvp, 8, 4, (32, 32), seed=0),
        8,
        128,
    ),
    "RealNVP": (functools.partial(flows.real_nvp, 64, 6, (128, 128), seed=0), 64, 128),
    "RealNVP, large batch": (
        functools.partial(flows.real_nvp, 64, 6, (128, 128), seed=0),
        64,
        1280,
    ),
    "MAF": (functools.partial(flows.maf, 64, 5, (256,), seed=0), 64, 128),
    "spline": (
        functools.partial(flows.neural_spline, 16, 3, (64, 64), seed=0),
        16,
        128,
    ),
}


class Loop:
    """What one writes without `fit`: a compiled step, and batches of a dataset.

    Args:
      flow: distribution to train.
      x: array of points.
      batch_size: number of points in a step.
      jit_compile: whether XLA compiles the step.
    """

    def __init__(self, flow, x, batch_size, jit_compile):
        variables = list(flow.trainable_variables)
        optimizer = keras.optimizers.Adam(1e-5)
        optimizer.build(variables)
        _, _, step = training_functions(
            flow,
            variables,
            lambda gradients: optimizer.apply(gradients, variables),
            batch_size,
        )
        self._step = timing.compiled(step, jit_compile)
        rows = tf.data.Dataset.from_tensor_slices(x).shuffle(len(x))
        self._batches = rows.batch(batch_size).prefetch(tf.data.AUTOTUNE)

    def __call__(self):
        for _ in range(EPOCHS):
            losses = [self._step(batch) for batch in self._batches]
            float(tf.reduce_mean(losses))


class Fit:
    """`DensityModel.fit` with the same; on several devices if there is a strategy."""

    def __init__(self, make, x, batch_size, jit_compile, strategy=None):
        scope = contextlib.nullcontext() if strategy is None else strategy.scope()
        with scope:
            self._model = DensityModel(make())
            self._model.compile(keras.optimizers.Adam(1e-5), jit_compile=jit_compile)
        self._x, self._batch_size = x, batch_size

    def __call__(self):
        self._model.fit(self._x, batch_size=self._batch_size, epochs=EPOCHS, verbose=0)


def fit(options):
    """A step of `fit` over one of a compiled step that a loop in Python calls."""
    rows = []
    for name, (make, size, batch_size) in FLOWS.items():
        x = report.normal([NUMBER, size], 1).numpy()
        calls = {}
        for compiler, jit_compile in report.COMPILERS.items():
            calls["loop", compiler] = Loop(make(), x, batch_size, jit_compile)
            calls["fit", compiler] = Fit(make, x, batch_size, jit_compile)
        race = timing.race(calls, options.rounds, 0)
        steps = EPOCHS * NUMBER // batch_size
        rows += [
            [
                name,
                batch_size,
                compiler,
                race.time(("loop", compiler), steps),
                race.time(("fit", compiler), steps),
                race.ratio(("fit", compiler), ("loop", compiler)),
            ]
            for compiler in report.COMPILERS
        ]
    report.table(
        ["flow", "batch", "", "loop, a step", "`fit`, a step", "`fit` / loop"], rows
    )


def devices(options):
    """A step of `fit` on two logical devices of a processor over one on one device."""
    rows = []
    for name in ["RealNVP", "RealNVP, large batch", "MAF"]:
        race, _ = timing.in_child(_on_devices, name, options.rounds)
        batch_size = FLOWS[name][2]
        steps = EPOCHS * NUMBER // batch_size
        rows.append(
            [
                name,
                batch_size,
                race.time("one", steps),
                race.time("two", steps),
                race.ratio("two", "one"),
            ]
        )
    report.table(
        ["flow", "batch", "one device, a step", "two, a step", "two / one"], rows
    )


def _on_devices(name, rounds):
    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        processor, 2 * [tf.config.LogicalDeviceConfiguration()]
    )
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    make, size, batch_size = FLOWS[name]
    x = report.normal([NUMBER, size], 1).numpy()
    return timing.race(
        {
            "one": Fit(make, x, batch_size, False),
            "two": Fit(make, x, batch_size, False, strategy),
        },
        rounds,
        0,
    )


if __name__ == "__main__":
    report.main(__doc__, [fit, devices])
