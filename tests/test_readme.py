"""The README: its code runs, its links lead somewhere, its names exist."""

import pathlib
import re

import pytest

import tfp_flows

TOP = pathlib.Path(__file__).parents[1]
TEXT = (TOP / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_the_code_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) >= 4
    namespace = {"__name__": "readme"}
    for block in BLOCKS:
        line = TEXT[: TEXT.index(block)].count("\n")
        exec(compile("\n" * line + block, TOP / "README.md", "exec"), namespace)
    assert namespace["losses"][-1] < namespace["losses"][0]
    assert namespace["samples"].shape == [4, 2]


def test_every_tutorial_is_listed():
    listed = set(re.findall(r"\(examples/(\w+\.py)\)", TEXT))
    assert listed == {path.name for path in (TOP / "examples").glob("[a-z]*.py")}


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", TEXT))))
def test_links_lead_to_files(target):
    if not target.startswith("https://"):
        assert (TOP / target).exists()


@pytest.mark.parametrize("name", ["bijectors", "flows", "networks"])
def test_the_tables_name_what_there_is(name):
    section = TEXT[TEXT.index("## API reference") : TEXT.index("## Layout")]
    for public in getattr(tfp_flows, name).__all__:
        value = getattr(getattr(tfp_flows, name), public)
        if isinstance(value, type) and public not in {"Activation", "LeakyReLU"}:
            assert f"`{public}`" in section
