"""Conditional distributions of `amortized_posterior`: parameters to distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import bijectors
from tfp_flows._autodiff import with_shape
from tfp_flows._dtypes import check_dtype
from tfp_flows._flow import Flow
from tfp_flows._parameters import is_reference
from tfp_flows._traversal import bind_context
from tfp_flows._typing import Bijector, Distribution, DTypeLike, TensorLike
from tfp_flows.bijectors import orthonormal
from tfp_flows.distributions import Normal

tfb, tfd = tfp.bijectors, tfp.distributions

_MINIMUM_SCALE = 1e-4  # softplus alone underflows to 0


class GaussianPosterior(tf.Module):
    """Gaussian with independent elements, and base class of the other posteriors.

    Args:
      size: `D`.
      num_layers: `K`.
      dtype, name: as for `amortized_posterior`.
      shapes: shapes of the parameters of the flow, by name.
    """

    def __init__(
        self,
        size: int,
        num_layers: int,
        dtype: DTypeLike,
        name: str,
        shapes: dict[str, list[int]] | None = None,
    ) -> None:
        super().__init__(name=name)
        self.event_size, self.num_layers = size, num_layers
        self.dtype = check_dtype("dtype", dtype)
        self._shapes = dict(loc=[size], scale=[size], **(shapes or {}))
        self._sizes = [math.prod(shape) for shape in self._shapes.values()]

    @property
    def num_parameters(self) -> int:
        """Number of parameters of the distribution, which the encoder predicts."""
        return sum(self._sizes)

    def __repr__(self) -> str:
        return (
            f"<{self.name}: {type(self).__name__}, event_size={self.event_size}, "
            f"num_layers={self.num_layers}, num_parameters={self.num_parameters}>"
        )

    def __getattr__(self, name: str) -> Any:
        hint = ""
        if hasattr(tfd.Distribution, name):
            hint = (
                " An amortized posterior is not a distribution. Call it with the "
                f"parameters that an encoder predicts, of shape [..., "
                f"{self.num_parameters}]: the result is a distribution with {name!r}."
            )
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute {name!r}.{hint}"
        )

    def __call__(self, parameters: TensorLike) -> Distribution:
        reference = is_reference(parameters)
        given: Any = parameters
        if not reference:
            given = tf.convert_to_tensor(parameters, self.dtype, name="parameters")
        if not given.shape.rank or given.shape[-1] != self.num_parameters:
            sizes = dict(zip(self._shapes, self._sizes))
            raise ValueError(
                f"`parameters` must have shape [..., {self.num_parameters}] for "
                f"{self!r}, in this order: {sizes}; got shape {given.shape}."
            )
        tensors = self._tensors(tf.convert_to_tensor(given, self.dtype))
        # Tracked, and read anew in each use. A graph reads them anew by itself.
        if reference and tf.executing_eagerly():
            tensors = tf.nest.pack_sequence_as(
                tensors,
                [
                    tfp.util.DeferredTensor(
                        given,
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
        base = tfd.Independent(Normal(loc, scale), reinterpreted_batch_ndims=1)
        return Flow(base, bijector, name=self.name)

    def _tensors(self, parameters: tf.Tensor) -> dict[str, Any]:
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

    def _tensor(self, i: int, parameters: tf.Tensor) -> tf.Tensor:
        return tf.nest.flatten(self._tensors(parameters))[i]

    def _flow(self, parts: dict[str, tf.Tensor]) -> list[Any]:
        """Returns the tensors of the flow, a nested structure of reshaped parts."""
        return []

    def _bijector(self, tensors: list[Any]) -> Bijector | None:
        """Returns the bijector of the tensors of the flow, None for the identity."""
        return None


class PlanarPosterior(GaussianPosterior):
    """Planar layers."""

    def __init__(
        self, activation: Any, size: int, num_layers: int, **options: Any
    ) -> None:
        shapes = dict(u=[num_layers, size], w=[num_layers, size], b=[num_layers])
        super().__init__(size, num_layers, shapes=shapes, **options)
        self._activation = activation

    def _flow(self, parts: dict[str, tf.Tensor]) -> list[Any]:
        w = parts["w"] + _directions([self.num_layers, self.event_size], self.dtype)
        return [parts["u"], w, parts["b"]]

    def _bijector(self, tensors: list[Any]) -> Bijector | None:
        u, w, b = tensors
        return bijectors.PlanarStack(u, w, b, self._activation)


class RadialPosterior(GaussianPosterior):
    """Radial layers."""

    def __init__(self, size: int, num_layers: int, **options: Any) -> None:
        shapes = dict(center=[num_layers, size], radius=[num_layers], gain=[num_layers])
        super().__init__(size, num_layers, shapes=shapes, **options)

    def _flow(self, parts: dict[str, tf.Tensor]) -> list[Any]:
        each = [
            tf.unstack(parts["center"], axis=-2),
            tf.unstack(_positive(parts["radius"]), axis=-1),
            tf.unstack(_positive(parts["gain"]), axis=-1),
        ]
        return [list(layer) for layer in zip(*each)]

    def _bijector(self, tensors: list[Any]) -> Bijector | None:
        return tfb.Chain([bijectors.Radial(*layer) for layer in tensors][::-1])


class SylvesterPosterior(GaussianPosterior):
    """Sylvester layers."""

    def __init__(
        self,
        basis: str,
        columns: int,
        reflections: int,
        activation: Any,
        size: int,
        num_layers: int,
        **options: Any,
    ) -> None:
        basis_shapes: dict[str, dict[str, list[int]]] = dict(
            orthogonal=dict(q=[num_layers, size, columns]),
            householder=dict(q=[num_layers, reflections, size]),
            triangular={},
        )
        triangle = [num_layers, columns * (columns + 1) // 2]
        shapes = dict(
            r=triangle, r_tilde=triangle, b=[num_layers, columns], **basis_shapes[basis]
        )
        super().__init__(size, num_layers, shapes=shapes, **options)
        self._basis, self._columns, self._activation = basis, columns, activation

    def _flow(self, parts: dict[str, tf.Tensor]) -> list[Any]:
        r, r_tilde = (
            tfp.math.fill_triangular(parts[name], upper=True)
            for name in ("r", "r_tilde")
        )
        # If both were 0, gradients would vanish.
        r_tilde += tf.eye(self._columns, dtype=self.dtype)
        factors = [
            tf.unstack(orthonormal.triangular_factor(each), axis=-3)
            for each in (r, r_tilde)
        ]
        each = [self._columns_of(parts), *factors, tf.unstack(parts["b"], axis=-2)]
        return [list(layer) for layer in zip(*each)]

    def _bijector(self, tensors: list[Any]) -> Bijector | None:
        return tfb.Chain(
            [
                bijectors.Sylvester(q, r, r_tilde, b, activation=self._activation)
                for q, r, r_tilde, b in tensors
            ][::-1]
        )

    def _columns_of(self, parts: dict[str, tf.Tensor]) -> list[tf.Tensor]:
        """Returns `Q` of each layer; all are orthonormalized at once."""
        if self._basis == "triangular":
            return [
                orthonormal.permutation_basis(
                    self.event_size, self._columns, i % 2 == 1, self.dtype
                )
                for i in range(self.num_layers)
            ]
        if self._basis == "householder":
            normals = _directions(self._shapes["q"], self.dtype)
            q = orthonormal.householder_basis(parts["q"] + normals, self._columns)
        else:
            eye = tf.eye(self.event_size, self._columns, dtype=self.dtype)
            q = orthonormal.bjorck_basis(parts["q"] + eye)
        return tf.unstack(q, axis=-3)


class AutoregressivePosterior(GaussianPosterior):
    """Layers with weights of their own, and a predicted context."""

    def __init__(self, bijector: Bijector, context_size: int, **options: Any) -> None:
        shapes = dict(context=[context_size]) if context_size else {}
        super().__init__(shapes=shapes, **options)
        self.bijector = bijector

    def _flow(self, parts: dict[str, tf.Tensor]) -> list[Any]:
        return [parts["context"]] if "context" in parts else []

    def _bijector(self, tensors: list[Any]) -> Bijector | None:
        return bind_context(self.bijector, *tensors) if tensors else self.bijector


def _directions(shape: Sequence[int], dtype: tf.DType) -> tf.Tensor:
    """Returns fixed unit vectors; gradients of layers would vanish at vectors of 0."""
    vectors = np.random.RandomState(0).normal(size=shape)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return tf.constant(vectors, dtype)


def _positive(raw: tf.Tensor) -> tf.Tensor:
    """Returns scales: 1 for 0, above a minimum, and linear for large numbers."""
    softplus = tf.math.softplus(raw + np.log(np.e - 1.0))
    return _MINIMUM_SCALE + (1.0 - _MINIMUM_SCALE) * softplus
