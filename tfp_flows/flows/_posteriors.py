"""The families of `amortized_posterior`: parameters in, distributions out."""

import math

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import bijectors
from tfp_flows._autodiff import with_shape
from tfp_flows._dtypes import check_dtype
from tfp_flows._flow import Flow
from tfp_flows._parameters import is_reference
from tfp_flows._traversal import bind_context
from tfp_flows.bijectors import orthonormal
from tfp_flows.flows._noise import Normal

tfb, tfd = tfp.bijectors, tfp.distributions

_LEAST = 1e-4  # of scales: softplus alone can be 0


class Gaussian(tf.Module):
    """Family of Gaussians of independent elements, and base of the others.

    Args:
      size: `D`.
      num_layers: `K`.
      dtype, name: as for `amortized_posterior`.
      shapes: shapes of the parameters of the flow, by name.
    """

    def __init__(self, size, num_layers, dtype, name, shapes=None):
        super().__init__(name=name)
        self.event_size, self.num_layers = size, num_layers
        self.dtype = check_dtype("dtype", dtype)
        self._shapes = dict(loc=[size], scale=[size], **(shapes or {}))
        self._sizes = [math.prod(shape) for shape in self._shapes.values()]

    @property
    def num_parameters(self):
        return sum(self._sizes)

    def __repr__(self):
        return (
            f"<{self.name}: {type(self).__name__.strip('_')}, "
            f"event_size={self.event_size}, num_layers={self.num_layers}, "
            f"num_parameters={self.num_parameters}>"
        )

    def __getattr__(self, name):
        hint = ""
        if hasattr(tfd.Distribution, name):
            hint = (
                " A family is no distribution, but `family(parameters)` is one and has "
                "it, with the parameters that an encoder predicts, of shape "
                f"[..., {self.num_parameters}]."
            )
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute {name!r}.{hint}"
        )

    def __call__(self, parameters):
        reference = is_reference(parameters)
        if not reference:
            parameters = tf.convert_to_tensor(parameters, self.dtype, name="parameters")
        if not parameters.shape.rank or parameters.shape[-1] != self.num_parameters:
            sizes = dict(zip(self._shapes, self._sizes))
            raise ValueError(
                f"`parameters` must have shape [..., {self.num_parameters}] for "
                f"{self!r}, in this order: {sizes}; got shape {parameters.shape}."
            )
        tensors = self._tensors(tf.convert_to_tensor(parameters, self.dtype))
        # Tracked, and read anew in each use; a graph does the latter by itself.
        if reference and tf.executing_eagerly():
            tensors = tf.nest.pack_sequence_as(
                tensors,
                [
                    tfp.util.DeferredTensor(
                        parameters,
                        lambda value, i=i: self._tensor(i, value),
                        dtype=tensor.dtype,
                        shape=tensor.shape,
                    )
                    for i, tensor in enumerate(tf.nest.flatten(tensors))
                ],
            )
        loc, scale = tensors["loc"], tensors["scale"]
        bijector = self._bijector(tensors["flow"])
        if bijector is None:
            return tfd.MultivariateNormalDiag(loc, scale)
        noise = tfd.Independent(Normal(loc, scale), reinterpreted_batch_ndims=1)
        return Flow(noise, bijector, name=self.name)

    def _tensors(self, parameters):
        """Returns location, scale and tensors of the flow, by those names."""
        batch = tf.shape(parameters)[:-1]
        parts = {
            name: with_shape(
                tf.reshape(part, tf.concat([batch, shape], axis=0)),
                [*parameters.shape[:-1], *shape],
            )
            for (name, shape), part in zip(
                self._shapes.items(), tf.split(parameters, self._sizes, axis=-1)
            )
        }
        return dict(
            loc=parts["loc"], scale=_positive(parts["scale"]), flow=self._flow(parts)
        )

    def _tensor(self, i, parameters):
        return tf.nest.flatten(self._tensors(parameters))[i]

    def _flow(self, parts):
        """Returns the tensors of the flow, a nested structure of reshaped parts."""
        return []

    def _bijector(self, tensors):
        """Returns the bijector of the tensors of the flow, None for the identity."""
        return None


class Planar(Gaussian):
    def __init__(self, activation, size, num_layers, **options):
        shapes = dict(u=[num_layers, size], w=[num_layers, size], b=[num_layers])
        super().__init__(size, num_layers, shapes=shapes, **options)
        self._activation = activation

    def _flow(self, parts):
        w = parts["w"] + _directions([self.num_layers, self.event_size], self.dtype)
        return [parts["u"], w, parts["b"]]

    def _bijector(self, tensors):
        return bijectors.PlanarStack(*tensors, self._activation)


class Radial(Gaussian):
    def __init__(self, size, num_layers, **options):
        shapes = dict(center=[num_layers, size], radius=[num_layers], gain=[num_layers])
        super().__init__(size, num_layers, shapes=shapes, **options)

    def _flow(self, parts):
        each = [
            tf.unstack(parts["center"], axis=-2),
            tf.unstack(_positive(parts["radius"]), axis=-1),
            tf.unstack(_positive(parts["gain"]), axis=-1),
        ]
        return [list(layer) for layer in zip(*each)]

    def _bijector(self, tensors):
        return tfb.Chain([bijectors.Radial(*layer) for layer in tensors][::-1])


class Sylvester(Gaussian):
    def __init__(
        self, basis, columns, reflections, activation, size, num_layers, **options
    ):
        bases_of = dict(
            orthogonal=dict(q=[num_layers, size, columns]),
            householder=dict(q=[num_layers, reflections, size]),
            triangular={},
        )
        triangle = [num_layers, columns * (columns + 1) // 2]
        shapes = dict(
            r=triangle, r_tilde=triangle, b=[num_layers, columns], **bases_of[basis]
        )
        super().__init__(size, num_layers, shapes=shapes, **options)
        self._basis, self._columns, self._activation = basis, columns, activation

    def _flow(self, parts):
        r, r_tilde = (
            tfp.math.fill_triangular(parts[name], upper=True)
            for name in ("r", "r_tilde")
        )
        r_tilde += tf.eye(self._columns, dtype=self.dtype)  # both 0: no gradient
        factors = [
            tf.unstack(orthonormal.triangular_factor(each), axis=-3)
            for each in (r, r_tilde)
        ]
        each = [self._columns_of(parts), *factors, tf.unstack(parts["b"], axis=-2)]
        return [list(layer) for layer in zip(*each)]

    def _bijector(self, tensors):
        return tfb.Chain(
            [
                bijectors.Sylvester(*layer, activation=self._activation)
                for layer in tensors
            ][::-1]
        )

    def _columns_of(self, parts):
        """Returns `Q` of each layer; all are orthonormalized at once."""
        if self._basis == "triangular":
            return [
                orthonormal.permutation_basis(
                    self.event_size, self._columns, i % 2 == 1, self.dtype
                )
                for i in range(self.num_layers)
            ]
        if self._basis == "householder":
            mirrors = _directions(self._shapes["q"], self.dtype)
            q = orthonormal.householder_basis(parts["q"] + mirrors, self._columns)
        else:
            eye = tf.eye(self.event_size, self._columns, dtype=self.dtype)
            q = orthonormal.bjorck_basis(parts["q"] + eye)
        return tf.unstack(q, axis=-3)


class Autoregressive(Gaussian):
    def __init__(self, bijector, context_size, **options):
        shapes = dict(context=[context_size]) if context_size else {}
        super().__init__(shapes=shapes, **options)
        self.bijector = bijector

    def _flow(self, parts):
        return [parts["context"]] if "context" in parts else []

    def _bijector(self, tensors):
        return bind_context(self.bijector, *tensors) if tensors else self.bijector


def _directions(shape, dtype):
    """Returns fixed vectors of length 1: with those of 0, layers had no gradient."""
    vectors = np.random.RandomState(0).normal(size=shape)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return tf.constant(vectors, dtype)


def _positive(raw):
    """Returns scales: 1 at 0, never 0, and linear where they are large."""
    return _LEAST + (1.0 - _LEAST) * tf.math.softplus(raw + np.log(np.e - 1.0))
