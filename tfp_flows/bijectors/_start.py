"""Layers in the order in which data pass, and starts from data that follow it."""

import tensorflow_probability as tfp

tfb = tfp.bijectors

OTHER = dict(forward="inverse", inverse="forward")
_CHAIN, _INVERT = (kind.__mro__[1] for kind in (tfb.Chain, tfb.Invert))


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


def start(bijector, values, direction):
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
        if hasattr(layer, "start_from_data"):
            values = layer.start_from_data(values, way)
        elif any(hasattr(part, "start_from_data") for part in layer.submodules):
            raise TypeError(
                "A start from data reaches layers in `tfb.Chain`, `tfb.Invert` and "
                f"those of `tfp_flows.bijectors`; got some within {layer!r}."
            )
        else:
            values = getattr(layer, way)(values)
    return values
