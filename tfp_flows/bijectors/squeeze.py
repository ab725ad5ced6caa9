"""Squeeze layer: exchanges spatial size for channels."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._autodiff import with_shape
from tfp_flows._layer import Layer

tfb = tfp.bijectors


class Squeeze(Layer):
    """Squeeze layer: reshapes blocks of pixels into channels (space to depth).

    `x` has shape `[..., H, W, C]` and `y` has shape `[..., H / f, W / f, f f C]`, where
    `f` is the factor: Dinh et al. (2017), section 3.6,
    https://arxiv.org/abs/1605.08803. The channels of `y` are ordered by the pixels of a
    block, row by row. The log determinant is 0. In a flow whose `forward` makes images,
    use `tfb.Invert(Squeeze())`.

    Args:
      factor: height and width of a block, at least 1.
      validate_args: has no effect, as all errors are always detected.
      name: prefix of the ops.

    Raises:
      ValueError: `factor` is not an integer of at least 1.
      ValueError: the input has fewer than 3 axes.
      ValueError: the factor does not divide height and width, or its square the
        channels.

    >>> Squeeze().forward(tf.zeros([5, 28, 28, 1])).shape
    TensorShape([5, 14, 14, 4])
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
    """Splits or merges blocks of pixels, which exchanges the same two axes.

    Args:
      x: tensor `[..., H, W, C]`.
      blocks: shape of `x` as blocks, with one batch axis.
      event: shape of the resulting event.
      shape: static shape of the result.
    """
    moved = tf.transpose(tf.reshape(x, blocks), [0, 1, 3, 2, 4, 5])
    result = tf.reshape(moved, tf.concat([tf.shape(x)[:-3], event], axis=0))
    return with_shape(result, shape)


def _sizes(x, divisors):
    """Returns height, width and channels over divisors, as ints if static."""
    sizes = zip(x.shape[-3:], tf.unstack(tf.shape(x)[-3:]), divisors)
    return [(d if n is None else n) // divisor for n, d, divisor in sizes]


def _of_known_rank(x):
    if x.shape.rank is None:
        raise ValueError(
            "The rank of the input must be known; got shape <unknown>. Set it by "
            "`tf.ensure_shape(x, [None, None, None, None])`."
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
    """Returns a static shape whose event is divided and multiplied, if known.

    Raises:
      ValueError: the divisors do not divide the sizes, with `demand` as message; or
        there are fewer than 3 axes.
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
