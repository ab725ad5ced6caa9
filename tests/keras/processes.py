"""Trainings in processes of their own, which are waited for by what becomes of them.

No wait has a limit that a busy machine could exceed: it ends when a process does. A
process that ends in another way than it should ends the wait for the others, which may
wait for it in turn.
"""

import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[2]
HANG = 1800.0  # seconds after which nothing can come any more, on any machine


class Training:
    """A process that runs `training_script.py`.

    Args:
      result: path of the file that it writes, beside which is its log.
      *arguments: arguments of the script.
      **environment: environment variables that it gets besides those of this process.
    """

    def __init__(self, result, *arguments, **environment):
        self._log = result.with_suffix(".log")
        command = [sys.executable, "-m", "tests.keras.training_script", *arguments]
        with open(self._log, "w") as log:
            self.process = subprocess.Popen(
                [*command, "--result", result],
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment},
            )

    @property
    def code(self):
        """Exit code, negative for a signal, or None while it runs."""
        return self.process.poll()

    @property
    def log(self):
        return self._log.read_text()[-3000:]


def wait_for_end(*trainings):
    """Waits until one of the trainings ends; returns it.

    Raises:
      TimeoutError: if none will.
    """
    give_up = time.monotonic() + HANG
    while time.monotonic() < give_up:
        for training in trainings:
            if training.code is not None:
                return training
        time.sleep(0.05)
    raise TimeoutError("\n\n".join(training.log for training in trainings))


def finish(*trainings, code=0):
    """Waits until all trainings have ended with that exit code.

    If one ends otherwise, those that still run are killed.
    """
    running = list(trainings)
    try:
        while running:
            ended = wait_for_end(*running)
            assert ended.code == code, ended.log
            running.remove(ended)
    finally:
        kill(*running)


def kill(*trainings):
    """Kills the trainings that still run, and waits until they are gone."""
    for training in trainings:
        training.process.kill()
        training.process.wait()
