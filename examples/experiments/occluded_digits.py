"""A PixelCNN of digits, which completes images whose lower half is hidden.

Reports held-out log probabilities, beside those of histograms per pixel, and how often
a nearest-neighbor classifier of real digits recognizes the completions. Run

    python examples/experiments/occluded_digits.py --directory runs/pixel_cnn

An interrupted training resumes from `--directory`. Results are recorded in
`results/occluded_digits.json`.
"""

import argparse
import json
import pathlib
import time

import keras
import matplotlib.figure
import numpy as np
import recording
import sklearn.datasets
import sklearn.neighbors
import tensorflow as tf
import tqdm

from tfp_flows import flows, networks

SIDE, LEVELS, CLASSES = 8, 17, 10
KNOWN = np.arange(SIDE)[:, np.newaxis, np.newaxis] < SIDE // 2  # the upper half
PICTURE = recording.RESULTS / "occluded_digits.png"


def main(steps=500, layers=4, directory=None, picture=PICTURE, seed=0):
    """Fits a PixelCNN, prints its scores, and completes images.

    Args:
      steps: number of training steps.
      layers: number of layers of the network after its first one.
      directory: directory for checkpoints, from which training resumes; or None.
      picture: path of the picture to write, or None.
      seed: integer, seed of initial values, batches and samples.

    Returns:
      figures: dictionary of numbers: mean held-out nats `pixel_cnn`, `given_class`,
        `histograms`, `histograms_given_class`, with standard errors under these names
        and `_error`, and bits per dimension with `_bits`; fractions of digits
        that are recognized `known_whole`, `known_completed`, `known_given_class`;
        `seconds`, `processor_seconds`.

    Raises:
      ValueError: `directory` holds a training with other settings.
    """
    start = time.perf_counter(), time.process_time()
    train, validation, test = load_digits()
    network = networks.PixelCNN(
        [SIDE, SIDE, 1],
        LEVELS,
        hidden_channels=32,
        num_layers=layers,
        first_kernel_size=5,
        context_size=CLASSES,
        seed=seed,
    )
    model = flows.discrete_autoregressive(network, LEVELS)
    settings = dict(steps=steps, layers=layers, seed=seed)
    fit(model, train, validation, steps, seed, directory, settings)

    # The context is a label, or zeros for an unknown one.
    unknown = flows.condition(model, tf.zeros([CLASSES]))
    labeled = flows.condition(model, one_hot(test.target))
    figures = {
        **score("pixel_cnn", unknown.log_prob(test.images)),
        **score("given_class", labeled.log_prob(test.images)),
    }
    # The histograms need no validation, and have all of the training data.
    table = histograms(
        np.concatenate([train.images, validation.images]),
        np.concatenate([train.target, validation.target]),
    )
    figures |= score("histograms", log_prob_of(table[-1:], test, given_class=False))
    figures |= score("histograms_given_class", log_prob_of(table, test, True))
    print(f"\n{'held out':28}  nats (standard error)  bits per dimension")
    for title, name in [
        ("PixelCNN", "pixel_cnn"),
        ("PixelCNN, given the class", "given_class"),
        ("histograms", "histograms"),
        ("histograms, given the class", "histograms_given_class"),
    ]:
        nats, error, bits = (figures[name + end] for end in ["", "_error", "_bits"])
        print(f"{title:28}  {nats:12.2f} ({error:.2f})  {bits:18.3f}")

    # One completion of each digit, without its label and with it, classified by its
    # nearest neighbor in the training data.
    nearest = sklearn.neighbors.KNeighborsClassifier(1)
    nearest.fit(train.images.reshape([-1, SIDE**2]), train.target)
    drawn = [
        conditioned.sample_completions(test.images, KNOWN, seed=[seed, i])
        for i, conditioned in enumerate([unknown, labeled])
    ]
    for name, title, images in [
        ("known_whole", "the digits themselves", test.images),
        ("known_completed", "completions", drawn[0]),
        ("known_given_class", "completions given the class", drawn[1]),
    ]:
        guess = nearest.predict(np.reshape(images, [-1, SIDE**2]))
        figures[name] = float(np.mean(guess == test.target))
        print(f"nearest neighbor recognizes {title}: {figures[name]:.4f}")
    if picture is not None:
        draw(picture, model, test, seed)
    figures["seconds"] = time.perf_counter() - start[0]
    figures["processor_seconds"] = time.process_time() - start[1]
    print(
        f"seconds, without the imports: {figures['seconds']:.0f}, "
        f"of processor time: {figures['processor_seconds']:.0f}"
    )
    return figures


def load_digits():
    """Returns the digits for training, validation and test: `images` and `target`."""
    digits = sklearn.datasets.load_digits()
    order = np.random.RandomState(0).permutation(len(digits.images))
    levels = digits.images[..., np.newaxis].astype(np.uint8)
    return [
        sklearn.utils.Bunch(images=levels[rows], target=digits.target[rows])
        for rows in np.split(order, [1260, 1400])
    ]


def one_hot(labels):
    """Returns the labels as vectors of shape `[..., CLASSES]`."""
    return np.eye(CLASSES, dtype=np.float32)[labels]


def fit(model, train, validation, steps, seed, directory, settings, batch=128):
    """Maximizes the probability of the images, of half of them given their labels.

    It leaves `model` with the variables that were the best on the validation data.
    """
    variables = model.trainable_variables
    optimizer = keras.optimizers.AdamW(
        keras.optimizers.schedules.CosineDecay(3e-3, steps),
        weight_decay=0.1,
        global_clipnorm=5.0,
    )
    optimizer.build(variables)
    images, labels = tf.constant(train.images), tf.constant(one_hot(train.target))

    @tf.function
    def train_step(step):
        # The batch is a function of the step, so that a resumed training is the same.
        rows = tf.random.stateless_uniform(
            [batch], [step, seed], 0, len(images), tf.int32
        )
        half = tf.cast(tf.range(batch) % 2, tf.float32)[:, tf.newaxis]
        context = half * tf.gather(labels, rows)
        with tf.GradientTape() as tape:
            conditioned = flows.condition(model, context)
            loss = -tf.reduce_mean(conditioned.log_prob(tf.gather(images, rows)))
        optimizer.apply(tape.gradient(loss, variables), variables)
        return -loss

    contexts = np.stack([one_hot(validation.target), np.zeros([140, CLASSES])])
    held_out = tf.function(
        lambda: tf.reduce_mean(
            flows.condition(model, np.float32(contexts)).log_prob(validation.images)
        )
    )

    best = [tf.Variable(variable) for variable in variables]
    done, best_nats = tf.Variable(0), tf.Variable(-np.float32(np.inf))
    state = tf.train.Checkpoint(
        model=model,
        optimizer=[v.value for v in optimizer.variables],
        best=best,
        done=done,
        best_nats=best_nats,
    )
    manager = open_checkpoint(state, directory, settings)
    every = max(1, steps // 40)
    with tqdm.tqdm(total=steps, initial=int(done), desc="fit", unit="step") as progress:
        while done < steps:
            count = min(every, steps - int(done))
            nats = [train_step(done + i) for i in range(count)]
            done.assign_add(count)
            now = held_out()
            if now > best_nats:
                best_nats.assign(now)
                for variable, value in zip(best, variables):
                    variable.assign(value)
            progress.update(count)
            progress.set_postfix(train=np.mean(nats), validation=now.numpy())
            if manager is not None:
                manager.save()
    for variable, value in zip(variables, best):
        variable.assign(value)


def open_checkpoint(state, directory, settings):
    """Restores what was saved in a directory; returns what saves there, or None."""
    if directory is None:
        return None
    path = pathlib.Path(directory, "settings.json")
    if path.exists() and (saved := json.loads(path.read_text())) != settings:
        raise ValueError(
            "`directory` must hold a training with the same settings; "
            f"got {settings} where {saved} is saved."
        )
    manager = tf.train.CheckpointManager(state, directory, max_to_keep=1)
    if manager.latest_checkpoint:
        state.restore(manager.latest_checkpoint).assert_consumed()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings))
    return manager


def histograms(images, target):
    """Returns the frequency of each level for each pixel, smoothed by half a count.

    Returns:
      table: array of shape `[CLASSES + 1, LEVELS, SIDE, SIDE, 1]`; the last row is that
        of all classes together.
    """
    groups = [images[target == label] for label in range(CLASSES)] + [images]
    counts = 0.5 + np.stack(
        [
            [np.sum(group == level, axis=0) for level in range(LEVELS)]
            for group in groups
        ]
    )
    return counts / np.sum(counts, axis=1, keepdims=True)


def log_prob_of(table, data, given_class):
    """Returns the log probabilities of images with independent pixels."""
    table = np.log(table[data.target if given_class else np.zeros_like(data.target)])
    terms = np.take_along_axis(table, data.images[:, np.newaxis].astype(int), axis=1)
    return np.sum(terms, axis=(1, 2, 3, 4))


def score(name, nats):
    """Returns the mean of nats, its standard error, and bits per dimension."""
    bits = -np.mean(nats) / (SIDE**2 * np.log(2.0))
    error = np.std(nats, ddof=1) / len(nats) ** 0.5
    values = {"": np.mean(nats), "_error": error, "_bits": bits}
    return {name + end: float(value) for end, value in values.items()}


def draw(path, model, test, seed, free=6, labeled=3):
    """Draws a digit of each class, the first held out, and ways to complete it."""
    rows = [np.flatnonzero(test.target == label)[0] for label in range(CLASSES)]
    images = test.images[rows]

    @tf.function
    def completions(context, number, seed):
        conditioned = flows.condition(model, context)
        return conditioned.sample_completions(images, KNOWN, [number], seed)

    without = completions(tf.zeros([CLASSES]), free, [seed, 1])
    given = completions(tf.eye(CLASSES), labeled, [seed, 2])
    columns = [
        ("held-out\ndigit", images[np.newaxis]),
        ("what is\nshown", np.where(KNOWN, images, 0)[np.newaxis]),
        ("drawn, given the upper half", without),
        ("drawn, given that\nand the label", given),
    ]
    counts = [len(column) for _, column in columns]
    figure = matplotlib.figure.Figure(
        figsize=(0.62 * sum(counts) + 0.9, 7.1), layout="constrained"
    )
    for i, (ax, (title, column)) in enumerate(
        zip(figure.subplots(1, len(columns), width_ratios=counts), columns)
    ):
        padded = np.pad(np.array(column)[..., 0], [(0, 0)] * 2 + [(1, 1)] * 2)
        tiles = padded.transpose(1, 2, 0, 3)  # class, row, draw, column
        ax.imshow(
            tiles.reshape([CLASSES * (SIDE + 2), -1]), cmap="gray_r", vmax=LEVELS - 1
        )
        ax.set_title(title, fontsize=10)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        middle = (SIDE + 2) * np.arange(CLASSES) + SIDE // 2 + 0.5
        if i == 0:
            ax.set_yticks(middle, range(CLASSES))
            ax.set_ylabel("label")
            ax.tick_params(length=0)
        else:  # lines above what is hidden or drawn
            ax.hlines(
                middle,
                -0.5,
                tiles.shape[2] * tiles.shape[3] - 0.5,
                color="tab:red",
                linewidth=0.6,
            )
    figure.savefig(path, dpi=100)


def rows(figures, options):
    """Returns the results as rows of the record."""
    names = dict(
        pixel_cnn="PixelCNN",
        given_class="PixelCNN, given the class",
        histograms="histograms",
        histograms_given_class="histograms, given the class",
    )
    common = dict(data="digits", seed=options["seed"])
    common |= dict(seconds=figures["processor_seconds"])
    results = [
        dict(
            common,
            model=model,
            metric="held-out log-likelihood",
            value=figures[name],
            error=figures[f"{name}_error"],
            unit="nats",
        )
        for name, model in names.items()
    ]
    recognized = dict(
        known_whole="held-out digits",
        known_completed="completions",
        known_given_class="completions, given the class",
    )
    return results + [
        dict(
            common,
            model=model,
            metric="recognized",
            value=figures[name],
            unit="fraction",
        )
        for name, model in recognized.items()
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--steps", type=int, default=500, help="training steps")
    add("--layers", type=int, default=4, help="layers of the network after the first")
    add("--directory", help="directory for checkpoints")
    add("--picture", default=PICTURE, help="where to write the picture")
    options = vars(parser.parse_args())
    recording.record("occluded_digits", rows(main(**options), options))
