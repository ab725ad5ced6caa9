"""The same seed gives the same flow in each process."""

import pathlib
import subprocess
import sys

from tests.flows.builders import digest
from tfp_flows import flows


def build():
    return [
        flows.planar(3, 4, seed=7),
        flows.radial(3, 4, seed=7),
        flows.sylvester(3, 2, 2, seed=7),
        flows.maf(3, 2, (4, 4), seed=7, order="random"),
        flows.real_nvp(3, 2, (4, 4), seed=7),
    ]


def test_another_process_builds_the_same_flows():
    run = subprocess.run(
        [sys.executable, "-m", __name__],
        capture_output=True,
        text=True,
        check=True,
        cwd=pathlib.Path(__file__).parents[2],
    )
    assert run.stdout.split() == [digest(flow) for flow in build()]


if __name__ == "__main__":
    print(*(digest(flow) for flow in build()))
