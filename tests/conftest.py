"""How tests are shared out to the processes of `pytest -n`."""

import functools
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@functools.cache
def _has_fixtures_of_modules(file):
    path = ROOT / file
    return path.exists() and 'scope="module"' in path.read_text()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keeps tests that share a fixture in one process, where it is made once.

    Some of these fixtures train models for minutes. All other tests go one by one to
    the process that is free.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.split("::")[0]
            return file if _has_fixtures_of_modules(file) else nodeid

    return Scheduler(config, log)
