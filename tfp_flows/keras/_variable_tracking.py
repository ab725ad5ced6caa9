"""Shows the variables of flows to Keras, as they are: no copies."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._builders import recorded_call
from tfp_flows._layer import Layer, flatten
from tfp_flows.bijectors import MultiScale
from tfp_flows.keras import _replicas
from tfp_flows.keras._keras_versions import check_private
from tfp_flows.keras._serialization import raise_mismatch

tfb, tfd = tfp.bijectors, tfp.distributions
_AGGREGATIONS = {
    tf.VariableAggregation.NONE: "none",
    tf.VariableAggregation.SUM: "sum",
    tf.VariableAggregation.MEAN: "mean",
    tf.VariableAggregation.ONLY_FIRST_REPLICA: "only_first_replica",
}
# One for each `tf.Variable`, by its `id`: an optimizer must meet it once.
_wrapped: weakref.WeakValueDictionary = weakref.WeakValueDictionary()


class _WrappedVariable(keras.Variable):
    """A Keras variable whose value is an existing `tf.Variable`."""

    def __init__(self, variable: tf.Variable) -> None:
        self._existing = variable
        super().__init__(
            lambda shape, dtype: None,
            shape=variable.shape,
            dtype=variable.dtype.name,
            trainable=variable.trainable,
            autocast=False,
            aggregation=_AGGREGATIONS[variable.aggregation],
            name=variable.name.split(":")[0].replace("/", "_"),
        )
        check_private(self.value is variable, "Variable", "_initialize")

    def _initialize(self, value: Any) -> None:
        self._value = self._existing


def as_keras_variable(variable: tf.Variable) -> keras.Variable:
    """Returns the Keras variable whose value is a `tf.Variable`.

    Raises:
      ValueError: the variable was created outside of the scope of the strategy.
    """
    _replicas.check_scope(variable)
    known = _wrapped.get(id(variable))
    if known is None:
        known = _wrapped[id(variable)] = _WrappedVariable(variable)
    return known


class _VariableHolder(keras.layers.Layer):
    """Holds the variables and Keras networks of a component; it is never called.

    Args:
      variables: list of `tf.Variable`s.
      networks: list of Keras layers.
      name: name of the layer.
    """

    def __init__(
        self,
        variables: Iterable[tf.Variable],
        networks: list[keras.layers.Layer],
        name: str,
    ) -> None:
        super().__init__(name=name, autocast=False)
        with keras.name_scope(name):  # paths of their own, for TensorBoard
            self._held = [as_keras_variable(variable) for variable in variables]
        self._networks = networks
        self.built = True

    def save_own_variables(self, store: Any) -> None:
        # In this order, whatever is trained of it at the moment.
        for i, variable in enumerate(self._held):
            store[str(i)] = variable

    def load_own_variables(self, store: Any) -> None:
        raise_mismatch(self, store, self._mismatch(store))
        for i, variable in enumerate(self._held):
            variable.assign(store[str(i)])

    def _mismatch(self, store: Any) -> str | None:
        found = [tuple(store[key].shape) for key in sorted(store.keys(), key=int)]
        for i, variable in enumerate(self._held):
            if found[i : i + 1] != [tuple(variable.shape)]:
                return (
                    f"Weights for `{self.name}` must fit: its variable {i}, "
                    f"`{variable.name}`, has shape {tuple(variable.shape)}; "
                    f"got {found[i] if i < len(found) else 'none'} in the file."
                )
        if len(found) > len(self._held):
            return (
                f"Weights for `{self.name}` must be of {len(self._held)} variables; "
                f"got {len(found)} in the file."
            )
        return None


def holders_of(
    flow: tf.Module, untracked: Sequence[tf.Variable] = ()
) -> list[keras.layers.Layer]:
    """Returns layers that show the variables and networks of a flow to Keras.

    Args:
      flow: bijector or distribution, or another module.
      untracked: list of variables that the flow uses but does not track, as
        `untracked_variables` finds them.

    Returns:
      holders: list of Keras layers that are never called, one for each component of the
        flow that has variables, from data to latents.
    """
    taken: set[int] = set()
    holders: list[keras.layers.Layer] = []
    for module in [*_flow_components(flow), flow]:
        every = networks_of(module)
        networks = [network for network in every if id(network) not in taken]
        taken.update(map(id, networks))
        for network in every:
            taken.update(id(variable.value) for variable in network.variables)
        own = [*module.variables, *(untracked if module is flow else [])]
        own = [v for v in _unwrapped(own) if id(v) not in taken]
        own = list({id(variable): variable for variable in own}.values())
        taken.update(map(id, own))
        if own or networks:
            cls = _holder_class(type(module).__name__)
            names = [holder.name for holder in holders]
            holders.append(cls(own, networks, _unused_name(module.name, names)))
    _check_not_frozen(flow, taken)
    return holders


def _check_not_frozen(flow: tf.Module, taken: set[int]) -> None:
    """Raises `ValueError` if TFP made constants of Keras variables.

    Args:
      flow: module.
      taken: set of the `id`s of the `tf.Variable`s that were found in it.
    """
    for part in [flow, *flow.submodules]:
        for name, value in getattr(part, "parameters", {}).items():
            if isinstance(value, keras.Variable) and id(value.value) not in taken:
                raise ValueError(
                    f"`{name}` of `{part.name}` must be a `tf.Variable`; got a "
                    f"`keras.Variable`, {value.path}, of which TFP keeps only the first"
                    " value. Pass its `value`."
                )


def networks_of(module: tf.Module) -> list[keras.layers.Layer]:
    """Returns the Keras networks that layers of a flow have as conditioners."""
    networks = []
    for part in [module, *module.submodules]:
        is_layer = isinstance(part, Layer)
        network = part.conditioner if is_layer else getattr(part, "network", None)
        if isinstance(network, keras.layers.Layer):
            networks.append(network)
    return networks


def _flow_components(flow: tf.Module) -> list[tf.Module]:
    """Returns the components of a flow, out of chains, from data to latents."""
    if isinstance(flow, tfd.Distribution):
        inner = getattr(flow, "distribution", None)
        if not isinstance(inner, tfd.Distribution):
            return [flow]
        bijector = getattr(flow, "bijector", None)
        outer = [] if bijector is None else _flow_components(bijector)
        return outer + _flow_components(inner)
    components = []
    for layer, _ in flatten(flow, "inverse"):
        if isinstance(layer, MultiScale):
            for part in [*layer.bijectors, *layer.priors]:
                components += _flow_components(part)
        else:
            components.append(layer)
    return components


def _unwrapped(variables: Iterable[Any]) -> list[tf.Variable]:
    """Returns `tf.Variable`s for variables of TensorFlow, Keras 2 or Keras 3."""
    return [v.value if isinstance(v, keras.Variable) else v for v in variables]


def untracked_variables(
    flow: tf.Module, evaluate: Callable[[], Any]
) -> list[tf.Variable]:
    """Returns variables that a flow uses, including those that it does not track.

    Functions hold them, such as templates for the networks of TFP's bijectors, and may
    create them in the first call. Flows of this package track their variables.

    Args:
      flow: bijector or distribution.
      evaluate: callable without arguments that evaluates the flow.

    Raises:
      ValueError: a function creates other variables in each call.
    """
    call = recorded_call(flow)
    if call is not None and call.name.startswith("tfp_flows>"):
        return []
    found = []
    for _ in range(2):
        with tf.GradientTape() as tape:
            evaluate()
        watched = map(_replicas.variable_of_all, tape.watched_variables())
        found.append({id(variable): variable for variable in watched})
    first, second = found
    new = [variable.name for i, variable in second.items() if i not in first]
    if new:
        raise ValueError(
            f"A function in {flow!r} must create its variables once, not in each call; "
            f"got new ones in the second call: {new}."
        )
    return list(first.values())


@functools.cache
def _holder_class(name: str) -> type[_VariableHolder]:
    """Returns a class of holders, under the name that `summary` shows."""
    return type(name.strip("_"), (_VariableHolder,), {})


def _unused_name(name: str, names: list[str]) -> str:
    """Returns a name for a holder that is not among `names`."""
    name = name.split("/")[0] or "flow"
    candidates = [name, *(f"{name}_{number}" for number in range(1, len(names) + 1))]
    return next(candidate for candidate in candidates if candidate not in names)
