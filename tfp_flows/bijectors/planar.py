"""Planar flow layers: a single layer, and a stack evaluated as one layer."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._layer import Layer
from tfp_flows._parameters import (
    FINITE,
    as_parameters,
    assert_condition,
    assert_parameters,
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
    """Planar flow layer: shifts each point along `u` by a function of `w'x + b`.

    `y = x + u_hat h(a)`, `a = w'x + b`: equation 10 of Rezende and Mohamed (2015),
    https://arxiv.org/abs/1505.05770. With `kappa = w'u_hat`, the log determinant is
    `log(1 + kappa h'(a))`. If the slopes of `h` are in `[0, L]`, the map is invertible
    for `kappa > -1 / L`. The component of `u` along `w` is changed to guarantee this:
    `u_hat = u + (kappa - w'u) w / |w|^2`. With `v = L w'u`, the constraints are

    - `"shifted"`: `L kappa = (1 - 1e-3) (softplus(v + log(e - 1)) - 1)`. The layer is
      the identity at `u = 0` and well defined at `w = 0`. Every real parameter gives an
      invertible map, whose Jacobian factor stays above 1e-3.
    - `"paper"`: `L kappa = softplus(v) - 1`, as in the paper's appendix, for parameters
      that were trained with it. `u_hat` grows as `1 / |w|` as `w` goes to 0, and the
      Jacobian factor can fall to a few rounding units, where the inverse is inaccurate.
    - `None`: `L kappa = v`. The caller guarantees that the parameters are valid.

    The inverse solves `a + kappa h(a) = w'y + b` for the scalar `a`: in closed form for
    the leaky ReLU, by safeguarded Newton iteration otherwise. One Newton step corrects
    the result `x = y - u_hat h(a)` for cancellation where `h` is large.

    `x` and `y` have shape `[..., D]`. Their leading axes broadcast with the batch shape
    of the parameters; log determinants have the resulting shape.

    Args:
      u: direction, shape `[..., D]`, in the units of `x`.
      w: normal of the hyperplanes on which the shift is constant, shape `[..., D]`, in
        1 / the units of `x`.
      b: offset of those hyperplanes, shape `[...]`, unitless.
      activation: `h`: "tanh", "leaky_relu", or an `Activation`, that is, an increasing
        function with its derivative and an upper bound on its slopes.
      constraint: "shifted", "paper" or None.
      validate_args: whether to check that the parameters are finite and, if
        `constraint` is None, that the map is invertible.
      name: prefix of the ops.

    Raises:
      TypeError: the parameters do not share one floating dtype.
      TypeError: `activation` is a function without its derivative.
      ValueError: the shapes of the parameters and the input do not match.
      ValueError: `constraint` or the name of the activation is unknown.
      ValueError: a parameter given as numbers is not finite.
      tf.errors.InvalidArgumentError: a check of `validate_args` fails.

    >>> layer = Planar(u=[1.0, 0.0], w=[0.0, 1.0], b=0.0)
    >>> layer.inverse(layer.forward([[1.0, 2.0]])).numpy()
    array([[1., 2.]], dtype=float32)
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
        return _planar_math.constrain(u, w, b, self._h, self.constraint)


class PlanarStack(Layer):
    """Composition of `K` planar layers, evaluated by two matrix products.

    `y = x + U_hat' h(a)`, `a_k = w_k'x + b_k + sum_{j<k} (w_k'u_hat_j) h(a_j)`. Layer 0
    is applied first: the stack equals a `tfb.Chain` of the layers
    `Planar(u[k], w[k], b[k])`, last layer first, but reads the data twice instead of
    `K` times. The inverse solves for `a_k` from `k = K - 1` down to 0. See `Planar` for
    the equation, the constraint and the activation.

    `x` and `y` have shape `[..., D]`. Their leading axes broadcast with the batch shape
    of the parameters; log determinants have the resulting shape.

    Args:
      u: directions, shape `[..., K, D]`, in the units of `x`.
      w: normals, shape `[..., K, D]`, in 1 / the units of `x`.
      b: offsets, shape `[..., K]`, unitless.
      activation, constraint, validate_args, name: as for `Planar`.

    Raises:
      TypeError, ValueError, tf.errors.InvalidArgumentError: as for `Planar`.

    >>> stack = PlanarStack(u=tf.ones([8, 2]), w=tf.ones([8, 2]), b=tf.zeros([8]))
    >>> stack.forward(tf.zeros([5, 2])).shape
    TensorShape([5, 2])
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
        return _planar_math.constrain(u, w, b, self._h, self.constraint)


def _assertions(bijector, is_init):
    finite = dict(u=FINITE, w=FINITE, b=FINITE)
    assertions = assert_parameters(bijector, is_init, finite)
    if bijector.constraint is None:
        bound = -1.0 / bijector._h.max_slope
        assertions += assert_condition(
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
