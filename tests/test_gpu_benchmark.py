"""The benchmark for GPUs, rehearsed on the CPU."""

import json
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from tests.benchmarks import gpu, works
from tests.benchmarks.candidates import move, of_layer
from tests.benchmarks.floor import Need
from tests.benchmarks.report import normal
from tfp_flows import masks
from tfp_flows.bijectors import Coupling
from tfp_flows.networks import MLP


def coupling():
    network = MLP(2, [2, 2], (16,), seed=0)
    move(network.trainable_variables)
    return of_layer(Coupling(masks.half(4), network), normal([50, 4], 1))


TINY = works.Work(
    "tiny", coupling, dict.fromkeys(works.QUANTITIES, Need(copies=((50, 4),)))
)


def run(*arguments):
    with mock.patch.dict(works.WORKS, {"tiny": TINY}):
        gpu.main(["--only", "tiny", "--rounds", "2", "--sample", "0", *arguments])


def test_a_rehearsal_prints_all_tables(capsys, tmp_path):
    file = tmp_path / "found.json"
    run("--device", "CPU:0", "--arithmetic", "bfloat16", "--json", str(file))
    printed = capsys.readouterr().out
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in printed.splitlines()
        if line.startswith("| `tiny`")
    ]
    placed, errors = rows[:2], rows[2:3]
    assert [row[1] for row in placed] == ["float32", "bfloat16"]
    assert all(int(row[2]) > 50 and row[3:] == ["0", "0"] for row in placed)
    assert errors[0][1] == "bfloat16"
    # The format shows, and no more than that.
    assert 1e-5 < float(errors[0][2]) < 0.1
    found = json.loads(file.read_text())["works"]
    assert set(found) == {"bfloat16"}
    assert "## bfloat16\n" in printed
    seconds = found["bfloat16"]["tiny"]["seconds"]
    assert set(seconds) == {"forward", "inverse", "step"}
    assert np.all(np.array(seconds["step"]["ours, XLA"]) > 0.0)
    assert MLP(2, [2, 2], seed=0).compute_dtype == tf.float32  # as before


def test_without_the_device_it_ends_and_says_what_there_is():
    with pytest.raises(SystemExit, match="no device GPU:7: .*CPU:0.* rehearses"):
        run("--device", "GPU:7")


def test_it_ends_if_a_node_computes_elsewhere(capsys):
    def on_the_host(nodes_of):
        def nodes(function, arguments, device):
            return nodes_of(function, arguments, "CPU:0")

        return nodes

    # The same graphs, as a script sees them that wants them on a GPU.
    with mock.patch.object(gpu, "nodes_of", on_the_host(gpu.nodes_of)):
        with pytest.raises(SystemExit, match="`tiny`, float32: .*MatMul .* on .*CPU"):
            with mock.patch.dict(works.WORKS, {"tiny": TINY}):
                gpu.inspect(["tiny"], ["float32"], "GPU:0")
    row = [line for line in capsys.readouterr().out.splitlines() if "`tiny`" in line][0]
    here, carriers, others = map(int, row.strip("| ").split("|")[2:])
    assert here == 0 and carriers > 5 and others > 10


def test_variables_must_be_on_the_device():
    function, *arguments = coupling()["forward"]
    with pytest.raises(RuntimeError, match="must be on GPU:0; got .* on .*CPU:0"):
        gpu.nodes_of(function, arguments, "GPU:0")


@pytest.mark.parametrize("option", ["--only", "--arithmetic"])
def test_names_must_be_known(option, capsys):
    with pytest.raises(SystemExit):
        gpu.main([option, "nothing"])
    assert f"{option} must hold names out of" in capsys.readouterr().err
