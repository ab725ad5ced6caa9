"""Increasing activation functions for planar and Sylvester flows."""

import numpy as np
import tensorflow as tf

from tfp_flows._builders import register_builder
from tfp_flows.root_finding import find_root


@register_builder(package="tfp_flows")
class Activation:
    """Increasing activation function `h` with its derivative, in `[0, max_slope]`.

    Args:
      function: callable from a tensor to the values of `h`, elementwise.
      derivative: callable from a tensor to the slopes of `h`, elementwise. The caller
        guarantees that it is the derivative of `function`.
      max_slope: positive number, the upper bound `L` of the slopes. A smaller bound
        leaves a larger set of invertible maps: `w'u > -1 / L` for planar layers.
      name: name in `repr`.

    Raises:
      TypeError: `function` or `derivative` is not callable.
      ValueError: `max_slope` is not positive and finite.

    >>> softplus = Activation(tf.math.softplus, tf.math.sigmoid, name="softplus")
    >>> softplus
    <Activation 'softplus', slopes in [0, 1.0]>
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
        """Returns `h(a)`, its slope `h'(a)`, and the difference `max_slope - h'(a)`."""
        slope = self._derivative(a)
        return self._function(a), slope, self.max_slope - slope

    def jacobian_factor(self, deficit, slope, margin):
        """Returns `1 + kappa h'`, given `margin = 1 + kappa max_slope`.

        Both terms are positive, so nothing cancels as `margin` goes to 0.
        """
        return (deficit + margin * slope) / self.max_slope

    def log_jacobian_factor(self, deficit, slope, margin):
        """Returns `log(1 + kappa h')`, as `jacobian_factor`."""
        return tf.math.log((deficit + margin * slope) / self.max_slope)

    def solve(self, c, kappa, margin):
        """Solves `a + kappa h(a) = c` for `a`, without gradients.

        Args:
          c: floating tensor that broadcasts with `kappa`.
          kappa: floating tensor.
          margin: `1 + kappa max_slope`, positive.

        Returns:
          a: tensor of the broadcast shape.
        """
        # The slope of the left side is between `margin` and 1, so its value at any
        # point bounds the root from both sides; 0 and `c` give tight bounds. The bounds
        # are sums that may cancel, and are widened by their rounding error.
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
        # From this end, Newton's steps never overshoot if `h` has tanh's curvature.
        start = tf.where((origin > 0.0) == (kappa > 0.0), low, high)

        def tolerance(a):
            return 2.0 * unit * (tf.abs(c) + tf.abs(a))

        def left_side(a):
            h, slope, deficit = self.evaluate(a)
            return a + kappa * h, self.jacobian_factor(deficit, slope, margin)

        return find_root(left_side, c, low, high, start, tolerance, unrolled=4)


class _Tanh(Activation):
    def __init__(self):
        super().__init__(tf.math.tanh, _slope_of_tanh, name="tanh")

    def evaluate(self, a):
        h, slope = tf.math.tanh(a), _slope_of_tanh(a)
        # In float32, TensorFlow's tanh is 1 from 7.9 on, where tanh is 1 - 2.7e-7.
        return h, slope, tf.where(slope < 0.5, 1.0 - slope, h**2)


def _slope_of_tanh(a):
    """Returns `4 e / (1 + e)^2`, `e = exp(-2 |a|)`: `1 - h^2` cancels for large `a`."""
    one = tf.ones_like(a)
    sign = tf.where(a < 0.0, -one, one)  # the formula is even, and smooth for each sign
    e = tf.exp(-2.0 * sign * a)
    return 4.0 * e / (1.0 + e) ** 2


@register_builder(package="tfp_flows")
class LeakyReLU(Activation):
    """Leaky ReLU: `h(a) = a` for `a >= 0`, else `negative_slope a`.

    Planar and Sylvester layers with this activation have a closed-form inverse.

    Args:
      negative_slope: number in `[0, 1]`.

    Raises:
      ValueError: `negative_slope` is outside of `[0, 1]`.

    >>> LeakyReLU(0.1)(tf.constant([-1.0, 1.0])).numpy()
    array([-0.1,  1. ], dtype=float32)
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
    """Returns the `Activation` for a layer's argument `activation`.

    Raises:
      TypeError: `activation` is neither a name nor an `Activation`.
      ValueError: the name is unknown.
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
