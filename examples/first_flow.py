"""A first flow: what happens to a density when space is stretched, and how to use it.

A normalizing flow draws noise `x`, whose density is known, and moves it: `y = f(x)`.
Where `f` stretches space the points get thin, where it squeezes they get dense. In one
dimension an interval of length `dx` becomes one of length `|f'(x)| dx`, with the same
points in it, and so

    log p(y) = log p(x) - log |f'(x)|,    x the point that came to y.

In `D` dimensions the stretch is that of volumes, the determinant of the Jacobian
`J = df/dx`: `log p(y) = log p(x) - log |det J|`. That is all there is to a flow's
density, but for two conditions: `f` must be invertible, as there must be one such `x`,
and the determinant must be cheap, as in general it takes `D^3` operations. Layers are
chosen for that, and many simple ones in a row make a flow; log determinants add up.

A planar layer moves points along `u`, by how far they are from a plane:

    y = x + u tanh(w'x + b),    J = I + u tanh'(w'x + b) w'.

By the matrix determinant lemma `det(I + u psi') = 1 + psi'u`, a product of two vectors
in place of a matrix. This is above 0 everywhere if `w'u > -1`. Below, points overtake
each other: two of them come to one place, and no inverse can tell which one it was.

A radial layer moves points away from a center, or towards it, by how far they are:

    y = center + (x - center) (rho + gain) / (rho + 1),    rho = |x - center| / radius.

At the center space is stretched `gain` times in each direction, far away not at all.
Both are from Rezende and Mohamed (2015), https://arxiv.org/abs/1505.05770; the upper
part of the picture is after their figure 1. Run

    pip install -e ".[examples]"
    python examples/first_flow.py

The script takes these steps one by one, prints a check of each, and draws
`first_flow.png`. With seed 0 this was

                                               formula              compared with
    1. share of points in [-1, 1]               0.1945             0.1950 counted
    2. log |det|, 100 dimensions          2.5758037350    2.5758037350 by a matrix
    3. integral, normal density       0.9998 to 1.0000
       integral, uniform density      0.9994 to 1.0028
       log determinants                                     autodiff, within 4e-14
       inverse(forward(x))                                         x, within 4e-15

for 1, 2 and 10 layers of both kinds, of which the last eight are random, from a seed
that makes a clear picture. The uniform density has edges, which a grid meets
but to a pixel. Then the script fits 32 planar layers to the two moons of scikit-learn,
by 2000 steps. Held-out log-likelihoods in nats, with standard errors,

    Gaussian                              -1.9081 (0.0025)
    flow before training                  -1.9081 (0.0025)
    flow                                  -1.0194 (0.0034)
    the density that made the data        -1.0083 (0.0033)

All took 20 s of processor time, and 45 s on 2 cores that were busy with other work.
"""

import argparse
import pathlib
import time

import keras
import matplotlib.figure
import numpy as np
import PIL.Image
import sklearn.datasets
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import bijectors, flows

tfb, tfd = tfp.bijectors, tfp.distributions

PICTURE = pathlib.Path(__file__).with_suffix(".png")
LIMIT = 4.0  # of the pictures of layers, in both directions
DEPTHS = (1, 2, 10)
MOONS = [-1.4, 2.4, -1.65, 2.15]  # what is drawn of the moons
STRIPS = "#3b0f70", "#de4968"


def main(steps=2000, layers=32, points=50000, pixels=120, picture=PICTURE, seed=0):
    """Takes the steps from one dimension to a fitted flow, and checks each.

    Args:
      steps: number of training steps.
      layers: number of planar layers of the flow that is fitted.
      points: number of samples to draw of each flow, and of moons to train on.
      pixels: number of points along a side of the grids that densities are drawn on;
        they are integrated on three times as many.
      picture: path of the picture to write, or None.
      seed: integer that decides the data, the initial values and the samples.

    Returns:
      figures: dictionary. `one_dimension` has shares of the samples, see there;
        `lemma` the error of the determinant lemma; `layers[kind, base, depth]` the
        `integral` of a density, and the largest errors of `log_det` and `round_trip`;
        `moons` the held-out `nats` of the flow with their `standard_error`, and the
        same with a prefix: `untrained_` of the flow before training, `gaussian_`, and
        `truth_` of the density that the data are drawn from. `seconds` and
        `processor_seconds`.
    """
    start = time.perf_counter(), time.process_time()
    figures = {
        "one_dimension": one_dimension(points, seed),
        "lemma": determinant_lemma(seed),
    }
    figures["layers"], rows = layers_in_the_plane(points, pixels, seed)
    figures["moons"], panels = two_moons(steps, layers, points, pixels, seed)
    if picture is not None:
        draw(picture, rows, panels, figures["moons"])
    figures["seconds"] = time.perf_counter() - start[0]
    figures["processor_seconds"] = time.process_time() - start[1]
    print(
        f"\nseconds, without the imports: {figures['seconds']:.0f}, "
        f"of processor time: {figures['processor_seconds']:.0f}"
    )
    return figures


# 1. One dimension: density times stretch.


def one_dimension(points, seed):
    """Pushes standard normal points apart, and counts where they went.

    Returns:
      figures: dictionary of numbers: share of the points `counted` in [-1, 1], what the
        density with the stretch says it `should_be`, and the one `without_stretch`;
        `folded`, the number of points that a layer without inverse takes to one place.
    """
    x = np.random.RandomState(seed).normal(size=10 * points)
    y, _ = push(x)
    # Points of a line, and where they go: no inverse is needed to integrate over `y`.
    line = np.linspace(-6.0, 6.0, 100001)
    there, stretch = push(line)
    log_p = -0.5 * line**2 - 0.5 * np.log(2.0 * np.pi)
    dy = np.gradient(there) * (np.abs(there) < 1.0)
    figures = {
        "counted": np.mean(np.abs(y) < 1.0),
        "should_be": np.sum(np.exp(log_p - np.log(stretch)) * dy),
        "without_stretch": np.sum(np.exp(log_p) * dy),
    }
    # With `u w < -1` the slope is below 0 in the middle. See which `x` come to 0.1.
    falling, slope = push(line, u=-1.0, w=2.0)
    figures["folded"] = np.sum(np.diff(np.sign(falling - 0.1)) != 0.0)
    print("1. One dimension: y = x + 1.2 tanh(3 x). The share of points in [-1, 1] is")
    print(f"   counted            {figures['counted']:.4f}")
    print(f"   p(x) / |dy/dx|     {figures['should_be']:.4f}")
    print(f"   p(x) alone         {figures['without_stretch']:.4f}, which is wrong")
    print(
        f"   y = x - tanh(2 x) has slopes down to {np.min(slope):.2f}, and takes "
        f"{figures['folded']} points to y = 0.1"
    )
    return {name: float(value) for name, value in figures.items()}


def push(x, u=1.2, w=3.0):
    """Returns `y = x + u tanh(w x)`, a planar layer in one dimension, and `dy/dx`."""
    return x + u * np.tanh(w * x), 1.0 + u * w / np.cosh(w * x) ** 2


# 2. Many dimensions: the determinant, and one that is cheap.


def determinant_lemma(seed, size=100):
    """Compares the determinant of `I + u psi'` with `1 + psi'u`; returns the error."""
    u, psi = np.random.RandomState(seed).normal(size=[2, size])
    _, log_det = np.linalg.slogdet(np.eye(size) + np.outer(u, psi))
    lemma = np.log(np.abs(1.0 + psi @ u))
    print(f"\n2. {size} dimensions: log |det(I + u psi')| is")
    print(f"   of the matrix      {log_det:.12f}, which takes about D^3 operations")
    print(f"   log |1 + psi'u|    {lemma:.12f}, which takes about D")
    return float(np.abs(log_det - lemma))


# 3. Layers in the plane, with parameters set by hand.


def layers_in_the_plane(points, pixels, seed):
    """Moves a normal and a uniform density by planar and by radial layers.

    The density at a given point needs the `x` that came there. The inverses of the
    package are exact, to rounding, so that a density can be computed on any grid.

    Returns:
      checks: dictionary of dictionaries, by kind, base and depth; see `main`.
      rows: list of rows of the picture: `(kind, base, panels)`, with a panel
        `(title, samples, density)` for each depth.
    """
    bases = {
        "normal": tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), 1.0), 2),
        "uniform": tfd.Sample(tfd.Uniform(tf.constant(-2.0, tf.float64), 2.0), 2),
    }
    checks, rows = {}, []
    print("\n3. Layers in the plane, with parameters set by hand")
    print("   kind    base     K  integral  log det error  round-trip error")
    for kind, make in [("planar", planar_by_hand), ("radial", radial_by_hand)]:
        for base_name, base in bases.items():
            samples = base.sample(points, seed=[seed, 1])
            panels = [("before", samples, base.prob(grid(pixels)))]
            for depth in DEPTHS:
                # A distribution moved by a bijector: samples go forward through it,
                # and `log_prob(y)` is `base.log_prob(x) - log |det J|` at the inverse.
                bijector, x = make(depth), base.sample(500, seed=[seed, 2])
                flow = tfd.TransformedDistribution(base, bijector)
                density = tf.exp(flow.log_prob(grid(pixels)))
                samples = flow.sample(points, seed=[seed, 1])
                panels.append((f"K = {depth}", samples, density))
                checks[kind, base_name, depth] = check = {
                    "integral": integral(flow, 3 * pixels),
                    "log_det": log_det_error(bijector, x),
                    "round_trip": round_trip_error(bijector, x),
                }
                print(
                    f"   {kind}  {base_name:7} {depth:2}  {check['integral']:8.4f}"
                    f"  {check['log_det']:13.0e}  {check['round_trip']:16.0e}"
                )
            rows.append((kind, base_name, panels))
    return checks, rows


def planar_by_hand(depth):
    """Returns `depth` planar layers. The first two tear the plane along two lines."""
    # `w` tells across which line, and how steep; `kappa = w'u` how far, with 0 the
    # identity; points move aside by `aside`, too, which is a shear.
    random = np.random.RandomState(7)
    angle = np.array([0.35, 1.92, *random.uniform(0.0, np.pi, 8)])
    steepness = np.array([4.0, 4.0, *[2.0, 6.0] * 4])
    kappa = np.array([4.0, 4.0, *[-0.8, 3.0] * 4])
    aside = np.array([0.0, 0.0, *random.uniform(-0.5, 0.5, 8)])
    b = np.array([0.0, 0.0, *random.uniform(-2.0, 2.0, 8)])
    normal = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    along = np.stack([-np.sin(angle), np.cos(angle)], axis=-1)
    w = steepness[:, np.newaxis] * normal
    u = (kappa / steepness)[:, np.newaxis] * normal + aside[:, np.newaxis] * along
    # Without `constraint=None` the layers would change `u`, so that any numbers, also
    # those met in training, give a map that has an inverse.
    return bijectors.PlanarStack(u[:depth], w[:depth], b[:depth], constraint=None)


def radial_by_hand(depth):
    """Returns `depth` radial layers. The first blows up, the second one gathers."""
    random = np.random.RandomState(7)
    center = np.array([[-0.4, 0.2], [1.2, -1.0], *random.uniform(-2.0, 2.0, [8, 2])])
    radius = np.array([0.3, 1.0, *[1.0, 0.2] * 4])
    gain = np.array([5.0, 0.25, *[0.3, 4.0] * 4])
    return tfb.Chain(
        [
            bijectors.Radial(center[k], radius[k], gain[k])
            for k in reversed(range(depth))
        ]
    )  # `Chain` applies its last one first


def grid(pixels, limit=LIMIT):
    """Returns the middles of pixels of a square, row by row from below."""
    line = limit * (2.0 * np.arange(pixels) + 1.0 - pixels) / pixels
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)


def integral(flow, pixels, limit=8.0):
    """Returns the integral of a density over a square: 1 if it is one."""
    density = tf.exp(flow.log_prob(grid(pixels, limit)))
    return float(np.mean(density) * (2.0 * limit) ** 2)


def log_det_error(bijector, x):
    """Returns the largest difference from the determinants of autodiff's Jacobians."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        outputs = tf.unstack(bijector.forward(x), axis=-1)
    rows = [tape.gradient(output, x) for output in outputs]
    _, expected = np.linalg.slogdet(np.stack(rows, axis=-2))
    y = bijector.forward(x).numpy()
    errors = [
        bijector.forward_log_det_jacobian(x) - expected,
        bijector.inverse_log_det_jacobian(y) + expected,  # the one of the way back
    ]
    return float(np.max(np.abs(errors)))


def round_trip_error(bijector, x):
    """Returns the largest distance from `x` to `inverse(forward(x))`."""
    # TFP remembers which tensor came from which: asked for the inverse of this very
    # `y` it may hand back `x` without computing. It cannot know a copy.
    y = bijector.forward(x).numpy()
    return float(np.max(np.abs(bijector.inverse(y) - x)))


# 4. A flow that learns.


def two_moons(steps, layers, points, pixels, seed, batch=256):
    """Fits planar layers to data, by maximum likelihood.

    Training asks for the density of given points, again and again: the way from data to
    noise must be cheap. A planar layer is cheap forward. `tfb.Invert` turns it around:
    the formula `x + u tanh(w'x + b)` then takes data to noise, and sampling is what
    solves an equation.

    `tfb.Chain` applies its last bijector first: the noise goes through the planar
    layers, and then gets the mean and the covariance of the data. The layers start as
    the identity, and so the flow starts as the Gaussian that it is compared with.

    Returns:
      nats: dictionary of numbers, see `main`.
      panels: list of `(title, samples, density)` for the picture.
    """
    train, test = (
        np.float32(
            sklearn.datasets.make_moons(points, noise=0.1, random_state=2 * seed + i)[0]
        )
        for i in range(2)
    )
    mean = np.mean(train, axis=0)
    scale = np.linalg.cholesky(np.cov(train.T)).astype(np.float32)
    noise = tfd.Sample(tfd.Normal(0.0, 1.0), 2)
    flow = tfd.TransformedDistribution(
        noise,
        tfb.Chain(
            [
                tfb.Shift(mean),
                tfb.ScaleMatvecTriL(scale),
                flows.planar(2, layers, seed=seed, invert=True).bijector,
            ]
        ),
    )
    gaussian = tfd.MultivariateNormalTriL(mean, scale)
    arcs = np.float32(sklearn.datasets.make_moons(400, noise=None)[0])
    truth = tfd.MixtureSameFamily(
        tfd.Categorical(logits=tf.zeros(len(arcs))),
        tfd.MultivariateNormalDiag(arcs, tf.fill([2], 0.1)),
    )

    variables = flow.trainable_variables
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(2e-2, steps), global_clipnorm=10.0
    )
    optimizer.build(variables)
    x = tf.constant(train)

    @tf.function(jit_compile=True)
    def train_steps(seed, number):
        nats = 0.0
        for i in tf.range(number):  # many steps in one call, which saves time
            rows = tf.random.stateless_uniform(
                [batch], seed + [0, i], 0, len(x), tf.int32
            )
            with tf.GradientTape() as tape:
                loss = -tf.reduce_mean(flow.log_prob(tf.gather(x, rows)))
            optimizer.apply(tape.gradient(loss, variables), variables)
            nats -= loss
        return nats / tf.cast(number, tf.float32)

    log_prob = tf.function(flow.log_prob)
    untrained = log_prob(test)
    panels = [
        ("data", train, None),
        panel("before training", flow, log_prob, pixels, seed),
    ]
    print(f"\n4. Two moons, {layers} planar layers")
    every = max(1, steps // 500) * 100
    for step in range(0, steps, 100):
        number = min(100, steps - step)
        nats = train_steps(tf.constant([seed, step]), tf.constant(number))
        if (step + number) % every == 0:
            print(f"   step {step + number:5}, training nats {nats:.3f}", flush=True)
    panels.append(panel("after training", flow, log_prob, pixels, seed))

    nats = {
        **score("", log_prob(test)),
        **score("untrained_", untrained),
        **score("gaussian_", gaussian.log_prob(test)),
        **score("truth_", truth.log_prob(test)),
    }
    print("   held-out nats (standard error)")
    for title, prefix in [
        ("Gaussian", "gaussian_"),
        ("flow, untrained", "untrained_"),
        ("flow", ""),
        ("what made the data", "truth_"),
    ]:
        error = nats[prefix + "standard_error"]
        print(f"   {title:18} {nats[prefix + 'nats']:.4f} ({error:.4f})")
    return nats, panels


def panel(title, flow, log_prob, pixels, seed):
    """Returns samples and the density of a flow, for the picture."""
    density = np.exp(log_prob(np.float32(grid(pixels, 1.9) + [0.5, 0.25])))
    return title, flow.sample(20000, seed=[seed, 3]), density


def score(prefix, log_prob):
    return {
        prefix + "nats": float(np.mean(log_prob)),
        prefix + "standard_error": float(np.std(log_prob) / len(log_prob) ** 0.5),
    }


def draw(path, rows, moons, nats):
    """Draws one dimension, the layers in the plane, and the moons, from above."""
    figure = matplotlib.figure.Figure(figsize=(9.6, 9.9), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03)
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=[2.1, 5.5, 2.8])
    draw_one_dimension(top)

    middle.suptitle("Layers in the plane, with parameters set by hand")
    axes = middle.subplots(len(rows), 2 * len(rows[0][2]))
    for i, (title, _, _) in enumerate(rows[0][2]):
        axes[0, 2 * i].set_title(f"{title}: samples", fontsize=10)
        axes[0, 2 * i + 1].set_title("density", fontsize=10)
    for (kind, base, panels), row in zip(rows, axes):
        row[0].set_ylabel(f"{kind},\n{base}")
        highest = 0.1 if base == "uniform" else 0.16  # which the normal density has
        for i, (_, samples, density) in enumerate(panels):
            hexagons(row[2 * i], samples, [-LIMIT, LIMIT] * 2, highest)
            image(row[2 * i + 1], density, [-LIMIT, LIMIT] * 2, highest)

    bottom.suptitle("Planar layers, fitted to two moons by maximum likelihood")
    axes = bottom.subplots(1, 4)
    highest = 0.8 * np.max(moons[-1][2])
    hexagons(axes[0], moons[0][1], MOONS, highest, 50)
    image(axes[1], moons[1][2], MOONS, highest)
    hexagons(axes[2], moons[2][1], MOONS, highest, 50)
    image(axes[3], moons[2][2], MOONS, highest)
    for ax, text in zip(
        axes,
        [
            "data",
            f"density before training,\n{nats['untrained_nats']:.2f} nats",
            "samples after it",
            f"density after it,\n{nats['nats']:.2f} nats",
        ],
    ):
        ax.set_xlabel(text)
    figure.savefig(path, dpi=100)
    with PIL.Image.open(path) as picture:  # few colors take half of the space
        picture.convert("RGB").quantize(80).save(path, optimize=True)


def draw_one_dimension(figure):
    """Draws strips of the density of `x`, and where they go; their areas stay."""
    figure.suptitle("One dimension: y = x + 1.2 tanh(3 x); each strip keeps its area")
    axes = figure.subplots(1, 3)
    x = np.linspace(-3.5, 3.5, 1401)
    y, stretch = push(x)
    density = np.exp(-0.5 * x**2) / (2.0 * np.pi) ** 0.5
    for ax, point, height, name in [
        (axes[0], x, density, "x"),
        (axes[2], y, density / stretch, "y"),
    ]:
        for i, edge in enumerate(np.arange(-3.5, 3.5, 0.25)):
            strip = (x > edge - 1e-6) & (x < edge + 0.25 + 1e-6)
            ax.fill_between(
                point[strip], height[strip], color=STRIPS[i % 2], linewidth=0.0
            )
        ax.set(xlabel=name, ylabel=f"p({name})", xlim=(-4.6, 4.6), ylim=(0.0, 0.42))
    axes[1].plot(x, y, color=STRIPS[0])
    axes[1].set(
        xlabel="x", ylabel="y", xlim=(-3.5, 3.5), ylim=(-4.6, 4.6), yticks=[-4, 0, 4]
    )
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)


def hexagons(ax, samples, extent, highest, number=36):
    """Draws an estimate of the density from samples, on the scale of the density."""
    size = number, number // 2  # of each of the two lattices of hexagons
    area = (extent[1] - extent[0]) * (extent[3] - extent[2]) / (2.0 * np.prod(size))
    x, y = np.transpose(samples)
    share = np.full(len(x), 1.0 / (len(x) * area))
    ax.hexbin(
        x,
        y,
        share,
        gridsize=size,
        extent=extent,
        reduce_C_function=np.sum,
        cmap="magma",
        vmin=0.0,
        vmax=highest,
        linewidths=0.1,
    )
    frame(ax, extent)


def image(ax, density, extent, highest):
    pixels = int(len(density) ** 0.5)
    ax.imshow(
        np.reshape(density, [pixels, pixels]),
        cmap="magma",
        origin="lower",
        vmin=0.0,
        vmax=highest,
        extent=extent,
    )
    frame(ax, extent)


def frame(ax, extent):
    ax.set(xticks=[], yticks=[], xlim=extent[:2], ylim=extent[2:], aspect="equal")
    ax.set_facecolor("black")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000, help="training steps")
    parser.add_argument("--layers", type=int, default=32, help="planar layers to fit")
    parser.add_argument("--picture", default=PICTURE, help="where to write the picture")
    main(**vars(parser.parse_args()))
