"""Descriptions of flows, as JSON has them, and flows made from descriptions.

A description is data. What is made of it are the classes and functions that this
package, TFP and TensorFlow have under known names, what the user registered as a
`register_builder` or with Keras, and nothing that a file brings along.
"""

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import _builders
from tfp_flows.keras._description import (
    COMPONENTS,
    FUNCTIONS,
    KEY,
    MODULES,
    Writer,
)


def describe(value, argument):
    """Returns a description of a flow or of one of its arguments.

    Args:
      value: bijector, distribution, network, variable, tensor, number, name, sequence.
      argument: what messages call it.

    Raises:
      TypeError: something in it cannot be described; the message names it.
    """
    writer = Writer()
    description = writer.write(value, argument)
    if isinstance(value, tf.Module):
        writer.check_complete(value, argument)
    return description


def make(description):
    """Returns what was described, with zeros in its variables unless it has a recipe.

    Raises:
      ValueError: the description is none, or names what is not known.
    """
    return _Reader().read(description)


class _Reader:
    """Makes objects in the order in which a `Writer` has described them."""

    def __init__(self):
        self._made = []

    def read(self, description):
        if isinstance(description, (list, tuple)):
            return [self.read(part) for part in description]
        if not isinstance(description, dict):
            return description
        kind = description.get(KEY)
        read = getattr(self, f"_read_{kind}", None)
        if not isinstance(kind, str) or read is None or "value" not in description:
            raise ValueError(
                f"A flow must be described as this package does it; got {description}."
            )
        made = read(description["value"])
        if kind in ("variable", "call", "keras", "deferred"):
            self._made.append(made)
        return made

    def _read_again(self, number):
        return self._made[number]

    def _read_tuple(self, parts):
        return tuple(self.read(parts))

    def _read_dict(self, parts):
        return {key: self.read(part) for key, part in parts.items()}

    def _read_dtype(self, name):
        return tf.as_dtype(name)

    def _read_shape(self, sizes):
        return tf.TensorShape(sizes)

    def _read_array(self, content):
        return np.array(content[1], content[0])

    def _read_tensor(self, content):
        return tf.constant(content[1], content[0])

    def _read_recipe(self, name):
        return _builders.find_builder(name)

    def _read_class(self, name):
        prefix, _, name = name.rpartition(".")
        cls = getattr(MODULES.get(prefix), name, None)
        if not isinstance(cls, type) or not issubclass(cls, COMPONENTS):
            raise ValueError(
                "A class must be one of TFP's distributions, bijectors and kernels or "
                f"of TensorFlow's linear operators; got {name!r}."
            )
        return cls

    def _read_function(self, name):
        prefix, _, name = name.rpartition(".")
        function = getattr(FUNCTIONS.get(prefix), name, None)
        if not callable(function):
            raise ValueError(
                f"A function must be one of `tf.nn` or `tf.math`; got {name!r}."
            )
        return function

    def _read_registered(self, name):
        function = keras.saving.get_registered_object(name)
        if function is None:
            raise ValueError(
                f"{name!r} must be registered with Keras; it is not. Import the module "
                "that does so first."
            )
        return function

    def _read_variable(self, content):
        return tf.Variable(
            tf.zeros(content["shape"], content["dtype"]),
            trainable=content["trainable"],
            name=content["name"],
            aggregation=tf.VariableAggregation[content["aggregation"]],
        )

    def _read_call(self, content):
        name, arguments = content
        known = any(name.startswith(f"{prefix}.") for prefix in MODULES)
        maker = self._read_class(name) if known else _builders.find_builder(name)
        return maker(**{key: self.read(part) for key, part in arguments.items()})

    def _read_keras(self, config):
        return keras.saving.deserialize_keras_object(config)

    def _read_deferred(self, content):
        variable, transform = map(self.read, content)
        return tfp.util.DeferredTensor(variable, transform)
