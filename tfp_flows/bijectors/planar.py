"""Planar flow layers: one, and a stack of them in one."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._layer import Layer
from tfp_flows._parameters import (
    FINITE,
    as_parameters,
    assert_each,
    assert_that,
    broadcast_batch,
    check_input,
    check_shapes,
)
from tfp_flows.bijectors import _planar_math
from tfp_flows.bijectors.activations import as_activation

tfb = tfp.bijectors

_AXES = dict(u="D", w="D", b="")
_STACK_AXES = dict(u="KD", w="KD", b="K")


class Planar(Layer):
    """Moves each point along one direction, by a function of one linear coordinate.

    `y = x + u_hat h(a)`, `a = w'x + b`. This is equation 10 of Rezende and Mohamed
    (2015), https://arxiv.org/abs/1505.05770. With `kappa = w'u_hat` its log determinant
    is `log(1 + kappa h'(a))`. Where the slopes of `h` are in `[0, L]` it is invertible
    for `kappa > -1 / L`, and `u_hat` is `u` with its part along `w` changed so that
    this holds: `u_hat = u + (kappa - w'u) w / |w|^2`. With `v = L w'u`, `L kappa` is

    - `(1 - 1e-3) (softplus(v + log(e - 1)) - 1)` for `constraint="shifted"`: the
      identity at `u = 0`, and harmless at `w = 0`. All real parameters give an
      invertible map, whose slopes stay above 1e-3 in all directions.
    - `softplus(v) - 1` for `constraint="paper"`, as in their appendix, for parameters
      that were trained so elsewhere. `u_hat` grows as `1 / |w|` where `w` goes to 0,
      and slopes go down to a few rounding units, where an inverse loses all digits.
    - `v` for `constraint=None`: the parameters are said to be in the support already.

    The inverse solves `a + kappa h(a) = w'y + b` for the scalar `a`, in closed form for
    the leaky ReLU and by safeguarded Newton steps else; then `x = y - u_hat h(a)`, and
    one more step gives back the digits that this difference loses where `h` is large.

    `x` and `y` have shape `[..., D]`. The axes before `D` broadcast with the batch axes
    of the parameters; the log determinants have the shape that results.

    Args:
      u: direction, shape `[..., D]`, in the units of `x`.
      w: normal of the planes that move as one, shape `[..., D]`, in 1 / the units of
        `x`.
      b: offset of those planes, shape `[...]`, no unit.
      activation: `h`: "tanh", "leaky_relu", or an `Activation`, any increasing function
        with its derivative and the bound of its slopes.
      constraint: "shifted", "paper" or None.
      validate_args: whether to check that the parameters are finite and, without
        constraint, in the support.
      name: prefix of the ops.

    Raises:
      TypeError: the parameters do not share one floating dtype, or `activation` is a
        function without its derivative.
      ValueError: the shapes of the parameters, or of the input and the parameters, do
        not fit; `constraint` or the name of the activation is not known; a parameter
        given as numbers is not finite.
      tf.errors.InvalidArgumentError: a check of `validate_args` fails.
    """

    def __init__(
        self,
        u,
        w,
        b,
        activation="tanh",
        constraint="shifted",
        validate_args=False,
        name="planar",
    ):
        parameters = dict(locals())
        self.u, self.w, self.b = as_parameters(u=u, w=w, b=b)
        check_shapes(_AXES, u=self.u, w=self.w, b=self.b)
        self.activation, self.constraint = activation, _known(constraint)
        self._h = as_activation(activation)
        super().__init__(
            forward_min_event_ndims=1,
            dtype=self.u.dtype,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype):
        vector = tfp.util.ParameterProperties(event_ndims=1)
        scalar = tfp.util.ParameterProperties(shape_fn=lambda shape: shape[:-1])
        return dict(u=vector, w=vector, b=scalar)

    def _parameter_control_dependencies(self, is_init):
        return _assertions(self, is_init)

    def _forward(self, x):
        return self._forward_and_log_det(x)[0]

    def _inverse(self, y):
        return self._inverse_and_log_det(y)[0]

    def _inverse_log_det_jacobian(self, y):
        return self._inverse_and_log_det(y)[1]

    def _forward_and_log_det(self, x):
        return _planar_math.forward(self._layers(x), self._h, x)

    def _inverse_and_log_det(self, y):
        x, log_det = _planar_math.inverse(self._layers(y), self._h, y)
        return x, -log_det

    def _layers(self, x):
        check_input(self, x, w=self.w)
        u, w, b = broadcast_batch(_AXES, u=self.u, w=self.w, b=self.b)
        u, w, b = u[..., tf.newaxis, :], w[..., tf.newaxis, :], b[..., tf.newaxis]
        return _planar_math.constrained(u, w, b, self._h, self.constraint)


class PlanarStack(Layer):
    """`K` planar layers in one, computed by two matrix products.

    `y = x + U_hat' h(a)`, `a_k = w_k'x + b_k + sum_{j<k} (w_k'u_hat_j) h(a_j)`: layer 0
    acts first. It equals `tfb.Chain` of the layers `Planar(u[k], w[k], b[k])`, last
    layer first, and costs two passes over the data, not `K`. The inverse solves for the
    `a_k` from the last one down. See `Planar` for equation, constraint and activation.

    `x` and `y` have shape `[..., D]`. The axes before `D` broadcast with the batch axes
    of the parameters; the log determinants have the shape that results.

    Args:
      u: directions, shape `[..., K, D]`, in the units of `x`.
      w: normals, shape `[..., K, D]`, in 1 / the units of `x`.
      b: offsets, shape `[..., K]`, no unit.
      activation, constraint, validate_args, name: as for `Planar`.

    Raises:
      TypeError, ValueError, tf.errors.InvalidArgumentError: as for `Planar`.
    """

    def __init__(
        self,
        u,
        w,
        b,
        activation="tanh",
        constraint="shifted",
        validate_args=False,
        name="planar_stack",
    ):
        parameters = dict(locals())
        self.u, self.w, self.b = as_parameters(u=u, w=w, b=b)
        check_shapes(_STACK_AXES, u=self.u, w=self.w, b=self.b)
        self.activation, self.constraint = activation, _known(constraint)
        self._h = as_activation(activation)
        super().__init__(
            forward_min_event_ndims=1,
            dtype=self.u.dtype,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype):
        matrix = tfp.util.ParameterProperties(
            event_ndims=2, shape_fn=lambda shape: [*shape[:-1], None, shape[-1]]
        )
        vector = tfp.util.ParameterProperties(
            event_ndims=1, shape_fn=lambda shape: [*shape[:-1], None]
        )
        return dict(u=matrix, w=matrix, b=vector)

    def _parameter_control_dependencies(self, is_init):
        return _assertions(self, is_init)

    def _forward(self, x):
        return self._forward_and_log_det(x)[0]

    def _inverse(self, y):
        return self._inverse_and_log_det(y)[0]

    def _inverse_log_det_jacobian(self, y):
        return self._inverse_and_log_det(y)[1]

    def _forward_and_log_det(self, x):
        return _planar_math.forward(self._layers(x), self._h, x)

    def _inverse_and_log_det(self, y):
        x, log_det = _planar_math.inverse(self._layers(y), self._h, y)
        return x, -log_det

    def _layers(self, x):
        check_input(self, x, w=self.w)
        u, w, b = broadcast_batch(_STACK_AXES, u=self.u, w=self.w, b=self.b)
        return _planar_math.constrained(u, w, b, self._h, self.constraint)


def _assertions(bijector, is_init):
    assertions = assert_each(bijector, is_init, dict(u=FINITE, w=FINITE, b=FINITE))
    if bijector.constraint is None:
        bound = -1.0 / bijector._h.max_slope
        assertions += assert_that(
            bijector,
            is_init,
            ["u", "w"],
            lambda u, w: tf.reduce_sum(u * w, axis=-1) > bound,
            f"`u` must have a product with `w` above {bound}",
        )
    return assertions


def _known(constraint):
    if constraint not in ("shifted", "paper", None):
        raise ValueError(
            f'`constraint` must be "shifted", "paper" or None; got {constraint!r}.'
        )
    return constraint
