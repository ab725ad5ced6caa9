"""What the benchmarks share: their options, and their tables."""

import argparse
import functools
import inspect
import os
import platform

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tests.benchmarks import timing

COMPILERS = {"XLA": True, "graph": False}


def main(doc, sections, add_arguments=None):
    """Parses the options, and runs the sections that they ask for.

    Args:
      doc: text for `--help`.
      sections: list of functions of the options, with docstrings.
      add_arguments: function of the parser that adds more options, or None.
    """
    names = [section.__name__ for section in sections]
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument(
        "--only", default=",".join(names), help="sections, with commas between them"
    )
    parser.add_argument("--rounds", type=int, default=25, help="samples of each time")
    parser.add_argument(
        "--sample", type=float, default=0.02, help="least seconds of a sample"
    )
    if add_arguments is not None:
        add_arguments(parser)
    options = parser.parse_args()
    only = options.only.split(",")
    if set(only) - set(names):
        parser.error(f"--only must hold names out of {names}; got {options.only}")
    tf.get_logger().setLevel("ERROR")  # it warns of one function compiled twice
    timing.set_threads()
    print(*facts(), sep="\n\n", end="\n\n")
    for section in sections:
        if section.__name__ in only:
            text = inspect.getdoc(section)
            print(f"### `{section.__name__}`\n\n{text}\n", flush=True)
            section(options)


def compare(candidates, ratios, options):
    """Races compiled functions, and prints the times and the ratios.

    Args:
      candidates: dictionary of functions with their arguments, by name.
      ratios: list of two names and the aim for the ratio.
      options: what `main` parsed.
    """
    calls = {
        (name, compiler): functools.partial(
            timing.compiled(function, jit_compile), *arguments
        )
        for name, (function, *arguments) in candidates.items()
        for compiler, jit_compile in COMPILERS.items()
    }
    race = timing.race(calls, options.rounds, options.sample)
    rows = [[name, *(race.time((name, c)) for c in COMPILERS)] for name in candidates]
    table(["", *COMPILERS], rows)
    rows = [
        [f"{a} / {b}", *(race.ratio((a, c), (b, c)) for c in COMPILERS), aim]
        for a, b, aim in ratios
    ]
    table(["ratio", *COMPILERS, "aim"], rows)


def table(headers, rows):
    for row in [headers, ["---"] * len(headers), *rows]:
        print("|", " | ".join(map(str, row)), "|")
    print(flush=True)


def normal(shape, seed, dtype=tf.float32):
    return tf.random.stateless_normal(shape, [0, seed], dtype=dtype)


def facts():
    with open("/proc/cpuinfo") as cpuinfo:
        models = [line.split(":")[1] for line in cpuinfo if "model name" in line]
    return [
        f"{models[0].strip()}, {len(models)} processors, 2 threads, "
        f"load {os.getloadavg()[0]:.1f} at the start",
        f"Python {platform.python_version()}, TensorFlow {tf.__version__}, "
        f"TFP {tfp.__version__}, NumPy {np.__version__}",
    ]
