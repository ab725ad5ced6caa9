"""Speed of layers with networks: against TFP, and against other people's libraries.

    python -m tests.benchmarks.networks [--only maf,growth] [--peers-python PATH]

prints the tables of `README.md`, as `layers` does. `PATH` is a Python interpreter of an
environment with those of zuko, nflows, normflows and flowjax that shall take part, see
`peers.py`; without it none does.
"""

import argparse
import functools
import json
import os
import subprocess
import tempfile

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tests.benchmarks import peers, timing
from tests.benchmarks.layers import COMPILERS, _compare, _facts, _normal, _table
from tfp_flows import flows
from tfp_flows.bijectors import MaskedAutoregressive, transformers
from tfp_flows.networks import MADE

tfb, tfd = tfp.bijectors, tfp.distributions

QUANTITIES = ["log_prob", "sample", "step"]


def made_inverse(options):
    """The sequential direction of one MADE for images against one pass, and TFP's."""
    for hidden_units in [(1024,), (1024, 1024)]:
        for scale in (0.3, 1.5):
            _made_inverse(hidden_units, scale, options)


def _made_inverse(hidden_units, scale, options):
    size, batch_size = 784, 100
    layer, theirs = _autoregressive_pair(size, hidden_units, scale)
    y = _normal([batch_size, size], 4)
    x = layer.inverse(y)
    found, found_by_tfp = (
        timing.compiled(b.forward, jit_compile=False)(x) for b in (layer, theirs)
    )
    distance = np.max(np.abs(found - found_by_tfp) / (1.0 + np.abs(found_by_tfp)))
    error = np.max(np.abs(found - y))
    print(f"{hidden_units}, weights of scale {scale}: the inverses of ours and TFP "
          f"differ by {distance:.1e}; ours from the truth by {error:.1e}.\n")
    both = {"one pass": (_density(layer), y), "sequential": (layer.forward, x)}
    _compare(both, [("sequential", "one pass", "at most 5")], options)
    # Theirs takes seconds.
    few = argparse.Namespace(rounds=min(3, options.rounds), sample=0)
    both = {"sequential": (layer.forward, x), "TFP, sequential": (theirs.forward, x)}
    _compare(both, [("TFP, sequential", "sequential", "at least 100")], few)


def maf(options):
    """Masked autoregressive flow, 5 layers of 256 x 2, D = 64, B = 1000."""
    _race_flows("maf", options)


def real_nvp(options):
    """RealNVP, 8 couplings of 256 x 2, D = 64, B = 1000."""
    _race_flows("real_nvp", options)


def growth(options):
    """The sequential direction of one MADE for growing D, hidden 256 x 2, B = 100."""
    sizes = [16, 64, 256, 1024]
    candidates, ratios = {}, []
    for size in sizes:
        layer, _ = _autoregressive_pair(size, (256, 256), 0.3)
        y = _normal([100, size], 5)
        one, many = (f"D = {size}, {name}" for name in ("one pass", "sequential"))
        candidates[one] = _density(layer), y
        candidates[many] = layer.forward, layer.inverse(y)
        ratios.append((many, one, ""))
    _compare(candidates, ratios, options)


SECTIONS = [made_inverse, maf, real_nvp, growth]


def _race_flows(model, options):
    """Races density, sample and training step of a flow of each library."""
    x = _normal([peers.BATCH_SIZE, peers.SIZE], 6)
    calls = {}
    for library, make in {"ours": _our_flow, "TFP": _tfp_flow}.items():
        for compiler, jit_compile in COMPILERS.items():
            # A flow for each, since they train.
            functions = _functions(*make(model))
            for quantity, function in zip(QUANTITIES, functions):
                compiled = timing.compiled(function, jit_compile)
                arguments = [] if quantity == "sample" else [x]
                calls[f"{library}, {compiler}", quantity] = functools.partial(
                    compiled, *arguments)
    with _Peers(model, options) as others:
        calls |= others.calls
        race = timing.race(calls, options.rounds, options.sample)
    names = list(dict.fromkeys(name for name, _ in calls))

    def cells(entry):
        return [
            [name, *(entry(name, q) if (name, q) in calls else "" for q in QUANTITIES)]
            for name in names
        ]

    headers = [f"`{quantity}`" for quantity in QUANTITIES]
    _table(["", *headers], cells(lambda *key: race.time(key)))
    for compiler in COMPILERS:
        _table([f"over ours, {compiler}", *headers], cells(
            lambda name, q: race.ratio((name, q), (f"ours, {compiler}", q))))


def _functions(distribution, variables, update):
    """Returns functions: log density, sample, and training step."""

    def step(x):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(distribution.log_prob(x))
        update(tape.gradient(loss, variables))
        return loss

    def sample():
        return distribution.sample(peers.BATCH_SIZE, seed=[0, 1])

    return distribution.log_prob, sample, step


class _Adam:
    """Adam of Kingma and Ba (2015), the same for all flows in TensorFlow.

    Args:
      variables: list of variables.
      masks: dictionary of arrays by index, which the new values are multiplied by.
    """

    def __init__(self, variables, masks=None):
        self._variables, self._masks = variables, masks or {}
        self._moments = [
            [tf.Variable(tf.zeros_like(v)) for v in variables] for _ in range(2)
        ]
        self._step = tf.Variable(0.0)

    def __call__(self, gradients):
        step = self._step.assign_add(1.0)
        rate = 1e-5 * tf.sqrt(1.0 - 0.999**step) / (1.0 - 0.9**step)
        for i, (variable, g, m, v) in enumerate(
            zip(self._variables, gradients, *self._moments)
        ):
            mean = m.assign_add(0.1 * (g - m))
            square = v.assign_add(0.001 * (g**2 - v))
            change = rate * mean / (tf.sqrt(square) + 1e-8)
            if i in self._masks:
                variable.assign((variable - change) * self._masks[i])
            else:
                variable.assign_sub(change)


def _our_flow(model):
    make = {"maf": flows.maf, "real_nvp": flows.real_nvp}[model]
    flow = make(
        peers.SIZE, peers.NUMBERS_OF_LAYERS[model], peers.HIDDEN_UNITS, seed=0)
    variables = flow.trainable_variables
    _move(variables, 0.3)
    return flow, variables, _Adam(variables)


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
    return flow, variables, _Adam(variables, masks)


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
            tf.Variable(_normal(pair, i) * (2.0 / pair[0]) ** 0.5)
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
            change = _normal(variable.shape, i) * scale / variable.shape[0] ** 0.5
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


class _Peers:
    """Processes of `peers.py`, one for each library; they wait for their turns."""

    def __init__(self, model, options):
        self._processes = {}
        self.calls = {}
        if options.peers_python is None:
            print("No peers: `--peers-python` names no interpreter.\n")
            return
        environment = dict(os.environ, OMP_NUM_THREADS=str(peers.THREADS))
        for library in options.peers.split(","):
            errors = tempfile.TemporaryFile("w+")  # a pipe that nobody reads would fill
            process = subprocess.Popen(
                [options.peers_python, "-m", "tests.benchmarks.peers", model, library],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=errors, text=True, env=environment)
            line = process.stdout.readline()
            if not line:  # it has said why, and ended
                process.communicate()
                errors.seek(0)
                reason = errors.read().strip().split("\n")[-1]
                print(f"{library} takes no part: {reason}\n")
                continue
            self._processes[library] = process
            for quantity in json.loads(line):
                self.calls[library, quantity] = functools.partial(
                    _ask, process, quantity)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self._processes.values():
            process.communicate()


def _ask(process, quantity):
    process.stdin.write(f"{quantity}\n")
    process.stdin.flush()
    if process.stdout.readline() != "done\n":
        raise RuntimeError(f"A peer ended in its {quantity}: {process.args}.")


def main():
    names = [section.__name__ for section in SECTIONS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", default=",".join(names), help="sections, with commas between them")
    parser.add_argument("--rounds", type=int, default=25, help="samples of each time")
    parser.add_argument(
        "--sample", type=float, default=0.02, help="least seconds of a sample")
    parser.add_argument(
        "--peers-python", help="interpreter that has other people's libraries")
    parser.add_argument(
        "--peers", default=",".join(peers.LIBRARIES),
        help="those to take part, with commas between them")
    options = parser.parse_args()
    only = options.only.split(",")
    if set(only) - set(names):
        parser.error(f"--only must hold names out of {names}; got {options.only}")
    tf.get_logger().setLevel("ERROR")  # it warns of one function compiled twice
    timing.set_threads()
    print(*_facts(), sep="\n\n", end="\n\n")
    for section in SECTIONS:
        if section.__name__ in only:
            print(f"### `{section.__name__}`\n\n{section.__doc__}\n", flush=True)
            section(options)


if __name__ == "__main__":
    main()
