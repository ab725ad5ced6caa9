"""Autoregressive flow layers, for fast densities (MAF) and for fast samples (IAF)."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._layer import Layer
from tfp_flows.bijectors._autoregressive_map import evaluate, solve
from tfp_flows.bijectors._conditioner import adopt, context_properties
from tfp_flows.bijectors.transformers import Affine

tfb = tfp.bijectors


class MaskedAutoregressive(Layer):
    """Transforms each element as those of the *output* before it tell: fast densities.

    `x_i = (y_i - m_i) exp(-s_i)` with `m_i` and `s_i` from a network that sees
    `y_1, ..., y_{i-1}`, for the affine transformer. This is the masked autoregressive
    flow of Papamakarios et al. (2017), https://arxiv.org/abs/1705.07057, equation 4.
    In general `y_i = t(x_i; p_i(y_1, ..., y_{i-1}))` for an increasing `t`.

    The inverse, and so the density of a `tfd.TransformedDistribution`, takes one pass
    of the network. `forward`, which samples, takes the arithmetic of about two passes
    with `tfp_flows.networks.MADE`; with any other conditioner one for each element at
    most, and stops as soon as nothing changes. Both are exact, and so are gradients.

    `x` and `y` have shape `[..., *event]`, `event_ndims` axes. The axes before
    broadcast with those of the context before its last.

    Args:
      conditioner: callable from `y`, or from `y` and `context`, to parameters of shape
        `[..., *event, num_parameters]`, autoregressive in some order. `MADE` is one, a
        Keras network that has been built is another; `check_autoregressive` tells. What
        else it depends on must be variables, or has no gradient in the sequential
        direction. Those of a plain function are not found: make it a `tf.Module`.
      transformer: one of `tfp_flows.bijectors.transformers`, or an object like them.
      context: tensor of shape `[..., context_size]`, or None. See
        `tfp_flows.flows.condition`.
      context_size: length of a context, 0 for none; by default that of `conditioner`.
      event_ndims: number of axes of an event: 1 for vectors, 3 for images.
      validate_args: whether to check that inputs are finite.
      name: prefix of the ops.

    Raises:
      TypeError: the conditioner returns another dtype than that of its input.
      ValueError: the conditioner returns parameters of another shape or number; the
        context is missing, not wanted or of another size.
      tf.errors.InvalidArgumentError: a check of `validate_args` fails.
    """

    def __init__(
        self,
        conditioner,
        transformer=Affine(),
        context=None,
        context_size=None,
        event_ndims=1,
        validate_args=False,
        name="masked_autoregressive",
    ):
        parameters = dict(locals())
        dtype = adopt(self, conditioner, transformer, context, context_size)
        super().__init__(
            forward_min_event_ndims=event_ndims,
            dtype=dtype,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype):
        return context_properties()

    def _forward(self, x):
        return self._forward_and_log_det(x)[0]

    def _inverse(self, y):
        return self._inverse_and_log_det(y)[0]

    def _inverse_log_det_jacobian(self, y):
        return self._inverse_and_log_det(y)[1]

    def _forward_and_log_det(self, x):
        y, log_det = solve(self, x)
        return y, -log_det

    def _inverse_and_log_det(self, y):
        return evaluate(self, y)

    def _transform(self, parameters, y):
        t = self.transformer(parameters)
        return t.inverse(y), t.inverse_log_det_jacobian(y, event_ndims=0)

    def _invert(self, parameters, x):
        return self.transformer(parameters).forward(x)


class InverseAutoregressive(Layer):
    """Transforms each element as those of the *input* before it tell: fast samples.

    `y_i = x_i exp(s_i) + m_i` with `m_i` and `s_i` from a network that sees
    `x_1, ..., x_{i-1}`, for the affine transformer; Kingma et al. (2016),
    https://arxiv.org/abs/1606.04934, equations 10 and 11. Their numerically stable
    update, equation 14, is the transformer `GatedAffine`. In general
    `y_i = t(x_i; p_i(x_1, ..., x_{i-1}))` for an increasing `t`.

    `forward`, which samples, takes one pass of the network. The inverse, and so the
    density of points that are no samples, takes the arithmetic of about two passes with
    `tfp_flows.networks.MADE`; with any other conditioner one for each element at most,
    and stops as soon as nothing changes. Both are exact, and so are gradients of all
    orders. A gradient through that direction keeps one pass in memory, and takes passes
    forward and back until nothing changes, one for each element at most.

    `x` and `y` have shape `[..., *event]`, `event_ndims` axes. The axes before
    broadcast with those of the context before its last.

    Args:
      conditioner: callable from `x`, or from `x` and `context`, to parameters of shape
        `[..., *event, num_parameters]`, autoregressive in some order. `MADE` is one, a
        Keras network that has been built is another; `check_autoregressive` tells. What
        else it depends on must be variables, or has no gradient in the sequential
        direction. Those of a plain function are not found: make it a `tf.Module`.
      transformer, context, context_size, event_ndims, validate_args, name: as for
        `MaskedAutoregressive`.

    Raises:
      TypeError, ValueError, tf.errors.InvalidArgumentError: as `MaskedAutoregressive`.
    """

    def __init__(
        self,
        conditioner,
        transformer=Affine(),
        context=None,
        context_size=None,
        event_ndims=1,
        validate_args=False,
        name="inverse_autoregressive",
    ):
        parameters = dict(locals())
        dtype = adopt(self, conditioner, transformer, context, context_size)
        super().__init__(
            forward_min_event_ndims=event_ndims,
            dtype=dtype,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype):
        return context_properties()

    def _forward(self, x):
        return self._forward_and_log_det(x)[0]

    def _inverse(self, y):
        return self._inverse_and_log_det(y)[0]

    def _inverse_log_det_jacobian(self, y):
        return self._inverse_and_log_det(y)[1]

    def _forward_and_log_det(self, x):
        return evaluate(self, x)

    def _inverse_and_log_det(self, y):
        x, log_det = solve(self, y)
        return x, -log_det

    def _transform(self, parameters, x):
        t = self.transformer(parameters)
        return t.forward(x), t.forward_log_det_jacobian(x, event_ndims=0)

    def _invert(self, parameters, y):
        return self.transformer(parameters).inverse(y)


def check_autoregressive(conditioner, x, context=None, order=None):
    """Checks that parameters of an element depend on the elements before it alone.

    It looks at the Jacobian of the network at one point: a dependence that is 0 there,
    such as that of all weights of a new `MADE`, does not show. For images, the order is
    that of the flattened event.

    Args:
      conditioner: callable from `x`, or from `x` and `context`, to parameters of shape
        `[*event, num_parameters]`.
      x: one event, tensor of shape `[*event]`.
      context: tensor of shape `[context_size]`, or None.
      order: permutation of 0 to D - 1: which element comes first, second, ...; by
        default that of `conditioner`, if it has one, else 0 to D - 1.

    Raises:
      ValueError: it is not so, and the message names who sees whom; or the network
        returns another shape, or `order` is no permutation.
    """
    x = tf.convert_to_tensor(x)
    size = x.shape.num_elements()
    if order is None:
        order = getattr(conditioner, "order", range(size))
    if not np.array_equal(np.sort(order), np.arange(size)):
        raise ValueError(
            f"`order` must be a permutation of the numbers 0 to {size - 1}; "
            f"got {order!r}."
        )
    more = [] if context is None else [tf.convert_to_tensor(context)[tf.newaxis]]
    with tf.GradientTape() as tape:
        tape.watch(x)
        parameters = conditioner(x[tf.newaxis], *more)[0]
    if parameters.shape[:-1] != x.shape:
        raise ValueError(
            f"`conditioner` must return shape {[1, *x.shape]} and one more axis for an "
            f"input of that shape; got shape {[1, *parameters.shape]}."
        )
    jacobian = tape.jacobian(
        parameters, x, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    sees = np.any(np.reshape(jacobian, [size, -1, size]), axis=1)
    place = np.argsort(order)
    leaks = np.argwhere(sees & (place[:, np.newaxis] <= place))
    if len(leaks):
        pairs = ", ".join(f"{i} sees {j}" for i, j in leaks[:10])
        raise ValueError(
            "Parameters of an element must depend on the elements before it alone; "
            f"got {len(leaks)} dependences that break the order: {pairs}"
            f"{', ...' if len(leaks) > 10 else ''}."
        )
