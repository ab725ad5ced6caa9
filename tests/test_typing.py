"""Types: mypy is content with the package, and strict mypy with scripts of users.

The scripts are in `tests/typing`. What they must not do stands there too, with a
`type: ignore`, which mypy reports where it is not needed.
"""

import subprocess
import sys

import pytest

from tests.architecture import TOP

SCRIPTS = sorted((TOP / "tests" / "typing").glob("*.py"))

pytest.importorskip("mypy", reason="needs mypy: pip install -e '.[test]'")


def run_mypy(*arguments):
    run = subprocess.run(
        [sys.executable, "-m", "mypy", *map(str, arguments)],
        cwd=TOP,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_package():
    run_mypy()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_of_users(script):
    run_mypy("--strict", "--follow-imports=silent", script)


def test_there_are_scripts():
    assert SCRIPTS
