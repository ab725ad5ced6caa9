"""Copies of flows: what `copy.deepcopy` and `pickle` need, and `clone`."""

import copy
import copyreg

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._closures import variables_within

tfb, tfd = tfp.bijectors, tfp.distributions
# They hold functions of their parts, which a copy would share with the original.
_OF_FUNCTIONS = (tfd.JointDistribution, tfd.Blockwise)


def register():
    """Lets `copy` and `pickle` make TFP's compositions of parts, as they make others.

    `tfd.Sample`, `tfb.Chain` and their like choose a class by their arguments before
    they are made. Both libraries first make an object without arguments, and give it
    its attributes then, which fails there.
    """
    for module in (tfd, tfb):
        for cls in vars(module).values():
            if not isinstance(cls, type) or not issubclass(
                cls, (tfd.Distribution, tfb.Bijector)
            ):
                continue
            if cls.__new__ is not object.__new__ and not issubclass(cls, _OF_FUNCTIONS):
                copyreg.dispatch_table.setdefault(cls, _reduce)


def _reduce(value):
    _, arguments, *state = value.__reduce_ex__(4)
    return (object.__new__, arguments, *state)


def clone(flow):
    """Copy a flow onto variables of its own, with the same values.

    As `copy.deepcopy`, and no variable is shared with the original: for ensembles, for
    averages of weights, for another optimizer. What has a seed draws the same numbers.

    Args:
      flow: `tfd.Distribution`, `tfb.Bijector`, or network of this package.

    Returns:
      copied: the same, on new variables.

    Raises:
      TypeError: `flow` is none of those.
      ValueError: functions in it refer to variables, which a copy would share, as
        joint distributions do; or a Keras network is a conditioner without a
        `tfp_flows.keras.Conditioner`.
    """
    if not isinstance(flow, tf.Module) or isinstance(flow, type):
        raise TypeError(
            f"`flow` must be a distribution, a bijector or a network; got {flow!r}."
        )
    for part in [flow, *flow.submodules]:
        if hasattr(getattr(part, "conditioner", None), "built"):
            raise ValueError(
                "`flow` must have its Keras networks in `tfp_flows.keras.Conditioner` "
                f"to be cloned; got {part.conditioner!r}, a conditioner of "
                f"`{part.name}` by itself."
            )
        if isinstance(part, _OF_FUNCTIONS):
            raise ValueError(
                "`flow` must be cloned part by part where it is joint, and be built "
                f"anew of the clones; got {part!r}."
            )
    copied = copy.deepcopy(flow)
    own = _variables_of(flow)
    shared = [v.name for i, v in _variables_of(copied).items() if i in own]
    if shared:
        raise ValueError(
            "`flow` must have its variables in attributes to be cloned; got functions "
            f"that refer to {sorted(shared)}, which a copy would share. Call the "
            "function that made the flow once more, and restore its checkpoint."
        )
    return copied


def _variables_of(flow):
    """Returns the variables of a flow and those of its functions, by `id`."""
    found = list(flow.variables)
    for part in [flow, *flow.submodules]:
        for value in list(vars(part).values()):
            found += variables_within(value)
    return {id(variable): variable for variable in found}
