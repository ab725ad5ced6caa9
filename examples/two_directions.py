"""Why one direction of a flow is fast: MAF, IAF, RealNVP and Glow, and which to choose.

1. A flow `y = f(x)` from noise to data is asked for two things. To score a point it
goes from data to noise, and adds the log determinant of that; to sample it goes from
noise to data. (`first_flow.py` tells where the determinant comes from.) Maximum
likelihood scores in each step of training, and a posterior of variational inference
samples. What a layer is good for depends on which of the two is cheap.

2. A masked autoregressive layer (MAF, https://arxiv.org/abs/1705.07057) has

    y_d = x_d exp(s_d) + m_d,    s_d and m_d from y_1, ..., y_{d-1},

which is `p(y) = p(y_1) p(y_2 | y_1) ...` with a Gaussian for each conditional. One
network tells all `s_d` and `m_d`; masks on its weights (MADE) see to it that none comes
from an element too late. `dx/dy` is triangular, so its log determinant is the sum of
`-s_d`. To score, the network sees the data, and one pass answers for all `d`. To
sample, it is to see the data that it helps to make: pass 1 finds `y_1`, pass 2 `y_2`,
and after `D` passes all is there. Almost all of that work is done again and again.
Because of the masks a hidden unit waits for some first elements only, and when they are
known it can be computed once and for all. So one walk through the network does, with as
many multiplications as the masks leave weights. The script does all this by hand, and
compares it with the package. Its sampler goes by blocks of elements, and takes about
two passes' worth of arithmetic; but in many small steps, one after another. With a
network that is no MADE of the package it takes passes until nothing changes, which are
`D` at most, and often far fewer.

The mirror of MAF is IAF (https://arxiv.org/abs/1606.04934), which has `s_d` and `m_d`
from `x_1, ..., x_{d-1}`. It samples in one pass, and scores by the walk; what it has
sampled itself it scores for nothing, as it knows the noise. `tfb.Invert` makes one out
of the other.

A coupling (RealNVP, https://arxiv.org/abs/1605.08803) keeps half of the elements, which
tell `s` and `m` of the others. What the network is to see is there in both directions,
so each takes one pass. Glow (https://arxiv.org/abs/1807.03039) is for images: in a
coupling of channels the network is a convolution, and before it a matrix, the same at
each pixel, mixes the channels. Its Jacobian is no longer triangular, but has a small
dense block for each pixel. See the upper row of the picture. Several layers in a row
have a dense Jacobian, and still their log determinants just add up.

3. What does the speed cost? Half of what a coupling gives is as it was, and changed
elements do not see each other: a layer does less, and more of them are needed. The
script fits flows to the digits of scikit-learn, each with the same time. Run

    pip install -e ".[examples]"
    python examples/two_directions.py

It draws `two_directions.png`. With seed 0, one layer by hand in 64 dimensions took

                                        multiplications    difference from package
    log_prob, one pass                          114,688                          0
    sample, 64 passes                         7,340,032                          0
    sample, each hidden unit once                57,897                      9e-16

and changed nothing after 14 of the passes. Whole flows, 100 points, milliseconds of
processor time, compiled:

                                   D = 16    D = 64   D = 256
    MAF      log_prob                 1.5       1.8       3.3
    MAF      sample                   3.5       6.7      14.4
    MAF      sample, D passes        11.7      69.7     582.0
    MAF      sample, TFP             12.3      66.0     654.9
    IAF      log_prob                 4.4       9.0      17.8
    IAF      sample                   1.5       1.8       3.2
    RealNVP  log_prob                 0.9       1.2       2.2
    RealNVP  sample                   0.8       1.2       1.9

MAF and IAF have 5 layers of 2 x 256 hidden units, RealNVP 10 of 2 x 128. Digits held
out, after 20 s of processor time to train each, and milliseconds for all 397 of them:

                       weights  steps  nats (standard error)  log_prob  sample
    MAF, 1 layer        115328   8052           85.62 (0.55)       1.4     2.4
    RealNVP, 2 layers    57984   9337           82.46 (0.53)       1.0     0.9
    MAF                 576640   2262           86.05 (0.61)       4.8    14.5
    RealNVP             289920   2386           87.03 (0.55)       2.9     2.8
    Glow                 33716    789           86.87 (0.56)      14.3    15.3
    Gaussian                                    49.98 (0.85)

So one masked layer comes to within half a nat of five, where two couplings are 4.6 nats
behind ten. Ten couplings are no worse than MAF, here. Differences of a nat between the
last three say little: the number of steps depends on the machine, and another run of
the same had 86.54, 87.60 and 85.94. Glow does it with the fewest weights, and the
fewest steps. The weight decay of MAF was chosen on validation data, of 2 values, and
the logit of Glow's pixels, which was worth 9 nats there. All took 219 s of processor
time, and 274 s on 2 cores that were busy with other work.

4. What to choose. For densities begin with MAF: each layer does most, and samples cost
but a few passes. For posteriors, and wherever a flow is trained on its own samples,
IAF. Where samples and densities are asked for again and again, RealNVP, with twice the
layers. For images Glow, whose weights are shared by all pixels. Splines improve all of
these but Glow: `density_estimation.py` has them, and other data; `glow.py` has images.
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

from tfp_flows import bijectors, dequantization, flows, normalization

tfb, tfd = tfp.bijectors, tfp.distributions

PICTURE = pathlib.Path(__file__).with_suffix(".png")
AFFINE = bijectors.transformers.Affine()  # y = x exp(s) + m, with a bounded s
RECIPES = {
    "MAF": (flows.maf, dict(num_layers=5, hidden_units=(256, 256))),
    "IAF": (flows.iaf, dict(num_layers=5, hidden_units=(256, 256), transformer=AFFINE)),
    "RealNVP": (flows.real_nvp, dict(num_layers=10, hidden_units=(128, 128))),
    "Glow": (flows.glow, dict(num_levels=2, num_steps=4, hidden_channels=32)),
    "MAF, 1 layer": (flows.maf, dict(num_layers=1, hidden_units=(256, 256))),
    "RealNVP, 2 layers": (flows.real_nvp, dict(num_layers=2, hidden_units=(128, 128))),
}
WEIGHT_DECAY = {  # of the flows that are fitted
    "MAF, 1 layer": 2.0,
    "RealNVP, 2 layers": 4.0,
    "MAF": 2.0,
    "RealNVP": 4.0,
    "Glow": 2.0,
}
LEVELS = 17  # of a pixel of the digits
PIXELS = 64


def main(sizes=(16, 64, 256), batch=100, seconds=20.0, picture=PICTURE, seed=0):
    """Takes both directions by hand, times them, and fits flows to digits.

    Args:
      sizes: numbers of dimensions at which both directions are timed.
      batch: number of points that are timed.
      seconds: seconds of processor time for the training of each model, without those
        to compile.
      picture: path of the picture to write, or None.
      seed: integer that decides initial values, batches, noise and samples.

    Returns:
      figures: dictionary of `by_hand`, `milliseconds`, `fits` and `jacobians`, see the
        functions that make them; `seconds` and `processor_seconds` of everything.
    """
    start = time.perf_counter(), time.process_time()
    figures = {"by_hand": by_hand(seed)}
    figures["milliseconds"] = both_directions(sizes, batch, seed)
    figures["fits"], trained, held_out = fit_digits(seconds, seed)
    figures["jacobians"], matrices = jacobians(trained, held_out[0])
    if picture is not None:
        draw(picture, figures, matrices, trained, held_out, sizes, batch, seed)
    figures["seconds"] = time.perf_counter() - start[0]
    figures["processor_seconds"] = time.process_time() - start[1]
    print(
        f"\nseconds, without the imports: {figures['seconds']:.0f}, "
        f"of processor time: {figures['processor_seconds']:.0f}"
    )
    return figures


# 1. and 2. What a flow has to do, and what masks make of it, by hand.


class MaskedNetwork(tf.Module):
    """A MADE in full: two hidden layers, and no output sees its own input.

    Each hidden unit has a degree: it may see as many inputs, from the first on. A unit
    sees units of its own degree and below, and the parameters of element `d` see units
    of degrees below `d`. Whichever way one goes through the network, the parameters of
    an element depend on the elements before it, and on no other.
    """

    def __init__(self, size, units, seed):
        super().__init__()
        element = np.arange(1, size + 1)
        self.degree = 1 + np.arange(units) * (size - 1) // units
        self.masks = [
            element[:, np.newaxis] <= self.degree,
            self.degree[:, np.newaxis] <= self.degree,
            np.repeat(self.degree[:, np.newaxis] < element, 2, axis=1),  # m_d and s_d
        ]
        random = np.random.RandomState(seed)
        self.kernels = [
            tf.Variable(mask * random.normal(size=mask.shape) / len(mask) ** 0.5)
            for mask in self.masks
        ]
        self.dtype = tf.float64

    def __call__(self, y):
        """Returns `m` and the unbounded `s` of all elements, `[..., D, 2]`."""
        hidden = tf.nn.relu(y @ self.kernels[0])
        hidden = tf.nn.relu(hidden @ self.kernels[1])
        outputs = hidden @ self.kernels[2]
        return tf.reshape(outputs, [*outputs.shape[:-1], y.shape[-1], 2])


def by_hand(seed, size=64, units=256, points=100):
    """Scores and samples one MAF layer by hand, and compares with the package.

    Returns:
      figures: dictionary of numbers: largest differences from the package, of a `score`
        and of samples of the `loop`, of `tfp`, and with each unit computed `once`;
        `passes` after which nothing changes; multiplications for a point:
        `products_pass` of the network, `products_loop` and `products_once`.
    """
    network = MaskedNetwork(size, units, seed)
    layer = bijectors.MaskedAutoregressive(network)
    noise = tfd.Sample(tfd.Normal(tf.zeros([], tf.float64), 1.0), size)
    maf = tfd.TransformedDistribution(noise, layer)

    # To score: data to noise, and the log determinant of that. The network sees the
    # data, which are there, and so it answers for all elements at once. The Jacobian is
    # triangular; its determinant is the product of the diagonal.
    y = maf.sample(points, seed=[seed, 1])
    elementwise = AFFINE(network(y))
    x = elementwise.inverse(y)
    log_det = tf.reduce_sum(
        elementwise.inverse_log_det_jacobian(y, event_ndims=0), axis=-1
    )
    figures = {"score": largest(noise.log_prob(x) + log_det - maf.log_prob(y.numpy()))}

    # To sample: noise to data. The network is to see the data that it helps to make.
    x = noise.sample(points, seed=[seed, 2])
    expected = layer.forward(x)
    figures["loop"] = largest(a_pass_an_element(network, x) - expected)
    theirs = tfb.MaskedAutoregressiveFlow(bijector_fn=lambda y: AFFINE(network(y)))
    figures["tfp"] = largest(theirs.forward(x) - expected)
    y, previous, passes = tf.zeros_like(x), None, 0
    while previous is None or np.any(y != previous):
        y, previous, passes = AFFINE(network(y)).forward(x), y, passes + 1
    figures["passes"] = passes
    y, figures["products_once"] = each_unit_once(network, x.numpy())
    figures["once"] = largest(y - expected)
    figures["products_pass"] = sum(kernel.numpy().size for kernel in network.kernels)
    figures["products_loop"] = size * figures["products_pass"]

    print(
        f"2. One MAF layer by hand, {size} dimensions, {points} points\n"
        f"{'':34}difference from package  products for a point\n"
        f"   log_prob, one pass{figures['score']:36.0e}{figures['products_pass']:22}\n"
        f"   sample, {size} passes{figures['loop']:37.0e}"
        f"{figures['products_loop']:22}\n"
        f"   sample, each unit once{figures['once']:32.0e}"
        f"{figures['products_once']:22}\n"
        f"   sample, TFP{figures['tfp']:43.0e}\n"
        f"   Passes until nothing changes: {passes}"
    )
    return figures


def a_pass_an_element(network, x):
    """Samples as one would at first: pass `d` finds element `d` out of those before."""
    y = tf.zeros_like(x)
    for _ in tf.range(x.shape[-1]):
        y = AFFINE(network(y)).forward(x)
    return y


def each_unit_once(network, x):
    """Samples by one walk through the network; returns `y`, and how many products.

    A hidden unit of degree `d` waits for the first `d` elements, and for nothing else.
    As soon as they are known it is computed, once and for all.
    """
    first, second, last = (kernel.numpy() for kernel in network.kernels)
    degree, products = network.degree, 0
    y, a, b = np.zeros_like(x), *np.zeros([2, len(x), len(degree)])

    def product(values, kernel):
        nonlocal products
        products += kernel.size
        return values @ kernel

    for d in range(1, x.shape[-1] + 1):
        below, now, known = degree < d, degree == d, degree <= d
        parameters = product(b[:, below], last[below, 2 * d - 2 : 2 * d])
        y[:, d - 1] = AFFINE(parameters).forward(x[:, d - 1])
        a[:, now] = np.maximum(product(y[:, :d], first[:d, now]), 0.0)
        b[:, now] = np.maximum(product(a[:, known], second[np.ix_(known, now)]), 0.0)
    return y, products


def largest(difference):
    return float(np.max(np.abs(difference)))


# Times of both directions.


def both_directions(sizes, batch, seed):
    """Times both directions of three flows.

    Returns:
      times: dictionary of milliseconds by name of the flow, what was done, and size.
    """
    times = {}
    for size in sizes:
        noise = tf.random.stateless_normal([batch, size], [seed, 3])
        for name in ["RealNVP", "IAF", "MAF"]:
            recipe, options = RECIPES[name]
            flow = recipe(size, **options, seed=seed)
            leave_identity(flow, seed)
            points = flow.bijector.forward(noise).numpy()
            times[name, "log_prob", size] = milliseconds(flow.log_prob, points)
            times[name, "sample", size] = milliseconds(flow.bijector.forward, noise)
        # The other ways to sample this MAF make the same points, or it raises.
        for name, function in other_samplers(flow.bijector.bijectors).items():
            times["MAF", f"sample, {name}", size] = milliseconds(
                function, noise, expected=points
            )
    print(f"\n   milliseconds of processor time for {batch} points, compiled")
    print(f"   {'':27}" + "".join(f"{f'D = {size}':>10}" for size in sizes))
    for name, what in sorted({key[:2] for key in times}):
        row = "".join(f"{times[name, what, size]:10.1f}" for size in sizes)
        print(f"   {name:8} {what:18}{row}", flush=True)
    return times


def other_samplers(layers):
    """Returns the loop and TFP's bijector for all layers of a MAF, on its networks."""

    def loop(x):
        for layer in reversed(layers):  # `Chain` applies its last one first
            x = a_pass_an_element(layer.conditioner, x)
        return x

    theirs = tfb.Chain(
        [
            tfb.MaskedAutoregressiveFlow(
                bijector_fn=lambda y, layer=layer: AFFINE(layer.conditioner(y))
            )
            for layer in layers
        ]
    )
    return {"D passes": loop, "TFP": theirs.forward}


def leave_identity(flow, seed):
    """Gives the last kernels, which start at 0, values as training would.

    A flow that is the identity is no test: the sampler stops where nothing changes.
    """
    for i, variable in enumerate(flow.trainable_variables):
        if variable.shape.rank == 2 and not np.any(variable):
            scale = 0.3 / variable.shape[0] ** 0.5
            variable.assign(
                scale * tf.random.stateless_normal(variable.shape, [seed, i])
            )


def milliseconds(function, x, expected=None, at_least=5, seconds=0.5):
    """Returns the processor time of a call of a function, compiled before.

    Of several calls it is the least: whatever else a machine does only adds to it.

    Raises:
      ValueError: the result is not what is expected.
    """
    function = tf.function(function, jit_compile=True)
    result = function(x).numpy()
    if expected is not None and not np.allclose(result, expected, 1e-3, 1e-3):
        raise ValueError(
            "The result must be within 1e-3 of `expected`; got a difference of "
            f"{largest(result - expected)}."
        )
    times, start = [], time.perf_counter()
    while len(times) < at_least or time.perf_counter() - start < seconds:
        before = time.process_time()
        function(x).numpy()
        times.append(time.process_time() - before)
    return 1e3 * min(times)


# 3. What the speed costs: flows of digits, each with the same time to learn.


def fit_digits(seconds, seed):
    """Fits each model.

    Returns:
      figures: dictionary by model of the `weights`, `steps` and `seconds` of training,
        held-out `nats`, their `standard_error` and `bits_per_dimension`, and
        milliseconds of `log_prob` and `sample`; `trained`, the flows; `held_out`.
    """
    digits = sklearn.datasets.load_digits().images[..., np.newaxis].astype(np.int32)
    digits = digits[np.random.RandomState(0).permutation(len(digits))]
    train, validation, held_out = np.split(digits, [1260, 1400])
    test = [dequantize(held_out, seed, 20 + i) for i in range(10)]
    known = [dequantize(digits[:1400], seed, 40 + i) for i in range(10)]
    figures = {"Gaussian": score(gaussian(np.concatenate(known)), test)}
    print(f"\n3. Digits, {seconds:g} s of processor time to train each")
    print(
        f"   {'':17} weights  steps  nats (standard error)  bits/dim"
        "  log_prob    sample"
    )
    trained = {}
    for name in WEIGHT_DECAY:
        flow = build(name, dequantize(train, seed, 10), seed)
        log_prob, row = fit(name, flow, train, validation, seconds, seed)
        row |= score(log_prob, test)
        row["log_prob"] = milliseconds(flow.log_prob, test[0])
        noise = flow.distribution.sample(len(held_out), seed=[seed, 4])
        row["sample"] = milliseconds(flow.bijector.forward, noise)
        figures[name], trained[name] = row, flow
        print(
            f"   {name:17}{row['weights']:8}{row['steps']:7}"
            f"{row['nats']:15.2f} ({row['standard_error']:.2f})"
            f"{row['bits_per_dimension']:10.3f}"
            f"{row['log_prob']:7.1f} ms{row['sample']:7.1f} ms",
            flush=True,
        )
    row = figures["Gaussian"]
    print(
        f"   Gaussian{row['nats']:39.2f} ({row['standard_error']:.2f})"
        f"{row['bits_per_dimension']:10.3f}"
    )
    return figures, trained, held_out


def dequantize(images, seed, number):
    return dequantization.dequantize(images, seed=(seed, number), num_values=LEVELS)


def build(name, images, seed):
    """Returns a flow of images with values from 0 to 17."""
    shape = images.shape[1:]
    recipe, options = RECIPES[name]
    if recipe is flows.glow:
        flow = recipe(
            shape, **options, seed=seed, num_values=LEVELS, preprocessing="logit"
        )
        normalization.initialize_from_data(flow, images[:512])
        return flow
    flow = recipe(PIXELS, **options, seed=seed)
    # The logit gives black and white room; then the flow gets the units of the data.
    to_images = tfb.Chain(
        [tfb.Reshape(shape, [PIXELS]), tfb.Invert(bijectors.Logit(0.02, 0.0, LEVELS))]
    )
    x = to_images.inverse(images)
    return flow.copy(
        bijector=tfb.Chain(
            [
                to_images,
                tfb.Shift(tf.reduce_mean(x, axis=0)),
                tfb.Scale(tf.math.reduce_std(x, axis=0)),
                flow.bijector,
            ]
        )
    )


def fit(name, flow, train, validation, seconds, seed, batch=100):
    """Maximizes the likelihood; the flow is left with the weights best on validation.

    It returns the compiled density, and what was spent.
    """
    variables = flow.trainable_variables
    optimizer = keras.optimizers.AdamW(
        2e-3, weight_decay=WEIGHT_DECAY[name], global_clipnorm=20.0
    )
    optimizer.exclude_from_weight_decay([v for v in variables if v.shape.rank < 2])
    optimizer.build(variables)
    # Convolutions train as fast without XLA, and take long to compile.
    compiled = name != "Glow"
    log_prob = tf.function(flow.log_prob, jit_compile=compiled)

    @tf.function(jit_compile=compiled)
    def train_step(step):
        seeds = tfp.random.split_seed(tf.stack([seed, step]), n=2)
        rows = tf.random.stateless_uniform([batch], seeds[0], 0, len(train), tf.int32)
        y = dequantization.dequantize(
            tf.gather(train, rows), seed=seeds[1], num_values=LEVELS
        )
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow.log_prob(y))
        optimizer.apply(tape.gradient(loss, variables), variables)

    watched = dequantize(validation, seed, 11)
    log_prob(watched)
    best, most, steps, spent = [v.numpy() for v in variables], -np.inf, 0, 0.0
    optimizer.learning_rate = 0.0
    train_step(tf.constant(0))  # compiles, and changes nothing
    for part in range(1, 21):
        start = time.process_time() - spent
        while spent < seconds * part / 20.0:
            warm = min(1.0, steps / 20.0)
            cosine = 0.5 * (1.0 + np.cos(np.pi * spent / seconds))
            optimizer.learning_rate = 2e-3 * warm * cosine
            train_step(tf.constant(steps))
            steps, spent = steps + 1, time.process_time() - start
        nats = np.mean(log_prob(watched))
        if nats > most:
            best, most = [v.numpy() for v in variables], nats
    for variable, value in zip(variables, best):
        variable.assign(value)
    weights = sum(int(np.prod(v.shape)) for v in variables)
    return log_prob, dict(weights=weights, steps=steps, seconds=spent)


def gaussian(images):
    """Returns the log density of the Gaussian with the moments of the images."""
    x = np.float64(images).reshape(-1, PIXELS)
    covariance = np.cov(x.T)
    covariance += 1e-6 * np.diag(np.diag(covariance))
    normal = tfd.MultivariateNormalTriL(np.mean(x, 0), np.linalg.cholesky(covariance))
    return lambda y: normal.log_prob(np.float64(y).reshape(-1, PIXELS))


def score(log_prob, draws):
    """Returns figures of log densities, averaged over draws of the noise."""
    # Of pixels in [0, 1), as elsewhere: those up to 17 are 17 times as far apart.
    nats = np.mean([log_prob(y) for y in draws], axis=0) + PIXELS * np.log(LEVELS)
    return {
        "nats": float(np.mean(nats)),
        "standard_error": float(np.std(nats) / len(nats) ** 0.5),
        "bits_per_dimension": float(
            np.log2(LEVELS) - np.mean(nats) / (PIXELS * np.log(2.0))
        ),
    }


# Jacobians of the layers that were trained.


def jacobians(trained, image):
    """Takes Jacobians from data to noise, at one image, by autodiff.

    Returns:
      figures: dictionary by title of the `share` of entries that are not 0, the largest
        one `above` the diagonal, `log_det`, and that of the `matrix` without its form.
      matrices: dictionary of absolute values, in an order that shows the pattern.
    """
    y = tf.cast(image, tf.float32)[tf.newaxis] + 0.5
    natural, cases = np.arange(PIXELS), {}
    *to_data, layers = trained["MAF"].bijector.bijectors
    x = tfb.Chain(to_data).inverse(y)
    first = layers.bijectors[0]
    cases["MAF, one layer"] = first, x, first.conditioner.order
    cases["MAF, all layers"] = layers, x, natural
    *to_data, layers = trained["RealNVP"].bijector.bijectors
    coupling, x = layers.bijectors[0], tfb.Chain(to_data).inverse(y)
    kept_first = np.argsort(~coupling.mask, kind="stable")
    cases["RealNVP, a coupling"] = coupling, x, kept_first
    *to_data, levels = trained["Glow"].bijector.bijectors
    squeeze, step, *_ = levels.bijectors[0].bijectors
    x = tfb.Chain([*to_data, squeeze]).inverse(y)
    cases["Glow, 1x1 convolution"] = tfb.Invert(step.convolution), x, natural
    cases["Glow, a step"] = step, x, natural

    print("\n   Jacobian of        not 0    above diagonal    log det   of the matrix")
    figures, matrices = {}, {}
    for title, (layer, x, order) in cases.items():
        matrix = jacobian(layer, x)[np.ix_(order, order)]
        _, log_det = np.linalg.slogdet(np.float64(matrix))
        ndims = layer.inverse_min_event_ndims
        figures[title] = row = {
            "share": float(np.mean(matrix != 0.0)),
            "above": largest(np.triu(matrix, 1)),
            "log_det": float(layer.inverse_log_det_jacobian(x.numpy(), ndims)[0]),
            "matrix": float(log_det),
        }
        matrices[title] = np.abs(matrix)
        print(
            f"   {title:22}{row['share']:5.2f}{row['above']:12.2g}"
            f"{row['log_det']:18.4f}{row['matrix']:14.4f}"
        )
    return figures, matrices


def jacobian(layer, x):
    """Returns the matrix of derivatives of noise by data, at the only point of `x`."""
    # As many copies of the point as there are rows of the matrix: copy `i` is asked for
    # the gradient of element `i` of the noise.
    copies = tf.repeat(x, tf.size(x), axis=0)
    with tf.GradientTape() as tape:
        tape.watch(copies)
        noise = tf.reshape(layer.inverse(copies), [len(copies), -1])
        elements = tf.linalg.diag_part(noise)
    return np.reshape(tape.gradient(elements, copies), [len(copies), -1])


def draw(path, figures, matrices, trained, held_out, sizes, batch, seed):
    """Draws patterns of Jacobians, times of both directions, and samples."""
    figure = matplotlib.figure.Figure(figsize=(10.0, 8.8), layout="constrained")
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=[2.7, 3.2, 2.7])

    top.suptitle(
        "Which data each noise comes from: |J| of trained layers, at a digit; gray is 0"
    )
    axes = top.subplots(1, len(matrices))
    for ax, (title, matrix) in zip(axes, matrices.items()):
        shown = np.log10(np.where(matrix > 0.0, matrix, np.nan))
        drawn = ax.imshow(shown, cmap="viridis", vmin=-4.0, vmax=1.0)
        ax.set_facecolor("0.85")
        ax.set_title(title, fontsize=10)
        ax.set(xticks=[], yticks=[], xlabel="data")
    axes[0].set_ylabel("noise")
    bar = top.colorbar(drawn, ax=axes, ticks=range(-4, 2), shrink=0.8)
    bar.set_ticklabels([f"$10^{{{i}}}$" for i in range(-4, 2)])

    middle.suptitle(f"Milliseconds of processor time for {batch} points")
    axes = middle.subplots(1, 3, sharey=True)
    styles = {
        "sample, TFP": "C3x:",
        "sample, D passes": "C1v:",
        "sample": "C1s-",
        "log_prob": "C0o-",
    }
    for ax, name in zip(axes, ["MAF", "IAF", "RealNVP"]):
        for what, style in styles.items():
            if (name, what, sizes[0]) in figures["milliseconds"]:
                row = [figures["milliseconds"][name, what, size] for size in sizes]
                ax.loglog(sizes, row, style, label=what)
        ax.set_xticks(sizes, [str(size) for size in sizes])
        ax.minorticks_off()
        ax.set(xlabel="D", title=name)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False)

    bottom.suptitle("Digits, samples, and nats of digits held out")
    axes = bottom.subplots(1, 4)
    show(axes[0], "data", held_out)
    for ax, name in zip(axes[1:], ["MAF", "RealNVP", "Glow"]):
        row = figures["fits"][name]
        samples = trained[name].sample(30, seed=[seed, 5])
        show(ax, f"{name}, {row['nats']:.1f} ± {row['standard_error']:.1f}", samples)
    figure.savefig(path, dpi=95)
    with PIL.Image.open(path) as drawn:  # few colors take less than half of the space
        drawn = drawn.convert("RGB").quantize(255, PIL.Image.Quantize.MAXCOVERAGE)
    drawn.save(path, optimize=True)


def show(ax, title, images, rows=5, columns=6):
    shown = np.clip(np.floor(images[: rows * columns]), 0, LEVELS - 1)
    shown = np.pad(shown, [(0, 0), (0, 1), (0, 1), (0, 0)], constant_values=LEVELS - 1)
    shown = shown.reshape(rows, columns, *shown.shape[1:3]).transpose(0, 2, 1, 3)
    ax.imshow(shown.reshape(rows * shown.shape[1], -1), cmap="gray")
    ax.set_title(title, fontsize=10)
    ax.set_axis_off()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--seconds", type=float, default=20.0, help="of processor time to train each")
    add("--picture", default=PICTURE, help="where to write the picture")
    add("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
