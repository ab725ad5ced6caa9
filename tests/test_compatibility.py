"""Files that earlier versions wrote are read, with the log densities of then."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_flows
from tests import write_compatibility_data
from tests.laws import close
from tests.write_compatibility_data import DATA, checkpointed

VERSIONS = sorted(path.name for path in DATA.iterdir())
FILES = sorted(DATA.glob("*/*.keras"))
each_file = pytest.mark.parametrize(
    "path", FILES, ids=[f"{path.parent.name}-{path.stem}" for path in FILES]
)


def recorded(path):
    with np.load(path.with_suffix(".npz")) as arrays:
        inputs = [arrays[name] for name in ("x", "context") if name in arrays]
        return inputs, arrays["log_prob"]


@each_file
def test_keras_files(path):
    inputs, expected = recorded(path)
    model = keras.saving.load_model(path)
    actual = model.predict(inputs[0] if len(inputs) == 1 else inputs, verbose=0)
    close(actual, expected, 1e-5)


@pytest.mark.parametrize("version", VERSIONS)
def test_checkpoints(version):
    flow = checkpointed(seed=1)
    checkpoint = tf.train.Checkpoint(flow=flow)
    checkpoint.read(str(DATA / version / "checkpoint")).assert_consumed()
    (x,), expected = recorded(DATA / version / "checkpoint")
    close(flow.log_prob(x), expected, 1e-5)


def test_the_files_are_small_and_complete():
    assert VERSIONS[0] == "0.1.0"
    files = [path for path in DATA.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2**20 * len(VERSIONS)
    for version in VERSIONS:
        names = {path.stem for path in (DATA / version).glob("*.npz")}
        assert {"conditioner", "maf_context", "real_nvp_scan", "checkpoint"} <= names


def test_a_version_is_written_once():
    with pytest.raises(FileExistsError):
        write_compatibility_data.main(DATA / VERSIONS[0])


def test_this_version_or_an_earlier_one_has_files():
    release = tfp_flows.__version__.split(".dev")[0]
    assert VERSIONS[0] <= release
