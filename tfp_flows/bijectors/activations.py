"""Increasing activation functions, as planar and Sylvester flows need them."""

import numpy as np
import tensorflow as tf

from tfp_flows._recipes import recipe
from tfp_flows.root_finding import find_root


@recipe(package="tfp_flows")
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

    def log_stretch(self, lack, slope, margin):
        """Returns `log(1 + kappa h')`, given `margin = 1 + kappa max_slope`.

        The terms are positive: nothing cancels as the margin goes to 0.
        """
        return tf.math.log((lack + margin * slope) / self.max_slope)

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
        origin = c - kappa * self(tf.zeros_like(c))
        middle = -kappa * self(c)
        ends = [origin, origin / margin]
        other_ends = [c + middle, c + middle / margin]
        low = tf.maximum(tf.minimum(*ends), tf.minimum(*other_ends))
        high = tf.minimum(tf.maximum(*ends), tf.maximum(*other_ends))
        # From this end Newton's steps never pass the root if h bends as tanh does.
        start = tf.where((origin > 0.0) == (kappa > 0.0), low, high)
        unit = np.finfo(c.dtype.as_numpy_dtype).eps

        def tolerance(a):
            return 2.0 * unit * (tf.abs(c) + tf.abs(a))

        def left_side(a):
            h, slope, lack = self.evaluate(a)
            return a + kappa * h, (lack + margin * slope) / self.max_slope

        return find_root(left_side, c, low, high, start, tolerance, unrolled=4)


class _Tanh(Activation):

    def __init__(self):
        super().__init__(tf.math.tanh, self._slope, name="tanh")

    def evaluate(self, a):
        h = tf.math.tanh(a)
        return h, 1.0 - h**2, h**2

    def _slope(self, a):
        return 1.0 - tf.math.tanh(a) ** 2


@recipe(package="tfp_flows")
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
            isinstance(other, LeakyReLU)
            and other.negative_slope == self.negative_slope
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
