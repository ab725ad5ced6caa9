"""Flows that the benchmarks time: ours, and what the documentation of TFP suggests.

Each function creates variables, and returns candidates by quantity: see `workloads`.
"""

import functools
import itertools
import math

import tensorflow as tf
import tensorflow_probability as tfp

from tests.benchmarks import peers
from tests.benchmarks.candidates import (
    both_ways,
    divergence,
    normal,
    of_flow,
    of_layer,
    perturb,
    training,
)
from tests.benchmarks.peers import HIDDEN_CHANNELS, MODELS, NUM_LEVELS, NUM_VALUES
from tfp_flows import bijectors, flows, normalization
from tfp_flows.bijectors import transformers
from tfp_flows.networks import MADE

tfb, tfd = tfp.bijectors, tfp.distributions

_SYLVESTER = {
    kind: f"sylvester_{kind}" for kind in ("orthogonal", "householder", "triangular")
}


def made():
    """One layer, with one network evaluation in `forward`."""
    model = MODELS["made"]
    network = MADE(model.size, 2, model.hidden_units, seed=0)
    perturb(network.trainable_variables)
    return of_layer(bijectors.InverseAutoregressive(network), _batch("made"))


def tfp_made():
    layer, variables, masks = _tfp_autoregressive("made")
    perturb(variables, 0.03, masks)
    return of_layer(tfb.Invert(layer), _batch("made"), variables=variables, masks=masks)


def maf(name="maf"):
    flow = _of_sizes(flows.maf, name)
    return of_flow(flow, _batch(name))


def maf_large():
    return maf("maf_large")


def tfp_maf(name="maf"):
    flow, variables, masks = _tfp_stack(name, _tfp_autoregressive)
    return of_flow(flow, _batch(name), variables, masks)


def tfp_maf_large():
    return _densities(tfp_maf("maf_large"))  # a sample takes a minute


def iaf():
    """A sample comes with its density; a step is of reverse KL."""
    flow = _of_sizes(
        functools.partial(flows.iaf, transformer=transformers.Affine()), "iaf"
    )
    return _of_posterior(flow, flow.trainable_variables)


def tfp_iaf():
    flow, *parts = _tfp_stack(
        "iaf", _tfp_autoregressive, wrap=lambda layer: tfb.Invert(layer)
    )
    return _of_posterior(flow, *parts)


def real_nvp(name="real_nvp"):
    return of_flow(_of_sizes(flows.real_nvp, name), _batch(name))


def real_nvp_large():
    return real_nvp("real_nvp_large")


def tfp_real_nvp(name="real_nvp"):
    flow, *parts = _tfp_stack(name, _tfp_coupling)
    return of_flow(flow, _batch(name), *parts)


def tfp_real_nvp_large():
    return tfp_real_nvp("real_nvp_large")


def nice():
    flow = _of_sizes(
        functools.partial(flows.nice, base_distribution=tfd.Normal), "nice"
    )
    return of_flow(flow, _batch("nice"))


def tfp_nice():
    flow, *parts = _tfp_stack("nice", _tfp_additive)
    return of_flow(flow, _batch("nice"), *parts)


def neural_spline():
    model = MODELS["neural_spline"]
    flow = _of_sizes(
        functools.partial(
            flows.neural_spline, num_bins=model.num_bins, bound=peers.SPLINE_BOUND
        ),
        "neural_spline",
    )
    return of_flow(flow, _batch("neural_spline"))


def tfp_neural_spline():
    flow, *parts = _tfp_stack("neural_spline", _tfp_spline)
    return of_flow(flow, _batch("neural_spline"), *parts)


def glow():
    return of_flow(glow_flow(), pixels())


def glow_flow(num_steps=MODELS["glow"].num_layers, x=None, **modes):
    """Returns `flows.glow`, initialized from data."""
    flow = flows.glow(
        peers.IMAGE, NUM_LEVELS, num_steps, HIDDEN_CHANNELS, seed=0, **modes
    )
    normalization.initialize_from_data(flow, pixels() if x is None else x)
    return flow


def tfp_glow():
    layer = tfb.Glow(
        peers.IMAGE,
        NUM_LEVELS,
        MODELS["glow"].num_layers,
        coupling_bijector_fn=functools.partial(
            tfb.GlowDefaultNetwork, num_hidden=HIDDEN_CHANNELS
        ),
        exit_bijector_fn=tfb.GlowDefaultExitNetwork,
        grab_after_block=[0.5] * (NUM_LEVELS - 1) + [0.0],
        seed=0,
    )
    latents = tfd.Sample(tfd.Normal(0.0, 1.0), [math.prod(peers.IMAGE)])
    values = [tfb.Scale(float(NUM_VALUES)), tfb.Shift(0.5), layer]
    flow = tfd.TransformedDistribution(latents, tfb.Chain(values))
    x = pixels()
    flow.log_prob(x)  # data-dependent initialization
    candidates = of_flow(flow, x)
    forward, _ = both_ways(flow.bijector, 1)  # its latents are a vector
    candidates["forward"] = forward, normal([len(x), math.prod(peers.IMAGE)], 8)
    return candidates


def glow_scan():
    """A training step whose levels are one `Scan` each."""
    return _step_only(glow_flow(scan=True), pixels())


def glow_recompute():
    """A training step that recomputes activations by exact inverses."""
    return _step_only(glow_flow(recompute=True), pixels())


def amortized_posterior(kind):
    """One posterior per example: sample with density, and a gradient of reverse KL.

    The gradient is with respect to the parameters that an encoder predicts, and to the
    weights of "iaf".
    """
    columns = dict(num_columns=peers.NUM_COLUMNS)
    options = {
        "orthogonal": columns,
        "triangular": columns,
        "householder": dict(columns, num_reflections=peers.NUM_REFLECTIONS),
        "iaf": dict(hidden_units=(peers.POSTERIOR_HIDDEN_UNITS,)),
    }.get(kind, {})
    model = MODELS[f"posterior_{kind}"]
    posterior = flows.amortized_posterior(
        model.size, _SYLVESTER.get(kind, kind), model.num_layers, seed=0, **options
    )
    variables = list(posterior.trainable_variables)
    parameters = 0.3 * normal([model.batch_size, posterior.num_parameters], 1)
    prior = tfd.Sample(tfd.Normal(0.0, 1.0), model.size)

    def sample(parameters):
        return posterior(parameters).experimental_sample_and_log_prob(seed=[0, 1])

    def step(parameters):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            z, log_prob = sample(parameters)
            loss = tf.reduce_mean(log_prob - prior.log_prob(z))
        return tape.gradient(loss, [parameters, *variables])

    return {"sample": (sample, parameters), "step": (step, parameters)}


def pixels(batch_size=peers.NUMBER_OF_IMAGES):
    return tf.random.stateless_uniform(
        [batch_size, *peers.IMAGE], [0, 7], 0.0, NUM_VALUES
    )


def _step_only(flow, x):
    return {"step": of_flow(flow, x)["step"]}


def _batch(name):
    model = MODELS[name]
    return normal([model.batch_size, *model.shape], 6)


def _of_sizes(make, name):
    """Returns a flow of a builder, whose layers are not the identity."""
    model = MODELS[name]
    flow = make(model.size, model.num_layers, model.hidden_units, seed=0)
    perturb(flow.trainable_variables)
    return flow


def _densities(candidates):
    return {q: c for q, c in candidates.items() if q not in ("forward", "sample")}


def _of_posterior(flow, variables, masks=None):
    """Candidates of a flow that is trained by reverse KL to a standard normal."""
    batch_size = MODELS["iaf"].batch_size

    def sample(seed):
        return flow.experimental_sample_and_log_prob(batch_size, seed=seed)

    def loss(seed):
        x, log_prob = sample(seed)
        return divergence(x, -log_prob)

    forward, inverse = both_ways(flow.bijector, 1)
    x, seed = _batch("iaf"), tf.constant([0, 1])
    return {
        "forward": (forward, x),
        "inverse": (inverse, x),
        "log_prob": (flow.log_prob, x),
        "sample": (sample, seed),
        "step": (training(loss, variables, masks), seed),
    }


def _tfp_stack(name, make, wrap=lambda layer: layer):
    """Returns a flow of TFP's layers, its variables, and masks of some of them.

    Args:
      name: name of a model.
      make: function of that name that returns a layer, its variables and their masks.
      wrap: function of a layer that returns its replacement in the flow.
    """
    size, layers, variables, masks = MODELS[name].size, [], [], {}
    for _ in range(MODELS[name].num_layers):
        layer, more, more_masks = make(name)
        masks |= {len(variables) + i: mask for i, mask in more_masks.items()}
        variables += more
        layers += [wrap(layer), tfb.Permute(list(range(size))[::-1])]
    perturb(variables, 0.03, masks)  # the scales are unbounded
    latents = tfd.MultivariateNormalDiag(tf.zeros([size]))
    flow = tfd.TransformedDistribution(latents, tfb.Chain(layers))
    return flow, variables, masks


def _tfp_autoregressive(name):
    model = MODELS[name]
    network = tfb.AutoregressiveNetwork(
        2,
        event_shape=[model.size],
        hidden_units=list(model.hidden_units),
        activation="relu",
    )
    network.build([None, model.size])
    variables = network.trainable_variables
    # It asks Keras to mask its kernels after each update.
    masks = {
        i: tf.cast(tf.not_equal(variable, 0.0), tf.float32)
        for i, variable in enumerate(variables)
        if variable.shape.rank == 2
    }
    return tfb.MaskedAutoregressiveFlow(network), variables, masks


def _tfp_coupling(name):
    half = MODELS[name].size // 2
    network = _Template([half, *MODELS[name].hidden_units, 2 * half])
    layer = tfb.RealNVP(
        half, shift_and_log_scale_fn=lambda x, *_, **__: tf.split(network(x), 2, -1)
    )
    return layer, network.variables, {}


def _tfp_additive(name):
    half = MODELS[name].size // 2
    network = _Template([half, *MODELS[name].hidden_units, half])
    layer = tfb.RealNVP(
        half,
        shift_and_log_scale_fn=lambda x, *_, **__: (network(x), None),
        is_constant_jacobian=True,
    )
    return layer, network.variables, {}


def _tfp_spline(name):
    """A coupling with the splines of TFP's page on them."""
    half, bins = MODELS[name].size // 2, MODELS[name].num_bins
    network = _Template([half, *MODELS[name].hidden_units, half * (3 * bins - 1)])
    bound, least = peers.SPLINE_BOUND, 1e-3

    def spline(x, *_, **__):
        raw = tf.reshape(network(x), [-1, half, 3 * bins - 1])
        widths, heights, slopes = tf.split(raw, [bins, bins, bins - 1], axis=-1)
        widths, heights = (
            tf.nn.softmax(sizes) * (2.0 * bound - bins * least) + least
            for sizes in (widths, heights)
        )
        slopes = tf.nn.softplus(slopes) + least
        return tfb.RationalQuadraticSpline(widths, heights, slopes, range_min=-bound)

    return tfb.RealNVP(half, bijector_fn=spline), network.variables, {}


class _Template:
    """The network of `tfb.real_nvp_default_template`, with variables of its own."""

    def __init__(self, sizes):
        self._kernels = [
            tf.Variable(normal(pair, i) * (2.0 / pair[0]) ** 0.5)
            for i, pair in enumerate(itertools.pairwise(sizes[:-1]))
        ]
        self._kernels.append(tf.Variable(tf.zeros(sizes[-2:])))
        self._biases = [tf.Variable(tf.zeros([size])) for size in sizes[1:]]
        self.variables = self._kernels + self._biases

    def __call__(self, x):
        *hidden, last = zip(self._kernels, self._biases)
        for kernel, bias in hidden:
            x = tf.nn.relu(x @ kernel + bias)
        return x @ last[0] + last[1]
