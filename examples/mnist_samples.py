"""Fits NICE and RealNVP to images of digits, and draws samples of both.

Both are stacks of coupling layers: every second pixel is changed by what a network
makes of the others, and then the other way round. In NICE (Dinh et al., 2015,
https://arxiv.org/abs/1410.8516) the change is a shift; one scale for each pixel, the
same for all images, is all that changes volumes. In RealNVP (Dinh et al., 2017,
https://arxiv.org/abs/1605.08803) each coupling scales as well, by what it sees: paper
far from ink can be narrow, and strokes wide. Both score and sample in one pass.

Pixels are whole numbers. Uniform noise spreads each over its interval, as a narrow peak
on each level would win otherwise, and `x = (level + noise) / levels` is in [0, 1). NICE
models `x`. RealNVP models `logit(0.05 + 0.9 x)`, which has no edges; with the 0.95 of
its paper, float32 rounds a pixel to 1 now and then, where the logit has a pole. That is
one more bijector of the flow, `tfb.Sigmoid`, so that `log_prob` is a density of `x` for
both, and they compare. Mean and spread of each pixel are fixed layers, too: training
would find them, in many more steps. Bits per dimension are in units of levels:

    bits = (dimensions * log(levels) - nats) / (dimensions * log(2))

They are at least what the flow takes to code the levels. Run

    pip install -e ".[examples]"
    python examples/mnist_samples.py

for the digits of scikit-learn, 8 x 8 pixels with 17 levels, or with files of arrays `x`
of shape `[N, 28, 28]`, whole numbers from 0 to 255,

    python examples/mnist_samples.py --data train.npz ... --test test.npz

With the 60000 training and 10000 test images of MNIST, 1500 steps for each flow and
seed 0 the test images had

                nats (standard error)  bits per dimension
    NICE             1393.69 (2.20)               5.435
    RealNVP          2860.77 (4.00)               2.736

and `mnist_samples.png` has the samples: those of NICE tell where ink is found and
little more, those of RealNVP begin to be strokes. This is a short training, 2.5 passes
through the data for each flow. The paper of NICE, with wider networks and 1500 passes,
has 1980.50 nats. All took 907 s on 2 cores that were busy with other work, and 246 s of
processor time.
"""

import argparse
import pathlib
import time

import keras
import matplotlib.figure
import numpy as np
import PIL.Image
import sklearn.datasets
import tensorflow as tf
import tensorflow_probability as tfp
import tqdm

from tfp_flows import flows

tfb, tfd = tfp.bijectors, tfp.distributions

PICTURE = pathlib.Path(__file__).with_suffix(".png")


def main(data=None, test=None, steps=1500, picture=PICTURE, seed=0):
    """Fits both flows, prints how good they are, and draws samples.

    Args:
      data: paths of the files to train on; None for the digits of scikit-learn.
      test: path of the file to score on, needed with `data`.
      steps: number of training steps for each flow.
      picture: path of the picture to write, or None.
      seed: integer that decides the noise, the initial values and the samples.

    Returns:
      figures: dictionary: `figures[model]` has `nats`, its `standard_error`, and
        `bits_per_dimension`, for "NICE" and "RealNVP"; `figures["seconds"]` and
        `figures["processor_seconds"]`.
    """
    start = time.perf_counter(), time.process_time()
    if data is None:
        (train, validation, test), levels = load_digits(), 17
        nice_units, real_nvp_units = (128, 128), (64, 64)
    else:
        train = np.concatenate([load_images(path) for path in data])
        train, validation = np.split(train, [-(len(train) // 60)])
        test, levels = load_images(test), 256
        nice_units, real_nvp_units = (400, 400, 400), (256, 256)
    size = train.shape[-1]
    x = dequantize(train, levels, seed)
    models = {
        "NICE": started_at(flows.nice(size, 5, nice_units, seed=seed), x),
        "RealNVP": started_at(
            flows.real_nvp(size, 6, real_nvp_units, mask="alternating", seed=seed),
            x,
            [unit_interval()],
            floor=0.03,
        ),
    }
    points = dequantize(test, levels, seed)
    figures, samples = {}, {}
    for name, flow in models.items():
        fit(
            flow, train, dequantize(validation, levels, seed), levels, steps, seed, name
        )
        log_prob = tf.function(flow.log_prob)
        nats = np.concatenate([log_prob(x) for x in np.array_split(points, 10)])
        figures[name] = score(nats, size, levels)
        samples[name] = flow.sample(64, seed=[seed, 2]).numpy()

    print(f"\n{'':10}  nats (standard error)  bits per dimension")
    for name, row in figures.items():
        print(
            f"{name:10}  {row['nats']:12.2f} ({row['standard_error']:.2f})"
            f"  {row['bits_per_dimension']:18.3f}"
        )
    if picture is not None:
        draw(picture, {"Data": points[:64], **samples})
    figures["seconds"] = time.perf_counter() - start[0]
    figures["processor_seconds"] = time.process_time() - start[1]
    print(
        f"seconds, without the imports: {figures['seconds']:.0f}, "
        f"of processor time: {figures['processor_seconds']:.0f}"
    )
    return figures


def load_digits():
    """Returns scikit-learn's digits for training, validation and test."""
    levels = sklearn.datasets.load_digits().data.astype(np.float32)
    order = np.random.RandomState(0).permutation(len(levels))
    return np.split(levels[order], [1260, 1400])


def load_images(path):
    """Returns the images of a file as rows of levels."""
    with np.load(path) as file:
        images = file["x"]
    return images.reshape(len(images), -1).astype(np.float32)


def dequantize(pixels, levels, seed):
    """Spreads each level evenly over its interval, in [0, 1)."""
    noise = tf.random.stateless_uniform(pixels.shape, [seed, 1])
    return ((pixels + noise) / levels).numpy()


def unit_interval(margin=0.05):
    """Returns the layer whose inverse is `logit(margin + (1 - 2 margin) x)`."""
    beyond = margin / (1.0 - 2.0 * margin)
    return tfb.Sigmoid(low=-beyond, high=1.0 + beyond)


def started_at(flow, x, last_layers=(), floor=0.0):
    """Returns a flow with fixed layers around it, which start it near the data `x`.

    From noise to data: the spread of each pixel, `flow`, the mean of each pixel, and
    `last_layers`. The spread is next to the noise, so that the networks see all pixels
    in the same units: one that is white in almost all images would stick out far else
    where it is not.

    Args:
      flow: distribution of vectors.
      x: data, shape `[N, size]`.
      last_layers: bijectors next to the data, the last of them first.
      floor: share of the spread of all pixels that is the least one of a pixel.
    """
    last = tfb.Chain(list(last_layers))
    z = last.inverse(x).numpy()
    spread = np.maximum(np.std(z, axis=0), floor * np.std(z))
    to_data = [
        last,
        tfb.Shift(np.mean(z, axis=0)),
        flow.bijector,
        tfb.Scale(spread / flow.distribution.stddev()),
    ]
    return tfd.TransformedDistribution(flow.distribution, tfb.Chain(to_data))


def fit(flow, train, validation, levels, steps, seed, name, batch=100):
    """Maximizes the likelihood, with new noise for each batch.

    `flow` is left with the variables that were the best on the validation data.
    """
    variables = flow.trainable_variables
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(1e-3, steps), global_clipnorm=100.0
    )
    optimizer.build(variables)
    pixels = tf.Variable(train, trainable=False)

    @tf.function(jit_compile=True)
    def train_step(step):
        seeds = tfp.random.split_seed(tf.stack([step, seed]), n=2)
        rows = tf.random.stateless_uniform([batch], seeds[0], 0, len(train), tf.int32)
        noise = tf.random.stateless_uniform([batch, train.shape[-1]], seeds[1])
        x = (tf.gather(pixels, rows) + noise) / levels
        with tf.GradientTape() as tape:
            nats = tf.reduce_mean(flow.log_prob(x))
            loss = -nats
        optimizer.apply(tape.gradient(loss, variables), variables)
        return nats

    held_out = tf.function(lambda: tf.reduce_mean(flow.log_prob(validation)))
    every = max(1, steps // 20)
    recent, best, best_nats = [], None, -np.inf
    with tqdm.trange(1, steps + 1, desc=name, unit="step") as progress:
        for step in progress:
            recent.append(train_step(tf.constant(step)))
            if step % every and step != steps:
                continue
            nats = held_out().numpy()
            progress.set_postfix(train=np.mean(recent), validation=nats)
            recent = []
            if best is None or nats > best_nats:
                best, best_nats = [variable.numpy() for variable in variables], nats
    for variable, value in zip(variables, best):
        variable.assign(value)


def score(nats, size, levels):
    """Returns the mean, its standard error over the images, and bits per dimension."""
    mean = np.mean(nats)
    return {
        "nats": float(mean),
        "standard_error": float(np.std(nats, ddof=1) / len(nats) ** 0.5),
        "bits_per_dimension": float(
            (size * np.log(levels) - mean) / (size * np.log(2.0))
        ),
    }


def draw(path, images):
    """Draws 8 x 8 images for each title."""
    figure = matplotlib.figure.Figure(figsize=(12.0, 4.4), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15)
    for ax, (title, points) in zip(figure.subplots(1, len(images)), images.items()):
        side = round(points.shape[-1] ** 0.5)
        padded = np.pad(
            np.reshape(np.clip(points, 0.0, 1.0), [8, 8, side, side]),
            [(0, 0)] * 2 + [(1, 1)] * 2,
        )
        side += 2
        ax.imshow(
            np.reshape(padded.transpose(0, 2, 1, 3), [8 * side, 8 * side]),
            cmap="gray_r",
        )
        ax.set_title(title if title == "Data" else f"Samples of {title}")
        ax.set_axis_off()
    figure.savefig(path, dpi=100)
    with PIL.Image.open(path) as image:  # 32 grays take less than half of the space
        image.convert("RGB").quantize(32).save(path, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", help="files to train on")
    parser.add_argument("--test", help="file to score on")
    parser.add_argument("--steps", type=int, default=1500, help="training steps")
    parser.add_argument("--picture", default=PICTURE, help="where to write the picture")
    arguments = parser.parse_args()
    if (arguments.data is None) != (arguments.test is None):
        parser.error("--data and --test go together")
    main(**vars(arguments))
