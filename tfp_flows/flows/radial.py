"""Flow of radial layers."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._builders import register_builder
from tfp_flows._seeds import integer_seeds
from tfp_flows._sizes import check_vector_sizes
from tfp_flows.bijectors import Radial, Scan
from tfp_flows.bijectors._trainable import make_trainable


@register_builder(package="tfp_flows")
def radial(
    event_size, num_layers, *, seed, scan=False, dtype=tf.float32, name="radial"
):
    """Builds a trainable flow of radial layers, which starts as the identity.

    Radial flows as in Rezende and Mohamed (2015), https://arxiv.org/abs/1505.05770.
    Both directions have closed forms and cost the same.

    Args:
      event_size: `D`, the length of one point.
      num_layers: number of layers.
      seed: integer that decides the initial values, in each process alike.
      scan: whether the layers are one `tfp_flows.bijectors.Scan`, which traces and
        compiles in the same time however many they are.
      dtype: floating dtype of the variables.
      name: prefix of the ops.

    Returns:
      bijector: `tfb.Chain` or `Scan` of `Radial` layers on variables: gains and radii
        of 1, centers that are standard normal.

    Raises:
      ValueError: `event_size` or `num_layers` is below 1.
    """
    check_vector_sizes(event_size, num_layers)
    layers = [
        make_trainable(
            Radial,
            [event_size],
            seed=layer_seed,
            stddev=dict(center=1.0, radius=0.0, gain=0.0),
            dtype=dtype,
        )
        for layer_seed in integer_seeds(seed, num_layers)
    ]
    if scan:
        return Scan.from_layers(layers, name=name)
    return tfp.bijectors.Chain(layers[::-1], name=name)
