"""Binds a context to all layers of a flow."""

import tensorflow_probability as tfp

tfb, tfd = tfp.bijectors, tfp.distributions


def condition(flow, context):
    """Returns a flow whose layers have a context, on the same variables.

    Args:
      flow: `tfd.TransformedDistribution`, or a bijector: a layer of this package that
        takes a context, or `tfb.Chain` and `tfb.Invert` of such.
      context: tensor of shape `[..., context_size]`: what the distribution depends on,
        such as a label as one-hot vector or the output of an encoder.

    Returns:
      bound: what `flow` is: a plain distribution, whose batch shape is that of the
        context, or a bijector.

    Raises:
      TypeError: `flow` is none of those.
      ValueError: no layer takes a context, or `context` has another size than they
        take.
    """
    transformed = isinstance(flow, tfd.Distribution) and hasattr(flow, "bijector")
    if not (transformed or isinstance(flow, tfb.Bijector)):
        raise TypeError(
            "`flow` must be a bijector or a `tfd.TransformedDistribution`; "
            f"got {flow!r}."
        )
    bound = _bind(flow, context)
    if bound is flow:
        raise ValueError(
            "`context` must be given to a flow that takes one; got a flow in which no "
            f"layer has a `context_size` above 0: {flow!r}."
        )
    return bound


def _bind(part, context):
    """Returns a bound copy, or the part itself if nothing in it takes a context."""
    if getattr(part, "context_size", 0):
        return part.copy(context=context)
    changed = {}
    for name in ["bijector", "distribution"]:
        inner = getattr(part, name, None)
        if isinstance(inner, (tfb.Bijector, tfd.Distribution)):
            bound = _bind(inner, context)
            if bound is not inner:
                changed[name] = bound
    parts = getattr(part, "bijectors", [])
    bound = [_bind(inner, context) for inner in parts]
    if any(new is not old for new, old in zip(bound, parts)):
        changed["bijectors"] = bound
    return part.copy(**changed) if changed else part
