"""Fits a density of digits given their class, and classifies digits by Bayes' rule.

A flow whose networks see a label is one density for each class, on one set of weights:
`flows.maf(..., context_size=10)` has it, and `flows.condition(flow, one_hot)` binds
labels and returns a plain distribution, whose batch shape is that of the labels. Hence

- `condition(flow, one_hot).sample()` draws an image for each label;
- `condition(flow, tf.eye(10)).log_prob(x[:, None, :])` is a table of `log p(x | c)`,
  a row for each image and a column for each class, by one call. With the frequencies
  of the classes, its softmax is `p(c | x)`: a classifier that nobody trained to
  classify, and its log-sum-exp is `log p(x)`;
- in a `tfd.JointDistributionNamed`, the label is a random variable as the image is.

What does the label tell? The mean of `log p(x | c) - log p(x)` is the mutual information
of image and label, at most `log 10 = 2.30` nats for the true densities. Two flows may
differ by more or less: one is a better model than the other. The sum over the classes,
`sum_c p(c) p(x | c)`, does not know the label, and so is the one to compare with a
flow without context.

The data are the 1797 digits that come with scikit-learn, 8 x 8 pixels with levels 0 to
16: 1260 to train on, 140 to choose the best weights by, 397 held out. Run

    pip install -e ".[examples]"
    python examples/class_conditional.py
"""

import argparse
import pathlib
import time

import keras
import matplotlib.figure
import numpy as np
import sklearn.datasets
import sklearn.discriminant_analysis
import tensorflow as tf
import tensorflow_probability as tfp
import tqdm

from tfp_flows import flows

tfb, tfd = tfp.bijectors, tfp.distributions

SIZE, LEVELS, CLASSES = 64, 17, 10
PICTURE = pathlib.Path(__file__).with_suffix(".png")


def main(steps=1000, picture=PICTURE, seed=0):
    """Fits a flow with and one without the label, and compares them.

    Args:
      steps: number of training steps, for each.
      picture: path of the picture to write, or None.
      seed: integer that decides the noise, the initial values and the samples.

    Returns:
      figures: dictionary of numbers: mean held-out nats `given_class`, `over_classes`
        and `unconditional`, each with its standard error under the name with `_error`;
        `accuracy`, `accuracy_qda`, `seconds`.
    """
    start = time.perf_counter()
    train, validation, test = load_digits()
    models = {}
    for name, context_size in [("unconditional", 0), ("conditional", CLASSES)]:
        noise_to_data = flows.maf(
            SIZE, 5, (128, 128), seed=seed, context_size=context_size)
        models[name] = in_units_of_data(noise_to_data, train.data)
        fit(models[name], train, validation, steps, seed, name)
    frequency = np.mean(one_hot(train.target), axis=0)

    # Means over draws of the noise; each call makes a table for 397 images.
    flow = models["conditional"]
    tables, unconditional = [], []
    score = tf.function(lambda x: (
        flows.condition(flow, tf.eye(CLASSES)).log_prob(x[:, tf.newaxis, :]),
        models["unconditional"].log_prob(x)))
    for x in dequantise(test.data, seed, draws=10):
        table, nats = score(x)
        tables.append(table)
        unconditional.append(nats)
    given_class = np.mean(tables, axis=0)[np.arange(len(test.target)), test.target]
    joint = np.array(tables) + np.log(frequency)
    figures = {
        **mean_and_error("given_class", given_class),
        **mean_and_error("over_classes", np.mean(
            tf.reduce_logsumexp(joint, axis=-1), axis=0)),
        **mean_and_error("unconditional", np.mean(unconditional, axis=0)),
        "accuracy": float(np.mean(
            np.argmax(np.mean(joint, axis=0), axis=-1) == test.target)),
    }
    qda = sklearn.discriminant_analysis.QuadraticDiscriminantAnalysis(reg_param=0.1)
    both = np.concatenate([train.data, validation.data])
    qda.fit(both, np.concatenate([train.target, validation.target]))
    figures["accuracy_qda"] = qda.score(test.data, test.target)
    for k, v in figures.items():
        print(k, v)
    figures["seconds"] = time.perf_counter() - start
    print(f"seconds, without the imports: {figures['seconds']:.0f}")
    return figures


def load_digits():
    """Returns the digits for training, validation and test, with `data`, `target`."""
    digits = sklearn.datasets.load_digits()
    order = np.random.RandomState(0).permutation(len(digits.data))
    return [
        sklearn.utils.Bunch(
            data=digits.data[rows].astype(np.float32), target=digits.target[rows])
        for rows in np.split(order, [1260, 1400])
    ]


def one_hot(labels):
    return np.eye(CLASSES, dtype=np.float32)[labels]


def dequantise(levels, seed, draws):
    """Spreads each level evenly over its interval: shape `[draws, N, SIZE]`, in [0, 1)."""
    noise = tf.random.stateless_uniform([draws, *levels.shape], [seed, 1])
    return (levels + noise) / LEVELS


def in_units_of_data(flow, levels, margin=0.05):
    width = margin / (1.0 - 2.0 * margin)
    squash = tfb.Sigmoid(-width, 1.0 + width)
    z = squash.inverse(dequantise(levels, 0, draws=10)).numpy().reshape(-1, SIZE)
    to_data = tfb.Chain([
        squash, tfb.Shift(np.mean(z, axis=0)), tfb.Scale(np.std(z, axis=0)),
        flow.bijector])
    return tfd.TransformedDistribution(flow.distribution, to_data)


def fit(flow, train, validation, steps, seed, name, batch=128, lr=2e-3, wd=0.1):
    variables = flow.trainable_variables
    optimizer = keras.optimizers.AdamW(
        keras.optimizers.schedules.CosineDecay(lr, steps),
        weight_decay=wd, global_clipnorm=5.0)
    optimizer.build(variables)
    levels, labels = tf.constant(train.data), tf.constant(one_hot(train.target))
    with_label = name == "conditional"

    def log_prob(x, label):
        model = flows.condition(flow, label) if with_label else flow
        return model.log_prob(x)

    @tf.function(jit_compile=True)
    def train_step(step):
        seeds = tfp.random.split_seed(tf.stack([step, seed]), n=2)
        rows = tf.random.stateless_uniform([batch], seeds[0], 0, len(levels), tf.int32)
        noise = tf.random.stateless_uniform([batch, SIZE], seeds[1])
        x = (tf.gather(levels, rows) + noise) / LEVELS
        with tf.GradientTape() as tape:
            nats = tf.reduce_mean(log_prob(x, tf.gather(labels, rows)))
            loss = -nats
        optimizer.apply(tape.gradient(loss, variables), variables)
        return nats

    points = dequantise(validation.data, seed, draws=5)
    mean_nats = tf.function(
        lambda: tf.reduce_mean(log_prob(points, one_hot(validation.target))),
        jit_compile=True)
    every = max(1, steps // 30)
    best, best_nats, recent = None, -np.inf, []
    with tqdm.trange(1, steps + 1, desc=name, unit="step") as progress:
        for step in progress:
            recent.append(train_step(tf.constant(step)))
            if step % every and step != steps:
                continue
            nats = mean_nats().numpy()
            progress.set_postfix(train=np.mean(recent), validation=nats)
            if VERB: print(step, np.mean(recent), nats, flush=True)
            recent = []
            if nats > best_nats:
                best, best_nats = [v.numpy() for v in variables], nats
    for variable, value in zip(variables, best):
        variable.assign(value)

VERB=False
def mean_and_error(name, nats):
    return {
        name: float(np.mean(nats)),
        f"{name}_error": float(np.std(nats, ddof=1) / len(nats) ** 0.5),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000, help="training steps")
    parser.add_argument("--picture", default=PICTURE, help="where to write the picture")
    main(**vars(parser.parse_args()))
