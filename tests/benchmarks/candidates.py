"""Functions of a bijector or a flow that the benchmarks time, with their arguments."""

import tensorflow as tf

from tests.benchmarks.report import normal
from tests.benchmarks.training import Adam, training_step


def of_layer(layer, x, y=None, variables=None, masks=None):
    """Returns the candidates of a layer that goes from data to noise by `forward`.

    Args:
      layer: `tfb.Bijector`.
      x: batch for `forward`.
      y: batch for `inverse`; by default one like `x`.
      variables: those to train, by default all trainable ones; without any there is no
        step.
      masks: see `training.Adam`.

    Returns:
      candidates: dictionary of functions with their arguments: "forward", "inverse" and
        "step".
    """
    ndims = layer.forward_min_event_ndims or x.shape.rank - 1
    variables = list(layer.trainable_variables if variables is None else variables)
    forward, inverse = both_ways(layer, ndims)
    candidates = {"forward": (forward, x), "inverse": (inverse, x if y is None else y)}
    if variables:
        candidates["step"] = (
            training(lambda x: divergence(*forward(x)), variables, masks),
            x,
        )
    return candidates


def of_flow(flow, x, variables=None, masks=None):
    """Returns the candidates of a flow that goes from data to noise by `inverse`.

    Args:
      flow: distribution with a `bijector` from noise to data.
      x: batch to score, and to train on.
      variables: those to train, by default all trainable ones.
      masks: see `training.Adam`.

    Returns:
      candidates: dictionary of functions with their arguments for each quantity.
    """
    variables = list(flow.trainable_variables if variables is None else variables)
    forward, inverse = both_ways(flow.bijector, x.shape.rank - 1)
    return {
        "forward": (forward, normal(x.shape, 8)),
        "inverse": (inverse, x),
        "log_prob": (flow.log_prob, x),
        "sample": (
            lambda seed: flow.sample(x.shape[0], seed=seed),
            tf.constant([0, 1]),
        ),
        "step": (
            training(lambda x: -tf.reduce_mean(flow.log_prob(x)), variables, masks),
            x,
        ),
    }


def both_ways(bijector, event_ndims):
    """Returns functions of a batch: value and log determinant, forward and inverse."""
    return (
        lambda x: (
            bijector.forward(x),
            bijector.forward_log_det_jacobian(x, event_ndims=event_ndims),
        ),
        lambda y: (
            bijector.inverse(y),
            bijector.inverse_log_det_jacobian(y, event_ndims=event_ndims),
        ),
    )


def divergence(y, log_det):
    """Returns the mean of `|y|^2 / 2 - log_det`: what noise at `y` costs, and more."""
    return tf.reduce_mean(
        0.5 * tf.reduce_sum(y**2, axis=list(range(1, y.shape.rank))) - log_det
    )


def training(loss, variables, masks=None):
    """Returns a function of the arguments of a loss that makes a step of Adam."""
    return training_step(loss, variables, Adam(variables, masks))


def move(variables, scale=0.3, masks=None):
    """Adds normals to kernels: networks that start at zero get something to do."""
    for i, variable in enumerate(variables):
        if variable.shape.rank > 1:
            fan_in = tf.reduce_prod(tf.cast(variable.shape[:-1], variable.dtype))
            change = normal(variable.shape, i) * scale / fan_in**0.5
            variable.assign_add(change * masks[i] if masks else change)
