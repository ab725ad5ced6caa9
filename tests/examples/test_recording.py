"""Results of experiments are kept as records."""

import json

from tests.examples.loading import EXPERIMENTS, load

FIELDS = {
    *("experiment", "data", "model", "metric", "value", "unit", "error", "seed"),
    *("seconds", "versions", "command"),
}


def test_a_record_replaces_an_earlier_one(tmp_path):
    recording = load("recording")
    row = dict(data="digits", model="maf", metric="log-likelihood", unit="nats", seed=0)
    recording.record("fits", [row | dict(value=1.0, error=0.5)], tmp_path)
    recording.record("fits", [row | dict(value=1.5, seed=1)], tmp_path)
    recording.record("fits", [row | dict(value=2.0 / 3.0, seconds=4.0)], tmp_path)
    records = json.loads((tmp_path / "fits.json").read_text())
    assert [(record["seed"], record["value"]) for record in records] == [
        (0, 0.666667),
        (1, 1.5),
    ]
    assert all(set(record) == FIELDS for record in records)
    assert records[0]["versions"].keys() >= {"python", "tensorflow", "keras"}
    assert records[0]["seconds"] == 4.0 and records[0]["error"] is None


def test_recorded_results_have_all_fields():
    paths = sorted((EXPERIMENTS / "results").glob("*.json"))
    for path in paths:
        for record in json.loads(path.read_text()):
            assert set(record) == FIELDS
            assert record["experiment"] == path.stem
