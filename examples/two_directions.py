"""Why one direction of a flow is fast: MAF, IAF, RealNVP and Glow, and what to choose.
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
AFFINE = bijectors.transformers.Affine()  # y = x exp(s) + m, with a bounded s
RECIPES = {
    "MAF": (flows.maf, dict(num_layers=5, hidden_units=(256, 256))),
    "IAF": (
        flows.iaf, dict(num_layers=5, hidden_units=(256, 256), transformer=AFFINE)),
    "RealNVP": (flows.real_nvp, dict(num_layers=10, hidden_units=(128, 128))),
    "Glow": (flows.glow, dict(num_levels=2, num_steps=4, hidden_channels=32)),
}
WEIGHT_DECAY = {"MAF": 2.0, "RealNVP": 4.0, "Glow": 2.0}  # chosen on validation data
LEVELS = 17  # of a pixel of the digits
PIXELS = 64


def main(sizes=(16, 64, 256), batch=100, seconds=25.0, picture=PICTURE, seed=0):
    """Takes both directions by hand, times them, and fits three flows to digits.

    Args:
      sizes: numbers of dimensions at which both directions are timed.
      batch: number of points that are timed.
      seconds: seconds of training of each model, without those to compile.
      picture: path of the picture to write, or None.
      seed: integer that decides initial values, batches, noise and samples.

    Returns:
      figures: dictionary. `by_hand` has the errors and counts of section 2;
        `milliseconds[flow, what, size]` the times; `fits[model]` the held-out `nats`,
        their `standard_error`, `bits_per_dimension`, and what the training took;
        `jacobians[title]` the share of entries that are not 0, the largest entry
        `above` the diagonal, and the `log_det` beside the one of the `matrix`;
        `seconds` and `processor_seconds` of everything.
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
        f"of processor time: {figures['processor_seconds']:.0f}")
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
      figures: dictionary of numbers: the largest differences `score`, `loop` and `once`
        from what the package says, and `tfp` from what TFP samples; `passes` after
        which nothing changes; `products_...`, the multiplications that a point takes.
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
        elementwise.inverse_log_det_jacobian(y, event_ndims=0), axis=-1)
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

    print(f"2. One MAF layer by hand, {size} dimensions, {points} points")
    print("   largest difference from the package")
    print(f"   log_prob, one pass of the network           {figures['score']:.0e}")
    print(f"   sample, {size} passes                          {figures['loop']:.0e}")
    print(f"   sample, TFP's MaskedAutoregressiveFlow      {figures['tfp']:.0e}")
    print(f"   sample, each hidden unit once               {figures['once']:.0e}")
    print("   multiplications for a point")
    for title, key in [
        ("a pass", "pass"), (f"{size} passes", "loop"), ("each hidden unit once", "once")
    ]:
        print(f"   {title:27}{figures['products_' + key]:12}")
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
    """Times both directions of three flows; returns milliseconds by what was timed."""
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
                function, noise, expected=points)
    print(f"\n   milliseconds for {batch} points, compiled")
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

    theirs = tfb.Chain([
        tfb.MaskedAutoregressiveFlow(
            bijector_fn=lambda y, layer=layer: AFFINE(layer.conditioner(y)))
        for layer in layers
    ])
    return {"D passes": loop, "TFP": theirs.forward}


def leave_identity(flow, seed):
    """Gives the last kernels, which start at 0, values as training would.

    A flow that is the identity is no test: the sampler stops where nothing changes.
    """
    for i, variable in enumerate(flow.trainable_variables):
        if variable.shape.rank == 2 and not np.any(variable):
            scale = 0.3 / variable.shape[0] ** 0.5
            variable.assign(
                scale * tf.random.stateless_normal(variable.shape, [seed, i]))


def milliseconds(function, x, expected=None, at_least=5, seconds=1.0):
    """Returns the least time of a call: whatever else a machine does only adds to it.

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
        before = time.perf_counter()
        function(x).numpy()
        times.append(time.perf_counter() - before)
    return 1e3 * min(times)


# 3. What the speed costs: three flows of digits, each with the same time to learn.


def fit_digits(seconds, seed):
    """Fits each model; returns figures, the flows, and images held out."""
    digits = sklearn.datasets.load_digits().images[..., np.newaxis].astype(np.int32)
    digits = digits[np.random.RandomState(0).permutation(len(digits))]
    train, validation, held_out = np.split(digits, [1260, 1400])
    test = [dequantise(held_out, seed, 20 + i) for i in range(10)]
    known = [dequantise(digits[:1400], seed, 40 + i) for i in range(10)]
    figures = {"Gaussian": score(gaussian(np.concatenate(known)), test)}
    print(f"\n3. Digits, {seconds:g} s of training each")
    print(
        "            weights   steps       s  nats (standard error)  bits/dim"
        "   log_prob     sample")
    trained = {}
    for name in WEIGHT_DECAY:
        flow = build(name, dequantise(train, seed, 10), seed)
        log_prob, row = fit(name, flow, train, validation, seconds, seed)
        row |= score(log_prob, test)
        row["log_prob"] = milliseconds(flow.log_prob, test[0])
        noise = flow.distribution.sample(len(held_out), seed=[seed, 4])
        row["sample"] = milliseconds(flow.bijector.forward, noise)
        figures[name], trained[name] = row, flow
        print(
            f"   {name:8}{row['weights']:8}{row['steps']:8}{row['seconds']:8.0f}"
            f"{row['nats']:15.2f} ({row['standard_error']:.2f})"
            f"{row['bits_per_dimension']:10.3f}"
            f"{row['log_prob']:8.1f} ms{row['sample']:8.1f} ms", flush=True)
    row = figures["Gaussian"]
    print(
        f"   Gaussian{row['nats']:39.2f} ({row['standard_error']:.2f})"
        f"{row['bits_per_dimension']:10.3f}")
    return figures, trained, held_out


def dequantise(images, seed, number):
    return flows.dequantise(images, seed=(seed, number), num_values=LEVELS)


def build(name, images, seed):
    """Returns a flow of images with values from 0 to 17."""
    shape = images.shape[1:]
    recipe, options = RECIPES[name]
    if name == "Glow":
        flow = recipe(
            shape, **options, seed=seed, num_values=LEVELS, preprocessing="logit")
        flows.start_from_data(flow, images[:512])
        return flow
    flow = recipe(PIXELS, **options, seed=seed)
    # The logit gives black and white room; then the flow gets the units of the data.
    to_images = tfb.Chain([
        tfb.Reshape(shape, [PIXELS]), tfb.Invert(bijectors.Logit(0.02, 0.0, LEVELS))])
    x = to_images.inverse(images)
    return flow.copy(bijector=tfb.Chain([
        to_images, tfb.Shift(tf.reduce_mean(x, axis=0)),
        tfb.Scale(tf.math.reduce_std(x, axis=0)), flow.bijector]))


def fit(name, flow, train, validation, seconds, seed, batch=100):
    """Maximises the likelihood; the flow is left with the weights best on validation.

    Returns:
      log_prob: the compiled density.
      figures: dictionary of `weights`, `steps` and `seconds` of training.
    """
    variables = flow.trainable_variables
    optimizer = keras.optimizers.AdamW(
        2e-3, weight_decay=WEIGHT_DECAY[name], global_clipnorm=20.0)
    optimizer.exclude_from_weight_decay([v for v in variables if v.shape.rank < 2])
    optimizer.build(variables)
    images = tf.constant(train)
    # Convolutions train as fast without XLA, and take long to compile.
    log_prob = tf.function(flow.log_prob, jit_compile=name != "Glow")

    @tf.function(jit_compile=name != "Glow")
    def train_step(step):
        seeds = tfp.random.split_seed(tf.stack([seed, step]), n=2)
        rows = tf.random.stateless_uniform([batch], seeds[0], 0, len(train), tf.int32)
        y = flows.dequantise(
            tf.gather(images, rows), seed=seeds[1], num_values=LEVELS)
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow.log_prob(y))
        optimizer.apply(tape.gradient(loss, variables), variables)

    watched = dequantise(validation, seed, 11)
    log_prob(watched)
    train_step.get_concrete_function(tf.TensorSpec([], tf.int32))
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
    nats = float(most) + PIXELS * np.log(LEVELS)
    return log_prob, dict(
        weights=weights, steps=steps, seconds=spent, validation_nats=nats)


def gaussian(images):
    """Returns the log density of the Gaussian with mean and covariance of the images."""
    x = np.float64(images).reshape(-1, PIXELS)
    covariance = np.cov(x.T)
    covariance += 1e-6 * np.diag(np.diag(covariance))
    normal = tfd.MultivariateNormalTriL(np.mean(x, 0), np.linalg.cholesky(covariance))
    return lambda y: normal.log_prob(np.float64(y).reshape(-1, PIXELS))


def score(log_prob, draws):
    """Returns means over images of densities of pixels in [0, 1), averaged over draws.

    Pixels of 0 to 17 are 17 times as far apart, in each of 64 directions.
    """
    nats = np.mean([log_prob(y) for y in draws], axis=0) + PIXELS * np.log(LEVELS)
    return {
        "nats": float(np.mean(nats)),
        "standard_error": float(np.std(nats) / len(nats) ** 0.5),
        "bits_per_dimension": float(
            np.log2(LEVELS) - np.mean(nats) / (PIXELS * np.log(2.0))),
    }


# Jacobians of the layers that were trained.


def jacobians(trained, image):
    """Takes Jacobians from data to noise, at one image, by autodiff.

    Returns:
      figures: dictionary by title, see `main`.
      matrices: dictionary of the absolute values, rows and columns in the order that
        shows the pattern.
    """
    y = tf.cast(image, tf.float32)[tf.newaxis] + 0.5
    natural, cases = np.arange(PIXELS), {}
    *to_data, layers = trained["MAF"].bijector.bijectors
    x = tfb.Chain(to_data).inverse(y)
    cases["MAF, one layer"] = layers.bijectors[0], x, natural
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
            f"{row['log_det']:18.4f}{row['matrix']:14.4f}")
    return figures, matrices


def jacobian(layer, x):
    """Returns the matrix of derivatives of noise by data, at the only point of `x`."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        noise = tf.unstack(tf.reshape(layer.inverse(x), [-1]))
    rows = [tape.gradient(one, x, unconnected_gradients="zero") for one in noise]
    return np.reshape(rows, [len(rows), -1])


def draw(path, figures, matrices, trained, held_out, sizes, batch, seed):
    """Draws patterns of Jacobians, times of both directions, and samples."""
    figure = matplotlib.figure.Figure(figsize=(10.0, 9.2), layout="constrained")
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=[2.7, 3.2, 3.0])

    top.suptitle("|J| of layers from data to noise, at a digit held out; grey is 0")
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

    middle.suptitle(f"Milliseconds for {batch} points")
    axes = middle.subplots(1, 3, sharey=True)
    styles = {
        "sample, TFP": "C3x:", "sample, D passes": "C1v:", "sample": "C1s-",
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

    bottom.suptitle("Digits, and samples: nats of digits held out")
    axes = bottom.subplots(1, 1 + len(trained))
    show(axes[0], "data", held_out)
    for ax, (name, flow) in zip(axes[1:], trained.items()):
        row = figures["fits"][name]
        samples = flow.sample(30, seed=[seed, 5])
        show(ax, f"{name}, {row['nats']:.1f} ± {row['standard_error']:.1f}", samples)
    figure.savefig(path, dpi=95)
    with PIL.Image.open(path) as picture:  # few colours take half of the space
        picture.convert("RGB").quantize(200).save(path, optimize=True)


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
    add("--seconds", type=float, default=25.0, help="of training, of each model")
    add("--picture", default=PICTURE, help="where to write the picture")
    add("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
