"""The rules of the layout: who may import whom, and what a file may hold."""

import ast
import pathlib
import subprocess
import sys

import pytest
import tensorflow_probability as tfp

import tfp_flows

ROOT = pathlib.Path(tfp_flows.__file__).parent
TOP = pathlib.Path(__file__).parents[1]
FILES = sorted(ROOT.rglob("*.py"))
# For each module or folder of the package, those that it may import.
MAY_IMPORT = {
    "_typing": set(),
    "_autodiff": set(),
    "_freshness": {"_traversal"},
    "_dtypes": set(),
    "_flow": {"_builders"},
    "_closures": set(),
    "_traversal": {"_dtypes"},
    "_copies": {"_closures"},
    "_keras_seam": set(),
    "_loop_scope": set(),
    "_replica_moments": set(),
    "_parameters": {"_autodiff", "_dtypes", "_keras_seam"},
    "_builders": set(),
    "_support": {"_traversal", "_flow"},
    "masks": set(),
    "root_finding": set(),
    "networks": {
        *{"_autodiff", "_dtypes", "_loop_scope", "_replica_moments", "_builders"},
        "masks",
    },
    "bijectors": {
        *{"_freshness", "_traversal", "_replica_moments", "_parameters", "_builders"},
        *{"_autodiff", "_closures", "_dtypes", "_keras_seam", "_loop_scope"},
        *{"masks", "root_finding"},
    },
    "flows": {
        *{"_closures", "_traversal", "_builders", "bijectors", "masks", "networks"},
        *{"_autodiff", "_dtypes", "_flow", "_parameters", "_support"},
        "dequantization",
    },
    "normalization": {"_traversal"},
    "dequantization": {
        *{"_builders", "_dtypes", "_flow", "bijectors", "flows", "masks", "networks"},
    },
    "latent_space": {"bijectors", "flows"},
    "variational": set(),
    "keras": {"_autodiff", "_traversal", "_keras_seam", "_builders", "_support"},
}
EXTERNAL = {"numpy", "tensorflow", "tensorflow_probability"}
STANDARD = {"collections", "contextlib", "copy", "dataclasses", "functools", "math"}
STANDARD |= {"inspect", "numbers", "tfp_flows", "types", "warnings"}
STANDARD |= {"contextvars", "importlib", "json", "os", "pathlib", "sys", "threading"}
STANDARD |= {"__future__", "copyreg", "typing", "weakref"}
# The files that may know what is private to TFP and TensorFlow.
PRIVATE = {"_autodiff", "_freshness"}
ITS_STANDARD = {"ctypes", "itertools", "os", "sys", "threading", "weakref"}
TOP_LEVEL = {
    *{"setup.cfg", "setup.py", "tfp_flows", "tests", "examples", "README.md"},
    *{"LICENSE", ".gitignore", ".ci", "findings"},
}

each_file = pytest.mark.parametrize(
    "path", FILES, ids=lambda path: str(path.relative_to(ROOT))
)
BIJECTORS = [
    value
    for name in tfp_flows.bijectors.__all__
    if isinstance(value := getattr(tfp_flows.bijectors, name), type)
    and issubclass(value, tfp.bijectors.Bijector)
]


def part_of(path):
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            yield from (f"{start}.{alias.name}" for alias in node.names)


@each_file
def test_imports(path):
    part = part_of(path)
    for name in imports(path):
        package, *rest = name.split(".")
        if package == "tfp_flows" and part != "__init__":
            allowed = MAY_IMPORT[part] | {part, "_typing"}
            assert rest[0] in allowed, f"{part} may not import {rest[0]}"
        elif package in EXTERNAL:
            private = "python" in rest and part not in PRIVATE
            assert not private, f"{name} is private to {package}"
            assert "keras" not in rest, "import `tf.keras` through `tensorflow`"
        else:
            assert package != "", f"use an absolute import instead of {name}"
            allowed = STANDARD | (ITS_STANDARD if part in PRIVATE else set())
            allowed |= {"keras"} if part == "keras" else set()
            assert package in allowed, f"{name} is not allowed"


@each_file
def test_text(path):
    text = path.read_text()
    assert text.startswith('"""'), "the file needs a docstring"
    assert max(map(len, text.splitlines())) <= 88
    assert "print(" not in text
    assert "compat.v1" not in text
    assert "tf.keras" not in text.split('"""', 2)[2]


def test_every_module_has_tests():
    for path in FILES:
        if path.name.startswith("_") or path.parent.name == "tfp_flows":
            continue
        folder = TOP / "tests" / path.parent.name
        assert (folder / f"test_{path.name}").exists(), f"{path} has no tests"
    for path in ROOT.glob("[a-z]*.py"):
        assert (TOP / "tests" / f"test_{path.name}").exists(), f"{path} has no tests"


@pytest.mark.parametrize("bijector_class", BIJECTORS, ids=lambda c: c.__name__)
def test_every_bijector_is_one_of_tfp(bijector_class):
    assert bijector_class.__bases__ == (tfp.bijectors.Bijector,)
    own = set(vars(bijector_class))
    assert {"_forward", "_inverse", "_inverse_log_det_jacobian"} <= own
    assert "_parameter_properties" in own
    assert "_cache" in own, "decorate it with `never_stale`"
    assert (
        not own
        & set(vars(tfp.bijectors.Bijector))
        & {name for name in own if not name.startswith("_")}
    ), "public methods of TFP are not ours to override"


@pytest.mark.parametrize(
    "module, name",
    [
        (module, name)
        for module in [
            *(tfp_flows.flows, tfp_flows.bijectors, tfp_flows.networks, tfp_flows.keras)
        ]
        for name in module.__all__
    ],
)
def test_every_public_name_is_described(module, name):
    documentation = getattr(module, name).__doc__
    assert documentation
    if not isinstance(getattr(module, name), type(tfp_flows)):
        assert "Args:" in documentation and "Raises:" in documentation


def test_the_top_level_is_as_planned():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=TOP, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("no git checkout tells the files of the project")
    assert {path.split("/")[0] for path in listed.stdout.split()} <= TOP_LEVEL


def test_the_versions_in_the_readme_are_those_that_were_run():
    command = [sys.executable, TOP / ".ci" / "matrix", "--table"]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"\n\n{table}\n" in (TOP / "README.md").read_text()


def test_import_leaves_no_trace():
    script = """
import gc, random
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
tfp.bijectors.Bijector
state = random.getstate(), np.random.get_state()[1].tolist()
floatx, graphs = tf.keras.backend.floatx(), tf.executing_eagerly()
import tfp_flows
assert state == (random.getstate(), np.random.get_state()[1].tolist())
assert (floatx, graphs) == (tf.keras.backend.floatx(), tf.executing_eagerly())
assert not [o for o in gc.get_objects() if isinstance(o, tf.Variable)]
assert "_cache" not in vars(tfp.bijectors.Chain)
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=TOP
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == ""
