"""Tests of the table of Keras's private names, and of the check of its backend."""

import ast
import pathlib

import keras
import pytest

import tfp_flows.keras
from tfp_flows.keras import _keras_versions

FILES = sorted(pathlib.Path(tfp_flows.keras.__file__).parent.glob("*.py"))
NAMES = {name for _, name in _keras_versions.PRIVATE_NAMES}
INSTANCES = [
    keras.Sequential([keras.Input([1]), keras.layers.Dense(1)]),
    keras.Variable(1.0),
    keras.metrics.MeanMetricWrapper(lambda a, b: a),
    keras.metrics.MeanSquaredError(),
    keras.optimizers.SGD(),
    keras.losses.MeanSquaredError(),
    keras.callbacks.EarlyStopping(),
    keras.callbacks.BackupAndRestore("_"),
]


def private_names_of_keras():
    for instance in INSTANCES:
        if isinstance(instance, keras.Model):
            instance.compile("sgd", "mse")
        yield from (n for n in dir(instance) if n[:1] == "_" and n[:2] != "__")


def private_names_in(path):
    """Yields the private attributes that a file reads or sets, and those it defines."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr":
            yield from (a.value for a in node.args if isinstance(a, ast.Constant))


def test_no_private_name_of_keras_is_used_but_those_of_the_table():
    private = set(private_names_of_keras())
    used = {name: path.name for path in FILES for name in private_names_in(path)}
    assert {name: used[name] for name in used if name in private} == {
        name: used[name] for name in NAMES
    }
    assert not [
        path for path in FILES if "keras.src" in path.read_text().replace("`", "")
    ]


@pytest.mark.parametrize("cls, name", _keras_versions.PRIVATE_NAMES)
def test_keras_has_the_private_names_of_the_table(cls, name):
    kind = getattr(keras, cls, None) or getattr(keras.metrics, cls)
    instance = [each for each in INSTANCES if isinstance(each, kind)][-1]
    assert hasattr(instance, name)


def test_a_version_that_lacks_one_is_refused():
    with pytest.raises(
        NotImplementedError,
        match=r"`Model._initial_epoch` .* got Keras .* 3.12 to 3.15",
    ):
        _keras_versions.check_private(False, "Model", "_initial_epoch")
