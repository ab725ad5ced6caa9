"""Times every layer and flow against TFP, other libraries, and what the work needs.

    python -m tests.benchmarks --peers-python PATH --json FILE --picture FILE
    python -m tests.benchmarks --only planar,maf --rounds 5
    python -m tests.benchmarks --read FILE --picture FILE

prints the tables of `README.md`, each work from a process of its own. `PATH` is an
interpreter that has other libraries of flows, see `peers`. The outcome of each work
goes into the JSON file once it is there, and `--read` prints tables of such a file
again.
"""

import argparse
import json
import sys

from tests.benchmarks import (
    outcomes,
    peer_processes,
    peers,
    report,
    small,
    works,
)


def main():
    names = [*works.WORKS, *small.WORKS]
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", default=",".join(names), help="works, with commas between them"
    )
    parser.add_argument("--rounds", type=int, default=9, help="samples of each time")
    parser.add_argument(
        "--sample", type=float, default=0.05, help="least seconds of a sample"
    )
    peer_processes.add_arguments(parser, peers.LIBRARIES)
    parser.add_argument("--json", help="file for what was measured")
    parser.add_argument("--read", help="such a file, in place of measuring")
    parser.add_argument("--picture", help="file for a picture")
    options = parser.parse_args()
    only = options.only.split(",")
    if set(only) - set(names):
        parser.error(f"--only must hold names out of {names}; got {options.only}")
    if options.read:
        with open(options.read) as file:
            found = json.load(file)
        found["works"] = {n: o for n, o in found["works"].items() if n in only}
    else:
        found = measure(only, options)
    print(*found["facts"], sep="\n\n", end="\n\n")
    outcomes.print_all(found["works"])
    if options.picture:
        from tests.benchmarks import picture  # needs matplotlib

        picture.draw(found["works"], options.picture)


def measure(names, options):
    """Returns facts on the machine and outcomes by name; writes them to the file."""
    found = {"facts": report.facts(), "works": {}}
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        found["works"][name] = outcomes.measure_alone(name, options)
        if options.json:
            with open(options.json, "w") as file:
                json.dump(found, file)
    return found


if __name__ == "__main__":
    main()
