"""Maximum likelihood for vectors: digits, image patches and tables, with any flow.

Adam maximizes the likelihood. Integers are dequantized with new noise in each batch.
The weights with the best validation likelihood are restored in the end. Run

    python examples/experiments/density_estimation.py --data digits --flow maf

The digits are those of scikit-learn, the moons are simulated; the other data are files
in `--directory`, which the functions `load_...` describe, or `PATH.npz:ARRAY`. With
`--checkpoint DIR`, an interrupted training resumes from its last evaluation. Held-out
log-likelihoods, with their standard errors over the examples, are printed and recorded
in `results/density_estimation.json`, beside those of a Gaussian with full covariance.

Settings that did well, out of about 14 compared on validation data:

    digits       real_nvp --hidden 128,128 --weight-decay 4 --steps 600 --no-xla
    digits       spline --layers 4 --hidden 128,128 --weight-decay 4 --steps 600
                   --no-xla
    moons        spline --layers 3 --hidden 64,64 --batch 256 --no-xla
    bsds300      made --hidden 512,512 --epochs 10
    bsds300      maf --epochs 6
    bsds300      real_nvp --epochs 6 --weight-decay 0.2
    power plant  maf --hidden 128,128 --steps 4000 --learning-rate 2e-3 --no-xla
    power        maf --hidden 64,64 --no-xla
    miniboone    maf --hidden 64,64 --steps 500 --weight-decay 2 --no-xla

The entropy of the moons, 1.006 nats, bounds the log-likelihood by -1.006. `bsds300` has
200000 training patches, a fifth of the usual number; `power` and `miniboone` are the
first rows of these tables; the power plant is a table of UCI.
"""

import argparse
import dataclasses
import functools
import json
import math
import pathlib
import time
from collections.abc import Callable

import keras
import numpy as np
import sklearn.datasets
import tensorflow as tf
import tensorflow_probability as tfp
import tqdm
from recording import record

from tfp_flows import flows

tfb, tfd = tfp.bijectors, tfp.distributions

FLOWS = {
    "made": flows.maf,  # of one layer
    "maf": flows.maf,
    "real_nvp": flows.real_nvp,
    "spline": flows.neural_spline,
    "spline_ar": functools.partial(flows.neural_spline, kind="autoregressive"),
    "nice": functools.partial(flows.nice, base_distribution=tfd.Normal),
}
LAYERS = dict(made=1, maf=5, real_nvp=10, spline=5, spline_ar=5, nice=10)
OF_THE_MACHINE = ("checkpoint", "directory")  # arguments that do not change a result
EVALUATIONS = 40  # on the validation data, in a whole training


def main(
    data="digits",
    flow="maf",
    directory=".",
    layers=None,
    hidden=(256, 256),
    bins=8,
    steps=None,
    epochs=None,
    batch=100,
    learning_rate=None,
    weight_decay=None,
    clip=5.0,
    patience=10,
    seed=0,
    xla=True,
    checkpoint=None,
):
    """Fits a flow, prints how good it is, and returns the figures.

    Args:
      data: one of `DATA`, or `PATH.npz:ARRAY` for a table with a row for each point.
      flow: one of `FLOWS`; "made" is a single masked autoregressive layer.
      directory: where the files of `data` are.
      layers: number of layers; by default as in `LAYERS`.
      hidden: widths of the hidden layers of each network.
      bins: number of pieces of a spline.
      steps: number of training steps; by default what the data's `Problem` says, as
        for `learning_rate` and `weight_decay`.
      epochs: number of passes through the training data, instead of `steps`.
      batch: number of examples in a training step.
      learning_rate: of Adam at the start; it falls to 0 along a cosine.
      weight_decay: of AdamW.
      clip: largest global norm of a gradient.
      patience: number of evaluations without a better one after which training ends.
      seed: integer that decides the initial values, the batches and the dequantization.
      xla: whether to compile the training step with XLA.
      checkpoint: directory to save the training to and resume from, or None.

    Returns:
      figures: dictionary of numbers: `nats` of the held-out data and their
        `standard_error`, `bits_per_dimension` and `bits_standard_error` if the data are
        integers, the same of the Gaussian with the prefix `gaussian_`; `step` of the
        best weights, `seconds` and `cpu_seconds` of the training, `compile_seconds` and
        `compile_cpu_seconds` of what came before.

    Raises:
      FileNotFoundError: a file of `data` is not there.
      FloatingPointError: the training diverged.
      ValueError: an argument is none of those named; `checkpoint` is of a training with
        other settings.
    """
    settings = {name: str(value) for name, value in locals().items()}
    if flow not in FLOWS:
        raise ValueError(f"`flow` must be one of {tuple(FLOWS)}; got {flow!r}.")
    problem = load(data, pathlib.Path(directory))
    if epochs is not None:
        steps = math.ceil(epochs * len(problem.train) / batch)
    steps = problem.steps if steps is None else steps
    if learning_rate is None:
        learning_rate = problem.learning_rate
    if weight_decay is None:
        weight_decay = problem.weight_decay

    sample = problem.prepare(problem.train, [seed, 1])
    options = dict(num_layers=layers or LAYERS[flow], hidden_units=hidden, seed=seed)
    if flow.startswith("spline"):
        options["num_bins"] = bins
    model = with_units(FLOWS[flow](sample.shape[-1], **options), problem, sample)
    log_prob = tf.function(
        model.log_prob, input_signature=[tf.TensorSpec([None, sample.shape[-1]])]
    )
    count = sum(math.prod(v.shape) for v in model.trainable_variables)
    print(
        f"{data}: {len(problem.train)} training examples, {len(problem.validation)} "
        f"for validation, {len(problem.test)} held out, {sample.shape[-1]} dimensions\n"
        f"{flow}: {options['num_layers']} layers, {count} weights, {steps} steps"
    )
    figures = fit(
        model,
        log_prob,
        problem,
        steps,
        batch,
        learning_rate,
        weight_decay,
        clip,
        patience,
        seed,
        xla,
        checkpoint,
        settings,
    )

    # The Gaussian needs no validation, and has those data, too.
    known = np.concatenate([problem.train, problem.validation])
    gaussian = fit_gaussian(
        np.concatenate(
            [problem.prepare(known, [seed, 20 + i]) for i in range(problem.num_draws)]
        )
    )
    test = [
        problem.prepare(problem.test, [seed, 3 + i]) for i in range(problem.num_draws)
    ]
    figures |= score(log_prob, test, problem)
    figures |= score(gaussian, test, problem, prefix="gaussian_")
    headings = ["nats (standard error)", "bits per dimension"]
    headings = headings if problem.num_values else headings[:1]
    print(f"\n{'held out':12}", *(f"{heading:>24}" for heading in headings))
    for name, prefix in [(flow, ""), ("Gaussian", "gaussian_")]:
        print(f"{name:12}", *(f"{cell:>24}" for cell in cells(figures, prefix)))
    print(
        f"best weights at step {figures['step']}; seconds of training: "
        f"{figures['seconds']:.0f}, of processor time {figures['cpu_seconds']:.0f}; to "
        f"compile {figures['compile_seconds']:.0f} and "
        f"{figures['compile_cpu_seconds']:.0f}"
    )
    name = data if data in DATA else pathlib.Path(data.rpartition(":")[0]).stem
    rows = [
        dict(data=name, model=model, metric="log-likelihood", unit="nats", seed=seed)
        | dict(value=figures[prefix + "nats"], error=figures[prefix + "standard_error"])
        | dict(seconds=figures["cpu_seconds"] if model == flow else None)
        for model, prefix in [(flow, ""), ("Gaussian", "gaussian_")]
    ]
    record("density_estimation", rows)
    return figures


def cells(figures, prefix):
    """Returns texts of a mean with its error in nats, and in bits if there are any."""
    pairs = [
        ("nats", "standard_error", 2),
        ("bits_per_dimension", "bits_standard_error", 3),
    ]
    return [
        f"{figures[prefix + mean]:.{digits}f} ({figures[prefix + error]:.{digits}f})"
        for mean, error, digits in pairs
        if prefix + mean in figures
    ]


@dataclasses.dataclass(frozen=True)
class Problem:
    """Data, and their preprocessing.

    Args:
      train, validation, test: arrays with a row for each point.
      prepare: callable from rows and a seed to float32 examples. It dequantizes
        integers, with new noise in each batch.
      num_values: number of values of each element, if the examples are
        `(value + noise) / num_values`; otherwise None.
      num_draws: how often the test data are dequantized.
      to_data: bijectors to the data from numbers without bounds, the last one first.
      steps, learning_rate, weight_decay: what does well.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    prepare: Callable = lambda rows, seed: tf.cast(rows, tf.float32)
    num_values: int | None = None
    num_draws: int = 1
    to_data: tuple = ()
    steps: int = 2000
    learning_rate: float = 1e-3
    weight_decay: float = 0.0


def load(name, directory):
    """Returns the `Problem` of a name."""
    if name in DATA:
        return DATA[name](directory)
    path, _, array = name.rpartition(":")
    if not path:
        raise ValueError(
            f"`data` must be one of {tuple(DATA)} or PATH.npz:ARRAY; got {name!r}."
        )
    return load_table(pathlib.Path(path), array)


def load_digits(directory):
    """The digits of scikit-learn: 8 x 8 pixels with values 0 to 16.

    Half of the pixels are black. The logit widens the interval over which their values
    are dequantized: without it the same flows reach about 70 nats. A margin keeps the
    arguments of the logarithms away from 0.
    """
    pixels = sklearn.datasets.load_digits().data.astype(np.uint8)
    order = np.random.RandomState(0).permutation(len(pixels))
    margin = 0.02
    return Problem(
        *np.split(pixels[order], [1260, 1400]),
        lambda rows, seed: (tf.cast(rows, tf.float32) + uniform(rows, seed)) / 17.0,
        num_values=17,
        num_draws=10,
        to_data=(
            tfb.Scale(1.0 / (1.0 - 2.0 * margin)),
            tfb.Shift(-margin),
            tfb.Sigmoid(),
        ),
        steps=800,
        learning_rate=2e-3,
        weight_decay=2.0,
    )


def load_moons(directory):
    """Two half circles in the plane, with noise."""
    sizes = [16384, 2048, 16384]
    parts = [
        np.float32(sklearn.datasets.make_moons(size, noise=0.1, random_state=i)[0])
        for i, size in enumerate(sizes)
    ]
    return Problem(*parts, steps=1500, learning_rate=3e-3)


def load_bsds300(directory):
    """Patches of photographs, dequantized, without their mean and the last pixel.

    Files: `bsds300_patches_train*.npz`, each with an array `x`, and
    `bsds300_patches_eval.npz` with `val` and `test`; uint8, shape `[..., 8, 8]`.
    """
    paths = sorted(directory.glob("bsds300_patches_train*.npz"))
    if not paths:
        raise FileNotFoundError(f"{directory} has no file bsds300_patches_train*.npz.")
    train = np.concatenate([read(path, "x") for path in paths])
    held_out = [
        read(directory / "bsds300_patches_eval.npz", key) for key in ["val", "test"]
    ]

    def prepare(rows, seed):
        x = (tf.cast(rows, tf.float32) + uniform(rows, seed)) / 256.0
        return (x - tf.reduce_mean(x, axis=-1, keepdims=True))[..., :-1]

    return Problem(*(x.reshape(-1, 64) for x in [train, *held_out]), prepare)


def load_power(directory):
    """Electric power of a household, a row a minute, as in the MAF paper.

    File: `power_head.npz` with an array `x` of 8 columns: active and reactive power in
    kW, voltage in V, current in A, three meters in Wh, minute of the day.
    """
    x = read(directory / "power_head.npz", "x")
    x = np.delete(x, [1, 3], axis=1)[np.random.RandomState(42).permutation(len(x))]
    tenth = len(x) // 10
    parts = np.split(x, [-2 * tenth, -tenth])
    mean, scale = moments(x[:-tenth])
    steps = np.float32([0.001, 0.01, 1.0, 1.0, 1.0, 0.0])  # in which they are measured

    def prepare(rows, seed):
        rows = tf.cast(rows, tf.float32)
        return (rows + steps * uniform(rows, seed) - mean) / scale

    return Problem(*parts, prepare, num_draws=10)


def load_miniboone(directory):
    """Measurements of particles, as in the MAF paper; the first rows of the table.

    File: `miniboone_head.npz` with an array `x`.
    """
    x = read(directory / "miniboone_head.npz", "x")
    mean, scale = moments(x[:1250])
    return Problem(*np.split(np.float32((x - mean) / scale), [1125, 1250]))


def load_table(path, array):
    """An array of numbers: 80 % of the rows to train on, 10 % for validation."""
    x = read(path, array)
    x = x[np.random.RandomState(0).permutation(len(x))]
    parts = np.split(x, [int(0.8 * len(x)), int(0.9 * len(x))])
    mean, scale = moments(parts[0])
    return Problem(*(np.float32((part - mean) / scale) for part in parts))


DATA = dict(
    digits=load_digits,
    moons=load_moons,
    bsds300=load_bsds300,
    power=load_power,
    miniboone=load_miniboone,
)


def read(path, array):
    """Returns an array of a `.npz` file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a file with the array {array!r}.")
    with np.load(path) as arrays:
        if array not in arrays:
            raise ValueError(f"{path} has no array {array!r}; got {list(arrays)}.")
        return arrays[array]


def moments(x):
    """Returns means and standard deviations of columns, as float32."""
    x = np.float64(x)
    return np.float32(np.mean(x, axis=0)), np.float32(np.std(x, axis=0))


def uniform(rows, seed):
    """Returns noise in [0, 1) for each element."""
    return tf.random.stateless_uniform(tf.shape(rows), seed)


def with_units(flow, problem, sample):
    """Returns the flow with the location and scale of the data."""
    mean, scale = moments(tfb.Chain(problem.to_data).inverse(sample))
    return flow.copy(
        bijector=tfb.Chain(
            [
                *problem.to_data,
                tfb.Shift(mean),
                tfb.Scale(scale),
                *flow.bijector.bijectors,
            ]
        )
    )


def fit(
    model,
    log_prob,
    problem,
    steps,
    batch,
    learning_rate,
    weight_decay,
    clip,
    patience,
    seed,
    xla,
    checkpoint,
    settings,
):
    """Maximizes the likelihood; `model` is left with the best weights found.

    A call of TensorFlow for each step would cost as much as a small step. Here one call
    runs all steps from an evaluation to the next, in a loop inside of the graph.
    """
    variables = model.trainable_variables
    optimizer = keras.optimizers.AdamW(
        keras.optimizers.schedules.CosineDecay(learning_rate, steps),
        weight_decay=weight_decay,
        global_clipnorm=clip,
    )
    optimizer.build(variables)
    every = math.ceil(steps / EVALUATIONS)
    train = tf.constant(problem.train)

    def train_step(step, rows):
        x = problem.prepare(tf.gather(train, rows), tf.stack([seed, 100 + step]))
        with tf.GradientTape() as tape:
            nats = tf.reduce_mean(model.log_prob(x))
            loss = -nats
        optimizer.apply(tape.gradient(loss, variables), variables)
        return nats

    @tf.function(jit_compile=xla, autograph=False)
    def run(first, rows, count):
        _, total = tf.while_loop(
            lambda i, total: i < count,
            lambda i, total: (i + 1, total + train_step(first + i, rows[i])),
            (tf.constant(0), tf.constant(0.0)),
        )
        return total / tf.cast(count, tf.float32)

    # The state of the training, which checkpoints contain.
    best = [tf.Variable(variable) for variable in variables]
    step, best_step = tf.Variable(0), tf.Variable(0)
    curve = tf.Variable(tf.fill([EVALUATIONS, 2], -np.float32(np.inf)))
    spent = tf.Variable([0.0, 0.0])  # seconds, and seconds of processor time
    state = tf.train.Checkpoint(
        model=model,
        optimizer=[v.value for v in optimizer.variables],
        best=best,
        step=step,
        best_step=best_step,
        curve=curve,
        spent=spent,
    )
    manager = open_checkpoint(state, checkpoint, settings)

    clock = Clock()
    rows = batches(len(problem.train), batch, 0, every, seed)
    run(tf.constant(0), rows, tf.constant(0))
    validation = problem.prepare(problem.validation, [seed, 2])
    log_prob(validation)
    compiling = clock.seconds()

    clock, before = Clock(), spent.numpy()
    with tqdm.tqdm(total=steps, initial=int(step), desc="fit", unit="step") as progress:
        while step < steps and step - best_step < patience * every:
            count = min(every, steps - int(step))
            rows = batches(len(problem.train), batch, int(step), every, seed)
            nats = float(run(tf.constant(int(step)), rows, tf.constant(count)))
            if not np.isfinite(nats):
                raise FloatingPointError(
                    "Training must have a finite likelihood, which a lower "
                    f"`learning_rate` helps; got {nats} after step {int(step)}."
                )
            now = np.mean(in_parts(log_prob, validation))
            evaluation = int(step) // every
            step.assign_add(count)
            if now > np.max(curve[:, 1]):
                best_step.assign(step)
                for variable, value in zip(best, variables):
                    variable.assign(value)
            curve[evaluation].assign([nats, now])
            spent.assign(before + clock.seconds())
            progress.update(count)
            progress.set_postfix(train=nats, validation=now)
            if manager is not None:
                manager.save()
    for variable, value in zip(variables, best):
        variable.assign(value)
    figures = dict(step=int(best_step), validation_nats=float(np.max(curve[:, 1])))
    figures |= zip(["seconds", "cpu_seconds"], map(float, spent))
    figures |= zip(["compile_seconds", "compile_cpu_seconds"], map(float, compiling))
    return figures


def batches(num_points, batch, first, count, seed):
    """Returns the rows of some steps, `[count, batch]`, out of shuffles of all rows."""
    position = first * batch
    start, stop = position // num_points, (position + count * batch) // num_points
    stream = np.concatenate(
        [
            np.random.RandomState([seed % 2**32, i]).permutation(num_points)
            for i in range(start, stop + 1)
        ]
    )
    rows = stream[position - start * num_points :][: count * batch]
    return tf.constant(rows.reshape(count, batch), tf.int32)


class Clock:
    """Time since it was made."""

    def __init__(self):
        self._start = self._now()

    def _now(self):
        return np.float32([time.perf_counter(), time.process_time()])

    def seconds(self):
        """Returns seconds, and seconds of processor time."""
        return self._now() - self._start


def open_checkpoint(state, directory, settings):
    """Restores what was saved in a directory; returns what saves there, or None."""
    if directory is None:
        return None
    path = pathlib.Path(directory, "settings.json")
    settings = {k: v for k, v in settings.items() if k not in OF_THE_MACHINE}
    if path.exists() and (saved := json.loads(path.read_text())) != settings:
        raise ValueError(
            "`checkpoint` must be the directory of a training with the same settings; "
            f"got {settings} where {saved} is saved."
        )
    manager = tf.train.CheckpointManager(state, directory, max_to_keep=1)
    if manager.latest_checkpoint:
        state.restore(manager.latest_checkpoint).assert_consumed()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings))
    return manager


def fit_gaussian(x):
    """Returns the log density of the Gaussian with the moments of the data."""
    x = np.float64(x)
    covariance = np.cov(x.T)
    covariance += 1e-6 * np.diag(np.diag(covariance))
    gaussian = tfd.MultivariateNormalTriL(
        np.mean(x, axis=0), np.linalg.cholesky(covariance)
    )
    return lambda x: gaussian.log_prob(tf.cast(x, gaussian.dtype))


def in_parts(log_prob, x, size=5000):
    """Returns log densities, evaluated `size` rows at a time."""
    return np.concatenate([log_prob(x[i : i + size]) for i in range(0, len(x), size)])


def score(log_prob, draws, problem, prefix=""):
    """Returns the mean and its standard error over the examples."""
    nats = np.mean([in_parts(log_prob, x) for x in draws], axis=0)
    figures = dict(nats=np.mean(nats), standard_error=np.std(nats) / len(nats) ** 0.5)
    if problem.num_values:
        size = draws[0].shape[-1]
        bits = np.log2(problem.num_values) - figures["nats"] / (size * np.log(2.0))
        error = figures["standard_error"] / (size * np.log(2.0))
        figures |= dict(bits_per_dimension=bits, bits_standard_error=error)
    return {prefix + name: float(value) for name, value in figures.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", default="digits", help=f"{', '.join(DATA)} or PATH.npz:ARRAY")
    add("--directory", default=".", help="where the files of the data are")
    add("--flow", default="maf", choices=FLOWS)
    add("--layers", type=int, help=f"number of layers; by default {LAYERS}")
    add(
        "--hidden",
        default=(256, 256),
        metavar="256,256",
        type=lambda text: tuple(map(int, text.split(","))),
        help="widths of the hidden layers of each network",
    )
    add("--bins", type=int, default=8, help="pieces of a spline")
    add("--steps", type=int, help="training steps; by default as suits the data")
    add("--epochs", type=float, help="passes through the data, instead of steps")
    add("--batch", type=int, default=100, help="examples in a step")
    add("--learning-rate", type=float, help="at the start, of Adam")
    add("--weight-decay", type=float, help="of AdamW")
    add("--clip", type=float, default=5.0, help="largest norm of a gradient")
    add(
        "--patience",
        type=int,
        default=10,
        help=f"evaluations, of {EVALUATIONS}, without a better one, before the end",
    )
    add("--seed", type=int, default=0)
    add("--no-xla", dest="xla", action="store_false", help="do not compile with XLA")
    add("--checkpoint", metavar="DIR", help="where to save, and to resume from")
    main(**vars(parser.parse_args()))
