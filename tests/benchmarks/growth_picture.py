"""The picture of the growth: a panel for batch, dimension and depth each."""

import matplotlib
import numpy as np

matplotlib.use("agg")

import matplotlib.pyplot as plt  # noqa: E402

LABELS = {"batch": "batch", "size": "dimension", "depth": "layers"}
COLOURS = {
    "planar": "#1b9e77",
    "radial": "#7570b3",
    "Sylvester": "#d95f02",
    "RealNVP": "#e7298a",
    "MAF": "#1f78b4",
    "Glow": "#666666",
}
LINE_HEIGHT = 0.055  # of a label, as a part of the height of a panel


def draw(curves, path):
    """Draws the time of a gradient in the faster mode, and how the arithmetic grows.

    Args:
      curves: dictionary by axis of dictionaries of `growth.Curve`s, by flow, quantity
        and compiler.
      path: file to write.
    """
    figure, panels = plt.subplots(
        1,
        len(curves),
        sharey=True,
        layout="constrained",
        squeeze=False,
        figsize=(3.6 * len(curves) + 0.6, 4.2),
    )
    for panel, (axis, of_axis) in zip(panels[0], curves.items()):
        _draw_panel(panel, axis, of_axis)
    low = min(np.min(line.get_ydata()) for p in panels[0] for line in p.lines[::2])
    panels[0, 0].set_ylim(bottom=0.5 * low)
    for panel in panels[0]:
        _name_lines(panel)
    panels[0, 0].set_ylabel("gradient of the log density, ms", fontsize=9)
    panels[0, 0].text(
        0.03,
        0.95,
        "dotted: growth of the arithmetic",
        fontsize=8,
        color="#666666",
        transform=panels[0, 0].transAxes,
    )
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _draw_panel(panel, axis, curves):
    for flow in dict.fromkeys(flow for flow, *_ in curves):
        modes = [
            curve
            for (name, quantity, _), curve in curves.items()
            if (name, quantity) == (flow, "gradient")
        ]
        milliseconds = 1e3 * np.min([mode.medians() for mode in modes], axis=0)
        values, flops = modes[0].values, np.array(modes[0].flops)
        color = COLOURS[flow]
        panel.plot(values, milliseconds, "o-", color=color, ms=3.5, lw=1.5, label=flow)
        arithmetic = milliseconds[-1] * flops / flops[-1]
        panel.plot(values, arithmetic, ":", color=color, lw=1.0)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlabel(LABELS[axis], fontsize=9)
    panel.tick_params(labelsize=8)
    panel.grid(color="#e5e5e5", lw=0.6)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def _name_lines(panel):
    """Writes the name of each line at its end."""
    left, right = np.log(panel.get_xlim())
    panel.set_xlim(right=np.exp(left + 1.27 * (right - left)))
    lines = [line for line in panel.lines if not line.get_label().startswith("_")]
    ends = [line.get_xydata()[-1] for line in lines]
    places = [round(np.log(x)) for x, _ in ends]
    for place in set(places):
        some = [line for line, own in zip(lines, places) if own == place]
        some.sort(key=lambda line: line.get_ydata()[-1])
        y = _apart([line.get_ydata()[-1] for line in some], panel.get_ylim())
        for line, height in zip(some, y):
            panel.annotate(
                line.get_label(),
                (line.get_xdata()[-1], height),
                xytext=(6, 0),
                va="center",
                textcoords="offset points",
                fontsize=8,
                color=line.get_color(),
                annotation_clip=False,
            )


def _apart(values, limits):
    """Returns sorted values with room for a label each, on a log scale."""
    logs = np.log(values)
    room = LINE_HEIGHT * np.log(limits[1] / limits[0])
    for _ in range(50):
        lack = np.maximum(room - np.diff(logs), 0.0) / 2.0
        logs[:-1] -= lack
        logs[1:] += lack
    return np.exp(logs)
