"""Coupling layer."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._autodiff import with_shape
from tfp_flows._layer import Layer
from tfp_flows._parameters import check_broadcasts
from tfp_flows.bijectors import _last_axis_sums, transformers
from tfp_flows.bijectors._conditioner import (
    adopt,
    check_has_context,
    checked_input,
    context_properties,
    parameters_for,
)
from tfp_flows.bijectors._mask_split import Split

tfb = tfp.bijectors


class Coupling(Layer):
    """Transforms some elements, by what a network makes of the others.

    `y_kept = x_kept` and `y_changed = T(x_changed; network(x_kept))`, with `T` acting
    on each element alone. With an additive `T` this is NICE, section 3.2 of Dinh et al.
    (2015), https://arxiv.org/abs/1410.8516, and with an affine one RealNVP, equations 4
    and 5 of Dinh et al. (2017), https://arxiv.org/abs/1605.08803. The log determinant
    is the sum of those of `T`. Each direction asks the network once.

    If the mask varies along the last axis only, the network sees `x_kept`, of shape
    `[..., kept]`, and returns `[..., changed, num_parameters]`. Otherwise it sees the
    whole event with zeros for what is changed, and returns `[..., *event_shape,
    num_parameters]`, of which those for what is kept are not used.

    `x` and `y` have shape `[..., *event_shape]`. The axes before the event broadcast
    with those of the context before its last; the log determinants have the shape that
    results.

    Args:
      mask: nested list or array of booleans, with the rank of an event: true for what
        is kept and shown to the network. An axis of length 1 stands for any length. See
        `tfp_flows.masks`.
      conditioner: network: a callable from `x`, or `x` and the context, to the
        parameters of `T`. Those of `tfp_flows.networks` start at zero. A Keras network
        must be built.
      transformer: `T`, one of `tfp_flows.bijectors.transformers` or alike.
      context: shape `[..., context_size]`, given to the network as it is; None if it
        takes none, or until it is bound.
      context_size: length of the last axis of contexts, 0 for no context. By default
        the network's attribute of that name.
      validate_args: whether to check that inputs are finite.
      name: prefix of the ops.

    Raises:
      TypeError: `mask` is not of booleans, `conditioner` is not callable, or
        `transformer` is not one; the network returns another dtype than that of `x`.
      ValueError: `mask` has no axis, or leaves nothing to change; the shapes of mask,
        input, context and of what the network returns do not fit; the context is
        missing; a Keras network is not built.
      tf.errors.InvalidArgumentError: a check of `validate_args` fails.
    """

    def __init__(
        self,
        mask,
        conditioner,
        transformer=transformers.Affine(),
        context=None,
        context_size=None,
        validate_args=False,
        name="coupling",
    ):
        parameters = dict(locals())
        self.mask = parameters["mask"] = _as_mask(mask)
        dtype = adopt(self, conditioner, transformer, context, context_size)
        row = self.mask.reshape(-1, self.mask.shape[-1])[0]
        # None where the mask varies along other axes, too.
        self._split = Split(row) if np.all(self.mask == row) else None
        super().__init__(
            forward_min_event_ndims=self.mask.ndim,
            dtype=dtype,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @property
    def needs_initialization(self):
        return getattr(self.conditioner, "needs_initialization", False)

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
        self._check(x)
        x = checked_input(self, self._with_known_event(x))
        if self._split is None:
            changed, log_dets = self._transform(self._kept(x), x, direction)
            result = tf.where(self.mask, x, changed)
            log_dets = tf.where(self.mask, tf.zeros_like(log_dets), log_dets)
        else:
            kept, rest = self._split.split(x)
            changed, log_dets = self._transform(kept, rest, direction)
            result = self._split.merge(kept, changed)
        return result, _last_axis_sums.total_of_event(log_dets, self.mask.ndim)

    def _transform(self, kept, x, direction):
        """Returns the transformed `x`, and a log determinant for each element."""
        parameters = parameters_for(self, kept, x.shape[-self.mask.ndim :])
        if self._split is None:  # what is not used must not overflow: it has gradients
            parameters = tf.where(
                self.mask[..., np.newaxis], tf.zeros_like(parameters), parameters
            )
        transform = self.transformer(parameters)
        if direction == "forward":
            result = transform.forward(x)
            log_dets = transform.forward_log_det_jacobian(x, event_ndims=0)
        else:
            result = transform.inverse(x)
            log_dets = transform.inverse_log_det_jacobian(x, event_ndims=0)
        # Constant ones lack the axes along which they are.
        return result, log_dets + tf.zeros_like(result)

    def initialize_from_data(self, values, direction):
        """Starts the network, if it has anything to start.

        Args:
          values: tensor `[..., *event_shape]`; see
            `tfp_flows.normalization.initialize_from_data`.
          direction: "forward" or "inverse", the one that goes from data to noise.

        Returns:
          values: what the direction makes of them from now on.

        Raises:
          TypeError, ValueError: as the network.
        """
        if self.needs_initialization:
            values = tf.convert_to_tensor(values, dtype_hint=self.dtype)
            self._check(values)
            values = self._with_known_event(values)
            check_has_context(self)
            context = [] if self.context is None else [self.context]
            self.conditioner.initialize_from_data(self._kept(values), *context)
        return super().initialize_from_data(values, direction)

    def _kept(self, x):
        """Returns what the network sees."""
        if self._split is None:
            return tf.where(self.mask, x, tf.zeros_like(x))
        return self._split.split(x)[0]

    def _with_known_event(self, x):
        """Returns `x`, its shape as far as the mask tells it; graphs may lose it."""
        axis = x.shape.rank - self.mask.ndim
        if x.shape[axis:].is_fully_defined():
            return x
        event = [None if size == 1 else size for size in self.mask.shape]
        return with_shape(x, [*x.shape[:axis], *event])

    def _check(self, x):
        ndims = self.mask.ndim
        fits = x.shape.rank is not None and x.shape.rank >= ndims
        for size, own in zip(x.shape[-ndims:] if fits else [], self.mask.shape):
            fits = fits and own in (1, size or own)
        if not fits:
            raise ValueError(
                "The last axes of the input must be as long as those of `mask`, where "
                f"these are not 1; got shapes {x.shape} and {self.mask.shape}."
            )
        check_broadcasts(
            x.shape[:-ndims],
            self.experimental_batch_shape(),
            "The axes of the input before an event",
        )


def _as_mask(mask):
    """Returns a mask as an array that nobody can write."""
    mask = np.array(mask)
    if mask.dtype != bool:
        raise TypeError(f"`mask` must be of booleans; got {mask.dtype.name}.")
    if mask.ndim == 0:
        raise ValueError("`mask` must have the rank of an event; got rank 0.")
    if mask.all():
        raise ValueError(
            "`mask` must be false for some elements, which the layer changes; "
            f"got shape {mask.shape}, all true."
        )
    mask.setflags(write=False)
    return mask
