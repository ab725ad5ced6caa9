"""Batch normalization layer."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._layer import Layer
from tfp_flows._parameters import (
    FINITE,
    as_parameters,
    assert_parameters,
    broadcast_batch,
    check_broadcasts,
    check_shapes,
)
from tfp_flows.bijectors import _channel_affine
from tfp_flows.bijectors._pixelwise import per_pixel, sum_over_pixels

tfb = tfp.bijectors

_AXES = dict(mean="C", variance="C", shift="C", log_scale="C")


class BatchNorm(Layer):
    """Batch normalization: normalizes each feature by given statistics.

    `inverse` maps data to latents:
    `x = (y - mean) / sqrt(variance + epsilon) * exp(log_scale) + shift`. Its log
    determinant is `log_scale - log(variance + epsilon) / 2`, summed over the features,
    times the number of pixels. Dinh et al. (2017), https://arxiv.org/abs/1605.08803,
    section 3.7 and appendix E, omit the learned `log_scale` and `shift` of Ioffe and
    Szegedy (2015).

    The layer is stateless and has no training mode. For evaluation, `mean` and
    `variance` are moving statistics, in variables that are not trained. For training,
    `with_batch_statistics` returns the layer with those of a batch. The two directions
    are inverse to each other in both cases.

    `x` and `y` have shape `[..., C]`, or `[..., H, W, C]` with `event_ndims=3`. The
    axes before the event broadcast with the batch shape of the parameters; log
    determinants have the resulting shape.

    Args:
      mean: shape `[..., C]`, in the units of `y`.
      variance: shape `[..., C]`, at least 0, in the units of `y` squared.
      shift: shape `[..., C]`, in the units of `x`.
      log_scale: shape `[..., C]`, the logarithm of a scale in the units of `x`.
      epsilon: positive number, added to the variance. It bounds the scale factor of
        `inverse` by `exp(log_scale) / sqrt(epsilon)`: 32 by default.
      event_ndims: rank of an event, whose last axis holds the features.
      validate_args: whether to check that tensors and variables are finite and that
        `variance` is not negative.
      name: prefix of the ops.

    Raises:
      TypeError: the parameters do not share one floating dtype.
      ValueError: the shapes of the parameters and the input do not match.
      ValueError: `epsilon` is not positive, or `event_ndims` is below 1.
      ValueError: a parameter given as numbers is outside of its support.
      tf.errors.InvalidArgumentError: a check of `validate_args` fails.

    >>> layer = BatchNorm(mean=[5.0], variance=[4.0], shift=[0.0], log_scale=[0.0])
    >>> layer.inverse([[7.0]]).numpy().round(2)
    array([[1.]], dtype=float32)
    """

    def __init__(
        self,
        mean,
        variance,
        shift,
        log_scale,
        epsilon=1e-3,
        event_ndims=1,
        validate_args=False,
        name="batch_norm",
    ):
        parameters = dict(locals())
        self.mean, self.variance, self.shift, self.log_scale = as_parameters(
            mean=mean, variance=variance, shift=shift, log_scale=log_scale
        )
        check_shapes(
            _AXES,
            mean=self.mean,
            variance=self.variance,
            shift=self.shift,
            log_scale=self.log_scale,
        )
        if not 0.0 < epsilon < float("inf"):
            raise ValueError(f"`epsilon` must be positive and finite; got {epsilon}.")
        if event_ndims < 1:
            raise ValueError(f"`event_ndims` must be at least 1; got {event_ndims}.")
        self.epsilon, self.event_ndims = epsilon, event_ndims
        super().__init__(
            forward_min_event_ndims=event_ndims,
            dtype=self.mean.dtype,
            is_constant_jacobian=True,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    has_batch_statistics = True

    @classmethod
    def _parameter_properties(cls, dtype):
        parameter = dict(event_ndims=1, shape_fn=lambda shape: shape[-1:])
        positive = tfp.util.ParameterProperties(
            default_constraining_bijector_fn=tfb.Exp, **parameter
        )
        plain = tfp.util.ParameterProperties(**parameter)
        return dict(mean=plain, variance=positive, shift=plain, log_scale=plain)

    def _parameter_control_dependencies(self, is_init):
        not_negative = (
            lambda v: (v >= 0.0) & tf.math.is_finite(v),
            "be at least 0 and finite",
        )
        checks = {**dict.fromkeys(_AXES, FINITE), "variance": not_negative}
        return assert_parameters(self, is_init, checks)

    def _forward(self, x):
        mean, shift, forward_log_scale = self._read(x)
        x = _channel_affine.scale(
            _channel_affine.shift(x, -shift), tf.exp(forward_log_scale)
        )
        return _channel_affine.shift(x, mean)

    def _inverse(self, y):
        mean, shift, forward_log_scale = self._read(y)
        y = _channel_affine.scale(
            _channel_affine.shift(y, -mean), tf.exp(-forward_log_scale)
        )
        return _channel_affine.shift(y, shift)

    def _forward_log_det_jacobian(self, x):
        *_, forward_log_scale = self._read(x)
        log_det = tf.reduce_sum(
            forward_log_scale, axis=list(range(-self.event_ndims, 0))
        )
        return sum_over_pixels(self, log_det, x, self.event_ndims)

    def _inverse_log_det_jacobian(self, y):
        return -self._forward_log_det_jacobian(y)  # independent of the input

    def with_batch_statistics(self, y):
        """Layer that normalizes by the statistics of a batch, for training.

        Args:
          y: input of `inverse`, shape `[..., *event_shape]`.

        Returns:
          layer: `BatchNorm` with the same `shift` and `log_scale`.

        Raises:
          ValueError: as `batch_statistics`.
        """
        mean, variance = batch_statistics(y, self.event_ndims)
        return self.copy(mean=mean, variance=variance)

    def _read(self, x):
        """Returns mean, shift and the log-scale of `forward`, with event axes."""
        self._check(x)
        parameters = dict(
            mean=self.mean,
            variance=self.variance,
            shift=self.shift,
            log_scale=self.log_scale,
        )
        mean, variance, shift, log_scale = (
            per_pixel(value, self.event_ndims)
            for value in broadcast_batch(_AXES, **parameters)
        )
        return mean, shift, 0.5 * tf.math.log(variance + self.epsilon) - log_scale

    def _check(self, x):
        rank, features = x.shape.rank, self.mean.shape[-1:]
        if rank is None or rank < self.event_ndims:
            raise ValueError(
                f"The input must have at least `event_ndims`, {self.event_ndims}, "
                f"axes; got shape {x.shape}."
            )
        if not x.shape[-1:].is_compatible_with(features):
            raise ValueError(
                "The last axis of the input must be as long as that of the parameters; "
                f"got shapes {x.shape} and {features}."
            )
        check_broadcasts(
            x.shape[: rank - self.event_ndims],
            self.experimental_batch_shape(),
            "The axes of the input before an event",
        )


def batch_statistics(y, event_ndims=1):
    """Mean and variance of each feature of a batch, with gradients, for `BatchNorm`.

    Args:
      y: data, shape `[..., C]`, or `[..., H, W, C]` with `event_ndims=3`.
      event_ndims: rank of an event.

    Returns:
      mean: shape `[C]`, over all axes but the last.
      variance: shape `[C]`, with the number of values as divisor.

    Raises:
      ValueError: `y` has fewer axes than an event.
      ValueError: `y` is statically known to have fewer than 2 values of a feature.

    >>> mean, variance = batch_statistics([[1.0], [3.0]])
    >>> mean.numpy(), variance.numpy()
    (array([2.], dtype=float32), array([1.], dtype=float32))
    """
    y = tf.convert_to_tensor(y)
    if y.shape.rank is None or y.shape.rank < event_ndims:
        raise ValueError(
            f"`y` must have at least `event_ndims`, {event_ndims}, axes; "
            f"got shape {y.shape}."
        )
    count = y.shape[:-1].num_elements()
    if count is not None and count < 2:
        raise ValueError(
            f"`y` must have at least 2 values of each feature; got shape {y.shape}."
        )
    axes = list(range(y.shape.rank - 1))
    return tf.reduce_mean(y, axis=axes), tf.math.reduce_variance(y, axis=axes)
