"""Custom gradients through which forward-mode differentiation goes, too.

TensorFlow has no rule for the Jacobian-vector products of a custom gradient. It makes
one of the gradient function, which is linear in what it is given: the gradient of that
is the transpose. There are two traps.

While TensorFlow runs a gradient function for this, no gradient tape within records
anything, and each answers None, which a request with zeros for what is unconnected
makes a wrong number. `differentiable` is for gradient functions that need a tape.

In graphs TensorFlow computes the product, and then keeps that of the operations within
the function instead, which is wrong where these stop gradients. `custom_gradient` is
for those.

This file knows private parts of TensorFlow. Without them forward mode is refused.
"""

import contextlib
import contextvars
import functools
import itertools

import tensorflow as tf

try:
    from tensorflow.python.eager import record
    from tensorflow.python.eager.forwardprop_util import (
        pack_tangents,
        push_forwardprop_state,
    )
except ImportError:
    record = pack_tangents = push_forwardprop_state = None

_kept_in_graphs = contextvars.ContextVar("kept_in_graphs", default=False)
_HIDDEN = "with a conditioner that hides its variables, as no `tf.Module` does,"
_names = (f"TfpFlowsGradient{i}" for i in itertools.count())


def custom_gradient(function, pause=None):
    """Decorator as `tf.custom_gradient`, for use in forward mode in graphs, too.

    Args:
      function: callable from floating tensors to tensors and the gradient function.
      pause: context in which to call it in graphs, by default `unrecorded`.
    """

    @functools.wraps(function)
    def call(*tensors):
        if record is None:
            return tf.custom_gradient(_refusing(function))(*tensors)
        if tf.executing_eagerly() or not _are_followed(tensors):
            return tf.custom_gradient(function)(*tensors)
        with record.VariableWatcher() as watcher, (pause or unrecorded)():
            results, backward = function(*tensors)
        if watcher.watched_variables():
            _refuse(_HIDDEN)
        flat = tf.nest.flatten(results)

        def gradients(*cotangents):
            token = _kept_in_graphs.set(True)
            try:
                return tf.nest.flatten(backward(*cotangents[: len(flat)]))
            finally:
                _kept_in_graphs.reset(token)

        name = next(_names)
        tf.RegisterGradient(name)(
            lambda _, *cotangents: [None] * len(flat) + gradients(*cotangents)
        )
        override = flat[0].graph.gradient_override_map({"IdentityN": name})
        with record.stop_recording(), override:
            outputs = tf.raw_ops.IdentityN(input=[*flat, *tensors])[: len(flat)]
        record.record_operation(name, outputs, list(tensors), gradients)
        return tf.nest.pack_sequence_as(results, outputs)

    return call


def differentiable(function, *tensors, variables=()):
    """Returns `function(*tensors)`, which may open gradient tapes within.

    Derivatives of all orders, by any mix of tapes and accumulators, are those that
    tapes find in `function`.

    Args:
      function: callable from floating tensors to a list of such. What else it depends
        on must be constants or variables.
      *tensors: what to call it with.
      variables: those that it reads.

    Raises:
      NotImplementedError: this is part of forward-mode differentiation where TensorFlow
        cannot do it, or of the gradient of a loop in a graph, and there are variables.
    """
    if variables and not tf.executing_eagerly():
        _check_no_loop(tf.constant(False).graph, variables)
    if _tapes_record(tensors[0].dtype):
        return function(*tensors)
    if push_forwardprop_state is None:
        _refuse(f"with TensorFlow {tf.__version__}")
    handles = [v.handle for v in variables if hasattr(v, "handle")]
    with push_forwardprop_state():
        followed = variables and (not tf.executing_eagerly() or _are_followed(handles))
    if followed:  # and would be within, where nothing ends it
        _refuse(_HIDDEN)
    if not tf.executing_eagerly() and not _kept_in_graphs.get():
        _refuse("in a `tf.function` that is called by what it differentiates")
    return _closed(function, tensors)


def _closed(function, tensors):
    """Returns `function(*tensors)` as one operation, with tapes that record within."""

    def closed(*tensors):
        # What accumulators watch they would follow through all that is within.
        held = [detached(tensor) for tensor in tensors]
        with push_forwardprop_state():
            results = function(*held)

        def backward(*cotangents, variables=()):
            sources = [*variables]

            def gradients(*inputs):
                points, vectors = inputs[: len(tensors)], inputs[len(tensors) :]
                with tf.GradientTape() as tape:
                    tape.watch(points)
                    values = function(*points)
                return tape.gradient(
                    values,
                    [*points, *sources],
                    [*vectors],
                    unconnected_gradients=tf.UnconnectedGradients.ZERO,
                )

            inputs = [*tensors, *cotangents]
            found = (
                gradients(*inputs)
                if _tapes_record(inputs[0].dtype)
                else _closed(gradients, inputs)
            )
            return tuple(found[: len(tensors)]), found[len(tensors) :]

        return results, backward

    return custom_gradient(closed, contextlib.nullcontext)(*tensors)


@contextlib.contextmanager
def unrecorded():
    """No tape and no accumulator follows what is done in this context."""
    if record is not None:
        with record.stop_recording():
            yield
    else:
        eager = tf.executing_eagerly()
        with tf.init_scope() if eager else contextlib.nullcontext():
            yield


def detached(tensor):
    """`tf.stop_gradient`, after which accumulators in graphs do not follow zeros."""
    with unrecorded():
        return tf.stop_gradient(tensor)


def with_shape(tensor, shape):
    """`tf.ensure_shape`, for which TensorFlow has no forward mode in graphs.

    Args:
      tensor: tensor.
      shape: its static shape, as far as that is known.
    """
    shape = tf.TensorShape(shape)
    if tensor.shape.is_subtype_of(shape):
        return tensor
    if not tensor.dtype.is_floating:
        return tf.ensure_shape(tensor, shape)
    return custom_gradient(
        lambda tensor: (tf.ensure_shape(tensor, shape), lambda g: g)
    )(tensor)


def check_reverse_mode(what):
    """Raises `NotImplementedError` if a gradient function runs for forward mode."""
    if not _tapes_record():
        raise NotImplementedError(
            "Forward-mode differentiation (`tf.autodiff.ForwardAccumulator`) must not "
            f"go through {what} as no gradient tape records within it. Build the flow "
            "with `recompute=False`."
        )


def _are_followed(tensors):
    """Returns whether an accumulator of forward mode follows one of the tensors."""
    return len(pack_tangents(list(tensors)).tangents) > 0


def _refusing(function):
    """Returns a function whose gradient, in graphs, is not for forward mode."""

    def guarded(*tensors):
        results, backward = function(*tensors)

        def checked(*cotangents, **variables):
            if not (tf.executing_eagerly() or _tapes_record(cotangents[0].dtype)):
                _refuse(f"with TensorFlow {tf.__version__}")
            return backward(*cotangents, **variables)

        return results, checked

    return guarded


def _tapes_record(dtype=tf.float32):
    """Returns whether a gradient tape that is opened here sees what is done.

    Args:
      dtype: floating dtype of what is computed: a graph has no other in it.
    """
    probe = tf.zeros([], dtype)
    with tf.GradientTape() as tape:
        tape.watch(probe)
        copy = tf.identity(probe)
    return tape.gradient(copy, probe) is not None


def _check_no_loop(graph, variables):
    """Raises `NotImplementedError` within the gradient of a loop."""
    while graph is not None:
        if type(graph).__name__ == "_WhileBodyGradFuncGraph":
            raise NotImplementedError(
                "The gradient of the sequential direction in a loop of a graph "
                "(`tf.while_loop`, `tf.map_fn`) must have a conditioner that is a "
                "`tf.Module` with its variables as attributes; got one that hides "
                f"{sorted(variable.name for variable in variables)}, as functions and "
                "Keras networks do. Call the layer with all points at once, or loop in "
                "eager mode."
            )
        graph = getattr(graph, "outer_graph", None)


def _refuse(where):
    raise NotImplementedError(
        "Forward-mode differentiation (`tf.autodiff.ForwardAccumulator`) of this layer "
        f"{where} is nothing that TensorFlow can do. Two gradient tapes give the same "
        "Jacobian-vector product: take the gradient `g` with a cotangent `c` that the "
        "outer tape watches, and the gradient of `g` by `c` with the tangent as its "
        "cotangent."
    )
