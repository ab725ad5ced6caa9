"""Samples posteriors that are hard for HMC through a flow that makes them round.

A flow has two uses in a probabilistic program, and the second one builds on the first:

- as a surrogate posterior. A model is a `tfd.JointDistribution`; its bijector to the
  support, a `tfb.Split` and the flow make one `tfb.Chain` from noise to the parts of
  the model, and `tfp.vi.fit_surrogate_posterior` maximizes the ELBO. `flows.iaf` goes
  from noise to points by one pass of each network;
- as a preconditioner. `tfp.mcmc.TransformedTransitionKernel(hmc, flow)` moves in the
  noise, where the posterior is as round as the flow is good, and HMC corrects the flow
  where it gets to: NeuTra, Hoffman et al. (2019), https://arxiv.org/abs/1903.03704.

Three posteriors, all centered, so that scales tie up with what they scale:

- funnel: Neal's, in 10 dimensions. The log variance `v` is known to be N(0, 3^2);
- eight schools, Rubin (1981). Of mean and spread a grid has the truth;
- diabetes: regression with a horseshoe prior on data that come with scikit-learn, 22
  dimensions.

"Gaussian" has a full covariance. The flow has 3 layers and starts as that Gaussian.
Plain HMC starts at draws of the Gaussian, the others at draws of their own surrogate.
All adapt their step size, and the best of 2, 4 and 8 leapfrog steps is taken. Run

    pip install -e ".[examples]"
    python examples/neutra.py

It prints the tables below, and draws `neutra.png`. With seed 0:

                          ELBO (standard error), and seconds of the fit
                          funnel       eight schools            diabetes
    mean field      -1.87 (0.01)  2    -33.51 (0.01)  3    -497.09 (0.04)  5
    Gaussian        -1.88 (0.01)  3    -32.71 (0.01)  3    -494.29 (0.03)  6
    flow            -0.03 (0.00)  7    -31.40 (0.01)  8    -492.69 (0.01) 10
    log evidence     0.00              -31.31

                   ESS  a second  in all  R-hat   mean    sd   ESS, seed 1
    funnel                                        0.00  3.00
      plain HMC     75       652    18.4   1.64   0.70  2.49            35
      Gaussian     257      1641    33.5   1.10   0.98  2.02            26
      NeuTra     10851     25277   570.4   1.00  -0.03  2.96          8703
    eight schools                                 0.80  1.17
      plain HMC    304      2279    69.4   1.12   0.90  0.94           314
      Gaussian     859      3559   101.8   1.04   1.17  0.72          1607
      NeuTra      5297     12550   252.3   1.00   0.86  1.05          4694
    diabetes
      plain HMC     24        23     1.8   4.08  -2.06  0.52           188
      Gaussian     825       756    50.2   1.04  -2.03  0.51           231
      NeuTra       139       133     4.6   1.28  -2.06  0.51          1701

ESS is the smallest effective sample size of elements and their squares, of 16 chains.
NeuTra makes 2000 draws of each, Gaussian HMC twice and plain HMC four times as many. "A
second" counts the sampling alone, "in all" also the fits, compilation, and the trials
of leapfrog steps. R-hat is the largest, mean and sd are of the log scale, with the
truth above them. Seconds are of processor time; all took 146 s on 2 cores, shared with
other work.

What to take from it: on the funnel, the other samplers reach no `v` below about -4, and
an R-hat of 1.10 hardly says so. On the diabetes data NeuTra does not reliably help:
with seed 0 one chain lingers in a tail, rejects half of its proposals, and takes the
smallest ESS from 782 to 139; and plain HMC had 272 with 16 leapfrog steps. On the eight
schools no sampler is right: NeuTra comes nearest, but it has no log spread below -2.75,
where the truth has 1 % below -3, and its R-hat is 1.00. A flow fitted by the ELBO
leaves out the far end of a neck, and chains in its noise leave it out alike.
"""

import argparse
import dataclasses
import pathlib
import time
from collections.abc import Callable

import keras
import matplotlib.figure
import numpy as np
import PIL.Image
import sklearn.datasets
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import flows
from tfp_flows.bijectors import never_stale, transformers

tfb, tfd = tfp.bijectors, tfp.distributions

PICTURE = pathlib.Path(__file__).with_suffix(".png")
SURROGATES = ("mean field", "Gaussian", "flow")
SAMPLERS = ("plain HMC", "Gaussian HMC", "NeuTra")
LEAPFROGS = (2, 4, 8)  # numbers of steps in a trajectory that are tried
CHEAPER = {"plain HMC": 4, "Gaussian HMC": 2, "NeuTra": 1}  # draws in the same time
LARGEST_R_HAT = 1.1  # above it, chains disagree and a size means little
COLOURS = dict(zip(SAMPLERS, ["tab:orange", "tab:green", "tab:blue"]))


def main(
    targets=("funnel", "eight schools", "diabetes"),
    steps=2000,
    layers=3,
    hidden=64,
    chains=16,
    draws=2000,
    picture=PICTURE,
    seed=0,
):
    """Fits surrogate posteriors, samples through them, and compares.

    Args:
      targets: names out of `TARGETS`.
      steps: number of training steps of a flow; a Gaussian takes half as many.
      layers: number of layers of the flow.
      hidden: width of the two hidden layers of each network.
      chains: number of chains of each sampler.
      draws: number of draws of each chain of NeuTra. The other samplers make as many
        more as `CHEAPER` says.
      picture: path of the picture to write, or None. It needs the funnel.
      seed: integer that decides the initial values, the noise and the chains.

    Returns:
      figures: dictionary. `figures[target][surrogate]` has `elbo` with its
        `standard_error`, and `seconds` of the fit. `figures[target][sampler]` has
        `ess`, the smallest effective sample size, `ess_per_second` of sampling,
        `ess_per_second_in_all` with all that went before, `ess_per_gradient`,
        `r_hat`, the largest, `mean` and `sd` of the log scale, `acceptance`,
        `leapfrog_steps`, `draws`, `seconds` and `seconds_in_all`.
        `figures[target]["truth"]` has the log `evidence`, `mean` and `sd`, where they
        are known. These seconds are of processor time; `figures["seconds"]` and
        `figures["processor_seconds"]` are of the whole.

    Raises:
      ValueError: `targets` has a name that is none of `TARGETS`.
    """
    for name in targets:
        if name not in TARGETS:
            raise ValueError(f"`targets` must be of {tuple(TARGETS)}; got {name!r}.")
    start = time.perf_counter(), time.process_time()
    figures, drawn = {}, {}
    for name in targets:
        target = TARGETS[name]()
        rows, bijectors, samples = compare(
            target, steps, layers, hidden, chains, draws, seed
        )
        figures[name] = rows | {"truth": target.truth}
        report(name, figures[name])
        if name == "funnel":
            drawn = dict(target=target, bijectors=bijectors, samples=samples)
    if picture is not None and drawn:
        draw(picture, figures, seed, **drawn)
    figures["seconds"] = time.perf_counter() - start[0]
    figures["processor_seconds"] = time.process_time() - start[1]
    print(
        f"\nseconds, without the imports: {figures['seconds']:.0f}, "
        f"of processor time: {figures['processor_seconds']:.0f}"
    )
    return figures


@dataclasses.dataclass(frozen=True)
class Target:
    """A posterior, and what is known of it.

    Args:
      posterior: joint distribution, pinned to data if there are any.
      log_scale: callable from points of the model to the logarithm of the scale, or
        variance, that the others hang on.
      truth: dictionary of numbers: the log `evidence`, and `mean` and `sd` of the log
        scale; or an empty one.
    """

    posterior: tfd.Distribution
    log_scale: Callable
    truth: dict = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        to_model = vector_to_model(self.posterior)
        size = tf.nest.flatten(to_model.inverse_event_shape(self.posterior.event_shape))
        object.__setattr__(self, "to_model", to_model)
        object.__setattr__(self, "size", size[0][0])

    def log_prob(self, z):
        """Returns the log density of unconstrained vectors, but for a constant."""
        return self.posterior.unnormalized_log_prob(
            self.to_model.forward(z)
        ) + self.to_model.forward_log_det_jacobian(z, event_ndims=1)


def vector_to_model(posterior):
    """Returns the bijector from one unconstrained vector to the parts of a model."""
    to_support = posterior.experimental_default_event_space_bijector()
    shapes = to_support.inverse_event_shape(posterior.event_shape)
    parts = tf.nest.flatten(shapes)
    sizes = [part.num_elements() for part in parts]
    return tfb.Chain(
        [
            to_support,
            tfb.Restructure(tf.nest.pack_sequence_as(shapes, range(len(parts)))),
            tfb.JointMap(
                [tfb.Reshape(*pair) for pair in zip(parts, [[n] for n in sizes])]
            ),
            tfb.Split(sizes),
        ]
    )


def funnel(size=10):
    """Neal's funnel (2003): a normal log variance, and normals with that variance."""

    @tfd.JointDistributionCoroutineAutoBatched
    def model():
        v = yield tfd.Normal(0.0, 3.0, name="log_variance")
        yield tfd.Sample(tfd.Normal(0.0, tf.exp(v / 2.0)), size - 1, name="x")

    truth = dict(evidence=0.0, mean=0.0, sd=3.0)
    return Target(model, lambda point: point.log_variance, truth)


EFFECT = np.float32([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])  # Rubin (1981),
ERROR = np.float32([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])  # table 1


def eight_schools():
    """Effects of coaching in eight schools, around a common mean, centered.

    Rubin (1981), Estimation in parallel randomized experiments, with the priors usual
    for it today. Given mean and spread, the effects integrate in closed form: a grid
    over those two has the truth.
    """

    @tfd.JointDistributionCoroutineAutoBatched
    def model():
        mean = yield tfd.Normal(0.0, 5.0, name="mean")
        spread = yield tfd.HalfCauchy(0.0, 5.0, name="spread")
        school = yield tfd.Sample(tfd.Normal(mean, spread), 8, name="school")
        yield tfd.Normal(school, ERROR, name="effect")

    mean = np.linspace(-30.0, 40.0, 701)[:, np.newaxis]
    log_spread = np.linspace(-12.0, 8.0, 2001)
    spread = np.exp(log_spread)
    nats = -0.5 * (mean / 5.0) ** 2 - np.log(5.0 * np.sqrt(2.0 * np.pi))
    nats = nats + np.log(2.0 / (5.0 * np.pi)) - np.log1p((spread / 5.0) ** 2)
    nats = nats + log_spread  # the density is that of the logarithm
    for effect, error in zip(np.float64(EFFECT), np.float64(ERROR)):
        variance = spread**2 + error**2
        nats = nats - 0.5 * (effect - mean) ** 2 / variance
        nats = nats - 0.5 * np.log(2.0 * np.pi * variance)
    weights = np.exp(nats)
    total, of_spread = np.sum(weights), np.sum(weights, axis=0) / np.sum(weights)
    first = np.sum(of_spread * log_spread)
    truth = dict(
        evidence=float(np.log(total * (mean[1, 0] - mean[0, 0]) * 0.01)),
        mean=float(first),
        sd=float(np.sqrt(np.sum(of_spread * (log_spread - first) ** 2))),
    )
    posterior = model.experimental_pin(effect=EFFECT)
    return Target(posterior, lambda point: tf.math.log(point.spread), truth)


def diabetes():
    """Linear regression with a horseshoe prior, centered, on 442 patients.

    Carvalho, Polson and Scott (2010). Each of the 10 coefficients has a scale of its
    own, and all share one.
    """
    x, y = sklearn.datasets.load_diabetes(return_X_y=True)
    x = np.float32((x - np.mean(x, axis=0)) / np.std(x, axis=0))
    y = np.float32((y - np.mean(y)) / np.std(y))

    @tfd.JointDistributionCoroutineAutoBatched
    def model():
        noise = yield tfd.HalfNormal(1.0, name="noise")
        shared = yield tfd.HalfCauchy(0.0, 0.1, name="shared")
        own = yield tfd.Sample(tfd.HalfCauchy(0.0, 1.0), x.shape[1], name="own")
        slopes = yield tfd.Normal(0.0, shared * own, name="slopes")
        yield tfd.Normal(tf.linalg.matvec(x, slopes), noise, name="progression")

    posterior = model.experimental_pin(progression=y)
    return Target(posterior, lambda point: tf.math.log(point.shared))


TARGETS = {"funnel": funnel, "eight schools": eight_schools, "diabetes": diabetes}


def compare(target, steps, layers, hidden, chains, draws, seed):
    """Returns the figures of a target, the bijectors of the samplers, their draws."""
    mean_field = affine(target.size, full=False)
    gaussian = affine(target.size, full=True)
    rows = {
        "mean field": fit(target, mean_field, steps // 2, 3e-2, seed),
        "Gaussian": fit(target, gaussian, steps // 2, 3e-2, seed),
    }
    # The flow goes on from the Gaussian: it is the same at the start.
    frozen = tfb.Chain(
        [
            tfb.Shift(tf.identity(gaussian.bijectors[0].shift)),
            tfb.ScaleMatvecTriL(gaussian.bijectors[1].scale.to_dense()),
        ]
    )
    iaf = flows.iaf(
        target.size,
        layers,
        (hidden, hidden),
        seed=seed,
        transformer=transformers.Affine(),
    )
    flow = tfb.Chain([frozen, iaf.bijector])
    rows["flow"] = fit(target, flow, steps, 3e-3, seed)

    spent = {"plain HMC": 0.0, "Gaussian HMC": rows["Gaussian"]["seconds"]}
    spent["NeuTra"] = spent["Gaussian HMC"] + rows["flow"]["seconds"]
    bijectors = dict(zip(SAMPLERS, [tfb.Identity(), frozen, flow]))
    noise = tf.random.stateless_normal([chains, target.size], [seed, 3])
    samples = {}
    for name, bijector in bijectors.items():
        start = frozen.forward(noise) if name == "plain HMC" else noise
        rows[name], samples[name] = sample(
            target, bijector, start, draws * CHEAPER[name], seed
        )
        in_all = spent[name] + rows[name]["seconds_in_all"]
        rows[name]["seconds_in_all"] = in_all
        rows[name]["ess_per_second_in_all"] = rows[name]["ess"] / in_all
    return rows, bijectors, samples


def affine(size, full):
    """Returns the bijector from noise to a Gaussian, with variables of its own."""
    shift = tfb.Shift(tf.Variable(tf.zeros(size)))
    if not full:
        scale = tfb.Scale(log_scale=tf.Variable(tf.zeros(size)))
        return never_stale(tfb.Chain([shift, scale]))
    scale_tril = tfp.util.TransformedVariable(
        tf.eye(size), tfb.FillScaleTriL(tfb.Exp(), diag_shift=None)
    )
    return never_stale(tfb.Chain([shift, tfb.ScaleMatvecTriL(scale_tril)]))


def fit(target, bijector, steps, rate, seed, batch=64):
    """Maximizes the ELBO of noise that went through a bijector.

    Returns:
      row: dictionary of numbers: `elbo`, `standard_error` and `seconds`.
    """
    start = time.process_time()
    surrogate = tfd.TransformedDistribution(
        tfd.Sample(tfd.Normal(0.0, 1.0), target.size),
        tfb.Chain([target.to_model, bijector]),
    )
    variables = bijector.trainable_variables
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(rate, steps), global_clipnorm=10.0
    )
    optimizer.build(variables)
    tfp.vi.fit_surrogate_posterior(
        target.posterior.unnormalized_log_prob,
        surrogate,
        optimizer,
        steps,
        sample_size=batch,
        trainable_variables=variables,
        jit_compile=True,
        seed=[seed, 1],
    )
    seconds = time.process_time() - start

    @tf.function(jit_compile=True)
    def evaluate():
        point, log_prob = surrogate.experimental_sample_and_log_prob(
            10000, seed=[seed, 2]
        )
        return target.posterior.unnormalized_log_prob(point) - log_prob

    nats = np.float64(evaluate())
    return dict(
        elbo=np.mean(nats),
        standard_error=np.std(nats) / len(nats) ** 0.5,
        seconds=seconds,
    )


def sample(target, bijector, noise, draws, seed):
    """Runs HMC in the space that a bijector maps to the unconstrained one.

    Each number of leapfrog steps is tried, with as many draws as are made in the end:
    the step size adapts in the first half of them, and the second half tells the
    effective sample size per gradient. The best one goes on.

    Args:
      target: the `Target`.
      bijector: maps to the unconstrained vectors of the target.
      noise: points to start from, before the bijector, `[chains, D]`.
      draws: number of draws of each chain.
      seed: integer.

    Returns:
      row: dictionary of numbers, as in `main`.
      states: unconstrained vectors, `[draws, chains, D]`.
    """

    def kernel(leapfrogs):
        return tfp.mcmc.TransformedTransitionKernel(
            tfp.mcmc.DualAveragingStepSizeAdaptation(
                tfp.mcmc.HamiltonianMonteCarlo(target.log_prob, 0.1, leapfrogs),
                num_adaptation_steps=draws // 2,
                target_accept_prob=0.8,
            ),
            bijector,
        )

    @tf.function(jit_compile=True)
    def begin(leapfrogs):
        results = kernel(leapfrogs).bootstrap_results(transformed_init_state=noise)
        return bijector.forward(noise), results

    @tf.function(jit_compile=True)
    def run(state, results, leapfrogs, seed):
        return tfp.mcmc.sample_chain(
            draws,
            state,
            results,
            kernel(leapfrogs),
            seed=seed,
            trace_fn=lambda state, results: (
                results.inner_results.inner_results.is_accepted
            ),
            return_final_kernel_results=True,
        )

    start, best = time.process_time(), None
    for leapfrogs in map(tf.constant, LEAPFROGS):
        state, results = begin(leapfrogs)
        states, _, results = run(state, results, leapfrogs, tf.constant([seed, 4]))
        ess = np.min(effective_sizes(states[draws // 2 :])) / int(leapfrogs)
        if best is None or ess > best[0]:
            best = ess, leapfrogs, states[-1], results
    _, leapfrogs, state, results = best
    before = time.process_time()
    states, accepted, _ = run(state, results, leapfrogs, tf.constant([seed, 5]))
    states = states.numpy()
    now = time.process_time()
    seconds = now - before
    ess = np.min(effective_sizes(states))
    log_scale = target.log_scale(target.to_model.forward(states)).numpy()
    row = dict(
        ess=ess,
        ess_per_second=ess / seconds,
        ess_per_gradient=ess / (draws * len(noise) * int(leapfrogs)),
        r_hat=np.max(
            tfp.mcmc.potential_scale_reduction(with_squares(states), split_chains=True)
        ),
        mean=np.mean(log_scale),
        sd=np.std(log_scale),
        acceptance=np.mean(accepted),
        leapfrog_steps=int(leapfrogs),
        draws=draws,
        seconds=seconds,
        seconds_in_all=now - start,
    )
    return {name: float(value) for name, value in row.items()}, states


def with_squares(states):
    """Returns standardized elements, and their squares, standardized, too."""

    def standardize(x):
        return (x - np.mean(x, axis=(0, 1))) / np.std(x, axis=(0, 1))

    elements = standardize(np.float64(states))
    return np.concatenate([elements, standardize(elements**2)], axis=-1)


def effective_sizes(states):
    """Returns effective sample sizes of all chains together, `[2 D]`."""
    return tfp.mcmc.effective_sample_size(
        with_squares(states), filter_beyond_positive_pairs=True, cross_chain_dims=1
    )


def report(name, rows):
    """Prints the figures of a target."""
    print(f"\n{name:14}{'ELBO':>18}{'seconds':>9}")
    for surrogate in SURROGATES:
        row = rows[surrogate]
        elbo = f"{row['elbo']:.2f} ({row['standard_error']:.2f})"
        print(f"  {surrogate:12}{elbo:>18}{row['seconds']:9.1f}")
    truth = rows["truth"]
    if truth:
        print(f"  {'log evidence':12}{truth['evidence']:11.2f}")
    print(
        f"{'':14}{'ESS':>6}{'per second':>12}{'in all':>8}{'R-hat':>8}{'mean':>7}"
        f"{'sd':>6}{'L':>4}{'seconds':>9}"
    )
    for sampler in SAMPLERS:
        row = rows[sampler]
        print(
            f"  {sampler:12}{row['ess']:6.0f}{row['ess_per_second']:12.0f}"
            f"{row['ess_per_second_in_all']:8.1f}{row['r_hat']:8.2f}"
            f"{row['mean']:7.2f}{row['sd']:6.2f}{row['leapfrog_steps']:4.0f}"
            f"{row['seconds']:9.1f}"
        )
    if truth:
        print(f"  {'truth':12}{truth['mean']:41.2f}{truth['sd']:6.2f}")
    print(end="", flush=True)


def draw(path, figures, seed, target, bijectors, samples):
    """Draws the funnel, what the samplers find of it, and what they see of it."""
    figure = matplotlib.figure.Figure(figsize=(10.8, 6.8), layout="constrained")
    axes = figure.subplots(2, 3)
    for ax, name in zip(axes[0], ["plain HMC", "NeuTra"]):
        points = samples[name].reshape(-1, target.size)
        rows = np.random.RandomState(seed).choice(len(points), 2500, replace=False)
        contours(ax)
        dots(ax, points[rows, 1], points[rows, 0], COLOURS[name])
        ax.set(
            title=f"{name}: draws",
            xlabel="$x_1$",
            ylabel="log variance $v$",
            xlim=(-25, 25),
            ylim=(-10.5, 10.5),
            yticks=[-10, -5, 0, 5, 10],
        )

    ax = axes[0, 2]
    v = np.linspace(-11.0, 11.0, 200)
    ax.fill_between(v, tfd.Normal(0.0, 3.0).prob(v), color="0.85", label="truth")
    for name in SAMPLERS:
        ax.hist(
            samples[name][..., 0].ravel(),
            np.linspace(-11.0, 11.0, 45),
            density=True,
            histtype="step",
            color=COLOURS[name],
            label=name,
            linewidth=1.4,
        )
    ax.set(title="Log variance", xlabel="$v$", ylabel="density", ylim=(0.0, 0.27))
    ax.legend(fontsize=8, loc="upper left")

    standard = tf.random.stateless_normal([2500, target.size], [seed, 6])
    log_variance = 3.0 * standard[:, :1]
    exact = tf.concat(
        [log_variance, tf.exp(log_variance / 2.0) * standard[:, 1:]], axis=-1
    )
    for ax, name, title in zip(
        axes[1], ["Gaussian HMC", "NeuTra"], ["the Gaussian", "the flow"]
    ):
        noise = tf.function(bijectors[name].inverse)(exact).numpy()
        angle = np.linspace(0.0, 2.0 * np.pi, 200)
        for share in [0.5, 0.9, 0.99]:
            radius = np.sqrt(-2.0 * np.log1p(-share))
            ax.plot(
                radius * np.cos(angle),
                radius * np.sin(angle),
                color="0.45",
                linewidth=0.8,
            )
        dots(ax, noise[:, 1], noise[:, 0], COLOURS[name])
        ax.set(
            title=f"Exact draws seen through {title}\n"
            "(circles: 50, 90, 99 % of a Gaussian)",
            xlabel="noise of $x_1$",
            ylabel="noise of $v$",
            xlim=(-6, 6),
            ylim=(-6, 6),
            xticks=[-5, 0, 5],
            yticks=[-5, 0, 5],
        )
        ax.set_aspect("equal")

    ax = axes[1, 2]
    names = list(figures)
    for i, sampler in enumerate(SAMPLERS):
        heights = [figures[name][sampler]["ess_per_second"] for name in names]
        bars = ax.bar(
            np.arange(len(names)) + 0.27 * (i - 1),
            heights,
            0.25,
            log=True,
            color=COLOURS[sampler],
        )
        for bar, name in zip(bars, names):
            if figures[name][sampler]["r_hat"] > LARGEST_R_HAT:
                bar.set(alpha=0.35, hatch="///")
    ax.set_xticks(np.arange(len(names)), names)
    ax.set(title=f"Effective draws per second\n(hatched: R-hat above {LARGEST_R_HAT})")
    figure.savefig(path, dpi=100)
    with PIL.Image.open(path) as image:  # 64 colors take a third of the space
        image.convert("RGB").quantize(64).save(path, optimize=True)


def contours(ax):
    """Draws the density of `x_1` and the log variance of the funnel."""
    x, v = np.meshgrid(np.linspace(-25, 25, 300), np.linspace(-10.5, 10.5, 300))
    nats = tfd.Normal(0.0, 3.0).log_prob(np.float32(v))
    nats = nats + tfd.Normal(0.0, np.float32(np.exp(v / 2.0))).log_prob(np.float32(x))
    ax.contour(
        x,
        v,
        nats,
        levels=[-11.0, -9.0, -7.0, -5.0, -3.0, -1.0],
        colors="0.45",
        linewidths=0.7,
        linestyles="solid",
    )


def dots(ax, x, y, color):
    ax.scatter(x, y, s=3.0, color=color, alpha=0.35, linewidths=0.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--targets", nargs="+", default=list(TARGETS), choices=TARGETS)
    add("--steps", type=int, default=2000, help="training steps of a flow")
    add("--draws", type=int, default=2000, help="draws of each chain")
    add("--seed", type=int, default=0)
    add("--picture", default=PICTURE, help="where to write the picture")
    main(**vars(parser.parse_args()))
