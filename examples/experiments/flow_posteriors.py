"""Posterior families for a small VAE, checked on a grid: gaps, bounds, gradients.

The latent of an autoencoder for the digits of scikit-learn has two elements, so `log
p(x)` is a sum over a grid, and everything that variational inference approximates can
be computed. Images are observed as a whole, or by their three top rows alone.
`examples/flow_posteriors.py` explains the method. Run

    python examples/experiments/flow_posteriors.py

It prints six parts, and records them in `results/flow_posteriors.json`:

1. `log p(x) = ELBO + KL(q || p(z | x))`, three independent computations, for single
   images.
2. Approximation gap and amortization gap (Cremer et al. 2018,
   https://arxiv.org/abs/1801.03558) of seven families, given a decoder that was trained
   by the sum over the grid alone. The approximation gap is what remains when the
   parameters of `q` are fitted to each image; for the IAF these are the Gaussian and
   the context, not the weights.
3. Importance-weighted bounds (Burda et al. 2016) of 1, 5 and 50 samples.
4. Variance of the gradient without the score term ("sticking the landing", Roeder et
   al. 2017), as a fraction of the variance with it: the better the fit, the lower.
5. Decoder and encoder trained together, for several seeds: held-out bound, `log p(x)`
   by 5000 samples and by the grid. Where `q` misses a mode, so do its samples.
6. Posterior collapse for a decoder that depends on preceding pixels, too, and two
   remedies: KL warm-up and free nats.
"""

import argparse
import time

import keras
import numpy as np
import sklearn.datasets
import tensorflow as tf
import tensorflow_probability as tfp
import tqdm
from recording import record

from tfp_flows import flows, networks, variational

tfd = tfp.distributions

VIEWS = {"whole": 8, "top rows": 3}  # how many rows of pixels are seen
FAMILIES = {
    "Gaussian": ("gaussian", 1),
    "planar 4": ("planar", 4),
    "planar 16": ("planar", 16),
    "radial 16": ("radial", 16),
    "orthogonal 4": ("sylvester_orthogonal", 4),
    "triangular 4": ("sylvester_triangular", 4),
    "IAF 4": ("iaf", 4),
}
CHECKED = ["Gaussian", "planar 16", "IAF 4"]
MEASURED = ["Gaussian", "planar 4", "planar 16"]  # the variance of their gradients
TOGETHER = ["Gaussian", "planar 16", "orthogonal 4", "IAF 4"]
REMEDIES = {"none": (0.0, None), "warm-up": (0.5, None), "free nats": (0.0, 2.0)}
COUNTS = [1, 5, 50]
PRIOR = tfd.Sample(tfd.Normal(0.0, 1.0), 2)
LIMIT, CELL = 5.0, 0.05  # of the grid, in the units of the prior


def main(steps=2000, seeds=3, images=100, seed=0):
    """Trains decoders and posteriors, prints gaps and bounds, and records them.

    Args:
      steps: number of training steps of each network, a multiple of 200.
      seeds: number of seeds for decoders that learn together with an encoder.
      images: number of test images, each of which is seen in both views.
      seed: integer that decides initial values, batches and samples.

    Returns:
      figures: dictionary of nats, means over images where it names none:
        `check`, a list of dictionaries, each of one image and one posterior, with
        `bound`, its `standard_error`, `divergence` and `log_p`;
        `gaps[family][view]`: `approximation` and `amortization`;
        `importance_weighted[family]`: the bounds for `COUNTS`, of `"log p"` the limit;
        `variance[family]`, no nats: what `gradient_variance` returns;
        `together[family][view]`: arrays over seeds, `bound`, `estimate` and `log_p`;
        `exact[view]`: `log_p` of the decoder that was trained without a posterior;
        `collapse[remedy]`: `divergence` and `bound`; `quadrature`: most that a finer
        grid changes `log p(x)` of an image; `seconds` and `processor_seconds`.
    """
    start = time.perf_counter(), time.process_time()
    train, test = load()
    test = views_of(test[:images])
    networks_trained = 1 + len(FAMILIES) * 1.5 + len(TOGETHER) * seeds + len(REMEDIES)
    progress = tqdm.tqdm(
        total=int(steps * networks_trained), unit="step", unit_scale=True, mininterval=5
    )

    progress.set_description("decoder, by quadrature")
    decoder = build_decoder(seed)
    Trainer(lambda *at: exact(decoder, batch(train, *at), *at), decoder, steps).fit(
        seed, progress
    )
    log_p = log_evidence(decoder, test)
    finer = log_evidence(decoder, test, CELL / 2.0)
    figures = {"quadrature": float(np.max(np.abs(finer - log_p)))}
    figures["exact"] = by_view(log_p=log_p)
    figures |= {"gaps": {}, "importance_weighted": {}, "variance": {}, "together": {}}

    models, refined, best, gaps = {}, {}, {}, {}
    for name in FAMILIES:
        progress.set_description(name)
        model = models[name] = Autoencoder(name, train, steps, seed)
        model.fit(seed, progress, decoder)
        encoded = model.encoder(test)
        terms = model.draw(test, encoded, seed)
        refined[name], best[name] = refine(
            model, test, encoded, terms, steps // 2, seed, progress
        )
        gaps[name] = log_p - variational.elbo(best[name]).numpy()
        figures["gaps"][name] = by_view(
            approximation=gaps[name],
            amortization=log_p - variational.elbo(terms) - gaps[name],
        )
        figures["importance_weighted"][name] = [
            importance_weighted(terms, count) for count in COUNTS
        ]
        if name in MEASURED:
            figures["variance"][name] = gradient_variance(
                model, test, {"encoder": encoded, "each image": refined[name]}, seed
            )
    figures["importance_weighted"]["log p"] = float(np.mean(log_p))
    cases = interesting(gaps["Gaussian"])
    figures["check"] = [
        check(name, models[name], test, refined[name], best[name], log_p, case)
        for case in cases[1::2]
        for name in CHECKED
    ]

    for name in TOGETHER:
        progress.set_description(f"{name}, with its decoder")
        each = []
        for i in range(seeds):
            models[name].fit(seed + i, progress)
            each.append(models[name].evaluate(test, seed))
        figures["together"][name] = {
            view: {key: np.array([one[view][key] for one in each]) for key in one[view]}
            for one in each[:1]
            for view in VIEWS
        }

    progress.set_description("collapse")
    figures["collapse"] = {
        remedy: collapse(train, test[:images], steps, seed, progress, *how)
        for remedy, how in REMEDIES.items()
    }
    progress.close()
    figures["seconds"] = time.perf_counter() - start[0]
    figures["processor_seconds"] = time.process_time() - start[1]
    report(figures)
    save(figures, seed)
    return figures


def load():
    """Returns digits of 64 black or white pixels, 1400 to train and 397 to test."""
    digits = sklearn.datasets.load_digits()
    order = np.random.RandomState(0).permutation(len(digits.data))
    return np.split(np.float32(digits.data[order] >= 8.0), [1400])


def views_of(x):
    """Returns images in each of the views, one view after the other.

    Pixels are 1 and -1, those that are not seen are 0: shape `[len(VIEWS) N, 64]`.
    """
    pixel = np.arange(64) // 8
    masks = [np.float32(pixel < rows) for rows in VIEWS.values()]
    return tf.concat([(2.0 * x - 1.0) * mask for mask in masks], axis=0)


def by_view(**values):
    """Returns means over the images of a view, by view and name."""
    return {
        view: {
            name: float(np.mean(np.split(np.asarray(value), len(VIEWS))[i]))
            for name, value in values.items()
        }
        for i, view in enumerate(VIEWS)
    }


def build_decoder(seed):
    """Returns the network from a point of the plane to the logits of 64 pixels."""
    return networks.MLP(2, [64], (32, 32), activation="tanh", seed=seed)


def log_likelihood(decoder, z, seen):
    """Returns `log p(x | z)` of the pixels that are seen, `[S, N]`."""
    logits = decoder(z)
    return tf.reduce_sum(
        tf.nn.relu(seen) * logits - tf.abs(seen) * tf.nn.softplus(logits), axis=-1
    )


def log_joint(decoder, z, seen):
    """Returns `log p(x, z)` of each image at each point, `[N, points]`.

    It is a matrix product, and cheap: the terms above are linear in what is seen.
    """
    logits = decoder(z)
    values = tf.matmul(tf.nn.relu(seen), logits, transpose_b=True)
    values -= tf.matmul(tf.abs(seen), tf.nn.softplus(logits), transpose_b=True)
    return values + PRIOR.log_prob(z)


def grid(cell=CELL, limit=LIMIT, shift=0.5):
    """Returns the points of a grid, `[points, 2]`, row by row from below."""
    line = tf.range(round(2.0 * limit / cell), dtype=tf.float32)
    x, y = tf.unstack(cell * (line[:, tf.newaxis] + shift) + [-limit, -limit], axis=1)
    return tf.reshape(tf.stack(tf.meshgrid(x, y), axis=-1), [-1, 2])


def log_evidence(decoder, seen, cell=CELL):
    """Returns `log p(x)` of each image, an integral over the plane."""
    parts = np.split(seen.numpy(), range(50, len(seen), 50))
    return np.concatenate([integral(decoder, grid(cell), part) for part in parts]) + (
        2.0 * np.float32(np.log(cell))
    )


@tf.function(jit_compile=True)
def integral(decoder, z, seen):
    return tf.reduce_logsumexp(log_joint(decoder, z, seen), axis=1)


def exact(decoder, seen, seed, step, cell=0.2):
    """Returns the mean of `log p(x)`, on a coarse grid that is shifted at random.

    The shift keeps the decoder from fitting peaks at the points of one grid. On the
    average over shifts it is a bound, too: the logarithm is concave.
    """
    shift = tf.random.stateless_uniform([2], tf.stack([seed + 1, step]))
    values = log_joint(decoder, grid(cell, 4.0, shift), seen)
    integral = tf.reduce_logsumexp(values, axis=1) + 2.0 * np.log(cell)
    return tf.reduce_mean(integral) - penalty(decoder)


def penalty(decoder):
    """Keeps decoders smooth, whatever they are trained with."""
    return 5e-4 * tf.add_n(
        [
            tf.reduce_sum(weight**2)
            for weight in decoder.trainable_variables
            if weight.shape.rank > 1
        ]
    )


def batch(train, seed, step, size=200):
    rows = tf.random.stateless_uniform(
        [size], tf.stack([seed, step]), 0, len(train), tf.int32
    )
    return views_of(tf.gather(train, rows))


class Trainer:
    """Maximizes an objective, many steps a call, with what it compiled kept.

    Args:
      objective: callable from `seed` and `step` to a scalar.
      module: `tf.Module` of the variables.
      steps: number of steps, a multiple of 100.
      rate: step size of Adam at the start.
    """

    def __init__(self, objective, module, steps, rate=1e-2):
        self.objective, self.module, self.steps = objective, module, steps
        self.variables = module.trainable_variables
        self.optimizer = keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(rate, steps), global_clipnorm=10.0
        )
        self.optimizer.build(self.variables)
        self.initial = [each.numpy() for each in self.optimizer.variables]

    def fit(self, seed, progress, given=None):
        """Trains from the values that the variables have now; `given` ones stay."""
        for variable, value in zip(self.optimizer.variables, self.initial):
            variable.assign(value)
        kept = {id(each) for each in given.trainable_variables} if given else {}
        learns = [float(id(each) not in kept) for each in self.variables]
        for first in range(0, self.steps, 100):
            self.train_steps(tf.constant(first), tf.constant(seed), tf.constant(learns))
            progress.update(100)

    @tf.function(jit_compile=True)
    def train_steps(self, first, seed, learns):
        for i in tf.range(100):
            with tf.GradientTape() as tape:
                loss = -self.objective(seed, first + i)
            gradients = tape.gradient(loss, self.variables)
            # Adam does not change a weight whose gradients are all 0.
            gradients = [each * learns[j] for j, each in enumerate(gradients)]
            self.optimizer.apply(gradients, self.variables)


class Autoencoder(tf.Module):
    """A decoder, and an encoder that predicts a posterior of a family.

    Args:
      name: one of `FAMILIES`.
      train: images to train on.
      steps: number of training steps.
      seed: integer that decides initial values.
    """

    def __init__(self, name, train, steps, seed):
        super().__init__()
        self._of_family = name
        self.decoder = build_decoder(seed)
        kind, layers = FAMILIES[name]
        options = dict(hidden_units=(32,)) if kind == "iaf" else {}
        self.family = flows.amortized_posterior(2, kind, layers, seed=seed, **options)
        self.encoder = networks.MLP(
            64, [self.family.num_parameters], (64, 64), seed=seed + 100
        )
        if train is not None:
            self._trainer = Trainer(
                lambda *at: self.objective(batch(train, *at), *at), self, steps
            )

    def objective(self, seen, seed, step):
        terms = self.terms(seen, self.encoder(seen), 1, tf.stack([seed + 1, step]))
        return tf.reduce_mean(variational.elbo(terms)) - penalty(self.decoder)

    def terms(self, seen, parameters, samples, seed, stop=False):
        """Returns samples of `q(z | x)`, and the terms of the bounds there."""
        stopped = self.family(tf.stop_gradient(parameters)) if stop else None
        return variational.sample_and_log_probs(
            self.family(parameters),
            lambda z: log_likelihood(self.decoder, z, seen),
            PRIOR,
            samples,
            seed=seed,
            stopped_surrogate_posterior=stopped,
        )

    def fit(self, seed, progress, decoder=None):
        """Trains the encoder, and the decoder unless it is given."""
        fresh = Autoencoder(self._of_family, None, None, seed)
        for variable, other in zip(self.variables, fresh.variables):
            variable.assign(other)
        if decoder is not None:
            for variable, other in zip(self.decoder.variables, decoder.variables):
                variable.assign(other)
        self._trainer.fit(seed, progress, decoder and self.decoder)

    def draw(self, seen, parameters, seed, samples=5000):
        """Returns `Terms` of many samples."""
        parts = [
            self._draw(seen, parameters, tf.constant([seed, i]))
            for i in range(samples // 500)
        ]
        return tf.nest.map_structure(lambda *each: tf.concat(each, axis=0), *parts)

    @tf.function(jit_compile=True)
    def _draw(self, seen, parameters, seed):
        return self.terms(seen, parameters, 500, seed)

    def evaluate(self, seen, seed):
        """Returns the bound of images, and `log p(x)` by samples and by quadrature."""
        parameters = self.encoder(seen)
        return by_view(
            bound=variational.elbo(self.draw(seen, parameters, seed)),
            estimate=self._estimate(seen, parameters),
            log_p=log_evidence(self.decoder, seen),
        )

    @tf.function(jit_compile=True)
    def _estimate(self, seen, parameters):
        return variational.log_marginal_likelihood(
            self.family(parameters),
            lambda z: log_likelihood(self.decoder, z, seen),
            PRIOR,
            5000,
            seed=2,
        )


def refine(model, seen, encoded, terms, steps, seed, progress):
    """Fits a posterior to each image by itself; the decoder, and weights of IAF, stay.

    It starts once from what the encoder predicts, and once from that with the Gaussian
    moved so that `q` lies at the peak of the posterior. The better end is kept: where
    there are several peaks, gradients alone do not go from one to the other.

    Returns:
      parameters: `[N, num_parameters]`.
      terms: `Terms` of samples there.
    """
    z = grid()
    peak = tf.gather(z, tf.argmax(log_joint(model.decoder, z, seen), axis=1))
    move = peak - tf.reduce_mean(terms.z, axis=0)
    moved = tf.concat([encoded[:, :2] + move, encoded[:, 2:]], axis=1)
    free, twice = tf.Module(), tf.concat([seen, seen], axis=0)
    free.parameters = tf.Variable(tf.concat([encoded, moved], axis=0))

    def objective(seed, step):
        drawn = model.terms(twice, free.parameters, 10, tf.stack([seed + 2, step]))
        return tf.reduce_sum(variational.elbo(drawn))

    Trainer(objective, free, steps).fit(seed, progress)
    ends = tf.split(free.parameters, 2)
    drawn = [model.draw(seen, end, seed) for end in ends]
    better = variational.elbo(drawn[0]) > variational.elbo(drawn[1])
    terms = variational.PosteriorSamples(
        tf.where(better[:, tf.newaxis], drawn[0].z, drawn[1].z),
        *[tf.where(better, *each) for each in zip(drawn[0][1:], drawn[1][1:])],
    )
    return tf.where(better[:, tf.newaxis], *ends), terms


def importance_weighted(terms, count):
    """Returns the mean bound of `count` samples, over all groups of the samples."""
    groups = tf.nest.map_structure(
        lambda value: tf.reshape(value, [count, -1, *value.shape[1:]]), terms
    )
    return float(tf.reduce_mean(variational.importance_weighted_bound(groups)))


def gradient_variance(model, seen, at, seed, draws=200):
    """Returns how much of the variance of the gradient of `q` sticking the landing has.

    The gradient is that of the bound of one sample, with respect to the parameters of
    the posterior of an image; variances are summed over them.

    Args:
      model, seen: autoencoder and images.
      at: dictionary of parameters, `[N, num_parameters]`.
      seed: integer.

    Returns:
      fraction: by the names of `at`, variance with the score stopped over that without,
        the median of the images.
    """

    @tf.function(jit_compile=True)
    def gradients(parameters, i, stop):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            terms = model.terms(seen, parameters, 1, tf.stack([seed + 3, i]), stop)
            bound = variational.elbo(terms)
        return tape.gradient(bound, parameters)

    def variance(parameters, stop):
        drawn = [gradients(parameters, tf.constant(i), stop) for i in range(draws)]
        return np.sum(np.var(drawn, axis=0), axis=-1)

    return {
        name: float(np.median(variance(here, True) / variance(here, False)))
        for name, here in at.items()
    }


def interesting(gaps):
    """Returns rows of images, by how much a Gaussian misses: some and much of each."""
    order = np.argsort(np.split(gaps, len(VIEWS)), axis=1)
    size = order.shape[1]
    whole, top = order[0, [size // 2, -1]], order[1, [size // 2, -size // 5, -1]]
    return [*whole, *(top + size)]


def check(name, model, seen, parameters, terms, log_p, case):
    """Returns what `log p(x) = ELBO + KL` is made of, for one image and posterior."""
    weights = terms.log_weight[:, case]
    z = grid()
    log_q = np.float64(tf.function(model.family(parameters[case]).log_prob)(z))
    log_posterior = log_joint(model.decoder, z, seen[case : case + 1])[0] - log_p[case]
    return {
        "posterior": name,
        "image": int(case),
        "log_p": float(log_p[case]),
        "bound": float(np.mean(weights)),
        "standard_error": float(np.std(weights) / len(weights) ** 0.5),
        "divergence": float(CELL**2 * np.sum(np.exp(log_q) * (log_q - log_posterior))),
    }


def collapse(train, seen, steps, seed, progress, warm_up, free_nats):
    """Trains a decoder that can ignore `z`, and returns how much it uses `z`.

    Each pixel has, beside the logit of the decoder, a linear function of all pixels
    before it: an autoregressive likelihood, one evaluation for a given image.

    Args:
      train, seen: images to train and to test on.
      steps, seed, progress: as everywhere.
      warm_up: fraction of the steps in which the weight of the divergence grows to 1.
      free_nats: as for `variational.elbo`.
    """
    model = Autoencoder("Gaussian", None, None, seed)
    model.neighbors = tf.Variable(tf.zeros([64, 64]))
    earlier = np.triu(np.ones([64, 64], np.float32), 1)

    def terms(seen, samples, seed):
        bias = tf.matmul(seen, model.neighbors * earlier)
        return variational.sample_and_log_probs(
            model.family(model.encoder(seen)),
            lambda z: log_likelihood(lambda z: model.decoder(z) + bias, z, seen),
            PRIOR,
            samples,
            seed=seed,
        )

    def objective(seed, step):
        seen = batch(train, seed, step)[:200]  # as a whole
        beta = variational.kl_warm_up(step, int(warm_up * steps))
        drawn = terms(seen, 1, tf.stack([seed + 1, step]))
        return tf.reduce_mean(variational.elbo(drawn, beta, free_nats))

    Trainer(objective, model, steps).fit(seed, progress)
    drawn = terms(seen, 1000, [seed, 5])
    divergence = tf.reduce_mean(drawn.log_posterior - drawn.log_prior)
    bound = tf.reduce_mean(variational.elbo(drawn))
    return {"divergence": float(divergence), "bound": float(bound)}


def report(figures):
    """Prints all tables."""
    print(f"\nlargest change by a finer grid: {figures['quadrature']:.1e}")
    print("\n1. log p(x) = ELBO + KL(q || p(z | x)), image by image")
    for row in figures["check"]:
        total = row["bound"] + row["divergence"]
        print(
            f"   image {row['image']:3} {row['posterior']:10} "
            f"{row['bound']:8.3f} ({row['standard_error']:.3f}) + "
            f"{row['divergence']:6.3f} = {total:8.3f}   log p {row['log_p']:8.3f}"
        )
    print("\n2. Given a decoder: gaps in nats")
    print(f"   {'':14}" + "".join(f"{view:>26}" for view in VIEWS))
    print(f"   {'':14}" + f"{'approximation':>14}{'amortization':>14}" * 2)
    for name, row in figures["gaps"].items():
        cells = (
            f"{row[view][gap]:14.3f}"
            for view in VIEWS
            for gap in ("approximation", "amortization")
        )
        print(f"   {name:14}" + "".join(cells))
    print("\n3. Importance-weighted bounds, both views, of samples:")
    print(f"   {'':14}" + "".join(f"{count:9}" for count in COUNTS))
    for name in FAMILIES:
        row = figures["importance_weighted"][name]
        print(f"   {name:14}" + "".join(f"{value:9.3f}" for value in row))
    print(f"   {'log p':14}{figures['importance_weighted']['log p']:9.3f}")
    print(
        "\n4. Variance of gradients that stick the landing, as a fraction of the plain"
    )
    for name, row in figures["variance"].items():
        cells = (f"{where} {fraction:.3f}" for where, fraction in row.items())
        print(f"   {name:14}", ", ".join(cells))
    print("\n5. Decoder and posterior together: mean over seeds (from, to)")
    for view in VIEWS:
        print(f"   {view:14}{'bound':>27}{'log p, samples':>16}{'log p':>26}")
        for name in figures["together"]:
            row = figures["together"][name][view]
            cells = {
                key: f"{np.mean(value):8.3f} ({np.min(value):.3f}, {np.max(value):.3f})"
                for key, value in row.items()
            }
            print(
                f"   {name:14}{cells['bound']:>27}"
                f"{np.mean(row['estimate']):16.3f}{cells['log_p']:>26}"
            )
        exactly = figures["exact"][view]["log_p"]
        print(f"   {'no posterior':14}{'':43}{exactly:8.3f}")
    print("\n6. A decoder that sees the pixels before")
    for remedy, row in figures["collapse"].items():
        print(
            f"   {remedy:14} divergence {row['divergence']:.3f}, "
            f"bound {row['bound']:.3f}"
        )
    print(
        f"\nseconds, without the imports: {figures['seconds']:.0f}, "
        f"of processor time: {figures['processor_seconds']:.0f}"
    )


def save(figures, seed):
    """Records what is printed."""
    rows = []

    def add(data, model, metric, value, unit="nats", error=None, seed=seed):
        row = dict(data=data, model=model, metric=metric, value=value, unit=unit)
        rows.append(row | dict(error=error, seed=seed))

    for row in figures["check"]:
        image = f"image {row['image']}"
        add(image, row["posterior"], "ELBO", row["bound"], error=row["standard_error"])
        add(image, row["posterior"], "divergence", row["divergence"])
        add(image, row["posterior"], "log p(x)", row["log_p"])
    for model, gaps in figures["gaps"].items():
        for view in VIEWS:
            for gap, value in gaps[view].items():
                add(view, model, f"{gap} gap", value)
    for model, bounds in figures["importance_weighted"].items():
        for count, value in zip(COUNTS, np.atleast_1d(bounds)):
            metric = f"bound, {count} samples" if model != "log p" else "log p(x)"
            add("both views", model, metric, value)
    for model, fractions in figures["variance"].items():
        for where, value in fractions.items():
            add("both views", model, f"gradient variance, {where}", value, "fraction")
    for model, views in figures["together"].items():
        for view, metrics in views.items():
            for metric, values in metrics.items():
                for i, value in enumerate(values):
                    add(
                        view, model, f"trained together, {metric}", value, seed=seed + i
                    )
    for view in VIEWS:
        value = figures["exact"][view]["log_p"]
        add(view, "no posterior", "trained together, log_p", value)
    for remedy, metrics in figures["collapse"].items():
        for metric, value in metrics.items():
            add("whole", f"collapse, {remedy}", metric, value)
    seconds = figures["processor_seconds"]
    record("flow_posteriors", [row | dict(seconds=seconds) for row in rows])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000, help="training steps")
    parser.add_argument(
        "--seeds", type=int, default=3, help="runs of decoder and encoder together"
    )
    parser.add_argument("--images", type=int, default=100, help="to test on")
    parser.add_argument("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
