"""Squeeze, which trades the size of an image for channels."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._autodiff import with_shape
from tfp_flows._layer import Layer

tfb = tfp.bijectors


class Squeeze(Layer):
    """Makes each block of pixels of an image one pixel with more channels.

    `x` has shape `[..., H, W, C]` and `y` `[..., H / f, W / f, f f C]`, for the factor
    `f`: Dinh et al. (2017), section 3.6, https://arxiv.org/abs/1605.08803. The channels
    of `y` are those of the upper left pixel of a block, then of its right neighbor,
    row by row. The log determinant is 0. A flow to images has `tfb.Invert` of it.

    Args:
      factor: height and width of a block, at least 1.
      validate_args: no effect, since all that can be wrong is checked always.
      name: prefix of the ops.

    Raises:
      ValueError: `factor` is no integer above 0; the input has fewer than 3 axes, or a
        height, width or number of channels that the factor does not divide.
    """

    def __init__(self, factor=2, validate_args=False, name="squeeze"):
        parameters = dict(locals())
        if not isinstance(factor, int) or factor < 1:
            raise ValueError(f"`factor` must be an integer above 0; got {factor!r}.")
        self.factor = factor
        super().__init__(
            forward_min_event_ndims=3,
            is_constant_jacobian=True,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype):
        return {}

    def _forward(self, x):
        return squeeze(x, self.factor)

    def _inverse(self, y):
        return unsqueeze(y, self.factor)

    def _forward_log_det_jacobian(self, x):
        return tf.zeros(tf.shape(x)[:-3], x.dtype)

    def _inverse_log_det_jacobian(self, y):
        return tf.zeros(tf.shape(y)[:-3], y.dtype)

    def _forward_event_shape(self, shape):
        return _squeezed_shape(shape, self.factor)

    def _inverse_event_shape(self, shape):
        return _unsqueezed_shape(shape, self.factor)

    def _forward_event_shape_tensor(self, shape):
        f = self.factor
        event = shape[-3:] // [f, f, 1] * [1, 1, f * f]
        return tf.concat([shape[:-3], event], axis=0)

    def _inverse_event_shape_tensor(self, shape):
        f = self.factor
        event = shape[-3:] * [f, f, 1] // [1, 1, f * f]
        return tf.concat([shape[:-3], event], axis=0)


def squeeze(x, factor):
    """Returns `[..., H, W, C]` as `[..., H / f, W / f, f f C]`."""
    shape = _squeezed_shape(_of_known_rank(x), factor)
    height, width, channels = _sizes(x, [factor, factor, 1])
    blocks = [-1, height, factor, width, factor, channels]
    return _regroup(x, blocks, [height, width, factor**2 * channels], shape)


def unsqueeze(y, factor):
    """Returns `[..., h, w, f f C]` as `[..., h f, w f, C]`."""
    shape = _unsqueezed_shape(_of_known_rank(y), factor)
    height, width, channels = _sizes(y, [1, 1, factor**2])
    blocks = [-1, height, width, factor, factor, channels]
    return _regroup(y, blocks, [factor * height, factor * width, channels], shape)


def _regroup(x, blocks, event, shape):
    """Takes blocks of pixels apart, or puts them together: the same exchange of axes.

    Args:
      x: tensor `[..., H, W, C]`.
      blocks: shape with one batch axis to view it in.
      event: shape of the resulting event.
      shape: static shape of the result.
    """
    moved = tf.transpose(tf.reshape(x, blocks), [0, 1, 3, 2, 4, 5])
    result = tf.reshape(moved, tf.concat([tf.shape(x)[:-3], event], axis=0))
    return with_shape(result, shape)


def _sizes(x, divisors):
    """Returns height, width and channels over divisors, as numbers where known."""
    sizes = zip(x.shape[-3:], tf.unstack(tf.shape(x)[-3:]), divisors)
    return [(d if n is None else n) // divisor for n, d, divisor in sizes]


def _of_known_rank(x):
    if x.shape.rank is None:
        raise ValueError(
            "The rank of the input must be known; got shape <unknown>. Give it one "
            "with `tf.ensure_shape(x, [None, None, None, None])`."
        )
    return x.shape


def _squeezed_shape(shape, factor):
    return _regrouped_shape(
        shape,
        [factor, factor, 1],
        [1, 1, factor**2],
        f"Height and width of the input must be multiples of {factor}, the `factor`",
    )


def _unsqueezed_shape(shape, factor):
    return _regrouped_shape(
        shape,
        [1, 1, factor**2],
        [factor, factor, 1],
        f"The number of channels must be a multiple of {factor**2}, the square of "
        "`factor`",
    )


def _regrouped_shape(shape, divisors, factors, demand):
    """Returns a static shape whose event is divided and multiplied, where known.

    Raises:
      ValueError: `demand`, if the divisors do not divide the sizes; there are fewer
        than 3 axes.
    """
    shape = tf.TensorShape(shape)
    if shape.rank is None:
        return shape
    if shape.rank < 3:
        raise ValueError(
            f"The input must have shape [..., H, W, C]; got shape {shape}."
        )
    event = list(zip(shape[-3:], divisors, factors))
    if any(n is not None and n % divisor for n, divisor, _ in event):
        raise ValueError(f"{demand}; got shape {shape}.")
    return shape[:-3].concatenate(
        [None if n is None else n // divisor * factor for n, divisor, factor in event]
    )
