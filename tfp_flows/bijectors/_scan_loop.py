"""Many layers in a row that are traced once: a loop over stacked values.

TensorFlow's own gradient of such a loop keeps all that each layer computes, and adds a
whole stack of gradients for each layer. The one here keeps what comes to each layer,
computes the layer once more on the way back, and writes its gradients in their place.
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
    """Returns what all layers make of `x`, and the sum of their log determinants.

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
            y, log_det, points = self._go(fixed[0], fixed[1:])

            def backward(of_y, of_log_det):
                def gradients(x, of_y, of_log_det, *inputs):
                    way = self._attach(points, x, *inputs)
                    return self._go_back(way, inputs, of_y, of_log_det)

                return differentiable(gradients, x, of_y, of_log_det, *inputs)

            return (y, log_det), backward

        return attached(x, *inputs)

    def _attach(self, points, x, *inputs):
        """Gives points, which are known, the gradient of how they come about."""

        @custom_gradient
        def attached(x, *inputs):
            def backward(of_points):
                def gradients(x, of_points, *inputs):
                    way = self._attach(points, x, *inputs)
                    return self._go_back(
                        way, inputs, tf.zeros_like(x), self._zeros(x), of_points
                    )

                return differentiable(gradients, x, of_points, *inputs)

            return tf.identity(points), backward

        return attached(x, *inputs)

    def _go(self, x, inputs):
        """Returns value, log determinant, and what came to each layer on the way."""

        def again(place, x, total, points):
            y, log_det = self.step(x, *self._values(place, inputs))
            y = with_shape(y, x.shape)
            return place + 1, y, total + log_det, points.write(place, x)

        points = tf.TensorArray(x.dtype, self.number, element_shape=x.shape)
        start = tf.constant(0), x, self._zeros(x), points
        _, y, log_det, points = self._repeat(again, start)
        return y, log_det, points.stack()

    def _go_back(self, points, inputs, of_y, of_log_det, of_points=None):
        """Returns the gradients by `x` and by the inputs."""
        num_moving = self.fixed.count(None)
        moving, shared = inputs[:num_moving], inputs[num_moving:]

        def again(i, of_y, of_moving, of_shared):
            place = self.number - 1 - i
            x = points[place]
            x.set_shape(of_y.shape)
            values = self._values(place, inputs)
            sources = [x, *(v for v in values if v.dtype.is_floating)]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(sources)
                results = self.step(x, *values)
            of_x, *others = tape.gradient(
                results,
                sources,
                [of_y, of_log_det],
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
            if of_points is not None:
                of_x += of_points[place]
            others = [tf.convert_to_tensor(other) for other in others]
            own, more = others[:num_moving], others[num_moving:]
            k = self._layer(place)
            of_moving = [array.write(k, value) for array, value in zip(of_moving, own)]
            of_shared = [total + value for total, value in zip(of_shared, more)]
            return i + 1, with_shape(of_x, of_y.shape), of_moving, of_shared

        arrays = [
            tf.TensorArray(m.dtype, self.number, element_shape=m.shape[1:])
            for m in moving
        ]
        start = tf.constant(0), of_y, arrays, [tf.zeros_like(s) for s in shared]
        _, of_x, arrays, of_shared = self._repeat(again, start)
        return (of_x, *(array.stack() for array in arrays), *of_shared)

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
        """Returns a list of the slices of a layer, and what is shared."""
        k, inputs = self._layer(place), iter(inputs)
        slices = [(next(inputs) if f is None else f)[k] for f in self.fixed]
        # One tensor may be at several places, of which each has its own gradient.
        return [*slices, *map(tf.identity, inputs)]

    def _zeros(self, x):
        """Returns a log determinant of 0."""
        rank = x.shape.rank - self.event_ndims
        zeros = tf.zeros(tf.shape(x)[:rank], x.dtype)
        return with_shape(zeros, x.shape[:rank])
