"""Walks through flows: layers in order, starts from data, contexts bound to layers."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._dtypes import holds_whole_numbers

tfb, tfd = tfp.bijectors, tfp.distributions

OTHER = dict(forward="inverse", inverse="forward")
_CHAIN, _INVERT = (kind.__mro__[1] for kind in (tfb.Chain, tfb.Invert))
_PARTS = (tfb.Bijector, tfd.Distribution)
_WRAPPERS = tuple(kind.__mro__[1] for kind in (tfd.Independent, tfd.Sample))


def layers_of(bijector, direction):
    """Returns a list of the layers of a bijector, each with the way data go through it.

    Args:
      bijector: layer, or `tfb.Chain` and `tfb.Invert` of such.
      direction: "forward" or "inverse", the way through all of them.
    """
    if isinstance(bijector, _INVERT):
        return layers_of(bijector.bijector, OTHER[direction])
    if isinstance(bijector, _CHAIN):
        parts = bijector.bijectors
        ordered = parts if direction == "inverse" else parts[::-1]
        return [layer for part in ordered for layer in layers_of(part, direction)]
    return [(bijector, direction)]


def start_layers(bijector, values, direction):
    """Starts what is to be started in a bijector, in the order in which data pass.

    Args:
      bijector: layer, or `tfb.Chain` and `tfb.Invert` of such.
      values: data as they come to it.
      direction: "forward" or "inverse", the way that they go.

    Returns:
      values: data as they leave it, after the start.

    Raises:
      TypeError: what is to be started is within a bijector that is none of those.
    """
    for layer, way in layers_of(bijector, direction):
        if hasattr(layer, "initialize_from_data"):
            values = layer.initialize_from_data(values, way)
        elif any(hasattr(part, "initialize_from_data") for part in layer.submodules):
            raise TypeError(
                "A start from data reaches layers in `tfb.Chain`, `tfb.Invert` and "
                f"those of `tfp_flows.bijectors`; got some within {layer!r}."
            )
        else:
            values = getattr(layer, way)(values)
    return values


def modules_of(module):
    """Returns a list of a module and those in it, those in patterns of `Scan` too."""
    found = [module, *module.submodules]
    for part in list(found):
        pattern = getattr(part, "layer", None)  # which shows none of its variables
        if isinstance(pattern, tfb.Bijector):
            found += modules_of(pattern)
    return found


def flags_of_start(module):
    """Returns the flags of a module that tell whether there was a start from data.

    Args:
      module: bijector or distribution.

    Returns:
      flags: list of boolean variables, each once.
    """
    flags = [getattr(part, "initialized", None) for part in modules_of(module)]
    return list({id(flag): flag for flag in flags if flag is not None}.values())


def can_start(module):
    """Tells whether a module has a layer, or a network, that starts from data."""
    return any(
        hasattr(part, "initialized") or getattr(part, "actnorm", None) is True
        for part in modules_of(module)
    )


@tf.autograph.experimental.do_not_convert  # it would be converted layer by layer
def initialize_from_data(flow, batch, direction="inverse"):
    """Starts a flow; `tfp_flows.normalization.initialize_from_data` says how."""
    bijector = whole_bijector_of(flow)
    if not isinstance(bijector, tfb.Bijector):
        raise TypeError(
            "`flow` must be a bijector or a `tfd.TransformedDistribution`; "
            f"got {flow!r}."
        )
    if direction not in OTHER:
        raise ValueError(
            f"`direction` must be 'forward' or 'inverse'; got {direction!r}."
        )
    if not can_start(bijector):
        raise ValueError(
            f"`flow` must have layers such as `ActNorm` to start; got {flow!r}."
        )
    if holds_whole_numbers(batch):
        raise TypeError(
            "`batch` must be floating, such as `dequantize` returns; got "
            f"{tf.convert_to_tensor(batch).dtype.name}. Give it as in training."
        )
    batch = tf.convert_to_tensor(batch, dtype_hint=flow.dtype)
    if tf.executing_eagerly() and not np.all(np.isfinite(batch)):
        raise ValueError("`batch` must be finite; got NaN or infinity in it.")
    check = tf.debugging.assert_all_finite(batch, "`batch` must be finite.")
    with tf.control_dependencies([check]):
        start_layers(bijector, tf.identity(batch), direction)
        for flag in flags_of_start(bijector):
            flag.assign(True)


def bind_context(part, context, rebind=True):
    """Binds a context to all layers of a part of a flow.

    Args:
      part: bijector or distribution.
      context: tensor `[..., context_size]`.
      rebind: whether layers that have a context already get this one instead.

    Returns:
      bound: copy on the same variables, or `part` if nothing in it takes a context.
    """
    if getattr(part, "context_size", 0):
        keeps = not rebind and getattr(part, "context", None) is not None
        return part if keeps else part.copy(context=context)
    changed = {}
    for name, value in part.parameters.items():
        bound = _with_parts(value, lambda p: bind_context(p, context, rebind))
        if bound is not value:
            changed[name] = bound
    return part.copy(**changed) if changed else part


def unbound_layer(flow):
    """Returns a layer of a flow that lacks its context, or None if none lacks one.

    Only what the flow is made of counts: a copy that has a context remembers, in a
    private attribute of TFP, the original that has none.

    Args:
      flow: bijector or distribution.
    """
    if getattr(flow, "context_size", 0):
        return flow if getattr(flow, "context", None) is None else None
    for part in components_of(flow):
        found = unbound_layer(part)
        if found is not None:
            return found
    return None


def unbound_context_size(flow):
    """Returns the length of the context that a flow lacks, or 0 if it lacks none."""
    layer = unbound_layer(flow)
    return 0 if layer is None else layer.context_size


def unbound_context_ndims(flow):
    """Returns the rank of a context that a flow lacks: 1 for vectors, more for maps."""
    layer = unbound_layer(flow)
    network = getattr(layer, "conditioner", getattr(layer, "network", None))
    return getattr(network, "context_ndims", 1)


def components_of(part):
    """Returns the bijectors and distributions among the arguments that made a part."""
    arguments = list((getattr(part, "parameters", None) or {}).values())
    return [leaf for leaf in tf.nest.flatten(arguments) if isinstance(leaf, _PARTS)]


def _with_parts(value, function):
    """Returns an argument in which those parts are replaced, or the same if none is."""
    old = tf.nest.flatten(value)
    new = [function(leaf) if isinstance(leaf, _PARTS) else leaf for leaf in old]
    if all(each is other for each, other in zip(new, old)):
        return value
    return tf.nest.pack_sequence_as(value, new)


def with_batch_statistics(flow, batch):
    """Binds statistics; `tfp_flows.normalization.with_batch_statistics` says how.

    Args:
      flow: bijector, or distribution that has one.
      batch: data, as they come to the inverse.
    """
    bijector = _bijector_of(flow)
    parts = _parts_with_statistics(bijector)
    last = max(i for i, part in enumerate(parts) if _has_statistics(part))
    # Held by the result, for the layers to answer from their caches.
    values = [tf.convert_to_tensor(batch, dtype_hint=flow.dtype)]
    for i, part in enumerate(parts[: last + 1]):
        if _has_statistics(part):
            parts[i] = part.with_batch_statistics(values[-1])
        if i < last:
            values.append(parts[i].inverse(values[-1]))
    bound = tfb.Chain(parts, name=bijector.name)
    bound = bound if flow is bijector else flow.copy(bijector=bound)
    bound._values_of_batch = values
    return bound


def update_moving_statistics(flow, batch_flow, momentum=0.99):
    """Moves statistics; `tfp_flows.normalization.update_moving_statistics` says how."""
    if not 0.0 <= momentum <= 1.0:
        raise ValueError(f"`momentum` must be in [0, 1]; got {momentum}.")
    parts, bound_parts = (
        _parts_with_statistics(_bijector_of(each)) for each in (flow, batch_flow)
    )
    if len(parts) != len(bound_parts):
        raise ValueError(
            "`batch_flow` must be what `with_batch_statistics` returns for `flow`; "
            f"got {len(bound_parts)} layers for {len(parts)}."
        )
    for part, bound_part in zip(parts, bound_parts):
        if _has_statistics(part):
            for variable, value in [
                (part.mean, bound_part.mean),
                (part.variance, bound_part.variance),
            ]:
                variable.assign_sub((1.0 - momentum) * (variable - value))


def has_statistics(flow):
    """Tells whether a flow has layers that normalize by the statistics of batches."""
    bijector = _bijector_of(flow)
    return bijector is not None and any(
        _has_statistics(layer) for layer, _ in layers_of(bijector, "inverse")
    )


def whole_bijector_of(flow):
    """Returns what leads from data to noise, or what is given if it is no distribution.

    That of a distribution which is transformed twice is the chain of both bijectors;
    `tfd.Independent` and `tfd.Sample` add none. None if there is no bijector.
    """
    if not isinstance(flow, tfd.Distribution):
        return flow
    found = []
    while isinstance(flow, tfd.Distribution):
        bijector = getattr(flow, "bijector", None)
        if isinstance(bijector, tfb.Bijector):
            found.append(bijector)
        elif not isinstance(flow, _WRAPPERS):
            break
        flow = getattr(flow, "distribution", None)
    return tfb.Chain(found) if len(found) > 1 else found[0] if found else None


def _bijector_of(flow):
    """Returns the bijector of a distribution, if it has one, or what is given."""
    if not isinstance(flow, tfd.Distribution):
        return flow
    bijector = getattr(flow, "bijector", None)
    return bijector if isinstance(bijector, tfb.Bijector) else None


def _has_statistics(part):
    return hasattr(part, "with_batch_statistics")


def _parts_with_statistics(bijector):
    """Returns a list of the layers of a flow, out of chains of chains."""
    layers = layers_of(bijector, "inverse")
    if not any(_has_statistics(layer) for layer, _ in layers):
        raise ValueError(
            f"The flow must be a `tfb.Chain` with `BatchNorm` layers; got {bijector!r}."
        )
    return [part if way == "inverse" else tfb.Invert(part) for part, way in layers]
