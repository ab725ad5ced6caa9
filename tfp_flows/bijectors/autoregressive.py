"""Autoregressive flow layers: fast densities (MAF) or fast samples (IAF)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfp_flows._layer import Layer
from tfp_flows._typing import TensorLike
from tfp_flows.bijectors._autoregressive_map import evaluate_map, solve_map
from tfp_flows.bijectors._conditioner import attach, context_properties
from tfp_flows.bijectors.transformers import Affine, Transformer
from tfp_flows.networks.base import as_network


class MaskedAutoregressive(Layer):
    """Masked autoregressive layer (MAF): each element depends on preceding outputs.

    `x_i = (y_i - m_i) exp(-s_i)` for the affine transformer, where a network predicts
    `m_i` and `s_i` from `y_1, ..., y_{i-1}`. This is the masked autoregressive flow of
    Papamakarios et al. (2017), https://arxiv.org/abs/1705.07057, equation 4. In general
    `y_i = t(x_i; p_i(y_1, ..., y_{i-1}))` for an increasing `t`.

    The inverse, and so the density of a `tfd.TransformedDistribution`, takes one
    network evaluation. `forward`, which samples, costs about two network evaluations
    with `tfp_flows.networks.MADE`. Any other conditioner takes at most one evaluation
    for each element, by fixed-point iteration. Both directions are exact, and so are
    their gradients.

    `x` and `y` have shape `[..., *event]`, with `event_ndims` axes of an event. Batch
    axes broadcast with those of the context.

    Args:
      conditioner: callable from `y`, or from `y` and `context`, to parameters of shape
        `[..., *event, num_parameters]`, autoregressive in some order: a `MADE`, another
        `tfp_flows.networks.Network`, or a Keras network that has been built.
        `check_autoregressive` tests this. Other tensors that it depends on must be
        variables, or have no gradient in the sequential direction. Variables of a plain
        function are not found: use a `tf.Module`.
      transformer: one of `tfp_flows.bijectors.transformers`, or a custom
        `transformers.Transformer`.
      context: tensor of shape `[..., context_size]`, or None. See
        `tfp_flows.flows.condition`.
      context_size: length of a context, 0 for none; by default that of `conditioner`.
      event_ndims: rank of an event: 1 for vectors, 3 for images.
      validate_args: whether to check that inputs are finite.
      name: prefix of the ops.

    Raises:
      TypeError: the conditioner does not return the dtype of its input.
      ValueError: the conditioner returns parameters of another shape or number; the
        context is missing, unused or of another size.
      tf.errors.InvalidArgumentError: a check of `validate_args` fails.

    Example:

    >>> from tfp_flows.networks import MADE
    >>> layer = MaskedAutoregressive(MADE(3, 2, hidden_units=(16,), seed=0))
    >>> x, log_det = layer.inverse_and_log_det(tf.ones([5, 3]))
    >>> x.shape, log_det.shape
    (TensorShape([5, 3]), TensorShape([5]))
    """

    def __init__(
        self,
        conditioner: Callable[..., tf.Tensor],
        transformer: Transformer | Callable[[tf.Tensor], Any] = Affine(),
        context: TensorLike | None = None,
        context_size: int | None = None,
        event_ndims: int = 1,
        validate_args: bool = False,
        name: str = "masked_autoregressive",
    ) -> None:
        parameters = dict(locals())
        dtype = attach(self, conditioner, transformer, context, context_size)
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
        y, log_det = solve_map(self, x)
        return y, -log_det

    def _inverse_and_log_det(self, y):
        return evaluate_map(self, y)

    def _transform(self, y, parameters):
        return self._conditioning.transformer.inverse_and_log_det(y, parameters)

    def _invert(self, parameters, x):
        return self._conditioning.transformer.forward_and_log_det(x, parameters)[0]


class InverseAutoregressive(Layer):
    """Inverse autoregressive layer (IAF): each element depends on preceding inputs.

    `y_i = x_i exp(s_i) + m_i` for the affine transformer, where a network predicts
    `m_i` and `s_i` from `x_1, ..., x_{i-1}`; Kingma et al. (2016),
    https://arxiv.org/abs/1606.04934, equations 10 and 11. Their numerically stable
    update, equation 14, is the transformer `GatedAffine`. In general
    `y_i = t(x_i; p_i(x_1, ..., x_{i-1}))` for an increasing `t`.

    `forward`, which samples, takes one network evaluation. The inverse, and so the
    density of points that the layer did not sample, costs about two network evaluations
    with `tfp_flows.networks.MADE`. Any other conditioner takes at most one evaluation
    for each element, by fixed-point iteration. Both directions are exact, and so are
    gradients of all orders. A gradient through the sequential direction keeps one
    network evaluation in memory. It takes Jacobian products until a fixed point is
    reached, at most one for each element.

    `x` and `y` have shape `[..., *event]`, with `event_ndims` axes of an event. Batch
    axes broadcast with those of the context.

    Args:
      conditioner: callable from `x`, or from `x` and `context`, to parameters, as for
        `MaskedAutoregressive`.
      transformer, context, context_size, event_ndims, validate_args, name: as for
        `MaskedAutoregressive`.

    Raises:
      TypeError, ValueError, tf.errors.InvalidArgumentError: as `MaskedAutoregressive`.

    Example:

    >>> from tfp_flows.networks import MADE
    >>> layer = InverseAutoregressive(MADE(3, 2, hidden_units=(16,), seed=0))
    >>> y, log_det = layer.forward_and_log_det(tf.ones([5, 3]))
    >>> y.shape, log_det.shape
    (TensorShape([5, 3]), TensorShape([5]))
    """

    def __init__(
        self,
        conditioner: Callable[..., tf.Tensor],
        transformer: Transformer | Callable[[tf.Tensor], Any] = Affine(),
        context: TensorLike | None = None,
        context_size: int | None = None,
        event_ndims: int = 1,
        validate_args: bool = False,
        name: str = "inverse_autoregressive",
    ) -> None:
        parameters = dict(locals())
        dtype = attach(self, conditioner, transformer, context, context_size)
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
        return evaluate_map(self, x)

    def _inverse_and_log_det(self, y):
        x, log_det = solve_map(self, y)
        return x, -log_det

    def _transform(self, x, parameters):
        return self._conditioning.transformer.forward_and_log_det(x, parameters)

    def _invert(self, parameters, y):
        return self._conditioning.transformer.inverse_and_log_det(y, parameters)[0]


def check_autoregressive(
    conditioner: Callable[..., tf.Tensor],
    x: TensorLike,
    context: TensorLike | None = None,
    order: npt.ArrayLike | None = None,
) -> None:
    """Check that the parameters of each element depend only on preceding elements.

    It evaluates the Jacobian of the network at one point. A dependence whose derivative
    is 0 there, such as all in a newly initialized `MADE`, is not detected. For images,
    the order is that of the flattened event.

    Args:
      conditioner: callable from `x`, or from `x` and `context`, to parameters of shape
        `[*event, num_parameters]`.
      x: one event, tensor of shape `[*event]`.
      context: tensor of shape `[context_size]`, or None.
      order: permutation of 0 to D - 1: which element comes first, second, ...; by
        default that of `conditioner`, if it has one, else 0 to D - 1.

    Raises:
      ValueError: an element depends on itself or on a later one, which the message
        names; the network returns another shape; `order` is not a permutation.

    Example:

    >>> from tfp_flows.networks import MADE
    >>> check_autoregressive(MADE(3, 2, (16,), seed=0), tf.zeros([3]))
    """
    x = tf.convert_to_tensor(x)
    size = x.shape.num_elements()
    if order is None:
        order = as_network(conditioner).order
        order = np.arange(size) if order is None else np.asarray(order)
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
    depends = np.any(np.reshape(jacobian, [size, -1, size]), axis=1)
    place = np.argsort(np.asarray(order))
    leaks = np.argwhere(depends & (place[:, np.newaxis] <= place))
    if len(leaks):
        pairs = ", ".join(f"{i} on {j}" for i, j in leaks[:10])
        raise ValueError(
            "The parameters of an element must depend on preceding elements alone; "
            f"got {len(leaks)} dependences that violate the order: {pairs}"
            f"{', ...' if len(leaks) > 10 else ''}."
        )
