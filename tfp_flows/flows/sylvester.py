"""Sylvester flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._builders import register_builder
from tfp_flows._dtypes import check_dtype
from tfp_flows._flow import Flow
from tfp_flows._seeds import split_seed
from tfp_flows._sizes import check_integers
from tfp_flows._typing import Bijector, DTypeLike
from tfp_flows.bijectors import Scan, Sylvester, make_trainable, orthonormal
from tfp_flows.flows import _vector_builders

_BASES = ("orthogonal", "householder", "triangular")


@register_builder(package="tfp_flows")
def sylvester(
    event_size: int,
    num_layers: int,
    num_columns: int | None = None,
    *,
    seed: int,
    invert: bool = False,
    basis: Literal["orthogonal", "householder", "triangular"] = "orthogonal",
    num_reflections: int = 8,
    activation: Any = "tanh",
    scan: bool = False,
    dtype: DTypeLike = tf.float32,
    name: str = "sylvester",
) -> Flow:
    """Build a Sylvester flow.

    Van den Berg et al. (2018), https://arxiv.org/abs/1803.05649. The forward direction
    of the layers has a closed form. The inverse solves `num_columns` scalar equations
    for each layer. The flow is initialized to the identity, so that it equals its base
    distribution.

    >>> from tfp_flows import flows
    >>> flow = flows.sylvester(3, num_layers=2, num_columns=2, seed=0)
    >>> z, log_prob = flow.experimental_sample_and_log_prob(5, seed=1)
    >>> z.shape, log_prob.shape
    (TensorShape([5, 3]), TensorShape([5]))

    Args:
      event_size: `D`, the length of a vector.
      num_layers: number of layers.
      num_columns: `M <= D`, the width of a layer; `D` by default.
      seed: integer that determines the initial values; they are the same in each
        process.
      invert: whether `flow.bijector` is the inverse of the layers. False makes sampling
        cheap, for variational posteriors; True makes `log_prob` cheap, for density
        estimation.
      basis: "orthogonal" trains a matrix for each layer, orthonormalized by QR;
        "householder" trains the normals of reflections; "triangular" alternates between
        the coordinate axes and their reverse order, and trains no basis.
      num_reflections: number of reflections of the "householder" basis.
      activation: "tanh", "leaky_relu", or a `tfp_flows.bijectors.Activation`.
      scan: whether the layers are one `tfp_flows.bijectors.Scan`, whose tracing and
        compile times do not depend on `num_layers`.
      dtype: dtype of the variables, float32 or float64.
      name: name of the distribution.

    Returns:
      flow: `tfp_flows.Flow` over a standard normal distribution. `flow.bijector` is a
        `tfb.Chain` or `Scan` of `Sylvester` layers, in `tfb.Invert` if `invert`, on new
        variables: `r` is 0, and the others are random.

    Raises:
      TypeError: `seed` is not an integer, or `dtype` is not supported.
      ValueError: a size is not an integer of at least 1.
      ValueError: `num_columns` is above `event_size`, or `basis` is not one of its
        options.
    """
    check_dtype("dtype", dtype)
    num_columns = event_size if num_columns is None else num_columns
    check_integers(
        event_size=event_size,
        num_layers=num_layers,
        num_columns=num_columns,
        num_reflections=num_reflections,
    )
    if min(event_size, num_layers, num_columns, num_reflections) < 1:
        raise ValueError(
            "`event_size`, `num_layers`, `num_columns` and `num_reflections` must be "
            f"at least 1; got {event_size}, {num_layers}, {num_columns} and "
            f"{num_reflections}."
        )
    if num_columns > event_size:
        raise ValueError(
            "`num_columns` must be at most `event_size`; "
            f"got {num_columns} and {event_size}."
        )
    if basis not in _BASES:
        raise ValueError(f"`basis` must be one of {_BASES}; got {basis!r}.")
    bijector = sylvester_layers(
        event_size,
        num_layers,
        num_columns,
        seed,
        basis,
        num_reflections,
        activation,
        scan,
        dtype,
        name,
    )
    if invert:
        bijector = tfp.bijectors.Invert(bijector)
    return _vector_builders.flow_of(bijector, event_size, dtype, name)


@register_builder(package="tfp_flows")  # so that files describe them by themselves
def sylvester_layers(
    event_size: int,
    num_layers: int,
    num_columns: int,
    seed: int,
    basis: str,
    num_reflections: int,
    activation: Any,
    scan: bool,
    dtype: DTypeLike,
    name: str,
) -> Bijector:
    """Returns the composition of the layers of `sylvester`."""
    square = [num_columns, num_columns]
    layers = []
    for i, seeds in enumerate(split_seed(seed, num_layers)):
        basis_seed, layer_seed = tfp.random.split_seed(seeds, n=2)
        if basis == "triangular":
            q = orthonormal.permutation_basis(
                event_size, num_columns, i % 2 == 1, dtype
            )
        elif basis == "orthogonal":
            q = _trainable_basis(
                [event_size, num_columns], basis_seed, dtype, orthonormal.qr_basis
            )
        else:
            q = _trainable_basis(
                [num_reflections, event_size],
                basis_seed,
                dtype,
                lambda vectors: orthonormal.householder_basis(vectors, num_columns),
            )
        layers.append(
            make_trainable(
                Sylvester,
                [event_size],
                seed=int(layer_seed[1]),
                stddev=dict(r=0.0, r_tilde=event_size**-0.5, b=1.0),
                parameter_shapes=dict(r=square, r_tilde=square, b=[num_columns]),
                dtype=dtype,
                q=q,
                activation=activation,
            )
        )
    if scan:
        return Scan.from_layers(layers, name=name)
    return tfp.bijectors.Chain(layers[::-1], name=name)


def _trainable_basis(
    shape: Sequence[int],
    seed: tf.Tensor,
    dtype: DTypeLike,
    make_basis: Callable[[Any], tf.Tensor],
) -> Any:
    raw = tf.Variable(tf.random.stateless_normal(shape, seed, dtype=dtype), name="q")
    return tfp.util.DeferredTensor(raw, make_basis, shape=make_basis(raw).shape)
