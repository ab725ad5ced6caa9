"""The benchmarks: what they count, how they compare, where they run; not how fast."""

import json
import pathlib
import timeit
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from tests.benchmarks import (
    __main__,
    device,
    measurement,
    overhead,
    peers,
    table,
    timing,
    workloads,
)
from tests.benchmarks.candidates import normal, of_layer, perturb
from tests.benchmarks.lower_bound import LowerBound
from tests.benchmarks.peers import primitives
from tfp_flows import masks
from tfp_flows.bijectors import Coupling
from tfp_flows.networks import MLP

FOLDER = pathlib.Path(__main__.__file__).parent
CHAIN = LowerBound(products=((10, (3, 5, 7)),))


def test_counts_products():
    assert CHAIN.flops == 2 * 10 * (3 * 5 + 5 * 7)
    operands = 10 * 3 + 3 * 5 + 2 * 10 * 5 + 5 * 7 + 10 * 7
    assert CHAIN.moved == 4 * operands
    # Two more products for each, and Adam: four arrays are read and three written.
    step = CHAIN.for_training()
    assert step.flops == 3 * CHAIN.flops
    assert step.moved == 4 * (3 * operands + 7 * (3 * 5 + 5 * 7))


def test_counts_convolutions_and_copies():
    images = 2, 4, 6
    bound = LowerBound(
        convolutions=((images, 3, ((3, 5), (1, 7))),), copies=((8, 9),), reads=((5,),)
    )
    pixels = 2 * 4 * 6
    assert bound.flops == 2 * pixels * (9 * 3 * 5 + 5 * 7)
    operands = pixels * (3 + 2 * 5 + 7) + 9 * 3 * 5 + 5 * 7
    assert bound.moved == 4 * (operands + 2 * 8 * 9 + 5)


def test_the_lower_bound_computes_what_it_counts():
    bound = LowerBound(
        products=((10, (3, 5, 7)), (10, (4, 2))), copies=((8, 9),), reads=((5, 6),)
    )
    function, *arguments = bound.candidate()
    (copied, read), (result,) = function(*arguments)
    assert (copied.shape, read.shape, result.shape) == ((8, 9), (5,), (10, 2))
    function, *arguments = bound.for_training().candidate()
    _, gradient = function(*arguments)
    assert gradient.shape == (10, 3)


def test_ratios_are_of_common_rounds():
    timings = timing.Timings({"a": [4.0, 9.0, 1.0], "b": [2.0, 3.0]})
    np.testing.assert_array_equal(timings.ratios("a", "b"), [2.0, 3.0])
    np.testing.assert_array_equal(timings.ratios("b", "a"), [1 / 2, 1 / 3])


def test_interleaving_accepts_timers_and_drops_slow_candidates():
    class Slow:
        def timeit(self, number):
            return 5.0 * number

    candidates = {"slow": Slow(), "fast": timeit.Timer(lambda: None), "call": tf.no_op}
    timings = timing.interleave(candidates, 6, 0, max_seconds=4.0)
    assert [len(timings.seconds[name]) for name in timings.names] == [3, 6, 6]
    assert timings.median("slow") == 5.0


@pytest.mark.parametrize("name", peers.PRIMITIVES)
def test_primitives_agree_between_frameworks(name):
    function, *arguments = overhead.primitives()[name]
    arguments = [
        np.random.default_rng(i).normal(size=[min(n, 5) for n in x.shape])
        for i, x in enumerate(arguments)
    ]
    ours = tf.nest.flatten(function(*map(tf.constant, arguments)))
    theirs = primitives.FUNCTIONS[name](*arguments)  # in NumPy
    for one, other in zip(ours, tf.nest.flatten(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_targets_are_of_workloads_that_exist():
    assert {target.workload for target in workloads.TARGETS} <= set(workloads.NAMES)
    assert len(set(workloads.TARGETS)) == len(workloads.TARGETS)
    models = {workload.model for workload in workloads.WORKLOADS.values()} - {""}
    assert models == set(peers.MODELS)


SECONDS = {  # of "made": twice as fast as the best peer, and slow in `inverse`
    ("forward", "ours, XLA"): [1.0, 1.0, 8.0],
    ("forward", "ours, graph"): [3.0, 3.0, 3.0],
    ("forward", "TFP, XLA"): [4.0, 4.0, 9.0],
    ("forward", "zuko"): [2.0, 2.0, 16.0],
    ("forward", "lower bound, XLA"): [0.5, 0.5, 4.0],
    ("inverse", "ours, XLA"): [9.0, 5.0, 40.0],
    ("inverse", "ours, graph"): [10.0, 10.0, 10.0],
    ("inverse", "TFP, graph"): [900.0, 1000.0],
}


@pytest.fixture
def rows():
    found = measurement._rows("made", timing.Timings(SECONDS))
    return json.loads(json.dumps(found))


@pytest.mark.parametrize(
    "quantity, reference, value",
    [
        ("forward", "best", 1 / 2),
        ("forward", "TFP", 1 / 4),
        ("forward", "lower bound", 2),
        ("forward", "peers", 1 / 2),
        ("forward", "zuko", 1 / 2),
        ("inverse", "forward", 5),
        # In rounds, 0.01 and 0.005: not the ratio of the medians.
        ("inverse", "TFP", 0.0075),
        ("inverse", "best", 0.0075),
        ("inverse", "peers", None),
    ],
)
def test_ratios_are_of_the_faster_mode_within_rounds(rows, quantity, reference, value):
    [row] = [row for row in rows if row["quantity"] == quantity]
    if value is None:
        assert reference not in row["ratios"]
    else:
        assert row["ratios"][reference][0] == pytest.approx(value)


def test_memory_is_compared_by_the_leaner_mode():
    memory = {"ours, XLA": 2**20, "ours, graph": 2**22, "zuko": 2**21}
    assert measurement._memory_ratio(memory, "peers") == 1 / 2
    assert measurement._memory_ratio(memory, "TFP") is None


def test_the_table_names_targets_and_fastest_libraries(rows):
    forward, inverse = table.table({"rows": rows}).splitlines()[2:]
    assert "| 1e+03 ms ± 350 %, XLA | 4e+03 ms ± 62 % | 2e+03 ms" in forward
    assert "zuko | 0.50 | 2.00 |" in forward
    assert forward.endswith("| met |")
    assert "forward: 5 of 4 missed, TFP: 0.0075 of 0.0067 missed" in inverse


def test_the_readme_has_the_table_of_the_results(tmp_path, capsys):
    picture = tmp_path / "picture.png"
    arguments = ["--read", FOLDER / "results.json", "--picture", picture]
    __main__.main([*map(str, arguments)])
    printed = capsys.readouterr().out
    text = (FOLDER / "README.md").read_text()
    assert printed[printed.index("| workload") :] in text
    met, missed = (printed[printed.index("---") :].count(w) for w in ("met", "missed"))
    assert f"{met} of {met + missed} targets are met." in text
    assert picture.stat().st_size > 1000


def coupling():
    network = MLP(2, [2, 2], (16,), seed=0)
    perturb(network.trainable_variables)
    return of_layer(Coupling(masks.half(4), network), normal([50, 4], 1))


TINY = workloads.Workload(
    "tiny",
    coupling,
    dict.fromkeys(workloads.QUANTITIES, LowerBound(copies=((50, 4),))),
)


@pytest.fixture
def tiny():
    with (
        mock.patch.dict(workloads.WORKLOADS, {"tiny": TINY}),
        mock.patch.object(workloads, "NAMES", ["tiny"]),
        mock.patch.object(measurement, "measure_alone", measurement.measure),
    ):
        yield


def test_the_command_measures_and_writes_results(tiny, capsys, tmp_path):
    path = tmp_path / "found.json"
    command = ["tiny", "--rounds", "2", "--sample", "0", "--json", str(path)]
    __main__.main(command)
    printed = capsys.readouterr().out
    results = json.loads(path.read_text())
    assert table.table(results) in printed
    quantities = [row["quantity"] for row in results["rows"]]
    assert quantities == ["forward", "inverse", "step"]
    for row in results["rows"]:
        assert all(seconds > 0.0 for seconds, _ in row["times"].values())
        assert row["ratios"]["lower bound"][0] > 0.0
        assert set(row["first_call"]) == {"XLA", "graph"}
        assert row["run"] == 0
    assert "TensorFlow" in results["runs"][0]


def test_every_workload_is_listed(capsys):
    __main__.main(["--list"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == workloads.NAMES


def test_names_must_be_known(capsys):
    with pytest.raises(SystemExit):
        __main__.main(["nothing"])
    assert "NAME must be one of ['planar', " in capsys.readouterr().err


def test_an_unknown_device_ends_the_command():
    expected = r"`--device` must be one of \[.*CPU:0.*\]; got GPU:7\."
    with pytest.raises(SystemExit, match=expected):
        __main__.main(["planar", "--device", "GPU:7"])


def test_nodes_that_compute_elsewhere_are_an_error():
    nodes_of = device.nodes_of
    candidates = coupling()
    # Graphs of a CPU, as a command sees them that expects them on a GPU.
    with mock.patch.object(device, "nodes_of", lambda f, x, _: nodes_of(f, x, "CPU:0")):
        expected = "All nodes of `tiny` must be on GPU:0; got .* on .*CPU:0"
        with pytest.raises(RuntimeError, match=expected):
            device.check_placement("tiny", candidates, "GPU:0")
    function, *arguments = candidates["forward"]
    nodes = nodes_of(function, arguments, "CPU:0")
    assert not device.misplaced(nodes, "CPU:0")
    assert 10 < len(device.misplaced(nodes, "GPU:0")) < len(nodes)


def test_variables_must_be_on_the_device():
    function, *arguments = coupling()["forward"]
    with pytest.raises(RuntimeError, match="must be on GPU:0; got .* on .*CPU:0"):
        device.nodes_of(function, arguments, "GPU:0")
