"""Results of the experiments, as JSON files in `results/`.

Each record is a dictionary with the keys `experiment`, `data`, `model`, `metric`,
`value`, `unit`, `error` (standard error, or None), `seed`, `seconds` (processor time of
the experiment, or None), `versions` and `command`. A record replaces an earlier one of
the same experiment, data, model, metric and seed.
"""

import json
import pathlib
import platform
import shlex
import sys
from importlib import metadata

RESULTS = pathlib.Path(__file__).with_name("results")
PACKAGES = ("tensorflow", "tensorflow-probability", "keras", "numpy", "scikit-learn")
KEY = ("experiment", "data", "model", "metric", "seed")


def record(experiment, rows, directory=RESULTS):
    """Writes results of an experiment to `results/<experiment>.json`.

    Args:
      experiment: name of the script, without `.py`.
      rows: list of dictionaries with `data`, `model`, `metric`, `value`, `unit` and
        `seed`, and optionally `error` and `seconds`.
      directory: where the file is.

    Returns:
      records: list of dictionaries, all that are in the file now.
    """
    path = pathlib.Path(directory, f"{experiment}.json")
    records = read(experiment, directory)
    versions = {"python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in PACKAGES}
    script = f"examples/experiments/{experiment}.py"
    command = shlex.join(["python", script, *sys.argv[1:]])
    for row in rows:
        values = dict(experiment=experiment, error=None, seconds=None) | row
        values |= dict(versions=versions, command=command)
        for name in ("value", "error", "seconds"):
            if values[name] is not None:
                values[name] = float(f"{values[name]:.6g}")
        records[tuple(values[name] for name in KEY)] = values
    records = list(records.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(records, indent=1) + "\n")
    return records


def read(experiment, directory=RESULTS):
    """Returns the records of an experiment, by their keys; none without a file."""
    path = pathlib.Path(directory, f"{experiment}.json")
    if not path.exists():
        return {}
    records = json.loads(path.read_text())
    return {tuple(row[name] for name in KEY): row for row in records}
