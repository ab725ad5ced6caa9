"""Flow of radial layers."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows.bijectors import Radial
from tfp_flows.trainable import build_trainable


def radial(event_size, num_layers, *, seed, dtype=tf.float32, name="radial"):
    """Builds a trainable flow of radial layers, which starts as the identity.

    Radial flows as in Rezende and Mohamed (2015), https://arxiv.org/abs/1505.05770.
    Both directions have closed forms and cost the same.

    Args:
      event_size: `D`, the length of one point.
      num_layers: number of layers.
      seed: integer that decides the initial values, in each process alike.
      dtype: floating dtype of the variables.
      name: prefix of the ops.

    Returns:
      bijector: `tfb.Chain` of `Radial` layers on variables: gains and radii of 1,
        centers that are standard normal.

    Raises:
      ValueError: `event_size` or `num_layers` is below 1.
    """
    if min(event_size, num_layers) < 1:
        raise ValueError(
            "`event_size` and `num_layers` must be at least 1; "
            f"got {event_size} and {num_layers}."
        )
    seeds = tfp.random.split_seed([0, seed], n=num_layers)
    layers = [
        build_trainable(
            Radial,
            [event_size],
            seed=int(layer_seed[1]),
            stddev=dict(center=1.0, radius=0.0, gain=0.0),
            dtype=dtype,
        )
        for layer_seed in seeds
    ]
    return tfp.bijectors.Chain(layers[::-1], name=name)
