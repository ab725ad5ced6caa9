"""What a compiled work spends its time on, by the profiler of TensorFlow.

    python -m tests.benchmarks.profile --only radial_stack,made

prints for each quantity what a call takes under XLA, and what the operations of each
kind in the compiled program take, and how often they run; "elementwise" are all that
is nothing else, such as copies. They may run beside one another, on two threads, and
products and convolutions may come back before the tasks that they have started. What
they lack to the time of a call is spent on the way into the program, on such tasks, and
on waiting.
"""

import argparse
import collections
import functools
import glob
import os
import re
import tempfile
import timeit

import numpy as np
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from tests.benchmarks import report, timing, works

KINDS = ["products", "convolutions", "sums", "elementwise", "others"]
_CALLS = 20
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = .*? ([\w-]+)\(")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$")
_CONTAINERS = {"call", "conditional", "while"}  # whose parts are seen themselves


def main():
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.profile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", default=",".join(works.WORKS), help="works, with commas between them"
    )
    names = parser.parse_args().only.split(",")
    if set(names) - set(works.WORKS):
        parser.error(f"--only must hold names out of {[*works.WORKS]}; got {names}")
    tf.get_logger().setLevel("ERROR")  # it warns of one function compiled twice
    timing.set_threads()
    print(*report.facts(), sep="\n\n", end="\n\n")
    rows = [row for name in names for row in _profile(name)]
    report.table(["work", "", "call", *KINDS], rows)


def _profile(name):
    """Yields rows of what the quantities of a work consist of."""
    for quantity, (function, *arguments) in works.WORKS[name].ours().items():
        seconds, kinds = profile(function, *arguments)
        parts = [kinds.get(kind, (0.0, 0.0)) for kind in KINDS]
        yield [f"`{name}`", quantity, f"{1e3 * seconds:.3g} ms"] + [
            f"{1e3 * spent:.3g} ms in {runs:.0f}" if runs else ""
            for runs, spent in parts
        ]


def profile(function, *arguments):
    """Compiles a function, and watches some calls.

    Returns:
      seconds: what a call took.
      kinds: dictionary of runs in a call, and their seconds, by the kind of the
        operations, out of `KINDS`.
    """
    # Not the function itself, whose other arguments may have defaults.
    call = functools.partial(
        timing.compiled(lambda *arguments: function(*arguments)), *arguments
    )
    call()
    program = call.func.experimental_get_compiler_ir(*arguments)(stage="optimized_hlo")
    return _watch(call, kinds_of(program))


def kinds_of(program):
    """Returns the kind of each operation of a compiled program, by its name.

    Args:
      program: text, as `experimental_get_compiler_ir` gives it for "optimized_hlo".
    """
    within, found = collections.defaultdict(set), {}
    computation = None
    for line in program.splitlines():
        start = _COMPUTATION.match(line)
        instruction = _INSTRUCTION.match(line)
        if start:
            computation = start[1]
        elif instruction:
            name, operation = instruction.groups()
            within[computation].add(operation)
            called = re.search(r"calls=%?([\w.-]+)", line)
            target = re.search(r'custom_call_target="([^"]*)"', line)
            found[name] = operation, called and called[1], target and target[1]
    return {
        name: _kind({operation} | within.get(called, set()), target or "")
        for name, (operation, called, target) in found.items()
        if operation not in _CONTAINERS
    }


def _kind(operations, target):
    if "convolution" in operations or "conv" in target:
        return "convolutions"
    if "dot" in operations or "matmul" in target:
        return "products"
    if {"reduce", "reduce-window"} & operations:
        return "sums"
    return "others" if target else "elementwise"


def _watch(call, kinds):
    call()
    # The profiler takes time, too.
    seconds = timeit.timeit(call, number=_CALLS) / _CALLS
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(_CALLS):
                call()
        [path] = glob.glob(os.path.join(folder, "**", "*.xplane.pb"), recursive=True)
        with open(path, "rb") as file:
            space = xplane_pb2.XSpace.FromString(file.read())
    found = collections.defaultdict(lambda: np.zeros(2))
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            kind = kinds.get(plane.event_metadata[event.metadata_id].name)
            if kind:
                found[kind] += [1.0, 1e-12 * event.duration_ps]
    return seconds, {kind: tuple(sums / _CALLS) for kind, sums in found.items()}


if __name__ == "__main__":
    main()
