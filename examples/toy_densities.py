"""Fits flows to densities in the plane, where one can see what a flow does and cannot.

A flow with few layers bends a Gaussian as it can. `flows.real_nvp` with 5 affine
couplings shifts and stretches one coordinate by what the other one is, in turns;
`flows.maf` does so to both coordinates in each layer. `flows.neural_spline` has 5
couplings, too, but puts a monotonic spline in place of the affine map: each layer may
gather points in several places along a line, and thin them out in between.

Four densities, all known exactly, so that one can say how much a flow lost:

- two moons, those of scikit-learn: to be bent, and parted;
- pinwheel: five Gaussians, twisted;
- eight Gaussians: to be torn into pieces. A flow is continuous, and leaves threads
  between them, thin ones if its layers are able;
- checkerboard: flat squares with edges; a continuous density has none.

Each flow sees 20000 points, and is scored on as many others. The mean log-likelihood of
the true density there, less that of the flow, is what the flow lost: an estimate of the
Kullback-Leibler divergence. Run

    pip install -e ".[examples]"
    python examples/toy_densities.py

It draws `toy_densities.png`, with densities in the colors of one scale for each row.
With 3000 steps for each fit and seed 0 the nats lost were, with their standard error,

                              RealNVP              MAF    neural spline
    two moons         0.0669 (0.0029)  0.0911 (0.0033)  0.0158 (0.0011)
    pinwheel          0.2296 (0.0419)  0.3222 (0.0828)  0.0294 (0.0016)
    eight Gaussians   0.1906 (0.0118)  0.1994 (0.0095)  0.0372 (0.0016)
    checkerboard      0.2602 (0.0043)  0.1874 (0.0048)  0.0563 (0.0019)

All took 435 s on 2 cores that were busy with other work.
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

from tfp_flows import flows

tfb, tfd = tfp.bijectors, tfp.distributions

PICTURE = pathlib.Path(__file__).with_suffix(".png")
LIMIT = 4.0  # of the picture, in both directions
PIXELS = 150
DRAWN = ["RealNVP", "neural spline"]


def main(steps=3000, layers=5, points=20000, picture=PICTURE, seed=0):
    """Fits each flow to each data set, prints what was lost, and draws it.

    Args:
      steps: number of training steps for each fit: below 100, or a multiple of 100.
      layers: number of layers of each flow.
      points: number of points to train on, and to score on.
      picture: path of the picture to write, or None.
      seed: integer that decides the data, the initial values and the samples.

    Returns:
      figures: dictionary: `figures[data][flow]` has the held-out `nats`, and `lost`
        with its `standard_error`; `figures[data]["truth"]` the `nats` of the true
        density; `figures["seconds"]` and `figures["processor_seconds"]`.
    """
    start = time.perf_counter(), time.process_time()
    models = {
        "RealNVP": flows.real_nvp(2, layers, (64, 64), seed=seed),
        "MAF": flows.maf(2, layers, (64, 64), seed=seed),
        "neural spline": flows.neural_spline(2, layers, (64, 64), seed=seed),
    }
    trainers = {name: Trainer(flow, steps) for name, flow in models.items()}
    figures, rows = {}, []
    total = len(models) * len(densities()) * steps
    with tqdm.tqdm(total=total, desc="fit", unit="step", unit_scale=True) as progress:
        for data_name, density in densities().items():
            train = density.sample(points, seed=[seed, 1])
            test = density.sample(points, seed=[seed, 2])
            truth = density.log_prob(test)
            figures[data_name] = {"truth": {"nats": float(np.mean(truth))}}
            row = [data_name, density.prob(pixels()), train]
            for name, trainer in trainers.items():
                progress.set_postfix(data=data_name, flow=name)
                trainer.fit(train, seed, progress)
                nats = trainer.log_prob(test)
                lost = truth - nats
                figures[data_name][name] = {
                    "nats": float(np.mean(nats)),
                    "lost": float(np.mean(lost)),
                    "standard_error": float(np.std(lost) / points**0.5),
                }
                if name in DRAWN:
                    row.append(figures[data_name][name]["lost"])
                    row.append(np.exp(trainer.log_prob(pixels())))
                    row.append(models[name].sample(points, seed=[seed, 3]))
            rows.append(row)
    columns = ["truth", *models]
    print(f"\n{'held-out nats':15}", *(f"{name:>16}" for name in columns))
    for data_name, scores in figures.items():
        cells = (f"{scores[name]['nats']:16.4f}" for name in columns)
        print(f"{data_name:15}", *cells)
    print(f"\n{'nats lost':32}", *(f"{name:>16}" for name in models))
    for data_name, scores in figures.items():
        cells = (
            f"{scores[name]['lost']:7.4f} ({scores[name]['standard_error']:.4f})"
            for name in models
        )
        print(f"{data_name:32}", *cells)
    if picture is not None:
        draw(picture, rows)
    figures["seconds"] = time.perf_counter() - start[0]
    figures["processor_seconds"] = time.process_time() - start[1]
    print(
        f"seconds, without the imports: {figures['seconds']:.0f}, "
        f"of processor time: {figures['processor_seconds']:.0f}"
    )
    return figures


def densities():
    """Returns the four densities, as distributions of TFP."""
    t = np.linspace(0.0, np.pi, 100)
    outer = np.stack([np.cos(t), np.sin(t)], axis=-1)
    moons = np.concatenate([outer, [1.0, 0.5] - outer])  # as in scikit-learn
    angles = 2.0 * np.pi / 8 * np.arange(8)
    ring = 2.8 * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    corners = np.array(
        [[i, j] for i in range(-2, 2) for j in range(-2, 2) if (i + j) % 2 == 0]
    )
    return {
        "two moons": gaussians(2.0 * (moons - [0.5, 0.25]), 0.2),
        "pinwheel": tfd.TransformedDistribution(arms(), Twist(0.6)),
        "eight Gaussians": gaussians(ring, 0.3),
        "checkerboard": mixture(
            tfd.Independent(
                tfd.Uniform(
                    np.float32(1.75 * corners), np.float32(1.75 * (corners + 1))
                ),
                1,
            )
        ),
    }


def mixture(components):
    """Returns the mixture of a batch of distributions, with equal weights."""
    weights = tfd.Categorical(logits=tf.zeros(components.batch_shape))
    return tfd.MixtureSameFamily(weights, components)


def gaussians(centers, scale):
    """Returns the mixture of round Gaussians of one size."""
    return mixture(tfd.MultivariateNormalDiag(np.float32(centers), tf.fill([2], scale)))


def arms(number=5):
    """Returns the mixture of Gaussians that stretch away from the origin."""
    angle = 2.0 * np.pi / number * np.arange(number)
    along = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    across = np.stack([-np.sin(angle), np.cos(angle)], axis=-1)
    scale = np.stack([0.65 * along, 0.18 * across], axis=-1)
    return mixture(
        tfd.MultivariateNormalTriL(
            np.float32(2.0 * along),
            tf.linalg.cholesky(np.float32(scale @ scale.transpose(0, 2, 1))),
        )
    )


class Twist(tfb.Bijector):
    """Turns each point by an angle that grows with its radius; this keeps areas."""

    def __init__(self, rate, name="twist"):
        parameters = dict(locals())
        self.rate = rate
        super().__init__(
            forward_min_event_ndims=1,
            is_constant_jacobian=True,
            dtype=tf.float32,
            parameters=parameters,
            name=name,
        )

    def _turn(self, x, rate):
        angle = rate * tf.norm(x, axis=-1)
        c, s = tf.cos(angle), tf.sin(angle)
        return tf.stack(
            [c * x[..., 0] - s * x[..., 1], s * x[..., 0] + c * x[..., 1]], axis=-1
        )

    def _forward(self, x):
        return self._turn(x, self.rate)

    def _inverse(self, y):
        return self._turn(y, -self.rate)

    def _forward_log_det_jacobian(self, x):
        return tf.zeros([], x.dtype)


class Trainer:
    """Fits one flow to one data set after the other.

    What TensorFlow compiles is kept from one data set to the next: the variables and
    those of the optimizer are set back to where they started. A hundred steps are one
    call; at this size, calls from Python would take longer than the steps.
    """

    def __init__(self, flow, steps, batch=256, steps_per_call=100):
        self.flow = flow
        self.steps, self.steps_per_call = steps, min(steps, steps_per_call)
        self.variables = flow.trainable_variables
        self.optimizer = keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(5e-3, steps), global_clipnorm=10.0
        )
        self.optimizer.build(self.variables)
        self.state = [*self.variables, *self.optimizer.variables]
        self.initial = [variable.numpy() for variable in self.state]
        self.batch = batch
        self.log_prob = tf.function(flow.log_prob, jit_compile=True)

    def fit(self, data, seed, progress):
        """Maximizes the likelihood of data of shape `[N, 2]`."""
        for variable, value in zip(self.state, self.initial):
            variable.assign(value)
        for i in range(self.steps // self.steps_per_call):
            self.train_steps(data, tf.constant([seed, i]))
            progress.update(self.steps_per_call)

    @tf.function(jit_compile=True)
    def train_steps(self, data, seed):
        shape = [self.steps_per_call, self.batch]
        rows = tf.random.stateless_uniform(shape, seed, 0, len(data), tf.int32)
        for i in tf.range(self.steps_per_call):
            x = tf.gather(data, rows[i])
            with tf.GradientTape() as tape:
                loss = -tf.reduce_mean(self.flow.log_prob(x))
            self.optimizer.apply(tape.gradient(loss, self.variables), self.variables)


def pixels():
    """Returns the points of the picture of a density, row by row from below."""
    line = np.linspace(-LIMIT, LIMIT, PIXELS, dtype=np.float32)
    return np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)


def draw(path, rows):
    """Draws a row for each data set: data, densities and samples of two flows."""
    figure = matplotlib.figure.Figure(figsize=(10.0, 8.4), layout="constrained")
    axes = figure.subplots(len(rows), 1 + 2 * len(DRAWN), squeeze=False)
    for (data_name, true_density, data, *results), row in zip(rows, axes):
        scatter(row[0], data)
        row[0].set_ylabel(data_name)
        for i in range(len(DRAWN)):
            lost, density, samples = results[3 * i : 3 * i + 3]
            row[1 + 2 * i].imshow(
                np.reshape(density, [PIXELS, PIXELS]),
                cmap="magma",
                origin="lower",
                vmin=0.0,
                vmax=np.max(true_density),
                extent=[-LIMIT, LIMIT] * 2,
            )
            row[1 + 2 * i].set_xlabel(f"{lost:.3f} nats lost")
            scatter(row[2 + 2 * i], samples)
        for ax in row:
            ax.set(xticks=[], yticks=[], xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT))
            ax.set_aspect("equal")
    titles = ["Data"]
    for name in DRAWN:
        titles += [f"{name}:\ndensity", f"{name}:\nsamples"]
    for ax, title in zip(axes[0], titles):
        ax.set_title(title)
    figure.savefig(path, dpi=100)
    with PIL.Image.open(path) as image:  # 64 colors take half of the space
        image.convert("RGB").quantize(64).save(path, optimize=True)


def scatter(ax, points, number=4000):
    x, y = np.transpose(points[:number])
    ax.scatter(x, y, s=1.5, color="black", alpha=0.35, linewidths=0.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3000, help="training steps")
    parser.add_argument("--layers", type=int, default=5, help="layers of each flow")
    parser.add_argument("--picture", default=PICTURE, help="where to write the picture")
    main(**vars(parser.parse_args()))
