"""Flows of any batch, dimension and depth, with the arithmetic that they need."""

import dataclasses
import math
from collections.abc import Callable

import tensorflow as tf

from tests.benchmarks.report import normal
from tfp_flows import flows, normalization

HIDDEN_UNITS = (128, 128)
HIDDEN_CHANNELS = 32
MOST_COLUMNS = 16
NUM_LEVELS = 2


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of flow.

    Args:
      make: function of the dimension, the number of layers and whether they are one
        `Scan`, returns the bijector from noise to data.
      flops: function of batch, dimension and number of layers, returns the
        multiplications and additions of all products of one pass.
      density: "inverse" or "forward", the direction that takes one pass and serves as
        the way from data to noise.
      shape: function of the dimension, returns the shape of an event.
    """

    make: Callable
    flops: Callable
    density: str
    shape: Callable = lambda size: [size]

    def bijector(self, size, depth, scan):
        """Returns the bijector after a change of all variables: none starts at zero."""
        bijector = self.make(size, depth, scan and depth > 1)
        for i, variable in enumerate(bijector.trainable_variables):
            fan_in = math.prod(variable.shape[-2:-1])
            change = normal(variable.shape, i) / (fan_in * depth) ** 0.5
            variable.assign_add(0.3 * change)
        return bijector

    def functions(self, bijector):
        """Returns functions of a batch: both directions, and the gradient of one.

        Both return value and log determinant; the gradient is that of the mean of the
        log density by all variables.
        """
        ndims = len(self.shape(12))
        both = {
            "forward": lambda x: (
                bijector.forward(x),
                bijector.forward_log_det_jacobian(x, ndims),
            ),
            "inverse": lambda y: (
                bijector.inverse(y),
                bijector.inverse_log_det_jacobian(y, ndims),
            ),
        }

        def gradient(x):
            with tf.GradientTape() as tape:
                z, log_det = both[self.density](x)
                value = tf.reduce_mean(log_det) - 0.5 * tf.reduce_sum(z**2) / x.shape[0]
            return tape.gradient(value, bijector.trainable_variables)

        return both | {"gradient": gradient}


def _planar_flops(batch, size, depth):
    return 4 * batch * size * depth


def _radial_flops(batch, size, depth):
    """No products: differences, a norm, and multiples."""
    return 6 * batch * size * depth


def _sylvester_flops(batch, size, depth):
    """The factors `Q R` of each layer do not depend on the batch."""
    columns = min(size, MOST_COLUMNS)
    return depth * (4 * batch * size * columns + 8 * size * columns**2)


def _real_nvp_flops(batch, size, depth):
    first, second = HIDDEN_UNITS
    return 2 * batch * depth * (size / 2 * first + first * second + second * size)


def _maf_flops(batch, size, depth):
    first, second = HIDDEN_UNITS
    return 2 * batch * depth * (size * first + first * second + second * 2 * size)


def _glow_flops(batch, size, depth):
    pixels, channels, products = size // 3, 3, 0
    for _ in range(NUM_LEVELS):
        pixels, channels = pixels // 4, 4 * channels
        convolutions = (9 * 3 * channels // 2 + HIDDEN_CHANNELS) * HIDDEN_CHANNELS
        products += pixels * depth * (channels**2 + convolutions)
        products += pixels * 9 * channels // 2 * channels  # the prior of the level
        channels //= 2
    return 2 * batch * products


def _planar(size, depth, scan):
    return flows.planar(size, depth, seed=0).bijector  # one layer for all


def _radial(size, depth, scan):
    return flows.radial(size, depth, seed=0, scan=scan).bijector


def _sylvester(size, depth, scan):
    return flows.sylvester(
        size, depth, min(size, MOST_COLUMNS), seed=0, scan=scan
    ).bijector


def _real_nvp(size, depth, scan):
    return flows.real_nvp(size, depth, HIDDEN_UNITS, seed=0, scan=scan).bijector


def _maf(size, depth, scan):
    return flows.maf(size, depth, HIDDEN_UNITS, seed=0, scan=scan).bijector


def _glow(size, depth, scan):
    shape = _image(size)
    flow = flows.glow(shape, NUM_LEVELS, depth, HIDDEN_CHANNELS, seed=0, scan=scan)
    normalization.initialize_from_data(flow, normal([8, *shape], 0))
    return flow.bijector


def _image(size):
    side = math.isqrt(size // 3)
    return [side, side, 3]


KINDS = {
    "planar": Kind(_planar, _planar_flops, "forward"),
    "radial": Kind(_radial, _radial_flops, "forward"),
    "Sylvester": Kind(_sylvester, _sylvester_flops, "forward"),
    "RealNVP": Kind(_real_nvp, _real_nvp_flops, "inverse"),
    "MAF": Kind(_maf, _maf_flops, "inverse"),
    "Glow": Kind(_glow, _glow_flops, "inverse", _image),
}
