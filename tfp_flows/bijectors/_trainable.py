"""Trainable instances of the bijectors whose parameters are tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._builders import check_outside_of_graphs, register_builder
from tfp_flows._dtypes import check_dtype
from tfp_flows._typing import Bijector, DTypeLike

BijectorT = TypeVar("BijectorT", bound=Bijector)


@register_builder(package="tfp_flows")
def make_trainable(
    bijector_class: Callable[..., BijectorT],
    event_shape: Sequence[int],
    *,
    seed: int,
    stddev: float | Mapping[str, float] = 0.01,
    parameter_shapes: Mapping[str, Sequence[int]] | None = None,
    dtype: DTypeLike = tf.float32,
    **fixed: Any,
) -> BijectorT:
    """Build a bijector on new variables that satisfy its parameter constraints.

    The unconstrained initial values are near 0, for which the bijectors of this package
    are the identity, or near it. `tfp.experimental.util.make_trainable` returns an
    object that is not a `tfb.Bijector`, so that it cannot be part of a `tfb.Chain`.

    >>> from tfp_flows import bijectors
    >>> layer = bijectors.make_trainable(bijectors.Radial, [2], seed=0)
    >>> layer.forward([[1.0, 2.0]]).shape, len(layer.trainable_variables)
    (TensorShape([1, 2]), 3)

    Args:
      bijector_class: class that implements `parameter_properties`.
      event_shape: shape of an input without batch axes, such as `[D]` or `[H, W, C]`.
      seed: integer that determines the initial values; they are the same in each
        process.
      stddev: standard deviation of the unconstrained initial values: a number, or a
        dictionary of numbers by parameter name, with 0.01 for those left out.
      parameter_shapes: dictionary of shapes by parameter name, for parameters whose
        shape cannot be inferred from `event_shape`, such as
        `dict(u=[K, D], w=[K, D], b=[K])` of a `PlanarStack`.
      dtype: dtype of the variables, float32 or float64.
      **fixed: constructor arguments that are not trained.

    Returns:
      bijector: instance of `bijector_class`.

    Raises:
      TypeError: `fixed` has a name that is not an argument of `bijector_class`.
      TypeError: `seed` is not an integer, or `dtype` is not supported.
      ValueError: the shape of a parameter is unknown.
      ValueError: a name in `stddev` or `parameter_shapes` is not a trained parameter.
      RuntimeError: a graph is being traced, as by `tf.function`.
    """
    check_outside_of_graphs()
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"`seed` must be an integer; got {seed!r}.")
    check_dtype("dtype", dtype)
    of_class: Any = bijector_class
    properties = {
        name: value
        for name, value in of_class.parameter_properties(dtype).items()
        if name not in fixed
    }
    shapes = dict(parameter_shapes or {})
    if isinstance(stddev, Mapping):
        stddevs = dict(stddev)
    else:
        stddevs = dict.fromkeys(properties, stddev)
    given: dict[str, Mapping[str, Any]]
    given = dict(parameter_shapes=shapes, stddev=stddevs)
    for argument, names in given.items():
        if set(names) - set(properties):
            raise ValueError(
                f"`{argument}` must name parameters out of {sorted(properties)}; "
                f"got {sorted(names)}."
            )
    variables = {}
    # TFP draws a new seed for an integer on every call; a pair is taken as it is.
    seeds = tfp.random.split_seed([0, seed], n=len(properties))
    for (name, value), parameter_seed in zip(properties.items(), seeds):
        shape = tf.TensorShape(
            shapes.get(name, value.shape_fn(tf.TensorShape(event_shape)))
        )
        if not shape.is_fully_defined():
            raise ValueError(
                f"`parameter_shapes` must contain `{name}`, whose shape cannot be "
                f"inferred from `event_shape` {list(event_shape)}; got "
                f"{parameter_shapes}. Pass `parameter_shapes=dict({name}=...)`."
            )
        constrain = value.default_constraining_bijector_fn()
        raw = tf.random.stateless_normal(
            constrain.inverse_event_shape(shape),
            parameter_seed,
            stddev=stddevs.get(name, 0.01),
            dtype=dtype,
        )
        variables[name] = tfp.util.TransformedVariable(
            constrain.forward(raw), constrain, name=name
        )
    return bijector_class(**variables, **fixed)
