"""The cases of layers that a network steers, with weights far from where they start.

`x` has the batch axes of the context, if there is one, and more before them.
"""

import dataclasses
import typing

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import flows, masks
from tfp_flows.bijectors import (
    ActNorm,
    Coupling,
    GlowStep,
    InverseAutoregressive,
    InvertibleConv1x1,
    InvertibleConv1x1PLU,
    MaskedAutoregressive,
    MultiScale,
    Squeeze,
    transformers,
)
from tfp_flows.networks import MADE, MLP, ConvNet, ResidualMLP


@dataclasses.dataclass
class NetworkCase:
    """A bijector as a function of a dtype and a context, and points of its domain."""

    seed: int
    make_bijector: typing.Callable
    x: np.ndarray
    context: np.ndarray = None

    def make(self, wrap=tf.constant, dtype=tf.float64):
        """Returns the bijector, of the same numbers in each dtype."""
        context = self.context
        if context is not None:
            context = wrap(context, dtype=dtype, name="context")
        bijector = self.make_bijector(dtype, context)
        rng = np.random.default_rng(self.seed)
        for variable in bijector.trainable_variables:
            if variable is not context:
                # Some layers halve the variance of what they are given.
                inputs = max(1, np.prod(variable.shape[:-1]))
                value = rng.normal(size=variable.shape, scale=1.5 / np.sqrt(inputs))
                variable.assign(tf.cast(value, dtype))
        return bijector

    def make_variable(self, dtype=tf.float64):
        """Returns the bijector; its context is a variable."""
        return self.make(tf.Variable, dtype)


class OfImage(tf.Module):
    """Network of an image as a whole."""

    def __init__(self, event_shape, num_parameters, seed, dtype):
        super().__init__()
        self.dtype, self.event_shape = dtype, event_shape
        shape = [*event_shape, num_parameters]
        size = int(np.prod(event_shape))
        self.net = MLP(size, shape, (5,), seed=seed, activation="tanh", dtype=dtype)

    def __call__(self, x):
        shape = tf.concat([tf.shape(x)[:-3], [self.net.input_size]], axis=0)
        flat = tf.reshape(x, shape)
        return self.net(tf.ensure_shape(flat, [*x.shape[:-3], self.net.input_size]))


def _network(seed, make_bijector, x_shape, context_shape=None):
    rng = np.random.default_rng(seed)
    context = None if context_shape is None else rng.normal(size=context_shape)
    return NetworkCase(seed, make_bijector, rng.normal(size=x_shape), context)


def _coupling(seed, mask, transformer, x_shape, context_shape=None, network=MLP):
    row = mask.reshape(-1, mask.shape[-1])[0]

    def make_bijector(dtype, context):
        net = network(
            int(np.sum(row)),
            [int(np.sum(~row)), transformer.num_parameters],
            (5,),
            seed=seed,
            activation="tanh",
            dtype=dtype,
            context_size=context_shape[-1] if context_shape else 0,
        )
        return Coupling(mask, net, transformer, context)

    return _network(seed, make_bijector, x_shape, context_shape)


def _checkerboard(seed, event_shape, transformer):
    def make_bijector(dtype, context):
        net = OfImage(event_shape, transformer.num_parameters, seed, dtype)
        mask = masks.checkerboard(*event_shape[:2])
        return Coupling(mask, net, transformer, context)

    return _network(seed, make_bijector, [2, *event_shape])


def _autoregressive(seed, kind, transformer, x_shape, context_shape=None, **network):
    def make_bijector(dtype, context):
        net = MADE(
            x_shape[-1],
            transformer.num_parameters,
            (5, 5),
            seed=seed,
            activation="tanh",
            dtype=dtype,
            context_size=context_shape[-1] if context_shape else 0,
            **network,
        )
        return kind(net, transformer, context)

    return _network(seed, make_bijector, x_shape, context_shape)


def conv_coupling(channels, kept, seed, dtype, transformer, context=None, hidden=2):
    """Returns a coupling of images with a small network, and a context if given."""
    net = ConvNet(
        kept,
        channels - kept,
        hidden,
        num_layers=1,
        seed=seed,
        activation="tanh",
        context_size=0 if context is None else context.shape[-1],
        dtype=dtype,
    )
    return Coupling(
        masks.channelwise(channels, num_masked=kept), net, transformer, context
    )


def glow_step(channels, seed, dtype, context=None, plain=False):
    """Returns a step on variables, with a convolution of either kind."""
    zeros = np.zeros([channels])
    if plain:
        conv = InvertibleConv1x1(tf.Variable(np.eye(channels), dtype=dtype))
    else:
        square = np.zeros([channels, channels])
        lower, upper = (tf.Variable(square, dtype=dtype) for _ in range(2))
        conv = InvertibleConv1x1PLU(
            np.arange(channels)[::-1].copy(),
            lower,
            upper,
            tf.ones([channels], dtype),
            tf.Variable(zeros, dtype=dtype),
        )
    shift, log_scale = (tf.Variable(zeros, dtype=dtype) for _ in range(2))
    kept = (channels + 1) // 2
    coupling = conv_coupling(
        channels, kept, seed, dtype, transformers.SigmoidAffine(), context
    )
    return GlowStep(ActNorm(shift, log_scale), conv, coupling)


def multi_scale(seed, dtype, recompute=False, context=None):
    """Returns two levels for images with one channel; the deeper has the context."""
    squeeze = tfp.bijectors.Invert(Squeeze())
    levels = [
        tfp.bijectors.Chain([squeeze, glow_step(4, seed, dtype)]),
        tfp.bijectors.Chain(
            [squeeze, glow_step(4, seed + 1, dtype, context, plain=True)]
        ),
    ]
    prior = conv_coupling(4, 1, seed + 2, dtype, _AFFINE)
    return MultiScale(levels, [prior], recompute=recompute)


def _scan_of_couplings(seed, x_shape, context_shape):
    """Two pairs of layers, with a context that all of them share."""
    size, context_size = x_shape[-1], context_shape[-1]

    def make_bijector(dtype, context):
        flow = flows.real_nvp(
            size,
            4,
            (3,),
            seed=seed,
            activation="tanh",
            context_size=context_size,
            dtype=dtype,
            scan=True,
        )
        return flows.condition(flow.bijector.bijectors[0], context)

    return _network(seed, make_bijector, x_shape, context_shape)


_AFFINE = transformers.Affine()
_SPLINE = transformers.RationalQuadraticSpline(num_bins=4, bound=2.0)
_SCATTERED = np.array([True, False, False, True, False])

MAKERS = {
    "coupling/steep": lambda: _coupling(40, masks.half(5), _AFFINE, [4, 5]),
    "coupling/batch": lambda: _coupling(
        41, masks.half(4, True), _AFFINE, [2, 2, 3, 4], [2, 3, 2]
    ),
    "coupling/additive": lambda: _coupling(
        42, masks.alternating(5), transformers.Additive(), [4, 5], network=ResidualMLP
    ),
    "coupling/gated": lambda: _coupling(
        43, masks.alternating(4, True), transformers.GatedAffine(), [4, 4]
    ),
    "coupling/spline": lambda: _coupling(44, masks.half(3), _SPLINE, [4, 3]),
    "coupling/scattered_batch": lambda: _coupling(
        45, _SCATTERED, _AFFINE, [2, 3, 5], [3, 2]
    ),
    "coupling/checkerboard": lambda: _checkerboard(
        46, [3, 3, 1], transformers.GatedAffine()
    ),
    "coupling/channels": lambda: _coupling(
        47, masks.channelwise(3), transformers.GatedAffine(), [2, 3, 2, 3]
    ),
    "maf/steep": lambda: _autoregressive(50, MaskedAutoregressive, _AFFINE, [4, 3]),
    "maf/context_batch": lambda: _autoregressive(
        51, MaskedAutoregressive, _AFFINE, [2, 2, 3, 3], [2, 3, 2], order="random"
    ),
    "maf/residual": lambda: _autoregressive(
        52,
        MaskedAutoregressive,
        transformers.GatedAffine(),
        [4, 3],
        residual=True,
        skip_connections=True,
        order="right-to-left",
    ),
    "maf/spline": lambda: _autoregressive(53, MaskedAutoregressive, _SPLINE, [4, 3]),
    "maf/one": lambda: _autoregressive(54, MaskedAutoregressive, _AFFINE, [4, 1]),
    "iaf/steep": lambda: _autoregressive(
        55, InverseAutoregressive, _AFFINE, [4, 3], order="right-to-left"
    ),
    "iaf/gated_batch": lambda: _autoregressive(
        56, InverseAutoregressive, transformers.GatedAffine(), [2, 3, 3], [3, 2]
    ),
    "iaf/additive": lambda: _autoregressive(
        57, InverseAutoregressive, transformers.Additive(), [4, 3]
    ),
    "glow_step/steep": lambda: _network(
        60, lambda dtype, _: glow_step(4, 60, dtype), [2, 2, 1, 4]
    ),
    "glow_step/batch": lambda: _network(
        61,
        lambda dtype, context: glow_step(3, 61, dtype, context, plain=True),
        [2, 2, 2, 1, 3],
        [2, 2],
    ),
    "multi_scale/steep": lambda: _network(
        62, lambda dtype, _: multi_scale(62, dtype), [1, 4, 8, 1]
    ),
    "scan/pairs": lambda: _scan_of_couplings(63, [2, 2, 3], [2, 2]),
    "coupling/one": lambda: _coupling(48, masks.half(1, True), _AFFINE, [4, 1]),
}
GRAPHS = (
    "maf/steep",
    "iaf/gated_batch",
    "coupling/steep",
    "coupling/scattered_batch",
    "coupling/checkerboard",
    "coupling/one",
    "glow_step/steep",
)
