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
        super().__init__(name=name, reduction=reduction, dtype=layer.dtype)
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
    """Mean log-density, as metric of a `DensityModel`.

    Args:
      name, dtype: as for `keras.metrics.Mean`.

    Raises:
      Nothing of its own.
    """

    def __init__(self, name="nats", dtype=None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(y_pred, sample_weight)


@keras.saving.register_keras_serializable("tfp_flows")
class BitsPerDimension(keras.metrics.Mean):
    """Mean of `-log_prob / (D log 2)`, as metric of a `DensityModel`.

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

    def update_state(self, y_true, y_pred, sample_weight=None):
        bits = -y_pred / (self.size * math.log(2.0))
        return super().update_state(bits, sample_weight)

    def get_config(self):
        return dict(size=self.size, name=self.name, dtype=self.dtype)
