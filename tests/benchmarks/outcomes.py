"""Races works of the catalogue, and prints what came out as tables.

An outcome is a dictionary that goes into a file as it is:

- `sizes`: text;
- `seconds`: by quantity and candidate, a list of one number a round. Candidates are
  "ours, XLA", "TFP, graph", "floor, XLA" and so on, and the names of peers;
- `flops` and `bytes`: by quantity, what the work needs;
- `first`: by quantity and candidate, the seconds to trace and to compile;
- `memory`: by candidate, bytes at the peak of a training step; of TFP in its faster
  mode;
- `absent`: sentences on the peers that took no part.
"""

import functools

import numpy as np
import tensorflow as tf

from tests.benchmarks import peer_processes, small, timing
from tests.benchmarks.report import COMPILERS, table
from tests.benchmarks.works import AIMS, QUANTITIES, WORKS

MOST_SECONDS = 6.0  # for a candidate in all rounds


def measure_alone(name, options):
    """Returns the outcome of a work, or of one in `small`, from a fresh process."""
    outcome, _ = timing.in_child(_measure_quietly, name, options)
    return outcome


def _measure_quietly(name, options):
    tf.get_logger().setLevel("ERROR")  # it warns of one function compiled twice
    return (
        small.measure(name, options) if name in small.WORKS else measure(name, options)
    )


def measure(name, options, call=None, memory=True):
    """Races all candidates of a work.

    Args:
      name: one of `works.WORKS`.
      options: what the command parsed: rounds, sample, peers.
      call: function of a compiled function and its arguments that returns when its
        result is there; by default it calls it, which is enough on a CPU.
      memory: whether fresh processes tell the memory that the process of a step takes,
        where the work asks for it.

    Returns:
      outcome: dictionary, see above.
    """
    work = WORKS[name]
    call = (lambda function, *arguments: function(*arguments)) if call is None else call
    calls, first = {}, {}
    for library, candidates in _candidates(work).items():
        for quantity, (function, *arguments) in candidates.items():
            for compiler, jit_compile in COMPILERS.items():
                if jit_compile and library in work.graphs_only:
                    continue
                compiled = timing.compiled(function, jit_compile)
                key = quantity, f"{library}, {compiler}"
                first[key] = timing.first_call(compiled, *arguments)
                calls[key] = functools.partial(call, compiled, *arguments)
    with peer_processes.Peers(work.model, options) as others:
        calls |= {
            (quantity, peer): timer for (peer, quantity), timer in others.calls.items()
        }
        ordered = {
            key: calls[key]
            for quantity in QUANTITIES
            for key in calls
            if key[0] == quantity
        }
        race = timing.race(
            ordered, options.rounds, options.sample, peer_processes.PAUSE, MOST_SECONDS
        )
    peaks = {
        peer: told["memory"]["step"]
        for peer, told in others.told.items()
        if "step" in told.get("memory", {})
    }
    outcome = {
        "sizes": work.sizes,
        "seconds": _nested({key: list(s) for key, s in race.seconds.items()}),
        "flops": {q: work.needs[q].flops for q in QUANTITIES},
        "bytes": {q: work.needs[q].moved for q in QUANTITIES},
        "first": _nested(first),
        "memory": peaks,
        "absent": others.absent,
    }
    if memory and work.memory:
        for library in work.makers():
            _, faster = Times(outcome).fastest("step", library)
            for compiler, jit_compile in COMPILERS.items():
                candidate = f"{library}, {compiler}"
                if library == "ours" or candidate == faster:
                    peaks[candidate] = step_memory(name, library, jit_compile)
    return outcome


def _candidates(work):
    """Returns candidates by library and quantity, and the floors of our quantities."""
    candidates = {name: make() for name, make in work.makers().items()}
    # Needs that are equal are one and the same, and so are their floors.
    floors = {
        need: need.candidate()
        for need in {work.needs[quantity] for quantity in candidates["ours"]}
    }
    candidates["floor"] = {
        quantity: floors[work.needs[quantity]] for quantity in candidates["ours"]
    }
    return candidates


def step_memory(name, library, jit_compile):
    """Returns the bytes that a step takes for its batch.

    That is the peak of a fresh process in its second step, above the peak of another
    one with a batch of one point: XLA keeps what a step takes, and compiles for each
    size anew, so that one process can't tell that from the compiler's memory.
    """
    whole, single = (
        timing.in_child(_peak_of_step, name, library, jit_compile, rows)[0]
        for rows in (None, 1)
    )
    return whole - single


def _peak_of_step(name, library, jit_compile, rows):
    function, x = WORKS[name].makers()[library]()["step"]
    x = x[:rows]
    compiled = timing.compiled(function, jit_compile)
    compiled(x)
    timing.restart_peak_memory()
    compiled(x)
    return timing.peak_memory()


class Times:
    """Questions to the seconds of an outcome."""

    def __init__(self, outcome):
        self._seconds = outcome["seconds"]
        self.quantities = [q for q in QUANTITIES if q in self._seconds]
        self.race = timing.Race(
            {
                (quantity, candidate): np.array(values)
                for quantity, by_candidate in self._seconds.items()
                for candidate, values in by_candidate.items()
            }
        )

    def candidates(self, quantity):
        return list(self._seconds.get(quantity, {}))

    def has(self, quantity, candidate):
        return (quantity, candidate) in self.race.names

    def fastest(self, quantity, of):
        """Returns the key of the fastest candidate, or None.

        Args:
          quantity: one of `QUANTITIES`.
          of: "ours", "TFP", "floor", "peers", or "best", the fastest of TFP and peers.
        """
        among = [
            (quantity, c)
            for c in self._seconds.get(quantity, {})
            if of == kind_of(c) or of == "best" and kind_of(c) in ("TFP", "peers")
        ]
        return min(among, key=self.race.median) if among else None


_HERE = ("ours", "TFP", "floor")


def library_of(candidate):
    return candidate.split(", ")[0]


def kind_of(candidate):
    library = library_of(candidate)
    return library if library in _HERE else "peers"


def _nested(by_key):
    nested = {}
    for (quantity, candidate), value in by_key.items():
        nested.setdefault(quantity, {})[candidate] = value
    return nested


def print_works(outcomes):
    """Prints the sizes."""
    table(["work", "sizes"], [[f"`{n}`", o["sizes"]] for n, o in outcomes.items()])


def print_times(outcomes):
    """Prints a row for each work and quantity."""
    rows = []
    for name, outcome in outcomes.items():
        times = Times(outcome)
        for quantity in times.quantities:
            rows.append(
                [
                    f"`{name}`",
                    quantity,
                    *_times_of_row(times, quantity),
                    _billions(outcome["flops"][quantity]),
                    f"{outcome['bytes'][quantity] / 1e6:.3g}",
                    _ratio(times, quantity, "floor"),
                    _aims_met(outcome, name, quantity),
                ]
            )
    table(
        [
            "work",
            "",
            "ours, XLA",
            "ours, graph",
            "TFP",
            "best peer",
            "",
            "ours / best of TFP and peers",
            "GFLOP",
            "MB",
            "ours / floor",
            "aims met",
        ],
        rows,
    )


def _times_of_row(times, quantity):
    race = times.race
    for compiler in COMPILERS:
        yield race.time((quantity, f"ours, {compiler}"))
    theirs, peer = (times.fastest(quantity, of) for of in ("TFP", "peers"))
    yield "" if theirs is None else race.time(theirs)
    yield "" if peer is None else peer[1]
    yield "" if peer is None else race.time(peer)
    yield _ratio(times, quantity, "best")


def _ratio(times, quantity, to):
    ours, other = times.fastest(quantity, "ours"), times.fastest(quantity, to)
    return "" if other is None else times.race.ratio(ours, other)


def _aims_met(outcome, name, quantity):
    values = [
        (value_of(aim, outcome), aim.limit)
        for aim in AIMS
        if (aim.work, aim.quantity) == (name, quantity)
    ]
    met = [value <= limit for value, limit in values if value is not None]
    return "" if not met else "yes" if all(met) else "no"


def _billions(number):
    return f"{number / 1e9:.3g}" if number else ""


def value_of(aim, outcome):
    """Returns what an aim limits, the median ratio, or None where there is no other."""
    if aim.quantity == "memory":
        return _memory_ratio(outcome["memory"], aim.to)
    times = Times(outcome)
    ours = times.fastest(aim.quantity, "ours")
    if aim.to in QUANTITIES:
        other = times.fastest(aim.to, "ours")
    else:
        other = times.fastest(aim.quantity, aim.to)
    if ours is None or other is None:
        return None
    return float(np.median(times.race.ratios(ours, other)))


def _memory_ratio(memory, to):
    """Returns the ratio of our leaner mode to the leanest of another kind, or None."""
    ours = [b for c, b in memory.items() if kind_of(c) == "ours"]
    others = [b for c, b in memory.items() if kind_of(c) == to]
    return min(ours) / min(others) if ours and others else None


def print_peers(outcomes):
    """Prints the time of each peer over that of our faster mode."""
    names = dict.fromkeys(
        c
        for outcome in outcomes.values()
        for by_name in outcome["seconds"].values()
        for c in by_name
        if kind_of(c) in ("TFP", "peers")
    )
    rows = []
    for name, outcome in outcomes.items():
        times = Times(outcome)
        for quantity in times.quantities:
            ours = times.fastest(quantity, "ours")
            rows.append(
                [f"`{name}`", quantity, ours[1].split(", ")[1]]
                + [
                    times.race.ratio((quantity, other), ours)
                    if times.has(quantity, other)
                    else ""
                    for other in names
                ]
            )
    table(["work", "", "our faster mode", *names], rows)


def print_first_calls(outcomes):
    """Prints what the first call of our functions takes."""
    rows = [
        [f"`{name}`", quantity]
        + [
            f"{value:.2f}"
            for compiler in COMPILERS
            for value in outcome["first"][quantity][f"ours, {compiler}"]
        ]
        for name, outcome in outcomes.items()
        for quantity in outcome["seconds"]
        if quantity in ("forward", "step")
    ]
    columns = [
        f"{compiler}, {part}, s"
        for compiler in COMPILERS
        for part in ("trace", "compile")
    ]
    table(["work", "", *columns], rows)


def print_memory(outcomes):
    """Prints the peaks of memory of a training step."""
    ours = [f"ours, {compiler}" for compiler in COMPILERS]
    rows = []
    for name, outcome in outcomes.items():
        memory = outcome["memory"]
        row = [f"`{name}`", *(_mebibytes(memory.get(mode)) for mode in ours)]
        for kind in ("TFP", "peers"):
            those = [c for c in memory if kind_of(c) == kind]
            leanest = min(those, key=memory.get, default=None)
            row += [leanest or "", _mebibytes(memory.get(leanest))]
        if any(row[1:3]):
            rows.append(row)
    table(["step of", *ours, "TFP", "", "leanest peer", ""], rows)


def _mebibytes(number):
    return "" if number is None else f"{number / 2**20:.3g} MiB"


def print_aims(outcomes):
    """Prints each aim with what was measured."""
    rows = []
    for aim in AIMS:
        if aim.work not in outcomes:
            continue
        value = value_of(aim, outcomes[aim.work])
        if value is not None:
            what = f"`{aim.work}`, {aim.quantity} / {aim.to}"
            rows.append(
                [
                    what,
                    f"{aim.limit:.3g}",
                    f"{value:.3g}",
                    "yes" if value <= aim.limit else "no",
                ]
            )
    table(["aim", "at most", "measured", "met"], rows)
    met = sum(row[-1] == "yes" for row in rows)
    print(f"{met} of {len(rows)} aims are met.\n")


def print_small(outcomes):
    """Prints what Python's time went into."""
    rows = []
    for name, outcome in outcomes.items():
        race = timing.Race(
            {
                candidate: np.array(values)
                for by_candidate in outcome["seconds"].values()
                for candidate, values in by_candidate.items()
            }
        )
        rows.append(
            [
                f"`{name}`",
                outcome["sizes"],
                *map(race.time, race.names),
                race.ratio(*race.names),
            ]
        )
    table(["work", "", "ours", "TFP", "ours / TFP"], rows)


def print_all(outcomes):
    """Prints all tables, and the reasons why a peer took no part."""
    raced = {name: o for name, o in outcomes.items() if name in WORKS}
    of_python = {name: o for name, o in outcomes.items() if name in small.WORKS}
    for title, show, those in [
        ("Works", print_works, raced),
        ("Times", print_times, raced),
        ("Each other library, over ours", print_peers, raced),
        ("First calls", print_first_calls, raced),
        ("Memory", print_memory, raced),
        ("Small batches and import", print_small, of_python),
        ("Aims", print_aims, outcomes),
    ]:
        if those:
            print(f"### {title}\n")
            show(those)
    absent = [line for outcome in raced.values() for line in outcome["absent"]]
    print(*dict.fromkeys(absent), sep="\n\n")
