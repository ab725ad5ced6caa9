"""The networks that are held to what every network promises."""

import dataclasses
import typing

import numpy as np
import tensorflow as tf

from tfp_flows.networks import (
    MADE,
    MLP,
    ConvNet,
    PixelCNN,
    PixelRNN,
    ResidualConvNet,
    ResidualMLP,
    WaveNet,
)


@dataclasses.dataclass(frozen=True)
class NetworkCase:
    """A network as a function of its seed and dtypes, and the shapes of its inputs."""

    build: typing.Callable
    event_shape: tuple
    context_shape: tuple | None = None

    def make(self, seed=0, **options):
        """Returns the network with its initial values."""
        return self.build(seed=seed, **options)

    def make_moved(self, seed=0, scale=0.5, **options):
        """Returns the network with weights away from the zeros that some start at."""
        network = self.make(seed, **options)
        move(network.trainable_variables, scale)
        return network

    def inputs(self, number, dtype=tf.float64):
        """Returns the arguments of a call: points, and contexts if it takes them."""
        shapes = [self.event_shape, self.context_shape]
        return [
            tf.random.stateless_normal([number, *shape], [0, i], dtype=dtype)
            for i, shape in enumerate(shapes)
            if shape is not None
        ]


def move(variables, scale=0.5):
    """Moves kernels off the zeros that some of them start at."""
    for i, variable in enumerate(variables):
        inputs = max(1, np.prod(variable.shape[:-1]))
        change = np.random.default_rng(i).normal(size=variable.shape) / inputs**0.5
        variable.assign_add(scale * change.astype(variable.dtype.as_numpy_dtype))


# Smooth, as a rectifier on the other side of 0 has another gradient altogether.
_SMOOTH = dict(activation="tanh")
_CONDITIONED = dict(_SMOOTH, context_size=3)

NETWORKS = {
    "mlp": NetworkCase(
        lambda **k: MLP(6, [4, 2], (32, 32), **_CONDITIONED, **k), (6,), (3,)
    ),
    "no hidden layer": NetworkCase(
        lambda **k: MLP(6, [4, 2], (), **_CONDITIONED, **k), (6,), (3,)
    ),
    "residual mlp": NetworkCase(
        lambda **k: ResidualMLP(6, [4, 2], (32, 32), **_SMOOTH, **k), (6,)
    ),
    "made": NetworkCase(
        lambda **k: MADE(6, 2, (32, 32), **_CONDITIONED, **k), (6,), (3,)
    ),
    "residual made": NetworkCase(
        lambda **k: MADE(6, 2, (32, 32), residual=True, **_SMOOTH, **k), (6,)
    ),
    "conv": NetworkCase(
        lambda **k: ConvNet(2, 2, 32, **_CONDITIONED, **k), (4, 5, 2), (3,)
    ),
    "residual conv": NetworkCase(
        lambda **k: ResidualConvNet(2, 2, 32, context_ndims=3, **_CONDITIONED, **k),
        (4, 5, 2),
        (4, 5, 3),
    ),
    "pixel cnn": NetworkCase(
        lambda **k: PixelCNN([3, 4, 2], 2, 16, 2, context_size=3, **k), (3, 4, 2), (3,)
    ),
    "pixel rnn": NetworkCase(
        lambda **k: PixelRNN([3, 4, 1], 2, 8, 1, context_size=3, **k), (3, 4, 1), (3,)
    ),
    "wave": NetworkCase(
        lambda **k: WaveNet(2, 16, 16, [1, 2, 4], context_size=3, **k), (9,), (3,)
    ),
}
