"""The README and the guides: their code runs, their links and names exist."""

import pathlib
import re

import numpy as np
import pytest

import tfp_flows

TOP = pathlib.Path(__file__).parents[1]
README, GUIDES = TOP / "README.md", TOP / "examples" / "README.md"
TEXT = README.read_text()
LINKS = [
    (path, target)
    for path in (README, GUIDES)
    for target in sorted(set(re.findall(r"\]\(([^)#]+)\)", path.read_text())))
    if not target.startswith("https://")
]


def run(path):
    """Executes the blocks of Python in a document, and returns their namespace."""
    text, namespace = path.read_text(), {"__name__": "readme"}
    for block in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        above = "\n" * text[: block.start(1)].count("\n")  # for line numbers of errors
        exec(compile(above + block[1], path, "exec"), namespace)
    return namespace


def test_the_code_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = run(README)
    assert found["losses"][-1] < found["losses"][0]
    assert found["samples"].shape == [4, 2]
    assert (tmp_path / "flow.keras").exists()


def test_the_code_of_the_guides_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = run(GUIDES)
    np.testing.assert_allclose(found["reconstructed"], found["y"][:2], atol=1e-2)
    assert found["path"].shape == [8, 8, 8, 3]
    assert found["evidence"].shape == [100]


def test_every_tutorial_is_listed():
    listed = set(re.findall(r"\(examples/(\w+\.py)\)", TEXT))
    assert listed == {path.name for path in (TOP / "examples").glob("[a-z]*.py")}


@pytest.mark.parametrize("path, target", LINKS)
def test_links_lead_to_files(path, target):
    assert (path.parent / target).exists()


@pytest.mark.parametrize("name", ["bijectors", "flows", "networks"])
def test_the_tables_name_what_there_is(name):
    module = getattr(tfp_flows, name)
    for public in set(module.__all__) - {"Activation", "LeakyReLU"}:
        if isinstance(getattr(module, public), type) or name == "flows":
            assert re.search(rf"`(flows\.)?{public}`", TEXT), public
