"""Distributions of one integer, given the parameters that a network predicts for it.

Each has `num_parameters`, `log_prob(parameters, values)` and `quantile(parameters, u)`.
Values are integers in the floating dtype of the parameters.
"""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions


@dataclasses.dataclass(frozen=True)
class Categorical:
    """Categorical distribution: one logit for each value."""

    num_values: int

    @property
    def num_parameters(self) -> int:
        return self.num_values

    def log_prob(self, parameters: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        values = tf.cast(values, tf.int32)
        return tfd.Categorical(logits=parameters).log_prob(values)

    def quantile(self, parameters: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
        """Returns the smallest value whose distribution function exceeds `u`."""
        # No `tf.nn.softmax`: that of oneDNN takes at most 5 axes.
        highest = tf.reduce_max(parameters, axis=-1, keepdims=True)
        cumulative = tf.cumsum(tf.exp(parameters - highest), axis=-1)
        # The division makes it exactly 1 from the last value of positive probability.
        cumulative /= cumulative[..., -1:]
        below = cumulative <= u[..., tf.newaxis]
        return tf.reduce_sum(tf.cast(below, u.dtype), axis=-1)


@dataclasses.dataclass(frozen=True)
class DiscretizedLogisticMixture:
    """Mixture of logistic distributions, rounded to integers.

    Salimans et al. (2017), https://arxiv.org/abs/1701.05517, equation 2: with values
    scaled to [-1, 1], `h` half the distance between two of them, and `s` the logistic
    function, the value at `x` has the probability `sum_k w_k (s((x + h - m_k) / r_k) -
    s((x - h - m_k) / r_k))`. The lowest value also has the mass of all numbers below
    it, and the highest value that of all numbers above.

    `w` is a softmax. For parameters of 0, the `m_k` are spaced evenly over [-1, 1], so
    that their gradients differ, and `r_k` is about half the distance between two.
    """

    num_values: int
    num_components: int

    @property
    def num_parameters(self) -> int:
        return 3 * self.num_components

    def log_prob(self, parameters: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
        # The difference of the logistic functions of `a` and `a + d` is the product
        # `s(a + d) s(-a) (1 - exp(-d))`, in which no close numbers are subtracted.
        log_weight, mean, scale = self._components(parameters)
        x, half = self._scaled(values)[..., tf.newaxis], 1.0 / (self.num_values - 1)
        above = tf.math.log_sigmoid((x + half - mean) / scale)
        below = tf.math.log_sigmoid((mean - x + half) / scale)
        width = tf.math.log(-tf.math.expm1(-2.0 * half / scale))
        values, zero = values[..., tf.newaxis], tf.zeros([], parameters.dtype)
        lowest, highest = values <= 0.0, values >= self.num_values - 1.0
        log_mass = (
            tf.where(highest, zero, above)
            + tf.where(lowest, zero, below)
            + tf.where(lowest | highest, zero, width)
        )
        return tf.reduce_logsumexp(log_weight + log_mass, axis=-1)

    def quantile(self, parameters: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
        """Returns the smallest value whose distribution function exceeds `u`."""
        log_weight, mean, scale = self._components(parameters)
        half = 1.0 / (self.num_values - 1)

        def cumulative(value: tf.Tensor) -> tf.Tensor:
            x = self._scaled(value)[..., tf.newaxis] + half
            return tf.reduce_sum(
                tf.exp(log_weight) * tf.sigmoid((x - mean) / scale), axis=-1
            )

        low, high = tf.zeros_like(u), tf.fill(tf.shape(u), self.num_values - 1.0)
        high = tf.cast(high, u.dtype)
        for _ in range(math.ceil(math.log2(self.num_values))):
            middle = tf.floor(0.5 * (low + high))
            is_high = cumulative(middle) > u
            low = tf.where(is_high, low, tf.minimum(middle + 1.0, high))
            high = tf.where(is_high, middle, high)
        return low

    def _components(
        self, parameters: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        size = self.num_components
        logits, mean, scale = tf.split(parameters, 3, axis=-1)
        centers = [(2 * k + 1) / size - 1.0 for k in range(size)]
        mean += tf.constant(centers, parameters.dtype)
        minimum = 0.01 / (self.num_values - 1)  # at which one value is all but certain
        return tf.nn.log_softmax(logits), mean, minimum + tf.nn.softplus(scale) / size

    def _scaled(self, values: tf.Tensor) -> tf.Tensor:
        return 2.0 / (self.num_values - 1) * values - 1.0
