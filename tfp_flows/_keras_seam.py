"""What the package does for Keras without importing it."""

from __future__ import annotations

import importlib
import sys
from typing import Any

# Classes of `tfp_flows.keras` that `.keras` files name.
NAMES_IN_FILES = (
    *("BijectorLayer", "BitsPerDimension", "DensityModel", "DistributionLayer"),
    *("LogLikelihood", "NegativeLogLikelihood"),
)
REMEDY = (
    "Set the environment variable KERAS_BACKEND=tensorflow, or `backend` in "
    "~/.keras/keras.json, before Keras is imported"
)
_OTHER_BACKENDS = ("jax", "jaxlib", "torch")


class _Placeholder:
    """Stands for a class of `tfp_flows.keras` until a file names it.

    Args:
      name: name of the class.
    """

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def from_config(self, config: dict[str, Any]) -> Any:
        """Calls the class's own, which replaces this placeholder."""
        module = importlib.import_module("tfp_flows.keras")
        return getattr(module, self.__name__).from_config(config)


def register_placeholders() -> None:
    """Registers placeholders for the classes in files, if Keras 3 is imported.

    `import tensorflow` imports Keras 3, so that the order of imports does not matter.
    """
    keras = sys.modules.get("keras")
    if keras is not None and hasattr(keras, "StatelessScope"):  # Keras 3
        known = keras.saving.get_custom_objects()
        for name in NAMES_IN_FILES:
            known.setdefault(f"tfp_flows>{name}", _Placeholder(name))


def check_backend(value: Any, name: str) -> None:
    """Checks that an object of Keras computes with TensorFlow.

    Args:
      value: argument, of Keras or not.
      name: its name.

    Raises:
      ValueError: it is of Keras on another backend, or an array of another backend.
    """
    modules = [cls.__module__.split(".")[0] for cls in type(value).__mro__]
    if "keras" in modules:
        backend = sys.modules["keras"].backend.backend()
    else:
        backend = next((m for m in modules if m in _OTHER_BACKENDS), "tensorflow")
    if backend != "tensorflow":
        raise ValueError(
            f"`{name}` must compute with TensorFlow; got {value!r}, which computes with"
            f" {backend}, where TensorFlow finds no gradients. {REMEDY}."
        )
