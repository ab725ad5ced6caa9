"""The leaves of a layer by path, and copies of a layer with other leaves.

Leaves are the variables, tensors and deferred tensors that a layer computes with, each
at a path such as `coupling.conditioner._kernels[0]`. Bijectors are copied by `copy`
with other arguments, since what their constructors prepare must fit the values. Other
modules, such as networks, are copied with other attributes.
"""

import copy

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._autodiff import with_shape
from tfp_flows._closures import variables_within
from tfp_flows._parameters import without_keras

tfb = tfp.bijectors

RAW = ".pretransformed_input"  # path of the input of a deferred tensor
_OF_MODULES = {"_name", "_scope_name", "_name_scope", "_builder_call", "_cache"}


def children_of(value):
    """Returns the children of a value by their paths from it; None if it is opaque."""
    if isinstance(value, tfp.util.DeferredTensor):
        parts = {RAW: value.pretransformed_input}
    elif isinstance(value, tfb.Bijector):
        items = value.parameters.items()
        parts = {f".{name}": part for name, part in items if name != "name"}
    elif isinstance(value, dict):
        parts = {f"[{key!r}]": part for key, part in value.items()}
    elif isinstance(value, (list, tuple)):
        parts = {f"[{i}]": part for i, part in enumerate(value)}
    elif isinstance(value, tf.Module) and not tf.is_tensor(value):
        parts = {
            f".{name}": part
            for name, part in vars(value).items()
            if name not in _OF_MODULES and not name.startswith("_self_")
        }
    else:
        return None
    return {name: without_keras(part) for name, part in parts.items()}


def is_leaf(value):
    """Returns whether a value is a variable, a tensor or a deferred tensor."""
    # Not `tf.is_tensor`, which takes what Keras has in place of inputs for tensors.
    return isinstance(value, (tf.Tensor, tf.Variable, tfp.util.DeferredTensor))


def leaves_of(layer, opened=(), check=True):
    """Returns the leaves of a layer by their paths, each once.

    Args:
      layer: bijector, or a part of one.
      opened: paths; a deferred tensor that is made of what is at one of these gives
        that, in place of itself.
      check: whether parts may not hide variables.

    Raises:
      ValueError: a part hides variables, which nobody could replace.
    """
    leaves, known = {}, set()

    def walk(value, path):
        if id(value) in known:
            return
        if not _is_plain(value):
            known.add(id(value))
        if is_leaf(value) and path + RAW not in opened:
            leaves[path] = value
            return
        parts = children_of(value)
        if check and (parts is None or isinstance(value, tfp.util.DeferredTensor)):
            _check_opaque(getattr(value, "transform_fn", value), path)
        for name, part in (parts or {}).items():
            walk(part, join(path, name))

    walk(layer, "")
    return leaves


def objects_of(layer):
    """Returns leaves by all their paths, and what deferred tensors are made of."""
    objects = {}

    def walk(value, path):
        if is_leaf(value):
            objects[path] = value
        for name, part in (children_of(value) or {}).items():
            walk(part, join(path, name))

    walk(layer, "")
    return objects


def join(path, name):
    """Returns the path of a part."""
    return f"{path}{name}" if path else name.lstrip(".")


def _is_plain(value):
    """Returns whether two values that are equal may be one object, and mean nothing."""
    reference = isinstance(value, (tf.Variable, tfp.util.DeferredTensor))
    if tf.is_tensor(value) and not reference:
        return True  # TensorFlow keeps small constants
    return isinstance(value, tuple) or children_of(value) is None and not reference


class VariableSnapshot:
    """Stands for a variable of whole numbers that was read before a loop.

    Within the gradient of a loop nobody can read a variable. The values as they are
    now, which `MADE` asks for while a graph is made, are still those of the variable.

    Args:
      variable: the variable.
    """

    def __init__(self, variable):
        self.dtype, self.shape = variable.dtype, variable.shape
        self._variable, self._value = variable, tf.convert_to_tensor(variable)

    def __tf_tensor__(self, dtype=None, name=None):
        if tf.executing_eagerly():
            return tf.convert_to_tensor(self._variable, dtype, name)
        return self._value


def replace_leaves(value, new, path="", made=None):
    """Returns a value with other leaves; itself where it has none of them.

    Args:
      value: bijector, or a part of one.
      new: dictionary of tensors by the path of the leaf that each replaces.
      path: path of `value`.
      made: what was made so far, by `id`: what is at several paths stays one.
    """
    made = {} if made is None else made
    if id(value) in made:
        return made[id(value)]
    if path in new:
        result = new[path]
    elif is_leaf(value) and not isinstance(value, tfp.util.DeferredTensor):
        result = value
    else:
        parts = children_of(value) or {}
        again = {
            name: replace_leaves(part, new, join(path, name), made)
            for name, part in parts.items()
        }
        changed = {n: part for n, part in again.items() if part is not parts[n]}
        result = _with_parts(value, again, changed) if changed else value
    if not _is_plain(value):
        made[id(value)] = result
    return result


def _with_parts(value, again, changed):
    if isinstance(value, tfp.util.DeferredTensor):
        result = tf.convert_to_tensor(value.transform_fn(again[RAW]), value.dtype)
        return with_shape(result, value.shape)
    if isinstance(value, tfb.Bijector):
        return value.copy(
            **{
                name[1:]: tf.convert_to_tensor(part)
                if isinstance(part, VariableSnapshot)
                else part
                for name, part in changed.items()
            }
        )
    if isinstance(value, dict):
        return dict(zip(value, again.values()))
    if isinstance(value, (list, tuple)):
        many = list(again.values())
        if isinstance(value, list):
            return many
        return type(value)(*many) if hasattr(value, "_fields") else tuple(many)
    result = copy.copy(value)
    # Past `__setattr__`, which would tell the original of them.
    vars(result).update({name[1:]: part for name, part in changed.items()})
    return result


def _check_opaque(value, path):
    if variables_within(value):
        raise ValueError(
            f"`layer` must have its variables in its arguments and in the attributes "
            f"of its networks, where others can take their places; got {value!r} as "
            f"`{path}`, which has some elsewhere."
        )
