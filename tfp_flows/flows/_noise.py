"""Noise of TFP, drawn by the generator that compiled programs are quick with.

TFP leaves the choice of a generator to the device. Under XLA on a processor that is one
which takes 13 times as long as Philox for 1000 points of 64 normals, and longer than a
flow. As a graph on a processor the device chooses Philox itself: the numbers are the
same.
"""

import numbers

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import _builders

tfd = tfp.distributions


class Normal(tfd.Normal):
    """`tfd.Normal`; its samples for a stateless seed come from Philox."""

    def _sample_n(self, n, seed=None):
        if _is_stateful(seed):
            return super()._sample_n(n, seed)
        noise = tf.random.stateless_normal(
            *_shape_and_seed(self, n, seed), dtype=self.dtype, alg="philox"
        )
        return noise * self.scale + self.loc


class Logistic(tfd.Logistic):
    """`tfd.Logistic`; its samples for a stateless seed come from Philox."""

    def _sample_n(self, n, seed=None):
        if _is_stateful(seed):
            return super()._sample_n(n, seed)
        tiny = np.finfo(self.dtype.as_numpy_dtype).tiny  # the quantile of 0 is infinite
        uniform = tf.random.stateless_uniform(
            *_shape_and_seed(self, n, seed),
            minval=tiny,
            maxval=1.0,
            dtype=self.dtype,
            alg="philox",
        )
        quantile = tf.math.log(uniform) - tf.math.log1p(-uniform)
        return quantile * self.scale + self.loc


for _kind in (Normal, Logistic):  # for files of compositions
    _builders.register(_kind)
KINDS = {tfd.Normal: Normal, tfd.Logistic: Logistic}  # these for those of TFP


def _is_stateful(seed):
    return seed is None or isinstance(seed, numbers.Integral)


def _shape_and_seed(distribution, n, seed):
    batch = distribution.batch_shape
    if not batch.is_fully_defined():
        batch = distribution.batch_shape_tensor()
    return tf.concat([[n], batch], axis=0), tfp.random.sanitize_seed(seed)
