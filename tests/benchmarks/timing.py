"""Interleaved timing of functions, and measurement in fresh processes."""

import concurrent.futures
import ctypes
import multiprocessing
import re
import time
import timeit

import numpy as np
import tensorflow as tf

MODES = {"XLA": True, "graph": False}  # name, and `jit_compile` of `tf.function`


def compiled(function, jit_compile=True):
    """Returns the function as a graph, compiled by XLA with `jit_compile`."""
    return tf.function(function, jit_compile=jit_compile, autograph=False)


class Timings:
    """Seconds that candidates took, one sample of each per round.

    A ratio is taken within each round: a slowdown of the machine that lasts longer than
    a round affects both candidates, and cancels. A candidate that left early is
    compared in the rounds that it took part in.

    Args:
      seconds: dictionary of arrays by candidate, one entry per round.
    """

    def __init__(self, seconds):
        self.seconds = {name: np.asarray(values) for name, values in seconds.items()}
        self.names = list(seconds)

    def median(self, name):
        """Returns the median of a candidate, in seconds."""
        return float(np.median(self.seconds[name]))

    def summary(self, name):
        """Returns the median of a candidate, and its spread in percent."""
        return [self.median(name), _spread(self.seconds[name])]

    def ratios(self, name, other):
        """Returns the ratios to another candidate, one per common round."""
        rounds = min(len(self.seconds[name]), len(self.seconds[other]))
        return self.seconds[name][:rounds] / self.seconds[other][:rounds]

    def ratio(self, name, other):
        """Returns the median ratio to another candidate, and its spread in percent."""
        ratios = self.ratios(name, other)
        return [float(np.median(ratios)), _spread(ratios)]


def interleave(candidates, rounds, sample_seconds, pause=0.0, max_seconds=np.inf):
    """Times candidates in rounds, one sample of each per round.

    Args:
      candidates: dictionary of callables without arguments, which return when their
        result is ready, as compiled functions do on a CPU, or of objects with a method
        `timeit(number)` as of `timeit.Timer`: calls in another process, which measures
        their seconds. Each is called once before.
      rounds: number of samples of each candidate.
      sample_seconds: least length of a sample, which repeats calls to fill it; one call
        for 0. As many calls come before each sample as warm-up, unless one takes a
        quarter of a second: after a pause, and after another candidate, the first calls
        take up to twice as long.
      pause: seconds of rest before each sample. The threads of another process spin
        for some milliseconds after its last call.
      max_seconds: time budget of a candidate, after which it leaves, but not before the
        third round.

    Returns:
      timings: `Timings`.
    """
    timers = {
        name: call if hasattr(call, "timeit") else timeit.Timer(call)
        for name, call in candidates.items()
    }
    numbers, warm, seconds = {}, {}, {name: [] for name in timers}
    for name, timer in timers.items():
        timer.timeit(1)  # compiles
        shortest = _shortest(timer, sample_seconds)
        numbers[name] = max(1, int(np.ceil(sample_seconds / shortest)))
        warm[name] = shortest < 0.25
    for i in range(rounds):
        for name, timer in timers.items():
            number = numbers[name]
            if i >= 3 and number * sum(seconds[name]) > max_seconds:
                continue
            time.sleep(pause)
            if warm[name]:
                timer.timeit(number)
            seconds[name].append(timer.timeit(number) / number)
    return Timings(seconds)


def first_call(function, *args):
    """Returns the seconds to trace a compiled function, and to compile it.

    Args:
      function: result of `compiled`, not called so far.
      *args: its arguments.
    """
    start = time.perf_counter()
    function.get_concrete_function(*args)
    traced = time.perf_counter()
    function(*args)
    called = time.perf_counter()
    function(*args)
    return traced - start, 2.0 * called - traced - time.perf_counter()


def in_child(function, *args):
    """Calls a function in a fresh process.

    Args:
      function: function of a module; TensorFlow has two threads.
      *args: its arguments.

    Returns:
      value: its result.
    """
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), initializer=set_threads
    ) as pool:
        return pool.submit(function, *args).result()


def restart_peak_memory():
    """Resets the peak of `peak_memory` to what the process holds now, on Linux."""
    ctypes.CDLL(None).malloc_trim(0)  # freed memory would be reused unseen
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak_memory():
    """Returns the peak of the memory of this process, in bytes."""
    # Not `ru_maxrss`: Linux starts that of a child with the peak of its parent.
    with open("/proc/self/status") as status:
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status.read())[1])


def set_threads():
    """Limits TensorFlow to two threads; call it before its first operation."""
    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)


def _shortest(timer, sample_seconds):
    """Returns the shortest of up to three calls; a long call is not repeated."""
    shortest = timer.timeit(1)
    for _ in range(2):
        if shortest < sample_seconds:
            shortest = min(shortest, timer.timeit(1))
    return shortest


def _spread(values):
    """Interquartile range in percent of the median."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return float(100.0 * (high - low) / middle)
