"""Variables that functions refer to, which `tf.Module` does not find."""

import functools
import types

import tensorflow as tf
import tensorflow_probability as tfp


def variables_within(value):
    """Returns the variables that a value refers to, be it no module.

    Functions refer to what is in their closures and defaults, and may refer to
    themselves, as those that TensorFlow decorates do. What they read from global names
    stays unknown.

    Args:
      value: anything: a function, a method, a container, a module, a Keras layer.

    Returns:
      variables: list of variables, each once.
    """
    found, seen = {}, {}

    def walk(value):
        if id(value) in seen or isinstance(value, type):
            return
        seen[id(value)] = value  # so that no `id` returns
        if isinstance(value, tf.Variable):
            found[id(value)] = value
        elif isinstance(value, (list, tuple, set, frozenset)):
            _each(value)
        elif isinstance(value, dict):
            _each(value.values())
        elif isinstance(value, functools.partial):
            _each([value.func, value.args, value.keywords])
        elif isinstance(value, types.MethodType):
            _each([value.__self__, value.__func__])
        elif isinstance(value, types.FunctionType):
            _each([cells_of(value), value.__defaults__, value.__kwdefaults__])
        elif isinstance(value, tfp.util.DeferredTensor):
            _each([value.pretransformed_input, value.transform_fn])
        else:
            variables = getattr(value, "variables", None)
            if isinstance(variables, (list, tuple)):
                found.update((id(v), v) for v in variables)

    def _each(values):
        for value in values:
            walk(value)

    walk(value)
    return list(found.values())


def cells_of(function):
    """Returns a list of what is in the closure of a function."""
    contents = []
    for cell in function.__closure__ or ():
        try:
            contents.append(cell.cell_contents)
        except ValueError:  # nothing yet
            contents.append(None)
    return contents
