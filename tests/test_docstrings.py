"""The examples in docstrings run: what `pytest --doctest-modules tfp_flows` does."""

import doctest
import importlib

import pytest

from tests.architecture import ROOT, module_of

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
EXAMPLES = [
    (name, example.name)
    for path in sorted(ROOT.rglob("*.py"))
    if ">>> " in path.read_text()
    for name in [module_of(path)]
    for example in doctest.DocTestFinder(exclude_empty=True).find(
        importlib.import_module(name)
    )
    if example.examples
]


@pytest.mark.parametrize("module, name", EXAMPLES, ids=[name for _, name in EXAMPLES])
def test_example(module, name):
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=FLAGS)
    output = []
    for example in finder.find(importlib.import_module(module)):
        if example.name == name:
            runner.run(example, out=output.append)
    assert runner.failures == 0, "".join(output)
    assert runner.tries > 0
