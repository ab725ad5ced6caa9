"""Timing of functions that take turns, and of processes."""

import concurrent.futures
import ctypes
import multiprocessing
import re
import time
import timeit

import numpy as np
import tensorflow as tf


def compiled(function, jit_compile=True):
    """Returns the function compiled by XLA, or as a graph without `jit_compile`."""
    return tf.function(function, jit_compile=jit_compile, autograph=False)


class Race:
    """Seconds that candidates took, one sample for each in each round.

    A ratio is taken within each round first: what slows the machine for longer than a
    round slows both candidates, and cancels. Who left the race early is compared in the
    rounds that it took part in.

    Args:
      seconds: dictionary of arrays by candidate, one entry for each round.
    """

    def __init__(self, seconds):
        self.seconds = seconds
        self.names = list(seconds)

    def median(self, name):
        """Returns the median of a candidate, in seconds."""
        return float(np.median(self.seconds[name]))

    def time(self, name, parts=1):
        """Returns the median of a candidate, or of its parts, and its spread."""
        milliseconds = 1e3 * self.median(name) / parts
        return f"{milliseconds:.3g} ms ± {_spread(self.seconds[name]):.0f} %"

    def ratios(self, name, other):
        """Returns the ratios to another candidate, one for each common round."""
        rounds = min(len(self.seconds[name]), len(self.seconds[other]))
        return self.seconds[name][:rounds] / self.seconds[other][:rounds]

    def ratio(self, name, other, times=1):
        """Returns the median ratio of so many calls to another, and its spread."""
        ratios = times * self.ratios(name, other)
        return f"{np.median(ratios):.2f} ± {_spread(ratios):.0f} %"

    def growth(self, name, other, factor):
        """Returns the exponent with which time grows for a `factor` in size."""
        return np.median(np.log(self.ratios(name, other))) / np.log(factor)


def race(candidates, rounds, sample_seconds, pause=0.0, most_seconds=np.inf):
    """Lets candidates take turns.

    Args:
      candidates: dictionary of callables without arguments, which return when their
        work is done, as compiled functions do on a CPU, or of objects with a method
        `timeit(number)`, as `timeit.Timer` has it: calls of another process, which
        counts their seconds. Each is called once before.
      rounds: number of samples of each candidate.
      sample_seconds: least length of a sample, which holds as many calls as that takes;
        one call for 0. As many before each sample, which aren't counted, warm up,
        unless one takes a quarter of a second: after a pause, and after another
        candidate, the first calls take up to twice as long.
      pause: seconds of rest before each sample. The threads of another process spin
        for some milliseconds after its last call.
      most_seconds: what a candidate may spend in all. After that it leaves the race,
        but not before the third round.

    Returns:
      race: `Race`.
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
            if i >= 3 and number * sum(seconds[name]) > most_seconds:
                continue
            time.sleep(pause)
            if warm[name]:
                timer.timeit(number)
            seconds[name].append(timer.timeit(number) / number)
    return Race({name: np.array(values) for name, values in seconds.items()})


def first_call(function, *args):
    """Returns the seconds to trace a compiled function, and to compile it.

    Args:
      function: what `compiled` returns, not called so far.
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
      function: function of a module, with two threads at its disposal.
      *args: its arguments.

    Returns:
      value: what it returns.
      peak: the most memory that the process held, in bytes.
    """
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), initializer=set_threads
    ) as pool:
        return pool.submit(_with_peak, function, *args).result()


def restart_peak_memory():
    """Makes `peak_memory` forget what the process held before, on Linux.

    Returns:
      peak: what the process holds now, in bytes.
    """
    ctypes.CDLL(None).malloc_trim(0)  # what was freed would serve again, unseen
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return peak_memory()


def peak_memory():
    """Returns the most memory that this process has held so far, in bytes."""
    # Not `ru_maxrss`: Linux starts that of a child with the peak of its parent.
    with open("/proc/self/status") as status:
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status.read())[1])


def set_threads():
    """Makes TensorFlow use two threads; before its first operation."""
    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)


def _shortest(timer, sample_seconds):
    """Returns the shortest of up to three calls; a long one is called no more."""
    shortest = timer.timeit(1)
    for _ in range(2):
        if shortest < sample_seconds:
            shortest = min(shortest, timer.timeit(1))
    return shortest


def _spread(values):
    """Interquartile range in percent of the median."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return 100.0 * (high - low) / middle


def _with_peak(function, *args):
    value = function(*args)
    return value, peak_memory()
