# TensorFlow Probability has no types. These tell mypy which names are modules, so that
# `tfb = tfp.bijectors` and `class Layer(tfb.Bijector)` mean something to it.
from typing import Any

from tensorflow_probability import bijectors as bijectors
from tensorflow_probability import distributions as distributions

def __getattr__(name: str) -> Any: ...
