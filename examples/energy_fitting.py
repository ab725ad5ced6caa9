"""Fits flows to energies: approximate inference, with a formula instead of data.

Given is an energy `U(z)`, and wanted is the density `p(z) = exp(-U(z)) / Z`, as it is
for a posterior or in physics. There are no points drawn from `p`, and nobody knows `Z`.
What a flow can do is to draw points itself, and to say how dense it is there, as it
knows what its layers did to the noise. That is all one needs for the Kullback-Leibler
divergence from flow to target, the "reverse" one:

    KL(q || p) = E_q[log q(z) + U(z)] + log Z

The mean is taken over the flow's own points. They are differentiable functions of its
parameters, so gradients pass through them into the energy. `log Z` does not depend on
the parameters, and training does without. Planar and radial layers are made for this:
their formula goes from noise to points, a training step inverts nothing.

In the plane `log Z` is a sum over a grid, so that one can say how many nats a flow is
off. The four energies are those of Rezende and Mohamed (2015),
https://arxiv.org/abs/1505.05770: two moons on a ring, a wave, a wave that splits, and
one that forks. As nothing confines the last three sidewards, they get soft walls at
`|z1| = 4`. What the tutorial shows:

- **Depth.** A planar layer moves points along one direction, at one fold; a radial one
  around one point. What few cannot do, many can: see the gap fall with `K`.
- **Density without noise.** The densities in the picture are `flow.log_prob` at the
  pixels. It takes the inverse of all layers, for which planar flows have no formula;
  here it is solved for, to rounding. So one can check: the density sums to 1 over the
  pixels, and the divergence summed over them is the one estimated from samples.
- **Mode seeking.** `KL(q || p)` looks where `q` has points, and never where it has
  none. A flow that found one of two equal modes pays `log 2 = 0.69` nats, and no
  gradient leads it to the other mode. The forward divergence `KL(p || q)` is the one
  that punishes a missing mode, but takes points of `p`; here, the grid.
- **Annealing.** Training with `b U(z)` for a `b` that rises from 0.01 to 1 starts from
  a density so flat that its modes are one. The last row of the picture has flows that
  start within one mode: without annealing, all stay there.

All seeds and all energies train at once: the parameters of the layers have batch axes
`[energy, seed]`, and Adam treats each number for itself. Mean and scales of the noise
are trained with them. Run

    pip install -e ".[examples]"
    python examples/energy_fitting.py

It draws `energy_fitting.png`: the densities are of the seed in the middle, bands go
from the best to the worst seed. With 4000 steps of 128 points for each fit, annealing
in the first quarter of them, and 5 seeds, the gaps `KL(q || p)` in nats, from 100000
samples each, were: middle seed (best to worst)

                              U1                     U2
    Gaussian   3.202 (3.190 to 3.225)   1.887 (1.878 to 1.895)
    planar 2   0.281 (0.227 to 0.283)   0.610 (0.497 to 0.822)
    planar 8   0.032 (0.023 to 0.049)   0.033 (0.010 to 0.305)
    planar 16  0.015 (0.008 to 0.028)   0.004 (0.002 to 0.017)
    planar 32  0.007 (0.005 to 0.038)   0.003 (0.002 to 0.003)
    radial 2   0.275 (0.266 to 0.279)   0.879 (0.868 to 0.879)
    radial 8   0.086 (0.079 to 0.102)   0.359 (0.175 to 0.746)
    radial 16  0.050 (0.045 to 0.060)   0.117 (0.108 to 0.171)
    radial 32  0.028 (0.023 to 0.065)   0.085 (0.083 to 0.106)

                              U3                     U4
    Gaussian   1.898 (1.884 to 1.912)   1.606 (1.597 to 1.611)
    planar 2   0.594 (0.427 to 0.642)   0.504 (0.441 to 0.725)
    planar 8   0.177 (0.067 to 0.266)   0.251 (0.156 to 0.395)
    planar 16  0.075 (0.046 to 0.123)   0.049 (0.028 to 0.164)
    planar 32  0.029 (0.024 to 0.038)   0.031 (0.010 to 0.039)
    radial 2   0.814 (0.809 to 0.820)   0.999 (0.984 to 1.003)
    radial 8   0.341 (0.310 to 0.386)   0.486 (0.416 to 0.638)
    radial 16  0.212 (0.170 to 0.226)   0.340 (0.302 to 0.382)
    radial 32  0.126 (0.114 to 0.165)   0.286 (0.271 to 0.319)

with standard errors of at most 0.0145. Over the pixels, the density of planar flows of
32 layers summed to 1.0000; `KL(q || p)` came to 0.0070, 0.0027, 0.0287 and 0.0299 nats,
where samples said 0.0067, 0.0025, 0.0285 and 0.0305; `KL(p || q)` is as small, no mode
is missing. Flows of 8 planar layers that started in one mode of U1 ended at 0.693 to
0.695 nats without annealing, and at 0.029 to 0.048 with it. Radial layers fall short on
U4: they swell or shrink discs, and leave the lower branch out.

All took 548 s on 2 cores that were busy with other work, and 235 s of processor time.
"""

import argparse
import pathlib
import time

import keras
import matplotlib.figure
import numpy as np
import PIL.Image
import tensorflow as tf
import tensorflow_probability as tfp
import tqdm

from tfp_flows import bijectors
from tfp_flows.bijectors._trainable import make_trainable

tfb, tfd = tfp.bijectors, tfp.distributions

PICTURE = pathlib.Path(__file__).with_suffix(".png")
LIMIT = 6.0  # of the grids, in both directions
PIXELS = 150
SHOWN = 5.2  # of them, in the picture


def main(
    potentials=("U1", "U2", "U3", "U4"),
    layers=(2, 8, 16, 32),
    steps=4000,
    seeds=5,
    picture=PICTURE,
    annealing=0.25,
    samples=100_000,
    seed=0,
):
    """Fits flows of each depth to each energy, prints how far off they are, draws them.

    Args:
      potentials: names out of `POTENTIALS`.
      layers: numbers of layers of the flows, rising.
      steps: number of training steps for each fit: below 100, or a multiple of 100.
      seeds: number of flows of each kind, with other initial values and noise.
      picture: path of the picture to write, or None.
      annealing: share of the steps in which the energy grows to what it is; 0 for none.
      samples: number of points to estimate a divergence from.
      seed: integer that decides the initial values and the samples.

    Returns:
      figures: dictionary. `figures["log_z"][potential]`;
        `figures["gaps"][family][depth][potential]`, the divergences in nats of all
        seeds, for the families "planar" and "radial" and, at depth 0, "Gaussian", with
        their standard errors in `figures["standard_errors"]`, likewise;
        `figures["grid"][potential]`, of a planar flow of the largest depth: its `gap`
        from samples, and `mass`, `reverse` and `forward` divergence from pixels;
        `figures["one_mode"]`, gaps of flows that start in one of two modes, `annealed`
        and `not_annealed`; `figures["seconds"]`, `figures["processor_seconds"]`.

    Raises:
      ValueError: a name in `potentials` is not known.
    """
    if not set(potentials) <= set(POTENTIALS):
        raise ValueError(
            f"`potentials` must be out of {list(POTENTIALS)}; got {potentials}."
        )
    start = time.perf_counter(), time.process_time()
    log_z = {name: log_normalizer(POTENTIALS[name]) for name in potentials}
    plans = [("Gaussian", 0)]
    plans += [(family, depth) for family in ["planar", "radial"] for depth in layers]
    models, gaps, errors = {}, {}, {}
    total = (len(plans) + 1) * steps
    with tqdm.tqdm(total=total, desc="fit", unit="step", unit_scale=True) as progress:
        for family, depth in plans:
            progress.set_postfix(flow=family, layers=depth)
            flow = build(family, depth, [len(potentials), seeds], seed)
            fit(flow, potentials, steps, annealing, seed, progress)
            values = divergence(flow, potentials, log_z, samples, seed)
            for store, value in zip([gaps, errors], values):
                store.setdefault(family, {})[depth] = dict(zip(potentials, value))
            models[family, depth] = flow
        figures = {"log_z": log_z, "gaps": gaps, "standard_errors": errors}

        # Which is the one to look at: of the middle gap, not the luckiest.
        middle = {
            (family, depth, name): np.argsort(gaps[family][depth][name])[seeds // 2]
            for family, depth in plans
            for name in potentials
        }
        figures["grid"] = {
            name: check_on_grid(
                models["planar", layers[-1]][i, middle["planar", layers[-1], name]],
                np.median(gaps["planar"][layers[-1]][name]),
                name,
                log_z[name],
            )
            for i, name in enumerate(potentials)
        }

        progress.set_postfix(flow="planar", start="one mode")
        pair = ["U1", "U1"]  # the first row of flows without annealing
        flow = build("planar", 8, [2, seeds], seed, center=[2.0, 0.0], scale=0.3)
        fit(flow, pair, steps, np.array([0.0, annealing or 0.25]), seed, progress)
        constant = {"U1": log_normalizer(POTENTIALS["U1"])}
        values, _ = divergence(flow, pair, constant, samples, seed)
        figures["one_mode"] = {"not_annealed": values[0], "annealed": values[1]}
        models["not_annealed"], models["annealed"] = flow[0, 0], flow[1, 0]

    report(figures, layers)
    if picture is not None:
        draw(picture, figures, models, middle, layers, seed)
    figures["seconds"] = time.perf_counter() - start[0]
    figures["processor_seconds"] = time.process_time() - start[1]
    print(
        f"seconds, without the imports: {figures['seconds']:.0f}, "
        f"of processor time: {figures['processor_seconds']:.0f}"
    )
    return figures


def bump(distance, width):
    """Returns the logarithm of a Gaussian bump of height 1."""
    return -0.5 * (distance / width) ** 2


def wave(z1):
    return tf.sin(2.0 * np.pi * z1 / 4.0)


def wall(z1):
    return -bump(tf.maximum(tf.abs(z1) - 4.0, 0.0), 0.2)


def log_sum(*logs):
    return tf.reduce_logsumexp(tf.stack(logs), axis=0)


def two_moons(z):
    """U1: points on a ring of radius 2, gathered on its left and right."""
    z1, z2 = z[..., 0], z[..., 1]
    radius = tf.sqrt(tf.maximum(z1**2 + z2**2, 1e-12))  # where sqrt has no slope
    return -bump(radius - 2.0, 0.4) - log_sum(bump(z1 - 2.0, 0.6), bump(z1 + 2.0, 0.6))


def one_wave(z):
    """U2: points along a sine."""
    z1, z2 = z[..., 0], z[..., 1]
    return -bump(z2 - wave(z1), 0.4) + wall(z1)


def split_wave(z):
    """U3: a sine, of which a second one parts around `z1 = 1`, and comes back."""
    z1, z2 = z[..., 0], z[..., 1]
    away = 3.0 * tf.exp(bump(z1 - 1.0, 0.6))
    return wall(z1) - log_sum(
        bump(z2 - wave(z1), 0.35), bump(z2 - wave(z1) + away, 0.35)
    )


def forked_wave(z):
    """U4: a sine, of which a second one parts at `z1 = 1` for good."""
    z1, z2 = z[..., 0], z[..., 1]
    away = 3.0 * tf.sigmoid((z1 - 1.0) / 0.3)
    return wall(z1) - log_sum(
        bump(z2 - wave(z1), 0.4), bump(z2 - wave(z1) + away, 0.35)
    )


POTENTIALS = {"U1": two_moons, "U2": one_wave, "U3": split_wave, "U4": forked_wave}


def grid(points):
    """Returns the centers of `points` squared cells, row by row from below."""
    line = (np.arange(points) + 0.5) * (2.0 * LIMIT / points) - LIMIT
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)


def cell(points):
    """Returns the area of a cell of `grid(points)`."""
    return (2.0 * LIMIT / points) ** 2


def log_normalizer(potential, points=600):
    """Returns `log Z`, from the sum of `exp(-U)` over a fine grid."""
    z = tf.constant(grid(points))
    return float(np.log(cell(points)) + tf.reduce_logsumexp(-potential(z)))


def energies(names, z):
    """Returns the energies of points of shape `[..., len(names), seeds, 2]`."""
    values = [POTENTIALS[name](z[..., i, :, :]) for i, name in enumerate(names)]
    return tf.stack(values, axis=-2)


def build(family, depth, batch, seed, center=(0.0, 0.0), scale=1.0):
    """Returns a batch of flows that start as one Gaussian, and do not stay alike.

    The mean and the scales of the Gaussian are trained with the layers: a planar layer
    has hard work with what is but a stretch. With no layers the Gaussian is all.

    Args:
      family: "planar", "radial" or "Gaussian".
      depth: number of layers.
      batch: list of integers, the shape of the batch of flows.
      seed: integer that decides the initial values.
      center: mean of the Gaussian before training.
      scale: its standard deviation, in all directions.
    """
    gaussian = bijectors.never_stale(
        tfd.MultivariateNormalDiag(
            tf.Variable(tf.broadcast_to(np.float32(center), [*batch, 2])),
            tfp.util.TransformedVariable(tf.fill([*batch, 2], scale), tfb.Exp()),
        )
    )
    if family == "Gaussian":
        return gaussian
    if family == "planar":
        # As `flows.planar`, with batch axes; the identity at first, as `u` is 0.
        normals = [*batch, depth, 2]
        return tfd.TransformedDistribution(
            gaussian,
            make_trainable(
                bijectors.PlanarStack,
                [*batch, 2],
                seed=seed,
                stddev=dict(u=0.0, w=2**-0.5, b=1.0),
                parameter_shapes=dict(u=normals, w=normals, b=normals[:-1]),
            ),
        )
    layers = [
        make_trainable(
            bijectors.Radial,
            [*batch, 2],
            seed=1000 * seed + i,
            stddev=dict(center=1.0, radius=0.0, gain=0.0),
        )
        for i in range(depth)
    ]
    return tfd.TransformedDistribution(gaussian, tfb.Chain(layers[::-1]))


def fit(flow, names, steps, annealing, seed, progress, points=128):
    """Minimizes the divergences of a batch of flows, less the constants `log Z`.

    A hundred steps are one call of a compiled function: the way to Python and back
    takes longer than a step of a small flow.

    Args:
      flow: distribution with batch shape `[len(names), seeds]`.
      names: list of the energies, one for each row of flows.
      steps: number of steps.
      annealing: share of them in which the weight of the energy rises from 0.01 to 1, a
        number, or one for each row.
      seed: integer that decides the noise.
      progress: bar to move on.
      points: number of points of each flow in each step.
    """
    variables = flow.trainable_variables
    # With a memory of 1000 gradients, its default, Adam now and then throws a flow out
    # of a mode: what faded to small gradients makes one leap when they grow again.
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(2e-2, steps), beta_2=0.99
    )
    optimizer.build(variables)
    steps_per_call = min(steps, 100)
    ramp = np.float32(np.maximum(annealing * steps, 1e-6)).reshape(-1, 1)

    @tf.function(jit_compile=True)
    def train_steps(first):
        for i in tf.range(steps_per_call):  # a range that moves is compiled anew
            step = first + i
            share = tf.minimum(1.0, 0.01 + tf.cast(step + 1, tf.float32) / ramp)
            with tf.GradientTape() as tape:
                z, log_q = flow.experimental_sample_and_log_prob(
                    points, seed=tf.stack([seed, step])
                )
                nats = tf.reduce_mean(log_q + share * energies(names, z), axis=0)
                loss = tf.reduce_sum(nats)  # each flow has parameters of its own
            optimizer.apply(tape.gradient(loss, variables), variables)

    for first in range(0, steps, steps_per_call):
        train_steps(tf.constant(first))
        progress.update(steps_per_call)


def divergence(flow, names, log_z, samples, seed, chunk=10_000):
    """Returns estimates of `KL(q || p)`, `[len(names), seeds]`, and standard errors."""
    chunk = min(chunk, samples)

    @tf.function(jit_compile=True)
    def nats(i):
        z, log_q = flow.experimental_sample_and_log_prob(
            chunk, seed=tf.stack([seed + 1000, i])
        )
        return log_q + energies(names, z)

    values = np.concatenate([nats(tf.constant(i)) for i in range(samples // chunk)])
    constants = np.array([log_z[name] for name in names])[:, np.newaxis]
    mean = np.mean(values, axis=0, dtype=np.float64) + constants
    return mean, np.std(values, axis=0) / len(values) ** 0.5


def density(flow):
    """Returns the density of one flow at the pixels, `[PIXELS**2]`."""
    return np.exp(tf.function(flow.log_prob)(np.float32(grid(PIXELS))))


def check_on_grid(flow, gap, name, log_z):
    """Returns what the exact density of one flow says, summed over the pixels."""
    z, area = np.float32(grid(PIXELS)), cell(PIXELS)
    log_q = np.float64(tf.function(flow.log_prob)(z))
    log_p = -np.float64(POTENTIALS[name](z)) - log_z
    q, p = np.exp(log_q), np.exp(log_p)
    return {
        "gap": float(gap),
        "mass": float(area * np.sum(q)),
        "reverse": float(area * np.sum(q * (log_q - log_p))),
        "forward": float(area * np.sum(p * (log_p - log_q))),
    }


def report(figures, layers):
    """Prints the gaps in nats: of the middle, the best and the worst seed."""
    names = list(figures["log_z"])
    values = (f"{name} {value:.4f}" for name, value in figures["log_z"].items())
    print("\nlog Z:", *values)
    print("\ngap in nats: middle seed (best to worst)")
    print(f"{'':12}", *(f"{name:>22}" for name in names))
    for family, depths in figures["gaps"].items():
        for depth, row in depths.items():
            cells = (
                f"{np.median(row[name]):7.3f} "
                f"({np.min(row[name]):.3f} to {np.max(row[name]):.3f})"
                for name in names
            )
            title = f"{family} {depth}" if depth else family
            print(f"{title:12}", *(f"{cell:>22}" for cell in cells))
    largest = max(
        np.max(row[name])
        for depths in figures["standard_errors"].values()
        for row in depths.values()
        for name in names
    )
    print(f"largest standard error: {largest:.4f}")
    print(f"\nplanar {layers[-1]}: samples, and sums of its density over the pixels")
    print(f"{'':12}", *(f"{name:>22}" for name in names))
    for key, title in [
        ("gap", "samples"),
        ("reverse", "KL(q || p)"),
        ("forward", "KL(p || q)"),
        ("mass", "mass of q"),
    ]:
        cells = (f"{figures['grid'][name][key]:22.4f}" for name in names)
        print(f"{title:12}", *cells)
    print("\nU1, planar 8, all seeds started in one mode of two:")
    for key, title in [("not_annealed", "no annealing"), ("annealed", "annealing")]:
        print(f"{title:12}", *(f"{gap:8.3f}" for gap in figures["one_mode"][key]))


def draw(path, figures, models, middle, layers, seed):
    """Draws a row for each energy, and one for flows that start in one mode."""
    names = list(figures["log_z"])
    drawn = sorted({layers[0], layers[(len(layers) - 1) // 2], layers[-1]})
    deepest = layers[-1]
    columns = len(drawn) + 4
    figure = matplotlib.figure.Figure(
        figsize=(1.75 * columns, 1.85 * (len(names) + 1)), layout="constrained"
    )
    axes = figure.subplots(len(names) + 1, columns, squeeze=False)
    for i, (name, row) in enumerate(zip(names, axes)):
        target = np.exp(-POTENTIALS[name](grid(PIXELS)) - figures["log_z"][name])

        def chosen(family, depth):
            return models[family, depth][i, middle[family, depth, name]]

        image(row[0], target, np.max(target))
        row[0].set_ylabel(name, rotation=0, labelpad=12)
        flows = [("planar", depth) for depth in drawn] + [("radial", deepest)]
        panels = [*row[1 : 1 + len(drawn)], row[-2]]
        for ax, (family, depth) in zip(panels, flows):
            image(ax, density(chosen(family, depth)), np.max(target))
            ax.set_xlabel(f"{np.median(figures['gaps'][family][depth][name]):.3f} nats")
        x = chosen("planar", deepest).sample(20_000, seed=[seed, 2])
        row[1 + len(drawn)].hist2d(
            *np.transpose(x), bins=60, range=[[-SHOWN, SHOWN]] * 2, cmap="magma"
        )
        row[-1].axhline(
            np.median(figures["gaps"]["Gaussian"][0][name]),
            color="gray",
            linestyle=":",
            label="Gaussian",
        )
        for family, color in [("planar", "C0"), ("radial", "C1")]:
            gaps = np.array([figures["gaps"][family][depth][name] for depth in layers])
            row[-1].plot(
                layers, np.median(gaps, axis=1), ".-", color=color, label=family
            )
            row[-1].fill_between(
                layers,
                np.min(gaps, axis=1),
                np.max(gaps, axis=1),
                color=color,
                alpha=0.25,
                linewidth=0.0,
            )
        row[-1].set(xscale="log", yscale="log", ylim=(1e-3, 5.0))
        row[-1].set_xticks(layers, layers)
        row[-1].minorticks_off()
    titles = ["target"]
    titles += [f"planar, K = {depth}" for depth in drawn]
    titles += [f"samples, K = {deepest}", f"radial, K = {deepest}", "gap in nats"]
    for ax, title in zip(axes[0], titles):
        ax.set_title(title, fontsize=10)
    axes[len(names) - 1, -1].legend(fontsize=7, frameon=False, loc="lower left")
    axes[len(names) - 1, -1].set_xlabel("K")
    draw_one_mode(axes[-1], figures, models)
    for ax in axes[:, :-1].flat:
        ax.set(xticks=[], yticks=[], xlim=(-SHOWN, SHOWN), ylim=(-SHOWN, SHOWN))
        ax.set_aspect("equal")
    for ax in axes[:, -1]:
        ax.set_box_aspect(1)
        ax.tick_params(labelsize=7)
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=100)
    with PIL.Image.open(path) as picture:  # 128 colors take half of the space
        picture.convert("RGB").quantize(128).save(path, optimize=True)


def draw_one_mode(row, figures, models):
    """Draws what annealing does to the target, and to flows that start in one mode."""
    energy = two_moons(grid(PIXELS))
    weights = [0.01, 0.1, 1.0]
    for ax, weight in zip(row, weights):
        flat = np.exp(-weight * (energy - np.min(energy)))
        image(ax, flat, np.max(flat))
        ax.set_title(f"exp(-{weight:g} U1)".replace("-1 ", "-"), fontsize=10)
    limit = np.max(np.exp(-energy - log_normalizer(two_moons)))
    start = build("planar", 1, [], 0, center=[2.0, 0.0], scale=0.3)
    panels = [
        (start, "start", ""),
        (models["not_annealed"], "not annealed", "not_annealed"),
        (models["annealed"], "annealed", "annealed"),
    ]
    for ax, (flow, title, key) in zip(row[-4:-1], panels):
        image(ax, density(flow), limit)
        ax.set_title(title, fontsize=10)
        if key:
            ax.set_xlabel(f"{figures['one_mode'][key][0]:.3f} nats")
    ax = row[-1]
    ax.axhline(np.log(2.0), color="gray", linestyle=":")
    for x, key in enumerate(["not_annealed", "annealed"]):
        gaps = figures["one_mode"][key]
        ax.plot(np.full(len(gaps), x), gaps, "_", color="C0", markersize=12)
    ax.set(yscale="log", ylim=(1e-3, 5.0), xlim=(-0.6, 1.6), title="gaps, all seeds")
    ax.title.set_fontsize(10)
    ax.set_xticks([0, 1], ["not\nannealed", "annealed"])
    ax.text(1.6, np.log(2.0) * 1.1, "log 2", ha="right", fontsize=7)
    row[0].set_ylabel("U1\nfrom\none\nmode", rotation=0, labelpad=16, va="center")
    for spare in row[len(weights) : -4]:
        spare.set_axis_off()


def image(ax, values, most):
    """Draws values at the pixels, in the colors of a scale from 0 to `most`."""
    ax.imshow(
        np.reshape(values, [PIXELS, PIXELS]),
        cmap="magma",
        origin="lower",
        vmin=0.0,
        vmax=most,
        extent=[-LIMIT, LIMIT] * 2,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=4000, help="training steps")
    parser.add_argument("--seeds", type=int, default=5, help="flows of each kind")
    parser.add_argument(
        "--annealing", type=float, default=0.25, help="share of the steps"
    )
    parser.add_argument(
        "--layers", type=int, nargs="+", default=[2, 8, 16, 32], help="depths"
    )
    parser.add_argument("--picture", default=PICTURE, help="where to write the picture")
    main(**vars(parser.parse_args()))
