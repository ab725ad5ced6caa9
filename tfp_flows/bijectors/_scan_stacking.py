"""Stacks the variables of structurally identical layers."""

import types

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._closures import cells_of
from tfp_flows._layer import Layer, modules_of
from tfp_flows.bijectors._pytree import children_of, is_leaf, join

tfb = tfp.bijectors


def stack_layers(layers):
    """Returns the first layer, and the values that differ, stacked, by path.

    Raises:
      TypeError, ValueError: as `Scan.from_layers`.
    """
    layers = list(layers)
    if not layers:
        raise ValueError("`layers` must have at least one layer; got none.")
    for layer in layers:
        if not isinstance(layer, tfb.Bijector):
            raise TypeError(f"Each of `layers` must be a bijector; got {layer!r}.")
        if any(
            isinstance(part, Layer) and part.has_batch_statistics
            for part in modules_of(layer)
        ):
            raise ValueError(
                "`layers` must not normalize by statistics of batches, which each "
                f"needs from the one before; got {layer!r}."
            )
    known = [{} for _ in layers]
    stacked = {
        path: _stack(leaves) for path, leaves in _differing(layers, "", True, known)
    }
    if not stacked:
        raise ValueError(
            "`layers` must differ in variables or tensors; got the same layer "
            f"{len(layers)} times: {layers[0]!r}."
        )
    return layers[0], stacked


def _differing(values, path, owned, known):
    """Yields paths and leaves in which values differ, one value for each layer.

    Args:
      values: list of the values at `path`.
      path: path.
      owned: whether they are arguments of bijectors.
      known: for each layer a dictionary of the paths of its leaves by their `id`s.

    Raises:
      ValueError: they differ otherwise.
    """
    first = values[0]
    if len(values) > 1 and all(value is first for value in values):
        return
    parts = [children_of(value) for value in values]
    for i, (value, own) in enumerate(zip(values, parts)):
        if (
            type(value) is not type(first)
            or (own or {}).keys() != (parts[0] or {}).keys()
        ):
            _complain(path, i, value, first)
    if isinstance(first, tfp.util.DeferredTensor):
        functions = [value.transform_fn for value in values]
        _check_same(functions, f"{path}.transform_fn")
    elif is_leaf(first):
        yield from _differing_leaves(values, path, owned, known)
        return
    elif parts[0] is None:
        _check_same(values, path)
    owned = isinstance(first, tfb.Bijector)
    for name in parts[0] or {}:
        inner = [own[name] for own in parts]
        yield from _differing(inner, join(path, name), owned, known)


def _differing_leaves(leaves, path, owned, known):
    first = leaves[0]
    for i, leaf in enumerate(leaves):
        facts = [
            (v.shape, v.dtype, getattr(v, "trainable", None)) for v in (leaf, first)
        ]
        if facts[0] != facts[1]:
            _complain(path, i, leaf, first)
    if isinstance(first, tf.Variable):
        paths = [one.setdefault(id(leaf), path) for one, leaf in zip(known, leaves)]
        if len(set(paths)) > 1:
            raise ValueError(
                "`layers` must share variables within a layer alike; got one at "
                f"`{path}` that some share with `{min(set(paths) - {path})}`."
            )
        if paths[0] != path:
            return  # it is stacked already
    if not first.dtype.is_floating:
        numbers = [leaf.numpy() for leaf in leaves]
        if all(np.array_equal(number, numbers[0]) for number in numbers):
            return
        if not owned:  # a network may read them while a graph is made, as `MADE` does
            raise ValueError(
                f"`layers` must agree in the numbers at `{path}`, by which a network "
                "is masked, such as an order drawn anew for each; got others."
            )
    yield path, leaves


def _stack(leaves):
    """Returns a variable for variables, and a tensor for tensors."""
    value = tf.stack([tf.convert_to_tensor(leaf) for leaf in leaves])
    first = leaves[0]
    if not isinstance(first, tf.Variable):
        return value
    return tf.Variable(
        value,
        trainable=first.trainable,
        name=first.name.split(":")[0],
        aggregation=first.aggregation,
        synchronization=first.synchronization,
    )


def _check_same(values, path):
    for i, value in enumerate(values):
        if not _is_same(value, values[0]):
            _complain(path, i, value, values[0])


def _is_same(a, b, assumed=()):
    """Returns whether two values that are no parts of layers do the same.

    Args:
      a, b: values.
      assumed: pairs of functions, by `id`, that are under comparison: one that refers
        to itself is the same as another that does.
    """
    if a is b or (id(a), id(b)) in assumed:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, types.MethodType):
        return a.__func__ is b.__func__ and _is_same(a.__self__, b.__self__, assumed)
    if isinstance(a, types.FunctionType):  # such as those made in a loop
        assumed = {*assumed, (id(a), id(b))}
        return (
            a.__code__ is b.__code__
            and a.__defaults__ == b.__defaults__
            and all(
                _is_same(*cells, assumed) for cells in zip(cells_of(a), cells_of(b))
            )
        )
    same = a == b
    return isinstance(same, (bool, np.bool_)) and bool(same)


def _complain(path, i, value, first):
    raise ValueError(
        "`layers` must be equal but for the values of variables and tensors; "
        f"got {_describe(value)} in layer {i} and {_describe(first)} in layer 0 at "
        f"`{path or 'the layer itself'}`."
    )


def _describe(value):
    if not is_leaf(value):
        return repr(value)
    trainable = getattr(value, "trainable", None)
    kind = {True: "a trainable variable", False: "a frozen variable"}.get(
        trainable, "a tensor"
    )
    return f"{kind} of shape {value.shape} and {value.dtype.name}"
