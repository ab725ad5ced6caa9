"""Activation normalization, a scale and a shift of each channel."""

import warnings
import weakref

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._freshness import never_stale
from tfp_flows._parameters import (
    FINITE,
    as_parameters,
    assert_each,
    broadcast_batch,
    check_shapes,
)
from tfp_flows._replica_moments import mean_and_log_stddev
from tfp_flows.bijectors import _channel_affine
from tfp_flows.bijectors._pixelwise import check_pixels, over_pixels, per_pixel

tfb = tfp.bijectors

_AXES = dict(shift="C", log_scale="C")
_warned_of = weakref.WeakValueDictionary()  # flags of starts, by their `id`


@never_stale
class ActNorm(tfb.Bijector):
    """Scales and shifts each channel: normalization that its parameters learn.

    `y = x exp(log_scale) + shift` at each pixel, with log determinant
    `H W sum_c log_scale_c`: Kingma and Dhariwal (2018), section 3.1,
    https://arxiv.org/abs/1807.03039, where `inverse` goes from the data to the noise.
    Their start, after which the first batch has mean 0 and standard deviation 1 in
    each channel, is one explicit call, `tfp_flows.normalization.initialize_from_data`.

    `x` and `y` have shape `[..., H, W, C]`, or `[..., C]` with `event_ndims=1`. The
    axes before an event broadcast with the batch axes of the parameters; the log
    determinants have the shape that results.

    Args:
      shift: shape `[..., C]`, in the units of `y`.
      log_scale: shape `[..., C]`, logarithm of the units of `y` over those of `x`.
      initialized: boolean variable that tells whether a start from data has been, and
        is saved with the model; layers of one flow share it. Used while it is false,
        the layer works with the parameters that it has, and warns once. None if there
        is to be no such start.
      event_ndims: rank of an event, whose last axis the channels are.
      validate_args: whether to check that tensors and variables are finite.
      name: prefix of the ops.

    Raises:
      TypeError: the parameters do not share one floating dtype; `initialized` is no
        boolean variable.
      ValueError: the shapes of the parameters, or of the input and the parameters, do
        not fit; `event_ndims` is below 1; numbers are not finite.
      tf.errors.InvalidArgumentError: a check of `validate_args` fails.
    """

    def __init__(
        self,
        shift,
        log_scale,
        initialized=None,
        event_ndims=3,
        validate_args=False,
        name="actnorm",
    ):
        parameters = dict(locals())
        self.shift, self.log_scale = as_parameters(shift=shift, log_scale=log_scale)
        check_shapes(_AXES, shift=self.shift, log_scale=self.log_scale)
        if event_ndims < 1:
            raise ValueError(f"`event_ndims` must be at least 1; got {event_ndims}.")
        if initialized is not None and not (
            hasattr(initialized, "assign") and initialized.dtype == tf.bool
        ):
            raise TypeError(
                f"`initialized` must be a boolean `tf.Variable`; got {initialized!r}."
            )
        self.initialized, self.event_ndims = initialized, event_ndims
        super().__init__(
            forward_min_event_ndims=event_ndims,
            dtype=self.shift.dtype,
            is_constant_jacobian=True,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype):
        parameter = tfp.util.ParameterProperties(
            event_ndims=1, shape_fn=lambda shape: shape[-1:]
        )
        return dict(shift=parameter, log_scale=parameter)

    def _parameter_control_dependencies(self, is_init):
        return assert_each(self, is_init, dict.fromkeys(_AXES, FINITE))

    def _forward(self, x):
        shift, log_scale = self._read(x)
        return _channel_affine.shift(_channel_affine.scale(x, tf.exp(log_scale)), shift)

    def _inverse(self, y):
        shift, log_scale = self._read(y)
        return _channel_affine.scale(
            _channel_affine.shift(y, -shift), tf.exp(-log_scale)
        )

    def _forward_log_det_jacobian(self, x):
        check_pixels(self, x, self.event_ndims, self.shift.shape[-1])
        log_det = tf.reduce_sum(self.log_scale, axis=-1)
        return over_pixels(self, log_det, x, self.event_ndims)

    def _inverse_log_det_jacobian(self, y):
        return -self._forward_log_det_jacobian(y)  # it does not depend on the input

    def _read(self, x):
        """Returns shift and logarithm of the scale, with axes for the pixels."""
        check_pixels(self, x, self.event_ndims, self.shift.shape[-1])
        warn_before_start(self.initialized)
        shift, log_scale = broadcast_batch(
            _AXES, shift=self.shift, log_scale=self.log_scale
        )
        return (per_pixel(p, self.event_ndims) for p in (shift, log_scale))

    def initialize_from_data(self, values, direction):
        """Assigns the parameters, so that a direction makes values of spread 1.

        Args:
          values: tensor `[..., H, W, C]`; see
            `tfp_flows.normalization.initialize_from_data`.
          direction: "forward" or "inverse", the one that goes from data to noise.

        Returns:
          normalized: what the direction makes of `values` from now on.

        Raises:
          TypeError: the parameters are not variables without batch axes.
          ValueError: `values` has fewer than 2 values of each channel.
        """
        values = tf.convert_to_tensor(values, dtype_hint=self.dtype)
        check_pixels(self, values, self.event_ndims, self.shift.shape[-1])
        for name in _AXES:
            parameter = getattr(self, name)
            if not isinstance(parameter, tf.Variable) or parameter.shape.rank != 1:
                raise TypeError(
                    f"`{name}` must be a `tf.Variable` of shape [C] for a start from "
                    f"data; got {parameter!r}."
                )
        count = values.shape[:-1].num_elements()
        if count is not None and count < 2:
            raise ValueError(
                "A start from data needs at least 2 values of each channel; "
                f"got shape {values.shape}."
            )
        mean, log_deviation = mean_and_log_stddev(values)
        sign = 1.0 if direction == "inverse" else -1.0
        self.log_scale.assign(sign * log_deviation)
        if direction == "inverse":
            self.shift.assign(mean)
        else:
            self.shift.assign(-mean * tf.exp(-log_deviation))
        return (values - mean) * tf.exp(-log_deviation)


def warn_before_start(initialized):
    """Warns, once for each flag, if there has been no start from data.

    Args:
      initialized: boolean variable, or None.
    """
    if initialized is None or _warned_of.get(id(initialized)) is initialized:
        return
    with tf.init_scope():  # at the time of tracing, too
        known = tf.executing_eagerly() and bool(initialized.numpy())
    if not known:
        _warned_of[id(initialized)] = initialized
        warnings.warn(
            "A flow with `ActNorm` is used before its start from data. It works, but "
            "trains better after `tfp_flows.normalization.initialize_from_data(flow, "
            "batch)`.",
            stacklevel=2,
        )
