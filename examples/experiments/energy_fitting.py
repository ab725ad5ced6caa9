"""Reverse KL of planar and radial flows on four energies, by depth and seed.

Flows of each depth are fitted to the energies U1 to U4 of Rezende and Mohamed (2015),
https://arxiv.org/abs/1505.05770, table 1, from their own samples. In the plane `log Z`
is a sum over a grid, so the gap `KL(q || p)` is measured in nats: for all seeds, with
the density of the deepest planar flow checked on the grid, and with and without
annealing for flows that are initialized within one of two modes.
`examples/energy_fitting.py` explains the method.

All energies and seeds train at once: the parameters of the layers have batch axes
`[energy, seed]`, and Adam treats each number separately. Run

    python examples/experiments/energy_fitting.py

It prints the tables, and records them in `results/energy_fitting.json`: per model and
energy the median over seeds, and the gaps of the seeds.
"""

import argparse
import time

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tqdm
from recording import record

from tfp_flows import bijectors

tfb, tfd = tfp.bijectors, tfp.distributions

LIMIT = 6.0  # of the grids, in both directions
PIXELS = 150
SEED = 0


def main(layers=(2, 8, 16, 32), steps=4000, seeds=5, annealing=0.25):
    """Fits flows of each depth to each energy, and prints and records the gaps.

    Args:
      layers: depths of the flows, increasing.
      steps: number of training steps for each fit: below 100, or a multiple of 100.
      seeds: number of flows of each kind, with different initial values and samples.
      annealing: fraction of the steps in which the weight of the energy rises from 0.01
        to 1; 0 for none.
    """
    start, names = time.process_time(), [*POTENTIALS]
    log_z = {name: log_normalizer(POTENTIALS[name]) for name in names}
    plans = [("Gaussian", 0)]
    plans += [(family, depth) for family in ["planar", "radial"] for depth in layers]
    gaps, errors, rows = {}, {}, []
    with tqdm.tqdm(total=(len(plans) + 1) * steps, unit="step") as progress:
        for family, depth in plans:
            model = f"{family} {depth}" if depth else family
            progress.set_description(model)
            flow = build(family, depth, [len(names), seeds])
            fit(flow, names, steps, annealing, progress)
            gaps[model], errors[model] = divergence(flow, names, log_z)
            if model == f"planar {layers[-1]}":
                deepest = flow
        progress.set_description("one mode")
        pair = ["U1", "U1"]  # the first row of flows without annealing
        flow = build("planar", 8, [2, seeds], center=[2.0, 0.0], scale=0.3)
        fit(flow, pair, steps, np.array([0.0, annealing or 0.25]), progress)
        one_mode, _ = divergence(flow, pair, log_z)

    print(f"\n{'gap in nats: median of seeds (best to worst)':50}")
    for model, values in gaps.items():
        cells = (
            f"{np.median(row):7.3f} ({np.min(row):.3f} to {np.max(row):.3f})"
            for row in values
        )
        print(f"{model:10}", *cells)
        for name, row, error in zip(names, values, errors[model]):
            middle = np.argsort(row)[seeds // 2]
            common = dict(data=name, model=model, unit="nats", seed=f"{seeds} seeds")
            rows += [
                common
                | dict(metric="gap, median", value=row[middle], error=error[middle]),
                common | dict(metric="gap, best", value=np.min(row)),
                common | dict(metric="gap, worst", value=np.max(row)),
            ]
    print(f"\ndensity of planar {layers[-1]}, median seed, on the grid")
    for i, name in enumerate(names):
        middle = np.argsort(gaps[f"planar {layers[-1]}"][i])[seeds // 2]
        checks = check_on_grid(deepest[i, middle], name, log_z[name])
        print(name, *(f"{metric} {value:.4f}" for metric, value in checks.items()))
        common = dict(data=name, model=f"planar {layers[-1]}", seed=f"{seeds} seeds")
        rows += [
            common | dict(metric=f"{metric}, on the grid", value=value, unit=unit)
            for (metric, value), unit in zip(checks.items(), ["1", "nats", "nats"])
        ]
    print("\nU1, planar 8, all seeds initialized within one of two modes")
    for title, row in zip(["without annealing", "with annealing"], one_mode):
        print(f"{title:18}", *(f"{gap:8.3f}" for gap in row))
        common = dict(data="U1", model="planar 8, one mode", unit="nats")
        for seed, gap in enumerate(row):
            rows.append(common | dict(metric=f"gap {title}", value=gap, seed=seed))
    seconds = time.process_time() - start
    record("energy_fitting", [row | dict(seconds=seconds) for row in rows])


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
    """U1: a ring of radius 2, concentrated on the left and right."""
    z1, z2 = z[..., 0], z[..., 1]
    radius = tf.sqrt(tf.maximum(z1**2 + z2**2, 1e-12))  # where sqrt has no slope
    return -bump(radius - 2.0, 0.4) - log_sum(bump(z1 - 2.0, 0.6), bump(z1 + 2.0, 0.6))


def one_wave(z):
    """U2: a sine wave."""
    z1, z2 = z[..., 0], z[..., 1]
    return -bump(z2 - wave(z1), 0.4) + wall(z1)


def split_wave(z):
    """U3: a sine wave, and a second one that departs from it around `z1 = 1`."""
    z1, z2 = z[..., 0], z[..., 1]
    away = 3.0 * tf.exp(bump(z1 - 1.0, 0.6))
    return wall(z1) - log_sum(
        bump(z2 - wave(z1), 0.35), bump(z2 - wave(z1) + away, 0.35)
    )


def forked_wave(z):
    """U4: a sine wave that forks at `z1 = 1`."""
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


def build(family, depth, batch, center=(0.0, 0.0), scale=1.0):
    """Returns a batch of flows that are initialized to one Gaussian.

    The mean and the scales of the Gaussian are trained with the layers, which represent
    shifts and scalings poorly.

    Args:
      family: "planar", "radial" or "Gaussian".
      depth: number of layers.
      batch: list of integers, the shape of the batch of flows.
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
            bijectors.make_trainable(
                bijectors.PlanarStack,
                [*batch, 2],
                seed=SEED,
                stddev=dict(u=0.0, w=2**-0.5, b=1.0),
                parameter_shapes=dict(u=normals, w=normals, b=normals[:-1]),
            ),
        )
    layers = [
        bijectors.make_trainable(
            bijectors.Radial,
            [*batch, 2],
            seed=i,
            stddev=dict(center=1.0, radius=0.0, gain=0.0),
        )
        for i in range(depth)
    ]
    return tfd.TransformedDistribution(gaussian, tfb.Chain(layers[::-1]))


def fit(flow, names, steps, annealing, progress, points=128):
    """Minimizes the divergences of a batch of flows, less the constants `log Z`.

    A hundred steps are one call of a compiled function, since the overhead of a call
    exceeds the time of a step.

    Args:
      flow: distribution with batch shape `[len(names), seeds]`.
      names: list of the energies, one for each row of flows.
      steps: number of steps.
      annealing: fraction of them in which the weight of the energy rises from 0.01 to
        1, a number, or one for each row.
      progress: bar to advance.
      points: number of samples of each flow in each step.
    """
    variables = flow.trainable_variables
    # With its default `beta_2`, Adam occasionally throws a flow out of a mode: after a
    # period of small gradients, the first large one makes a leap.
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(2e-2, steps), beta_2=0.99
    )
    optimizer.build(variables)
    steps_per_call = min(steps, 100)
    ramp = np.float32(np.maximum(annealing * steps, 1e-6)).reshape(-1, 1)

    @tf.function(jit_compile=True)
    def train_steps(first):
        for i in tf.range(steps_per_call):
            step = first + i
            weight = tf.minimum(1.0, 0.01 + tf.cast(step + 1, tf.float32) / ramp)
            with tf.GradientTape() as tape:
                z, log_q = flow.experimental_sample_and_log_prob(
                    points, seed=tf.stack([SEED, step])
                )
                nats = tf.reduce_mean(log_q + weight * energies(names, z), axis=0)
                loss = tf.reduce_sum(nats)  # each flow has parameters of its own
            optimizer.apply(tape.gradient(loss, variables), variables)

    for first in range(0, steps, steps_per_call):
        train_steps(tf.constant(first))
        progress.update(steps_per_call)


def divergence(flow, names, log_z, samples=100_000, chunk=10_000):
    """Returns estimates of `KL(q || p)`, `[len(names), seeds]`, and standard errors."""

    @tf.function(jit_compile=True)
    def nats(i):
        z, log_q = flow.experimental_sample_and_log_prob(
            chunk, seed=tf.stack([SEED + 1000, i])
        )
        return log_q + energies(names, z)

    values = np.concatenate([nats(tf.constant(i)) for i in range(samples // chunk)])
    constants = np.array([log_z[name] for name in names])[:, np.newaxis]
    mean = np.mean(values, axis=0, dtype=np.float64) + constants
    return mean, np.std(values, axis=0) / len(values) ** 0.5


def check_on_grid(flow, name, log_z):
    """Returns what the exact density of one flow says, summed over the pixels."""
    z, area = np.float32(grid(PIXELS)), cell(PIXELS)
    log_q = np.float64(tf.function(flow.log_prob)(z))
    log_p = -np.float64(POTENTIALS[name](z)) - log_z
    q, p = np.exp(log_q), np.exp(log_p)
    return {
        "mass": float(area * np.sum(q)),
        "KL(q || p)": float(area * np.sum(q * (log_q - log_p))),
        "KL(p || q)": float(area * np.sum(p * (log_p - log_q))),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=4000, help="training steps")
    parser.add_argument("--seeds", type=int, default=5, help="flows of each kind")
    parser.add_argument(
        "--annealing", type=float, default=0.25, help="fraction of the steps"
    )
    parser.add_argument(
        "--layers", type=int, nargs="+", default=[2, 8, 16, 32], help="depths"
    )
    main(**vars(parser.parse_args()))
