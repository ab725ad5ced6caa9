"""Distributions of one level, out of the parameters that a network returns for it.

A head has `num_parameters`, `log_prob` and `quantile`. Levels are whole numbers of the
dtype of the parameters.
"""

import dataclasses
import math

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions


@dataclasses.dataclass(frozen=True)
class Categorical:
    """A logit for each level."""

    num_levels: int

    @property
    def num_parameters(self):
        return self.num_levels

    def log_prob(self, parameters, levels):
        levels = tf.cast(levels, tf.int32)
        return tfd.Categorical(logits=parameters).log_prob(levels)

    def quantile(self, parameters, u):
        """Returns the least level whose distribution function exceeds `u`."""
        # No `tf.nn.softmax`: that of oneDNN takes no more than 5 axes.
        highest = tf.reduce_max(parameters, axis=-1, keepdims=True)
        cumulative = tf.cumsum(tf.exp(parameters - highest), axis=-1)
        # The division makes it 1 from the last level on that has any probability.
        cumulative /= cumulative[..., -1:]
        below = cumulative <= u[..., tf.newaxis]
        return tf.reduce_sum(tf.cast(below, u.dtype), axis=-1)


@dataclasses.dataclass(frozen=True)
class LogisticMixture:
    """A mixture of logistic distributions, rounded to levels.

    Salimans et al. (2017), https://arxiv.org/abs/1701.05517, equation 2: with levels
    scaled to [-1, 1], `h` half a step between two of them, and `s` the logistic
    function, a level at `x` has `sum_k w_k (s((x + h - m_k) / r_k) - s((x - h - m_k) /
    r_k))`. The lowest level has all below it, too, and the highest all above.

    `w` is a softmax. Where the parameters are 0, the `m_k` are spread over [-1, 1], so
    that they differ for training, and `r_k` is about half of what lies between two.
    """

    num_levels: int
    mixture_size: int

    @property
    def num_parameters(self):
        return 3 * self.mixture_size

    def log_prob(self, parameters, levels):
        # The difference of the logistic functions of `a` and `a + d` is the product
        # `s(a + d) s(-a) (1 - exp(-d))`, in which no close numbers are subtracted.
        log_weight, mean, scale = self._components(parameters)
        x, half = self._scaled(levels)[..., tf.newaxis], 1.0 / (self.num_levels - 1)
        above = tf.math.log_sigmoid((x + half - mean) / scale)
        below = tf.math.log_sigmoid((mean - x + half) / scale)
        width = tf.math.log(-tf.math.expm1(-2.0 * half / scale))
        levels, zero = levels[..., tf.newaxis], tf.zeros([], parameters.dtype)
        lowest, highest = levels <= 0.0, levels >= self.num_levels - 1.0
        log_mass = (
            tf.where(highest, zero, above)
            + tf.where(lowest, zero, below)
            + tf.where(lowest | highest, zero, width)
        )
        return tf.reduce_logsumexp(log_weight + log_mass, axis=-1)

    def quantile(self, parameters, u):
        """Returns the least level whose distribution function exceeds `u`."""
        log_weight, mean, scale = self._components(parameters)
        half = 1.0 / (self.num_levels - 1)

        def cumulative(level):
            x = self._scaled(level)[..., tf.newaxis] + half
            return tf.reduce_sum(
                tf.exp(log_weight) * tf.sigmoid((x - mean) / scale), axis=-1
            )

        low, high = tf.zeros_like(u), tf.fill(tf.shape(u), self.num_levels - 1.0)
        high = tf.cast(high, u.dtype)
        for _ in range(math.ceil(math.log2(self.num_levels))):
            middle = tf.floor(0.5 * (low + high))
            is_high = cumulative(middle) > u
            low = tf.where(is_high, low, tf.minimum(middle + 1.0, high))
            high = tf.where(is_high, middle, high)
        return low

    def _components(self, parameters):
        size = self.mixture_size
        logits, mean, scale = tf.split(parameters, 3, axis=-1)
        start = [(2 * k + 1) / size - 1.0 for k in range(size)]
        mean += tf.constant(start, parameters.dtype)
        least = 0.01 / (self.num_levels - 1)  # of which a level is all but certain
        return tf.nn.log_softmax(logits), mean, least + tf.nn.softplus(scale) / size

    def _scaled(self, levels):
        return 2.0 / (self.num_levels - 1) * levels - 1.0
