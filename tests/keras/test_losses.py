"""Tests of `tfp_flows.keras.losses`; those of the loss are beside its layer's."""

import keras
import numpy as np
import pytest

from tests.laws import close
from tfp_flows.keras import BitsPerDimension, Nats

LOG_PROB = np.array([-1.0, -2.0, 4.0], np.float32)
WEIGHTS = np.array([1.0, 0.0, 3.0], np.float32)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize(
    "metric, factor",
    [(Nats(), 1.0), (BitsPerDimension(4), -1.0 / (4.0 * np.log(2.0)))])
def test_metrics_are_weighted_means_over_batches(metric, factor, weights):
    metric = type(metric).from_config(metric.get_config())
    for rows in (slice(0, 2), slice(2, 3)):
        part = None if weights is None else weights[rows]
        metric.update_state(np.zeros_like(LOG_PROB[rows]), LOG_PROB[rows], part)
    close(metric.result(), factor * np.average(LOG_PROB, weights=weights), 1e-6)
    config = keras.saving.serialize_keras_object(metric)
    assert keras.saving.deserialize_keras_object(config).name == metric.name


def test_rejects_a_size_below_one():
    with pytest.raises(ValueError, match="`size` must be at least 1; got 0"):
        BitsPerDimension(0)
