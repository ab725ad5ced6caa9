"""Which Keras this room runs on, and the private names of Keras that it uses.

The rest of the room uses public names alone; `tests/keras/test_keras_versions.py`
compares it with this table on each version.
"""

from __future__ import annotations

import keras

from tfp_flows._keras_seam import REMEDY

TESTED = "3.12 to 3.15"
# Where Keras has no public name for it: class, private name, and what it is for.
PRIVATE_NAMES: dict[tuple[str, str], str] = {
    ("Variable", "_initialize"): (
        "The public constructor always creates a variable; this one is that of a flow."
    ),
    ("Variable", "_value"): "As `_initialize`, which must set it.",
    ("Model", "_maybe_symbolic_build"): (
        "`fit` of several replicas averages their batches for it, which requires "
        "batches of one shape."
    ),
    ("Model", "_initial_epoch"): (
        "`fit` reads its `initial_epoch` before callbacks run; only this one later."
    ),
    ("Model", "_flatten_layers"): (
        "`layers` has those of a model, but not the layers in another layer."
    ),
    ("Metric", "_direction"): "Without it, `mode='auto'` of callbacks is an error.",
    ("MeanMetricWrapper", "_fn"): "Says whether a wrapped function is one of Keras.",
}


def check_keras() -> None:
    """Raises `ImportError` unless this is Keras 3 on TensorFlow."""
    if not hasattr(keras, "StatelessScope") or keras.config.backend() != "tensorflow":
        raise ImportError(
            "`tfp_flows.keras` requires Keras 3 on TensorFlow; got Keras "
            f"{keras.__version__} on {keras.backend.backend()}. {REMEDY}. The rest of "
            "`tfp_flows` works with any backend. Models of Keras 2 find the variables "
            "of bijectors by themselves."
        )


def check_private(condition: bool, cls: str, name: str) -> None:
    """Raises `NotImplementedError` if Keras lacks one of `PRIVATE_NAMES`.

    Args:
      condition: whether Keras has it, and uses it as here.
      cls, name: key in `PRIVATE_NAMES`.
    """
    reason = PRIVATE_NAMES[cls, name]
    if not condition:
        raise NotImplementedError(
            f"Keras must have the private name `{cls}.{name}` for this; got Keras "
            f"{keras.__version__}, which lacks it or uses it otherwise. ({reason}) "
            f"Install one of the versions {TESTED}."
        )
