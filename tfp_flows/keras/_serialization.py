"""Flows as JSON, flows from JSON, and checks of weights in files.

A description is data. A file can name classes and functions of this package, TFP and
TensorFlow, and what the user registered with `register_builder` or with Keras: nothing
else is called, and no code is loaded from the file.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import _builders

tfb, tfd = tfp.bijectors, tfp.distributions
KEY = "tfp_flows"  # marks a dictionary as a description
_MODULES = {
    "tfb": tfb,
    "tfd": tfd,
    "tf.linalg": tf.linalg,
    "kernels": tfp.math.psd_kernels,
}
_FUNCTIONS = {"tf.nn": tf.nn, "tf.math": tf.math}
# Described by their `parameters`.
_COMPONENTS = (
    tfd.Distribution,
    tfb.Bijector,
    tf.linalg.LinearOperator,
    tfp.math.psd_kernels.PositiveSemidefiniteKernel,
)
_REMEDY = (
    "Decorate the function that returns the flow with "
    "`tfp_flows.keras.register_builder`, or use `save_weights` and `load_weights`."
)


def serialize(value: Any, argument: str) -> Any:
    """Returns the description of a flow or of one of its arguments.

    Args:
      value: bijector, distribution, network, variable, tensor, number, name, sequence.
      argument: its name in error messages.

    Raises:
      TypeError: a component cannot be described; the message names it.
    """
    serializer = _Serializer()
    description = serializer.write(value, argument)
    if isinstance(value, tf.Module):
        serializer.check_complete(value, argument)
    return description


def deserialize(description: Any) -> Any:
    """Returns what was described; variables are zero unless a builder sets them.

    Raises:
      ValueError: the description is malformed, or names something unknown.
    """
    return _Deserializer().read(description)


class _Serializer:
    """Describes each object once; after that, by its number."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no `id` returns
        self._known: set[int] = set()  # `id`s of variables that the description creates

    def check_complete(self, value: tf.Module, path: str) -> None:
        """Raises `TypeError` if a value has variables that were not described."""
        missing = [v.name for v in value.variables if id(v) not in self._known]
        if missing:
            raise TypeError(
                f"`{path}` must hold its variables in its arguments; got {value!r}, "
                f"whose variables {missing} are in no argument, as in slices of "
                f"distributions. {_REMEDY}"
            )

    def write(self, value: Any, path: str) -> Any:
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, (np.bool_, np.integer, np.floating)):
            return value.item()
        if isinstance(value, list):
            return [self.write(v, f"{path}[{i}]") for i, v in enumerate(value)]
        for write in (self._plain, self._named):
            kind, content = write(value, path)
            if kind is not None:
                return {KEY: kind, "value": content}
        number = self._numbers.get(id(value))
        if number is not None:
            return {KEY: "again", "value": number}
        kind, content = self._object(value, path)
        self._kept.append(value)
        # After its arguments, which are read first.
        self._numbers[id(value)] = len(self._numbers)
        return {KEY: kind, "value": content}

    def _plain(self, value: Any, path: str) -> tuple[str | None, Any]:
        if isinstance(value, tuple) and type(value) is tuple:
            return "tuple", self.write(list(value), path)
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise TypeError(f"`{path}` must have strings as keys; got {value!r}.")
            return "dict", {k: self.write(v, f"{path}.{k}") for k, v in value.items()}
        if isinstance(value, (tf.DType, np.dtype)) or (
            isinstance(value, type) and issubclass(value, np.generic)
        ):
            return "dtype", tf.as_dtype(value).name
        if isinstance(value, tf.TensorShape):
            return "shape", None if value.rank is None else value.as_list()
        if isinstance(value, np.ndarray):
            return "array", [value.dtype.name, value.tolist()]
        references = (tf.Variable, tfp.util.DeferredTensor)
        if tf.is_tensor(value) and not isinstance(value, references):
            if not hasattr(value, "numpy"):
                raise TypeError(f"`{path}` must be an eager tensor; got {value!r}.")
            return "tensor", [value.dtype.name, value.numpy().tolist()]
        return None, None

    def _named(self, value: Any, path: str) -> tuple[Any, Any]:
        name = _builders.registered_name(value)
        if name is not None:
            return "builder", name
        own_name = getattr(value, "__name__", None)
        if isinstance(value, type):
            for prefix, module in _MODULES.items():
                if getattr(module, value.__name__, None) is value:
                    return "class", f"{prefix}.{own_name}"
        elif callable(value) and own_name is not None:
            for prefix, module in _FUNCTIONS.items():
                if getattr(module, own_name, None) is value:
                    return "function", f"{prefix}.{own_name}"
            registered = keras.saving.get_registered_name(value)
            if keras.saving.get_registered_object(registered) is value:
                return "registered", registered
        return None, None

    def _object(self, value: Any, path: str) -> tuple[str, Any]:
        if isinstance(value, tf.Variable):
            self._known.add(id(value))
            name = value.name.split(":")[0]
            return "variable", dict(
                shape=value.shape.as_list(),
                dtype=value.dtype.name,
                name=name,
                trainable=value.trainable,
                aggregation=value.aggregation.name,
            )
        call = _builders.recorded_call(value)
        if call is not None:
            self._known.update(id(v) for v in value.variables)
            return "call", [call.name, self._arguments(call.arguments, call.name)]
        if isinstance(value, keras.layers.Layer):
            self._known.update(id(v.value) for v in value.variables)
            return "keras", keras.saving.serialize_keras_object(value)
        builder = _builders.registered_name(type(value))
        if dataclasses.is_dataclass(value) and builder is not None:
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            return "call", [builder, self._arguments(fields, builder)]
        if isinstance(value, _COMPONENTS):
            public = _public_class(type(value))
            if public is not None and _has_all_arguments(value, public):
                return "call", [
                    self._named(public, path)[1],
                    self._arguments(_given(value, public), public.__name__),
                ]
        if isinstance(value, tfp.util.DeferredTensor):
            return self._deferred(value, path)
        raise TypeError(
            f"`{path}` must be something that a file can describe; got {value!r}. "
            f"{_REMEDY}"
        )

    def _deferred(self, value: Any, path: str) -> tuple[str, Any]:
        transform = value.transform_fn
        owner = getattr(transform, "__self__", None)  # that of a `TransformedVariable`
        if isinstance(owner, tfb.Bijector) and transform == owner.forward:
            transform = owner
        if not isinstance(transform, tfb.Bijector):
            raise TypeError(
                f"`{path}` must be transformed by a bijector; got {transform!r}."
            )
        return "deferred", [
            self.write(value.pretransformed_input, path),
            self.write(transform, path),
        ]

    def _arguments(self, arguments: dict[str, Any], path: str) -> dict[str, Any]:
        return {k: self.write(v, f"{path}: {k}") for k, v in arguments.items()}


class _Deserializer:
    """Creates objects in the order in which a `_Serializer` described them."""

    def __init__(self) -> None:
        self._created: list[Any] = []

    def read(self, description: Any) -> Any:
        if isinstance(description, (list, tuple)):
            return [self.read(part) for part in description]
        if not isinstance(description, dict):
            return description
        kind = description.get(KEY)
        read = getattr(self, f"_read_{kind}", None)
        if not isinstance(kind, str) or read is None or "value" not in description:
            raise ValueError(
                "A flow must be described in the format of this package; got "
                f"{description}."
            )
        instance = read(description["value"])
        if kind in ("variable", "call", "keras", "deferred"):
            self._created.append(instance)
        return instance

    def _read_again(self, number: int) -> Any:
        return self._created[number]

    def _read_tuple(self, parts: list[Any]) -> tuple[Any, ...]:
        return tuple(self.read(parts))

    def _read_dict(self, parts: dict[str, Any]) -> dict[str, Any]:
        return {key: self.read(part) for key, part in parts.items()}

    def _read_dtype(self, name: str) -> tf.DType:
        return tf.as_dtype(name)

    def _read_shape(self, sizes: list[int | None] | None) -> tf.TensorShape:
        return tf.TensorShape(sizes)

    def _read_array(self, content: list[Any]) -> np.ndarray:
        return np.array(content[1], content[0])

    def _read_tensor(self, content: list[Any]) -> tf.Tensor:
        return tf.constant(content[1], content[0])

    def _read_builder(self, name: str) -> Any:
        return _builders.find_builder(name)

    def _read_class(self, name: str) -> type:
        prefix, _, name = name.rpartition(".")
        cls = getattr(_MODULES.get(prefix), name, None)
        if not isinstance(cls, type) or not issubclass(cls, _COMPONENTS):
            raise ValueError(
                "A class must be one of TFP's distributions, bijectors and kernels or "
                f"of TensorFlow's linear operators; got {name!r}."
            )
        return cls

    def _read_function(self, name: str) -> Any:
        prefix, _, name = name.rpartition(".")
        function = getattr(_FUNCTIONS.get(prefix), name, None)
        if not callable(function):
            raise ValueError(
                f"A function must be one of `tf.nn` or `tf.math`; got {name!r}."
            )
        return function

    def _read_registered(self, name: str) -> Any:
        function = keras.saving.get_registered_object(name)
        if function is None:
            raise ValueError(
                f"{name!r} must be registered with Keras, and is not. Import the module"
                " that registers it first."
            )
        return function

    def _read_variable(self, content: dict[str, Any]) -> tf.Variable:
        return tf.Variable(
            tf.zeros(content["shape"], content["dtype"]),
            trainable=content["trainable"],
            name=content["name"],
            aggregation=tf.VariableAggregation[content["aggregation"]],
        )

    def _read_call(self, content: list[Any]) -> Any:
        name, arguments = content
        known = any(name.startswith(f"{prefix}.") for prefix in _MODULES)
        builder = self._read_class(name) if known else _builders.find_builder(name)
        return builder(**{key: self.read(part) for key, part in arguments.items()})

    def _read_keras(self, config: dict[str, Any]) -> Any:
        return keras.saving.deserialize_keras_object(config)

    def _read_deferred(self, content: list[Any]) -> Any:
        variable, transform = map(self.read, content)
        return tfp.util.DeferredTensor(variable, transform)


def _public_class(cls: type) -> type | None:
    """Returns the public class of a private one: `Chain` for TFP's `_Chain`."""
    if _builders.registered_name(cls) is not None:
        return cls
    name = cls.__name__.strip("_")
    for module in _MODULES.values():
        public = getattr(module, name, None)
        if isinstance(public, type) and issubclass(public, cls):
            return public
    return None


def _has_all_arguments(value: Any, cls: Any) -> bool:
    """Returns whether `parameters` has all required arguments of the constructor."""
    _, *parameters = inspect.signature(cls.__init__).parameters.values()
    return all(
        parameter.name in value.parameters
        for parameter in parameters
        if parameter.default is inspect.Parameter.empty
    )


def _given(value: Any, cls: Any) -> dict[str, Any]:
    """Returns the arguments of an object that differ from their defaults."""
    defaults = inspect.signature(cls.__init__).parameters
    return {
        name: argument
        for name, argument in value.parameters.items()
        if name in defaults
        and name not in ("self", "parameters")
        and argument is not defaults[name].default
    }


def save_number(holders: Sequence[Any], store: Any) -> None:
    """Saves the number of components; each saves its own variables."""
    store["components"] = np.array(len(holders))


def check_number(owner: Any, holders: Sequence[Any], store: Any) -> None:
    """Raises `ValueError` if a file has more components than a layer or model."""
    number = int(store["components"][()]) if "components" in store.keys() else 0
    message = (
        f"Weights for `{owner.name}` must be of {len(holders)} components; "
        f"got {number} in the file."
    )
    raise_mismatch(owner, store, None if number <= len(holders) else message)


def raise_mismatch(layer: Any, store: Any, message: str | None) -> None:
    """Raises `ValueError` if there is a message.

    After an error Keras looks for the weights of the layer in another place of the
    file, where there are none. In that case the first error is raised again.
    """
    first = vars(layer).get("_mismatch_message")
    if first is not None and not list(store.keys()):
        message = first
    vars(layer)["_mismatch_message"] = message
    if message is not None:
        raise ValueError(message)
