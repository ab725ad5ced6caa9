"""Writes the result tables of the READMEs, and a picture, from the recorded results.

A table stands between two comments, and is replaced by what `results/NAME.json` gives.
`all` stands for all experiments, each with a heading:

    <!-- results: NAME -->
    <!-- end of results -->

A row is a data set and a model, a column a metric. Cells of several seeds are means
over them. Run it after an experiment:

    python examples/experiments/make_tables.py
"""

import pathlib
import re

import matplotlib.figure
import numpy as np
import recording

HERE = pathlib.Path(__file__).parent
DOCUMENTS = [HERE.parents[1] / "README.md", HERE / "README.md"]
PATTERN = re.compile(
    r"(<!-- results: (\w+) -->\n).*?(<!-- end of results -->)", re.DOTALL
)


def table(records):
    """Returns the tables of an experiment in Markdown.

    Metrics that are known for the same rows share a table.

    Args:
      records: list of dictionaries, as `recording.record` returns them.
    """
    cells, seconds = {}, {}
    for record in records:
        row = record["data"], record["model"]
        unit = "" if record["unit"] == "1" else f" ({record['unit']})"
        column = cells.setdefault(record["metric"] + unit, {})
        column.setdefault(row, []).append(record)
        if record["seconds"] is not None:
            seconds.setdefault(row, {})[record["seed"]] = record["seconds"]
    groups = {}
    for name, column in cells.items():
        groups.setdefault(frozenset(column), []).append(name)
    return "\n".join(
        _table({name: cells[name] for name in names}, seconds)
        for names in groups.values()
    )


def _table(columns, seconds):
    """Returns one table: dictionaries of lists of records by row, for each column."""
    rows = list(next(iter(columns.values())))
    header = ["data", "model", *columns]
    timed = any(row in seconds for row in rows)
    if timed:
        header.append("seconds")
    lines = [header, ["---"] * 2 + ["---:"] * (len(header) - 2)]
    for row in rows:
        line = [*row, *(cell(column[row]) for column in columns.values())]
        if timed:
            times = list(seconds.get(row, {}).values())
            line.append(f"{np.mean(times):.0f}" if times else "")
        lines.append(line)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(records):
    """Returns the mean of a metric over seeds, with its standard error if known."""
    values = [record["value"] for record in records]
    errors = [record["error"] for record in records]
    error = None if None in errors else np.mean(errors)
    digits = 3
    if error:
        digits = int(np.clip(1 - np.floor(np.log10(error)), 0, 4))
    elif np.max(np.abs(values)) >= 10.0:
        digits = 0 if all(value == round(value) for value in values) else 2
    text = f"{np.mean(values):.{digits}f}"
    if error:
        text += f" ± {error:.{digits}f}"
    return text if len(values) == 1 else f"{text} ({len(values)} seeds)"


def read(name, directory):
    """Returns the table of an experiment, by its name."""
    records = list(recording.read(name, directory).values())
    if not records:
        raise ValueError(
            f"`results/{name}.json` must exist and hold records, because a document "
            f"has a table of it. Run `{name}.py`."
        )
    return table(records)


def with_tables(text, directory=recording.RESULTS):
    """Returns a document whose tables are those of the recorded results.

    Raises:
      ValueError: nothing is recorded for a table.
    """

    def replace(match):
        if match[2] == "all":
            names = sorted(path.stem for path in pathlib.Path(directory).glob("*.json"))
            parts = [f"### {name}\n{read(name, directory)}\n" for name in names]
            return match[1] + "".join(parts) + match[3]
        return match[1] + read(match[2], directory) + match[3]

    return PATTERN.sub(replace, text)


def draw(path, directory=recording.RESULTS):
    """Draws the first metric of each experiment, a panel for each data set."""
    panels = {}
    for file in sorted(pathlib.Path(directory).glob("*.json")):
        records = list(recording.read(file.stem, directory).values())
        for record in records:
            if record["metric"] == records[0]["metric"]:
                title = f"{file.stem}: {record['data']}\n{record['metric']}, "
                panels.setdefault(title + record["unit"], []).append(record)
    panels = {
        title: records
        for title, records in panels.items()
        if len({record["model"] for record in records}) > 1
    }
    columns = 3
    rows = -(-len(panels) // columns)
    figure = matplotlib.figure.Figure((10.0, 1.9 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    for ax, (title, records) in zip(axes, panels.items()):
        models = list(dict.fromkeys(record["model"] for record in records))
        for record in records:
            at, error = models.index(record["model"]), record["error"] or 0.0
            ax.errorbar(record["value"], at, xerr=error, fmt="o", color="C0", ms=4.0)
        ax.set_yticks(range(len(models)), models, fontsize=7)
        ax.set_ylim(len(models) - 0.5, -0.5)
        ax.tick_params(axis="x", labelsize=7)
        ax.set_title(title, fontsize=8)
        ax.grid(axis="x", color="0.9")
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    for document in DOCUMENTS:
        document.write_text(with_tables(document.read_text()))
    draw(recording.RESULTS / "results.png")
