"""Processes of other libraries, which time their own calls on request."""

import concurrent.futures
import functools
import json
import os
import signal
import subprocess
import tempfile
import threading

from tests.benchmarks import peers

PAUSE = 0.005  # seconds, until the threads of another process are idle
TIMEOUT = 240  # seconds for a peer to compile and run its first calls


def add_arguments(parser, libraries):
    """Adds options that select other libraries.

    Args:
      parser: `argparse.ArgumentParser`.
      libraries: names of the default.
    """
    parser.add_argument(
        "--peers-python", help="Python interpreter that has the other libraries"
    )
    parser.add_argument(
        "--peers",
        default=",".join(libraries),
        help="names of other libraries, separated by commas",
    )


class Peers:
    """Processes of `peers`, one per library.

    `calls` maps pairs of library and quantity to timers with the interface of
    `timeit.Timer`, which use the clock of that process. `memory` maps libraries to
    peaks of memory by quantity. `absent` lists sentences on libraries that failed to
    start.

    Args:
      model: name in `peers.MODELS`, or "" for none.
      options: parsed options of the command.
    """

    def __init__(self, model, options):
        self.calls, self.memory, self.absent = {}, {}, []
        self._processes = []
        if not model:
            return
        if options.peers_python is None:
            self.absent.append("No peers: `--peers-python` names no interpreter.")
            return
        selected = options.peers.split(",")
        libraries = [name for name in peers.libraries(model) if name in selected]
        start = functools.partial(_start, options.peers_python, model)
        with concurrent.futures.ThreadPoolExecutor(peers.THREADS) as pool:
            for library, (process, answer) in zip(
                libraries, pool.map(start, libraries)
            ):
                if process is None:
                    self.absent.append(f"{library} does not run {model}: {answer}")
                    continue
                self._processes.append(process)
                first_line = json.loads(answer)
                self.memory[library] = first_line["memory"]
                for quantity in first_line["quantities"]:
                    self.calls[library, quantity] = RemoteTimer(process, quantity)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self._processes:
            process.communicate()


class RemoteTimer:
    """Calls of a quantity in the process of a peer."""

    def __init__(self, process, quantity):
        self._process, self._quantity = process, quantity

    def timeit(self, number=1):
        """Returns the seconds of `number` calls, by the clock of the peer."""
        self._process.stdin.write(f"{self._quantity} {number}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"The process {self._process.args} ended in {self._quantity}."
            )
        return float(line)


def _start(python, model, library):
    """Returns the process and its first line, or None and the reason why it ended."""
    errors = tempfile.TemporaryFile("w+")  # a pipe that is not read would fill
    process = subprocess.Popen(
        [python, "-m", "tests.benchmarks.peers", model, library],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env=dict(os.environ, OMP_NUM_THREADS=str(peers.THREADS)),
    )
    timer = threading.Timer(TIMEOUT, process.kill)
    timer.start()
    line = process.stdout.readline()
    timer.cancel()
    if line:
        return process, line
    process.communicate()
    if process.returncode == -signal.SIGKILL:
        return None, f"its first calls took longer than {TIMEOUT} s, or all memory"
    errors.seek(0)
    return None, errors.read().strip().split("\n")[-1]
