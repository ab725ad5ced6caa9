"""What the package does about Keras without importing it."""

import importlib
import sys

# Classes of `tfp_flows.keras` that are in files, as Keras knows them there.
NAMES_IN_FILES = (
    *("BijectorLayer", "BitsPerDimension", "DensityModel", "DistributionLayer"),
    *("LogLikelihood", "NegativeLogLikelihood"),
)
REMEDY = (
    "Set the environment variable KERAS_BACKEND=tensorflow, or `backend` in "
    "~/.keras/keras.json, before Keras is imported"
)
_OF_OTHERS = ("jax", "jaxlib", "torch")


class _Late:
    """Stands for a class of `tfp_flows.keras` until a file names it.

    Args:
      name: name of the class.
    """

    def __init__(self, name):
        self.__name__ = name

    def from_config(self, config):
        """As that of the class, which takes the place of this."""
        module = importlib.import_module("tfp_flows.keras")
        return getattr(module, self.__name__).from_config(config)


def register_late():
    """Lets Keras find the classes in files, in case it is there, at no cost.

    `import tensorflow` imports Keras 3, so it is, whatever the reader imports first.
    """
    keras = sys.modules.get("keras")
    if hasattr(keras, "StatelessScope"):  # Keras 3
        known = keras.saving.get_custom_objects()
        for name in NAMES_IN_FILES:
            known.setdefault(f"tfp_flows>{name}", _Late(name))


def check_backend(value, name):
    """Checks that what is of Keras computes by TensorFlow.

    Args:
      value: argument, of Keras or not.
      name: its name.

    Raises:
      ValueError: it is of Keras on another backend, or one of its arrays.
    """
    modules = [cls.__module__.split(".")[0] for cls in type(value).__mro__]
    if "keras" in modules:
        backend = sys.modules["keras"].backend.backend()
    else:
        backend = next((m for m in modules if m in _OF_OTHERS), "tensorflow")
    if backend != "tensorflow":
        raise ValueError(
            f"`{name}` must compute by TensorFlow; got {value!r}, which does by "
            f"{backend}, where TensorFlow finds no gradients. {REMEDY}."
        )
