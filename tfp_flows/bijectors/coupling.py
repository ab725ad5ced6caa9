"""Coupling layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfp_flows._autodiff import with_shape
from tfp_flows._dtypes import HELD
from tfp_flows._layer import Layer
from tfp_flows._parameters import check_broadcasts
from tfp_flows._typing import TensorLike
from tfp_flows.bijectors import _last_axis_sums
from tfp_flows.bijectors._conditioner import (
    attach,
    check_finite,
    check_has_context,
    context_properties,
    predict_parameters,
)
from tfp_flows.bijectors._mask_split import MaskSplit
from tfp_flows.bijectors.transformers import Affine, Transformer


class Coupling(Layer):
    """Coupling layer: transforms one part of its input, conditioned on the rest.

    `y_masked = x_masked` and `y_rest = T(x_rest; network(x_masked))`, with `T` acting
    on each element. With an additive `T` this is NICE, section 3.2 of Dinh et al.
    (2015), https://arxiv.org/abs/1410.8516, and with an affine one RealNVP, equations 4
    and 5 of Dinh et al. (2017), https://arxiv.org/abs/1605.08803. The log determinant
    is the sum of those of `T`. Each direction takes one network evaluation.

    If the mask varies along the last axis only, the input of the network is `x_masked`,
    of shape `[..., masked]`, and its output has shape `[..., rest, num_parameters]`.
    Otherwise its input is the event with zeros for the elements to transform, and its
    output has shape `[..., *event_shape, num_parameters]`, of which parameters of
    masked elements are not used.

    `x` and `y` have shape `[..., *event_shape]`. Batch axes broadcast with those of the
    context; log determinants have the resulting shape.

    Args:
      mask: nested list or array of booleans, with the rank of an event: true for masked
        elements, which pass unchanged and are the input of the network. An axis of
        length 1 broadcasts. See `tfp_flows.masks`.
      conditioner: network from `x`, or `x` and the context, to the parameters of `T`:
        one of `tfp_flows.networks`, which are initialized to zero, a Keras network that
        has been built, or any callable.
      transformer: `T`, one of `tfp_flows.bijectors.transformers`, or a custom
        `transformers.Transformer`.
      context: tensor of shape `[..., context_size]`, an input of the network; None if
        it takes none, or as long as the layer is not conditioned.
      context_size: length of the last axis of contexts, 0 for no context; by default
        that of `conditioner`.
      validate_args: whether to check that inputs are finite.
      name: prefix of the ops.

    Raises:
      TypeError: `mask` is not boolean, or `conditioner` or `transformer` not callable;
        the network does not return the dtype of `x`.
      ValueError: `mask` is a scalar, or true everywhere; the shapes of mask, input,
        context and network output do not fit; the context is missing; a Keras network
        is not built.
      tf.errors.InvalidArgumentError: a check of `validate_args` fails.

    Example:

    >>> from tfp_flows.networks import MLP
    >>> layer = Coupling([True, True, False], MLP(2, [1, 2], (16,), seed=0))
    >>> y, log_det = layer.forward_and_log_det(tf.ones([5, 3]))
    >>> y.shape, log_det.shape
    (TensorShape([5, 3]), TensorShape([5]))
    """

    def __init__(
        self,
        mask: npt.ArrayLike,
        conditioner: Callable[..., tf.Tensor],
        transformer: Transformer | Callable[[tf.Tensor], Any] = Affine(),
        context: TensorLike | None = None,
        context_size: int | None = None,
        validate_args: bool = False,
        name: str = "coupling",
    ) -> None:
        parameters = dict(locals())
        self.mask = parameters["mask"] = _as_mask(mask)
        dtype = attach(self, conditioner, transformer, context, context_size)
        row = self.mask.reshape(-1, self.mask.shape[-1])[0]
        # None where the mask varies along other axes, too.
        self._split = MaskSplit(row) if np.all(self.mask == row) else None
        super().__init__(
            forward_min_event_ndims=self.mask.ndim,
            dtype=dtype,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @property
    def needs_initialization(self) -> bool:  # type: ignore[override]
        """Whether the network has variables that are initialized from data."""
        return self._conditioning.network.needs_initialization

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
        return self._evaluate(x, "forward")

    def _inverse_and_log_det(self, y):
        return self._evaluate(y, "inverse")

    def _evaluate(self, x, direction):
        """Returns result and log determinant of a direction."""
        x = self._check(x)
        mask, split = self.mask, self._split
        if split is None:
            masked, rest = tf.where(mask, x, tf.zeros_like(x)), x
        else:
            masked, rest = split.split(x)
        parameters = predict_parameters(self, masked, rest.shape[-mask.ndim :])
        if split is None:  # unused parameters must not overflow: they have gradients
            parameters = tf.where(
                mask[..., np.newaxis], tf.zeros_like(parameters), parameters
            )
        transformer = self._conditioning.transformer
        if direction == "forward":
            result, log_dets = transformer.forward_and_log_det(rest, parameters)
        else:
            result, log_dets = transformer.inverse_and_log_det(rest, parameters)
        if log_dets.shape != result.shape or not result.shape.is_fully_defined():
            log_dets += tf.zeros_like(result)  # it may lack axes
        if split is None:
            result = tf.where(mask, x, result)
            log_dets = tf.where(mask, tf.zeros_like(log_dets), log_dets)
        else:
            result = split.merge(masked, result)
        return result, _last_axis_sums.sum_event(log_dets, mask.ndim)

    def initialize_from_data(self, values: TensorLike, direction: str) -> tf.Tensor:
        """Initialize the network from data, if it has variables for that.

        Args:
          values: tensor `[..., *event_shape]`; see
            `tfp_flows.normalization.initialize_from_data`.
          direction: "forward" or "inverse": the direction from data to latents.

        Returns:
          values: result of that direction after the initialization.

        Raises:
          TypeError, ValueError: as the network.
        """
        if self.needs_initialization:
            values = self._check(tf.convert_to_tensor(values, dtype_hint=self.dtype))
            check_has_context(self)
            context = [] if self.context is None else [self.context]
            if self._split is None:
                masked = tf.where(self.mask, values, tf.zeros_like(values))
            else:
                masked, _ = self._split.split(values)
            self._conditioning.network.initialize_from_data(masked, *context)
        return super().initialize_from_data(values, direction)

    def _check(self, x):
        """Checks an input, and sets its static shape as far as the mask has it."""
        mask, shape = self.mask, x.shape
        rank, ndims = shape.rank, mask.ndim
        fits = rank is not None and rank >= ndims
        for size, own in zip(shape[rank - ndims :] if fits else [], mask.shape):
            fits = fits and own in (1, size or own)
        if not fits:
            raise ValueError(
                "The last axes of the input must be as long as those of `mask`, except "
                f"for axes of length 1; got shapes {shape} and {mask.shape}."
            )
        if self.context is not None:
            check_broadcasts(
                shape[:-ndims],
                self.experimental_batch_shape(),
                "The axes of the input before an event",
            )
        if not shape[rank - ndims :].is_fully_defined():  # graphs may lose it
            event = [None if size == 1 else size for size in mask.shape]
            x = with_shape(x, [*shape[: rank - ndims], *event])
        if self.validate_args or x.dtype not in HELD:
            x = check_finite(self, x)
        return x


def _as_mask(mask):
    """Returns a mask as a read-only array."""
    mask = np.array(mask)
    if mask.dtype != bool:
        raise TypeError(f"`mask` must be of booleans; got {mask.dtype.name}.")
    if mask.ndim == 0:
        raise ValueError("`mask` must have the rank of an event; got rank 0.")
    if mask.all():
        raise ValueError(
            "`mask` must be false for some elements, which the layer transforms; "
            f"got shape {mask.shape}, all true."
        )
    mask.setflags(write=False)
    return mask
