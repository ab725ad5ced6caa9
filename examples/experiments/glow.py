"""Flows of images: Glow, multi-scale RealNVP and NICE, for the same time each.

Trains each flow for `--seconds`, scores it on held-out images, and draws samples at
several temperatures, interpolations and an attribute. Run

    python examples/experiments/glow.py --checkpoint runs/glow

for the digits of scikit-learn. For other images give NumPy files with an array `x` of
integers from 0 to 255, of shape `[N, H, W]` or `[N, H, W, C]`:

    python examples/experiments/glow.py --data mnist_a.npz mnist_b.npz \
        --test mnist10k.npz --num-steps 6 --hidden 64 --batch 32 --weight-decay 0 \
        --seconds 3600 --checkpoint runs/mnist

With `--checkpoint DIR` an interrupted training resumes where it was. Results are
recorded in `results/glow.json`.
"""

import argparse
import pathlib
import time

import keras
import matplotlib.figure
import numpy as np
import PIL.Image
import recording
import sklearn.datasets
import tensorflow as tf
import tensorflow_probability as tfp
import tqdm

from tfp_flows import dequantization, flows, latent_space, normalization

tfb, tfd = tfp.bijectors, tfp.distributions

PICTURE = recording.RESULTS / "glow.png"
TEMPERATURES = (0.0, 0.5, 0.7, 0.85, 1.0)


def main(
    data=None,
    test=None,
    seconds=60.0,
    num_levels=2,
    num_steps=4,
    hidden=32,
    batch=64,
    learning_rate=2e-3,
    weight_decay=2.0,
    bits=None,
    models=("Glow", "RealNVP", "NICE"),
    checkpoint=None,
    picture=PICTURE,
    seed=0,
):
    """Trains the flows, prints their scores, and draws images.

    Args:
      data: list of paths of files to train on, or None for the digits.
      test: path of the file to score on.
      seconds: seconds of training of each flow, without those to build its graph.
      num_levels: levels of Glow and RealNVP.
      num_steps: steps of Glow at each level; RealNVP has half as many couplings of
        each kind.
      hidden: channels of the hidden layers of their networks.
      batch: images in a training step.
      learning_rate: of Adam, which falls to 0 in the end.
      weight_decay: fraction of the kernels that is subtracted in a step, in units of
        the learning rate.
      bits: number of bits to keep of 8; by default all.
      models: which flows to train, "Glow" first.
      checkpoint: directory for checkpoints, from which training resumes; or None.
      picture: path of the picture to write, or None.
      seed: integer, seed of initial values, batches and samples.

    Returns:
      figures: dictionary by flow of `nats`, `standard_error`, `bits_per_dimension`,
        `steps` and `seconds`.
    """
    train, validation, held_out, num_values = load(data, test, bits)
    shape = train.shape[1:]
    figures, trained = {}, {}
    for name in models:
        flow = build(name, shape, num_values, num_levels, num_steps, hidden, seed)
        folder = None if checkpoint is None else pathlib.Path(checkpoint, name)
        spent, steps = fit(
            flow,
            train,
            validation,
            num_values,
            seconds,
            batch,
            learning_rate,
            weight_decay,
            folder,
            seed,
            name,
        )
        nats = score(flow, held_out, num_values, seed)
        figures[name] = dict(
            nats=np.mean(nats),
            standard_error=np.std(nats) / len(nats) ** 0.5,
            bits_per_dimension=dequantization.bits_per_dimension(np.mean(nats), shape),
            steps=steps,
            seconds=spent,
            size=int(np.prod(shape)),
        )
        trained[name] = flow
    print(f"\n{'':8}  nats (standard error)  bits per dimension   steps  seconds")
    for name, row in figures.items():
        print(
            f"{name:8}  {row['nats']:12.2f} ({row['standard_error']:.2f})"
            f"  {row['bits_per_dimension']:18.3f}  {row['steps']:6d}"
            f"  {row['seconds']:7.0f}"
        )
    if picture is not None:
        draw(picture, trained, held_out, num_values, seed)
    return figures


def load(data, test, bits):
    """Returns images to train on, to watch and to score on, and how many values."""
    if data is None:
        digits = sklearn.datasets.load_digits().images[..., np.newaxis]
        order = np.random.RandomState(0).permutation(len(digits))
        return *np.split(digits[order].astype(np.int32), [1260, 1400]), 17
    train = np.concatenate([load_images(path) for path in data])
    train, validation = np.split(train, [-min(500, len(train) // 4)])
    images = [train, validation, load_images(test)]
    if bits is not None:
        images = [
            dequantization.reduce_bit_depth(part, bits).numpy() for part in images
        ]
    return *images, 2 ** (bits or 8)


def load_images(path):
    """Returns the images of a file, `[N, H, W, C]`."""
    with np.load(path) as file:
        images = file["x"].astype(np.int32)
    return images if images.ndim == 4 else images[..., np.newaxis]


def build(name, shape, num_values, num_levels, num_steps, hidden, seed):
    """Returns a flow of images by its name."""
    if name == "Glow":
        return flows.glow(
            shape, num_levels, num_steps, hidden, seed=seed, num_values=num_values
        )
    if name == "RealNVP":
        return flows.real_nvp_image(
            shape,
            num_levels,
            num_couplings=max(1, num_steps // 2),
            hidden_channels=hidden // 2,
            num_blocks=1,
            seed=seed,
            num_values=num_values,
        )
    size = int(np.prod(shape))
    nice = flows.nice(
        size, 5, (4 * hidden,) * 3, base_distribution=tfd.Normal, seed=seed
    )
    to_data = tfb.Chain(
        [
            tfb.Scale(float(num_values)),
            tfb.Shift(0.5),
            tfb.Scale(0.3),
            tfb.Reshape(shape, [size]),
            nice.bijector,
        ]
    )
    return tfd.TransformedDistribution(nice.distribution, to_data)


def fit(
    flow,
    train,
    validation,
    num_values,
    seconds,
    batch,
    learning_rate,
    weight_decay,
    folder,
    seed,
    name,
):
    """Maximizes the likelihood for a number of seconds, with new noise for each batch.

    Returns:
      spent: seconds of training, those before an interruption among them.
      steps: number of steps. `flow` is left with the variables that were the best on
        the validation data.
    """
    first = dequantization.dequantize(train[:512], seed=seed, num_values=num_values)
    if name != "NICE":  # which has no layers to initialize
        normalization.initialize_from_data(flow, first)
    variables = flow.trainable_variables
    optimizer = keras.optimizers.AdamW(
        learning_rate, weight_decay=weight_decay, global_clipnorm=50.0
    )
    optimizer.exclude_from_weight_decay([v for v in variables if v.shape.rank < 2])
    optimizer.build(variables)
    images = tf.constant(train)

    @tf.function
    def train_step(step):
        seeds = tfp.random.split_seed(tf.stack([step, seed]), n=2)
        rows = tf.random.stateless_uniform([batch], seeds[0], 0, len(train), tf.int32)
        y = tf.cast(tf.gather(images, rows), tf.float32)
        y += tf.random.stateless_uniform(y.shape, seeds[1])
        with tf.GradientTape() as tape:
            nats = tf.reduce_mean(flow.log_prob(y))
            loss = -nats
        optimizer.apply(tape.gradient(loss, variables), variables)
        return dequantization.bits_per_dimension(nats, train.shape[1:])

    best = [tf.Variable(variable, trainable=False) for variable in variables]
    state = tf.train.Checkpoint(
        variables=flow.variables,
        best=best,
        optimizer=optimizer.variables,
        steps=tf.Variable(0),
        spent=tf.Variable(0.0),
        least=tf.Variable(np.inf),
    )
    manager = None
    if folder is not None:
        manager = tf.train.CheckpointManager(state, folder, max_to_keep=1)
        state.restore(manager.latest_checkpoint)
    train_step.get_concrete_function(tf.TensorSpec([], tf.int32))
    with tqdm.tqdm(total=round(seconds), desc=name, unit="s") as progress:
        progress.update(round(float(state.spent)))
        while state.spent < seconds:
            start, recent = time.perf_counter(), []
            part = seconds / 20.0
            while time.perf_counter() - start < part:
                share = (float(state.spent) + time.perf_counter() - start) / seconds
                warm = min(1.0, int(state.steps) / 50.0)
                cosine = 0.5 * (1.0 + np.cos(np.pi * min(1.0, share)))
                optimizer.learning_rate = learning_rate * warm * cosine
                recent.append(train_step(tf.constant(int(state.steps))))
                state.steps.assign_add(1)
            state.spent.assign_add(time.perf_counter() - start)
            bits = dequantization.bits_per_dimension(
                np.mean(score(flow, validation, num_values, seed)), train.shape[1:]
            )
            progress.update(min(round(seconds), round(float(state.spent))) - progress.n)
            progress.set_postfix(train=f"{np.mean(recent):.3f}", held_out=f"{bits:.3f}")
            if bits < state.least:
                state.least.assign(bits)
                for kept, variable in zip(best, variables):
                    kept.assign(variable)
            if manager is not None:
                manager.save()
    for kept, variable in zip(best, variables):
        variable.assign(kept)
    return float(state.spent), int(state.steps)


def score(flow, images, num_values, seed, size=500):
    """Returns the log density of each image, in units of its integers."""
    y = dequantization.dequantize(images, seed=(seed, 1), num_values=num_values)
    if not hasattr(flow, "scorer"):
        flow.scorer = tf.function(flow.log_prob, reduce_retracing=True)
    return np.concatenate(
        [flow.scorer(y[i : i + size]) for i in range(0, len(y), size)]
    )


def draw(path, trained, images, num_values, seed):
    """Draws data, samples at several temperatures, and ways between and along."""
    columns = 12
    glow = trained["Glow"]
    y = tf.cast(images[:columns], tf.float32) + 0.5
    rows = [("images held out", y)]
    for temperature in TEMPERATURES:
        rows.append(
            (
                f"Glow, temperature {temperature}",
                latent_space.sample_at_temperature(
                    glow, columns, temperature, seed=(seed, 3)
                ),
            )
        )
    for name, flow in trained.items():
        if name != "Glow":
            samples = flow.sample(columns, seed=(seed, 3))
            rows.append((f"{name}, temperature 1", samples))
    for i in (0, 2):
        row = latent_space.interpolate(glow, y[i], y[i + 1], columns)
        rows.append(("between two images", row))
    brightness = np.mean(images[:2000], axis=(1, 2, 3))
    direction = latent_space.attribute_direction(
        glow,
        tf.cast(images[:2000], tf.float32) + 0.5,
        brightness > np.median(brightness),
    )
    for i in (4, 5):
        amounts = np.linspace(-1.5, 1.5, columns)
        row = [
            latent_space.manipulate(glow, y[i : i + 1], direction, a)[0]
            for a in amounts
        ]
        rows.append(("less and more brightness", tf.stack(row)))

    height, width, channels = images.shape[1:]
    figure = matplotlib.figure.Figure(
        figsize=(8.0, 8.0 / columns * len(rows) * height / width)
    )
    axes = figure.subplots(len(rows), 1, gridspec_kw=dict(hspace=0.08))
    for ax, (title, row) in zip(axes, rows):
        shown = np.floor(np.clip(row, 0, num_values - 1)) / (num_values - 1)
        shown = np.pad(shown, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=1.0)
        shown = shown.transpose(1, 0, 2, 3).reshape(height + 2, -1, channels)
        shown = shown if channels == 3 else shown[..., 0]
        ax.imshow(shown, cmap="gray", vmin=0, vmax=1)
        ax.set_ylabel(title, rotation=0, ha="right", va="center")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    figure.savefig(path, dpi=90, bbox_inches="tight")
    with PIL.Image.open(path) as image:  # few colors take less than half of the space
        image.convert("RGB").quantize(64).save(path, optimize=True)


def rows(figures, arguments):
    """Returns the results as rows of the record."""
    data = pathlib.Path(arguments.data[0]).stem if arguments.data else "digits"
    return [
        dict(
            data=data,
            model=f"{name}, {row['seconds']:.0f} s",
            metric="held-out bits per dimension",
            value=float(row["bits_per_dimension"]),
            unit="bits",
            error=float(
                dequantization.bits_per_dimension(-row["standard_error"], row["size"])
            ),
            seed=arguments.seed,
            seconds=row["seconds"],
        )
        for name, row in figures.items()
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", nargs="+", help="files to train on")
    add("--test", help="file to score on")
    add("--seconds", type=float, default=60.0, help="of training, for each flow")
    add("--num-levels", type=int, default=2)
    add("--num-steps", type=int, default=4, help="steps of Glow at each level")
    add("--hidden", type=int, default=32, help="channels of hidden layers")
    add("--batch", type=int, default=64, help="images in a training step")
    add("--learning-rate", type=float, default=2e-3)
    add("--weight-decay", type=float, default=2.0, help="in units of learning rates")
    add("--bits", type=int, help="bits to keep of 8")
    add("--models", nargs="+", default=["Glow", "RealNVP", "NICE"])
    add("--checkpoint", help="directory for checkpoints, from which training resumes")
    add("--picture", default=PICTURE, help="where to write the picture")
    add("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if (arguments.data is None) != (arguments.test is None):
        parser.error("--data and --test go together")
    recording.record("glow", rows(main(**vars(arguments)), arguments))
