"""Times layers and flows against TFP, other libraries, and a lower bound.

    python -m tests.benchmarks                                  all workloads
    python -m tests.benchmarks planar maf --rounds 5            two of them
    python -m tests.benchmarks --list                           their names and sizes
    python -m tests.benchmarks --peers-python PATH              with other libraries
    python -m tests.benchmarks --read results.json --picture results.png

prints one table. Each workload runs in a fresh process. `PATH` is a Python interpreter
that has other libraries of flows, see `peers`.

`--json` writes the results after each workload: `runs`, a list of sentences on machine
and versions for each run, and `rows`, see `measurement`; `run` of a row is an index.
`--read` prints the table of such a file instead of measuring.
"""

import argparse
import json
import os
import pathlib
import platform
import sys

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tests.benchmarks import (
    device,
    measurement,
    overhead,
    peers,
    processes,
    table,
    workloads,
)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="workloads; else all")
    parser.add_argument("--list", action="store_true", help="list the workloads")
    parser.add_argument("--rounds", type=int, default=9, help="samples of each time")
    parser.add_argument(
        "--sample", type=float, default=0.05, help="least seconds of a sample"
    )
    parser.add_argument("--device", default="CPU:0", help="CPU:0, GPU:0, ...")
    processes.add_arguments(parser, peers.LIBRARIES)
    parser.add_argument("--json", type=pathlib.Path, help="file for the results")
    parser.add_argument("--read", type=pathlib.Path, help="file of earlier results")
    parser.add_argument("--picture", type=pathlib.Path, help="file for a picture")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(workloads.NAMES):
        parser.error(f"NAME must be one of {workloads.NAMES}; got {sorted(unknown)}")
    if options.list:
        sizes = {name: w.sizes for name, w in workloads.WORKLOADS.items()}
        for name, text in (sizes | overhead.WORKLOADS).items():
            print(f"{name}: {text}")
        return
    if options.read:
        results = json.loads(options.read.read_text())
        names = options.names or workloads.NAMES
        results["rows"] = [row for row in results["rows"] if row["workload"] in names]
    else:
        device.check(options.device)
        results = measure(options.names or workloads.NAMES, options)
    print(*results["runs"], table.table(results), sep="\n\n")
    if options.picture:
        table.draw(results, options.picture)


def measure(names, options):
    """Returns the results of workloads; writes them to a file after each of them."""
    results = {"runs": [facts(options.device)], "rows": []}
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows, absent = measurement.measure_alone(name, options)
        results["rows"] += [row | {"run": 0} for row in rows]
        print(*absent, sep="\n", file=sys.stderr, flush=True)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1) + "\n")
    return results


def facts(where):
    """Returns a sentence on the machine and the versions."""
    with open("/proc/cpuinfo") as cpuinfo:
        models = [line.split(":")[1] for line in cpuinfo if "model name" in line]
    parts = [
        device.describe(where),
        f"{models[0].strip()}, {len(models)} processors, 2 threads",
        f"load {os.getloadavg()[0]:.1f} at the start",
        f"Python {platform.python_version()}, TensorFlow {tf.__version__}",
        f"TFP {tfp.__version__}, NumPy {np.__version__}",
    ]
    return ", ".join(part for part in parts if part) + "."


if __name__ == "__main__":
    main()
