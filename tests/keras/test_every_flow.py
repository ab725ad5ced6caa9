"""Each flow of the catalogue in Keras: the same model after `.keras`."""

import keras
import pytest

from tests.catalogue import FLOWS
from tests.catalogue.flows import moved
from tests.laws import close
from tfp_flows.keras import DensityModel


@pytest.mark.parametrize("name", FLOWS)
def test_the_model_of_a_file_is_the_one_saved(name, tmp_path):
    one = FLOWS[name]
    model, x = DensityModel(moved(one.make())), one.data(5)
    # Eagerly: each graph would take seconds, and files do not depend on them.
    model.compile(run_eagerly=True)
    expected = model.predict(x, verbose=0)
    close(expected, model.distribution.log_prob(x), 1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded.run_eagerly = True
    close(loaded.predict(x, verbose=0), expected, 0.0)
    assert [v.trainable for v in loaded.variables] == [
        v.trainable for v in model.variables
    ]
