"""The cases in which each bijector is held to the laws.

A case makes its bijector from numbers, wrapped as the caller wants them: as constants
or variables, in float64 or float32. Parameters of the steep cases are of order 1 to 5,
since small ones hide errors. `x` has the batch axes of the parameters, and more before
them. The cases of layers with networks are in `conditioned_layers.py`.
"""

import dataclasses
import functools

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tests.catalogue import conditioned_layers
from tfp_flows.bijectors import (
    Activation,
    ActNorm,
    BatchNorm,
    DiagonalScale,
    InvertibleConv1x1,
    InvertibleConv1x1PLU,
    LeakyReLU,
    Planar,
    PlanarStack,
    PReLU,
    Radial,
    Scan,
    Sylvester,
    orthonormal,
)

ERF = Activation(
    tf.math.erf, lambda a: 2.0 / np.sqrt(np.pi) * tf.exp(-(a**2)), 2.0 / np.sqrt(np.pi)
)
SOFTPLUS = Activation(tf.math.softplus, tf.math.sigmoid)  # of no bound


@dataclasses.dataclass
class Case:
    """A bijector as a class with arguments, and points of its domain."""

    bijector_class: type
    tensors: dict  # arguments that are tensors, as NumPy arrays of float64
    x: np.ndarray
    others: dict = dataclasses.field(default_factory=dict)

    def make(self, wrap=tf.constant, dtype=tf.float64, **more):
        """Returns the bijector with `wrap(value, dtype, name=name)` for its tensors."""
        tensors = {k: wrap(v, dtype=dtype, name=k) for k, v in self.tensors.items()}
        return self.bijector_class(**tensors, **self.others, **more)

    def make_variable(self, dtype=tf.float64):
        """Returns the bijector on variables named as its arguments."""

        def variable(value, dtype, name):
            raw = tf.Variable(value, dtype=dtype, name=name)
            # The laws move variables at will, and this is to stay orthonormal.
            options = dict(transform_fn=orthonormal.qr_basis, shape=value.shape)
            return tfp.util.DeferredTensor(raw, **options) if name == "q" else raw

        return self.make(variable, dtype)


def _planar(seed, shape, num_layers, size, scale, x_shape, **others):
    rng = np.random.default_rng(seed)
    rows = [] if num_layers is None else [num_layers]
    u, w = rng.normal(size=[2, *shape, *rows, size], scale=scale)
    b = rng.normal(size=[*shape, *rows], scale=scale)
    x = rng.normal(size=[*x_shape, *shape, size], scale=2.0)
    kind = Planar if num_layers is None else PlanarStack
    return Case(kind, dict(u=u, w=w, b=b), x, others)


def _sylvester(seed, shape, size, columns, scale, basis, **others):
    rng = np.random.default_rng(seed)
    if basis == "qr":
        q = orthonormal.qr_basis(rng.normal(size=[*shape, size, columns]))
    elif basis == "bjorck":
        q = orthonormal.bjorck_basis(rng.normal(size=[*shape, size, columns]))
    elif basis == "householder":
        q = orthonormal.householder_basis(rng.normal(size=[*shape, 3, size]), columns)
    else:
        q = orthonormal.permutation_basis(size, columns, True, tf.float64)
    raw = rng.normal(size=[2, *shape, columns, columns], scale=scale)
    r, r_tilde = (orthonormal.triangular_factor(part).numpy() for part in raw)
    b = rng.normal(size=[*shape, columns], scale=scale)
    x = rng.normal(size=[4, *shape, size], scale=2.0)
    return Case(Sylvester, dict(q=q.numpy(), r=r, r_tilde=r_tilde, b=b), x, others)


def _radial(seed, shape, size, radius, gain):
    rng = np.random.default_rng(seed)
    tensors = dict(
        center=rng.normal(size=[*shape, size]),
        radius=radius * np.exp(0.3 * rng.normal(size=shape)),
        gain=gain * np.exp(0.3 * rng.normal(size=shape)),
    )
    return Case(Radial, tensors, rng.normal(size=[4, *shape, size], scale=2.0))


def _scan(seed, num_layers, size):
    """Radial layers, all values of which are stacked."""
    one = _radial(seed, [num_layers], size, 1.0, 5.0)

    def make(**stacked):
        dtype = stacked["center"].dtype
        zeros, ones = tf.zeros([size], dtype), tf.ones([], dtype)
        return Scan(Radial(zeros, ones, ones), stacked)

    x = np.random.default_rng(seed).normal(size=[4, size], scale=2.0)
    return Case(make, one.tensors, x)


def _prelu(seed, slope_shape, x_shape, center):
    rng = np.random.default_rng(seed)
    slope = center * np.exp(rng.normal(size=slope_shape))
    return Case(PReLU, dict(slope=slope), rng.normal(size=x_shape, scale=2.0))


def _batch_norm(seed, shape, x_shape, **others):
    rng = np.random.default_rng(seed)
    tensors = dict(
        mean=rng.normal(size=shape, scale=3.0),
        variance=rng.uniform(0.2, 9.0, size=shape),
        shift=rng.normal(size=shape),
        log_scale=rng.normal(size=shape, scale=2.0),
    )
    return Case(BatchNorm, tensors, rng.normal(size=x_shape, scale=2.0), others)


def _diagonal_scale(seed, shape, x_shape):
    rng = np.random.default_rng(seed)
    tensors = dict(log_scale=rng.normal(size=shape, scale=3.0))
    return Case(DiagonalScale, tensors, rng.normal(size=x_shape, scale=2.0))


def _actnorm(seed, shape, x_shape, **others):
    rng = np.random.default_rng(seed)
    tensors = dict(
        shift=rng.normal(size=shape, scale=3.0),
        log_scale=rng.normal(size=shape, scale=2.0),
    )
    return Case(ActNorm, tensors, rng.normal(size=x_shape, scale=2.0), others)


def _conv1x1(seed, shape, x_shape, **others):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=[*shape, shape[-1]], scale=2.0)
    # The laws are of maps that keep the orientation.
    weight[..., 0, :] *= np.sign(np.linalg.det(weight))[..., np.newaxis]
    x = rng.normal(size=x_shape, scale=2.0)
    return Case(InvertibleConv1x1, dict(weight=weight), x, others)


def _conv1x1_plu(seed, shape, x_shape):
    rng = np.random.default_rng(seed)
    tensors = dict(
        lower=rng.normal(size=[*shape, shape[-1]]),
        upper=rng.normal(size=[*shape, shape[-1]]),
        log_magnitude=rng.normal(size=shape),
    )
    # The laws are of maps that keep the orientation; the permutation is even.
    others = dict(permutation=[2, 0, 1], sign=[1.0, -1.0, -1.0])
    return Case(InvertibleConv1x1PLU, tensors, rng.normal(size=x_shape), others)


# Made on first use: making a case takes TensorFlow a while, listing them should not.
_MAKERS = {
    "planar/flat": lambda: _planar(0, [], None, 3, 1e-3, [4]),
    "planar/steep": lambda: _planar(1, [], None, 3, 3.0, [4]),
    "planar/batch": lambda: _planar(2, [2, 3], None, 4, 2.0, [2]),
    "planar/one": lambda: _planar(20, [], None, 1, 3.0, [4]),
    "planar/leaky": lambda: _planar(
        4, [], None, 3, 1.0, [4], activation=LeakyReLU(0.3)
    ),
    "planar/erf": lambda: _planar(5, [], None, 3, 2.0, [4], activation=ERF),
    "planar/paper": lambda: _planar(6, [], None, 3, 3.0, [4], constraint="paper"),
    "planar/softplus": lambda: _planar(3, [], None, 6, 3.0, [4], activation=SOFTPLUS),
    "planar_stack/flat": lambda: _planar(7, [], 4, 3, 1e-3, [4]),
    "planar_stack/steep": lambda: _planar(8, [], 3, 3, 2.0, [2, 2]),
    "planar_stack/batch": lambda: _planar(9, [3], 3, 4, 1.0, [2]),
    "planar_stack/one": lambda: _planar(10, [], 3, 1, 1.0, [4]),
    "planar_stack/leaky": lambda: _planar(
        11, [], 3, 3, 1.0, [4], activation="leaky_relu"
    ),
    "planar_stack/single": lambda: _planar(12, [], 1, 3, 3.0, [4]),
    "planar_stack/softplus": lambda: _planar(
        13, [], 3, 6, 1.5, [4], activation=SOFTPLUS
    ),
    "radial/flat": lambda: _radial(13, [], 3, 0.7, 1e-6),
    "radial/steep": lambda: _radial(14, [], 3, 2.0, 1e9),
    "radial/batch": lambda: _radial(15, [2, 3], 4, 1.0, 5.0),
    "radial/one": lambda: _radial(16, [], 1, 1.0, 5.0),
    "scan/steep": lambda: _scan(70, 3, 3),
    "sylvester/flat": lambda: _sylvester(17, [], 4, 2, 1e-3, "qr"),
    "sylvester/steep": lambda: _sylvester(18, [], 4, 3, 3.0, "qr"),
    "sylvester/square": lambda: _sylvester(19, [], 3, 3, 3.0, "permutation"),
    "sylvester/single": lambda: _sylvester(20, [], 4, 1, 3.0, "householder"),
    "sylvester/batch": lambda: _sylvester(21, [2, 3], 4, 2, 2.0, "bjorck"),
    "sylvester/one": lambda: _sylvester(22, [], 1, 1, 3.0, "qr"),
    "sylvester/leaky": lambda: _sylvester(
        23, [], 4, 2, 2.0, "qr", activation=LeakyReLU(0.1)
    ),
    "sylvester/softplus": lambda: _sylvester(
        27, [], 4, 3, 3.0, "qr", activation=SOFTPLUS
    ),
    "prelu/shared": lambda: _prelu(24, [], [4, 3], 0.2),
    "prelu/channel": lambda: _prelu(25, [3], [4, 2, 3], 3.0),
    "prelu/element": lambda: _prelu(26, [2, 3], [4, 2, 3], 0.5),
    "prelu/flat": lambda: _prelu(27, [], [4, 3], 1e-6),
    "batch_norm/steep": lambda: _batch_norm(28, [3], [4, 3]),
    "batch_norm/batch": lambda: _batch_norm(29, [2, 3], [4, 2, 3]),
    "batch_norm/image": lambda: _batch_norm(30, [3], [2, 2, 1, 3], event_ndims=3),
    "actnorm/steep": lambda: _actnorm(33, [3], [2, 2, 1, 3]),
    "actnorm/batch": lambda: _actnorm(34, [2, 3], [4, 2, 3], event_ndims=1),
    "conv1x1/steep": lambda: _conv1x1(35, [3], [2, 2, 1, 3]),
    "conv1x1/batch": lambda: _conv1x1(36, [2, 3], [2, 2, 1, 2, 3]),
    "conv1x1/vector": lambda: _conv1x1(37, [3], [4, 3], event_ndims=1),
    "conv1x1_plu/steep": lambda: _conv1x1_plu(38, [3], [2, 1, 1, 3]),
    "conv1x1_plu/batch": lambda: _conv1x1_plu(39, [2, 3], [2, 2, 1, 2, 3]),
    "diagonal_scale/steep": lambda: _diagonal_scale(31, [3], [4, 3]),
    "diagonal_scale/batch": lambda: _diagonal_scale(32, [2, 3], [4, 2, 3]),
}
PARAMETRIC = sorted(_MAKERS)  # made of tensors alone, so they are `Case`s
NAMES = PARAMETRIC + sorted(conditioned_layers.MAKERS)


@functools.cache
def case(name):
    """Returns the `Case` or `NetworkCase` of that name."""
    return {**_MAKERS, **conditioned_layers.MAKERS}[name]()
