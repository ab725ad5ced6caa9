"""Density, sample and training step of flows of several libraries, in turns."""

import functools
import json
import os
import subprocess
import tempfile

import tensorflow as tf

from tests.benchmarks import peers, timing
from tests.benchmarks.report import table

QUANTITIES = ["log_prob", "sample", "step"]


def add_arguments(parser, libraries=peers.FLOWS):
    """Adds the options that say which other libraries take part.

    Args:
      parser: `argparse.ArgumentParser`.
      libraries: names of those that do by default.
    """
    parser.add_argument(
        "--peers-python", help="interpreter that has other people's libraries")
    parser.add_argument(
        "--peers", default=",".join(libraries),
        help="those to take part, with commas between them")


def race(model, x, flows, options):
    """Races the flows of TensorFlow and those of other libraries.

    Args:
      model: name of the flow for `peers`.
      x: batch to score and to train on.
      flows: dictionary of flows, variables, updates by gradients, and `jit_compile`, by
        name: a flow for each entry, since they train.
      options: what `report.main` parsed.

    Returns:
      race: `timing.Race` of pairs of a name and a quantity. A table of it is printed.
    """
    calls = {}
    for name, (flow, variables, update, jit_compile) in flows.items():
        functions = training_functions(flow, variables, update, len(x))
        for quantity, function in zip(QUANTITIES, functions):
            compiled = timing.compiled(function, jit_compile)
            arguments = [] if quantity == "sample" else [x]
            calls[name, quantity] = functools.partial(compiled, *arguments)
    with Peers(model, options) as others:
        calls |= others.calls
        result = timing.race(calls, options.rounds, options.sample)
    _table_of("", result, lambda *key: result.time(key))
    return result


def table_of_ratios(title, result, reference):
    """Prints the ratios to a candidate, which may be another one for each quantity.

    Args:
      title: text for the first column.
      result: what `race` returned.
      reference: dictionary of names by quantity.
    """
    _table_of(title, result, lambda name, quantity: result.ratio(
        (name, quantity), (reference[quantity], quantity)))


def _table_of(title, result, entry):
    names = dict.fromkeys(name for name, _ in result.names)
    table([title, *(f"`{quantity}`" for quantity in QUANTITIES)], [
        [name, *(entry(name, q) if (name, q) in result.names else ""
                 for q in QUANTITIES)]
        for name in names
    ])


def training_functions(distribution, variables, update, batch_size):
    """Returns functions: log density, sample, and training step."""

    def step(x):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(distribution.log_prob(x))
        update(tape.gradient(loss, variables))
        return loss

    def sample():
        return distribution.sample(batch_size, seed=[0, 1])

    return distribution.log_prob, sample, step


class Adam:
    """Adam of Kingma and Ba (2015), the same for all flows in TensorFlow.

    Args:
      variables: list of variables.
      masks: dictionary of arrays by index, which the new values are multiplied by.
      rate: step size.
    """

    def __init__(self, variables, masks=None, rate=1e-5):
        self._variables, self._masks = variables, masks or {}
        self._moments = [
            [tf.Variable(tf.zeros_like(v)) for v in variables] for _ in range(2)
        ]
        self._step, self._rate = tf.Variable(0.0), rate

    def __call__(self, gradients):
        step = self._step.assign_add(1.0)
        rate = self._rate * tf.sqrt(1.0 - 0.999**step) / (1.0 - 0.9**step)
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


class Peers:
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
