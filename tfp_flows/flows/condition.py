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
    if isinstance(flow, tfd.Distribution) and hasattr(flow, "bijector"):
        return flow.copy(bijector=condition(flow.bijector, context))
    if not isinstance(flow, tfb.Bijector):
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


def _bind(bijector, context):
    """Returns a bound copy, or the bijector itself if nothing in it takes a context."""
    # `tfb.Invert` and `tfb.Chain` make objects of other classes than their own.
    if hasattr(bijector, "bijector"):
        inner = _bind(bijector.bijector, context)
        return bijector if inner is bijector.bijector else bijector.copy(bijector=inner)
    if hasattr(bijector, "bijectors"):
        parts = [_bind(part, context) for part in bijector.bijectors]
        if all(new is old for new, old in zip(parts, bijector.bijectors)):
            return bijector
        return bijector.copy(bijectors=parts)
    if getattr(bijector, "context_size", 0):
        return bijector.copy(context=context)
    return bijector
