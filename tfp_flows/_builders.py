"""Which call made an object, so that it can be described, saved and made again."""

import functools
import inspect

import tensorflow as tf

_makers = {}  # what can be called again, by name
_names = {}  # and the names, by what is called


class Call:
    """A call that made an object; opaque to `tf.nest` and `tf.Module`.

    Args:
      name: name of what was called.
      arguments: dictionary of the arguments that were given.
    """

    __slots__ = ("name", "arguments")

    def __init__(self, name, arguments):
        self.name, self.arguments = name, arguments


def register(maker, package="tfp_flows"):
    """Gives a class or function a name by which it is called again.

    Raises:
      ValueError: another one has that name.
    """
    name = f"{package}>{maker.__name__}"
    other = _makers.setdefault(name, maker)
    if other is not maker and (other.__module__, other.__qualname__) != (
        maker.__module__,
        maker.__qualname__,
    ):
        raise ValueError(
            f"`{maker.__name__}` must be the only recipe of that name in the package "
            f"{package!r}; got {maker!r} besides {other!r}."
        )
    _makers[name] = maker
    _names[maker] = name
    return maker


def recipe(maker=None, *, package="Custom"):
    """Decorator: what a function or class makes remembers the call that made it.

    Such an object is saved with its configuration in a `.keras` file: the name of the
    function, and the arguments. To load it, the module that defines the function must
    have been imported.

    Args:
      maker: function that returns a bijector, distribution or `tf.Module`, or a class
        of such; always the same variables for the same arguments.
      package: with the name of the function, what it is found by.

    Returns:
      recorded: the same function or class, or a decorator if `maker` is None.

    Raises:
      ValueError: the package has another recipe of that name.
    """
    if maker is None:
        return functools.partial(recipe, package=package)
    if isinstance(maker, type):
        _record_constructor(maker, f"{package}>{maker.__name__}")
        return register(maker, package)

    @functools.wraps(maker)
    def recorded(*args, **kwargs):
        made = maker(*args, **kwargs)
        _note(made, f"{package}>{maker.__name__}", maker, args, kwargs)
        return made

    return register(recorded, package)


def check_outside_of_graphs():
    """Checks that variables which are made now are made once.

    Raises:
      RuntimeError: a graph is being made, for each of whose calls they would be new.
    """
    if not tf.executing_eagerly():
        raise RuntimeError(
            "A flow or network must be created outside of graphs, as it owns variables;"
            " got a call while a graph is traced: within a `tf.function`, the model of "
            "a `tfd.JointDistributionCoroutine`, or a `DistributionLambda`. Create it "
            "once before, `flow = ...`, and use `flow` there; "
            "`tfp_flows.flows.condition(flow, context)` goes within."
        )


def call_of(made):
    """Returns the `Call` that made an object, or None if that is not known."""
    return vars(made).get("_recipe") if hasattr(made, "__dict__") else None


def name_of(maker):
    """Returns the name of what can be called again, or None if it has none."""
    try:
        return _names.get(maker)
    except TypeError:  # not hashable
        return None


def maker_of(name):
    """Returns what a name stands for.

    Raises:
      ValueError: nothing has that name.
    """
    if name not in _makers:
        raise ValueError(
            f"A recipe must be known by its name before it is made again; got {name!r}."
            " Import the module that defines it first."
        )
    return _makers[name]


def _record_constructor(cls, name):
    construct = cls.__init__

    @functools.wraps(construct)
    def recorded(self, *args, **kwargs):
        construct(self, *args, **kwargs)
        if type(self) is cls:  # a subclass is made by another call
            _note(self, name, functools.partial(construct, self), args, kwargs)

    cls.__init__ = recorded


def _note(made, name, maker, args, kwargs):
    arguments = inspect.signature(maker).bind(*args, **kwargs).arguments
    # Past `__setattr__`: the arguments are no parts of what they made.
    vars(made)["_recipe"] = Call(name, dict(arguments))
