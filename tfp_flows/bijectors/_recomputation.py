"""Backpropagation through inverses, which keeps no intermediate values."""

import contextlib

import tensorflow as tf

from tfp_flows._autodiff import check_reverse_mode
from tfp_flows._layer import OPPOSITE, Layer, modules_of, value_and_log_det
from tfp_flows.bijectors._conditioner import check_stateless


def recomputed_value_and_log_det(layers, x, event_ndims):
    """`value_and_log_det` whose gradient keeps the result alone, for any depth.

    The gradient goes back layer by layer: the input of a layer is the inverse of its
    output, and the layer is evaluated at it once more, for its gradient.

    Args:
      layers: list of pairs, layer and direction, in order of use.
      x: tensor.
      event_ndims: rank of an event of `x`, and of all intermediate values.

    Raises:
      NotImplementedError: the gradient of a gradient is requested, or forward mode.
      ValueError: a network would return something else when it is re-evaluated.
    """
    modules = [part for layer, _ in layers for part in modules_of(layer)]
    for part in modules:
        if isinstance(part, Layer) and part.conditioner is not None:
            check_stateless(part, "Recomputation")
    known = _tensors_of(modules)

    @tf.custom_gradient
    def run(x, *_):
        # Eager tapes would keep all intermediate values.
        pause = tf.init_scope if tf.executing_eagerly() else contextlib.nullcontext
        with pause():
            result, log_det = value_and_log_det(layers, x, event_ndims)

        def backward(result_grad, log_det_grad, variables=()):
            check_reverse_mode("`recompute=True`, which goes back layer by layer,")
            results = _once(result, result_grad, log_det_grad)
            return _run_backward(layers, event_ndims, x, results, known, variables)

        return (result, log_det), backward

    return run(x, *known)


def _run_backward(layers, event_ndims, start, results, known, variables):
    """Returns the gradients by the input and by `known`, and those by `variables`."""
    y, y_grad, log_det_grad = results
    totals, done = {}, [y_grad]
    for layer, direction in layers[::-1]:
        # Not before all gradients have come this far: a graph would go ahead, and hold
        # what they wait for.
        with tf.control_dependencies(done):
            y = tf.identity(y)
        x = tf.stop_gradient(
            value_and_log_det([(layer, OPPOSITE[direction])], y, event_ndims)[0]
        )
        with tf.GradientTape() as tape:
            tape.watch([x, *known])
            values = value_and_log_det([(layer, direction)], x, event_ndims)
        sources = [*known, *tape.watched_variables()]  # of this layer alone
        y_grad, *grads = tape.gradient(values, [x, *sources], [y_grad, log_det_grad])
        done = [y_grad]
        for source, grad in zip(sources, grads):
            if grad is not None:
                key, grad = source.ref(), tf.convert_to_tensor(grad)
                totals[key] = totals[key] + grad if key in totals else grad
                done.append(grad)
        y = x
    with tf.GradientTape() as tape:  # a context may have given it more batch axes
        tape.watch(start)
        full = tf.broadcast_to(start, tf.shape(y_grad))
    start_grad = tape.gradient(full, start, y_grad)

    def total(source):
        return totals[source.ref()] if source.ref() in totals else tf.zeros_like(source)

    return (start_grad, *map(total, known)), list(map(total, variables))


def _tensors_of(modules):
    """Returns the tensors in attributes, which may depend on variables elsewhere."""
    found = {}
    for module in modules:
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
