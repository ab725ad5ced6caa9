"""Likelihoods as losses and metrics of Keras."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from tfp_flows.keras.layers import DistributionLayer, key_of, layer_of


@keras.saving.register_keras_serializable("tfp_flows")
class NegativeLogLikelihood(keras.losses.Loss):
    """Loss `-log p(y | x)` in nats, for models that end with a `DistributionLayer`.

    Train by `model.compile(optimizer, loss=NegativeLogLikelihood(layer))` and
    `model.fit(x, y)`. Where the event shape is `[1]`, targets may have shape `[N]`.

    >>> import tensorflow_probability as tfp
    >>> layer = DistributionLayer(
    ...     lambda outputs: tfp.distributions.Normal(outputs[..., 0], 1.0))
    >>> loss = NegativeLogLikelihood(layer)
    >>> round(float(loss(tf.constant([1.0, 2.0]), layer(tf.zeros([2, 1])))), 3)
    2.169

    Args:
      layer: the `DistributionLayer` that is the last layer of the model.
      reduction, name: as for `keras.losses.Loss`.

    Raises:
      TypeError: `layer` is not a `DistributionLayer`.
      ValueError: targets do not have the event shape.
    """

    def __init__(
        self,
        layer: DistributionLayer,
        reduction: str | None = "sum_over_batch_size",
        name: str = "negative_log_likelihood",
    ) -> None:
        if not isinstance(layer, DistributionLayer):
            raise TypeError(f"`layer` must be a `DistributionLayer`; got {layer!r}.")
        # The mean over many rows needs the digits and the range of float32 at least.
        dtype = tf.as_dtype(layer.dtype)
        wide = tf.float32 if dtype.size < 4 else dtype
        super().__init__(name=name, reduction=reduction, dtype=wide.name)
        self.layer = layer

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Return the losses of a batch.

        Args:
          y_true: targets, `[N, *event_shape]`.
          y_pred: outputs of the model, `[N, context_size]`.
        """
        log_prob, losses = self.layer.log_prob_and_losses(y_true, y_pred)
        for loss in losses:
            self.layer.add_loss(loss)  # which the model collects after this one
        return -log_prob

    def get_config(self) -> dict[str, Any]:
        return dict(layer=key_of(self.layer), reduction=self.reduction, name=self.name)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> NegativeLogLikelihood:
        return cls(**{**config, "layer": layer_of(config["layer"])})


@keras.saving.register_keras_serializable("tfp_flows")
class LogLikelihood(keras.metrics.Mean):
    """Mean log density in nats, as a metric of a `DensityModel`; higher is better.

    >>> metric = LogLikelihood()
    >>> metric.update_state(tf.zeros([2, 1]), tf.constant([[-1.0], [-2.0]]))
    >>> float(metric.result())
    -1.5

    Args:
      name, dtype: as for `keras.metrics.Mean`.
    """

    def __init__(self, name: str = "log_likelihood", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self._direction = "up"  # for callbacks, such as early stopping

    def update_state(
        self, y_true: Any, y_pred: tf.Tensor, sample_weight: Any = None
    ) -> Any:
        """Add the log densities of a batch.

        Args:
          y_true: not used.
          y_pred: log densities, `[N, 1]`.
          sample_weight: None, or weights `[N]`.
        """
        log_prob = _without_weightless(y_pred, sample_weight)
        return super().update_state(log_prob, sample_weight)


@keras.saving.register_keras_serializable("tfp_flows")
class BitsPerDimension(keras.metrics.Mean):
    """Mean of `-log_prob / (D log 2)`, as a metric of a `DensityModel`.

    Lower is better.

    >>> metric = BitsPerDimension(event_size=2)
    >>> metric.update_state(tf.zeros([1, 1]), tf.constant([[-4.0 * math.log(2.0)]]))
    >>> round(float(metric.result()), 3)
    2.0

    Args:
      event_size: `D`, the number of elements of an example.
      name, dtype: as for `keras.metrics.Mean`.

    Raises:
      ValueError: `event_size` is below 1.
    """

    def __init__(
        self, event_size: int, name: str = "bits_per_dimension", dtype: Any = None
    ) -> None:
        if event_size < 1:
            raise ValueError(f"`event_size` must be at least 1; got {event_size}.")
        super().__init__(name=name, dtype=dtype)
        self.event_size = event_size
        self._direction = "down"

    def update_state(
        self, y_true: Any, y_pred: tf.Tensor, sample_weight: Any = None
    ) -> Any:
        """Add the log densities of a batch.

        Args:
          y_true: not used.
          y_pred: log densities, `[N, 1]`.
          sample_weight: None, or weights `[N]`.
        """
        log_prob = _without_weightless(y_pred, sample_weight)
        bits = -log_prob / (self.event_size * math.log(2.0))
        return super().update_state(bits, sample_weight)

    def get_config(self) -> dict[str, Any]:
        return dict(event_size=self.event_size, name=self.name, dtype=self.dtype)


def _without_weightless(log_prob: tf.Tensor, weights: Any) -> tf.Tensor:
    """Returns log densities with 0 where the weight is 0: they may be infinite."""
    log_prob = tf.convert_to_tensor(log_prob)
    if weights is None:
        return log_prob
    weights, shape = tf.convert_to_tensor(weights), tf.shape(log_prob)
    missing = log_prob.shape.rank - weights.shape.rank
    if missing > 0:
        shape = tf.concat([tf.shape(weights), tf.ones([missing], tf.int32)], axis=0)
    weightless = tf.equal(tf.reshape(weights, shape), 0)
    return tf.where(weightless, tf.zeros_like(log_prob), log_prob)


def check_metric(metric: Any, argument: str) -> None:
    """Raises `ValueError` for a metric that compares predictions with targets.

    Args:
      metric: metric, function, or name, as Keras takes it.
      argument: name of the argument that holds it.
    """
    function = metric if isinstance(metric, type) else type(metric)
    wraps = isinstance(metric, keras.metrics.MeanMetricWrapper)
    if wraps or hasattr(metric, "__name__"):
        function = getattr(metric, "_fn", metric)
    of_keras = str(getattr(function, "__module__", "")).startswith("keras.")
    if isinstance(metric, str) or of_keras:
        raise ValueError(
            f"`{argument}` must be of 'log_likelihood', 'bits_per_dimension', and "
            "custom functions and metrics, whose arguments are zeros and log densities;"
            f" got {metric!r}, which compares predictions with targets. A density model"
            " has no targets."
        )
