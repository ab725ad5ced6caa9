"""Descriptions of flows, as JSON has them."""

import dataclasses
import inspect

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import _builders

tfb, tfd = tfp.bijectors, tfp.distributions
KEY = "tfp_flows"  # marks a dictionary as a description
MODULES = {
    "tfb": tfb,
    "tfd": tfd,
    "tf.linalg": tf.linalg,
    "kernels": tfp.math.psd_kernels,
}
FUNCTIONS = {"tf.nn": tf.nn, "tf.math": tf.math}
Distribution, Bijector = tfd.Distribution, tfb.Bijector
# What is made again of its `parameters`.
COMPONENTS = (
    Distribution,
    Bijector,
    tf.linalg.LinearOperator,
    tfp.math.psd_kernels.PositiveSemidefiniteKernel,
)

_REMEDY = (
    "Decorate the function that makes the flow with "
    "`tfp_flows.keras.register_builder`, or use `save_weights` and `load_weights`."
)


class Writer:
    """Describes each object once; the next time, by its number."""

    def __init__(self):
        self._numbers = {}
        self._kept = []  # so that no `id` returns
        self._known = set()  # `id`s of variables that come back with what is made

    def check_complete(self, value, path):
        """Raises `TypeError` if a value has variables that were not described."""
        missing = [v.name for v in value.variables if id(v) not in self._known]
        if missing:
            raise TypeError(
                f"`{path}` must be made of its variables by what a file can describe; "
                f"got {value!r}, of whose variables {missing} the arguments do not "
                f"tell, as is so for slices of distributions. {_REMEDY}"
            )

    def write(self, value, path):
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, (np.bool_, np.integer, np.floating)):
            return value.item()
        if isinstance(value, list):
            return [self.write(v, f"{path}[{i}]") for i, v in enumerate(value)]
        for write in (self._plain, self._name):
            kind, content = write(value, path)
            if kind is not None:
                return {KEY: kind, "value": content}
        number = self._numbers.get(id(value))
        if number is not None:
            return {KEY: "again", "value": number}
        kind, content = self._object(value, path)
        self._kept.append(value)
        # After its arguments, as it is made after them.
        self._numbers[id(value)] = len(self._numbers)
        return {KEY: kind, "value": content}

    def _plain(self, value, path):
        if isinstance(value, tuple) and type(value) is tuple:
            return "tuple", self.write(list(value), path)
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise TypeError(f"`{path}` must have names as keys; got {value!r}.")
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

    def _name(self, value, path):
        name = _builders.registered_name(value)
        if name is not None:
            return "builder", name
        if isinstance(value, type):
            for prefix, module in MODULES.items():
                if getattr(module, value.__name__, None) is value:
                    return "class", f"{prefix}.{value.__name__}"
        elif callable(value) and hasattr(value, "__name__"):
            for prefix, module in FUNCTIONS.items():
                if getattr(module, value.__name__, None) is value:
                    return "function", f"{prefix}.{value.__name__}"
            registered = keras.saving.get_registered_name(value)
            if keras.saving.get_registered_object(registered) is value:
                return "registered", registered
        return None, None

    def _object(self, value, path):
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
        maker = _builders.registered_name(type(value))
        if dataclasses.is_dataclass(value) and maker is not None:
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            return "call", [maker, self._arguments(fields, maker)]
        if isinstance(value, COMPONENTS):
            public = _public_class(type(value))
            if public is not None and _is_told(value, public):
                return "call", [
                    self._name(public, path)[1],
                    self._arguments(_given(value, public), public.__name__),
                ]
        if isinstance(value, tfp.util.DeferredTensor):
            return self._deferred(value, path)
        raise TypeError(
            f"`{path}` must be something that a file can describe; got {value!r}. "
            f"{_REMEDY}"
        )

    def _deferred(self, value, path):
        transform = value.transform_fn
        owner = getattr(transform, "__self__", None)  # that of a `TransformedVariable`
        if isinstance(owner, Bijector) and transform == owner.forward:
            transform = owner
        if not isinstance(transform, Bijector):
            raise TypeError(
                f"`{path}` must be transformed by a bijector; got {transform!r}."
            )
        return "deferred", [
            self.write(value.pretransformed_input, path),
            self.write(transform, path),
        ]

    def _arguments(self, arguments, path):
        return {k: self.write(v, f"{path}: {k}") for k, v in arguments.items()}


def _public_class(cls):
    """Returns the class under which users know it: `Chain` for TFP's `_Chain`."""
    if _builders.registered_name(cls) is not None:
        return cls
    name = cls.__name__.strip("_")
    for module in MODULES.values():
        public = getattr(module, name, None)
        if isinstance(public, type) and issubclass(public, cls):
            return public
    return None


def _is_told(value, cls):
    """Returns whether an object tells all arguments without which it is not made."""
    _, *parameters = inspect.signature(cls.__init__).parameters.values()
    return all(
        parameter.name in value.parameters
        for parameter in parameters
        if parameter.default is inspect.Parameter.empty
    )


def _given(value, cls):
    """Returns the arguments that made an object, but for those left at defaults."""
    defaults = inspect.signature(cls.__init__).parameters
    return {
        name: argument
        for name, argument in value.parameters.items()
        if name in defaults
        and name not in ("self", "parameters")
        and argument is not defaults[name].default
    }
