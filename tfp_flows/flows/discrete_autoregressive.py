"""Distribution of images or waveforms of whole levels, element by element."""

import numpy as np
import tensorflow as tf

from tfp_flows._builders import recipe
from tfp_flows.flows._levels import DiscreteAutoregressive


@recipe(package="tfp_flows")
def discrete_autoregressive(
    network,
    num_levels=256,
    mixture_size=None,
    event_shape=None,
    context=None,
    validate_args=False,
    name="discrete_autoregressive",
):
    """Returns the distribution of levels that an autoregressive network describes.

    `p(x) = prod_i p(x_i | x_1, ..., x_(i-1))`, each `x_i` one of 0 to `num_levels - 1`.
    The network sees the levels scaled to [-1, 1], and tells the parameters of each
    factor:

    - a logit for each level, as in PixelRNN, https://arxiv.org/abs/1601.06759;
    - or, with `mixture_size`, weights, then means, then scales of as many logistic
      distributions, rounded to levels, as in PixelCNN++,
      https://arxiv.org/abs/1701.05517, equation 2.

    `log_prob` takes one pass of the network. It takes integers, such as uint8 images,
    and floating-point tensors of whole numbers. Samples are whole numbers of the dtype
    of the network. To sample, one uniform number is drawn for each element, whose level
    is the quantile there. Passes of the network repeat until nothing changes, one for
    each element at most; a network that has `solve_for_input`, such as `MADE`, needs
    about two. Samples have no gradient.

    Args:
      network: autoregressive network, called as `network(x)` or `network(x, context)`,
        which returns `[..., *event_shape, num_parameters]`: a `tfp_flows.networks.MADE`
        or `PixelCNN`, or what is called like them.
      num_levels: number of levels, at least 2.
      mixture_size: number of logistic distributions; None for logits.
      event_shape: shape of an image or waveform, for networks that do not tell it.
      context: tensor of shape `[..., context_size]`, or None; its batch axes are those
        of the distribution. See `tfp_flows.flows.condition`.
      validate_args: whether graphs check the levels that `log_prob` is given. In eager
        mode they are checked always.
      name: name of the distribution.

    Returns:
      distribution: `tfd.Distribution` with `context` and `context_size`.

    Raises:
      TypeError: `context` has another dtype than the network.
      ValueError: the network returns another number of parameters than needed, which
        the message tells; an argument is out of its range; a context is missing or does
        not fit; in eager mode, a level is none of 0 to `num_levels - 1`.
      tf.errors.InvalidArgumentError: a level is not, in a graph with `validate_args`.
    """
    return DiscreteAutoregressive(
        network, num_levels, mixture_size, event_shape, context, validate_args, name
    )


def complete(model, x, known, seed=None, sample_shape=()):
    """Draws what is not known of images or waveforms, given what is.

    Args:
      model: distribution of `discrete_autoregressive`.
      x: levels of shape `[..., *event_shape]`. What is not known may be any number.
      known: boolean array that broadcasts to `event_shape`. The elements that are known
        must come before all others in the order of the network: the upper rows of an
        image for `PixelCNN`.
      seed: as for `sample`.
      sample_shape: shape of the draws for each of `x`.

    Returns:
      completed: levels in the dtype of the network, of shape
        `[*sample_shape, ..., *event_shape]`.

    Raises:
      TypeError: `model` is no such distribution.
      ValueError: the known elements do not come first; a known level is none of 0 to
        `num_levels - 1`, in eager mode.
    """
    if not isinstance(model, DiscreteAutoregressive):
        raise TypeError(
            "`model` must be a distribution of `discrete_autoregressive`; "
            f"got {model!r}."
        )
    shape = model.event_shape.as_list()
    known = np.broadcast_to(np.asarray(known, bool), shape)
    order = model._network.order
    order = np.arange(known.size) if order is None else np.asarray(order)
    number = np.sum(known)
    if not np.all(known.ravel()[order[:number]]):
        raise ValueError(
            "`known` must be true for the first elements in the order of the network "
            f"alone; got {number} true elements, not all of which come first."
        )
    x = tf.convert_to_tensor(x, dtype_hint=model.dtype)
    x = tf.where(known, x, tf.zeros([], x.dtype))
    with tf.control_dependencies(model._sample_control_dependencies(x)):
        x = tf.cast(x, model.dtype)
    sample_shape = tf.reshape(tf.cast(sample_shape, tf.int32), [-1])
    batch = tf.broadcast_dynamic_shape(
        tf.shape(x)[: tf.rank(x) - len(shape)], model.batch_shape_tensor()
    )
    u = model.uniforms(tf.concat([sample_shape, batch], axis=0), seed)
    return model.solve(tf.where(known, -1.0 - x, u))
