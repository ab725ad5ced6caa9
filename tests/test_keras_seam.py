"""The seam to Keras: files that it reads first, and backends other than TensorFlow."""

import importlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import tfp_flows.keras
from tfp_flows import _keras_seam, flows
from tfp_flows.bijectors import Coupling, DiagonalScale


def test_all_classes_in_files_are_known_before_they_are_imported():
    prefix = "tfp_flows>"
    registered = keras.saving.get_custom_objects()
    names = {n.removeprefix(prefix) for n in registered if n.startswith(prefix)}
    assert names == set(_keras_seam.NAMES_IN_FILES)
    for name in names:
        cls = registered[f"{prefix}{name}"]
        assert isinstance(cls, type) and cls is getattr(tfp_flows.keras, name)


READS = """
import keras, tfp_flows, sys
import numpy
assert "tfp_flows.keras" not in sys.modules  # it costs nothing until a file is read
model = keras.models.load_model("{path}")
print(model.predict(numpy.ones([1, 2], "float32"), verbose=0)[0])
"""


def test_keras_reads_a_model_with_the_package_alone_imported(tmp_path):
    model = tfp_flows.keras.DensityModel(flows.maf(2, 1, (4,), seed=0))
    model.compile("adam", metrics=["log_likelihood"])
    model.save(tmp_path / "flow.keras")
    script = READS.format(path=tmp_path / "flow.keras")
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    expected = model.predict(np.ones([1, 2], np.float32), verbose=0)[0]
    assert float(run.stdout) == pytest.approx(expected, rel=1e-6)


def test_another_backend_is_refused_where_gradients_would_be_lost(monkeypatch):
    network = keras.Sequential([keras.Input([1]), keras.layers.Dense(2)])
    half = keras.layers.Activation("relu")  # without variables
    flow = flows.maf(2, 1, (4,), seed=0)
    for module in (keras.backend, keras.config):
        monkeypatch.setattr(module, "backend", lambda: "jax")
    remedy = "KERAS_BACKEND=tensorflow, or `backend` in ~/.keras/keras.json, before"
    for conditioner in (network, half):
        with pytest.raises(
            ValueError, match="`conditioner` must .* with jax"
        ) as caught:
            Coupling([True, False], conditioner)
        assert remedy in str(caught.value)
    # As Keras has it there: the value of a variable is no `tf.Variable`.
    scale = keras.Variable(np.ones([2]), name="mine")
    monkeypatch.setattr(type(scale), "value", property(lambda _: np.ones([2])))
    with pytest.raises(ValueError, match="`mine` must compute with TensorFlow; got"):
        DiagonalScale(scale)
    with pytest.raises(
        ImportError, match="requires Keras 3 on TensorFlow; .* jax"
    ) as caught:
        importlib.reload(tfp_flows.keras)
    assert remedy in str(caught.value)
    assert flow.log_prob(np.ones([3, 2], np.float32)).shape == [3]


def test_arrays_of_another_library_are_refused():
    array = type("Array", (), {"__module__": "jaxlib._jax"})()
    with pytest.raises(ValueError, match="`conditioner` must .* jaxlib, where Tensor"):
        _keras_seam.check_backend(array, "conditioner")
    for value in [np.ones(2), keras.layers.Dense(2), 1.0]:
        _keras_seam.check_backend(value, "conditioner")
