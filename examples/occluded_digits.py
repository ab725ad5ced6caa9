"""Learns images pixel by pixel, and draws the half of a digit that is hidden.

A flow makes densities, and pixels are whole numbers. A PixelCNN needs no noise to tell
the two apart: for each pixel it gives a probability to each of its levels, given the
pixels above and to the left. Their product is the probability of the image:

    log p(x) = log p(x_1) + log p(x_2 | x_1) + log p(x_3 | x_1, x_2) + ...

`flows.discrete_autoregressive(networks.PixelCNN(...), num_levels)` is that
distribution.

- `log_prob(x)` takes one pass of the network, with images of whole numbers as they are.
- `sample(n)` needs as many passes as it takes until no pixel changes any more.
- `model.sample_completions(x, observed_mask)` draws the pixels that are not known, given those
  that are, as long as the known ones come first: here the upper half. It needs no
  training of its own, and no two draws need to agree. Where the upper half leaves
  several digits possible, they show all of them.

The network sees a label, too: a context. In half of the training the label is left out,
a vector of zeros, so that one network is `p(x)` and `p(x | c)`. The label settles what
the upper half leaves open, as the last columns of the picture show.

The data are the 1797 digits that come with scikit-learn, 8 x 8 pixels with levels 0 to
16: 1260 to train on, 140 to choose the best weights by, 397 held out. To compare with,
a histogram for each pixel, and one for each pixel and class, are all that pixels tell
without each other. Run

    pip install -e ".[examples]"
    python examples/occluded_digits.py --directory digits

It saves the training to the directory, and goes on from there when it is started again.
It prints figures for held-out digits, and draws `occluded_digits.png`, a row for each
class. With 500 steps and seed 0 this was

                                  nats (standard error)  bits per dimension
    PixelCNN                            -80.72 (0.57)               1.820
    PixelCNN, given the class           -76.06 (0.57)               1.715
    histograms                         -107.59 (0.48)               2.425
    histograms, given the class         -96.59 (0.58)               2.177

The nearest of the training digits has the class of 0.9849 of the held-out digits, of
0.7632 of their completions, one each, and of 0.9395 of those that were drawn given the
class. All took 108 s on 2 cores that were busy with other work, and 115 s of processor
time.
"""

import argparse
import json
import pathlib
import time

import keras
import matplotlib.figure
import numpy as np
import sklearn.datasets
import sklearn.neighbors
import tensorflow as tf
import tqdm

from tfp_flows import flows, networks

SIDE, LEVELS, CLASSES = 8, 17, 10
KNOWN = np.arange(SIDE)[:, np.newaxis, np.newaxis] < SIDE // 2  # the upper half
PICTURE = pathlib.Path(__file__).with_suffix(".png")


def main(steps=500, layers=4, directory=None, picture=PICTURE, seed=0):
    """Fits a PixelCNN, prints how good it is, and completes images.

    Args:
      steps: number of training steps.
      layers: number of layers of the network after its first one.
      directory: where to save the training, and to go on from; or None.
      picture: path of the picture to write, or None.
      seed: integer that decides the initial values, the batches and the draws.

    Returns:
      figures: dictionary of numbers: mean held-out nats `pixel_cnn`, `given_class`,
        `histograms`, `histograms_given_class`, with standard errors under these names
        and `_error`, and bits per dimension with `_bits`; shares of digits
        whose class is found `known_whole`, `known_completed`, `known_given_class`;
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

    # The label of a model is bound by `condition`: zeros for one that is not known.
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

    # One completion of each digit, without its label and with it. The nearest digit of
    # the training data tells what it looks like.
    nearest = sklearn.neighbors.KNeighborsClassifier(1)
    nearest.fit(train.images.reshape([-1, SIDE**2]), train.target)
    drawn = [
        bound.sample_completions(test.images, KNOWN, seed=[seed, i])
        for i, bound in enumerate([unknown, labeled])
    ]
    for name, title, images in [
        ("known_whole", "the digits themselves", test.images),
        ("known_completed", "completions", drawn[0]),
        ("known_given_class", "completions given the class", drawn[1]),
    ]:
        guess = nearest.predict(np.reshape(images, [-1, SIDE**2]))
        figures[name] = float(np.mean(guess == test.target))
        print(f"nearest neighbor finds the class of {title}: {figures[name]:.4f}")
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
        # The step decides the batch: a training that goes on sees what it would have.
        rows = tf.random.stateless_uniform(
            [batch], [step, seed], 0, len(images), tf.int32
        )
        half = tf.cast(tf.range(batch) % 2, tf.float32)[:, tf.newaxis]
        context = half * tf.gather(labels, rows)
        with tf.GradientTape() as tape:
            bound = flows.condition(model, context)
            loss = -tf.reduce_mean(bound.log_prob(tf.gather(images, rows)))
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
    """Returns the log probabilities of images whose pixels do not know each other."""
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
        bound = flows.condition(model, context)
        return bound.sample_completions(images, KNOWN, [number], seed)

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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--steps", type=int, default=500, help="training steps")
    add("--layers", type=int, default=4, help="layers of the network after the first")
    add("--directory", help="where to save the training, and to go on from")
    add("--picture", default=PICTURE, help="where to write the picture")
    main(**vars(parser.parse_args()))
