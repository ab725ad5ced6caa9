"""Loop over stacked layers, which is traced once.

TensorFlow's gradient of such a loop keeps all intermediate values of each layer, and
adds a whole stack of gradients for each layer. The gradient here keeps the input of
each layer, evaluates the layer once more, and writes its gradients in their place.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from tfp_flows._autodiff import (
    custom_gradient,
    detached,
    differentiable,
    with_shape,
)
from tfp_flows._loop_scope import body_of_loop


def scan(step, x, stacked, shared, number, reverse, event_ndims):
    """Returns the result of all layers, and the sum of their log determinants.

    Gradients of all orders go to `x`, and to those of the other tensors that are
    floating.

    Args:
      step: callable from a tensor like `x`, the slices of a layer, and what is shared,
        to a tensor like `x`, and a log determinant.
      x: tensor of known rank, with all batch axes of the result.
      stacked: list of tensors of shape `[number, ...]`, sliced for each layer.
      shared: list of floating tensors that all layers get.
      number: number of layers.
      reverse: whether the last layer comes first.
      event_ndims: rank of an event of `x`.
    """
    if tf.executing_eagerly():
        return _run_eagerly(step, x, stacked, shared, number, reverse)
    fixed = [None if s.dtype.is_floating else s for s in stacked]
    loop = _Loop(step, fixed, number, reverse, event_ndims)
    return loop.run(x, *(s for s in stacked if s.dtype.is_floating), *shared)


def _run_eagerly(step, x, stacked, shared, number, reverse):
    # The gradient of `unstack` is one stack, where each slice would have its own.
    slices = list(zip(*(tf.unstack(s, number) for s in stacked)))
    total = 0.0
    for each in slices[::-1] if reverse else slices:
        x, log_det = step(x, *each, *shared)
        total += log_det
    return x, total


@dataclasses.dataclass(frozen=True)
class _Loop:
    """The loop in a graph, over inputs: floating ones of `stacked`, and `shared`.

    Args:
      step, number, reverse, event_ndims: as for `scan`.
      fixed: for each of `stacked`, itself, or None if it is one of the inputs.
    """

    step: Callable
    fixed: list
    number: int
    reverse: bool
    event_ndims: int

    def run(self, x, *inputs):
        """Returns value and log determinant."""

        @custom_gradient
        def attached(x, *inputs):
            # Under two tapes TensorFlow would build its own gradient of the loop, too.
            fixed = [detached(value) for value in (x, *inputs)]
            y, log_det, points = self._run_forward(fixed[0], fixed[1:])

            def backward(y_grad, log_det_grad):
                def gradients(x, y_grad, log_det_grad, *inputs):
                    known = self._attach(points, x, *inputs)
                    return self._run_backward(known, inputs, y_grad, log_det_grad)

                return differentiable(gradients, x, y_grad, log_det_grad, *inputs)

            return (y, log_det), backward

        return attached(x, *inputs)

    def _attach(self, points, x, *inputs):
        """Attaches to `points`, which are known, their gradient by the inputs."""

        @custom_gradient
        def attached(x, *inputs):
            def backward(points_grad):
                def gradients(x, points_grad, *inputs):
                    known = self._attach(points, x, *inputs)
                    zeros = tf.zeros_like(x), self._zeros(x)
                    return self._run_backward(known, inputs, *zeros, points_grad)

                return differentiable(gradients, x, points_grad, *inputs)

            return tf.identity(points), backward

        return attached(x, *inputs)

    def _run_forward(self, x, inputs):
        """Returns value, log determinant, and the input of each layer."""

        def body(place, x, total, points):
            y, log_det = self.step(x, *self._values(place, inputs))
            y = with_shape(y, x.shape)
            return place + 1, y, total + log_det, points.write(place, x)

        points = tf.TensorArray(x.dtype, self.number, element_shape=x.shape)
        start = tf.constant(0), x, self._zeros(x), points
        _, y, log_det, points = self._repeat(body, start)
        return y, log_det, points.stack()

    def _run_backward(self, points, inputs, y_grad, log_det_grad, points_grad=None):
        """Returns the gradients by `x` and by the inputs."""
        num_moving = self.fixed.count(None)
        moving, shared = inputs[:num_moving], inputs[num_moving:]

        def body(i, y_grad, stacked_grads, shared_grads):
            place = self.number - 1 - i
            x = points[place]
            x.set_shape(y_grad.shape)
            values = self._values(place, inputs)
            sources = [x, *(v for v in values if v.dtype.is_floating)]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(sources)
                results = self.step(x, *values)
            x_grad, *others = tape.gradient(
                results,
                sources,
                [y_grad, log_det_grad],
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
            if points_grad is not None:
                x_grad += points_grad[place]
            others = [tf.convert_to_tensor(other) for other in others]
            own, more = others[:num_moving], others[num_moving:]
            k = self._layer(place)
            stacked_grads = [
                array.write(k, value) for array, value in zip(stacked_grads, own)
            ]
            shared_grads = [total + value for total, value in zip(shared_grads, more)]
            return i + 1, with_shape(x_grad, y_grad.shape), stacked_grads, shared_grads

        arrays = [
            tf.TensorArray(m.dtype, self.number, element_shape=m.shape[1:])
            for m in moving
        ]
        start = tf.constant(0), y_grad, arrays, [tf.zeros_like(s) for s in shared]
        _, x_grad, arrays, shared_grads = self._repeat(body, start)
        return (x_grad, *(array.stack() for array in arrays), *shared_grads)

    def _repeat(self, body, start):
        def marked(*state):
            with body_of_loop():
                return body(*state)

        return tf.while_loop(
            lambda i, *_: i < self.number, marked, start, maximum_iterations=self.number
        )

    def _layer(self, place):
        return self.number - 1 - place if self.reverse else place

    def _values(self, place, inputs):
        """Returns a list of the slices of a layer, and the shared tensors."""
        k, inputs = self._layer(place), iter(inputs)
        slices = [(next(inputs) if f is None else f)[k] for f in self.fixed]
        # One tensor may be at several places, of which each has its own gradient.
        return [*slices, *map(tf.identity, inputs)]

    def _zeros(self, x):
        """Returns a log determinant of 0."""
        rank = x.shape.rank - self.event_ndims
        zeros = tf.zeros(tf.shape(x)[:rank], x.dtype)
        return with_shape(zeros, x.shape[:rank])
