"""Measures workloads; each gives rows of numbers, which JSON can hold.

A row is a dictionary:

- `workload` and `quantity`: names;
- `times`: by candidate, the median in seconds, and the interquartile range in percent.
  Candidates are "ours, XLA", "TFP, graph", "lower bound, XLA" and so on, and the
  names of peers;
- `ratios`: our faster mode over each candidate, and over the fastest of each kind: the
  median of the ratios within rounds, and its spread. Kinds are "TFP", "peers", "best"
  (the faster of both), "lower bound" and "loop"; names of quantities are ours;
- `first_call`: by mode, the seconds to trace and to compile our function;
- `memory`: by candidate, bytes at the peak of a training step;
- `flops` and `bytes` of the lower bound.
"""

import functools

import tensorflow as tf

from tests.benchmarks import device, overhead, processes, timing
from tests.benchmarks.timing import MODES
from tests.benchmarks.workloads import TARGETS, WORKLOADS

MAX_SECONDS = 6.0  # of a candidate in all rounds
KINDS = ("ours", "TFP", "lower bound", "loop")


def measure_alone(name, options):
    """Returns the result of `measure` from a fresh process."""
    return timing.in_child(measure, name, options)


def measure(name, options):
    """Times all candidates of a workload.

    Args:
      name: one of `workloads.NAMES`.
      options: parsed options of the command.

    Returns:
      rows: list of dictionaries, see above.
      absent: sentences on peers that failed to start.
    """
    tf.get_logger().setLevel("ERROR")  # it warns if a function is compiled twice
    if name in overhead.WORKLOADS:
        quantity, timings = overhead.measure(name, options)
        seconds = {(quantity, c): values for c, values in timings.seconds.items()}
        return _rows(name, timing.Timings(seconds)), []
    with tf.device(options.device):
        return _measure(name, WORKLOADS[name], options)


def _measure(name, workload, options):
    calls, first_calls = {}, {}
    call = device.caller(options.device)
    for library, candidates in _candidates(workload).items():
        if library == "ours":
            device.check_placement(name, candidates, options.device)
        for quantity, (function, *arguments) in candidates.items():
            for mode, jit_compile in MODES.items():
                if jit_compile and library in workload.graphs_only:
                    continue
                compiled = timing.compiled(function, jit_compile)
                key = quantity, f"{library}, {mode}"
                first_calls[key] = timing.first_call(compiled, *arguments)
                calls[key] = functools.partial(call, compiled, *arguments)
    with processes.Peers(workload.model, options) as peers:
        calls |= {(q, peer): timer for (peer, q), timer in peers.calls.items()}
        order = list(dict.fromkeys(quantity for quantity, _ in calls))
        timings = timing.interleave(
            {key: calls[key] for key in sorted(calls, key=lambda k: order.index(k[0]))},
            options.rounds,
            options.sample,
            processes.PAUSE,
            MAX_SECONDS,
        )
    rows = _rows(name, timings)
    for row in rows:
        row["first_call"] = {
            mode: list(seconds)
            for mode in MODES
            if (seconds := first_calls.get((row["quantity"], f"ours, {mode}")))
        }
        if row["quantity"] in workload.bounds:
            bound = workload.bounds[row["quantity"]]
            row["flops"], row["bytes"] = bound.flops, bound.moved
        if row["quantity"] == "step" and workload.memory:
            row["memory"] = _memory(name, row, peers, options)
            row["ratios"] |= {
                f"memory of {kind}": [value, 0.0]
                for kind in ("TFP", "peers")
                if (value := _memory_ratio(row["memory"], kind))
            }
    return rows, peers.absent


def _candidates(workload):
    """Returns candidates by library and quantity, with the lower bounds of ours."""
    candidates = {name: build() for name, build in workload.builders().items()}
    quantities = [q for q in candidates["ours"] if q in workload.bounds]
    # Quantities with equal bounds share one candidate.
    bounds = {b: b.candidate() for b in {workload.bounds[q] for q in quantities}}
    candidates["lower bound"] = {q: bounds[workload.bounds[q]] for q in quantities}
    return candidates


def kind_of(candidate):
    """Returns "ours", "TFP", "lower bound", "loop" or "peers"."""
    library = candidate.split(", ")[0]
    return library if library in KINDS else "peers"


def _rows(name, timings):
    """Returns one row per quantity.

    Args:
      name: of the workload.
      timings: `timing.Timings` of pairs of quantity and candidate.
    """
    rows = []
    for quantity in dict.fromkeys(quantity for quantity, _ in timings.names):
        keys = [key for key in timings.names if key[0] == quantity]
        ours = _fastest(timings, quantity, "ours")
        if ours is None:
            continue
        references = {key[1]: key for key in keys if kind_of(key[1]) != "ours"}
        for kind in ("TFP", "peers", "best", "lower bound", "loop"):
            references[kind] = _fastest(timings, quantity, kind)
        for target in TARGETS:  # those to another quantity of ours
            if (target.workload, target.quantity) == (name, quantity):
                other = _fastest(timings, target.reference, "ours")
                references.setdefault(target.reference, other)
        rows.append(
            {
                "workload": name,
                "quantity": quantity,
                "times": {key[1]: timings.summary(key) for key in keys},
                "ratios": {
                    reference: timings.ratio(ours, key)
                    for reference, key in references.items()
                    if key is not None
                },
            }
        )
    return rows


def _fastest(timings, quantity, kind):
    """Returns the key of the fastest candidate of a kind, or None."""
    kinds = ("TFP", "peers") if kind == "best" else (kind,)
    keys = [k for k in timings.names if k[0] == quantity and kind_of(k[1]) in kinds]
    return min(keys, key=timings.median, default=None)


def _memory(name, row, peers, options):
    """Returns peaks of a step in bytes: ours in both modes, TFP in its faster one."""
    memory = {
        peer: peaks["step"] for peer, peaks in peers.memory.items() if "step" in peaks
    }
    theirs = [c for c in row["times"] if kind_of(c) == "TFP"]
    fastest = min(theirs, key=lambda c: row["times"][c][0], default=None)
    for library in WORKLOADS[name].builders():
        for mode, jit_compile in MODES.items():
            candidate = f"{library}, {mode}"
            if library == "ours" or candidate == fastest:
                arguments = name, library, jit_compile, options.device
                memory[candidate] = _step_memory(*arguments)
    return memory


def _step_memory(name, library, jit_compile, where):
    """Returns the bytes that a step needs for its batch.

    On a CPU, that is the peak of the second step in a fresh process, above the peak in
    another process with a batch of one example: XLA keeps the memory of a step, and
    compiles once per size, so that one process does not separate it from compilation.
    """
    if not where.startswith("CPU"):
        function, *arguments = WORKLOADS[name].builders()[library]()["step"]
        return device.step_memory(
            timing.compiled(function, jit_compile), arguments, where
        )
    batch, single = (
        timing.in_child(_peak_of_step, name, library, jit_compile, rows)
        for rows in (None, 1)
    )
    return batch - single


def _peak_of_step(name, library, jit_compile, rows):
    function, x = WORKLOADS[name].builders()[library]()["step"]
    x = x[:rows]
    compiled = timing.compiled(function, jit_compile)
    compiled(x)
    timing.restart_peak_memory()
    compiled(x)
    return timing.peak_memory()


def _memory_ratio(memory, kind):
    """Returns the ratio of our leaner mode to the leanest of another kind, or None."""
    ours = [b for c, b in memory.items() if kind_of(c) == "ours"]
    others = [b for c, b in memory.items() if kind_of(c) == kind]
    return min(ours) / min(others) if ours and others else None


def target_values(row):
    """Returns pairs of target and value, where the reference was measured."""
    found = []
    for target in TARGETS:
        if target.workload != row["workload"]:
            continue
        reference = target.reference
        if target.quantity == "memory":
            quantity, reference = "step", f"memory of {reference}"
        else:
            quantity = target.quantity
        if quantity == row["quantity"] and reference in row["ratios"]:
            found.append((target, row["ratios"][reference][0]))
    return found
