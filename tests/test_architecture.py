"""The rules of the layout: who may import whom, and what a file may hold."""

import ast
import inspect
import subprocess
import sys
import types

import pytest
import tensorflow_probability as tfp

import tfp_flows
from tests import architecture
from tests.architecture import EXTERNAL, ROOMS, ROOT, TOP

FILES = sorted(ROOT.rglob("*.py"))
TOP_LEVEL = {
    *{"setup.cfg", "setup.py", "tfp_flows", "tests", "examples", "README.md"},
    *{"LICENSE", ".gitignore", ".ci", "findings"},
}

each_file = pytest.mark.parametrize(
    "path", FILES, ids=lambda path: str(path.relative_to(ROOT))
)
PUBLIC = {
    f"{room.name}.{name}": value
    for room in ROOMS.values()
    for name, value in room.public_names.items()
}
BIJECTORS = [
    value
    for value in PUBLIC.values()
    if isinstance(value, type)
    and issubclass(value, tfp.bijectors.Bijector)
    and value.__name__ != "Layer"
]


def test_the_table_prints(capsys):
    architecture.main()
    printed = capsys.readouterr().out
    assert all(f"\n{name} " in printed for name in ROOMS)


def test_every_file_is_in_a_room_of_the_table():
    files = [path for room in ROOMS.values() for path in room.files]
    assert len(files) == len(set(files))
    assert {*FILES} - {*files} == {ROOT / "__init__.py"}, "see `tests/architecture.py`"


@each_file
def test_imports(path):
    room = ROOMS.get(architecture.room_of(architecture.module_of(path)))
    for name in architecture.imports_of(path):
        package, *rest = name.split(".")
        assert package != "", f"use an absolute import instead of {name}"
        if package == "tfp_flows" and room is not None:
            allowed = {room.name, *room.may_import, None}
            assert architecture.room_of(name) in allowed, (
                f"{room.name} may not import {name}"
            )
        elif package in EXTERNAL:
            private = "python" in rest
            assert not private or path.stem in architecture.PRIVATE_OF_TENSORFLOW, (
                f"{name} is private to {package}"
            )
            assert "keras" not in rest, "import `tf.keras` through `tensorflow`"
        elif package != "tfp_flows":
            allowed = {*sys.stdlib_module_names} - {"random"}
            allowed |= {*(room.external if room else ())}
            assert package in allowed, f"{name} is not allowed"


def test_imports_go_up_in_the_table():
    above = set()
    for room in ROOMS.values():
        assert {*room.may_import} <= above, f"{room.name} may import {room.may_import}"
        above.add(room.name)


def test_no_module_imports_itself_by_way_of_others():
    assert architecture.cycle_in(architecture.import_graph()) is None


def test_cycles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}
    assert architecture.cycle_in(graph) == ["b", "c", "b"]
    assert architecture.cycle_in({**graph, "c": {"d"}}) is None


def test_no_name_is_defined_in_two_modules():
    twice = {
        name: modules
        for name, modules in architecture.definitions().items()
        if len(modules) > 1 and name not in architecture.DEFINED_TWICE
    }
    assert twice == {}, "rename or merge them, or say why in `tests/architecture.py`"


@each_file
def test_text(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "the file needs a docstring"
    assert max(map(len, text.splitlines())) <= 88
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print"
        if isinstance(node, ast.Attribute):
            assert not ast.unparse(node).startswith(("tf.keras", "tf.compat.v1"))


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
    base = getattr(tfp_flows.bijectors, "Layer", tfp.bijectors.Bijector)
    assert bijector_class.__bases__ == (base,)
    assert issubclass(bijector_class, tfp.bijectors.Bijector)
    own = set(vars(bijector_class))
    assert {"_forward", "_inverse", "_inverse_log_det_jacobian"} <= own
    assert "_parameter_properties" in own
    public = {name for name in own if not name.startswith("_")}
    assert not public & {*vars(tfp.bijectors.Bijector)}, (
        "public methods of TFP are not ours to override"
    )


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_described(name):
    value = PUBLIC[name]
    if isinstance(value, types.ModuleType) or callable(value):
        assert value.__doc__, "it needs a docstring"
        assert value.__doc__.splitlines()[0].rstrip().endswith("."), "a summary line"
        if _takes_arguments(value):
            assert "Args:" in value.__doc__


def _takes_arguments(value):
    if isinstance(value, types.ModuleType):
        return False
    code = getattr(
        inspect.unwrap(value.__init__ if isinstance(value, type) else value),
        "__code__",
        None,
    )
    return code is not None and code.co_argcount + code.co_kwonlyargcount > isinstance(
        value, type
    )


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
