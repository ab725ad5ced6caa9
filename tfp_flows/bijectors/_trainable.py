"""Trainable instances of the bijectors whose parameters are tensors."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._builders import check_outside_of_graphs, register_builder
from tfp_flows._dtypes import check_dtype


@register_builder(package="tfp_flows")
def make_trainable(
    bijector_class,
    event_shape,
    *,
    seed,
    stddev=0.01,
    shapes=None,
    dtype=tf.float32,
    **fixed,
):
    """Builds a bijector on variables that keep the constraints of its parameters.

    The unconstrained values start near 0, which the bijectors of this package choose to
    be the identity, or near it. `tfp.experimental.util.make_trainable` gives no
    `tfb.Bijector`, so that its result does not go into a `tfb.Chain`.

    Args:
      bijector_class: class that implements `parameter_properties`.
      event_shape: shape of one input, such as `[D]` or `[H, W, C]`.
      seed: integer that decides the initial values, in each process alike.
      stddev: standard deviation of the unconstrained initial values: a number, or a
        dictionary of numbers by parameter, 0.01 where it has none.
      shapes: dictionary of shapes by parameter, for those that `event_shape` does not
        decide, such as `dict(u=[K, D], w=[K, D], b=[K])` of a `PlanarStack`.
      dtype: floating dtype of the variables.
      **fixed: constructor arguments that are not trained.

    Returns:
      bijector: instance of `bijector_class`.

    Raises:
      ValueError: a parameter's shape is not known, or `stddev` or `shapes` names none
        of the trained parameters.
      TypeError: `fixed` holds what is no argument of `bijector_class`, or `seed` is no
        integer.
      RuntimeError: a graph is being made, as by a `tf.function`.
    """
    check_outside_of_graphs()
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"`seed` must be an integer; got {seed!r}.")
    check_dtype("dtype", dtype)
    properties = {
        name: value
        for name, value in bijector_class.parameter_properties(dtype).items()
        if name not in fixed
    }
    shapes = shapes or {}
    stddevs = stddev if isinstance(stddev, dict) else dict.fromkeys(properties, stddev)
    for argument, given in [("shapes", shapes), ("stddev", stddevs)]:
        if set(given) - set(properties):
            raise ValueError(
                f"`{argument}` must name parameters out of {sorted(properties)}; "
                f"got {sorted(given)}."
            )
    variables = {}
    # TFP draws a new seed for an integer on every call; a pair is taken as it is.
    seeds = tfp.random.split_seed([0, seed], n=len(properties))
    for (name, value), seed in zip(properties.items(), seeds):
        shape = tf.TensorShape(
            shapes.get(name, value.shape_fn(tf.TensorShape(event_shape)))
        )
        if not shape.is_fully_defined():
            raise ValueError(
                f"`shapes` must tell the shape of `{name}`, which the event shape "
                f"{list(event_shape)} does not decide; got {shapes}."
            )
        constrain = value.default_constraining_bijector_fn()
        raw = tf.random.stateless_normal(
            constrain.inverse_event_shape(shape),
            seed,
            stddev=stddevs.get(name, 0.01),
            dtype=dtype,
        )
        variables[name] = tfp.util.TransformedVariable(
            constrain.forward(raw), constrain, name=name
        )
    return bijector_class(**variables, **fixed)
