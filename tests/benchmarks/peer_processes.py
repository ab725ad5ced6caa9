"""Processes of other libraries that wait for their turns."""

import concurrent.futures
import functools
import json
import os
import signal
import subprocess
import tempfile
import threading

from tests.benchmarks import peers

PAUSE = 0.005  # seconds, in which the threads of another process come to rest
PATIENCE = 240  # seconds for a peer to prepare itself


def add_arguments(parser, libraries):
    """Adds the options that say which other libraries take part.

    Args:
      parser: `argparse.ArgumentParser`.
      libraries: names of those that do by default.
    """
    parser.add_argument(
        "--peers-python", help="interpreter that has other people's libraries"
    )
    parser.add_argument(
        "--peers",
        default=",".join(libraries),
        help="those to take part, with commas between them",
    )


class Peers:
    """Processes of `peers.py`, one for each library; they wait for their turns.

    `calls` has for each pair of a library and a quantity what times such calls, as
    `timeit.Timer` does, by the clock of that process. `told` has by library what else
    it said of itself, such as peaks of its memory by quantity; `absent` has sentences
    on those that take no part.

    Args:
      model: name of the flow for `peers`, or "" for one that none of them has.
      options: what `report.main` parsed.
    """

    def __init__(self, model, options):
        self.calls, self.told, self.absent = {}, {}, []
        self._processes = []
        if not model:
            return
        if options.peers_python is None:
            self.absent.append("No peers: `--peers-python` names no interpreter.")
            return
        asked = options.peers.split(",")
        libraries = [name for name in peers.libraries(model) if name in asked]
        start = functools.partial(_start, options.peers_python, model)
        with concurrent.futures.ThreadPoolExecutor(peers.THREADS) as pool:
            for library, (process, answer) in zip(
                libraries, pool.map(start, libraries)
            ):
                if process is None:
                    self.absent.append(f"{library} takes no part in {model}: {answer}")
                    continue
                self._processes.append(process)
                self.told[library] = json.loads(answer)
                for quantity in self.told[library].pop("quantities"):
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
        """Returns the seconds that so many calls take, by the peer's own clock."""
        self._process.stdin.write(f"{self._quantity} {number}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"A peer ended in its {self._quantity}: {self._process.args}."
            )
        return float(line)


def _start(python, model, library):
    """Returns the process and its first line, or None and why it has ended."""
    errors = tempfile.TemporaryFile("w+")  # a pipe that nobody reads would fill
    process = subprocess.Popen(
        [python, "-m", "tests.benchmarks.peers", model, library],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env=dict(os.environ, OMP_NUM_THREADS=str(peers.THREADS)),
    )
    impatience = threading.Timer(PATIENCE, process.kill)
    impatience.start()
    line = process.stdout.readline()
    impatience.cancel()
    if line:
        return process, line
    process.communicate()
    if process.returncode == -signal.SIGKILL:
        return None, f"its first calls took more than {PATIENCE} s, or all memory"
    errors.seek(0)
    return None, errors.read().strip().split("\n")[-1]
