"""Shows Keras the variables of flows, as they are: no copies."""

import functools
import weakref

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._builders import call_of
from tfp_flows._traversal import flatten
from tfp_flows.keras._weights import complain

tfb, tfd = tfp.bijectors, tfp.distributions
_AGGREGATIONS = {
    tf.VariableAggregation.NONE: "none",
    tf.VariableAggregation.SUM: "sum",
    tf.VariableAggregation.MEAN: "mean",
    tf.VariableAggregation.ONLY_FIRST_REPLICA: "only_first_replica",
}
# One for each `tf.Variable`, by its `id`: an optimizer must meet it once.
_adopted = weakref.WeakValueDictionary()


class _Adopted(keras.Variable):
    """A Keras variable whose value is a `tf.Variable` that is there already."""

    def __init__(self, variable):
        self._variable = variable
        super().__init__(
            lambda shape, dtype: None,
            shape=variable.shape,
            dtype=variable.dtype.name,
            trainable=variable.trainable,
            autocast=False,
            aggregation=_AGGREGATIONS[variable.aggregation],
            name=variable.name.split(":")[0].replace("/", "_"),
        )

    def _initialize(self, value):
        self._value = self._variable


def adopt(variable):
    """Returns the Keras variable that has a `tf.Variable` as its value.

    Raises:
      ValueError: the variable was made out of the scope of the current strategy.
    """
    if not tf.distribute.get_strategy().extended.variable_created_in_scope(variable):
        raise ValueError(
            "A flow and its Keras model must be built within one `strategy.scope()`; "
            f"got the variable `{variable.name}` of another one, or of none."
        )
    known = _adopted.get(id(variable))
    if known is None:
        known = _adopted[id(variable)] = _Adopted(variable)
    return known


class _Part(keras.layers.Layer):
    """Holds the variables and Keras networks of a part of a flow; it is never called.

    Args:
      variables: list of `tf.Variable`s.
      networks: list of Keras layers.
      name: name of the layer.
    """

    def __init__(self, variables, networks, name):
        super().__init__(name=name, autocast=False)
        with keras.name_scope(name):  # paths of their own, for TensorBoard
            self._own = [adopt(variable) for variable in variables]
        self._networks = networks
        self.built = True

    def save_own_variables(self, store):
        # In this order, whatever is trained of it at the moment.
        for i, variable in enumerate(self._own):
            store[str(i)] = variable

    def load_own_variables(self, store):
        complain(self, store, self._mismatch(store))
        for i, variable in enumerate(self._own):
            variable.assign(store[str(i)])

    def _mismatch(self, store):
        found = [tuple(store[key].shape) for key in sorted(store.keys(), key=int)]
        for i, variable in enumerate(self._own):
            if found[i : i + 1] != [tuple(variable.shape)]:
                return (
                    f"Weights for `{self.name}` must fit: its variable {i}, "
                    f"`{variable.name}`, has shape {tuple(variable.shape)}; "
                    f"got {found[i] if i < len(found) else 'none'} in the file."
                )
        if len(found) > len(self._own):
            return (
                f"Weights for `{self.name}` must be of {len(self._own)} variables; "
                f"got {len(found)} in the file."
            )
        return None


def parts_of(flow, hidden=()):
    """Returns layers that show the variables and networks of a flow to Keras.

    Args:
      flow: bijector or distribution, or another module.
      hidden: list of variables that the flow uses and does not know of, as
        `hidden_variables` finds them.

    Returns:
      parts: list of Keras layers that are never called, one for each part of the flow
        that has variables, from the data to the noise.
    """
    taken, parts = set(), []
    for module in [*_leaves(flow), flow]:
        every = networks_of(module)
        networks = [network for network in every if id(network) not in taken]
        taken.update(map(id, networks))
        for network in every:
            taken.update(id(variable.value) for variable in network.variables)
        own = [*module.variables, *(hidden if module is flow else [])]
        own = [v for v in _unwrapped(own) if id(v) not in taken]
        own = list({id(variable): variable for variable in own}.values())
        taken.update(map(id, own))
        if own or networks:
            kind = _kind(type(module).__name__)
            names = [part.name for part in parts]
            parts.append(kind(own, networks, _unused(module.name, names)))
    _check_not_frozen(flow, taken)
    return parts


def _check_not_frozen(flow, taken):
    """Raises `ValueError` if Keras variables were given to who made constants of them.

    Args:
      flow: module.
      taken: set of the `id`s of the `tf.Variable`s that were found in it.
    """
    for part in [flow, *flow.submodules]:
        for name, value in getattr(part, "parameters", {}).items():
            if isinstance(value, keras.Variable) and id(value.value) not in taken:
                raise ValueError(
                    f"`{name}` of `{part.name}` must be a `tf.Variable`; got a "
                    f"`keras.Variable`, {value.path}, of which TFP has kept the first "
                    "value alone. Give its `value`."
                )


def networks_of(module):
    """Returns the Keras networks that the layers of a flow ask for parameters."""
    networks = []
    for part in [module, *module.submodules]:
        for name in ("network", "conditioner"):
            value = getattr(part, name, None)
            if isinstance(value, keras.layers.Layer):
                networks.append(value)
    return networks


def _leaves(flow):
    """Returns the parts of a flow, out of chains, from the data to the noise."""
    if isinstance(flow, tfd.Distribution):
        inner = getattr(flow, "distribution", None)
        if not isinstance(inner, tfd.Distribution):
            return [flow]
        bijector = getattr(flow, "bijector", None)
        outer = [] if bijector is None else _leaves(bijector)
        return outer + _leaves(inner)
    leaves = []
    for layer, _ in flatten(flow, "inverse"):
        if hasattr(layer, "priors"):  # of a `MultiScale`
            for part in [*layer.bijectors, *layer.priors]:
                leaves += _leaves(part)
        else:
            leaves.append(layer)
    return leaves


def _unwrapped(variables):
    """Returns `tf.Variable`s for those that may be of Keras 2 or 3."""
    return [v.value if isinstance(v, keras.Variable) else v for v in variables]


def hidden_variables(flow, evaluate):
    """Returns variables that a flow uses, and may not know of.

    Functions hold them, such as templates for the networks of TFP's bijectors, and may
    make them in the first call. What recipes of this package make knows its variables.

    Args:
      flow: bijector or distribution.
      evaluate: callable without arguments that uses the flow.

    Raises:
      ValueError: a function makes other variables in each call.
    """
    call = call_of(flow)
    if call is not None and call.name.startswith("tfp_flows>"):
        return []
    found = []
    for _ in range(2):
        with tf.GradientTape() as tape:
            evaluate()
        found.append({id(v): v for v in map(_whole, tape.watched_variables())})
    first, second = found
    new = [v.name for i, v in second.items() if i not in first]
    if new:
        raise ValueError(
            f"A function in {flow!r} must make its variables once, not in each call; "
            f"got new ones in the second call: {new}."
        )
    return list(first.values())


def _whole(variable):
    """Returns the variable of all replicas, for that of one of them."""
    container = getattr(variable, "_distributed_container", None)
    container = container or getattr(variable.handle, "_distributed_container", None)
    return variable if container is None else container()


@functools.cache
def _kind(name):
    """Returns the class of a part, under the name that a summary shows."""
    return type(name.strip("_"), (_Part,), {})


def _unused(name, names):
    """Returns a name for a part, other than the names that there are."""
    name = name.split("/")[0] or "flow"
    candidates = [name, *(f"{name}_{number}" for number in range(1, len(names) + 1))]
    return next(candidate for candidate in candidates if candidate not in names)
