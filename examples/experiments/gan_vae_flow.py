"""A GAN, a VAE and a flow compared on a ring of Gaussians and on digits.

In the plane the density of the data is known: the models are compared by held-out
log-likelihoods, divergences, modes found, imputation and reconstruction, and GANs over
several seeds. On the digits of scikit-learn they are compared by log-likelihoods in
common units, classes of samples, and energy distances. Run

    python examples/experiments/gan_vae_flow.py

Results are recorded in `results/gan_vae_flow.json`.
"""

import argparse
import functools
import time

import keras
import matplotlib.figure
import numpy as np
import PIL.Image
import recording
import sklearn.datasets
import sklearn.svm
import tensorflow as tf
import tensorflow_probability as tfp
from sklearn.metrics import pairwise_distances as distances

from tfp_flows import flows, variational

tfb, tfd, softplus = tfp.bijectors, tfp.distributions, tf.nn.softplus

PICTURE = recording.RESULTS / "gan_vae_flow.png"
ANGLES = 2.0 * np.pi / 8 * np.arange(8)
CENTERS = np.float32(2.8 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=-1))
SCALE = np.float32(0.1)  # of the eight Gaussians around them
TRUTH = CENTERS, np.full_like(CENTERS, SCALE)
RADIUS = SCALE * np.sqrt(-2.0 * np.log(0.001))  # of 99.9 % of the points of each
SIZE, LEVELS = 64, 17  # of the digits
LIMIT, PIXELS = 3.4, 120  # of the picture of the plane
DRAWS = 500  # for the density of a VAE
compiled = functools.partial(tf.function, jit_compile=True, reduce_retracing=True)


def main(steps=3000, digit_steps=600, points=20000, seeds=3, picture=PICTURE, seed=0):
    """Fits the three models to both data sets, and compares them.

    Args:
      steps: number of training steps of the flow in the plane; the VAE, whose steps are
        cheaper, takes three times as many, and the GAN twice.
      digit_steps: number of training steps of the flow on the digits; the VAE takes
        three times as many, and the GAN ten times.
      points: number of points of the plane to train on.
      seeds: number of GANs in the plane, each with and without noise on what D sees.
      picture: path of the picture to write, or None.
      seed: integer, seed of data, initial values and samples.

    Returns:
      figures: dictionary. `plane[model]` and `digits[model]` have the rows of the
        tables by name, see `plane` and `digits`; `gans[noise, seed]` those of each GAN
        of the plane; `seconds` and `processor_seconds`.
    """
    start = time.perf_counter(), time.process_time()
    figures, panels = {}, {}
    figures["plane"], figures["gans"], panels["plane"] = plane(
        steps, points, seeds, seed
    )
    figures["digits"], panels["digits"] = digits(digit_steps, seed)
    if picture is not None:
        draw(picture, panels, figures)
    figures["seconds"] = time.perf_counter() - start[0]
    figures["processor_seconds"] = time.process_time() - start[1]
    print(
        f"\nseconds, without the imports: {figures['seconds']:.0f}, "
        f"of processor time: {figures['processor_seconds']:.0f}"
    )
    return figures


# 1. The three models. Each has a `step` of training, `sample` and `decode`. Flow and
# VAE have `bound`, a number of nats to maximize, and `encode`, too.


class Likelihood:
    """What flow and VAE have in common: an ascent of `nats(x, seed, progress)`."""

    def build(self, variables, optimizer):
        self.variables, self.optimizer = variables, optimizer
        optimizer.build(variables)

    def step(self, x, seed, progress):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(self.nats(x, seed, progress))
        gradients = tape.gradient(loss, self.variables)
        self.optimizer.apply(gradients, self.variables)
        return loss


class Flow(Likelihood):
    """A spline flow, with `to_data` behind it: density and samples are one pass."""

    def __init__(self, size, num_layers, hidden, to_data, optimizer, seed):
        flow = flows.neural_spline(size, num_layers, hidden, seed=seed)
        self.model = tfd.TransformedDistribution(
            flow.distribution, tfb.Chain([*to_data, flow.bijector])
        )
        self.build(self.model.trainable_variables, optimizer)
        self.log_prob = self.bound = compiled(self.model.log_prob)
        self.encode = compiled(self.model.bijector.inverse)
        self.decode = compiled(self.model.bijector.forward)

    def nats(self, x, seed, progress):
        return self.model.log_prob(x)

    def sample(self, number, seed):
        return self.decode(self.model.distribution.sample(number, [seed, 3])).numpy()


class VAE(Likelihood):
    """A decoder and an encoder, whose posterior has four planar layers.

    Args:
      outputs: number of outputs of the decoder.
      likelihood: callable from outputs, `[..., outputs]`, to `q(x | z)`.
    """

    def __init__(self, size, latent_size, hidden, outputs, likelihood, optimizer, seed):
        self.family = flows.amortized_posterior(latent_size, "planar", num_layers=4)
        self.encoder = mlp(size, hidden, self.family.num_parameters, 0.1, seed)
        self.decoder = mlp(latent_size, hidden, outputs, 1.0, seed + 1)
        self.prior = tfd.Sample(tfd.Normal(0.0, 1.0), latent_size)
        self.outputs, self.likelihood = outputs, likelihood
        self.build(weights(self.encoder) + weights(self.decoder), optimizer)
        self.bound = compiled(lambda x: variational.elbo(self.terms(x, 20, [0, 1])))
        self.log_prob = compiled(self.marginal)

    def posterior(self, x):
        """Returns the encoder's `r(z | x)`, a distribution with the batch shape."""
        return self.family(self.encoder(x))

    def given(self, z):
        """Returns the decoder's `q(x | z)`, for `z` of shape `[..., latent_size]`."""
        flat = self.decoder(tf.reshape(z, [-1, z.shape[-1]]))
        shape = tf.concat([tf.shape(z)[:-1], [self.outputs]], axis=0)
        return self.likelihood(tf.reshape(flat, shape))

    def terms(self, x, samples, seed):
        return variational.sample_and_log_probs(
            self.posterior(x),
            lambda z: self.given(z).log_prob(x),
            self.prior,
            samples,
            seed=seed,
        )

    def nats(self, x, seed, progress):
        # Little weight on the divergence at first, or the decoder learns without z.
        beta = variational.kl_warm_up(progress, 0.25, initial_value=0.1)
        return variational.elbo(self.terms(x, 1, seed), beta)

    def marginal(self, x):
        """Estimates `log q(x)` by draws from the encoder, weighted."""
        return variational.log_marginal_likelihood(
            self.posterior(x),
            lambda z: self.given(z).log_prob(x),
            self.prior,
            DRAWS,
            seed=0,
            chunk_size=20,
        )

    def sample(self, number, seed):
        z = self.prior.sample(number, seed=[seed, 3])
        return self.given(z).sample(seed=[seed, 4]).numpy()

    def encode(self, x):
        return self.posterior(x).sample(seed=[0, 5])

    def decode(self, z):
        return self.given(z).mean()


class GAN:
    """Two players.

    Args:
      end: last function of the generator.
      noise: standard deviation, at the start, of the noise on what D sees.
    """

    def __init__(self, size, latent_size, hidden, end, noise, rate, steps, seed):
        self.generator = mlp(latent_size, hidden, size, 1.0, seed)
        self.judge = mlp(size, hidden, 1, 1.0, seed + 1)
        self.end, self.noise, self.latent_size = end, noise, latent_size
        self.variables = weights(self.generator)
        self.optimizers = []
        for network in (self.generator, self.judge):
            self.optimizers.append(
                keras.optimizers.Adam(
                    keras.optimizers.schedules.CosineDecay(rate, steps), beta_1=0.5
                )
            )
            self.optimizers[-1].build(weights(network))

    def step(self, x, seed, progress):
        """Moves D, then G; returns the loss of D."""
        seeds = tf.unstack(tfp.random.split_seed(seed, n=3))
        z = tf.random.stateless_normal([len(x), self.latent_size], seeds[0])
        # `judge` returns the logit of D: log D is -softplus(-logit).
        for_true, for_made = (
            self.noise * (1.0 - progress) * tf.random.stateless_normal(x.shape, each)
            for each in seeds[1:]
        )
        made = self.decode(z)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(
                softplus(-self.judge(x + for_true))
                + softplus(self.judge(made + for_made))
            )
        variables = weights(self.judge)
        self.optimizers[1].apply(tape.gradient(loss, variables), variables)
        with tf.GradientTape() as tape:
            made = self.decode(z)
            cost = tf.reduce_mean(softplus(-self.judge(made + for_made)))
        gradients = tape.gradient(cost, self.variables)
        self.optimizers[0].apply(gradients, self.variables)
        return loss

    def sample(self, number, seed):
        z = tf.random.stateless_normal([number, self.latent_size], [seed, 3])
        return self.decode(z).numpy()

    def decode(self, z):
        return self.end(self.generator(z))


def mlp(size, hidden, outputs, gain, seed):
    """Returns a Keras network; `gain` scales the first weights of its last layer."""
    layers = [keras.Input([size])]
    for i, units in enumerate([*hidden, outputs]):
        last = i == len(hidden)
        layers.append(
            keras.layers.Dense(
                units,
                None if last else "leaky_relu",
                kernel_initializer=keras.initializers.VarianceScaling(
                    gain if last else 2.0, seed=100 * seed + i
                ),
            )
        )
    return keras.Sequential(layers)


def weights(network):
    return [variable.value for variable in network.trainable_variables]


def adam(rate, steps, decay=0.0):
    """Returns Adam with step sizes that fall along a cosine."""
    return keras.optimizers.AdamW(
        keras.optimizers.schedules.CosineDecay(rate, steps), decay, global_clipnorm=5.0
    )


def train(
    model, data, steps, seed, batch, prepare=lambda rows, seed: rows, validation=None
):
    """Takes steps of training, many in one compiled call.

    Args:
      prepare: callable from rows of the data and a seed to points.
      validation: points, or None; the weights with the highest `bound` of them stay.

    Returns:
      loss: mean over the last steps.
      seconds: of processor time, without those to compile.
    """
    data = tf.constant(data)

    @compiled
    def run(first, number):
        total = 0.0
        for i in tf.range(number):
            step = first + i
            seeds = tf.unstack(tfp.random.split_seed(tf.stack([seed, step]), n=3))
            rows = tf.random.stateless_uniform(
                [batch], seeds[0], 0, len(data), tf.int32
            )
            x = prepare(tf.gather(data, rows), seeds[1])
            total += model.step(x, seeds[2], tf.cast(step, tf.float32) / steps)
        return total / tf.cast(number, tf.float32)

    run(tf.constant(0), tf.constant(0))  # compiles
    start, best, best_nats = time.process_time(), [], -np.inf
    every = max(1, steps // 20)
    for step in range(0, steps, every):
        loss = float(run(tf.constant(step), tf.constant(min(every, steps - step))))
        if validation is not None:
            nats = np.mean(model.bound(validation))
            if nats > best_nats:
                best, best_nats = [v.numpy() for v in model.variables], nats
    for variable, value in zip(model.variables, best):
        variable.assign(value)
    return loss, time.process_time() - start


# 2. The plane, where the density of the data is known.


def plane(steps, points, seeds, seed):
    """Compares the models on a ring of eight Gaussians.

    Returns:
      figures: dictionary of dictionaries, by model: what `from_samples`, `densities`,
        `imputed` and `codes` return, `loss` and `seconds` of processor time.
      gans: what `from_samples` says of all GANs, and their `loss`, by noise and seed.
      panels: list of `(title, samples or log-density of the pixels)`.
    """
    random = np.random.RandomState(seed)
    data, test, others = (
        CENTERS[random.randint(8, size=n)]
        + SCALE * np.float32(random.normal(size=[n, 2]))
        for n in (points, points // 10, points // 10)
    )

    lengths = {"flow": steps, "VAE": 3 * steps}
    models = {
        "truth": None,
        "flow": Flow(2, 4, (64, 64), [], adam(5e-3, steps), seed),
        "VAE": VAE(2, 2, (128, 128), 4, gaussian, adam(3e-3, lengths["VAE"]), seed),
    }
    for i in range(seeds):
        for noise in (0.5, 0.0):
            models[noise, seed + i] = GAN(
                2, 2, (128, 128), tf.identity, noise, 1e-3, 2 * steps, 10 * (seed + i)
            )
    made, figures = {"truth": others}, {"truth": from_samples(others, test)}
    print("1. The plane")
    for name in list(models)[1:]:
        model, length = models[name], lengths.get(name, 2 * steps)
        loss, seconds = train(model, data, length, seed, 256)
        made[name] = model.sample(len(test), seed)
        figures[name] = from_samples(made[name], test) | dict(
            loss=loss, seconds=seconds
        )
        if isinstance(model, GAN):
            print(
                "   GAN, noise {}, seed {}: {modes} modes, shares from {least:.2f} to "
                "{most:.2f}, loss of D {loss:.3f}".format(*name, **figures[name]),
                flush=True,
            )
    gans = {name: figures.pop(name) for name in models if isinstance(name, tuple)}
    worst = min(gans, key=lambda name: gans[name]["least"])
    models["GAN"], made["GAN"] = models[0.5, seed], made[0.5, seed]
    figures["GAN"] = dict(gans[0.5, seed])

    vae, grid = models["VAE"], pixels()
    around = vae.given(vae.prior.sample(points, seed=[seed, 6]))
    mixtures = {
        "truth": TRUTH,
        "VAE": (around.mean().numpy(), around.stddev().numpy()),
        "GAN": kernel_estimate(made["GAN"], data),
    }
    for name, row in figures.items():
        row |= densities(models[name], made[name], test)
        row["kernel"] = float(
            np.mean(log_mixture(test, *kernel_estimate(made[name], data)))
        )
        row |= imputed(models[name], mixtures.get(name), test[:500])
        row |= codes(models[name], test, points, seed)
    print_table(figures)
    panels = [(f"{name}: samples", made[name]) for name in figures]
    panels += [
        ("truth: log-density", log_mixture(grid, *TRUTH)),
        ("flow: exact log-density", models["flow"].log_prob(grid)),
        ("VAE: estimate of it", log_mixture(grid, *mixtures["VAE"])),
        (
            "GAN, noise {}, seed {}: {modes} modes".format(*worst, **gans[worst]),
            made[worst],
        ),
    ]
    return figures, gans, panels


def gaussian(outputs):
    """Returns `q(x | z)`, for points of the plane."""
    loc, scale = tf.split(outputs, 2, axis=-1)
    return tfd.MultivariateNormalDiag(loc, softplus(scale) + 0.01)


def from_samples(samples, test):
    """Returns what can be told of a model by its samples alone.

    Returns:
      figures: dictionary of numbers: mean true `log_p`; share `off` the data, farther
        from all centers than 99.9 % of the points of each; number of `modes` that get
        at least a quarter of their share, and the `least` and the `most` that one gets,
        where 1 is right; `energy` distance from held-out points.
    """
    share = 8.0 * np.mean(distances(samples, CENTERS) < RADIUS, axis=0)
    return {
        "log_p": float(np.mean(log_mixture(samples, *TRUTH))),
        "off": off(samples),
        "modes": int(np.sum(share >= 0.25)),
        "least": float(np.min(share)),
        "most": float(np.max(share)),
        "energy": energy_distance(samples, test),
    }


def densities(model, samples, test):
    """Returns what takes a density: nats of held-out points, and divergences.

    Returns:
      figures: dictionary of numbers: mean `nats`, and `lost` ones, an estimate of
        `KL(p || q)`, with standard errors; `js`, the Jensen-Shannon divergence, by
        points of both; `bound` of a VAE. Of a GAN `js_at_least`, by its discriminator.
    """
    if isinstance(model, GAN):
        loss = softplus(-model.judge(test)) + softplus(model.judge(samples))
        return dict(js_at_least=float(np.log(2.0) - 0.5 * np.mean(loss)))
    log_q = model.log_prob if model else lambda x: log_mixture(x, *TRUTH)
    nats = np.asarray(log_q(test))
    lost = log_mixture(test, *TRUTH) - nats
    won = log_q(samples) - log_mixture(samples, *TRUTH)
    shared = [np.mean(softplus(-each)) for each in (lost, won)]
    row = score("nats", nats) | score("lost", lost)
    row["js"] = float(np.log(2.0) - 0.5 * sum(shared))
    if isinstance(model, VAE):
        row["bound"] = float(np.mean(model.bound(test)))
    return row


def imputed(model, mixture, test):
    """Returns mean log q(x2 | x1): a joint density by its integral over x2."""
    if mixture is not None:
        loc, scale = mixture
        alone = log_mixture(test[:, :1], loc[:, :1], scale[:, :1])
        return score("imputed", log_mixture(test, loc, scale) - alone)
    line = np.linspace(-4.0, 4.0, 801, dtype=np.float32)
    across = np.stack(np.broadcast_arrays(test[:, :1], line), axis=-1)
    log_q = np.reshape(model.log_prob(across.reshape(-1, 2)), [len(test), -1])
    alone = tf.reduce_logsumexp(log_q, axis=-1) + np.log(line[1] - line[0])
    return score("imputed", model.log_prob(test) - alone)


def codes(model, test, points, seed):
    """Returns how near points come back from their codes, and what is between codes.

    Returns:
      figures: dictionary of numbers: `coded`, root mean square distance of
        `decode(encode(x))` from x, of a GAN of the nearest of many samples; `between`,
        share of points off the data on the way between the codes of two points of the
        data, of a GAN of two samples, of the truth on a straight line.
    """
    share = np.linspace(0.1, 0.9, 9, dtype=np.float32)[:, np.newaxis, np.newaxis]
    decode = model.decode if model else tf.identity
    if isinstance(model, GAN):
        z = np.random.RandomState(seed).normal(size=[len(test), model.latent_size])
        error = np.min(distances(test, model.sample(points, seed + 1)), axis=1)
    else:
        z = np.asarray(model.encode(test)) if model else test
        error = np.linalg.norm(decode(z) - test, axis=-1)
    way = np.float32(z[::2] * (1.0 - share) + z[1::2] * share)
    return dict(
        coded=float(np.mean(error**2) ** 0.5),
        between=off(decode(way.reshape(-1, way.shape[-1]))),
    )


def off(points):
    """Returns the fraction of points that are off the data."""
    return float(np.mean(np.min(distances(points, CENTERS), axis=1) > RADIUS))


def log_mixture(x, loc, scale):
    """Returns the log-density, at `[N, D]`, of Gaussians around `[K, D]`, all alike."""
    parts = [
        log_mixture_of_few(part, loc, scale)
        for part in np.split(np.float32(x), range(500, len(x), 500))
    ]
    return np.concatenate(parts)


@compiled
def log_mixture_of_few(x, loc, scale):
    z = (x[:, tf.newaxis] - loc) / scale
    log_p = -0.5 * z**2 - tf.math.log(scale) - 0.5 * np.log(2.0 * np.pi)
    return tfp.math.reduce_logmeanexp(tf.reduce_sum(log_p, axis=-1), axis=-1)


def kernel_estimate(samples, data):
    """Returns Gaussians around samples, of the width that suits the data best."""
    widths = [np.full_like(samples, 0.1 * 2.0**k) for k in range(-2, 5)]
    return samples, max(
        widths, key=lambda width: np.mean(log_mixture(data[:1000], samples, width))
    )


def energy_distance(x, y):
    """Returns `2 E|x - y| - E|x - x'| - E|y - y'|`; around 0 for the same density."""
    same = sum(
        np.sum(distances(each, each)) / (len(each) * (len(each) - 1.0))
        for each in (x, y)
    )
    return float(2.0 * np.mean(distances(x, y)) - same)


def score(name, values):
    """Returns the mean of values, and its standard error."""
    return {
        name: float(np.mean(values)),
        name + "_error": float(np.std(values) / len(values) ** 0.5),
    }


def print_table(figures):
    print(f"   {'':12}", *(f"{name:>16}" for name in figures))
    keys = dict.fromkeys(key for row in reversed(figures.values()) for key in row)
    for key in keys:
        cells = []
        for row in figures.values():
            text = f"{row[key]:.4g}" if key in row else "-"
            if key + "_error" in row:
                text = f"{row[key]:.3f} ({row[key + '_error']:.3f})"
            cells.append(f"{text:>16}")
        if not key.endswith("_error"):
            print(f"   {key:12}", *cells, flush=True)


def pixels():
    """Returns the points of the picture of a density, row by row from below."""
    line = np.linspace(-LIMIT, LIMIT, PIXELS, dtype=np.float32)
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)


# 3. Digits.


def digits(steps, seed):
    """Compares the models on images of 8 x 8 pixels.

    Returns:
      figures: dictionary of dictionaries, by model: `nats` of held-out points with
        their error, and the `bound` of the VAE; `least` and `most` of the share of a
        class, where 1 is right; distance to the `nearest` training image, and `energy`
        distance from held-out digits, both in levels; `loss` and `seconds`.
      panels: list of `(title, images)`.
    """
    bunch = sklearn.datasets.load_digits()
    order = np.random.RandomState(0).permutation(len(bunch.data))
    levels, labels = np.float32(bunch.data[order]), bunch.target[order]
    data, validation, test = np.split(levels, [1260, 1400])
    validation = dequantize(np.tile(validation, [5, 1]), [seed, 7])
    classifier = sklearn.svm.SVC(gamma=1e-3).fit(levels[:1400], labels[:1400])
    frequency = np.bincount(labels) / len(labels)

    sigmoid = tfb.Sigmoid(-0.02, 1.02)  # a margin, so that no pixel goes to infinity
    z = sigmoid.inverse(dequantize(data, [seed, 8])).numpy()
    to_data = [sigmoid, tfb.Shift(np.mean(z, axis=0)), tfb.Scale(np.std(z, axis=0))]

    lengths = {"flow": steps, "VAE": 3 * steps, "GAN": 10 * steps}
    models = {
        "flow": Flow(SIZE, 4, (128, 128), to_data, adam(2e-3, steps, 4.0), seed),
        "VAE": VAE(
            SIZE,
            8,
            (128, 128),
            SIZE * LEVELS,
            histograms,
            adam(2e-3, lengths["VAE"], 0.1),
            seed,
        ),
        "GAN": GAN(SIZE, 32, (256, 256), tf.sigmoid, 0.3, 5e-4, lengths["GAN"], seed),
    }

    def to_training(levels):
        return float(np.mean(np.min(distances(levels, data), axis=1))) / SIZE**0.5

    def judge(images):
        levels = np.clip(np.floor(LEVELS * images), 0, LEVELS - 1)
        share = np.bincount(classifier.predict(levels), minlength=10) / len(levels)
        return dict(
            least=float(np.min(share / frequency)),
            most=float(np.max(share / frequency)),
            nearest=to_training(levels),
            energy=energy_distance(levels, test) / SIZE**0.5,
        )

    # What training data score, but for the distance to themselves.
    figures = {"data": judge((data + 0.5) / LEVELS)}
    figures["data"]["nearest"] = to_training(test)
    panels = [("held-out digits", (test[:36] + 0.5) / LEVELS)]
    for name, model in models.items():
        loss, seconds = train(
            model,
            data,
            lengths[name],
            seed,
            100,
            dequantize,
            None if name == "GAN" else validation,
        )
        images = model.sample(1000, seed)
        figures[name] = judge(images) | dict(loss=loss, seconds=seconds)
        panels.append((f"{name}: samples", images[:36]))
    points = [dequantize(test[:200], [seed, 10 + i]) for i in range(5)]
    # All draws of the noise have one density in the VAE.
    figures["flow"] |= score(
        "nats", np.mean([models["flow"].log_prob(x) for x in points], axis=0)
    )
    figures["VAE"] |= score("nats", models["VAE"].log_prob(points[0]))
    figures["VAE"]["bound"] = float(np.mean(models["VAE"].bound(points[0])))
    print("\n2. Digits")
    print_table(figures)
    return figures, panels


def histograms(outputs):
    """Returns `q(x | z)`: a density for each pixel that is flat within a level."""
    shape = tf.concat([tf.shape(outputs)[:-1], [SIZE, LEVELS]], axis=0)
    edges = np.float32(np.arange(LEVELS + 1) / LEVELS)
    return tfd.Independent(
        tfd.MixtureSameFamily(
            tfd.Categorical(logits=tf.reshape(outputs, shape)),
            tfd.Uniform(edges[:-1], edges[1:]),
        ),
        1,
    )


def dequantize(levels, seed):
    """Spreads each level evenly over its interval: points in [0, 1)."""
    noise = tf.random.stateless_uniform(tf.shape(levels), seed)
    return tf.minimum((levels + noise) / LEVELS, 1.0 - 1e-6)


def draw(path, panels, figures):
    """Draws samples, densities and digits, a column for each model."""
    figure = matplotlib.figure.Figure(figsize=(9.6, 7.2), layout="constrained")
    axes = figure.subplots(3, 4)
    highest = np.max(panels["plane"][4][1])
    for ax, (title, values) in zip(axes.flat, panels["plane"] + panels["digits"]):
        ax.set_title(title, fontsize=10)
        ax.set(xticks=[], yticks=[])
        values = np.asarray(values)
        if values.shape[-1] == SIZE:
            padded = np.pad(values.reshape(6, 6, 8, 8), [(0, 0)] * 2 + [(1, 1)] * 2)
            ax.imshow(
                padded.transpose(0, 2, 1, 3).reshape(60, 60),
                cmap="gray_r",
                vmin=0.0,
                vmax=1.0,
            )
        elif values.ndim == 2:
            ax.scatter(*values.T, s=2.0, color="black", alpha=0.4, linewidths=0.0)
            ax.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), aspect="equal")
        else:
            image = ax.imshow(
                values.reshape(PIXELS, PIXELS),
                cmap="magma",
                origin="lower",
                vmin=highest - 12.0,
                vmax=highest,
                extent=[-LIMIT, LIMIT] * 2,
            )
    figure.colorbar(image, ax=axes, label="log-density, nats", shrink=0.3)
    figure.savefig(path, dpi=100)
    with PIL.Image.open(path) as picture:  # few colors take half of the space
        picture.convert("RGB").quantize(255).save(path, optimize=True)


def rows(figures, options):
    """Returns the results as rows of the record."""
    metrics = dict(
        nats="held-out log q(x)",
        js="JS(p, q)",
        off="samples off the data",
        modes="modes",
    )
    units = dict(nats="nats", js="nats", off="fraction", modes="count")
    return [
        dict(
            data=data,
            model=model,
            metric=metrics[key],
            value=values[key],
            unit=units[key],
            error=values.get(f"{key}_error"),
            seed=options["seed"],
            seconds=values.get("seconds"),
        )
        for data, name in {"ring": "plane", "digits": "digits"}.items()
        for model, values in figures[name].items()
        for key in metrics
        if key in values
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--steps", type=int, default=3000, help="training steps in the plane")
    add("--digit-steps", type=int, default=600, help="training steps on the digits")
    add("--seeds", type=int, default=3, help="GANs in the plane, of each kind")
    add("--seed", type=int, default=0)
    add("--picture", default=PICTURE, help="where to write the picture")
    options = vars(parser.parse_args())
    recording.record("gan_vae_flow", rows(main(**options), options))
