"""Training steps of flows in TensorFlow, the same for all."""

import tensorflow as tf

QUANTITIES = ["log_prob", "sample", "step"]


def training_functions(distribution, variables, update, batch_size):
    """Returns functions: log density, sample, and training step."""

    def sample():
        return distribution.sample(batch_size, seed=[0, 1])

    step = training_step(
        lambda x: -tf.reduce_mean(distribution.log_prob(x)), variables, update
    )
    return distribution.log_prob, sample, step


def training_step(loss, variables, update):
    """Returns a function of the arguments of a loss that updates by its gradients."""

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
      masks: dictionary of arrays by index, which the new values are multiplied by.
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
