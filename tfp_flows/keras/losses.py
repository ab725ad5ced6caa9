"""Likelihoods as losses and metrics of Keras."""

import math

import keras
import tensorflow as tf

from tfp_flows.keras.distribution_layer import DistributionLayer, key_of, layer_of


@keras.saving.register_keras_serializable("tfp_flows")
class NegativeLogLikelihood(keras.losses.Loss):
    """`-log p(y | x)` in nats, where the model ends with a `DistributionLayer`.

    `model.compile(optimizer, loss=NegativeLogLikelihood(layer))`, then
    `model.fit(x, y)`. Targets of shape `[N]` are taken for `[N, 1]` where the event
    shape is `[1]`.

    Args:
      layer: the `DistributionLayer`, one that the model holds.
      name, reduction: as for `keras.losses.Loss`.

    Raises:
      TypeError: `layer` is none.
      ValueError: targets are not of the event shape.
    """

    def __init__(
        self, layer, reduction="sum_over_batch_size", name="negative_log_likelihood"
    ):
        if not isinstance(layer, DistributionLayer):
            raise TypeError(f"`layer` must be a `DistributionLayer`; got {layer!r}.")
        # The mean over many rows needs the digits and the range of float32 at least.
        dtype = tf.as_dtype(layer.dtype)
        wide = tf.float32 if dtype.size < 4 else dtype
        super().__init__(name=name, reduction=reduction, dtype=wide.name)
        self.layer = layer

    def call(self, y_true, y_pred):
        log_prob, losses = self.layer.log_prob_and_losses(y_true, y_pred)
        for loss in losses:
            self.layer.add_loss(loss)  # which the model asks for after this one
        return -log_prob

    def get_config(self):
        return dict(layer=key_of(self.layer), reduction=self.reduction, name=self.name)

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "layer": layer_of(config["layer"])})


@keras.saving.register_keras_serializable("tfp_flows")
class Nats(keras.metrics.Mean):
    """Mean log-density, as metric of a `DensityModel`; higher is better.

    Args:
      name, dtype: as for `keras.metrics.Mean`.

    Raises:
      Nothing of its own.
    """

    def __init__(self, name="nats", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self._direction = "up"  # what callbacks such as early stopping go by

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(_weighed(y_pred, sample_weight), sample_weight)


@keras.saving.register_keras_serializable("tfp_flows")
class BitsPerDimension(keras.metrics.Mean):
    """Mean of `-log_prob / (D log 2)`, as metric of a `DensityModel`; lower is better.

    Args:
      size: `D`, the number of elements of a point.
      name, dtype: as for `keras.metrics.Mean`.

    Raises:
      ValueError: `size` is below 1.
    """

    def __init__(self, size, name="bits_per_dimension", dtype=None):
        if size < 1:
            raise ValueError(f"`size` must be at least 1; got {size}.")
        super().__init__(name=name, dtype=dtype)
        self.size = size
        self._direction = "down"

    def update_state(self, y_true, y_pred, sample_weight=None):
        bits = -_weighed(y_pred, sample_weight) / (self.size * math.log(2.0))
        return super().update_state(bits, sample_weight)

    def get_config(self):
        return dict(size=self.size, name=self.name, dtype=self.dtype)


def _weighed(log_prob, weights):
    """Returns log-densities with 0 where the weight is 0: they may be infinite."""
    log_prob = tf.convert_to_tensor(log_prob)
    if weights is None:
        return log_prob
    weights, shape = tf.convert_to_tensor(weights), tf.shape(log_prob)
    missing = log_prob.shape.rank - weights.shape.rank
    if missing > 0:
        shape = tf.concat([tf.shape(weights), tf.ones([missing], tf.int32)], axis=0)
    none = tf.equal(tf.reshape(weights, shape), 0)
    return tf.where(none, tf.zeros_like(log_prob), log_prob)


def check_metric(metric, argument):
    """Raises `ValueError` for a metric that compares predictions with targets.

    Args:
      metric: metric, function, or name, as Keras takes it.
      argument: name of the argument that it is of.
    """
    function = metric if isinstance(metric, type) else type(metric)
    if isinstance(metric, keras.metrics.MeanMetricWrapper) or hasattr(
        metric, "__name__"
    ):
        function = getattr(metric, "_fn", metric)
    of_keras = str(getattr(function, "__module__", "")).startswith("keras.")
    if isinstance(metric, str) or of_keras:
        raise ValueError(
            f"`{argument}` must be of 'nats', 'bits_per_dimension', and functions and "
            f"metrics of your own, which are given zeros and log-densities; got "
            f"{metric!r}. It compares predictions with targets, of which a density "
            "model has none."
        )
