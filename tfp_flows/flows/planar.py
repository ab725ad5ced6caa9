"""Flow of planar layers."""

import tensorflow as tf

from tfp_flows._builders import register_builder
from tfp_flows._sizes import check_vector_sizes
from tfp_flows.bijectors import PlanarStack
from tfp_flows.bijectors._trainable import make_trainable


@register_builder(package="tfp_flows")
def planar(
    event_size, num_layers, *, seed, activation="tanh", dtype=tf.float32, name="planar"
):
    """Builds a trainable flow of planar layers, which starts as the identity.

    Planar flows as in Rezende and Mohamed (2015), https://arxiv.org/abs/1505.05770. The
    forward direction is the cheap one: as it is for posteriors, in `tfb.Invert` for
    fitting data. The other direction costs a few times as much.

    Args:
      event_size: `D`, the length of one point.
      num_layers: number of layers.
      seed: integer that decides the initial values, in each process alike.
      activation: "tanh", "leaky_relu", or an `Activation`.
      dtype: floating dtype of the variables.
      name: prefix of the ops.

    Returns:
      bijector: `PlanarStack` on variables `u` = 0, `w` and `b` random.

    Raises:
      ValueError: `event_size` or `num_layers` is below 1.
    """
    matrix = [num_layers, event_size]
    check_vector_sizes(event_size, num_layers)
    return make_trainable(
        PlanarStack,
        [event_size],
        seed=seed,
        # A layer's coordinate `a` of standard normal points is standard normal itself.
        stddev=dict(u=0.0, w=event_size**-0.5, b=1.0),
        shapes=dict(u=matrix, w=matrix, b=[num_layers]),
        dtype=dtype,
        activation=activation,
        name=name,
    )
