"""Layers and stacks of layers that the benchmarks time: ours, and those of TFP.

Each function creates variables, and returns candidates by quantity: see `workloads`.
"""

import tensorflow as tf
import tensorflow_probability as tfp

from tests.benchmarks.candidates import (
    both_ways,
    divergence,
    normal,
    of_layer,
    perturb,
    training,
)
from tests.benchmarks.peers import HIDDEN_CHANNELS, MODELS
from tfp_flows import bijectors, flows, masks
from tfp_flows.bijectors import matrices, transformers
from tfp_flows.networks import ConvNet

tfb = tfp.bijectors

THIN = [10000, 64]


def planar():
    u, w, b = _planar_parameters(1, 64)
    layer = bijectors.Planar(*(tf.Variable(p[0]) for p in (u, w, b)))
    return of_layer(layer, normal(THIN, 3))


def planar_stack(name="planar_stack"):
    model = MODELS[name]
    parameters = _planar_parameters(model.num_layers, model.size)
    layer = bijectors.PlanarStack(*map(tf.Variable, parameters))
    return of_layer(layer, normal([model.batch_size, model.size], 3))


def planar_stack_large():
    return planar_stack("planar_stack_large")


def planar_amortized():
    """Parameters are arguments, one set per example; a step takes gradients only."""
    model = MODELS["planar_amortized"]
    rows, number, size = model.batch_size, model.num_layers, model.size
    x = normal([rows, size], 3)
    u, w = normal([rows, number, size], 0), normal([rows, number, size], 1)
    parameters = u * size**-0.5, w * size**-0.5, normal([rows, number], 2)

    def forward(x, *parameters):
        return both_ways(bijectors.PlanarStack(*parameters), 1)[0](x)

    def inverse(y, *parameters):
        return both_ways(bijectors.PlanarStack(*parameters), 1)[1](y)

    def step(x, *parameters):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            loss = divergence(*forward(x, *parameters))
        return tape.gradient(loss, parameters)

    return {
        "forward": (forward, x, *parameters),
        "inverse": (inverse, x, *parameters),
        "step": (step, x, *parameters),
    }


def planar_vi():
    """A step of reverse KL to an energy, from latents that the step samples."""
    model = MODELS["planar_vi"]
    flow = flows.planar(model.size, model.num_layers, seed=0).bijector
    perturb(flow.trainable_variables)
    forward, _ = both_ways(flow, 1)

    def loss(seed):
        latents = tf.random.stateless_normal([model.batch_size, model.size], seed)
        z, log_det = forward(latents)
        return tf.reduce_mean(_two_rings(z) - log_det)

    return {"step": (training(loss, flow.trainable_variables), tf.constant([0, 1]))}


def _two_rings(z):
    """The first energy of Rezende and Mohamed (2015), table 1."""
    first, _ = tf.unstack(z, axis=-1)
    ring = ((tf.norm(z, axis=-1) - 2.0) / 0.4) ** 2 / 2.0
    left, right = (-(((first + c) / 0.6) ** 2) / 2.0 for c in (2.0, -2.0))
    return ring - tf.math.reduce_logsumexp(tf.stack([left, right]), axis=0)


def radial_stack():
    flow = flows.radial(64, MODELS["radial_stack"].num_layers, seed=0).bijector
    for i, variable in enumerate(flow.trainable_variables):  # off the identity
        variable.assign_add(0.3 * normal(variable.shape, i))
    return of_layer(flow, normal(THIN, 3))


def sylvester():
    """A layer with `R_tilde Q'x` of order 1 for normal `x`."""
    model = MODELS["sylvester"]
    size, columns = model.size, model.num_columns
    q = tf.Variable(bijectors.orthonormal.qr_basis(normal([size, columns], 8)))
    r, r_tilde = (
        tf.Variable(
            bijectors.orthonormal.triangular_factor(
                normal([columns, columns], seed) * scale
            )
        )
        for seed, scale in [(9, 1.0), (10, columns**-0.5)]
    )
    layer = bijectors.Sylvester(q, r, r_tilde, tf.Variable(normal([columns], 11)))
    return of_layer(layer, normal([model.batch_size, size], 3))


def sylvester_stack():
    model = MODELS["sylvester"]
    flow = flows.sylvester(model.size, 16, model.num_columns, seed=0).bijector
    perturb(flow.trainable_variables)
    return of_layer(flow, normal([model.batch_size, model.size], 3))


def prelu():
    slope = tf.Variable(tf.exp(0.3 * normal([64], 0)))
    return of_layer(bijectors.PReLU(slope), normal(THIN, 3))


def actnorm():
    shift, log_scale = _channelwise("actnorm")
    return of_layer(bijectors.ActNorm(shift, log_scale), _images("actnorm"))


def tfp_actnorm():
    shift, log_scale = _channelwise("actnorm")
    return _affine(shift, log_scale, _images("actnorm"))


def conv1x1():
    return of_layer(
        bijectors.InvertibleConv1x1(tf.Variable(_rotation())), _images("conv1x1")
    )


def conv1x1_plu():
    return of_layer(_plu(_rotation()), _images("conv1x1"))


def tfp_conv1x1():
    """The layer within `tfb.Glow`."""
    layer = tfb.ScaleMatvecLU(*map(tf.Variable, tf.linalg.lu(_rotation())))
    return of_layer(layer, _images("conv1x1"), variables=[layer.lower_upper])


def glow_step():
    return of_layer(tfb.Invert(glow_layer()), _images("glow_step"))


def glow_layer():
    """Returns a `GlowStep` that is not the identity."""
    channels = MODELS["glow_step"].shape[-1]
    network = ConvNet(channels // 2, channels // 2, HIDDEN_CHANNELS, seed=0)
    for i, variable in enumerate(network.trainable_variables):
        variable.assign_add(0.01 * normal(variable.shape, i))
    return bijectors.GlowStep(
        bijectors.ActNorm(*_channelwise("glow_step")),
        _plu(_rotation()),
        bijectors.Coupling(
            masks.channelwise(channels), network, transformers.SigmoidAffine()
        ),
    )


def diagonal_scale():
    layer = bijectors.DiagonalScale(tf.Variable(0.1 * normal([64], 1)))
    return of_layer(layer, normal(THIN, 3))


def tfp_diagonal_scale():
    scale = tfp.util.TransformedVariable(tf.exp(0.1 * normal([64], 1)), tfb.Exp())
    return of_layer(tfb.ScaleMatvecDiag(scale), normal(THIN, 3))


def batch_norm():
    mean, log_variance, shift, log_scale = (0.1 * normal([64], i) for i in range(4))
    layer = tfb.Invert(
        bijectors.BatchNorm(
            tf.Variable(mean, trainable=False),
            tf.Variable(tf.exp(log_variance), trainable=False),
            tf.Variable(shift),
            tf.Variable(log_scale),
        )
    )
    return of_layer(layer, normal(THIN, 3))


def tfp_batch_norm():
    """The arithmetic of `tfb.BatchNormalization`, which needs a layer of Keras 2."""
    shift, log_scale = (tf.Variable(0.1 * normal([64], i)) for i in (2, 3))
    return _affine(shift, log_scale, normal(THIN, 3))


def logit():
    return of_layer(bijectors.Logit(), *_pixel_values())


def tfp_logit():
    layer = tfb.Chain([tfb.Invert(tfb.Sigmoid()), tfb.Shift(0.05), tfb.Scale(0.9)])
    return of_layer(layer, *_pixel_values())


def squeeze():
    return of_layer(bijectors.Squeeze(), _images("actnorm"), _squeezed())


def tfp_squeeze():
    height, width, channels = MODELS["actnorm"].shape
    height, width = height // 2, width // 2
    blocks = [height, 2, width, 2, channels]
    layer = tfb.Chain(
        [
            tfb.Reshape([height, width, 4 * channels], [height, width, 2, 2, channels]),
            tfb.Transpose([0, 2, 1, 3, 4]),
            tfb.Reshape(blocks, MODELS["actnorm"].shape),
        ]
    )
    return of_layer(layer, _images("actnorm"), _squeezed())


def _planar_parameters(num_layers, size):
    """`u`, `w` and `b`: `w'x` of a normal `x` and `w'u` are of order 1."""
    matrix = [num_layers, size]
    return normal(matrix, 0), normal(matrix, 1) / size**0.5, normal(matrix[:1], 2)


def _images(name):
    model = MODELS[name]
    return normal([model.batch_size, *model.shape], 3)


def _squeezed():
    height, width, channels = MODELS["actnorm"].shape
    batch_size = MODELS["actnorm"].batch_size
    return normal([batch_size, height // 2, width // 2, 4 * channels], 4)


def _pixel_values():
    x = tf.nn.sigmoid(_images("actnorm"))
    return x, bijectors.Logit().forward(x)


def _channelwise(name):
    channels = MODELS[name].shape[-1]
    return [tf.Variable(0.1 * normal([channels], seed)) for seed in (1, 2)]


def _rotation():
    return matrices.random_orthogonal(MODELS["conv1x1"].shape[-1], seed=0)


def _plu(weight):
    factors = {
        name: tf.Variable(value, trainable=name not in ("permutation", "sign"))
        for name, value in matrices.plu_factors(weight).items()
    }
    return bijectors.InvertibleConv1x1PLU(**factors)


def _affine(shift, log_scale, x):
    scale = tfp.util.DeferredTensor(log_scale, tf.exp)
    return of_layer(
        tfb.Chain([tfb.Shift(shift), tfb.Scale(scale)]), x, variables=[shift, log_scale]
    )
