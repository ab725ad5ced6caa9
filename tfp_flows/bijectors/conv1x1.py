"""Invertible 1x1 convolutions: a linear map of the channels of each pixel."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._layer import Layer
from tfp_flows._parameters import (
    FINITE,
    as_parameters,
    assert_parameters,
    broadcast_batch,
    check_shapes,
    is_reference,
)
from tfp_flows.bijectors._pixelwise import (
    check_pixels,
    multiply_pixels,
    sum_over_pixels,
)
from tfp_flows.bijectors.matrices import inverse_and_log_det, is_invertible

tfb = tfp.bijectors

_PLU_AXES = dict(lower="CC", upper="CC", sign="C", log_magnitude="C")


class InvertibleConv1x1(Layer):
    """Invertible 1x1 convolution: multiplies the channels of each pixel by a matrix.

    `y = weight x` at each pixel, with log determinant `H W log |det weight|`: Kingma
    and Dhariwal (2018), section 3.2, https://arxiv.org/abs/1807.03039. The inverse
    computes `weight^-1` once per call. Inverse and determinant come from a QR
    factorization, which XLA compiles for every device.

    `x` and `y` have shape `[..., H, W, C]`, or `[..., C]` with `event_ndims=1`. The
    axes before the event broadcast with the batch shape of the matrix; log determinants
    have the resulting shape.

    Args:
      weight: invertible matrix, shape `[..., C, C]`; `matrices.random_orthogonal` gives
        an initial value.
      event_ndims: rank of an event, whose last axis holds the channels.
      validate_args: whether to check that a tensor or variable is invertible.
      name: prefix of the ops.

    Raises:
      TypeError: the dtype of `weight` is neither float32 nor float64.
      ValueError: `weight` is not square, or is given as numbers that are singular.
      ValueError: a variable or tensor is singular, when its inverse or log determinant
        is evaluated eagerly.
      ValueError: the input has another number of channels, or `event_ndims` is below 1.
      tf.errors.InvalidArgumentError: a check of `validate_args` fails.

    >>> layer = InvertibleConv1x1(weight=[[0.0, 2.0], [1.0, 0.0]], event_ndims=1)
    >>> layer.forward([1.0, 3.0]).numpy()
    array([6., 1.], dtype=float32)
    """

    def __init__(self, weight, event_ndims=3, validate_args=False, name="conv1x1"):
        parameters = dict(locals())
        (self.weight,) = as_parameters(weight=weight)
        check_shapes(dict(weight="CC"), weight=self.weight)
        if event_ndims < 1:
            raise ValueError(f"`event_ndims` must be at least 1; got {event_ndims}.")
        self.event_ndims = event_ndims
        super().__init__(
            forward_min_event_ndims=event_ndims,
            dtype=self.weight.dtype,
            is_constant_jacobian=True,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype):
        unit = lambda: tfb.TransformDiagonal(tfb.Shift(tf.ones([], dtype)))
        return dict(
            weight=tfp.util.ParameterProperties(
                event_ndims=2,
                shape_fn=lambda shape: [shape[-1], shape[-1]],
                default_constraining_bijector_fn=unit,
            )
        )

    def _parameter_control_dependencies(self, is_init):
        invertible = (is_invertible, "be invertible")
        return assert_parameters(self, is_init, dict(weight=invertible))

    def _forward(self, x):
        check_pixels(self, x, self.event_ndims, self.weight.shape[-1])
        weight = tf.convert_to_tensor(self.weight)
        return multiply_pixels(x, weight, self.event_ndims)

    def _inverse(self, y):
        return self._inverse_and_log_det(y)[0]

    def _inverse_and_log_det(self, y):
        check_pixels(self, y, self.event_ndims, self.weight.shape[-1])
        inverse, log_det = self._inverted_weight()
        ildj = -sum_over_pixels(self, log_det, y, self.event_ndims)
        return multiply_pixels(y, inverse, self.event_ndims), ildj

    def _forward_log_det_jacobian(self, x):
        check_pixels(self, x, self.event_ndims, self.weight.shape[-1])
        return sum_over_pixels(self, self.log_abs_det(), x, self.event_ndims)

    def _inverse_log_det_jacobian(self, y):
        return -self._forward_log_det_jacobian(y)  # independent of the input

    @property
    def num_channels(self):
        """Static number of channels, or None."""
        return self.weight.shape[-1]

    def matrix(self):
        """Matrix of the layer, shape `[..., C, C]`."""
        return tf.convert_to_tensor(self.weight)

    def inverse_matrix(self):
        """Inverse of the matrix, shape `[..., C, C]`."""
        return self._inverted_weight()[0]

    def log_abs_det(self):
        """`log |det weight|`, shape `[...]`."""
        return self._inverted_weight()[1]

    def _inverted_weight(self):
        weight = tf.convert_to_tensor(self.weight)
        inverse, log_det = inverse_and_log_det(weight)
        if tf.executing_eagerly() and not np.all(_is_inverse(inverse, weight)):
            raise ValueError(
                "`weight` must be invertible to machine precision; got a singular "
                f"matrix, with log |det| {log_det.numpy()}. Initialize it by "
                "`matrices.random_orthogonal`, lower the learning rate, or use "
                "`InvertibleConv1x1PLU`, which is always invertible."
            )
        return inverse, log_det


class InvertibleConv1x1PLU(Layer):
    """`InvertibleConv1x1` in PLU form, whose matrix is always invertible.

    `weight = P L (U + diag(sign exp(log_magnitude)))` with a permutation `P`, a unit
    lower triangular `L` and a strictly upper triangular `U`: equation 10 of Kingma and
    Dhariwal (2018), https://arxiv.org/abs/1807.03039. The log determinant is
    `H W sum_c log_magnitude_c`. The inverse takes two triangular solves per call.

    `x` and `y` have shape `[..., H, W, C]`, or `[..., C]` with `event_ndims=1`.

    Args:
      permutation: integers, shape `[C]`: row `permutation[c]` of the matrix is row `c`
        of the product of the other factors. `matrices.plu_factors` gives all factors.
      lower: shape `[..., C, C]`; only its strictly lower triangle is used.
      upper: shape `[..., C, C]`; only its strictly upper triangle is used.
      sign: shape `[..., C]`, of 1 and -1; not trained.
      log_magnitude: shape `[..., C]`.
      event_ndims: rank of an event, whose last axis holds the channels.
      validate_args: whether to check that tensors and variables are finite.
      name: prefix of the ops.

    Raises:
      TypeError: the parameters do not share one dtype, float32 or float64.
      TypeError: the dtype of `permutation` is not an integer dtype.
      ValueError: the shapes of the parameters and the input do not match.
      ValueError: `event_ndims` is below 1.
      ValueError: a parameter given as numbers is outside of its support.
      tf.errors.InvalidArgumentError: a check of `validate_args` fails.

    >>> from tfp_flows.bijectors import matrices
    >>> weight = matrices.random_orthogonal(4, seed=0)
    >>> layer = InvertibleConv1x1PLU(**matrices.plu_factors(weight))
    >>> layer.forward(tf.zeros([2, 8, 8, 4])).shape
    TensorShape([2, 8, 8, 4])
    """

    def __init__(
        self,
        permutation,
        lower,
        upper,
        sign,
        log_magnitude,
        event_ndims=3,
        validate_args=False,
        name="conv1x1_plu",
    ):
        parameters = dict(locals())
        self.lower, self.upper, self.sign, self.log_magnitude = as_parameters(
            lower=lower, upper=upper, sign=sign, log_magnitude=log_magnitude
        )
        check_shapes(
            _PLU_AXES,
            lower=self.lower,
            upper=self.upper,
            sign=self.sign,
            log_magnitude=self.log_magnitude,
        )
        if not is_reference(permutation):
            permutation = tf.convert_to_tensor(permutation)
        if not tf.as_dtype(permutation.dtype).is_integer:
            raise TypeError(
                f"`permutation` must be of integers; got {permutation.dtype}."
            )
        if not permutation.shape == self.sign.shape[-1:]:
            raise ValueError(
                "`permutation` must have shape [C], as long as the last axis of "
                f"`sign`; got shapes {permutation.shape} and {self.sign.shape}."
            )
        if event_ndims < 1:
            raise ValueError(f"`event_ndims` must be at least 1; got {event_ndims}.")
        self.permutation, self.event_ndims = permutation, event_ndims
        super().__init__(
            forward_min_event_ndims=event_ndims,
            dtype=self.sign.dtype,
            is_constant_jacobian=True,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype):
        square = tfp.util.ParameterProperties(
            event_ndims=2, shape_fn=lambda shape: [shape[-1], shape[-1]]
        )
        row = tfp.util.ParameterProperties(
            event_ndims=1, shape_fn=lambda shape: shape[-1:]
        )
        return dict(lower=square, upper=square, sign=row, log_magnitude=row)

    def _parameter_control_dependencies(self, is_init):
        unit = (lambda v: tf.abs(v) == 1.0, "be 1 or -1")
        return assert_parameters(
            self,
            is_init,
            {
                **dict.fromkeys(_PLU_AXES, FINITE),
                "sign": unit,
                "permutation": (_is_permutation, "hold each of 0 to C - 1 once"),
            },
        )

    def _forward(self, x):
        check_pixels(self, x, self.event_ndims, self.sign.shape[-1])
        return multiply_pixels(x, self.matrix(), self.event_ndims)

    def _inverse(self, y):
        check_pixels(self, y, self.event_ndims, self.sign.shape[-1])
        return multiply_pixels(y, self.inverse_matrix(), self.event_ndims)

    def _forward_log_det_jacobian(self, x):
        check_pixels(self, x, self.event_ndims, self.sign.shape[-1])
        return sum_over_pixels(self, self.log_abs_det(), x, self.event_ndims)

    def _inverse_log_det_jacobian(self, y):
        return -self._forward_log_det_jacobian(y)  # independent of the input

    @property
    def num_channels(self):
        """Static number of channels, or None."""
        return self.sign.shape[-1]

    def matrix(self):
        """Matrix of the layer, shape `[..., C, C]`."""
        lower, upper, rows = self._factors()
        return tf.matmul(rows, tf.matmul(lower, upper), transpose_a=True)

    def inverse_matrix(self):
        """Inverse of the matrix, shape `[..., C, C]`."""
        lower, upper, rows = self._factors()
        rows += tf.zeros_like(lower)
        return tf.linalg.triangular_solve(
            upper, tf.linalg.triangular_solve(lower, rows), lower=False
        )

    def log_abs_det(self):
        """`log |det weight|`, shape `[...]`."""
        return tf.reduce_sum(self.log_magnitude, axis=-1)

    def _factors(self):
        """Returns both triangular factors, and the matrix of the permutation."""
        lower, upper, sign, log_magnitude = broadcast_batch(
            _PLU_AXES,
            lower=self.lower,
            upper=self.upper,
            sign=self.sign,
            log_magnitude=self.log_magnitude,
        )
        channels = lower.shape[-1]
        unit = np.eye(channels, dtype=lower.dtype.as_numpy_dtype)
        below = np.tri(channels, k=-1, dtype=unit.dtype)
        diagonal = unit * (sign * tf.exp(log_magnitude))[..., tf.newaxis]
        # A gather would need the inverse permutation: one sort per call.
        rows = tf.one_hot(self.permutation, self.sign.shape[-1], dtype=self.dtype)
        return below * lower + unit, below.T * upper + diagonal, rows


def _is_inverse(inverse, weight):
    """Returns whether inverses of matrices have a correct digit."""
    condition = tf.norm(inverse, axis=[-2, -1]) * tf.norm(weight, axis=[-2, -1])
    return condition < 1.0 / np.finfo(weight.dtype.as_numpy_dtype).eps


def _is_permutation(values):
    return tf.sort(tf.cast(values, tf.int32)) == tf.range(tf.size(values))
