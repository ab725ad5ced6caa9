"""Activation normalization: a learned scale and shift of each channel."""

import warnings
import weakref

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._layer import Layer
from tfp_flows._parameters import (
    FINITE,
    as_parameters,
    assert_parameters,
    broadcast_batch,
    check_shapes,
)
from tfp_flows._replica_moments import mean_and_log_stddev
from tfp_flows.bijectors import _channel_affine
from tfp_flows.bijectors._pixelwise import check_pixels, per_pixel, sum_over_pixels

tfb = tfp.bijectors

_AXES = dict(shift="C", log_scale="C")
_warned_of: weakref.WeakValueDictionary[int, tf.Variable]
_warned_of = weakref.WeakValueDictionary()  # `initialized` variables, by `id`


class ActNorm(Layer):
    """Activation normalization: scales and shifts each channel.

    `y = x exp(log_scale) + shift` at each pixel, with log determinant
    `H W sum_c log_scale_c`: Kingma and Dhariwal (2018), section 3.1,
    https://arxiv.org/abs/1807.03039. `inverse` maps data to latents. The paper's
    data-dependent initialization, which normalizes each channel of a batch to mean 0
    and standard deviation 1, is one explicit call:
    `tfp_flows.normalization.initialize_from_data`.

    `x` and `y` have shape `[..., H, W, C]`, or `[..., C]` with `event_ndims=1`. The
    axes before the event broadcast with the batch shape of the parameters; log
    determinants have the resulting shape.

    Args:
      shift: shape `[..., C]`, in the units of `y`.
      log_scale: shape `[..., C]`, logarithm of the units of `y` over those of `x`.
      initialized: boolean variable, true after data-dependent initialization. It is
        saved with the model, and the layers of a flow share it. While it is false, the
        layer uses its current parameters and warns once. None disables the warning.
      event_ndims: rank of an event, whose last axis holds the channels.
      validate_args: whether to check that tensors and variables are finite.
      name: prefix of the ops.

    Raises:
      TypeError: the parameters do not share one floating dtype.
      TypeError: `initialized` is not a boolean variable.
      ValueError: the shapes of the parameters and the input do not match.
      ValueError: `event_ndims` is below 1, or a parameter given as numbers is not
        finite.
      tf.errors.InvalidArgumentError: a check of `validate_args` fails.

    >>> layer = ActNorm(shift=[1.0, 2.0], log_scale=[0.0, 0.0], event_ndims=1)
    >>> layer.forward([0.0, 0.0]).numpy()
    array([1., 2.], dtype=float32)
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
            isinstance(initialized, tf.Variable) and initialized.dtype == tf.bool
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

    needs_initialization = True

    @classmethod
    def _parameter_properties(cls, dtype):
        parameter = tfp.util.ParameterProperties(
            event_ndims=1, shape_fn=lambda shape: shape[-1:]
        )
        return dict(shift=parameter, log_scale=parameter)

    def _parameter_control_dependencies(self, is_init):
        return assert_parameters(self, is_init, dict.fromkeys(_AXES, FINITE))

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
        return sum_over_pixels(self, log_det, x, self.event_ndims)

    def _inverse_log_det_jacobian(self, y):
        return -self._forward_log_det_jacobian(y)  # independent of the input

    def _read(self, x):
        """Returns shift and logarithm of the scale, with axes for the pixels."""
        check_pixels(self, x, self.event_ndims, self.shift.shape[-1])
        warn_if_uninitialized(self.initialized)
        shift, log_scale = broadcast_batch(
            _AXES, shift=self.shift, log_scale=self.log_scale
        )
        return (per_pixel(p, self.event_ndims) for p in (shift, log_scale))

    def initialize_from_data(self, values, direction):
        """Assign the parameters that normalize each channel of a batch.

        Args:
          values: input of the layer in `direction`, shape `[..., H, W, C]`; see
            `tfp_flows.normalization.initialize_from_data`.
          direction: "forward" or "inverse": the direction from data to latents.

        Returns:
          normalized: output of the layer for `values`, with mean 0 and standard
            deviation 1 in each channel.

        Raises:
          TypeError: the parameters are not variables without batch axes.
          ValueError: `values` has fewer than 2 values of each channel.
        """
        values = tf.convert_to_tensor(values, dtype_hint=self.dtype)
        check_pixels(self, values, self.event_ndims, self.shift.shape[-1])
        for name, parameter in dict(shift=self.shift, log_scale=self.log_scale).items():
            if not isinstance(parameter, tf.Variable) or parameter.shape.rank != 1:
                raise TypeError(
                    f"`{name}` must be a `tf.Variable` of shape [C] for data-dependent "
                    f"initialization; got {parameter!r}."
                )
        count = values.shape[:-1].num_elements()
        if count is not None and count < 2:
            raise ValueError(
                "`values` must have at least 2 values of each channel; "
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


def warn_if_uninitialized(initialized):
    """Warns, once for each variable, if a flow has not been initialized from data.

    Args:
      initialized: boolean variable, or None.
    """
    if initialized is None or _warned_of.get(id(initialized)) is initialized:
        return
    with tf.init_scope():  # during tracing, too
        known = tf.executing_eagerly() and bool(initialized.numpy())
    if not known:
        _warned_of[id(initialized)] = initialized
        warnings.warn(
            "A flow with `ActNorm` layers is used before its data-dependent "
            "initialization. It trains better after "
            "`tfp_flows.normalization.initialize_from_data(flow, batch)`.",
            stacklevel=2,
        )
