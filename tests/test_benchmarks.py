"""What the benchmarks count, and how they compare: not how fast anything is."""

import json
import timeit

import numpy as np
import pytest
import tensorflow as tf

from tests.benchmarks import (
    outcomes,
    parts,
    peers,
    picture,
    profile,
    small,
    timing,
    works,
)
from tests.benchmarks.floor import Need
from tests.benchmarks.peers import parts as peer_parts

CHAIN = Need(products=((10, (3, 5, 7)),))


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
    need = Need(
        convolutions=((images, 3, ((3, 5), (1, 7))),), copies=((8, 9),), reads=((5,),)
    )
    pixels = 2 * 4 * 6
    assert need.flops == 2 * pixels * (9 * 3 * 5 + 5 * 7)
    operands = pixels * (3 + 2 * 5 + 7) + 9 * 3 * 5 + 5 * 7
    assert need.moved == 4 * (operands + 2 * 8 * 9 + 5)


def test_floor_runs_what_it_counts():
    need = Need(
        products=((10, (3, 5, 7)), (10, (4, 2))), copies=((8, 9),), reads=((5, 6),)
    )
    function, *arguments = need.candidate()
    (copied, read), (result,) = function(*arguments)
    assert (copied.shape, read.shape, result.shape) == ((8, 9), (5,), (10, 2))
    function, *arguments = need.for_training().candidate()
    _, gradient = function(*arguments)
    assert gradient.shape == (10, 3)


def test_a_ratio_is_of_common_rounds():
    race = timing.Race({"a": np.array([4.0, 9.0, 1.0]), "b": np.array([2.0, 3.0])})
    np.testing.assert_array_equal(race.ratios("a", "b"), [2.0, 3.0])
    np.testing.assert_array_equal(race.ratios("b", "a"), [1 / 2, 1 / 3])


def test_a_race_takes_timers_and_drops_the_slow():
    class Slow:
        def timeit(self, number):
            return 5.0 * number

    fast = timeit.Timer(lambda: None)
    race = timing.race(
        {"slow": Slow(), "fast": fast, "call": tf.no_op}, 6, 0, most_seconds=4.0
    )
    assert [len(race.seconds[name]) for name in race.names] == [3, 6, 6]
    assert race.median("slow") == 5.0


@pytest.mark.parametrize("name", peers.PARTS)
def test_parts_are_the_same_for_all(name):
    arguments = [
        np.random.default_rng(i).normal(size=shape)
        for i, shape in enumerate(peers.PARTS[name])
    ]
    ours = tf.nest.flatten(parts.FUNCTIONS[name](*map(tf.constant, arguments)))
    theirs = peer_parts.FUNCTIONS[name](*arguments)  # NumPy spells them alike
    for one, other in zip(ours, tf.nest.flatten(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_a_profile_tells_kinds_apart():
    def function(x, n):
        x = tf.matmul(x, x)
        steps = tf.while_loop(
            lambda i, _: i < n, lambda i, x: (i + 1, tf.sin(x)), (0, x)
        )
        return tf.reduce_sum(steps[1] ** 2)

    seconds, kinds = profile.profile(function, tf.ones([64, 64]), tf.constant(5))
    assert set(kinds) == {"products", "elementwise", "sums"}
    assert kinds["products"][0] == pytest.approx(1.0)
    assert kinds["elementwise"][0] >= 5.0  # the sine runs in each round
    assert seconds > 0.0 and all(spent > 0.0 for _, spent in kinds.values())


def test_aims_are_on_works_that_exist():
    names = {*works.WORKS, *small.WORKS}
    assert {aim.work for aim in works.AIMS} <= names
    assert len(set(works.AIMS)) == len(works.AIMS)
    models = {work.model for work in works.WORKS.values()} - {""}
    assert models == set(peers.MODELS) - {"posterior", "parts"}


@pytest.fixture
def outcome():
    """Of a "made": ours is twice as fast as the best peer, and slow in reverse."""
    seconds = {
        "forward": {
            "ours, XLA": [1.0, 1.0, 8.0],
            "ours, graph": [3.0, 3.0, 3.0],
            "TFP, XLA": [4.0, 4.0, 9.0],
            "zuko": [2.0, 2.0, 16.0],
            "floor, XLA": [0.5, 0.5, 4.0],
        },
        "inverse": {
            "ours, XLA": [9.0, 5.0, 40.0],
            "ours, graph": [10.0, 10.0, 10.0],
            "TFP, graph": [900.0, 1000.0],
        },
    }
    need = works.WORKS["made"].needs["forward"]
    return {
        "sizes": "small",
        "seconds": seconds,
        "flops": {q: need.flops for q in seconds},
        "bytes": {q: need.moved for q in seconds},
        "first": {"forward": dict.fromkeys(["ours, XLA", "ours, graph"], [1.0, 2.0])},
        "memory": {"ours, XLA": 2**20, "zuko": 2**21},
        "absent": ["nflows is away."],
    }


@pytest.mark.parametrize(
    "quantity, to, value",
    [
        ("forward", "best", 1 / 2),
        ("forward", "TFP", 1 / 4),
        ("forward", "floor", 2),
        ("forward", "peers", 1 / 2),
        ("inverse", "forward", 5),
        # In rounds, 0.01 and 0.005: not the ratio of the medians.
        ("inverse", "TFP", 0.0075),
        ("inverse", "best", 0.0075),
        ("inverse", "peers", None),
        ("step", "best", None),
        ("memory", "peers", 1 / 2),
        ("memory", "TFP", None),
    ],
)
def test_aims_take_the_faster_mode_and_ratios_in_rounds(outcome, quantity, to, value):
    found = outcomes.value_of(works.Aim("made", quantity, 1.0, to), outcome)
    assert found == (value if value is None else pytest.approx(value))


def test_tables_and_picture_of_a_file(outcome, tmp_path, capsys):
    eager = {"ours, eager": [1.0, 1.0], "TFP, eager": [2.0, 2.0]}
    found = json.loads(
        json.dumps(
            {
                "made": outcome,
                "eager Radial": {"sizes": "one", "seconds": {"eager": eager}},
            }
        )
    )
    outcomes.print_all(found)
    text = capsys.readouterr().out
    assert "| `made`, inverse / forward | 4 | 5 | no |" in text
    assert "| `made`, forward / best | 1 | 0.5 | yes |" in text
    assert "| `eager Radial`, eager / TFP | 1 | 0.5 | yes |" in text
    assert "| `made` | 1 MiB |  |  |  | zuko | 2 MiB |" in text
    assert "nflows is away." in text
    picture.draw(found, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000
