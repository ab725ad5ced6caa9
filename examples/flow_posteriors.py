"""Posteriors in the plane: what a Gaussian misses, what a flow buys, and where.

An autoencoder explains an image `x` by a few numbers `z`: a standard normal prior
`p(z)`, and a decoder, `p(x | z)`. What an image says about `z` is the posterior
`p(z | x) = p(x, z) / p(x)`, where `p(x)` is an integral over all `z` that nobody can
take. Here `z` has two elements, and one can: it is a sum over a grid. So whatever is
said about variational inference can be checked by numbers, and seen. `vae.py` is the
script for images of full size.

The images are the digits of scikit-learn, in black and white. Each is seen as a whole,
and by its three top rows alone; the likelihood has the pixels that are seen. Three rows
leave open which digit it is: the posterior is wide, bent, or in several pieces.

    pip install -e ".[examples]"
    python examples/flow_posteriors.py

draws `flow_posteriors.png`, and prints what follows, for seed 0, 2000 steps and 100
test images. It took 338 s of processor time, and 328 s on 2 cores that were busy with
other work.

**1. The bound.** For each `z`, `p(x) = p(x, z) / p(z | x)`. Take the logarithm, divide
and multiply by the density of any `q`, and average over its samples:

    log p(x) = E_q[log p(x, z) - log q(z)] + E_q[log q(z) - log p(z | x)]
             =           ELBO              +      KL(q || p(z | x))

As no divergence is negative, the ELBO is a bound, and low by just that divergence.
Below, the ELBO is a mean over samples (standard error); the divergence and `log p(x)`
are sums over the grid, and half its spacing changes no `log p(x)` by 1e-4. The three
computations agree within two standard errors:

    image   9 Gaussian    -21.099 (0.008) +  1.390 =  -19.708   log p  -19.697
    image   9 planar 16   -20.101 (0.004) +  0.402 =  -19.698   log p  -19.697
    image   9 IAF 4       -20.285 (0.012) +  0.582 =  -19.703   log p  -19.697
    image 100 Gaussian    -10.903 (0.011) +  0.676 =  -10.227   log p  -10.223
    image 100 planar 16   -10.475 (0.006) +  0.254 =  -10.221   log p  -10.223
    image 100 IAF 4       -10.691 (0.011) +  0.467 =  -10.224   log p  -10.223

**2. Where the gap comes from.** One decoder is trained by the sum over the grid alone,
so that no `q` has shaped its posteriors. Each family gets an encoder for it. Then the
parameters of `q` are fitted to each image by itself. What is left is the approximation
gap: no member of the family, or none that was found, is nearer. What the encoder lost
before is the amortization gap (Cremer et al. 2018, https://arxiv.org/abs/1801.03558).

                                whole                  top rows
                   approximation  amortization approximation  amortization
    Gaussian               0.388         1.469         0.435         0.276
    planar 4               0.133         0.944         0.190         0.228
    planar 16              0.062         0.654         0.127         0.204
    radial 16              0.219         0.614         0.179         0.157
    orthogonal 4           0.184         0.600         0.175         0.176
    triangular 4           0.092         0.919         0.172         0.299
    IAF 4                  0.260         0.837         0.302         0.139

Amortization is the larger part for whole images: their posteriors are narrow, and the
encoder has to tell where they are for images it was not trained on. There a flow lowers
this part as well. Of the IAF only the Gaussian and the context are free for each image,
not the weights, which may set it back. The picture has what each family can do at best.
A Gaussian of independent elements has no slant, and of two pieces it takes one: leaving
out a half costs log 2 nats, while samples in the gap between them cost more. A flow
leaves out pieces, too, if they are far apart (last row).

**3. More samples.** The bound of Burda et al. (2016), the logarithm of a mean of
weights, nears `log p(x)` with more samples of the same `q`, and sooner with a better
one: planar 16 with 5 is above the Gaussian with 50. Means over both views:

                          1        5       50
    Gaussian        -14.229  -13.617  -13.314
    planar 16       -13.468  -13.157  -13.032
    IAF 4           -13.714  -13.310  -13.138
    log p           -12.945

**4. Sticking the landing.** Where `q` is the posterior, `log p(x, z) - log q(z)` is the
same number for all `z`, yet its gradient has noise: `q` changes through its samples and
through its density. The latter part is 0 in the mean, and may be left out: then only
noise that comes of the misfit remains (Roeder et al. 2017). It takes the inverse of a
flow. The variance of the gradient that is left, as a share, median of images, for what
the encoder predicts and for what fits each image best: the better the fit, the less.

    Gaussian       encoder 0.585, each image 0.479
    planar 4       encoder 0.534, each image 0.286
    planar 16      encoder 0.435, each image 0.172

**5. Together.** Now decoder and encoder learn at once, as in any autoencoder. Held-out
nats, mean of 3 seeds (from, to), and the decoder of part 2, one seed:

    whole                               bound  log p, samples                     log p
    Gaussian       -22.195 (-22.537, -21.933)         -21.476 -21.347 (-21.511, -21.106)
    planar 16      -20.432 (-20.626, -20.333)         -20.058 -20.043 (-20.269, -19.879)
    orthogonal 4   -20.476 (-20.615, -20.207)         -19.901 -19.865 (-20.015, -19.645)
    IAF 4          -21.178 (-22.222, -20.568)         -20.621 -20.576 (-21.507, -19.859)
    no posterior                                              -18.710
    top rows
    Gaussian          -8.125 (-8.229, -7.918)          -7.839   -7.765 (-7.825, -7.715)
    planar 16         -7.618 (-7.647, -7.560)          -7.451   -7.449 (-7.520, -7.357)
    orthogonal 4      -7.596 (-7.700, -7.484)          -7.366   -7.355 (-7.424, -7.275)
    IAF 4             -7.827 (-7.996, -7.701)          -7.601   -7.551 (-7.715, -7.424)
    no posterior                                               -7.181

The two best flows raise the bound by 1.7 nats on whole images, and by 0.5 of the top
rows; seeds differ by less. Those of the IAF differ by about what it gains. All gaps are
smaller than in part 2: a decoder that learns with a `q` can come to have posteriors
that `q` follows. This costs likelihood, or noisy gradients do: on whole images all are
1.2 to 2.6 nats below the decoder that needs no `q`. Look at `log p` by 5000 samples,
too, what `variational.log_marginal_likelihood` returns: 0.015 nats off for planar 16,
but 0.13 nats low for the Gaussian. Where `q` misses a mode, so do its samples.

**6. Collapse.** A decoder that sees the pixels before, as well, can do without `z`; and
early on, while `z` says nothing, its divergence is a mere cost. Then `q` becomes the
prior, and stays there. A weight of the divergence that grows from 0 to 1 over half of
the training keeps `z` in use, and so does a divergence that is free below 2 nats:

    none           divergence 0.000, bound -18.368
    warm-up        divergence 2.774, bound -17.983
    free nats      divergence 2.675, bound -17.709
"""

import argparse
import pathlib
import time

import keras
import matplotlib.colors
import matplotlib.figure
import numpy as np
import PIL.Image
import sklearn.datasets
import tensorflow as tf
import tensorflow_probability as tfp
import tqdm

from tfp_flows import flows, networks, variational

tfd = tfp.distributions

PICTURE = pathlib.Path(__file__).with_suffix(".png")
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


def main(steps=2000, seeds=3, images=100, picture=PICTURE, seed=0):
    """Trains decoders and posteriors, prints what is lost, and draws posteriors.

    Args:
      steps: number of training steps of each network, a multiple of 200.
      seeds: number of seeds for decoders that learn together with an encoder.
      images: number of test images, each of which is seen in both views.
      picture: path of the picture to write, or None.
      seed: integer that decides initial values, batches and noise.

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
    drawn = densities(models, refined, test, decoder, log_p, cases)

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
    if picture is not None:
        draw(picture, figures, drawn, gaps, test, cases, decoder)
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

    The shift keeps the decoder from growing peaks at the points of one grid. On the
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
            # Adam leaves a weight alone whose gradients are all 0.
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
    """Returns the mean bound of so many samples, over all groups that were drawn."""
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
      share: by the names of `at`, variance with the score stopped over that without,
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
    """Trains a decoder that could do without `z`, and returns what `z` still tells.

    Each pixel has, beside the logit of the decoder, a linear function of all pixels
    before it: an autoregressive likelihood, still one pass where the image is known.

    Args:
      train, seen: images to train and to test on.
      steps, seed, progress: as everywhere.
      warm_up: share of the steps in which the weight of the divergence grows to 1.
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
    print("\n4. Variance of gradients that stick the landing, as share of the plain")
    for name, row in figures["variance"].items():
        cells = (f"{where} {share:.3f}" for where, share in row.items())
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


def densities(models, refined, seen, decoder, log_p, cases, pixels=100):
    """Returns windows around posteriors, and the densities of all families there.

    Returns:
      extents: window of each case, `[cases, 4]`.
      values: dictionary of densities, `[cases, pixels, pixels]`, `"truth"` first.
    """
    z = grid()
    chosen = tf.gather(seen, cases)
    truth = np.exp(log_joint(decoder, z, chosen).numpy() - log_p[cases, np.newaxis])
    extents = []
    for mass in truth * CELL**2:
        inside = z.numpy()[
            mass > np.quantile(mass, 1 - np.mean(np.cumsum(np.sort(mass)) > 0.01))
        ]
        center = (np.max(inside, axis=0) + np.min(inside, axis=0)) / 2.0
        half = np.max(np.ptp(inside, axis=0)) / 2.0 + 0.1
        extents.append(np.stack([center - half, center + half], axis=1).reshape(-1))
    unit = np.stack(np.meshgrid(*[(np.arange(pixels) + 0.5) / pixels] * 2), axis=-1)
    low, high = np.array(extents)[:, [0, 2]], np.array(extents)[:, [1, 3]]
    points = np.float32(low + unit.reshape(-1, 1, 2) * (high - low))

    def square(log_density):
        return np.exp(np.transpose(log_density)).reshape(-1, pixels, pixels)

    values = {
        "truth": square(
            np.stack(
                [
                    log_joint(decoder, points[:, i], chosen[i : i + 1])[0] - log_p[case]
                    for i, case in enumerate(cases)
                ],
                axis=1,
            )
        )
    }
    for name, model in models.items():
        family = model.family(tf.gather(refined[name], cases))
        values[name] = square(tf.function(family.log_prob)(points))
    return extents, values


def draw(path, figures, drawn, gaps, seen, cases, decoder):
    """Draws posteriors of some images, the plane, gaps, and bounds of many samples."""
    extents, values = drawn
    figure = matplotlib.figure.Figure(figsize=(11.5, 10.6), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
    top, bottom = figure.subfigures(2, 1, height_ratios=[7.0, 3.4])
    top.suptitle(
        "What is seen, its posterior, and the best q of each family: KL(q || p) below; "
        "brightness is the square root of density",
        fontsize=10,
    )
    axes = top.subplots(len(cases), 1 + len(values))
    for i, (case, row) in enumerate(zip(cases, axes)):
        row[0].imshow(
            np.reshape(seen[case], [8, 8]), cmap="gray_r", vmin=-1.0, vmax=1.0
        )
        for ax, (name, density) in zip(row[1:], values.items()):
            ax.imshow(
                density[i],
                cmap="magma",
                origin="lower",
                extent=extents[i],
                norm=matplotlib.colors.PowerNorm(0.5, 0.0, np.max(values["truth"][i])),
            )
            if name in gaps:
                ax.set_xlabel(f"{gaps[name][case]:.2f} nats", labelpad=2)
        for ax in row:
            ax.set(xticks=[], yticks=[])
    for ax, title in zip(axes[0], ["seen", "p(z | x)", *FAMILIES]):
        ax.set_title(title, fontsize=10)

    plane, bars, curves = bottom.subplots(1, 3, width_ratios=[1.0, 1.6, 1.0])
    line = np.linspace(-2.4, 2.4, 13, dtype=np.float32)
    z = np.stack(np.meshgrid(line, line), axis=-1)[::-1]
    digits = tf.sigmoid(decoder(z)).numpy().reshape(13, 13, 8, 8)
    plane.imshow(
        np.swapaxes(digits, 1, 2).reshape(104, 104),
        cmap="gray_r",
        extent=[-2.6, 2.6] * 2,
    )
    plane.set(title="Images along the plane of z", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
    place = np.arange(len(FAMILIES))
    for view, color, offset in zip(VIEWS, ["C0", "C1"], [-0.2, 0.2]):
        rows = [figures["gaps"][name][view] for name in FAMILIES]
        approximation = [row["approximation"] for row in rows]
        bars.bar(
            place + offset,
            approximation,
            0.36,
            color=color,
            label=f"{view}: approximation",
        )
        bars.bar(
            place + offset,
            [row["amortization"] for row in rows],
            0.36,
            approximation,
            color=color,
            alpha=0.4,
            label=f"{view}: amortization",
        )
    bars.set_xticks(place, [name.replace(" ", "\n") for name in FAMILIES], fontsize=7)
    bars.set_title("log p(x) - ELBO, in nats", fontsize=10)
    bars.legend(fontsize=8, frameon=False)
    for name, color in zip(CHECKED, ["black", "C3", "C0"]):
        curves.plot(
            COUNTS, figures["importance_weighted"][name], ".-", color=color, label=name
        )
    curves.axhline(
        figures["importance_weighted"]["log p"],
        color="gray",
        linestyle=":",
        label="log p(x)",
    )
    curves.set(xscale="log", xlabel="samples", title="Importance-weighted bound, nats")
    curves.set_xticks(COUNTS, COUNTS)
    curves.minorticks_off()
    for ax in [plane, curves]:
        ax.title.set_fontsize(10)
    curves.legend(fontsize=8, frameon=False)
    for ax in [bars, curves]:
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=90)
    with PIL.Image.open(path) as image:  # 128 colors take half of the space
        image.convert("RGB").quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000, help="training steps")
    parser.add_argument(
        "--seeds", type=int, default=3, help="runs of decoder and encoder together"
    )
    parser.add_argument("--images", type=int, default=100, help="to test on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", default=PICTURE, help="where to write the picture")
    main(**vars(parser.parse_args()))
