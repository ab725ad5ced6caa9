"""Speed of layers with networks: against TFP, and against other people's libraries.

    python -m tests.benchmarks.networks [--only maf,growth] [--peers-python PATH]

prints the tables of `README.md`, as `layers` does. `PATH` is a Python interpreter of an
environment with those of zuko, nflows, normflows and flowjax that shall take part, see
`peers.py`; without it none does.
"""

import argparse

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tests.benchmarks import flow_race, peers, report, timing
from tests.benchmarks.report import COMPILERS, compare, normal
from tfp_flows import flows
from tfp_flows.bijectors import MaskedAutoregressive, transformers
from tfp_flows.networks import MADE

tfb, tfd = tfp.bijectors, tfp.distributions


def made_inverse(options):
    """The sequential direction of one MADE for images against one pass, and TFP's."""
    for hidden_units in [(1024,), (1024, 1024)]:
        for scale in (0.3, 1.5):
            _made_inverse(hidden_units, scale, options)


def _made_inverse(hidden_units, scale, options):
    size, batch_size = 784, 100
    layer, theirs = _autoregressive_pair(size, hidden_units, scale)
    y = normal([batch_size, size], 4)
    x = layer.inverse(y)
    found, found_by_tfp = (
        timing.compiled(b.forward, jit_compile=False)(x) for b in (layer, theirs)
    )
    distance = np.max(np.abs(found - found_by_tfp) / (1.0 + np.abs(found_by_tfp)))
    error = np.max(np.abs(found - y))
    print(f"{hidden_units}, weights of scale {scale}: the inverses of ours and TFP "
          f"differ by {distance:.1e}; ours from the truth by {error:.1e}.\n")
    both = {"one pass": (_density(layer), y), "sequential": (layer.forward, x)}
    compare(both, [("sequential", "one pass", "at most 5")], options)
    # Theirs takes seconds.
    few = argparse.Namespace(rounds=min(3, options.rounds), sample=0)
    both = {"sequential": (layer.forward, x), "TFP, sequential": (theirs.forward, x)}
    compare(both, [("TFP, sequential", "sequential", "at least 100")], few)


def maf(options):
    """Masked autoregressive flow, 5 layers of 256 x 2, D = 64, B = 1000."""
    _race("maf", options)


def real_nvp(options):
    """RealNVP, 8 couplings of 256 x 2, D = 64, B = 1000."""
    _race("real_nvp", options)


def growth(options):
    """The sequential direction of one MADE for growing D, hidden 256 x 2, B = 100."""
    sizes = [16, 64, 256, 1024]
    candidates, ratios = {}, []
    for size in sizes:
        layer, _ = _autoregressive_pair(size, (256, 256), 0.3)
        y = normal([100, size], 5)
        one, many = (f"D = {size}, {name}" for name in ("one pass", "sequential"))
        candidates[one] = _density(layer), y
        candidates[many] = layer.forward, layer.inverse(y)
        ratios.append((many, one, ""))
    compare(candidates, ratios, options)


SECTIONS = [made_inverse, maf, real_nvp, growth]


def _race(model, options):
    """Races density, sample and training step of a flow of each library."""
    x = normal([peers.BATCH_SIZE, peers.SIZE], 6)
    race = flow_race.race(model, x, {
        f"{library}, {compiler}": (*make(model), jit_compile)
        for library, make in {"ours": _our_flow, "TFP": _tfp_flow}.items()
        for compiler, jit_compile in COMPILERS.items()
    }, options)
    for compiler in COMPILERS:
        ours = f"ours, {compiler}"
        flow_race.table_of_ratios(
            f"over {ours}", race, dict.fromkeys(flow_race.QUANTITIES, ours))


def _our_flow(model):
    make = {"maf": flows.maf, "real_nvp": flows.real_nvp}[model]
    flow = make(
        peers.SIZE, peers.NUMBERS_OF_LAYERS[model], peers.HIDDEN_UNITS, seed=0)
    variables = flow.trainable_variables
    _move(variables, 0.3)
    return flow, variables, flow_race.Adam(variables)


def _tfp_flow(model):
    """What the pages of TFP's bijectors would have one write."""
    networks, layers, masks = [], [], {}
    for _ in range(peers.NUMBERS_OF_LAYERS[model]):
        if model == "maf":
            networks.append(_tfp_network(peers.SIZE, peers.HIDDEN_UNITS))
            layer = tfb.MaskedAutoregressiveFlow(networks[-1])
        else:
            networks.append(_TemplateOfRealNVP())
            layer = tfb.RealNVP(
                peers.SIZE // 2, shift_and_log_scale_fn=networks[-1])
        layers += [layer, tfb.Permute(list(range(peers.SIZE))[::-1])]
    noise = tfd.MultivariateNormalDiag(tf.zeros([peers.SIZE]))
    flow = tfd.TransformedDistribution(noise, tfb.Chain(layers))
    variables = [v for network in networks for v in network.trainable_variables]
    if model == "maf":
        # `AutoregressiveNetwork` asks Keras to mask its kernels after each update.
        masks = {
            i: tf.cast(tf.not_equal(variable, 0.0), tf.float32)
            for i, variable in enumerate(variables) if variable.shape.rank == 2
        }
    _move(variables, 0.3, masks)
    return flow, variables, flow_race.Adam(variables, masks)


def _tfp_network(size, hidden_units):
    network = tfb.AutoregressiveNetwork(
        2, event_shape=[size], hidden_units=list(hidden_units), activation="relu")
    network.build([None, size])
    return network


class _TemplateOfRealNVP(tf.Module):
    """The network of `tfb.real_nvp_default_template`, with variables of its own."""

    def __init__(self):
        super().__init__()
        sizes = [peers.SIZE // 2, *peers.HIDDEN_UNITS, peers.SIZE]
        self._kernels = [
            tf.Variable(normal(pair, i) * (2.0 / pair[0]) ** 0.5)
            for i, pair in enumerate(zip(sizes[:-2], sizes[1:]))
        ]
        self._kernels.append(tf.Variable(tf.zeros(sizes[-2:])))
        self._biases = [tf.Variable(tf.zeros([size])) for size in sizes[1:]]

    def __call__(self, x, output_units, **_):
        *hidden, last = zip(self._kernels, self._biases)
        for kernel, bias in hidden:
            x = tf.nn.relu(x @ kernel + bias)
        return tf.split(x @ last[0] + last[1], 2, axis=-1)


def _move(variables, scale, masks=None):
    """Adds normals to kernels: networks that start at zero get something to do."""
    for i, variable in enumerate(variables):
        if variable.shape.rank > 1:
            change = normal(variable.shape, i) * scale / variable.shape[0] ** 0.5
            variable.assign_add(change * masks[i] if masks else change)


def _autoregressive_pair(size, hidden_units, scale):
    """Returns a layer of ours and one of TFP with the same weights."""
    made = MADE(size, 2, hidden_units, seed=0)
    _move(made.trainable_variables, scale)
    # So high a bound that the scale is the one of TFP.
    layer = MaskedAutoregressive(made, transformers.Affine(max_log_scale=1e9))
    network = _tfp_network(size, hidden_units)
    # It masks its weights when it makes them, and not when it is called.
    for variable, value in zip(
        network.trainable_variables,
        [w for pair in zip(made._masked_kernels(), made._biases) for w in pair],
    ):
        variable.assign(tf.reshape(value, variable.shape))
    return layer, tfb.MaskedAutoregressiveFlow(network)


def _density(bijector):
    return lambda y: (
        bijector.inverse(y), bijector.inverse_log_det_jacobian(y, event_ndims=1))


if __name__ == "__main__":
    report.main(__doc__, SECTIONS, flow_race.add_arguments)
