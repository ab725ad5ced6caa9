"""A GAN, a VAE and a flow on the same data: what each minimises, what each can answer.

All three turn noise z, standard normal, into data x by a network. They differ in what
they can say of an x that is given, and hence in how they learn. Write p for the density
of the data, and q for the one of the model.

A flow is invertible, so that q is known (see `first_flow.py`), and so is what maximum
likelihood minimises, but for the entropy of the data, which no model changes:

    KL(p || q) = E_p[log p(x) - log q(x)].

An x that the model does not expect costs without bound: a flow covers all the data,
and pays by points in between.

A VAE decodes z to a distribution q(x | z), such as a Gaussian, and z may be shorter
than x. Its density q(x), an integral over z, is not known; an encoder r(z | x) gives a
bound of it, and the gap is a divergence between two posteriors:

    log q(x) - KL(r(z | x) || q(z | x)) = E_r[log q(x | z) + log q(z) - log r(z | x)].

Training maximises the right side. What it maximises is exact only if r is. Many draws
from r, weighted, estimate log q(x) itself: `variational.log_marginal_likelihood`.

A GAN has a generator x = G(z) and no density at all. It plays a game: D tells true
points from made ones, and G changes the made ones until D cannot.

    min_G max_D  E_p[log D(x)] + E_z[log(1 - D(G(z)))]

The best D is p / (p + q), with q the density of made points; put in, the game's value
is 2 JS(p, q) - log 4, where JS is the Jensen-Shannon divergence, at most log 2. With
any other D it is less. So `log 4` less the loss of D, halved, is at most JS, and at the
end of a perfect training that loss is log 4 = 1.386. In practice G does not minimise
log(1 - D(G(z))), which has no slope where D is sure, but -log D(G(z)), which has the
same fixed point, and is no divergence that goes down. Noise on what D sees, which
fades, lets true and made points overlap at first (Sonderby et al. 2017,
https://arxiv.org/abs/1610.04490). Goodfellow et al. (2014) is
https://arxiv.org/abs/1406.2661.
TODO
"""

import argparse
import pathlib
import time

import keras
import matplotlib.figure
import numpy as np
import PIL.Image
import sklearn.datasets
import sklearn.svm
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import flows, variational

tfb, tfd = tfp.bijectors, tfp.distributions

PICTURE = pathlib.Path(__file__).with_suffix(".png")
ANGLES = 2.0 * np.pi / 8 * np.arange(8)
CENTERS = np.float32(2.8 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=-1))
SCALE = np.float32(0.1)  # of the eight Gaussians around them
SIZE, LEVELS = 64, 17  # of the digits
LIMIT, PIXELS = 3.4, 120  # of the picture of the plane


def main(
    steps=3000, digit_steps=600, points=20000, seeds=3, picture=PICTURE, seed=0
):
    """Fits the three models to both data sets, and asks them the same questions.

    Args:
      steps: number of training steps of the flow in the plane; VAE and GAN, whose steps
        are cheaper, take three times as many.
      digit_steps: number of training steps of the flow on the digits; VAE and GAN take
        five times as many.
      points: number of points of the plane to train on.
      seeds: number of GANs in the plane, each with and without noise on what D sees.
      picture: path of the picture to write, or None.
      seed: integer that decides the data, the initial values and the samples.

    Returns:
      figures: dictionary. `plane[model]` and `digits[model]` have the rows of the
        tables by name, see `plane` and `digits`; `gans[noise, seed]` those of each GAN
        of the plane; `seconds` and `processor_seconds`.
    """
    start = time.perf_counter(), time.process_time()
    figures, panels = {}, {}
    figures["plane"], figures["gans"], panels["plane"] = plane(
        steps, points, seeds, seed)
    figures["digits"], panels["digits"] = digits(digit_steps, seed)
    if picture is not None:
        draw(picture, panels, figures)
    figures["seconds"] = time.perf_counter() - start[0]
    figures["processor_seconds"] = time.process_time() - start[1]
    print(
        f"\nseconds, without the imports: {figures['seconds']:.0f}, "
        f"of processor time: {figures['processor_seconds']:.0f}")
    return figures


# 1. The three models. Each has a `step` of training, `sample` and `decode`. Flow and
# VAE have `bound`, a number of nats to maximise, and `encode`, too.


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
            flow.distribution, tfb.Chain([*to_data, flow.bijector]))
        self.build(self.model.trainable_variables, optimizer)
        self.log_prob = self.bound = tf.function(self.model.log_prob, jit_compile=True)
        self.encode = tf.function(self.model.bijector.inverse, jit_compile=True)
        self.decode = tf.function(self.model.bijector.forward, jit_compile=True)

    def nats(self, x, seed, progress):
        return self.model.log_prob(x)

    def sample(self, number, seed):
        return self.decode(self.model.distribution.sample(number, [seed, 3])).numpy()


class VAE(Likelihood):
    """A decoder and an encoder, whose posterior is bent by four planar layers.

    Args:
      outputs: number of outputs of the decoder.
      likelihood: callable from outputs, `[..., outputs]`, to `q(x | z)`.
    """

    def __init__(
        self, size, latent_size, hidden, outputs, likelihood, optimizer, seed
    ):
        self.family = flows.amortised_posterior(latent_size, "planar", num_layers=4)
        self.encoder = mlp(size, hidden, self.family.num_parameters, 0.1, seed)
        self.decoder = mlp(latent_size, hidden, outputs, 1.0, seed + 1)
        self.prior = tfd.Sample(tfd.Normal(0.0, 1.0), latent_size)
        self.outputs, self.likelihood = outputs, likelihood
        self.build(weights(self.encoder) + weights(self.decoder), optimizer)
        self.bound = tf.function(
            lambda x: variational.elbo(self.terms(x, 20, [0, 1])), jit_compile=True)
        self.log_prob = tf.function(self.marginal, jit_compile=True)

    def posterior(self, x):
        """Returns the encoder's `r(z | x)`, a distribution with the batch shape."""
        return self.family(self.encoder(x))

    def given(self, z):
        """Returns the decoder's `q(x | z)`, for `z` of shape `[..., latent_size]`."""
        flat = self.decoder(tf.reshape(z, [-1, z.shape[-1]]))
        shape = tf.concat([tf.shape(z)[:-1], [self.outputs]], axis=0)
        return self.likelihood(tf.reshape(flat, shape))

    def terms(self, x, samples, seed):
        return variational.draw(
            self.posterior(x), lambda z: self.given(z).log_prob(x), self.prior, samples,
            seed=seed)

    def nats(self, x, seed, progress):
        # Little weight on the divergence at first, or the decoder learns without z.
        beta = variational.warm_up(progress, 0.25, start=0.1)
        return variational.elbo(self.terms(x, 1, seed), beta)

    def marginal(self, x):
        """Estimates `log q(x)` by 500 draws from the encoder."""
        return variational.log_marginal_likelihood(
            self.posterior(x), lambda z: self.given(z).log_prob(x), self.prior, 500,
            seed=0, samples_at_once=20)

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
            self.optimizers.append(keras.optimizers.Adam(
                keras.optimizers.schedules.CosineDecay(rate, steps), beta_1=0.5))
            self.optimizers[-1].build(weights(network))

    def step(self, x, seed, progress):
        """Moves D, then G; returns the loss of D."""
        seeds = tf.unstack(tfp.random.split_seed(seed, n=3))
        z = tf.random.stateless_normal([len(x), self.latent_size], seeds[0])
        # `judge` returns the logit of D: log D is -softplus(-logit).
        for_true, for_made = (
            self.noise * (1.0 - progress) * tf.random.stateless_normal(x.shape, each)
            for each in seeds[1:])
        made = self.decode(z)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(
                tf.nn.softplus(-self.judge(x + for_true))
                + tf.nn.softplus(self.judge(made + for_made)))
        variables = weights(self.judge)
        self.optimizers[1].apply(tape.gradient(loss, variables), variables)
        with tf.GradientTape() as tape:
            made = self.decode(z)
            cost = tf.reduce_mean(tf.nn.softplus(-self.judge(made + for_made)))
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
        layers.append(keras.layers.Dense(
            units, None if last else "leaky_relu",
            kernel_initializer=keras.initializers.VarianceScaling(
                gain if last else 2.0, seed=100 * seed + i)))
    return keras.Sequential(layers)


def weights(network):
    return [variable.value for variable in network.trainable_variables]


def adam(rate, steps, decay=0.0):
    """Returns Adam with step sizes that fall along a cosine."""
    return keras.optimizers.AdamW(
        keras.optimizers.schedules.CosineDecay(rate, steps), decay, global_clipnorm=5.0)


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

    @tf.function(jit_compile=True)
    def run(first, number):
        total = 0.0
        for i in tf.range(first, first + number):
            seeds = tf.unstack(tfp.random.split_seed(tf.stack([seed, i]), n=3))
            rows = tf.random.stateless_uniform(
                [batch], seeds[0], 0, len(data), tf.int32)
            x = prepare(tf.gather(data, rows), seeds[1])
            total += model.step(x, seeds[2], tf.cast(i, tf.float32) / steps)
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
      figures: dictionary of dictionaries, by model, with the rows of `PLANE_ROWS`.
      gans: what `from_samples` says of all GANs, and their `loss`, by noise and seed.
      panels: list of `(title, samples or log-density of the pixels)`.
    """
    random = np.random.RandomState(seed)
    data, test, others = (
        np.float32(CENTERS[random.randint(8, size=n)] + SCALE * random.normal(size=[n, 2]))
        for n in (points, 2000, 2000))
    truth = CENTERS, np.full_like(CENTERS, SCALE)

    def normal(outputs):
        loc, scale = tf.split(outputs, 2, axis=-1)
        return tfd.MultivariateNormalDiag(loc, tf.nn.softplus(scale) + 0.01)

    many = 3 * steps
    models = {
        "flow": Flow(2, 4, (64, 64), [], adam(5e-3, steps), seed),
        "VAE": VAE(2, 2, (128, 128), 4, normal, adam(3e-3, many), seed)}
    for i in range(seeds):
        for noise in (0.5, 0.0):
            models[noise, seed + i] = GAN(
                2, 2, (128, 128), tf.identity, noise, 1e-3, many, 10 * (seed + i))
    made, figures = {"truth": others}, {"truth": from_samples(others, test, truth)}
    print("1. The plane")
    for name, model in models.items():
        length = steps if name == "flow" else many
        loss, seconds = train(model, data, length, seed, 256)
        made[name] = model.sample(len(test), seed)
        figures[name] = from_samples(made[name], test, truth)
        figures[name] |= dict(loss=loss, seconds=seconds)
        if isinstance(model, GAN):
            print(
                "   GAN, noise {}, seed {}: {modes} modes, shares from {least:.2f} to "
                "{most:.2f}, loss of D {loss:.3f}".format(*name, **figures[name]),
                flush=True)
    gans = {name: figures.pop(name) for name in models if isinstance(name, tuple)}
    worst = min(gans, key=lambda name: gans[name]["least"])
    for table in (models, made):
        table["GAN"] = table[0.5, seed]
    figures["GAN"] = gans[0.5, seed]

    # Densities. Of the VAE there are two estimates: draws from the encoder, for points
    # like the data, and a mixture over draws from the prior, for any.
    flow, vae, gan = models["flow"], models["VAE"], models["GAN"]
    outputs = vae.given(vae.prior.sample(20000, seed=[seed, 6]))
    mixtures = {"truth": truth, "VAE": (outputs.mean(), outputs.stddev())}
    kernels = {name: kernel_estimate(made[name], data) for name in figures}
    log_p = log_mixture(test, *truth)
    for name, density in [
        ("truth", lambda x: log_mixture(x, *truth)), ("flow", flow.log_prob),
        ("VAE", vae.log_prob),
    ]:
        log_q = density(test)
        apart = log_q - log_p, log_mixture(made[name], *truth) - density(made[name])
        figures[name] |= dict(
            **score("nats", log_q), **score("lost", log_p - log_q),
            js=np.log(2.0) - 0.5 * sum(float(np.mean(softplus(a))) for a in apart))
    figures["VAE"]["bound"] = float(np.mean(vae.bound(test)))
    # The discriminator tells no more than the best one would.
    figures["GAN"]["js_at_least"] = np.log(2.0) - 0.5 * figures["GAN"]["loss"]
    for name, kernel in kernels.items():
        figures[name]["kernel"] = float(np.mean(log_mixture(test, *kernel)))

    # A missing coordinate, given the other one: joint density by its integral.
    few = test[:500]
    mixtures["GAN"] = kernels["GAN"]  # a stand-in
    for name, (loc, scale) in mixtures.items():
        alone = log_mixture(few[:, :1], loc[:, :1], scale[:, :1])
        figures[name] |= score("imputed", log_mixture(few, loc, scale) - alone)
    line = np.linspace(-4.0, 4.0, 801, dtype=np.float32)
    across = np.stack(np.broadcast_arrays(few[:, :1], line), axis=-1)
    log_q = np.reshape(flow.log_prob(across.reshape(-1, 2)), [len(few), -1])
    alone = tf.reduce_logsumexp(log_q, axis=-1) + np.log(line[1] - line[0])
    figures["flow"] |= score("imputed", flow.log_prob(few) - alone)

    # Codes, and the way from one to another.
    enough = np.quantile(log_mixture(data, *truth), 0.001)
    share = np.linspace(0.1, 0.9, 9, dtype=np.float32)[:, np.newaxis, np.newaxis]
    for name in ("truth", "flow", "VAE", "GAN"):
        if name in ("flow", "VAE"):
            z, decode = models[name].encode(test), models[name].decode
            error = np.linalg.norm(decode(z) - test, axis=-1)
        elif name == "GAN":  # has no encoder: search among many of its points
            z, decode = random.normal(size=[2000, 2]), gan.decode
            error = nearest(test, gan.sample(20000, seed + 1))
        else:  # straight lines between points of the data
            z, decode, error = test, tf.identity, np.zeros(1)
        way = np.float32(z[:1000] * (1.0 - share) + z[1000:] * share)
        log_way = log_mixture(decode(way.reshape(-1, 2)), *truth)
        figures[name] |= dict(
            coded=float(np.mean(error**2) ** 0.5),
            between=float(np.mean(log_way < enough)))
    print_table(figures, PLANE_ROWS)

    grid = pixels()
    panels = [(f"{name}: samples", made[name]) for name in figures]
    panels += [
        ("truth: log-density", log_mixture(grid, *truth)),
        ("flow: exact log-density", flow.log_prob(grid)),
        ("VAE: estimate of it", log_mixture(grid, *mixtures["VAE"])),
        ("GAN, noise {}, seed {}: {modes} modes".format(*worst, **gans[worst]),
         made[worst])]
    return figures, gans, panels


PLANE_ROWS = {
    "nats": "held-out log q", "bound": "its bound", "lost": "KL(p || q)",
    "js": "JS(p, q)", "js_at_least": "JS at least, by D",
    "kernel": "kernel estimate, log q",
    "log_p": "log p of samples", "off": "samples off the data", "modes": "modes",
    "least": "least mode's share", "most": "largest", "energy": "energy distance",
    "imputed": "log q(x2 | x1)", "coded": "decode(encode(x)) - x",
    "between": "ways off the data", "seconds": "CPU seconds"}


def from_samples(samples, test, truth):
    """Returns what can be told of a model by its samples alone.

    Returns:
      figures: dictionary of numbers: mean true `log_p`; share `off` the data, where the
        true density is lower than at 99.9 % of the data; number of `modes` that get at
        least a quarter of their share, and the `least` and the `most` that one gets,
        where 1 is right; `energy` distance from held-out points.
    """
    log_p = log_mixture(samples, *truth)
    # Of points around one of eight Gaussians, 99.9 % are within 3.72 scales of it.
    radius = np.sqrt(-2.0 * np.log(0.001)) * SCALE
    distance = np.linalg.norm(samples[:, np.newaxis] - CENTERS, axis=-1)
    share = 8.0 * np.mean(distance < radius, axis=0)
    return {
        "log_p": float(np.mean(log_p)),
        "off": float(np.mean(np.all(distance >= radius, axis=-1))),
        "modes": int(np.sum(share >= 0.25)),
        "least": float(np.min(share)), "most": float(np.max(share)),
        "energy": energy_distance(samples, test),
    }


def log_mixture(x, loc, scale):
    """Returns the log-density, at `[N, D]`, of Gaussians around `[K, D]`, all alike."""
    parts = [
        log_mixture_of_few(part, loc, scale)
        for part in np.split(np.float32(x), range(500, len(x), 500))]
    return np.concatenate(parts)


@tf.function(jit_compile=True)
def log_mixture_of_few(x, loc, scale):
    z = (x[:, tf.newaxis] - loc) / scale
    log_p = tf.reduce_sum(-0.5 * z**2 - tf.math.log(scale), axis=-1)
    return tfp.math.reduce_logmeanexp(log_p, axis=-1) - (
        0.5 * x.shape[-1] * np.log(2.0 * np.pi))


def kernel_estimate(samples, data):
    """Returns Gaussians around samples, of the width that suits the data best."""
    widths = [np.full_like(samples, 0.1 * 2.0**k) for k in range(-2, 5)]
    return samples, max(
        widths, key=lambda width: np.mean(log_mixture(data[:1000], samples, width)))


def energy_distance(x, y):
    """Returns `2 E|x - y| - E|x - x'| - E|y - y'|`; around 0 for the same density."""
    same = sum(mean_distance(each, each) * len(each) / (len(each) - 1.0)
               for each in (x, y))
    return float(2.0 * mean_distance(x, y) - same)


def mean_distance(x, y):
    return np.mean(np.sqrt(squares(np.float64(x), np.float64(y))))


def squares(x, y):
    """Returns the squares of all distances, of shape `[len(x), len(y)]`."""
    both = np.sum(x**2, axis=1)[:, np.newaxis] + np.sum(y**2, axis=1)
    return np.maximum(both - 2.0 * x @ y.T, 0.0)


def nearest(x, others):
    """Returns the distance from each point to the nearest of others."""
    return np.sqrt(np.min(squares(np.float64(x), np.float64(others)), axis=1))


def softplus(x):
    return np.logaddexp(0.0, x)


def score(name, values):
    """Returns the mean of values, and its standard error."""
    return {
        name: float(np.mean(values)),
        name + "_error": float(np.std(values) / len(values) ** 0.5)}


def print_table(figures, rows):
    print(f"{'':24}", *(f"{name:>16}" for name in figures))
    for key, title in rows.items():
        cells = []
        for row in figures.values():
            text = f"{row[key]:.4g}" if key in row else "-"
            if key + "_error" in row:
                text = f"{row[key]:.3f} ({row[key + '_error']:.3f})"
            cells.append(f"{text:>16}")
        print(f"{title:24}", *cells, flush=True)


def pixels():
    """Returns the points of the picture of a density, row by row from below."""
    line = np.linspace(-LIMIT, LIMIT, PIXELS, dtype=np.float32)
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)


# 3. Digits.


def digits(steps, seed):
    """Compares the models on images of 8 x 8 pixels.

    Returns:
      figures: dictionary of dictionaries, by model, with the rows of `DIGITS_ROWS`.
      panels: list of `(title, images)`.
    """
    bunch = sklearn.datasets.load_digits()
    order = np.random.RandomState(0).permutation(len(bunch.data))
    levels, labels = np.float32(bunch.data[order]), bunch.target[order]
    data, validation, test = np.split(levels, [1260, 1400])
    validation = dequantise(np.tile(validation, [5, 1]), [seed, 7])
    classifier = sklearn.svm.SVC(gamma=1e-3).fit(levels[:1400], labels[:1400])
    frequency = np.bincount(labels) / len(labels)

    sigmoid = tfb.Sigmoid(-0.02, 1.02)  # a margin, so that no pixel goes to infinity
    z = sigmoid.inverse(dequantise(data, [seed, 8])).numpy()
    to_data = [sigmoid, tfb.Shift(np.mean(z, axis=0)), tfb.Scale(np.std(z, axis=0))]

    def pixel(outputs):
        """A probability for each level, and all values of a level alike."""
        shape = tf.concat([tf.shape(outputs)[:-1], [SIZE, LEVELS]], axis=0)
        edges = np.float32(np.arange(LEVELS + 1) / LEVELS)
        return tfd.Independent(tfd.MixtureSameFamily(
            tfd.Categorical(logits=tf.reshape(outputs, shape)),
            tfd.Uniform(edges[:-1], edges[1:])), 1)

    many = 5 * steps
    models = {
        "flow": Flow(SIZE, 4, (128, 128), to_data, adam(2e-3, steps, 4.0), seed),
        "VAE": VAE(
            SIZE, 8, (128, 128), SIZE * LEVELS, pixel, adam(2e-3, many, 0.1), seed),
        "GAN": GAN(SIZE, 32, (256, 256), tf.sigmoid, 0.3, 5e-4, many, seed)}

    def judge(images):
        levels = np.clip(np.floor(LEVELS * images), 0, LEVELS - 1)
        share = np.bincount(classifier.predict(levels), minlength=10) / len(levels)
        return dict(
            least=float(np.min(share / frequency)),
            most=float(np.max(share / frequency)),
            nearest=float(np.mean(nearest(levels, data))) / SIZE**0.5,
            energy=energy_distance(levels, test) / SIZE**0.5)

    # What training data score, but for the distance to themselves.
    figures = {"data": judge((data + 0.5) / LEVELS)}
    figures["data"]["nearest"] = float(np.mean(nearest(test, data))) / SIZE**0.5
    panels = [("held-out digits", (test[:36] + 0.5) / LEVELS)]
    for name, model in models.items():
        loss, seconds = train(
            model, data, steps if name == "flow" else many, seed, 100, dequantise,
            None if name == "GAN" else validation)
        images = model.sample(1000, seed)
        figures[name] = judge(images) | dict(loss=loss, seconds=seconds)
        panels.append((f"{name}: samples", images[:36]))
    points = [dequantise(test[:200], [seed, 10 + i]) for i in range(5)]
    # All draws of the noise have one density in the VAE.
    figures["flow"] |= score(
        "nats", np.mean([models["flow"].log_prob(x) for x in points], axis=0))
    figures["VAE"] |= score("nats", models["VAE"].log_prob(points[0]))
    figures["VAE"]["bound"] = float(np.mean(models["VAE"].bound(points[0])))
    print("\n2. Digits")
    print_table(figures, DIGITS_ROWS)
    return figures, panels


DIGITS_ROWS = {
    "nats": "held-out log q", "bound": "its bound", "least": "least class's share",
    "most": "largest", "nearest": "to training image", "energy": "energy distance",
    "seconds": "CPU seconds"}


def dequantise(levels, seed):
    """Spreads each level evenly over its interval: points in [0, 1)."""
    noise = tf.random.stateless_uniform(tf.shape(levels), seed)
    return tf.minimum((levels + noise) / LEVELS, 1.0 - 1e-6)


def draw(path, panels, figures):
    """Draws samples, densities and digits, a column for each model."""
    figure = matplotlib.figure.Figure(figsize=(9.6, 7.6), layout="constrained")
    axes = figure.subplots(3, 4)
    highest = np.max(panels["plane"][4][1])
    for ax, (title, values) in zip(axes.flat, panels["plane"] + panels["digits"]):
        ax.set_title(title, fontsize=10)
        ax.set(xticks=[], yticks=[])
        values = np.asarray(values)
        if values.shape[-1] == SIZE:
            padded = np.pad(values.reshape(6, 6, 8, 8), [(0, 0)] * 2 + [(1, 1)] * 2)
            ax.imshow(
                padded.transpose(0, 2, 1, 3).reshape(60, 60), cmap="gray_r", vmin=0.0,
                vmax=1.0)
        elif values.ndim == 2:
            ax.scatter(*values.T, s=2.0, color="black", alpha=0.4, linewidths=0.0)
            ax.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), aspect="equal")
        else:
            image = ax.imshow(
                values.reshape(PIXELS, PIXELS), cmap="magma", origin="lower",
                vmin=highest - 12.0, vmax=highest, extent=[-LIMIT, LIMIT] * 2)
    figure.colorbar(image, ax=axes[1, 2], label="nats", location="right", shrink=0.8)
    figure.savefig(path, dpi=100)
    with PIL.Image.open(path) as picture:  # few colours take half of the space
        picture.convert("RGB").quantize(64).save(path, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--steps", type=int, default=3000, help="training steps in the plane")
    add("--digit-steps", type=int, default=600, help="training steps on the digits")
    add("--seeds", type=int, default=3, help="GANs in the plane, of each kind")
    add("--seed", type=int, default=0)
    add("--picture", default=PICTURE, help="where to write the picture")
    main(**vars(parser.parse_args()))
