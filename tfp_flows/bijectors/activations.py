"""Increasing activation functions, as planar and Sylvester flows need them."""

import numpy as np
import tensorflow as tf

from tfp_flows._builders import register_builder
from tfp_flows.root_finding import find_root


@register_builder(package="tfp_flows")
class Activation:
    """An increasing function `h` with slopes in `[0, max_slope]`, and its derivative.

    Args:
      function: callable, a tensor to the values of `h`, elementwise.
      derivative: callable, a tensor to the slopes of `h`, elementwise. It is on the
        caller that they are right, and in `[0, max_slope]`.
      max_slope: positive number, the bound `L` of the slopes. The smaller, the larger
        the flow's freedom: its maps are invertible for `w'u > -1 / L`.
      name: what `repr` shows.

    Raises:
      TypeError: `function` or `derivative` is no callable.
      ValueError: `max_slope` is not positive and finite.
    """

    def __init__(self, function, derivative, max_slope=1.0, name="activation"):
        for argument, value in [("function", function), ("derivative", derivative)]:
            if not callable(value):
                raise TypeError(f"`{argument}` must be callable; got {value!r}.")
        if not 0.0 < max_slope < np.inf:
            raise ValueError(
                f"`max_slope` must be positive and finite; got {max_slope}."
            )
        self._function = function
        self._derivative = derivative
        self.max_slope = max_slope
        self.name = name

    def __repr__(self):
        return f"<Activation {self.name!r}, slopes in [0, {self.max_slope}]>"

    def __call__(self, a):
        """Returns `h(a)`."""
        return self._function(a)

    def evaluate(self, a):
        """Returns `h(a)`, its slope, and what its slope lacks of `max_slope`."""
        slope = self._derivative(a)
        return self._function(a), slope, self.max_slope - slope

    def stretch(self, lack, slope, margin):
        """Returns `1 + kappa h'`, given `margin = 1 + kappa max_slope`.

        The terms are positive: nothing cancels as the margin goes to 0.
        """
        return (lack + margin * slope) / self.max_slope

    def log_stretch(self, lack, slope, margin):
        """Returns `log(1 + kappa h')`, as `stretch`."""
        return tf.math.log(self.stretch(lack, slope, margin))

    def solve(self, c, kappa, margin):
        """Solves `a + kappa h(a) = c` for `a`, without gradients.

        Args:
          c, kappa: floating tensors that broadcast.
          margin: `1 + kappa max_slope`, positive.

        Returns:
          a: tensor of the shape that results.
        """
        # On its way from `a0` to the root the left side rises by between `margin` and 1
        # for a unit of `a`. So each `a0` gives two bounds; 0 and `c` give good ones.
        # They are sums that may cancel: the root is beyond them by their rounding.
        origin_shift, middle = kappa * self(tf.zeros_like(c)), -kappa * self(c)
        origin = c - origin_shift
        unit = np.finfo(c.dtype.as_numpy_dtype).eps
        room = 2.0 * unit * tf.maximum(1.0 / margin, 1.0)
        bounds = [
            (origin, origin / margin, room * tf.abs(origin_shift)),
            (c + middle, c + middle / margin, room * tf.abs(middle)),
        ]
        low = tf.maximum(*(tf.minimum(a, b) - width for a, b, width in bounds))
        high = tf.minimum(*(tf.maximum(a, b) + width for a, b, width in bounds))
        # From this end Newton's steps never pass the root if h bends as tanh does.
        start = tf.where((origin > 0.0) == (kappa > 0.0), low, high)

        def tolerance(a):
            return 2.0 * unit * (tf.abs(c) + tf.abs(a))

        def left_side(a):
            h, slope, lack = self.evaluate(a)
            return a + kappa * h, self.stretch(lack, slope, margin)

        return find_root(left_side, c, low, high, start, tolerance, unrolled=4)


class _Tanh(Activation):
    def __init__(self):
        super().__init__(tf.math.tanh, _slope_of_tanh, name="tanh")

    def evaluate(self, a):
        h, slope = tf.math.tanh(a), _slope_of_tanh(a)
        # In float32 TensorFlow's tanh is 1 from 7.9 on, where it lacks 2.7e-7 of it.
        return h, slope, tf.where(slope < 0.5, 1.0 - slope, h**2)


def _slope_of_tanh(a):
    """Returns `4 e / (1 + e)^2`, `e = exp(-2 |a|)`: `1 - h^2` has no digits far out."""
    one = tf.ones_like(a)
    sign = tf.where(a < 0.0, -one, one)  # the formula is even, and smooth for each sign
    e = tf.exp(-2.0 * sign * a)
    return 4.0 * e / (1.0 + e) ** 2


@register_builder(package="tfp_flows")
class LeakyReLU(Activation):
    """`h(a) = a` for `a >= 0` and `negative_slope a` below, with a closed-form inverse.

    Args:
      negative_slope: number in `[0, 1]`.

    Raises:
      ValueError: `negative_slope` is outside of `[0, 1]`.
    """

    def __init__(self, negative_slope=0.01):
        if not 0.0 <= negative_slope <= 1.0:
            raise ValueError(
                f"`negative_slope` must be in [0, 1]; got {negative_slope}."
            )
        self.negative_slope = negative_slope
        super().__init__(self._value, self._slope, name=f"leaky_relu({negative_slope})")

    def __eq__(self, other):
        return (
            isinstance(other, LeakyReLU) and other.negative_slope == self.negative_slope
        )

    def __hash__(self):
        return hash(self.negative_slope)

    def solve(self, c, kappa, margin):
        # `a + kappa h(a)` has the sign of `a`, since each of its slopes is positive.
        left = 1.0 - self.negative_slope + margin * self.negative_slope
        return c / tf.where(c >= 0.0, margin, left)

    def _value(self, a):
        return a * self._slope(a)

    def _slope(self, a):
        one = tf.ones_like(a)
        return tf.where(a >= 0.0, one, self.negative_slope * one)


_BY_NAME = {"tanh": _Tanh(), "leaky_relu": LeakyReLU()}


def as_activation(activation):
    """Returns the `Activation` that a layer's argument `activation` means.

    Raises:
      TypeError: it is a function without its derivative, or something else.
      ValueError: it is a name that is not known.
    """
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str):
        if activation in _BY_NAME:
            return _BY_NAME[activation]
        raise ValueError(
            f"`activation` must be one of {sorted(_BY_NAME)}; got {activation!r}."
        )
    raise TypeError(
        "`activation` must be a name or an `Activation`, which holds a function with "
        f"its derivative; got {activation!r}."
    )
