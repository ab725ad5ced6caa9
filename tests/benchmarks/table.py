"""The results of the benchmarks as one table, in Markdown, and as a picture."""

from tests.benchmarks.measurement import kind_of, target_values
from tests.benchmarks.peers import IN_JAX
from tests.benchmarks.workloads import NAMES, QUANTITIES

HEADERS = [
    *("workload", "quantity", "ours", "TFP", "fastest other library"),
    *("ours / fastest other", "ours / lower bound", "first call", "memory", "target"),
]
COLORS = {"TFP": "#d95f02", "PyTorch": "#1f78b4", "JAX": "#33a02c"}
GRAY = "#808080"


def table(results):
    """Returns the table as text.

    Args:
      results: dictionary of `runs` and `rows`, see `__main__`.
    """
    lines = [HEADERS, ["---"] * len(HEADERS), *map(_cells, results["rows"])]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row):
    times = row["times"]

    def fastest(*kinds):
        names = [c for c in times if kind_of(c) in kinds]
        return min(names, key=lambda c: times[c][0], default=None)

    ours, theirs, peer = fastest("ours"), fastest("TFP"), fastest("peers", "loop")
    memory = [b for c, b in row.get("memory", {}).items() if kind_of(c) == "ours"]
    return [
        f"`{row['workload']}`",
        row["quantity"],
        f"{_time(times[ours])}, {ours.split(', ')[1]}",
        f"{_time(times[theirs])}" if theirs else "",
        f"{_time(times[peer])}, {peer}" if peer else "",
        _ratio(row, "best"),
        _ratio(row, "lower bound"),
        _first_call(row, ours.split(", ")[1]),
        f"{min(memory) / 2**20:.3g} MiB" if memory else "",
        ", ".join(_target(*pair) for pair in target_values(row)),
    ]


def _time(summary):
    seconds, spread = summary
    return f"{1e3 * seconds:.3g} ms ± {spread:.0f} %"


def _ratio(row, reference):
    return f"{row['ratios'][reference][0]:.2f}" if reference in row["ratios"] else ""


def _first_call(row, mode):
    seconds = row.get("first_call", {}).get(mode)
    return f"{sum(seconds):.2f} s" if seconds else ""


def _target(target, value):
    met = "met" if value <= target.limit else "missed"
    if target.reference == "best":
        return met
    what = f"memory / {target.reference}" if target.quantity == "memory" else ""
    return f"{what or target.reference}: {value:.2g} of {target.limit:.2g} {met}"


def draw(results, path):
    """Draws a panel per quantity, a row per workload, a dot per candidate.

    Args:
      results: dictionary of `rows`, see `__main__`.
      path: file to write.
    """
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    rows = [row for row in results["rows"] if row["quantity"] in QUANTITIES]
    compared = {row["workload"] for row in rows if row["ratios"]}
    names = [name for name in NAMES if name in compared]
    figure, panels = plt.subplots(
        1,
        len(QUANTITIES),
        sharex=True,
        sharey=True,
        layout="constrained",
        figsize=(11.0, 1.6 + 0.24 * len(names)),
    )
    for row in (row for row in rows if row["workload"] in compared):
        panel = panels[QUANTITIES.index(row["quantity"])]
        _draw_row(panel, names.index(row["workload"]), row["ratios"])
    for panel, quantity in zip(panels, QUANTITIES):
        _finish(panel, quantity)
    low, high = panels[0].get_xlim()  # of all panels
    panels[0].set_xlim(min(low, 0.3), max(high, 10.0))
    panels[0].set_yticks(range(len(names)), names, fontsize=8)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    bound = dict(marker="|", markersize=9, markeredgewidth=1.5)
    handles = [
        plt.Line2D([], [], color=color, linestyle="", label=label, **style)
        for color, label, style in [
            *((color, label, dict(marker="o")) for label, color in COLORS.items()),
            (GRAY, "lower bound", bound),
        ]
    ]
    figure.legend(
        handles=handles, loc="outside upper center", ncols=4, frameon=False, fontsize=9
    )
    figure.supxlabel(
        "time over ours in its faster mode: right of the line ours is faster; "
        "the fastest other library is filled",
        fontsize=9,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_row(panel, height, ratios):
    """Draws the candidates of one quantity of a workload."""
    shown = {c: 1.0 / ratio for c, (ratio, _) in ratios.items() if _is_candidate(c)}
    best = min(shown, key=shown.get, default=None)
    for candidate, value in shown.items():
        if kind_of(candidate) == "TFP":
            color = COLORS["TFP"]
        else:
            color = COLORS["JAX" if candidate in IN_JAX else "PyTorch"]
        panel.plot(
            value,
            height,
            "o",
            ms=5.5,
            mec=color,
            mfc=color if candidate == best else "white",
            zorder=4 if candidate == best else 3,
        )
    if "lower bound" in ratios:
        value = 1.0 / ratios["lower bound"][0]
        panel.plot(value, height, "|", color=GRAY, ms=9, mew=1.5, zorder=2)


def _is_candidate(name):
    """Returns whether a reference is one library of TFP or the peers."""
    if name in ("peers", "best", "TFP", *QUANTITIES) or name.startswith("memory of"):
        return False
    return kind_of(name) in ("TFP", "peers")


def _finish(panel, quantity):
    panel.set_title(quantity, fontsize=10)
    panel.set_xscale("log")
    panel.axvline(1.0, color="black", linewidth=0.8, zorder=1)
    panel.grid(axis="y", color="#e8e8e8", linewidth=0.8, zorder=0)
    panel.tick_params(axis="x", labelsize=8)
    panel.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
