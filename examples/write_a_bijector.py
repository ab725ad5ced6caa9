"""Writing a bijector of one's own, and finding out whether it is right.

A layer of a flow is a subclass of `tfb.Bijector` with three methods: `_forward`,
`_inverse` and `_inverse_log_det_jacobian`. Once these are right, everything else works:
chains, distributions, training, sampling. But a layer that is wrong works as well. The
loss falls, numbers are finite, and what is wrong is the density: no exception says so.
Hence most of this script is about tests.

The example is the parametric rectifier of He et al. (2015),
https://arxiv.org/abs/1502.01852: `y = x` for `x >= 0`, `y = slope x` below, for each
element. The parts of this script, from above:

1. the layer, written out, and why its slope must not be 0;
2. what TFP's cache does to those who test or look by hand;
3. four checks, and five layers with an error each: which check finds it, and what one
   sees of it in training;
4. a flow of rotations and PReLU layers, fitted by maximum likelihood to a spiral, and
   why its kinks are not left to gradients; beside it the same with the `PReLU` of this
   package.

Run

    pip install -e ".[examples]"
    python examples/write_a_bijector.py

It draws `write_a_bijector.png`. With seed 0 the largest errors by check in part 3, of
forward, inverse and their log determinants (`fldj` and `ildj` for short), of gradients
by the slope and of a batch of slopes, were as follows, with a ! where they tell that
the layer is wrong; and, after 300 training steps, nats and the integral of the density:

    layer                inverse    fldj    ildj  gradient  batch     nats  integral
    right                  0e+00   2e-16   2e-16     2e-10  0e+00   -1.275       1.0
    inverse multiplies    2e+00!   2e-16  2e+00!     6e-10  0e+00    1.829    2880.3
    wrong sign             0e+00  2e+00!  2e+00!     5e-10  0e+00    1.829    2880.3
    no branch              0e+00   2e-16  1e+00!     8e-10  0e+00   -1.275       1.0
    slope is frozen        0e+00   2e-16   2e-16    7e+00!  0e+00   -1.528       1.0
    first slope alone      0e+00   2e-16   2e-16     2e-10 3e+00!   -1.275       1.0

The density that made the data has -1.275 nats there, and but for chance none has more.
Two wrong layers claim it: what they learn is no density. Two others train as the right
one does. Without the copies of part 2, the wrong inverse would have an error of 0.

In part 4 the flow has -2.215 (0.009) nats on held-out points, a Gaussian -3.448, and
the layers of the package give the same numbers to the last bit. The numbers of layers,
rotations and quantiles to try were chosen out of about 8 settings by such figures. All
took 21 s of processor time, and 55 s on 2 cores that were busy with other work.
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

from tfp_flows import bijectors

tfb, tfd = tfp.bijectors, tfp.distributions

PICTURE = pathlib.Path(__file__).with_suffix(".png")
LIMIT = 3.2  # of the pictures of densities, in both directions
DEPTHS = (1, 10, 100)


# 1. The layer.


class PReLU(tfb.Bijector):
    """`y = x` for `x >= 0` and `y = slope x` below, elementwise.

    Args:
      slope: tensor or variable that broadcasts with `x`, positive.
      validate_args: whether TFP may check arguments at a cost.
      name: prefix of the ops.
    """

    def __init__(self, slope, validate_args=False, name="prelu"):
        # First of all: `copy()` and others call the constructor again with these.
        parameters = dict(locals())
        # A variable is kept as it is, and read whenever the layer is used. Converted
        # here, it would be a constant from now on, and training could not reach it.
        variable = isinstance(slope, (tf.Variable, tfp.util.DeferredTensor))
        # The attribute has the name of the argument: so TFP finds its variables.
        self.slope = slope if variable else tf.convert_to_tensor(slope)
        super().__init__(
            # The layer acts on each number by itself. 1 would say that it acts on
            # vectors; then a log determinant is a sum over their elements.
            forward_min_event_ndims=0,
            dtype=self.slope.dtype,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype):
        # A slope belongs to one event of rank 0, so that all axes of a tensor of slopes
        # are batch axes. The last argument says how to make a positive one of any real
        # number: exp takes 0 to 1, with which the layer is the identity.
        return dict(
            slope=tfp.util.ParameterProperties(
                event_ndims=0, default_constraining_bijector_fn=tfb.Exp
            )
        )

    @classmethod
    def _is_increasing(cls):
        return True  # for `cdf` and `quantile` of distributions that use the layer

    def _forward(self, x):
        return tf.where(x < 0.0, self.slope * x, x)

    def _inverse(self, y):
        # The sign of `y` is that of `x`, as the slope is positive.
        return tf.where(y < 0.0, y / self.slope, y)

    def _inverse_log_det_jacobian(self, y):
        return -self._forward_log_det_jacobian(y)  # it depends on the sign alone

    # TFP can do without this one, by `-inverse_log_det_jacobian(forward(x))`. Where it
    # is there, `log_prob` of a distribution calls it, and not the one above.
    def _forward_log_det_jacobian(self, x):
        log_slope = tf.math.log(self.slope)
        return tf.where(x < 0.0, log_slope, tf.zeros_like(log_slope))


def main(steps=300, layers=100, points=10000, picture=PICTURE, seed=0):
    """Goes through the four parts, and prints what is found.

    Args:
      steps: number of training steps of each layer of part 3.
      layers: number of layers of the flow of part 4.
      points: number of points to fit that flow to, and to score it on.
      picture: path of the picture to write, or None.
      seed: integer that decides the data and the samples.

    Returns:
      figures: dictionary. `layer` has what a slope of 0 does, `cache` what TFP
        remembers; `checks[layer]` the largest error by check, the training `nats` and
        the `integral` of the density; `truth_nats` those of the density that the data
        are drawn from; `shift` the gradients of part 4; `flow` the held-out `nats` with
        their `standard_error`, `gaussian_nats`, the error of a `round_trip`, and the
        largest differences from the layers of the package, `log_prob_difference` and
        `sample_difference`; `seconds` and `processor_seconds`.
    """
    start = time.perf_counter(), time.process_time()
    figures = {"layer": try_the_layer(), "cache": ask_the_cache()}
    figures["checks"], figures["truth_nats"], curves = compare_layers(steps, seed)
    figures["shift"] = gradient_of_a_shift(seed)
    figures["flow"], panels = fit_a_flow(layers, points, seed)
    if picture is not None:
        draw(picture, curves, figures["truth_nats"], panels)
    figures["seconds"] = time.perf_counter() - start[0]
    figures["processor_seconds"] = time.process_time() - start[1]
    print(
        f"\nseconds, without the imports: {figures['seconds']:.0f}, "
        f"of processor time: {figures['processor_seconds']:.0f}"
    )
    return figures


def try_the_layer():
    """Shows what the layer does, where it has variables, and why 0 is no slope."""
    x = tf.constant([-2.0, -1.0, 3.0])
    layer = PReLU(0.5)
    print("1. PReLU with slope 0.5 and with slope 0")
    print(f"   x                    {x}")
    print(f"   forward              {layer.forward(x)}")
    print(f"   log det, by element  {layer.forward_log_det_jacobian(x)}")
    # All that is negative goes to 0: which `x` was it? A volume of 0 has log -inf.
    flat = PReLU(0.0)
    back = flat.inverse(fresh(flat.forward(x)))
    print(f"   slope 0: round trip  {back}")
    print(f"            log det     {flat.forward_log_det_jacobian(x)}")

    # To train a slope that stays positive: a variable that is any real number, seen
    # through exp (or softplus). It is read anew at each use.
    slope = tfp.util.TransformedVariable([0.5, 1.0, 2.0], tfb.Exp(), name="slope")
    layer = PReLU(slope)
    (variable,) = layer.trainable_variables
    print(f"   what is trained      {variable.numpy()}, logarithms of slopes")
    # By `_parameter_properties`: three layers for numbers, or one for vectors.
    print(
        f"   batch shape          {layer.experimental_batch_shape()}, for vectors "
        f"{layer.experimental_batch_shape(x_event_ndims=1)}"
    )
    return {"lost": float(np.max(np.abs(back - x)))}


def fresh(tensor):
    """Returns a copy that no cache can know."""
    return tf.constant(np.array(tensor))


# 2. The cache.


def ask_the_cache():
    """Shows what TFP answers out of its cache.

    `log_prob` asks for the inverse and then for the log determinant there. So that
    nothing is computed twice, TFP remembers which tensor was made of which, by identity
    and not by value. (Layers of this package have a cache that computes anew when a
    variable changed or a gradient is recorded; `tfp_flows.bijectors.never_stale` gives
    one to any bijector, and as a decorator to a class of such.)
    """
    slope = tf.Variable(0.5)
    layer = PReLU(slope)
    x = tf.constant([-1.0, 2.0])
    y = layer.forward(x)
    same = layer.inverse(y) is x
    print(f"\n2. The cache: inverse(forward(x)) is x: {same}, nothing was computed")
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer.forward(x))
    lost = tape.gradient(total, slope)
    print(f"   gradient of forward(x), computed before the tape: {lost}")
    slope.assign(5.0)
    stale, right = layer.forward(x), layer.forward(fresh(x))
    print(f"   forward(x) after slope.assign(5.0): {stale}, of a copy of x: {right}")

    layer = InverseMultiplies(0.5)
    y = layer.forward(x)
    cached = np.max(np.abs(layer.inverse(y) - x))
    error = np.max(np.abs(layer.inverse(fresh(y)) - x))
    print(f"   a wrong inverse: error {cached:.2f} as it is, {error:.2f} by a copy")
    return {
        "same": same,
        "gradient": lost,
        "stale": stale.numpy(),
        "right": right.numpy(),
        "cached_error": float(cached),
        "error": float(error),
    }


# 3. Errors, and checks that find them.


class InverseMultiplies(PReLU):
    """Its inverse is none."""

    def _inverse(self, y):
        return tf.where(y < 0.0, y * self.slope, y)


class WrongSign(PReLU):
    """Its log determinants are each minus the other, and both have the wrong sign."""

    def _forward_log_det_jacobian(self, x):
        return -super()._forward_log_det_jacobian(x)


class NoBranch(PReLU):
    """Forgets where `y >= 0`, in the log determinant of the inverse alone."""

    def _inverse_log_det_jacobian(self, y):
        return -tf.math.log(self.slope) + tf.zeros_like(y)


class Frozen(PReLU):
    """Reads the slope once and for all."""

    def __init__(self, slope, validate_args=False, name="frozen"):
        super().__init__(tf.convert_to_tensor(slope), validate_args, name)


class FirstSlope(PReLU):
    """Takes the first of a batch of slopes for all of them."""

    def _forward_log_det_jacobian(self, x):
        log_slope = tf.math.log(tf.reshape(self.slope, [-1])[0])
        return tf.where(x < 0.0, log_slope, tf.zeros_like(log_slope))


LAYERS = {
    "right": PReLU,
    "inverse multiplies": InverseMultiplies,
    "wrong sign": WrongSign,
    "no branch": NoBranch,
    "slope is frozen": Frozen,
    "first slope alone": FirstSlope,
}
TOLERANCE = 1e-6


def check(layer_class):
    """Returns the errors of a layer, by check.

    In float64: formulas that are right agree to about 1e-15 there, and differences to
    about 1e-9. In float32 one could not tell an error from rounding.
    """
    x = np.array([-2.0, -0.7, -0.1, 0.4, 1.5])
    layer = layer_class(np.float64(0.3))
    known = tf.constant(x)
    y = layer.forward(known)
    errors = {"cached": largest(layer.inverse(y) - x)}  # no check, as part 2 tells
    y = fresh(y)
    errors["inverse"] = largest(layer.inverse(y) - x)

    # Log determinants, forward and inverse, are those of derivatives by autodiff. Each
    # could be right without the other. For a layer that acts on vectors, take the
    # determinant of the tape's Jacobian in place of the derivative.
    errors["fldj"] = largest(
        layer.forward_log_det_jacobian(fresh(x)) - log_slope(layer.forward, x)
    )
    errors["ildj"] = largest(
        layer.inverse_log_det_jacobian(fresh(y)) - log_slope(layer.inverse, y)
    )

    # Gradients by the slope are those of differences, each with a layer of its own.
    def forward(layer):
        return tf.reduce_sum(
            layer.forward(fresh(x)) + layer.forward_log_det_jacobian(fresh(x))
        )

    def inverse(layer):
        return tf.reduce_sum(
            layer.inverse(fresh(y)) + layer.inverse_log_det_jacobian(fresh(y))
        )

    slope, h = tf.Variable(0.3, dtype=tf.float64), 1e-6
    layer = layer_class(slope)
    errors["gradient"] = 0.0
    for total in [forward, inverse]:
        with tf.GradientTape() as tape:
            value = total(layer)
        gradient = tape.gradient(value, slope, unconnected_gradients="zero")
        above, below = (total(layer_class(np.float64(0.3 + e))) for e in [h, -h])
        error = largest(gradient - (above - below) / (2.0 * h))
        errors["gradient"] = max(errors["gradient"], error)

    # A batch of layers does what its members do.
    slopes = np.array([0.2, 0.5, 3.0])
    errors["batch"] = 0.0
    for method in [
        "forward",
        "inverse",
        "forward_log_det_jacobian",
        "inverse_log_det_jacobian",
    ]:
        together = getattr(layer_class(slopes[:, np.newaxis]), method)(fresh(x))
        alone = [getattr(layer_class(slope), method)(fresh(x)) for slope in slopes]
        errors["batch"] = max(errors["batch"], largest(together - np.stack(alone)))
    return errors


def largest(error):
    return float(np.max(np.abs(error)))


def log_slope(function, x):
    """Returns the logarithm of the derivative of an elementwise function."""
    x = fresh(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return tf.math.log(tape.gradient(y, x))


def compare_layers(steps, seed):
    """Checks each layer, and trains a distribution with it.

    The data are `y = PReLU(0.5 x)` with slope 3, of standard normal `x`: slope and
    scale are to be found. As `x` is known, so is the log density of the data.
    """
    x = tfd.Normal(0.0, 1.0).sample(20000, seed=[seed, 1])
    made_by = tfb.Chain([PReLU(3.0), tfb.Scale(0.5)])
    data = fresh(made_by.forward(x))
    noise = tfd.Normal(0.0, 1.0)
    truth = noise.log_prob(x) - made_by.forward_log_det_jacobian(fresh(x))
    truth = float(np.mean(truth))

    figures, curves = {}, {}
    names = list(check(PReLU))
    print(f"\n3. Largest error by check (! above {TOLERANCE:.0e}), and training")
    print(f"   {'':18}", *(f"{name:>8}" for name in [*names, "nats", "integral"]))
    for name, layer_class in LAYERS.items():
        errors = check(layer_class)
        slope = tfp.util.TransformedVariable(1.0, tfb.Exp())
        scale = tfp.util.TransformedVariable(1.0, tfb.Exp())
        model = tfd.TransformedDistribution(
            noise, tfb.Chain([layer_class(slope), tfb.Scale(scale)])
        )
        variables = [*slope.trainable_variables, *scale.trainable_variables]
        curves[name] = train(model, variables, data, steps)
        line = np.linspace(-40.0, 40.0, 400000, dtype=np.float32)
        integral = 80.0 * np.mean(np.exp(model.log_prob(line)))
        nats = float(np.mean(model.log_prob(data)))
        figures[name] = dict(errors, nats=nats, integral=float(integral))
        cells = [f"{e:.0e}{'!' if e > TOLERANCE else ' '}" for e in errors.values()]
        cells += [f"{nats:.3f}", f"{integral:.1f}"]
        print(f"   {name:18}", *(f"{cell:>8}" for cell in cells), flush=True)
    print(f"   The density that made the data has {truth:.3f} nats.")
    return figures, truth, curves


def train(model, variables, data, steps):
    """Maximizes the likelihood; returns the mean nats after each step."""
    optimizer = keras.optimizers.Adam(0.02)
    optimizer.build(variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(model.log_prob(data))
        gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
        optimizer.apply(gradients, variables)
        return -loss

    return [float(step()) for _ in range(steps)]


# 4. A use: a flow in the plane.


def gradient_of_a_shift(seed, h=0.02):
    """Shows that gradients do not see a log determinant jump.

    The layer's density jumps at its kink. If the kink moves, points pass it, and their
    log determinants change at once: by `p(kink) log(slope)` for each unit of length.
    The gradient at each point is right, and yet that of the mean is another one.
    Adam would be misled; so the next function does without gradients.
    """
    x = tfd.Normal(tf.zeros([], tf.float64), 1.0).sample(10**6, seed=[seed, 2])
    slope = np.float64(0.3)

    def mean_nats(shift):
        to_noise = tfb.Chain([PReLU(slope), tfb.Shift(shift)])
        model = tfd.TransformedDistribution(
            tfd.Normal(np.float64(0.0), 1.0), tfb.Invert(to_noise)
        )
        return tf.reduce_mean(model.log_prob(fresh(x)))

    shift = tf.Variable(np.float64(0.0))
    with tf.GradientTape() as tape:
        value = mean_nats(shift)
    above, below = (mean_nats(np.float64(step)) for step in [h, -h])
    figures = {
        "gradient": float(tape.gradient(value, shift)),
        "difference": float(above - below) / (2.0 * h),
        "jump": float(-np.log(slope) / (2.0 * np.pi) ** 0.5),
    }
    print("\n4. Mean log-likelihood of normal points, by the place of a kink at 0")
    print(f"   autodiff     {figures['gradient']:.3f}")
    print(f"   differences  {figures['difference']:.3f}")
    print(f"   the jump     {figures['jump']:.3f}, which is what autodiff misses")
    return figures


def fit_a_flow(layers, points, seed, rotations=4):
    """Fits layers of a rotation and PReLU, one after the other, to a spiral.

    Each layer turns the plane by the best of a few random rotations, and bends both
    coordinates: kink, two slopes and shift are those with the highest likelihood. What
    was fitted before stays as it is.

    Returns:
      figures: dictionary of numbers, see `main`.
      panels: list of `(title, values)` for the picture: samples or densities.
    """
    train, test = (
        sklearn.datasets.make_swiss_roll(points, noise=0.5, random_state=2 * seed + i)[
            0
        ][:, [0, 2]]
        / 5.0
        for i in range(2)
    )
    mean, scale = np.mean(train, axis=0), np.linalg.cholesky(np.cov(train.T))
    whiten = [tfb.Shift(-mean), tfb.ScaleMatvecTriL(np.linalg.inv(scale))]
    noise = tfd.Sample(tfd.Normal(np.float64(0.0), 1.0), 2)

    def distribution(depth, prelu=PReLU):
        """Returns the flow of the first layers, with a class for the rectifiers."""
        # From data to noise. `Chain` applies its last bijector first, and the bijector
        # of a distribution goes from noise to data.
        to_noise = whiten + [
            layer for layers in fitted[:depth] for layer in bend(*layers, prelu)
        ]
        return tfd.TransformedDistribution(noise, tfb.Invert(tfb.Chain(to_noise[::-1])))

    z, fitted = tfb.Chain(whiten[::-1]).forward(train), []
    for k in range(layers):
        candidates = []
        for j in range(rotations):
            rotation = bijectors.matrices.random_orthogonal(
                2, seed=[seed, rotations * k + j], dtype=tf.float64
            )
            turned = np.transpose(tf.linalg.matvec(rotation, z))
            nats, *parameters = np.transpose([best_bend(x) for x in turned])
            candidates.append((np.sum(nats), rotation, *parameters))
        _, *best = max(candidates, key=lambda candidate: candidate[0])
        fitted.append(best)
        z = fresh(tfb.Chain(bend(*best, PReLU)[::-1]).forward(z))

    flow, twin = distribution(layers), distribution(layers, bijectors.PReLU)
    log_prob, samples = flow.log_prob(test), flow.sample(points, seed=[seed, 3])
    again = flow.bijector.forward(fresh(flow.bijector.inverse(test)))
    figures = {
        "nats": float(np.mean(log_prob)),
        "standard_error": float(np.std(log_prob) / len(test) ** 0.5),
        "gaussian_nats": float(np.mean(distribution(0).log_prob(test))),
        "log_prob_difference": largest(log_prob - twin.log_prob(test)),
        "sample_difference": largest(samples - twin.sample(points, seed=[seed, 3])),
        "round_trip": largest(again - test),
    }
    print(f"\n   {layers} layers of a rotation and PReLU on a spiral, held-out nats")
    print(f"   flow      {figures['nats']:.4f} ({figures['standard_error']:.4f})")
    print(f"   Gaussian  {figures['gaussian_nats']:.4f}")
    print(f"   round trip of held-out points: error {figures['round_trip']:.0e}")
    print(
        "   with the package's PReLU: log densities differ by "
        f"{figures['log_prob_difference']:.0e}, samples by "
        f"{figures['sample_difference']:.0e}"
    )
    panels = [("data", train), (f"samples, K = {layers}", samples)]
    for depth in DEPTHS:
        depth = min(depth, layers)
        panels.append((f"density, K = {depth}", distribution(depth).prob(pixels())))
    return figures, panels


def bend(rotation, kink, left, right, shift, prelu):
    """Returns a layer as a list of bijectors, the first one first."""
    return [
        bijectors.InvertibleConv1x1(rotation, event_ndims=1),
        tfb.Shift(-kink),
        prelu(left / right),
        tfb.Scale(right),
        tfb.Shift(shift),
    ]


def best_bend(x, places=31, iterations=30):
    """Returns the bend that gives numbers the highest likelihood as normal ones.

    Numbers below the kink go to `left (x - kink) + shift`, with a log determinant of
    `log(left)`, and those above to `right (x - kink) + shift`. As kinks, quantiles are
    tried. For each of them the likelihood depends on the numbers by a few sums, and has
    one maximum. Where the derivatives by `left`, `right` and `shift` are 0 there is a
    quadratic equation for each slope given the shift, and a mean for the shift given
    the slopes. They are solved in turns.

    Returns:
      nats, kink, left, right, shift: numbers; the first is the sum of log densities,
        but for a constant.
    """
    x = np.sort(x)
    size = len(x)
    below = size * np.arange(1, places + 1) // (places + 1)  # numbers below each kink
    kink = x[below]
    offset = x - kink[:, np.newaxis]  # a row for each kink
    side = np.arange(size) < below[:, np.newaxis]
    sides = [
        (np.sum(mask, 1), np.sum(offset * mask, 1), np.sum(offset**2 * mask, 1))
        for mask in [side, ~side]
    ]
    shift = np.zeros(places)
    for _ in range(iterations):
        slopes = [
            (-shift * first + np.sqrt((shift * first) ** 2 + 4.0 * second * count))
            / (2.0 * second)
            for count, first, second in sides
        ]
        shift = -sum(slope * side[1] for slope, side in zip(slopes, sides)) / size
    nats = sum(
        count * np.log(slope)
        - 0.5 * (slope**2 * second + 2.0 * slope * shift * first + count * shift**2)
        for slope, (count, first, second) in zip(slopes, sides)
    )
    i = np.argmax(nats)
    return nats[i], kink[i], slopes[0][i], slopes[1][i], shift[i]


def pixels(number=200):
    """Returns the middles of the pixels of a picture, row by row from below."""
    x = LIMIT * (2.0 * np.arange(number) + 1.0 - number) / number
    return np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2)


def draw(path, curves, truth, panels):
    """Draws training curves of part 3, and the flow of part 4."""
    figure = matplotlib.figure.Figure(figsize=(9.6, 6.3), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
    axes = figure.subplots(2, 3).ravel()
    ax = axes[0]
    ax.axhline(truth, color="gray", linewidth=1.0, linestyle="--")
    x = len(curves["right"]) // 2
    for name, text, color, y in [
        ("wrong sign", "wrong sign,\ninverse multiplies", "#d1495b", -0.8),
        ("right", "right", "#00798c", 0.08),
        ("slope is frozen", "slope is frozen", "#7a5c99", -0.33),
    ]:
        ax.plot(curves[name], color=color)
        ax.text(x, curves[name][x] + y, text, color=color)
    ax.set(title="training, nats (dashed: best)", xlabel="step", ylim=(-2.2, None))
    ax.spines[["top", "right"]].set_visible(False)
    highest = np.percentile(panels[-1][1], 99.5)
    for ax, (title, values) in zip(axes[1:], panels):
        if len(np.shape(values)) == 2:
            x, y = np.transpose(values[:8000])
            ax.scatter(x, y, s=1.0, color="black", alpha=0.25, linewidths=0.0)
        else:
            side = int(len(values) ** 0.5)
            ax.imshow(
                np.reshape(values, [side, side]),
                cmap="magma",
                origin="lower",
                vmin=0.0,
                vmax=highest,
                extent=[-LIMIT, LIMIT] * 2,
            )
        ax.set(
            title=title,
            xticks=[],
            yticks=[],
            xlim=(-LIMIT, LIMIT),
            ylim=(-LIMIT, LIMIT),
            aspect="equal",
        )
    figure.savefig(path, dpi=100)
    with PIL.Image.open(path) as image:  # few colors take half of the space
        image.convert("RGB").quantize(200).save(path, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="training steps")
    parser.add_argument("--layers", type=int, default=100, help="layers of the flow")
    parser.add_argument("--picture", default=PICTURE, help="where to write the picture")
    main(**vars(parser.parse_args()))
