"""Functions of a bijector or a flow that the benchmarks time, with their arguments.

A candidate is a tuple of a function and its arguments: none of them is a constant of
the compiled program.
"""

import tensorflow as tf


def of_layer(layer, x, y=None, variables=None, masks=None):
    """Returns the candidates of a layer whose `forward` maps data to latents.

    Args:
      layer: `tfb.Bijector`.
      x: batch for `forward`.
      y: batch for `inverse`; by default one like `x`.
      variables: those to train, by default all trainable ones; without any there is no
        step.
      masks: see `Adam`.

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
    """Returns the candidates of a flow whose `inverse` maps data to latents.

    Args:
      flow: distribution with a `bijector` from latents to data.
      x: batch for `log_prob` and for training.
      variables: those to train, by default all trainable ones.
      masks: see `Adam`.

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
    """Returns functions of a batch: value and log determinant, in both directions."""
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
    """Returns the mean of `|y|^2 / 2 - log_det`, a divergence up to a constant."""
    return tf.reduce_mean(
        0.5 * tf.reduce_sum(y**2, axis=list(range(1, y.shape.rank))) - log_det
    )


def training(loss, variables, masks=None):
    """Returns a function of the arguments of a loss that takes a step of Adam."""
    return training_step(loss, variables, Adam(variables, masks))


def perturb(variables, scale=0.3, masks=None):
    """Adds normals to kernels, so that no network is the identity."""
    for i, variable in enumerate(variables):
        if variable.shape.rank > 1:
            fan_in = tf.reduce_prod(tf.cast(variable.shape[:-1], variable.dtype))
            change = normal(variable.shape, i) * scale / fan_in**0.5
            variable.assign_add(change * masks[i] if masks else change)


def training_step(loss, variables, update):
    """Returns a function of the arguments of a loss that updates with its gradients."""

    def step(*arguments):
        with tf.GradientTape() as tape:
            value = loss(*arguments)
        update(tape.gradient(value, variables))
        return value

    return step


class Adam:
    """Adam of Kingma and Ba (2015), the same for all flows in TensorFlow.

    Args:
      variables: list of variables.
      masks: dictionary of arrays by index, which multiply the updated values.
      rate: step size.
    """

    def __init__(self, variables, masks=None, rate=1e-5):
        self._variables, self._masks = variables, masks or {}
        self._moments = [
            [tf.Variable(tf.zeros_like(v)) for v in variables] for _ in range(2)
        ]
        self._step, self._rate = tf.Variable(0.0), rate

    def __call__(self, gradients):
        step = self._step.assign_add(1.0)
        rate = self._rate * tf.sqrt(1.0 - 0.999**step) / (1.0 - 0.9**step)
        for i, (variable, g, m, v) in enumerate(
            zip(self._variables, gradients, *self._moments)
        ):
            mean = m.assign_add(0.1 * (g - m))
            square = v.assign_add(0.001 * (g**2 - v))
            change = rate * mean / (tf.sqrt(square) + 1e-8)
            if i in self._masks:
                variable.assign((variable - change) * self._masks[i])
            else:
                variable.assign_sub(change)


def normal(shape, seed, dtype=tf.float32):
    """Returns reproducible standard normals."""
    return tf.random.stateless_normal(shape, [0, seed], dtype=dtype)
