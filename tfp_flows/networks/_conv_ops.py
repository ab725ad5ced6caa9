"""Convolutions of images, as matrix products where these are faster."""

from __future__ import annotations

import tensorflow as tf

from tfp_flows._autodiff import with_shape
from tfp_flows._loop_scope import in_loop
from tfp_flows.networks._dense_ops import cast, multiply, replace_last_axis

_AROUND = [[0, 0], [1, 1], [1, 1], [0, 0]]
_BLOCK = [(i, j) for i in range(3) for j in range(3)]


def convolve_images(x: tf.Tensor, kernel: tf.Tensor | tf.Variable) -> tf.Tensor:
    """Returns `x` `[..., H, W, inputs]` convolved to `[..., H, W, outputs]`, its dtype.

    Where inputs or outputs are few, as at the ends of a network, a matrix product over
    nine times as many is faster than a convolution and its gradients, as long as there
    are at least as many on the other side.

    Args:
      x: images, padded with zeros.
      kernel: tensor of shape `[size, size, inputs, outputs]`, with `size` 1 or 3.
    """
    size, _, inputs, outputs = kernel.shape
    kernel = cast(kernel, x.dtype)
    if size == 1:
        return multiply(x, kernel[0, 0])
    images = as_images(x)
    if 9 * inputs <= outputs:
        neighbors = _neighbors(images)
        result = multiply(neighbors, tf.reshape(kernel, [9 * inputs, outputs]))
    elif 9 * outputs <= inputs:
        flat = tf.transpose(tf.reverse(kernel, axis=[0, 1]), [2, 0, 1, 3])
        flat = tf.reshape(flat, [inputs, 9 * outputs])
        result = _add_to_neighbors(multiply(images, flat))
    else:
        slow = in_loop() and not tf.config.list_logical_devices("GPU")
        convolution = _convolution_in_loop if slow else _convolution
        result = convolution(images, kernel)
    if x.shape.rank == 4:
        return result
    return replace_last_axis(result, x, [outputs])


def as_images(x: tf.Tensor) -> tf.Tensor:
    """Returns `x` `[..., H, W, C]` with one axis in place of all before `H`."""
    if x.shape.rank == 4:
        return x
    flat = tf.reshape(x, tf.concat([[-1], tf.shape(x)[-3:]], axis=0))
    return with_shape(flat, [None, *x.shape[-3:]])


def _convolution(images, kernel):
    return tf.nn.conv2d(images, kernel, strides=1, padding="SAME")


@tf.custom_gradient
def _convolution_in_loop(images, kernel):
    """As `_convolution`, with gradients that are convolutions of this kind themselves.

    XLA on CPUs rewrites TensorFlow's gradients of convolutions as calls of a library,
    except in the bodies of loops: there they are about a hundred times as slow.
    """

    def backward(result_grad):
        mirrored = tf.transpose(tf.reverse(kernel, axis=[0, 1]), [0, 1, 3, 2])
        padded = tf.pad(images, _AROUND)
        # Channels take the place of images, and pixels that of the kernel's.
        kernel_grad = tf.nn.conv2d(
            tf.transpose(padded, [3, 1, 2, 0]),
            tf.transpose(result_grad, [1, 2, 0, 3]),
            strides=1,
            padding="VALID",
        )
        return _convolution(result_grad, mirrored), tf.transpose(
            kernel_grad, [1, 2, 0, 3]
        )

    return _convolution(images, kernel), backward


# Each of these two is the transpose of the other, and so its gradient. TensorFlow's own
# gradients of slices are slow, and their gradients are slow under XLA.
@tf.custom_gradient
def _neighbors(images):
    """Returns `[N, H, W, 9 C]`: for each pixel its block of 3 x 3, row by row."""
    padded = tf.pad(images, _AROUND)
    sizes = _image_sizes(images)
    parts = [tf.slice(padded, [0, i, j, 0], sizes) for i, j in _BLOCK]
    return tf.concat(parts, axis=-1), _add_to_neighbors


@tf.custom_gradient
def _add_to_neighbors(blocks):
    """Returns `[N, H, W, C]`: for each pixel the sum over its places in blocks."""
    channels = blocks.shape[-1] // 9
    padded = tf.pad(blocks, _AROUND)
    sizes = [*_image_sizes(blocks)[:-1], channels]
    return tf.add_n(
        [
            tf.slice(padded, [0, 2 - i, 2 - j, k * channels], sizes)
            for k, (i, j) in enumerate(_BLOCK)
        ]
    ), _neighbors


def _image_sizes(images):
    dynamic = tf.shape(images)
    known = images.shape.as_list()
    return [dynamic[i] if n is None else n for i, n in enumerate(known)]
