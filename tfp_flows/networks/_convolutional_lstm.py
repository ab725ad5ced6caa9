"""Row and Diagonal LSTMs: recurrences over the lines of a map, with convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfp_flows._autodiff import with_shape


def scan_lines(
    inputs: tf.Tensor, kernels: tf.Tensor, offsets: Sequence[int]
) -> tf.Tensor:
    """Runs convolutional LSTMs over lines, all positions of a line at once.

    With `[o, f, i, g] = inputs + K * h`, the state of a line is
    `c' = sigmoid(f) c + sigmoid(i) tanh(g)` and `h' = sigmoid(o) tanh(c')`, equation 3
    of van den Oord et al. (2016), https://arxiv.org/abs/1601.06759, with `*` a
    convolution over the positions. Where all inputs in the receptive field of a
    position are zero, so is its state.

    Args:
      inputs: tensor of shape `[lines, G, N, positions, 4 * features]`, of static shape
        but for `N`: `G` independent recurrences.
      kernels: tensor of shape `[G, len(offsets) * features, 4 * features]`.
      offsets: for each tap of the kernels, the relative position of its input in the
        preceding line: -1 for the position to the left.

    Returns:
      states: `h` of all lines, shape `[lines, G, N, positions, features]`.
    """
    lines, groups, _, positions, gates = inputs.shape
    features = gates // 4
    number = tf.shape(inputs)[2]
    line_shape = [groups, None, positions]
    reach = max(map(abs, offsets))
    source = tf.TensorArray(
        inputs.dtype, lines, element_shape=[*line_shape, gates]
    ).unstack(inputs)
    target = tf.TensorArray(inputs.dtype, lines, element_shape=[*line_shape, features])

    def step(i, h, c, target):
        padded = tf.pad(h, [[0, 0], [0, 0], [reach, reach], [0, 0]])
        taps = tf.concat(
            [padded[:, :, reach + k : reach + k + positions] for k in offsets], axis=-1
        )
        flat = tf.reshape(taps, [groups, -1, len(offsets) * features])
        change = tf.matmul(flat, kernels)
        change = tf.reshape(change, [groups, number, positions, gates])
        o, f, i_gate, g = tf.split(source.read(i) + change, 4, axis=-1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i_gate) * tf.tanh(g)
        h = tf.sigmoid(o) * tf.tanh(c)
        return i + 1, h, c, target.write(i, h)

    zero = tf.zeros([groups, number, positions, features], inputs.dtype)
    *_, target = tf.while_loop(
        lambda i, *_: i < lines,
        step,
        (tf.constant(0), zero, zero, target),
        maximum_iterations=lines,  # XLA needs it for a gradient
    )
    return with_shape(target.stack(), [lines, *line_shape, features])


def skew(x: tf.Tensor) -> tf.Tensor:
    """Moves each row of maps `[N, H, W, F]` right by one more than the row above.

    Returns:
      skewed: tensor of shape `[N, H, H + W - 1, F]`, whose columns are diagonals.
    """
    _, height, width, features = x.shape
    padded = tf.pad(x, [[0, 0], [0, 0], [0, height], [0, 0]])
    flat = tf.reshape(padded, [-1, height * (width + height), features])
    return tf.reshape(flat[:, :-height], [-1, height, width + height - 1, features])


def unskew(x: tf.Tensor) -> tf.Tensor:
    """Inverts `skew`."""
    _, height, columns, features = x.shape
    flat = tf.reshape(x, [-1, height * columns, features])
    padded = tf.pad(flat, [[0, 0], [0, height], [0, 0]])
    padded = tf.reshape(padded, [-1, height, columns + 1, features])
    return padded[:, :, : columns + 1 - height]
