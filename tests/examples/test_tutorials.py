"""Each tutorial runs as a script, and opens as a notebook."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
TUTORIALS = sorted(
    path.stem for path in EXAMPLES.glob("*.py") if path.read_text().startswith("# %%")
)
# Settings of a tutorial are lines such as `num_steps = 2000`, which tests replace.
SHORT = dict(
    num_layers=2,
    num_steps=20,
    num_epochs=1,
    num_rounds=2,
    num_samples=100,
    num_repeats=1,
)


def shortened(name):
    """Returns the text of a tutorial with few steps, for which XLA takes too long."""
    text = (EXAMPLES / f"{name}.py").read_text()
    for setting, value in SHORT.items():
        text = re.sub(rf"^{setting} = \d+", f"{setting} = {value}", text, flags=re.M)
    return text.replace("jit_compile=True", "jit_compile=False")


def environment():
    path = os.pathsep.join([str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")])
    return os.environ | dict(PYTHONPATH=path, KERAS_BACKEND="tensorflow")


@pytest.mark.parametrize("name", TUTORIALS)
def test_it_runs_as_a_script(name, tmp_path):
    (tmp_path / f"{name}.py").write_text(shortened(name))
    run = subprocess.run(
        [sys.executable, f"{name}.py"],
        cwd=tmp_path,
        env=environment() | dict(MPLBACKEND="Agg"),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert re.search(r"\d\.\d", run.stdout)
    assert not re.search(r"\bnan\b", run.stdout)
    assert (tmp_path / f"{name}.png").stat().st_size > 5_000


@pytest.mark.parametrize("name", TUTORIALS)
def test_it_reads_as_a_notebook(name):
    text = (EXAMPLES / f"{name}.py").read_text()
    assert len(text.splitlines()) <= 200
    assert text.startswith("# %% [markdown]\n# # ")
    assert not re.search(r"argparse|__file__|__main__|sys\.argv", text)
    assert f'savefig("{name}.png"' in text
    jupytext = pytest.importorskip("jupytext", reason='pip install -e ".[examples]"')
    notebook = jupytext.reads(text, fmt="py:percent")
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds.count("markdown") >= 3 and kinds.count("code") >= 3
    for cell in notebook.cells:
        if cell.cell_type == "code":
            compile(cell.source, name, "exec")


@pytest.mark.parametrize("name", TUTORIALS)
def test_its_picture_is_there(name):
    assert 10_000 < (EXAMPLES / f"{name}.png").stat().st_size < 250_000


@pytest.mark.parametrize("name", sorted({"missing_data"} & {*TUTORIALS}))
def test_it_runs_in_a_kernel(name, tmp_path, monkeypatch):
    jupytext = pytest.importorskip("jupytext", reason='pip install -e ".[examples]"')
    nbclient = pytest.importorskip("nbclient", reason='pip install -e ".[examples]"')
    pytest.importorskip("ipykernel", reason='pip install -e ".[examples]"')
    for variable, value in environment().items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = jupytext.reads(shortened(name), fmt="py:percent")
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=resources).execute()
    shown = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(shown) == 1
