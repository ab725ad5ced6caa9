"""Variational autoencoders with flow posteriors, as van den Berg et al. (2018).

Convolutional encoder and decoder of https://arxiv.org/abs/1803.05649, with any
posterior of `flows.amortized_posterior`. Run

    python examples/experiments/vae.py --posterior planar

for the digits of scikit-learn. `--data` takes files of other images, `.npz`, in one of
these layouts: gray values `x` with `order_123` (Frey faces, 256 values per pixel),
packed bits `train`, `val` and `test` (Caltech silhouettes), `x` with `drawer`
(OMNIGLOT), or `x` in several files of which the last is the test set (MNIST). Pixels of
the last two are binarized once, with their gray values as probabilities:

    python examples/experiments/vae.py --data freyfaces.npz --epochs 12 --warm-up 10 \
        --posterior sylvester_orthogonal --num-columns 8 --folder runs/frey

An interrupted training resumes from `--folder`. Results are recorded in
`results/vae.json`.
"""

import argparse
import pathlib
import time

import keras
import matplotlib
import numpy as np
import recording
import sklearn.datasets
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import flows, variational
from tfp_flows.keras import DistributionLayer

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

tfd = tfp.distributions

PICTURE = recording.RESULTS / "vae.png"
POSTERIORS = [
    "gaussian",
    "planar",
    "radial",
    "sylvester_orthogonal",
    "sylvester_householder",
    "sylvester_triangular",
    "iaf",
]


def main(
    posterior="planar",
    data=(),
    latent_size=None,
    num_layers=4,
    width=None,
    num_columns=None,
    epochs=None,
    batch_size=None,
    warm_up=None,
    rate=None,
    free_nats=None,
    mixed=False,
    seed=0,
    samples=5000,
    images=200,
    folder=None,
    picture=PICTURE,
    verbose=2,
):
    """Trains an autoencoder, and draws its images.

    Args:
      posterior: one of `POSTERIORS`.
      data: paths of files of images; none for the digits of scikit-learn.
      latent_size: length of z; by default 64, 8 for the digits.
      num_layers: number of layers of the flow.
      num_columns: width of a Sylvester layer; by default `latent_size`, 32 at most.
      width: channels of the first convolutions; by default 32, 16 for the digits.
      epochs: most passes through the images; training stops before that if the bound of
        the images for validation has not risen in 100 of them.
      batch_size: images in a step; by default 100, 20 for digits and Frey faces.
      warm_up: epochs over which the weight of the divergence grows to 1.
      rate: step size of Adamax; by default 5e-4, and 2e-3 for the digits.
      free_nats: least divergence that is paid for; None for none.
      mixed: whether the convolutions of training are in bfloat16. What is measured and
        drawn is in float32 all the same.
      seed: integer, seed of weights, noise and order.
      samples: number of samples for the marginal likelihood of an image.
      images: number of test images whose marginal likelihood is estimated.
      folder: where checkpoints are kept and found again, or None.
      picture: path of the picture, or None.
      verbose: as for `keras.Model.fit`.

    Returns:
      figures: dictionary of the bounds of images for validation and test, `validation`
        and `test`, of their terms, of the `marginal` likelihood, all in nats of an
        image, and in bits per dimension with `_bits` behind; of `epochs` and `seconds`
        of processor time of an epoch; of `images` for the marginal likelihood.

    Raises:
      ValueError: the files have none of the known layouts.
    """
    keras.utils.set_random_seed(seed)
    parts, labels, levels, small = load(data)
    train, validation, test = parts
    latent_size = latent_size or (8 if small else 64)
    width = width or (16 if small else 32)
    epochs = epochs or (200 if small else 2000)
    batch_size = batch_size or (20 if small or levels > 2 else 100)
    warm_up = warm_up if warm_up is not None else min(100, epochs // 4)
    rate = rate or (2e-3 if small else 5e-4)

    more = dict(hidden_units=(5 * latent_size,)) if posterior == "iaf" else {}
    family = flows.amortized_posterior(
        latent_size, posterior, num_layers, num_columns=num_columns, seed=seed, **more
    )
    options = (train.shape[1:3], levels, family, width, free_nats)
    model = VAE(*options, "mixed_bfloat16" if mixed else "float32")
    print(
        f"{len(train)} images of {train.shape[1:3]}, {levels} levels; {family!r}; "
        f"{model.count_params()} weights"
    )
    model.compile(keras.optimizers.Adamax(rate, epsilon=1e-7))
    clock = Clock()
    callbacks = [
        WarmUp(warm_up),
        clock,
        keras.callbacks.EarlyStopping(
            "val_loss",
            patience=100,
            restore_best_weights=True,
            start_from_epoch=warm_up,
        ),
    ]
    if folder is not None:
        callbacks.append(keras.callbacks.BackupAndRestore(folder))
    history = model.fit(
        train,
        validation_data=(validation,),
        batch_size=batch_size,
        epochs=epochs,
        callbacks=callbacks,
        verbose=verbose,
    )

    if mixed:
        learned = model.get_weights()
        model = VAE(*options)
        model.set_weights(learned)
        model.compile()
    figures = dict(epochs=len(history.epoch), seconds=float(np.median(clock.seconds)))
    for name, part in dict(validation=validation, test=test).items():
        terms = model.evaluate(part, batch_size=500, verbose=0, return_dict=True)
        figures[name] = -terms["loss"]
        figures[f"{name}_divergence"] = terms["divergence"]
    figures["images"] = min(images, len(test))
    figures["marginal"] = marginal_likelihood(model, test[:images], samples, seed)
    size = np.log(2.0) * np.prod(train.shape[1:3])
    print(f"{figures['epochs']} epochs of {figures['seconds']:.1f} CPU seconds")
    for name in ["validation", "test", "marginal"]:
        figures[f"{name}_bits"] = -figures[name] / size
        print(
            f"{name:10}  {figures[name]:9.2f} nats  {figures[f'{name}_bits']:.4f} "
            "bits per dimension"
        )
    if picture is not None:
        draw(model, test, labels, figures, picture)
    return figures


class VAE(keras.Model):
    """Autoencoder of gated convolutions, as in van den Berg et al. (2018).

    Args:
      shape: height and width of images, multiples of 4.
      levels: number of levels of a pixel: 2 for Bernoulli, more for categorical ones.
      family: what `flows.amortized_posterior` returns.
      width: number of channels of the first convolutions, twice that after them.
      free_nats: as for `variational.elbo`.
      dtype: of the convolutions, a policy of Keras.
    """

    def __init__(self, shape, levels, family, width, free_nats, dtype="float32"):
        super().__init__()
        self.shape, self.levels, self.free_nats = tuple(shape), levels, free_nats
        # The layer shows Keras the variables of the flow, if it has some.
        self.head = DistributionLayer(family)
        self.encoder = encoder_network(shape, width, family.num_parameters, dtype)
        self.decoder = decoder_network(shape, width, family.event_size, levels, dtype)
        self.prior = tfd.Sample(tfd.Normal(0.0, 1.0), family.event_size)
        self.beta = keras.Variable(1.0, trainable=False, name="beta")
        self.seeds = keras.random.SeedGenerator()
        self.means = [keras.metrics.Mean(name) for name in ("loss", "divergence")]
        self.built = True

    @property
    def metrics(self):
        return self.means

    def posterior(self, x):
        """Returns `q(z | x)` for a batch of images."""
        levels = tf.cast(x, tf.float32)[..., tf.newaxis]
        scaled = 2.0 * levels / (self.levels - 1.0) - 1.0
        return self.head.distribution(self.head(self.encoder(scaled)))

    def log_likelihood(self, x, z):
        """Returns `log p(x | z)`, of shape `[S, N]` for `z` of shape `[S, N, D]`."""
        return log_prob_of_pixels(self.decode(z), x)

    def decode(self, z):
        """Returns logits of pixels, of shape `[..., H, W, levels or 1]`."""
        flat = self.decoder(tf.reshape(z, [-1, z.shape[-1]]))
        return tf.reshape(flat, tf.concat([tf.shape(z)[:-1], flat.shape[1:]], axis=0))

    def terms(self, x, samples=1):
        return variational.sample_and_log_probs(
            self.posterior(x),
            lambda z: self.log_likelihood(x, z),
            self.prior,
            samples,
            seed=tf.cast(self.seeds.next(), tf.int32),
        )

    def call(self, x):
        return self.decode(self.terms(x).z[0])

    def train_step(self, data):
        x = keras.utils.unpack_x_y_sample_weight(data)[0]
        with tf.GradientTape() as tape:
            terms = self.terms(x)
            bound = variational.elbo(terms, self.beta.value, self.free_nats)
            loss = -tf.reduce_mean(bound)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.build(self.trainable_variables)
        self._update(gradients)
        return self._report(terms)

    @tf.function(jit_compile=True)  # one pass over each weight, a third of the time
    def _update(self, gradients):
        self.optimizer.apply(gradients, self.trainable_variables)

    def test_step(self, data):
        return self._report(self.terms(keras.utils.unpack_x_y_sample_weight(data)[0]))

    def _report(self, terms):
        values = [-variational.elbo(terms), terms.log_posterior - terms.log_prior]
        for mean, value in zip(self.means, values):
            mean.update_state(tf.reshape(value, [-1]))
        return {mean.name: mean.result() for mean in self.means}


@tf.function(jit_compile=True)  # one pass over the logits, a third of the time
def log_prob_of_pixels(logits, x):
    """Returns the sums over pixels, of shape `[S, N]`."""
    logits = tf.cast(logits, tf.float32)
    if logits.shape[-1] == 1:
        pixels = tfd.Bernoulli(logits=logits[..., 0], dtype=x.dtype)
    else:
        pixels = tfd.Categorical(logits=logits, dtype=x.dtype)
    return tf.reduce_sum(pixels.log_prob(x), axis=[-2, -1])


def gated(channels, size, stride=1, transposed=False, padding="same", dtype=None):
    """Returns a gated convolution."""
    kind = keras.layers.Conv2DTranspose if transposed else keras.layers.Conv2D
    doubled = keras.initializers.VarianceScaling(4.0)  # gates are half open at first

    def apply(x):
        both = kind(
            2 * channels, size, stride, padding, kernel_initializer=doubled, dtype=dtype
        )(x)
        value, gate = keras.ops.split(both, 2, axis=-1)
        return value * keras.ops.sigmoid(gate)

    return apply


def encoder_network(shape, width, num_parameters, dtype=None):
    x = inputs = keras.Input([*shape, 1])
    for channels, stride in [(1, 1), (1, 2), (2, 1), (2, 2), (2, 1)]:
        x = gated(channels * width, 5, stride, dtype=dtype)(x)
    whole = [side // 4 for side in shape]
    x = gated(8 * width, whole, padding="valid", dtype=dtype)(x)
    small = keras.initializers.VarianceScaling(0.1)  # layers that hardly bend, at first
    parameters = keras.layers.Dense(num_parameters, kernel_initializer=small)
    return keras.Model(inputs, parameters(keras.layers.Flatten()(x)))


def decoder_network(shape, width, latent_size, levels, dtype=None):
    inputs = keras.Input([latent_size])
    x = keras.layers.Reshape([1, 1, latent_size])(inputs)
    whole = [side // 4 for side in shape]
    x = gated(2 * width, whole, transposed=True, padding="valid", dtype=dtype)(x)
    for channels, stride in [(2, 1), (1, 2), (1, 1), (1, 2), (1, 1)]:
        x = gated(channels * width, 5, stride, transposed=True, dtype=dtype)(x)
    if levels == 2:
        return keras.Model(inputs, keras.layers.Conv2D(1, 1)(x))
    return keras.Model(inputs, TwoConvolutions(levels, 5, dtype=dtype)(x))


class TwoConvolutions(keras.layers.Layer):
    """A convolution and one of 1 x 1 behind it, with nothing between, taken as one.

    Two linear layers learn otherwise than one, but what they compute is one layer's.
    The product of their kernels is small beside a second pass over the images.
    """

    def __init__(self, channels, size, dtype=None):
        super().__init__(dtype=dtype)
        self.channels, self.size = channels, size

    def build(self, shape):
        self.kernel = self.add_weight((self.size, self.size, shape[-1], self.channels))
        self.bias = self.add_weight((self.channels,), "zeros")
        self.mix = self.add_weight((self.channels, self.channels))
        self.last_bias = self.add_weight((self.channels,), "zeros")

    def call(self, x):
        kernel = keras.ops.matmul(self.kernel, self.mix)
        bias = keras.ops.matmul(self.bias, self.mix) + self.last_bias
        return keras.ops.conv(x, kernel, padding="same") + bias


class WarmUp(keras.callbacks.Callback):
    """Sets the weight of the divergence before each epoch."""

    def __init__(self, epochs):
        super().__init__()
        self._epochs = epochs

    def on_epoch_begin(self, epoch, logs=None):
        self.model.beta.assign(variational.kl_warm_up(epoch + 1, self._epochs))


class Clock(keras.callbacks.Callback):
    """Keeps the seconds of processor time of each epoch."""

    def on_train_begin(self, logs=None):
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.process_time() - self._start)


def marginal_likelihood(model, x, samples, seed, at_once=20):
    """Returns the mean of `log p(x)`, by importance sampling in bounded memory."""

    @tf.function
    def estimate(x):
        return variational.log_marginal_likelihood(
            model.posterior(x),
            lambda z: model.log_likelihood(x, z),
            model.prior,
            samples,
            seed=seed,
            chunk_size=at_once,
        )

    return float(
        np.mean(
            np.concatenate(
                [estimate(tf.constant(x[i : i + 50])) for i in range(0, len(x), 50)]
            )
        )
    )


def load(paths):
    """Returns images for training, validation and test.

    Returns:
      parts: list of three arrays of int32, levels of pixels, shape `[N, H, W]`.
      labels: those of the images for testing, or None.
      levels: number of levels.
      small: whether they are the digits of scikit-learn.
    """
    random = np.random.RandomState(0)
    labels = None
    if not paths:
        digits = sklearn.datasets.load_digits()
        order = random.permutation(len(digits.images))
        x = np.int32(digits.images[order])
        return np.split(x, [1260, 1400]), digits.target[order][1400:], 17, True
    files = [np.load(path) for path in paths]
    if "order_123" in files[0]:
        x = np.int32(files[0]["x"][files[0]["order_123"]])
        return np.split(x, [1565, 1765]), labels, 256, False
    if "train" in files[0]:
        parts = [
            np.int32(np.unpackbits(files[0][name], axis=1)).reshape([-1, 28, 28])
            for name in ("train", "val", "test")
        ]
        return parts, files[0].get("y_test"), 2, False
    if "x" not in files[0]:
        raise ValueError(
            "`data` must be files of one of the layouts above; got one with the arrays "
            f"{list(files[0])}."
        )
    if "drawer" in files[0]:
        test = files[0]["drawer"] > 16
        x, x_test = files[0]["x"][~test], files[0]["x"][test]
        x = x[random.permutation(len(x))]
        labels = files[0]["alphabet"][test]
    else:
        x = np.concatenate([file["x"] for file in files[:-1] or files])
        x_test, labels = files[-1]["x"], files[-1].get("y")
    held_out = min(10_000, len(x) // 6)
    parts = [x[:-held_out], x[-held_out:], x_test]
    return [binary(part / 255.0, random) for part in parts], labels, 2, False


def binary(probabilities, random):
    """Returns one draw of black or white for each pixel."""
    return np.int32(random.uniform(size=probabilities.shape) < probabilities)


def draw(model, test, labels, figures, path):
    """Draws reconstructions, samples, interpolations and latent variables."""
    columns, size = 10, model.prior.event_shape[0]
    levels = np.arange(model.levels, dtype=np.float32)

    def means(z):
        logits = model.decode(tf.cast(z, tf.float32))
        if model.levels == 2:
            return tf.sigmoid(logits[..., 0]).numpy()
        return np.sum(tf.nn.softmax(logits) * levels, axis=-1)

    def side_by_side(images):
        return np.concatenate(np.pad(images, [(0, 0), (1, 0), (1, 0)]), axis=1)

    def row(z):
        return side_by_side(means(z))

    x = test[:columns]
    z = model.posterior(tf.constant(x)).sample(seed=[0, 1]).numpy()
    share = np.linspace(0.0, 1.0, columns)[:, np.newaxis]
    noise = np.random.RandomState(1).normal(size=[4, columns, size])
    # Of the elements of z, those whose mean differs the most from image to image.
    several = model.posterior(tf.constant(test[:300])).sample(50, seed=[0, 2])
    spread = np.argsort(-np.std(np.mean(several, axis=0), axis=0))
    walks = np.tile(z[0], [4, columns, 1])
    for walk, element in zip(walks, spread):
        walk[:, element] = np.linspace(-2.5, 2.5, columns)
    panels = {
        "images, and their reconstructions": [side_by_side(x), row(z)],
        "samples": [row(each) for each in noise],
        "between two images": [row(z[i] + share * (z[i + 1] - z[i])) for i in (0, 2)],
        "one element of z, from -2.5 to 2.5": [row(each) for each in walks],
    }
    heights = [len(rows) for rows in panels.values()]
    height, width = test.shape[1:]
    figure = plt.figure(
        figsize=(11, 4.2 * sum(heights) / columns * height / width + 1.0),
        layout="constrained",
    )
    left, right = figure.subfigures(1, 2)
    axes = left.subplots(len(panels), 1, height_ratios=heights)
    for axis, (title, rows) in zip(axes, panels.items()):
        axis.imshow(
            np.concatenate(rows),
            cmap="gray" if model.levels == 256 else "gray_r",
            vmin=0,
            vmax=model.levels - 1,
        )
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    axis = right.subplots()
    z = model.posterior(tf.constant(test[:1000])).sample(seed=[0, 3]).numpy()
    first, second = spread[:2] if size > 2 else (0, 1)
    dots = axis.scatter(
        z[:, first],
        z[:, second],
        14,
        None if labels is None else labels[:1000],
        cmap="tab10",
    )
    if labels is not None:
        right.colorbar(dots, ax=axis, label="label", shrink=0.7)
    axis.set_title(
        f"z of test images: elements {first} and {second} of {size}\n"
        f"bound {figures['test']:.1f} nats; log p(x) {figures['marginal']:.1f} "
        f"of {figures['images']} of them",
        fontsize=9,
    )
    axis.set_aspect("equal")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def rows(figures, options):
    """Returns the results as rows of the record."""
    data = pathlib.Path(options["data"][0]).stem if options["data"] else "digits"
    common = dict(
        data=data,
        model=f"{options['posterior']}, {figures['epochs']} epochs",
        unit="nats",
        seed=options["seed"],
        seconds=figures["seconds"] * figures["epochs"],
    )
    return [
        dict(common, metric="held-out ELBO", value=float(figures["test"])),
        dict(common, metric="held-out log p(x)", value=float(figures["marginal"])),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--posterior", choices=POSTERIORS, default="planar")
    add("--data", nargs="*", default=[], metavar="FILE", type=pathlib.Path)
    add("--latent-size", type=int, help="length of z; 2 for a picture of all of it")
    add("--num-layers", type=int, default=4)
    add("--num-columns", type=int, help="width of a Sylvester layer")
    add("--width", type=int, help="channels of the first convolutions")
    add("--epochs", type=int)
    add("--batch-size", type=int)
    add("--warm-up", type=int, metavar="EPOCHS")
    add("--rate", type=float, help="step size of Adamax")
    add("--free-nats", type=float)
    add("--mixed", action="store_true", help="convolutions of training in bfloat16")
    add("--seed", type=int, default=0)
    add("--samples", type=int, default=5000, help="for the marginal likelihood")
    add("--images", type=int, default=200, help="test images that it is estimated for")
    add("--folder", help="directory for checkpoints, from which training resumes")
    add("--picture", default=PICTURE)
    options = vars(parser.parse_args())
    recording.record("vae", rows(main(**options), options))
