"""Registered builders: the call that made an object, by which it is made again."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, overload

import tensorflow as tf

BuilderT = TypeVar("BuilderT", bound=Callable[..., Any])

_builders: dict[str, Callable[..., Any]] = {}  # by registered name
_names: dict[Callable[..., Any], str] = {}


class BuilderCall:
    """The call that made an object; opaque to `tf.nest` and `tf.Module`.

    Args:
      name: registered name of the builder.
      arguments: dictionary of the arguments that were given.
    """

    __slots__ = ("name", "arguments")

    def __init__(self, name: str, arguments: dict[str, Any]) -> None:
        self.name, self.arguments = name, arguments


def register(builder: BuilderT, package: str = "tfp_flows") -> BuilderT:
    """Registers a class or function by name, without recording its calls.

    Raises:
      ValueError: the package has another builder of that name.
    """
    name = f"{package}>{builder.__name__}"
    other = _builders.setdefault(name, builder)
    if other is not builder and (other.__module__, other.__qualname__) != (
        builder.__module__,
        builder.__qualname__,
    ):
        raise ValueError(
            f"`{builder.__name__}` must be the only builder of that name in the "
            f"package {package!r}; got {builder!r} besides {other!r}."
        )
    _builders[name] = builder
    _names[builder] = name
    return builder


@overload
def register_builder(builder: BuilderT, *, package: str = ...) -> BuilderT: ...
@overload
def register_builder(
    builder: None = None, *, package: str = ...
) -> Callable[[BuilderT], BuilderT]: ...
def register_builder(
    builder: Any = None, *, package: str = "Custom"
) -> Callable[..., Any]:
    """Register a flow builder, so that the flows it returns can be saved.

    A `.keras` file holds the registered name of the builder and the arguments of its
    call. To load the file, first import the module that defines the builder.

    >>> import tfp_flows
    >>> @tfp_flows.keras.register_builder(package="docs")
    ... def small_maf(event_size, *, seed):
    ...     return tfp_flows.flows.maf(event_size, 2, (8,), seed=seed, name="small")
    >>> small_maf(3, seed=0).name
    'small'

    Args:
      builder: function that returns a bijector, distribution or `tf.Module`, or a class
        of these. The same arguments must give the same variables, in the same order.
      package: prefix of the registered name, as for
        `keras.saving.register_keras_serializable`.

    Returns:
      builder: function or class with the same signature, or a decorator if `builder` is
        None.

    Raises:
      ValueError: the package has another builder of that name.
    """
    if builder is None:
        return functools.partial(register_builder, package=package)
    if isinstance(builder, type):
        _record_constructor(builder, f"{package}>{builder.__name__}")
        return register(builder, package)

    @functools.wraps(builder)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        result = builder(*args, **kwargs)
        _record(result, f"{package}>{builder.__name__}", builder, args, kwargs)
        return result

    return register(recorded, package)


def check_outside_of_graphs() -> None:
    """Checks that variables can be created.

    Raises:
      RuntimeError: a graph is being traced, each call of which would create others.
    """
    if not tf.executing_eagerly():
        raise RuntimeError(
            "A flow or network must be created outside of graphs, because it owns "
            "variables; got a call while a graph is traced: within a `tf.function`, the"
            " model of a `tfd.JointDistributionCoroutine`, or a `DistributionLambda`. "
            "Create it once before, `flow = ...`, and use `flow` there; "
            "`tfp_flows.flows.condition(flow, context)` is allowed within."
        )


def recorded_call(instance: Any) -> BuilderCall | None:
    """Returns the call that made an object, or None if it was not recorded."""
    return (
        vars(instance).get("_builder_call") if hasattr(instance, "__dict__") else None
    )


def registered_name(builder: Any) -> str | None:
    """Returns the registered name of a builder, or None if it has none."""
    try:
        return _names.get(builder)
    except TypeError:  # not hashable
        return None


def find_builder(name: str) -> Callable[..., Any]:
    """Returns the builder of a registered name.

    Raises:
      ValueError: no builder has that name.
    """
    if name not in _builders:
        raise ValueError(
            f"A builder must be registered before its flows are loaded; got {name!r}. "
            "Import the module that defines it first."
        )
    return _builders[name]


def _record_constructor(cls: Any, name: str) -> None:
    construct = cls.__init__

    @functools.wraps(construct)
    def recorded(self: Any, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        if type(self) is cls:  # a subclass is made by another call
            _record(self, name, functools.partial(construct, self), args, kwargs)

    cls.__init__ = recorded


def _record(
    instance: Any,
    name: str,
    builder: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    signature = inspect.signature(builder)
    arguments = dict(signature.bind(*args, **kwargs).arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:  # given by their own names
            arguments.update(arguments.pop(parameter.name, {}))
    # Past `__setattr__`: the arguments are not components of the instance.
    vars(instance)["_builder_call"] = BuilderCall(name, arguments)
