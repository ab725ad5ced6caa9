"""Values with log determinants of layers in a row, with or without their memory."""

import contextlib

import tensorflow as tf

from tfp_flows._autodiff import check_reverse_mode
from tfp_flows._traversal import OPPOSITE, flatten
from tfp_flows.bijectors._conditioner import check_stands_still


def evaluate(bijector, x, direction, event_ndims=3):
    """Returns what a direction makes of `x`, and the log determinant of that.

    Args:
      bijector: layer, or `tfb.Chain` and `tfb.Invert` of such.
      x: tensor.
      direction: "forward" or "inverse".
      event_ndims: rank of an event of `x`, and of all that comes of it.
    """
    log_det = tf.zeros(tf.shape(x)[: x.shape.rank - event_ndims], x.dtype)
    for layer, way in flatten(bijector, direction):
        x, change = _evaluate_layer(layer, way, x, event_ndims)
        log_det += change
    return x, log_det


def evaluate_again(bijector, x, direction, event_ndims=3):
    """`evaluate`, whose gradient keeps the result alone, for any number of layers.

    It goes back layer by layer: what came in is what the other direction makes of what
    went out, and from it the layer is computed once more, for its gradient.

    Raises:
      NotImplementedError: the gradient of a gradient is asked for, or forward mode.
      ValueError: a network would answer differently when asked again.
    """
    for part in [bijector, *bijector.submodules]:
        if hasattr(part, "conditioner"):
            check_stands_still(part, "Recomputation")
    layers = flatten(bijector, direction)
    known = _tensors_of(bijector)

    @tf.custom_gradient
    def run(x, *_):
        # Eager tapes would keep all that is computed on the way.
        pause = tf.init_scope if tf.executing_eagerly() else contextlib.nullcontext
        with pause():
            result, log_det = evaluate(bijector, x, direction, event_ndims)

        def backward(of_result, of_log_det, variables=()):
            check_reverse_mode("`recompute=True`, which goes back layer by layer,")
            results = _once(result, of_result, of_log_det)
            return _walk_back(layers, event_ndims, x, results, known, variables)

        return (result, log_det), backward

    return run(x, *known)


def _walk_back(layers, event_ndims, start, results, known, variables):
    """Returns the gradients by the input and by `known`, and those by `variables`."""
    y, of_y, of_log_det = results
    totals, done = {}, [of_y]
    for layer, way in layers[::-1]:
        # Not before all gradients have come this far: a graph would go ahead, and hold
        # what they wait for.
        with tf.control_dependencies(done):
            y = tf.identity(y)
        x = tf.stop_gradient(_evaluate_layer(layer, OPPOSITE[way], y, event_ndims)[0])
        with tf.GradientTape() as tape:
            tape.watch([x, *known])
            values = _evaluate_layer(layer, way, x, event_ndims)
        sources = [*known, *tape.watched_variables()]  # no other layer's
        of_y, *changes = tape.gradient(values, [x, *sources], [of_y, of_log_det])
        done = [of_y]
        for source, change in zip(sources, changes):
            if change is not None:
                key, change = source.ref(), tf.convert_to_tensor(change)
                totals[key] = totals[key] + change if key in totals else change
                done.append(change)
        y = x
    with tf.GradientTape() as tape:  # a context may have given it more batch axes
        tape.watch(start)
        spread = tf.broadcast_to(start, tf.shape(of_y))
    of_start = tape.gradient(spread, start, of_y)

    def total(source):
        return totals[source.ref()] if source.ref() in totals else tf.zeros_like(source)

    return (of_start, *map(total, known)), list(map(total, variables))


def _evaluate_layer(layer, direction, x, event_ndims):
    own = getattr(layer, "_value_and_log_det", None)
    if own and layer.forward_min_event_ndims == event_ndims:
        # Both at once, and no cache to miss.
        checks = layer._parameter_control_dependencies(is_init=False)
        with tf.control_dependencies(checks):
            return own(tf.identity(x) if checks else x, direction)
    log_det = getattr(layer, f"{direction}_log_det_jacobian")
    return getattr(layer, direction)(x), log_det(x, event_ndims=event_ndims)


def _tensors_of(bijector):
    """Returns the tensors that layers hold: what may depend on variables of others."""
    found = {}
    for module in [bijector, *bijector.submodules]:
        for value in vars(module).values():
            values = value.values() if isinstance(value, dict) else value
            for part in values if isinstance(value, (dict, list, tuple)) else [value]:
                if tf.is_tensor(part) and not isinstance(part, tf.Variable):
                    if part.dtype.is_floating:
                        found[id(part)] = part
    return list(found.values())


@tf.custom_gradient
def _once(*values):
    def backward(*_):
        raise NotImplementedError(
            "`recompute=True` gives first gradients; got a request for the gradient of "
            "one. Build the flow with `recompute=False`."
        )

    return [tf.identity(value) for value in values], backward
