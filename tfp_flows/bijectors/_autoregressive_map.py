"""Autoregressive maps in both directions, with gradients of the sequential one.

The map is `w_i = t(z_i; p_i(z_1, ..., z_{i-1}))`, with an elementwise `t` whose
parameters a network predicts. From `z` to `w` it takes one network evaluation. From `w`
to `z` it takes at most one for each element, or the network solves for its input. The
gradient of the solution does not pass through these evaluations: it solves a triangular
system with the Jacobian at the solution, by Jacobian products until a fixed point is
reached.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfp_flows._autodiff import (
    custom_gradient,
    detached,
    differentiable,
    unrecorded,
    with_shape,
)
from tfp_flows._dtypes import HELD
from tfp_flows.bijectors import _last_axis_sums
from tfp_flows.bijectors._conditioner import (
    check_finite,
    check_has_context,
    check_stateless,
    predict_parameters,
)
from tfp_flows.bijectors._pytree import replace_leaves
from tfp_flows.networks.base import as_network


def evaluate_map(layer: Any, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `w` and the log determinant, by one network evaluation."""
    if layer.validate_args or z.dtype not in HELD:
        z = check_finite(layer, z)
    event_shape = z.shape[z.shape.rank - layer.forward_min_event_ndims :]
    parameters = predict_parameters(layer, z, event_shape)
    return _sum_log_slopes(layer, *layer._transform(z, parameters))


def solve_map(layer: Any, w: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `z` and the log determinant of the map from `z` to `w`."""
    check_has_context(layer)
    check_stateless(layer, "The sequential direction")
    w = check_finite(layer, w)
    if layer.context is not None:
        shape = tf.shape(tf.convert_to_tensor(layer.context))
        batch = shape[: tf.size(shape) - layer.context_ndims]
        axis = tf.rank(w) - layer.forward_min_event_ndims
        batch = tf.broadcast_dynamic_shape(tf.shape(w)[:axis], batch)
        w = tf.broadcast_to(w, tf.concat([batch, tf.shape(w)[axis:]], axis=0))
    return _sum_log_slopes(layer, *_map_of(layer).solve(w))


def _map_of(layer):
    network, event_ndims = layer._conditioning.network, layer.forward_min_event_ndims
    contexts = [] if layer.context is None else [tf.convert_to_tensor(layer.context)]
    tensors, integers = layer._conditioning.read_network()
    can_solve = network.solve_for_input is not None
    can_solve = can_solve and network.event_ndims == event_ndims

    def bind(*inputs):
        context = inputs[0] if contexts else None
        new = {**integers, **dict(zip(tensors, inputs[len(contexts) :]))}
        copied = as_network(replace_leaves(layer.conditioner, new)) if new else network

        def parameters(z):
            event_shape = z.shape[z.shape.rank - event_ndims :]
            return predict_parameters(layer, z, event_shape, context, copied)

        def solve_for_input(w):
            return copied.solve_for_input(layer._invert, w, context)

        return parameters, solve_for_input if can_solve else None

    return AutoregressiveMap(
        bind,
        [*contexts, *tensors.values()],
        layer._transform,
        layer._invert,
        event_ndims,
    )


def _sum_log_slopes(layer, value, log_slopes):
    shape = value.shape
    if log_slopes.shape != shape or not shape.is_fully_defined():
        log_slopes = tf.broadcast_to(log_slopes, tf.shape(value))
    ndims = layer.forward_min_event_ndims
    return value, _last_axis_sums.sum_event(log_slopes, ndims)


@dataclasses.dataclass(frozen=True)
class AutoregressiveMap:
    """The map, and its inverse.

    Args:
      bind: callable from `inputs` to two callables. The first one is the network, from
        `z` to parameters of each element. The second one is None, or from `w` to `z`
        and whether `z` is exact. All else that the network depends on must be
        variables.
      inputs: list of tensors, such as a context and the weights.
      transform: callable from `z` and parameters to `w` and the logarithm of its
        derivative, elementwise.
      invert: callable from parameters and `w` to `z`, elementwise.
      event_ndims: number of axes of an event.
    """

    bind: Callable[..., tuple]
    inputs: list[tf.Tensor]
    transform: Callable
    invert: Callable
    event_ndims: int

    @functools.cached_property
    def _bound(self):
        return self.bind(*self.inputs)

    def evaluate(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns `w` and the logarithms of the diagonal of the Jacobian."""
        return self.transform(z, self._parameters(z))

    def solve(self, w: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns `z` and the logarithms of the diagonal of the Jacobian at `z`.

        Gradients of all orders are those of the exact inverse, also in forward mode.
        `w` must have the batch axes of the result.
        """
        held = self._held()
        with unrecorded():  # tapes would keep the results of each iteration
            solution = held._find(tf.stop_gradient(w))
        solution = detached(solution)

        @custom_gradient
        def attach(w, *inputs):
            def backward(z_grad, log_slope_grad, variables=()):
                def gradients(w, z_grad, log_slope_grad, *inputs):
                    here = self._with(_local(inputs))
                    z, _ = attach(w, *here.inputs)  # this gradient has a gradient, too
                    with tf.GradientTape(persistent=True) as tape:
                        point = tf.identity(z)
                        tape.watch([point, *here.inputs])
                        values = here.evaluate(point)
                    z_grad += _gradient(tape, values[1], point, log_slope_grad)
                    w_grad = here._solve_linear(z, z_grad, True, variables)
                    return [
                        w_grad,
                        *_gradient(
                            tape,
                            values,
                            [*here.inputs, *variables],
                            [-w_grad, log_slope_grad],
                        ),
                    ]

                found = differentiable(
                    gradients, w, z_grad, log_slope_grad, *inputs, variables=variables
                )
                return tuple(found[: 1 + len(inputs)]), found[1 + len(inputs) :]

            _, log_slope = held.evaluate(solution)
            return (tf.identity(solution), log_slope), backward

        return attach(w, *self.inputs)

    def _find(self, w):
        initial, exact = tf.zeros_like(w), tf.constant(False)
        _, solve_for_input = self._bound
        if solve_for_input is not None:
            initial, exact = solve_for_input(w)
        return self._iterate_to_fixed_point(
            lambda z: self.invert(self._parameters(z), w), initial, ~exact
        )

    def _solve_linear(self, z, b, transpose, variables):
        """Returns the `v` with `J v = b`, for the Jacobian at `z` or its transpose."""
        fixed_z, fixed_b, held = detached(z), detached(b), self._held()
        slope = tf.exp(held.evaluate(fixed_z)[1])

        def off_diagonal(point):  # `w` as a function of the parameters alone
            return self.transform(fixed_z, held._parameters(point))[0]

        solution = detached(
            self._iterate_to_fixed_point(
                lambda v: (
                    (fixed_b - _jacobian_product(off_diagonal, fixed_z, v, transpose))
                    / slope
                ),
                tf.zeros_like(b),
                tf.constant(True),
            )
        )

        @custom_gradient
        def attach(z, b, *inputs):
            def backward(v_grad, variables=()):
                def gradients(z, b, v_grad, *inputs):
                    (point,), here = _local([z]), self._with(_local(inputs))
                    v = attach(point, b, *here.inputs)
                    b_grad = here._solve_linear(point, v_grad, not transpose, variables)
                    with tf.GradientTape() as tape:
                        tape.watch([point, *here.inputs])
                        value = _jacobian_product(
                            lambda z: here.evaluate(z)[0], point, v, transpose
                        )
                    z_grad, *others = _gradient(
                        tape, value, [point, *here.inputs, *variables], -b_grad
                    )
                    return [z_grad, b_grad, *others]

                found = differentiable(
                    gradients, z, b, v_grad, *inputs, variables=variables
                )
                return tuple(found[: 2 + len(inputs)]), found[2 + len(inputs) :]

            for variable in variables:  # so that TensorFlow records them
                tf.convert_to_tensor(variable)
            return tf.identity(solution), backward

        return attach(z, b, *self.inputs)

    def _parameters(self, z):
        return self._bound[0](z)

    def _with(self, inputs):
        return dataclasses.replace(self, inputs=list(inputs))

    def _held(self):
        """Returns the map with inputs that no tape or accumulator watches."""
        return self._with(map(detached, self.inputs))

    def _iterate_to_fixed_point(self, step, initial, changed):
        """Iterates `step`; each iteration determines at least one more element."""
        size = tf.reduce_prod(tf.shape(initial)[tf.rank(initial) - self.event_ndims :])

        def iterate(_, old):
            new = step(old)
            return tf.reduce_any(new != old), with_shape(new, old.shape)

        _, result = tf.while_loop(
            lambda changed, _: changed,
            iterate,
            (changed, initial),
            maximum_iterations=size,
        )
        return result


def _jacobian_product(fn, z, v, transpose):
    """Returns the Jacobian of `fn` at `z`, or its transpose, times `v`."""
    z = tf.identity(z)  # `fn` may use the tensor as a constant
    cotangent = v if transpose else tf.ones_like(v)
    with tf.GradientTape() as outer:
        outer.watch(cotangent)
        with tf.GradientTape() as inner:
            inner.watch(z)
            value = fn(z)
        backward = _gradient(inner, value, z, cotangent)
    return backward if transpose else _gradient(outer, backward, cotangent, v)


def _local(tensors):
    """Returns copies of tensors in the graph that is traced.

    In the gradient of a loop a tape does not record how tensors are captured from outer
    graphs, and gradients with respect to these would be 0 without an error.
    """
    return [tf.identity(tensor) for tensor in tensors]


def _gradient(tape, values, sources, cotangents):
    return tape.gradient(
        values, sources, cotangents, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
