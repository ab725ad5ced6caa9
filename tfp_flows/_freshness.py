"""A bijector cache that cannot answer with values, gradients or graphs of the past.

TFP's cache looks a tensor up by identity. It does not see that a variable changed, that
a gradient tape was opened, or that another graph is being built since the answer was
made. Yet `log_prob` needs a cache: it asks each layer for the inverse and then for the
log determinant, and one evaluation should serve both. `never_stale` gives a layer a
cache of its own, which answers only where computing again would give the same values,
recorded by the same tapes, in the same graph.

A composition of TFP's, such as `tfb.Chain`, is only as fresh as its parts, and some may
be TFP's own. The first time that one with a layer of ours is evaluated, TFP's cache
asks for a hash of the layer; then the composition and all of its parts get such caches,
each as an attribute of the one object. No class of TFP is changed.

What a cache cannot see: that a tape which recorded how an output was made is then told
to `watch` that output as if it were an input; and values that a layer reads from what
is no `tf.Variable` of its own. Of functions that TFP's bijectors take, it sees the
trainable variables that they read.

Only this file and `_autodiff.py` know private parts of TFP and TensorFlow. Where a
release lacks one of TensorFlow's, caches remember nothing: slower, and as right.
"""

import ctypes
import functools
import itertools
import os
import sys
import threading
import types
import warnings
import weakref

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._traversal import components_of

tfb, tfd = tfp.bijectors, tfp.distributions

# A graph lives as long as an edge holds one of its tensors: a layer keeps this many.
_MOST_EDGES = 8
_unique = itertools.count()
_FILES_OF_TFP = os.path.dirname(tfp.__file__)
_EVALUATIONS = {
    getattr(tfb.Bijector, name).__code__
    for name in [
        *("forward", "forward_log_det_jacobian"),
        *("inverse", "inverse_log_det_jacobian"),
    ]
}


def _private_parts():
    """Returns what is private to TensorFlow and Python; None if some of it is gone."""
    try:
        from tensorflow.python.ops.gradients_util import PossibleTapeGradientTypes

        data_of_capsule = ctypes.pythonapi.PyCapsule_GetPointer
        data_of_capsule.restype = ctypes.c_void_p
        data_of_capsule.argtypes = [ctypes.py_object, ctypes.c_char_p]
        return types.SimpleNamespace(
            count_tapes=PossibleTapeGradientTypes,
            data_of_capsule=data_of_capsule,
            to_dlpack=tf.experimental.dlpack.to_dlpack,
        )
    except (AttributeError, ImportError) as error:
        warnings.warn(
            "The layers of tfp_flows remember nothing, and so evaluate what `log_prob` "
            f"needs twice, since TensorFlow {tf.__version__} lacks what tells when an "
            f"answer still holds: {error}. Their values and gradients are as right. "
            "A release that this version of tfp_flows was tested with is as fast as it "
            "should be.",
            stacklevel=2,
        )
        return None


_private = _private_parts()


def never_stale(target):
    """Replaces TFP's cache of bijectors by one that is never stale.

    TFP's bijectors answer the same tensor out of a cache, in eager mode even after
    their variables changed, or without the gradient if a tape was opened since. Layers
    of this package do not, nor do compositions of TFP that hold one, such as
    `tfb.Chain([tfb.Scale(variable), layer])`: those are made fresh as they are first
    evaluated. This function is for those that TFP evaluates before any layer of this
    package can notice: a bijector of TFP over a distribution, such as
    `tfd.TransformedDistribution(flow, tfb.Scale(variable))`; a base that TFP transforms
    itself, such as `tfd.MultivariateNormalDiag(variable, variable)`; and what holds no
    layer of this package at all.

    As a class decorator it is for who writes a bijector. `_forward(x)` may then leave
    the log determinant that it computed on the way in
    `self._cache.forward_attributes(x)["ildj"]`, with the sign of the inverse, and
    `_inverse(y)` in `self._cache.inverse_attributes(y)["ildj"]`. TFP takes it from
    there. A layer whose attribute `_conditioner_variables` is None depends on variables
    that it does not know. Nothing is remembered of it.

    Args:
      target: bijector, of TFP or any other, or distribution, with all bijectors in it;
        or subclass of `tfb.Bijector`, to decorate.

    Returns:
      target: the same object.

    Raises:
      TypeError: `target` is none of those.
    """
    if isinstance(target, type) and issubclass(target, tfb.Bijector):
        target._cache = _CacheOfInstance()
        target.__hash__ = _hash
        if target._is_increasing.__func__ is tfb.Bijector._is_increasing.__func__:
            target._is_increasing = classmethod(_refuse_order)
        return target
    if not isinstance(target, (tfb.Bijector, tfd.Distribution)):
        raise TypeError(
            "`target` must be a bijector, a distribution or a subclass of "
            f"`tfb.Bijector`; got {target!r}."
        )
    for part in (target, *target.submodules):
        if isinstance(part, tfb.Bijector):
            _refresh(part)
    return target


def _refuse_order(cls, **kwargs):
    """What TFP asks a layer for a `cdf`, and gets from one that maps events."""
    raise NotImplementedError(
        "`cdf`, `quantile` and the like must be asked of an increasing map of numbers; "
        f"got {cls.__name__}, a map of events. Count samples instead: "
        "`np.mean(np.all(flow.sample(n) <= x, axis=-1))`."
    )


def _refresh(bijector):
    """Gives a bijector of TFP a cache of its own, unless it has one."""
    if isinstance(type(bijector)._cache, _CacheOfInstance):
        return
    known = vars(bijector).get("_cache")
    if not isinstance(known, _CacheOfTFP) or known.owner() is not bijector:
        # Past `__setattr__`, so that `tf.Module` does not track it.
        vars(bijector)["_cache"] = _CacheOfTFP(bijector)


def _hash(bijector):
    """Hash by which a composition of TFP's learns that it holds a layer of ours.

    The keys of TFP's cache hash a composition, and so its layers. This one is then made
    fresh, and no such key agrees with another; all others who hash a layer get the hash
    that TFP gives.
    """
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_FILES_OF_TFP):
        if frame.f_code in _EVALUATIONS:
            never_stale(frame.f_locals["self"])
            return next(_unique)
        frame = frame.f_back
    return tfb.Bijector.__hash__(bijector)


class _CacheOfInstance:
    """Descriptor: `bijector._cache` is the cache of that instance."""

    def __get__(self, bijector, bijector_class=None):
        if bijector is None:
            return self
        memory = vars(bijector).get("_cache_memory")
        if memory is None or memory.owner() is not bijector:  # `copy.copy` shares it
            memory = vars(bijector)["_cache_memory"] = _Memory(bijector)
            for part in components_of(bijector):
                never_stale(part)
        return _Cache(bijector, memory)


class _Memory:
    """What a cache remembers; a copy of a bijector starts with an empty one."""

    def __init__(self, owner=None):
        self.owner = (lambda: None) if owner is None else weakref.ref(owner)
        self.edges = []
        self.pending = {}  # inputs under evaluation, by thread, with their attributes
        self.inputs = None  # all that the values depend on, but for the source

    def __reduce__(self):
        return _Memory, ()


class _Edge:
    """An input and its output, what else is known of them, and when that holds."""

    def __init__(
        self, direction, source, target, witness, kwargs, attributes, state, drop
    ):
        self.direction = direction
        self.source = source
        self.target = weakref.ref(target, drop)
        self.witness = witness
        self.kwargs = kwargs
        self.attributes = attributes
        self.state = state


class _Cache:
    """The four methods of TFP's cache that `tfb.Bijector` calls."""

    def __init__(self, bijector, memory):
        self._bijector = bijector
        self._memory = memory

    def forward(self, x, **kwargs):
        return self._apply("_forward", x, kwargs)

    def inverse(self, y, **kwargs):
        return self._apply("_inverse", y, kwargs)

    def forward_attributes(self, x, **kwargs):
        return self._attributes("_forward", x, kwargs)

    def inverse_attributes(self, y, **kwargs):
        return self._attributes("_inverse", y, kwargs)

    def _apply(self, direction, source, kwargs):
        edge = self._find(direction, source, kwargs)
        if edge is not None:
            return edge.target() if edge.direction == direction else edge.source
        attributes = {}
        key = threading.get_ident(), id(source)
        self._memory.pending[key] = attributes
        try:
            target = self._evaluate(direction, source, kwargs)
        finally:
            del self._memory.pending[key]
        if (
            self._remembers()
            and tf.is_tensor(source)
            and tf.is_tensor(target)
            and (target is not source)
        ):
            self._keep(direction, source, target, kwargs, attributes)
        return target

    def _evaluate(self, direction, source, kwargs):
        return getattr(self._bijector, direction)(source, **kwargs)

    def _remembers(self):
        return getattr(self._bijector, "_conditioner_variables", []) is not None

    def _keep(self, direction, source, target, kwargs, attributes):
        memory = self._memory
        if memory.inputs is None:  # now even those made on the first call are there
            memory.inputs = _inputs_of(self._bijector)
        # Nobody else has it, to watch it by another tape than those that are open now.
        witness = tf.identity(target)
        state = _state((source, target, witness), memory.inputs)
        if state is None:
            return

        def drop(target_ref):
            memory.edges = [e for e in memory.edges if e.target is not target_ref]

        edge = _Edge(
            direction, source, target, witness, kwargs, attributes, state, drop
        )
        kept = [e for e in memory.edges if not e.state.is_past(state)]
        memory.edges = [edge, *kept[: _MOST_EDGES - 1]]

    def _attributes(self, direction, source, kwargs):
        pending = self._memory.pending.get((threading.get_ident(), id(source)))
        if pending is not None:
            return pending
        edge = self._find(direction, source, kwargs)
        return {} if edge is None else edge.attributes

    def _find(self, direction, tensor, kwargs):
        for edge in self._memory.edges:
            target = edge.target()
            key = edge.source if edge.direction == direction else target
            if (
                key is tensor
                and target is not None
                and edge.kwargs.keys() == kwargs.keys()
                and all(edge.kwargs[name] is kwargs[name] for name in kwargs)
            ):
                tensors = edge.source, target, edge.witness
                if edge.state == _state(tensors, self._memory.inputs):
                    return edge
        return None


class _CacheOfTFP(_Cache):
    """The cache of one bijector that is none of ours, as an attribute of it."""

    def __init__(self, bijector):
        self._memory = _Memory(bijector)

    def __deepcopy__(self, memo):
        return _CacheOfTFP(memo[id(self._bijector)])

    def __reduce__(self):
        return _CacheOfTFP, (self._bijector,)

    @functools.cached_property
    def _is_composition(self):
        return bool(components_of(self._bijector))

    @functools.cached_property
    def _has_functions(self):
        return any(map(_is_opaque, (self._bijector.parameters or {}).values()))

    @property
    def owner(self):
        return self._memory.owner

    @property
    def _bijector(self):
        bijector = self.owner()  # no reference: it would outlive its last user
        if bijector is None:
            raise RuntimeError(
                "A bijector must be copied by its method `copy`, or by `copy.deepcopy`;"
                " got one that `copy.copy` made of another, which is gone."
            )
        return bijector

    def _remembers(self):
        return not self._is_composition  # its parts do, and each is evaluated once

    def _evaluate(self, direction, source, kwargs):
        if not self._has_functions:
            return super()._evaluate(direction, source, kwargs)
        with tf.GradientTape() as tape:  # which sees the variables that they read
            target = super()._evaluate(direction, source, kwargs)
        inputs = self._memory.inputs or _inputs_of(self._bijector)
        known = set(map(id, inputs))
        new = [v for v in tape.watched_variables() if id(v) not in known]
        self._memory.inputs = [*inputs, *new]
        return target


def _is_opaque(value):
    return callable(value) and not isinstance(value, (type, tf.Module))


def _inputs_of(bijector):
    """Returns a list of the variables and tensors that a bijector computes with."""
    parameters = (bijector.parameters or {}).values()
    tensors = [p for p in parameters if isinstance(p, tf.Tensor)]
    return [*bijector.variables, *tensors]


class _State(tuple):
    """Graph, tapes and versions; holds the values read, so that no address returns."""

    def __new__(cls, parts, reads):
        state = super().__new__(cls, parts)
        state.reads = reads
        return state

    def is_past(self, now):
        """Returns whether variables have changed, so that it will not be again."""
        return self[0] == now[0] and self[2] != now[2]


def _state(tensors, inputs):
    """Returns what must be the same for an answer to hold; None if none will hold."""
    if _private is None:
        return None
    values = [v if isinstance(v, tf.Tensor) else v.value() for v in inputs]
    # How many tapes would record an operation on it: 0, 1, or 2 for more than one and
    # for a persistent one. From 2 on, nobody can tell whether they are still the same.
    tapes = [_private.count_tapes([t]) for t in (*tensors, *values)]
    if max(tapes) > 1:
        return None
    reads = [value for value, v in zip(values, inputs) if value is not v]
    if tf.executing_eagerly():
        return _State((None, tuple(tapes), tuple(map(_address, reads))), reads)
    graph = tf.constant(0).graph
    return _State((id(graph), tuple(tapes), tuple(map(_count_writes, reads))), graph)


def _address(value):
    """Address of the values of an eager tensor, on whatever device they are.

    A variable shares its buffer with those who read it, and takes another one for new
    values while one of them is alive.
    """
    dtype = value.dtype
    if not (dtype.is_floating or dtype.is_integer or dtype.is_bool or dtype.is_complex):
        return object()  # asked for that of strings, TensorFlow ends the process
    try:
        capsule = _private.to_dlpack(value)
    except (NotImplementedError, RuntimeError, ValueError, tf.errors.OpError):
        return object()  # a device or dtype of which it cannot be told
    data = _private.data_of_capsule(capsule, b"dltensor")
    return ctypes.cast(data, ctypes.POINTER(ctypes.c_void_p))[0]


def _count_writes(read):
    """Number of operations so far, in this graph, that may write a variable."""
    while read.op.type != "ReadVariableOp":
        read = read.op.inputs[0]
    uses = read.op.inputs[0].consumers()
    return sum(use.type != "ReadVariableOp" for use in uses)
