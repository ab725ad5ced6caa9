"""A script as users write it, for mypy alone: `tests/test_typing.py` runs it."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import flows
from tfp_flows.keras import DensityModel

tfd = tfp.distributions


def fit(x: tf.Tensor) -> DensityModel:
    """Fits a builder's flow."""
    flow = flows.maf(2, 3, (32, 32), seed=0, context_size=0)
    log_prob: tf.Tensor = flow.log_prob(x)
    tf.debugging.assert_all_finite(log_prob, "log_prob")
    model = DensityModel(flow)
    model.compile("adam")
    model.fit(x, epochs=1)
    return model


def condition(context: tf.Tensor) -> tf.Tensor:
    """Samples a flow that is conditioned on a context."""
    flow = flows.real_nvp(2, seed=0, context_size=3)
    return flows.condition(flow, context).sample(5, seed=(0, 1))


def misuse() -> None:
    """What mypy has to find."""
    flows.maf(2, sed=0)  # type: ignore[call-arg]
    flows.maf("two", seed=0)  # type: ignore[arg-type]
