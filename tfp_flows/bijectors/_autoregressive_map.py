"""Both directions of an autoregressive map, and the gradients of the sequential one.

The map is `w_i = t(z_i; p_i(z_1, ..., z_{i-1}))`, with an elementwise `t` whose
parameters come from a network. From `z` to `w` it takes one pass of the network. From
`w` to `z` it takes one for each element at most, or a walk. The gradient of a solution
does not go back through these: it solves a triangular system with the Jacobian at the
solution, by products with it that go on until nothing changes.
"""

import dataclasses
import functools
from collections.abc import Callable

import tensorflow as tf

from tfp_flows._autodiff import (
    custom_gradient,
    detached,
    differentiable,
    unrecorded,
    with_shape,
)
from tfp_flows.bijectors import _last_axis_sums
from tfp_flows.bijectors._conditioner import (
    check_has_context,
    check_stands_still,
    checked_input,
    context_ndims_of,
    parameters_for,
)
from tfp_flows.bijectors._pytree import inputs_of, replace_leaves


def evaluate(bijector, z):
    """Returns what one pass of the network makes of `z`, and the log determinant."""
    z = checked_input(bijector, z)
    parameters = parameters_for(bijector, z, _event_shape(bijector, z))
    return _summed(bijector, *bijector._transform(parameters, z))


def solve(bijector, w):
    """Returns what one pass makes `w` of, and the log determinant of that pass."""
    check_has_context(bijector)
    check_stands_still(bijector, "The sequential direction")
    w = checked_input(bijector, w)
    if bijector.context is not None:
        shape = tf.shape(tf.convert_to_tensor(bijector.context))
        batch = shape[: tf.size(shape) - context_ndims_of(bijector.conditioner)]
        axis = tf.rank(w) - bijector.forward_min_event_ndims
        batch = tf.broadcast_dynamic_shape(tf.shape(w)[:axis], batch)
        w = tf.broadcast_to(w, tf.concat([batch, tf.shape(w)[axis:]], axis=0))
    return _summed(bijector, *_map_of(bijector).solve(w))


def _map_of(bijector):
    conditioner, invert = bijector.conditioner, bijector._invert
    event_ndims = bijector.forward_min_event_ndims
    context = bijector.context
    contexts = [] if context is None else [tf.convert_to_tensor(context)]
    tensors, numbers = inputs_of(conditioner)
    known = event_ndims == getattr(conditioner, "event_ndims", 1)

    def bind(*inputs):
        context = inputs[0] if contexts else None
        new = {**numbers, **dict(zip(tensors, inputs[len(contexts) :]))}
        network = replace_leaves(conditioner, new) if new else conditioner

        def parameters(z):
            shape = _event_shape(bijector, z)
            return parameters_for(bijector, z, shape, context, network)

        def walk(w):
            return network.solve_for_input(invert, w, context)

        has_walk = known and hasattr(network, "solve_for_input")
        return parameters, walk if has_walk else None

    return AutoregressiveMap(
        bind, [*contexts, *tensors.values()], bijector._transform, invert, event_ndims
    )


def _event_shape(bijector, z):
    return z.shape[z.shape.rank - bijector.forward_min_event_ndims :]


def _summed(bijector, value, log_slopes):
    log_slopes = tf.broadcast_to(log_slopes, tf.shape(value))
    return value, _last_axis_sums.total_of_event(
        log_slopes, bijector.forward_min_event_ndims
    )


@dataclasses.dataclass(frozen=True)
class AutoregressiveMap:
    """The map, and what is needed to undo it.

    Args:
      bind: callable from `inputs` to the network, which goes from `z` to parameters of
        each element, and to None or a callable from `w` to `z` and whether it is exact,
        for networks that know a better way. What else the network depends on must be
        variables.
      inputs: list of tensors, such as a context and the weights.
      transform: from parameters and `z` to `w` and the logarithm of its slope,
        elementwise.
      invert: from parameters and `w` to `z`, elementwise.
      event_ndims: number of axes of an event.
    """

    bind: Callable
    inputs: list
    transform: Callable
    invert: Callable
    event_ndims: int

    @functools.cached_property
    def _bound(self):
        return self.bind(*self.inputs)

    def evaluate(self, z):
        """Returns `w` and the logarithms of the diagonal of the Jacobian."""
        return self.transform(self._parameters(z), z)

    def solve(self, w):
        """Returns `z` and the logarithms of the diagonal at it.

        Gradients of all orders are those of the exact inverse, in forward mode, too.
        `w` must have the batch axes of the result.
        """
        held = self._held()
        with unrecorded():  # tapes would keep what each round computes
            solution = held._find(tf.stop_gradient(w))
        solution = detached(solution)

        @custom_gradient
        def attach(w, *inputs):
            def backward(of_z, of_log_slope, variables=()):
                def gradients(w, of_z, of_log_slope, *inputs):
                    here = self._with(_local(inputs))
                    z, _ = attach(w, *here.inputs)  # this gradient has a gradient, too
                    with tf.GradientTape(persistent=True) as tape:
                        point = tf.identity(z)
                        tape.watch([point, *here.inputs])
                        values = here.evaluate(point)
                    of_z += _gradient(tape, values[1], point, of_log_slope)
                    of_w = here._solve_linear(z, of_z, True, variables)
                    return [
                        of_w,
                        *_gradient(
                            tape,
                            values,
                            [*here.inputs, *variables],
                            [-of_w, of_log_slope],
                        ),
                    ]

                found = differentiable(
                    gradients, w, of_z, of_log_slope, *inputs, variables=variables
                )
                return tuple(found[: 1 + len(inputs)]), found[1 + len(inputs) :]

            _, log_slope = held.evaluate(solution)
            return (tf.identity(solution), log_slope), backward

        return attach(w, *self.inputs)

    def _find(self, w):
        start, exact = tf.zeros_like(w), tf.constant(False)
        _, walk = self._bound
        if walk is not None:
            start, exact = walk(w)
        return self._settle(
            lambda z: self.invert(self._parameters(z), w), start, ~exact
        )

    def _solve_linear(self, z, b, transpose, variables):
        """Returns the `v` with `J v = b`, for the Jacobian at `z` or its transpose."""
        fixed_z, fixed_b, held = detached(z), detached(b), self._held()
        slope = tf.exp(held.evaluate(fixed_z)[1])

        def others(point):  # what `w` has from other elements than its own
            return self.transform(held._parameters(point), fixed_z)[0]

        solution = detached(
            self._settle(
                lambda v: (fixed_b - _product(others, fixed_z, v, transpose)) / slope,
                tf.zeros_like(b),
                tf.constant(True),
            )
        )

        @custom_gradient
        def attach(z, b, *inputs):
            def backward(of_v, variables=()):
                def gradients(z, b, of_v, *inputs):
                    (point,), here = _local([z]), self._with(_local(inputs))
                    v = attach(point, b, *here.inputs)
                    of_b = here._solve_linear(point, of_v, not transpose, variables)
                    with tf.GradientTape() as tape:
                        tape.watch([point, *here.inputs])
                        value = _product(
                            lambda z: here.evaluate(z)[0], point, v, transpose
                        )
                    of_z, *others = _gradient(
                        tape, value, [point, *here.inputs, *variables], -of_b
                    )
                    return [of_z, of_b, *others]

                found = differentiable(
                    gradients, z, b, of_v, *inputs, variables=variables
                )
                return tuple(found[: 2 + len(inputs)]), found[2 + len(inputs) :]

            for variable in variables:  # shows TensorFlow which there are
                tf.convert_to_tensor(variable)
            return tf.identity(solution), backward

        return attach(z, b, *self.inputs)

    def _parameters(self, z):
        return self._bound[0](z)

    def _with(self, inputs):
        return dataclasses.replace(self, inputs=list(inputs))

    def _held(self):
        """Returns the map with inputs that no tape and no accumulator follows."""
        return self._with(map(detached, self.inputs))

    def _settle(self, step, start, changed):
        """Applies `step` until nothing changes; each time settles one more element."""
        size = tf.reduce_prod(tf.shape(start)[tf.rank(start) - self.event_ndims :])

        def again(_, old):
            new = step(old)
            return tf.reduce_any(new != old), with_shape(new, old.shape)

        _, result = tf.while_loop(
            lambda changed, _: changed,
            again,
            (changed, start),
            maximum_iterations=size,
        )
        return result


def _product(fn, z, v, transpose):
    """Returns the Jacobian of `fn` at `z`, or its transpose, times `v`."""
    z = tf.identity(z)  # `fn` may know the tensor as a constant
    cotangent = v if transpose else tf.ones_like(v)
    with tf.GradientTape() as outer:
        outer.watch(cotangent)
        with tf.GradientTape() as inner:
            inner.watch(z)
            value = fn(z)
        backward = _gradient(inner, value, z, cotangent)
    return backward if transpose else _gradient(outer, backward, cotangent, v)


def _local(tensors):
    """Returns tensors of the graph that is being made, each one of its own.

    In the gradient of a loop a tape does not see how those from elsewhere get there,
    and a gradient by them would be 0 in silence.
    """
    return [tf.identity(tensor) for tensor in tensors]


def _gradient(tape, values, sources, cotangents):
    return tape.gradient(
        values, sources, cotangents, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
