"""Traversal of flows: data-dependent initialization, contexts and batch statistics."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._dtypes import holds_whole_numbers
from tfp_flows._freshness import components_of
from tfp_flows._layer import OPPOSITE, Layer, TakesContext, flatten, modules_of

tfb, tfd = tfp.bijectors, tfp.distributions

_COMPONENTS = (tfb.Bijector, tfd.Distribution)
_WRAPPERS: tuple[Any, ...] = tuple(
    kind.__mro__[1] for kind in (tfd.Independent, tfd.Sample)
)
_TRANSFORMED: Any = tfd.TransformedDistribution.__mro__[1]


def initialize_layers(
    layers: list[tuple[tfb.Bijector, str]], values: tf.Tensor
) -> tf.Tensor:
    """Initializes layers from data, in the order of use.

    Args:
      layers: list of pairs, layer and direction from data to latents, as `flatten`
        returns it.
      values: data as they come to the first.

    Returns:
      values: result of the last, after the initialization.

    Raises:
      TypeError: a layer to initialize is inside of another bijector of TFP.
    """
    for layer, own in layers:
        if isinstance(layer, Layer):
            values = layer.initialize_from_data(values, own)
        elif is_initializable(layer):
            raise TypeError(
                "`flow` must have its layers to initialize in `tfb.Chain`, `tfb.Invert`"
                f" and layers of `tfp_flows.bijectors`; got some inside of {layer!r}."
            )
        else:
            method = layer.inverse if own == "inverse" else layer.forward
            values = method(values)
    return values


def initialized_flags(module: tf.Module) -> list[tf.Variable]:
    """Returns the variables that are true once a flow was initialized, each once.

    Args:
      module: bijector or distribution.
    """
    flags = [part.initialized for part in modules_of(module) if isinstance(part, Layer)]
    return list({id(flag): flag for flag in flags if flag is not None}.values())


def is_initializable(module: tf.Module) -> bool:
    """Returns whether a layer in it, or a network, is initialized from data."""
    return any(
        part.needs_initialization
        for part in modules_of(module)
        if isinstance(part, Layer)
    )


@tf.autograph.experimental.do_not_convert  # it would be converted layer by layer
def initialize_from_data(flow: Any, batch: Any, direction: str = "inverse") -> None:
    """Initializes a flow; see `tfp_flows.normalization.initialize_from_data`."""
    bijector = whole_bijector_of(flow)
    if not isinstance(bijector, tfb.Bijector):
        raise TypeError(
            "`flow` must be a bijector or a `tfd.TransformedDistribution`; "
            f"got {flow!r}."
        )
    if direction not in OPPOSITE:
        raise ValueError(
            f"`direction` must be 'forward' or 'inverse'; got {direction!r}."
        )
    if not is_initializable(bijector):
        raise ValueError(
            f"`flow` must have layers to initialize, such as `ActNorm`; got {flow!r}."
        )
    if holds_whole_numbers(batch):
        raise TypeError(
            "`batch` must be floating, such as the result of `dequantize`; got "
            f"{tf.convert_to_tensor(batch).dtype.name}. Pass data as in training."
        )
    batch = tf.convert_to_tensor(batch, dtype_hint=flow.dtype)
    if tf.executing_eagerly() and not np.all(np.isfinite(batch)):
        raise ValueError("`batch` must be finite; got NaN or infinity in it.")
    check = tf.debugging.assert_all_finite(batch, "`batch` must be finite.")
    with tf.control_dependencies([check]):
        initialize_layers(flatten(bijector, direction), tf.identity(batch))
        for flag in initialized_flags(bijector):
            flag.assign(True)


def bind_context(part: Any, context: Any, rebind: bool = True) -> Any:
    """Conditions all layers of a flow, or of a component of one, on a context.

    Args:
      part: bijector or distribution.
      context: tensor of shape `[..., context_size]`.
      rebind: whether it replaces the context of layers that have one.

    Returns:
      conditioned: copy on the same variables, or `part` if nothing in it takes a
        context.
    """
    if isinstance(part, TakesContext) and part.context_size:
        keeps = not rebind and part.context is not None
        return part if keeps else part.copy(context=context)
    changed = {}
    for name, value in part.parameters.items():
        bound = _map_components(lambda p: bind_context(p, context, rebind), value)
        if bound is not value:
            changed[name] = bound
    return part.copy(**changed) if changed else part


def unconditioned_layer(flow: Any) -> TakesContext | None:
    """Returns a layer of a flow that lacks its context, or None.

    Only arguments of constructors count: a copy with a context keeps, in a private
    attribute of TFP, the original without one.

    Args:
      flow: bijector or distribution.
    """
    if isinstance(flow, TakesContext) and flow.context_size:
        return flow if flow.context is None else None
    for part in components_of(flow):
        found = unconditioned_layer(part)
        if found is not None:
            return found
    return None


def missing_context_size(flow: Any) -> int:
    """Returns the length of the context that a flow lacks; 0 if it lacks none."""
    layer = unconditioned_layer(flow)
    return 0 if layer is None else layer.context_size


def missing_context_ndims(flow: Any) -> int:
    """Returns the rank of one context that a flow lacks: 1 for vectors."""
    layer = unconditioned_layer(flow)
    return 1 if layer is None else layer.context_ndims


def _map_components(function, value):
    """Maps bijectors and distributions in an argument; the same if none changes."""
    old = tf.nest.flatten(value)
    new = [function(leaf) if isinstance(leaf, _COMPONENTS) else leaf for leaf in old]
    if all(each is other for each, other in zip(new, old)):
        return value
    return tf.nest.pack_sequence_as(value, new)


def with_batch_statistics(flow: Any, batch: Any) -> Any:
    """Sets statistics; see `tfp_flows.normalization.with_batch_statistics`.

    Args:
      flow: bijector, or distribution that has one.
      batch: data, as they come to the inverse.
    """
    bijector = _bijector_of(flow)
    layers = _layers_with_statistics(bijector)
    last = max(i for i, layer in enumerate(layers) if _changes(layer))
    # Kept by the result, so that the caches of the layers have results for them.
    values = [tf.convert_to_tensor(batch, dtype_hint=flow.dtype)]
    for i, layer in enumerate(layers[: last + 1]):
        if _changes(layer):
            layers[i] = layer.with_batch_statistics(values[-1])
        if i < last:
            values.append(layers[i].inverse(values[-1]))
    chain = tfb.Chain(layers, name=bijector.name)
    batch_flow = chain if flow is bijector else flow.copy(bijector=chain)
    batch_flow._values_of_batch = values
    return batch_flow


def update_moving_statistics(
    flow: Any, batch_flow: Any, momentum: float = 0.99
) -> None:
    """Updates statistics; see `tfp_flows.normalization.update_moving_statistics`."""
    if not 0.0 <= momentum <= 1.0:
        raise ValueError(f"`momentum` must be in [0, 1]; got {momentum}.")
    layers, batch_layers = (
        _layers_with_statistics(_bijector_of(each)) for each in (flow, batch_flow)
    )
    if len(layers) != len(batch_layers):
        raise ValueError(
            "`batch_flow` must be the result of `with_batch_statistics` for `flow`; "
            f"got {len(batch_layers)} layers for {len(layers)}."
        )
    for layer, batch_layer in zip(layers, batch_layers):
        if _changes(layer):
            for variable, value in [
                (layer.mean, batch_layer.mean),
                (layer.variance, batch_layer.variance),
            ]:
                variable.assign_sub((1.0 - momentum) * (variable - value))


def has_batch_statistics(flow: Any) -> bool:
    """Returns whether a flow has layers that normalize by statistics of batches."""
    bijector = _bijector_of(flow)
    return bijector is not None and any(
        _changes(layer) for layer, _ in flatten(bijector, "inverse")
    )


def whole_bijector_of(flow: Any) -> Any:
    """Returns the bijector from latents to data; other values than distributions as is.

    For a distribution that is transformed twice, it is the chain of both bijectors;
    `tfd.Independent` and `tfd.Sample` add none. None if there is no bijector.
    """
    if not isinstance(flow, tfd.Distribution):
        return flow
    found, part = [], cast(Any, flow)
    while isinstance(part, (_TRANSFORMED, *_WRAPPERS)):
        if isinstance(part, _TRANSFORMED):
            found.append(part.bijector)
        part = cast(Any, part).distribution
    return tfb.Chain(found) if len(found) > 1 else found[0] if found else None


def _bijector_of(flow):
    """Returns the bijector of a distribution, if it has one; other values as is."""
    if not isinstance(flow, tfd.Distribution):
        return flow
    return flow.bijector if isinstance(flow, _TRANSFORMED) else None


def _changes(layer):
    return isinstance(layer, Layer) and layer.has_batch_statistics


def _layers_with_statistics(bijector):
    """Returns a list of the layers of a flow, out of nested chains."""
    layers = flatten(bijector, "inverse")
    if not any(_changes(layer) for layer, _ in layers):
        raise ValueError(
            f"`flow` must be a `tfb.Chain` with `BatchNorm` layers; got {bijector!r}."
        )
    return [layer if own == "inverse" else tfb.Invert(layer) for layer, own in layers]
