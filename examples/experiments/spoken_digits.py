"""A WaveNet of spoken digits: bits per sample, recognition, and generated speech.

The data are a file of clips of 8000 samples per second, such as those of one speaker of
the Free Spoken Digit Dataset; see `load`. Takes 0 to 4 are held out, 5 and 6 select the
weights. Without a file, notes are synthesized, one pitch per class. Run

    python examples/experiments/spoken_digits.py --data clips.npz --directory out

An interrupted training resumes from `--directory`, which also receives samples as
`.wav` files. Results are recorded in `results/spoken_digits.json`.
"""

import argparse
import json
import math
import pathlib
import time
import wave

import keras
import matplotlib.figure
import numpy as np
import PIL.Image
import recording
import tensorflow as tf
import tqdm

from tfp_flows import flows, networks

LEVELS, CLASSES, RATE = 256, 10, 8000
TEST, VALIDATION = range(5), range(5, 7)  # takes
EVALUATIONS = 20  # on the validation data, in a whole training
PICTURE = recording.RESULTS / "spoken_digits.png"


def main(
    data=None,
    steps=None,
    layers=None,
    channels=None,
    crop=None,
    batch=4,
    mixture=None,
    directory=None,
    picture=PICTURE,
    seed=0,
):
    """Fits a WaveNet, prints its scores, and writes generated speech.

    Args:
      data: path of a file of clips, see `load`; None for those of `synthesize`.
      steps: number of training steps; by default 800, and 400 without `data`.
      layers: number of layers of the network, with dilations 1, 2, 4, ...; by default
        9, all twice, and 8, once, without `data`.
      channels: channels of the network; by default 32, and 24 without `data`.
      crop: samples of a clip in a training step; by default 2000, and 1000 without
        `data`.
      batch: number of crops in a training step.
      mixture: number of logistic distributions for a sample; None for a logit for each
        of the 256 levels.
      directory: directory for checkpoints and samples, from which training resumes;
        or None.
      picture: path of the picture to write, or None.
      seed: integer, seed of initial values, crops and samples.

    Returns:
      figures: dictionary of numbers: `bits` a sample of the test clips given their
        digits, its `standard_error` over the clips, `validation_bits`, the floors
        `order_0` and `bigram`, `accuracy` of the digit that makes a clip most probable,
        `step` of the best weights, and `seconds` of the training.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it lacks an array; `directory` has a training with other settings.
    """
    small = data is None
    clips = synthesize(seed) if small else load(data)
    steps = steps or (400 if small else 800)
    layers = layers or (8 if small else 9)
    channels = channels or (24 if small else 32)
    crop = crop or (1000 if small else 2000)
    settings = dict(
        data=str(data),
        steps=steps,
        layers=layers,
        channels=channels,
        crop=crop,
        batch=batch,
        mixture=mixture,
        seed=seed,
    )
    test = [clip for clip in clips if clip[2] in TEST]
    validation = [clip for clip in clips if clip[2] in VALIDATION]
    train = [clip for clip in clips if clip[2] not in {*TEST, *VALIDATION}]

    dilations = [2**i for i in range(layers)] * (1 if small else 2)
    network = networks.WaveNet(
        3 * mixture if mixture else LEVELS,
        channels,
        2 * channels,
        dilations,
        seed=seed,
        context_size=CLASSES,
    )
    count = sum(math.prod(v.shape) for v in network.trainable_variables)
    print(
        f"{len(train)} clips to train on, {len(validation)} for validation, "
        f"{len(test)} held out\n{len(dilations)} layers, {count} weights, "
        f"{network.receptive_field} samples back ({network.receptive_field / RATE:.3f} "
        f"s), {steps} steps"
    )

    def model(length, digits):
        """Returns the distribution of clips of `length` samples, given their digits."""
        levels = flows.discrete_autoregressive(
            network, LEVELS, mixture, event_shape=[length]
        )
        return flows.condition(levels, tf.one_hot(digits, CLASSES))

    figures = fit(network, model, train, validation, settings, directory)
    tables = [model(len(x), np.arange(CLASSES)).log_prob(x).numpy() for x, *_ in test]
    digits = np.array([digit for _, digit, _ in test])
    lengths = np.array([len(x) for x, *_ in test])
    nats = np.stack(tables)[np.arange(len(test)), digits]
    figures |= score(nats, lengths)
    figures |= floors(train + validation, test)
    figures["accuracy"] = float(np.mean(np.argmax(tables, axis=-1) == digits))
    print(f"\n{'held out':30}  bits per sample (standard error)")
    print(f"{'histogram (order 0)':30}  {figures['order_0']:.3f}")
    print(f"{'bigram':30}  {figures['bigram']:.3f}")
    print(
        f"{'WaveNet given the digit':30}  {figures['bits']:.3f} "
        f"({figures['standard_error']:.3f})"
    )
    print(
        f"accuracy of the digit that makes a clip most probable: "
        f"{figures['accuracy']:.2f}\nbest weights at step {figures['step']}; seconds "
        f"of training: {figures['seconds']:.0f}"
    )

    length = 2 * crop
    generate = tf.function(
        lambda: model(length, np.arange(CLASSES)).sample(3, seed=[seed, 2]),
        jit_compile=True,
    )
    if picture is not None or directory is not None:
        samples = decode(generate().numpy())
    if directory is not None:
        for i, row in enumerate(samples):
            for digit, clip in enumerate(row):
                write(pathlib.Path(directory, f"sample_{digit}_{i}.wav"), clip)
    if picture is not None:
        real = [next(x for x, digit, _ in test if digit == c) for c in range(CLASSES)]
        draw(picture, [decode(x) for x in real], samples[0], length)
    return figures


def load(path):
    """Returns the clips of a file: levels, digit and take of each.

    Args:
      path: a `.npz` file with `audio`, int16, all clips end to end; `offsets`, where
        each begins, and the end; `digit` and `take` of each clip.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"`data` must be a file; there is no {path}.")
    with np.load(path) as file:
        for name in ["audio", "offsets", "digit", "take"]:
            if name not in file:
                raise ValueError(f"{path} has no array {name!r}; got {list(file)}.")
        levels = encode(file["audio"] / 2.0**15)
        clips = np.split(levels, file["offsets"][1:-1])
        return list(zip(clips, file["digit"].tolist(), file["take"].tolist()))


def synthesize(seed, takes=30):
    """Returns clips of notes instead of digits, a pitch for each class.

    A note has some harmonics, each with an amplitude and a decay of its own, and some
    noise.
    """
    rng = np.random.RandomState(seed)
    clips = []
    for take in range(takes):
        for digit in range(CLASSES):
            seconds = np.arange(rng.randint(1200, 2000)) / RATE
            pitch = 150.0 * 2.0 ** (digit / 6.0 + rng.normal(scale=0.005))
            sound = rng.normal(scale=0.002, size=len(seconds))
            for harmonic in range(1, 6):
                phase, decay = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(5.0, 30.0)
                amplitude = 0.2 * rng.uniform() / harmonic
                angle = 2.0 * np.pi * harmonic * pitch * seconds + phase
                sound += amplitude * np.exp(-decay * seconds) * np.sin(angle)
            clips.append((encode(sound), digit, take))
    return clips


def encode(sound):
    """Returns the levels of sound in [-1, 1], by the mu-law."""
    compressed = np.sign(sound) * np.log1p(255.0 * np.abs(sound)) / np.log(256.0)
    return np.int32(np.floor(127.5 * (compressed + 1.0) + 0.5))


def decode(levels):
    """Returns the sound of levels."""
    compressed = levels / 127.5 - 1.0
    return np.sign(compressed) * np.expm1(np.abs(compressed) * np.log(256.0)) / 255.0


def fit(network, model, train, validation, settings, directory):
    """Maximizes the likelihood of crops of clips given their digits.

    The network is left with the weights that were the best on the validation data. As
    in `density_estimation.py`, one call runs all steps from an evaluation to the next.
    """
    steps, crop, batch = (settings[name] for name in ["steps", "crop", "batch"])
    variables = network.trainable_variables
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(4e-3, steps), global_clipnorm=1.0
    )
    optimizer.build(variables)
    every = math.ceil(steps / EVALUATIONS)
    crops = Crops(train, crop)
    stream = tf.constant(crops.stream)

    def train_step(starts, digits):
        x = tf.gather(stream, starts[:, tf.newaxis] + tf.range(crop))
        with tf.GradientTape() as tape:
            nats = tf.reduce_mean(model(crop, digits).log_prob(x))
            loss = -nats / crop
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss / np.log(2.0)

    @tf.function(jit_compile=True, autograph=False)
    def run(starts, digits, count):
        _, total = tf.while_loop(
            lambda i, total: i < count,
            lambda i, total: (i + 1, total + train_step(starts[i], digits[i])),
            (tf.constant(0), tf.constant(0.0)),
        )
        return total / tf.cast(count, tf.float32)

    # The whole state of the training is saved.
    best = [tf.Variable(variable) for variable in variables]
    step, best_step = tf.Variable(0), tf.Variable(0)
    best_bits, spent = tf.Variable(np.float32(np.inf)), tf.Variable(0.0)
    state = tf.train.Checkpoint(
        network=network,
        optimizer=[v.value for v in optimizer.variables],
        best=best,
        step=step,
        best_step=best_step,
        best_bits=best_bits,
        spent=spent,
    )
    manager = open_checkpoint(state, directory, settings)

    start = time.perf_counter() - float(spent)
    with tqdm.tqdm(total=steps, initial=int(step), desc="fit", unit="step") as progress:
        while step < steps:
            count = min(every, steps - int(step))
            starts, digits = crops.draw([settings["seed"], int(step)], every, batch)
            bits = float(run(starts, digits, tf.constant(count)))
            now = score(
                *zip(
                    *[
                        (model(len(x), digit).log_prob(x), len(x))
                        for x, digit, _ in validation
                    ]
                )
            )["bits"]
            step.assign_add(count)
            if now < best_bits:
                best_step.assign(step)
                best_bits.assign(now)
                for variable, value in zip(best, variables):
                    variable.assign(value)
            spent.assign(time.perf_counter() - start)
            progress.update(count)
            progress.set_postfix(train=bits, validation=now)
            if manager is not None:
                manager.save()
    for variable, value in zip(variables, best):
        variable.assign(value)
    return dict(
        step=int(best_step), validation_bits=float(best_bits), seconds=float(spent)
    )


class Crops:
    """Pieces of clips of one length, for training.

    Each clip has silence behind it, so that the network learns where words end. Half a
    piece more than fits starts where the clip does.

    Args:
      clips: list of levels, digit and take.
      length: number of samples in a piece.
    """

    def __init__(self, clips, length, silence=500):
        padded = [
            np.pad(x, [0, max(silence, length - len(x))], constant_values=encode(0.0))
            for x, *_ in clips
        ]
        self.stream = np.concatenate(padded)
        self._lengths = np.array([len(x) for x in padded])
        self._first = np.cumsum(self._lengths) - self._lengths
        self._digits = np.array([digit for _, digit, _ in clips])
        self._length = length

    def draw(self, seed, *shape):
        """Returns where pieces start in `stream`, and their digits, int32."""
        rng = np.random.RandomState(seed)
        share = self._lengths / np.sum(self._lengths)
        clip = rng.choice(len(share), shape, p=share)
        room = self._lengths[clip] - self._length
        start = np.maximum(0, rng.randint(-self._length // 2, room + 1))
        return np.int32(self._first[clip] + start), np.int32(self._digits[clip])


def open_checkpoint(state, directory, settings):
    """Restores what was saved in a directory; returns what saves there, or None."""
    if directory is None:
        return None
    path = pathlib.Path(directory, "settings.json")
    if path.exists() and (saved := json.loads(path.read_text())) != settings:
        raise ValueError(
            "`directory` must be that of a training with the same settings; "
            f"got {settings} where {saved} is saved."
        )
    manager = tf.train.CheckpointManager(state, directory, max_to_keep=1)
    if manager.latest_checkpoint:
        state.restore(manager.latest_checkpoint).assert_consumed()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings))
    return manager


def score(nats, lengths):
    """Returns bits per sample over all clips, and the standard error over clips."""
    nats, lengths = np.asarray(nats), np.asarray(lengths)
    bits = -np.sum(nats) / (np.sum(lengths) * np.log(2.0))
    residuals = -nats / np.log(2.0) - bits * lengths
    error = np.std(residuals, ddof=1) * len(nats) ** 0.5 / np.sum(lengths)
    return dict(bits=float(bits), standard_error=float(error))


def floors(train, test):
    """Returns bits per sample of a histogram, and of a bigram model."""
    order_0 = np.ones(LEVELS)
    pairs = np.zeros([LEVELS, LEVELS])
    for x, *_ in train:
        np.add.at(order_0, x, 1.0)
        np.add.at(pairs, (x[:-1], x[1:]), 1.0)
    order_0 /= np.sum(order_0)
    pairs += 25.0 * order_0  # smoothing, by the histogram
    pairs /= np.sum(pairs, axis=-1, keepdims=True)
    lengths = [len(x) for x, *_ in test]
    nats = {
        "order_0": [np.sum(np.log(order_0[x])) for x, *_ in test],
        "bigram": [
            np.log(order_0[x[0]]) + np.sum(np.log(pairs[x[:-1], x[1:]]))
            for x, *_ in test
        ],
    }
    return {name: score(value, lengths)["bits"] for name, value in nats.items()}


def write(path, sound):
    """Writes sound in [-1, 1] as a file of 16 bits a sample."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.int16(32767.0 * sound).astype("<i2").tobytes())


def draw(path, real, samples, length):
    """Draws waveforms and spectrograms of a held-out clip and a sample a class."""
    figure = matplotlib.figure.Figure(figsize=(12.0, 4.8), layout="constrained")
    axes = figure.subplots(4, CLASSES, sharex=True, height_ratios=[1, 2, 1, 2])
    for rows, clips, title in [
        (axes[:2], real, "held out"),
        (axes[2:], samples, "sample"),
    ]:
        for digit, clip in enumerate(clips):
            clip = np.pad(clip, [0, max(0, length - len(clip))])[:length]
            clip = clip / np.max(np.abs(clip))
            above, below = rows[:, digit]
            above.plot(np.arange(length) / RATE, clip, "k", linewidth=0.4)
            above.set(xticks=[], yticks=[], ylim=[-1.1, 1.1])
            frames = np.lib.stride_tricks.sliding_window_view(clip, 256)[::32]
            power = np.abs(np.fft.rfft(frames * np.hanning(256))) ** 2
            below.imshow(
                10.0 * np.log10(power.T / np.max(power) + 1e-6),
                origin="lower",
                aspect="auto",
                cmap="gray_r",
                vmin=-45.0,
                vmax=0.0,
                extent=[128 / RATE, (length - 128) / RATE, 0.0, RATE / 2000.0],
            )
            below.set(xticks=[], yticks=[])
        rows[0, 0].set_ylabel(title)
    for digit, ax in enumerate(axes[0]):
        ax.set_title(digit)
    figure.savefig(path, dpi=100)
    with PIL.Image.open(path) as image:
        image.convert("L").quantize(16).save(path, optimize=True)


def rows(figures, options):
    """Returns the results as rows of the record."""
    data = pathlib.Path(options["data"]).stem if options["data"] else "notes"
    common = dict(data=data, seed=options["seed"])
    bits = dict(common, metric="held-out bits per sample", unit="bits")
    wavenet = dict(
        model="WaveNet", seconds=figures["seconds"], error=figures["standard_error"]
    )
    return [
        dict(bits, model="histogram", value=figures["order_0"]),
        dict(bits, model="bigram", value=figures["bigram"]),
        dict(bits, **wavenet, value=figures["bits"]),
        dict(
            common,
            model="WaveNet",
            metric="accuracy",
            unit="fraction",
            value=figures["accuracy"],
            seconds=figures["seconds"],
        ),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", metavar="PATH.npz", help="clips; by default some are synthesized")
    add("--steps", type=int, help="training steps")
    add("--layers", type=int, help="layers, with dilations 1, 2, 4, ...")
    add("--channels", type=int, help="channels of the network")
    add("--crop", type=int, help="samples of a clip in a training step")
    add("--batch", type=int, default=4, help="crops in a training step")
    add("--mixture", type=int, help="logistic distributions a sample, not logits")
    add("--directory", metavar="DIR", help="for checkpoints and samples")
    add("--picture", default=PICTURE, help="where to write the picture")
    add("--seed", type=int, default=0)
    options = vars(parser.parse_args())
    recording.record("spoken_digits", rows(main(**options), options))
