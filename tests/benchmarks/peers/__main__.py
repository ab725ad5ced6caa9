"""Times a flow of one library on request.

Prints one line of JSON: `quantities`, a list of names, and `memory`, the peak of a call
of each in bytes above what the process held before, where Linux reports it. For each
line `QUANTITY COUNT` of the input it prints the seconds that `COUNT` calls took.
"""

import argparse
import importlib
import json
import os
import sys
import time

from tests.benchmarks import peers
from tests.benchmarks.peers import memory


def main():
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.peers", description=__doc__
    )
    parser.add_argument("model", choices=peers.MODELS)
    parser.add_argument("library", choices=peers.LIBRARIES)
    parser.add_argument(
        "--only", help="quantities to prepare, with commas between them; else all"
    )
    options = parser.parse_args()
    if options.library not in peers.libraries(options.model):
        parser.error(f"{options.library} has no {options.model}")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: peers.THREADS])
    # What libraries print must not mix with the lines of the protocol.
    answers, sys.stdout = sys.stdout, sys.stderr
    library, *compiled = options.library.split(" compiled")
    builder = importlib.import_module(
        f"tests.benchmarks.peers.{library.replace(' ', '_')}"
    )
    calls = builder.calls(peers.MODELS[options.model], compiled=bool(compiled))
    if options.only:
        only = options.only.split(",")
        calls = {name: call for name, call in calls.items() if name in only}
    # JAX keeps freed memory, so that a later call seems to need none.
    peaks = _first_calls(calls, options.library not in peers.IN_JAX)
    first_line = {"quantities": list(calls), "memory": peaks}
    print(json.dumps(first_line), file=answers, flush=True)
    for line in sys.stdin:
        quantity, count = line.rsplit(maxsplit=1)
        print(_seconds(calls[quantity], int(count)), file=answers, flush=True)


def _first_calls(calls, measures_memory):
    """Removes the calls that fail, and returns the peaks of memory of the others.

    No peaks unless `measures_memory`.
    """
    peaks = {}
    for name, call in list(calls.items()):
        try:
            call()  # compiles
            peak = memory.peak_of(call) if measures_memory else None
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            del calls[name]
        else:
            if peak is not None:
                peaks[name] = peak
    return peaks


def _seconds(call, count):
    start = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
