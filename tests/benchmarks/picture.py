"""The picture of the benchmarks: what others take for the same, on a log scale."""

import matplotlib
import numpy as np

matplotlib.use("agg")

import matplotlib.pyplot as plt  # noqa: E402

from tests.benchmarks.outcomes import Times, kind_of
from tests.benchmarks.peers import IN_JAX
from tests.benchmarks.works import QUANTITIES, WORKS

COLOURS = {"TFP": "#d95f02", "PyTorch": "#1f78b4", "JAX": "#33a02c"}
FLOOR = "#808080"


def draw(outcomes, path):
    """Draws a panel for each quantity, a row for each work, a dot for each candidate.

    Args:
      outcomes: dictionary by work, see `outcomes`.
      path: file to write.
    """
    names = [name for name in outcomes if name in WORKS]
    figure, panels = plt.subplots(
        1,
        len(QUANTITIES),
        sharex=True,
        sharey=True,
        layout="constrained",
        figsize=(11.0, 1.6 + 0.24 * len(names)),
    )
    for panel, quantity in zip(panels, QUANTITIES):
        for row, name in enumerate(names):
            _draw_row(panel, row, Times(outcomes[name]), quantity)
        _finish(panel, quantity)
    low, high = panels[0].get_xlim()  # of all panels
    panels[0].set_xlim(min(low, 0.3), max(high, 10.0))
    panels[0].set_yticks(range(len(names)), names, fontsize=8)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    handles = [
        plt.Line2D([], [], color=color, marker="o", linestyle="", label=label)
        for label, color in COLOURS.items()
    ]
    handles.append(
        plt.Line2D(
            [],
            [],
            color=FLOOR,
            marker="|",
            markersize=9,
            markeredgewidth=1.5,
            linestyle="",
            label="bare products and copies",
        )
    )
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


def framework_of(candidate):
    if kind_of(candidate) == "TFP":
        return "TFP"
    return "JAX" if candidate in IN_JAX else "PyTorch"


def _draw_row(panel, row, times, quantity):
    ours = times.fastest(quantity, "ours")
    if ours is None:
        return
    for other in times.candidates(quantity):
        kind = kind_of(other)
        if kind == "ours":
            continue
        ratio = np.median(times.race.ratios((quantity, other), ours))
        if kind == "floor":
            if (quantity, other) == times.fastest(quantity, "floor"):
                panel.plot(ratio, row, "|", color=FLOOR, ms=9, mew=1.5, zorder=2)
            continue
        best = (quantity, other) == times.fastest(quantity, "best")
        color = COLOURS[framework_of(other)]
        panel.plot(
            ratio,
            row,
            "o",
            ms=5.5,
            mec=color,
            mfc=color if best else "white",
            mew=1.0,
            zorder=4 if best else 3,
        )


def _finish(panel, quantity):
    panel.set_title(quantity, fontsize=10)
    panel.set_xscale("log")
    panel.axvline(1.0, color="black", linewidth=0.8, zorder=1)
    panel.grid(axis="y", color="#e8e8e8", linewidth=0.8, zorder=0)
    panel.tick_params(axis="x", labelsize=8)
    panel.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
