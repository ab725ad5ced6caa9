"""A bijector cache that cannot answer with values, gradients or graphs of the past.

TFP's cache looks a tensor up by identity. It does not see that a variable changed, that
a gradient tape was opened, or that another graph is being built since the answer was
made. Yet `log_prob` needs a cache: it asks each layer for the inverse and then for the
log determinant, and one evaluation should serve both. `never_stale` gives a layer a
cache of its own, which answers only where computing again would give the same values,
recorded by the same tapes, in the same graph.

What it cannot see: that a tape which recorded how an output was made is then told to
`watch` that output as if it were an input; and values that a layer reads from what is
no `tf.Variable` of its own.

This is the one file that knows private parts of TFP and TensorFlow.
"""

import ctypes
import itertools
import sys
import threading
import weakref

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow.python.ops.gradients_util import PossibleTapeGradientTypes
from tensorflow_probability.python.internal import cache_util

tfb = tfp.bijectors

# A graph lives as long as an edge holds one of its tensors: a layer keeps this many.
_MOST_EDGES = 8
_unique = itertools.count()
_MAKES_A_KEY = cache_util.WeakStructRef.__init__.__code__
_HASHING_FILES = {
    __file__,
    _MAKES_A_KEY.co_filename,
    tfb.Bijector.__hash__.__code__.co_filename,
}
_data_of_capsule = ctypes.pythonapi.PyCapsule_GetPointer
_data_of_capsule.restype = ctypes.c_void_p
_data_of_capsule.argtypes = [ctypes.py_object, ctypes.c_char_p]


def never_stale(bijector_class):
    """Class decorator that replaces TFP's cache of a layer, as this file describes.

    `_forward(x)` may leave the log determinant that it computed on the way in
    `self._cache.forward_attributes(x)["ildj"]`, with the sign of the inverse, and
    `_inverse(y)` in `self._cache.inverse_attributes(y)["ildj"]`. TFP takes it from
    there.

    A layer whose attribute `_conditioner_variables` is None depends on variables that
    it does not know. Nothing is remembered of it.
    """
    bijector_class._cache = _CacheOfInstance()
    bijector_class.__hash__ = _hash
    return bijector_class


def _hash(bijector):
    """Hash that keeps `tfb.Chain` and its like from remembering what our layers did.

    The keys of TFP's cache hash a composition, and so its layers. No two keys agree;
    all others who hash a layer get the hash that TFP gives.
    """
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename in _HASHING_FILES:
        if frame.f_code is _MAKES_A_KEY:
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
            # Past `__setattr__`, so that `tf.Module` does not track it.
            memory = vars(bijector)["_cache_memory"] = _Memory(bijector)
        return _Cache(bijector, memory)


class _Memory:
    """What a cache remembers; a copy of a bijector starts with an empty one."""

    def __init__(self, owner=None):
        self.owner = (lambda: None) if owner is None else weakref.ref(owner)
        self.edges = []
        self.pending = {}  # inputs under evaluation, by thread, with their attributes
        self.variables = None

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
            target = getattr(self._bijector, direction)(source, **kwargs)
        finally:
            del self._memory.pending[key]
        known = getattr(self._bijector, "_conditioner_variables", []) is not None
        if known and tf.is_tensor(source) and tf.is_tensor(target) and (
            target is not source
        ):
            self._keep(direction, source, target, kwargs, attributes)
        return target

    def _keep(self, direction, source, target, kwargs, attributes):
        memory = self._memory
        if memory.variables is None:  # now even those made on the first call are there
            memory.variables = self._bijector.variables
        # Nobody else has it, to watch it by another tape than those that are open now.
        witness = tf.identity(target)
        state = _state((source, target, witness), memory.variables)
        if state is None:
            return

        def drop(target_ref):
            memory.edges = [e for e in memory.edges if e.target is not target_ref]

        edge = _Edge(
            direction, source, target, witness, kwargs, attributes, state, drop
        )
        memory.edges = [edge, *memory.edges[: _MOST_EDGES - 1]]

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
                if edge.state == _state(tensors, self._memory.variables):
                    return edge
        return None


class _State(tuple):
    """Graph, tapes and versions; holds the values read, so that no address returns."""

    def __new__(cls, parts, reads):
        state = super().__new__(cls, parts)
        state.reads = reads
        return state


def _state(tensors, variables):
    """Returns what must be the same for an answer to hold; None if none will hold."""
    reads = [variable.value() for variable in variables]
    # How many tapes would record an operation on it: 0, 1, or 2 for more than one and
    # for a persistent one. From 2 on, nobody can tell whether they are still the same.
    tapes = [PossibleTapeGradientTypes([t]) for t in (*tensors, *reads)]
    if max(tapes) > 1:
        return None
    if tf.executing_eagerly():
        return _State((None, tuple(tapes), tuple(map(_address, reads))), reads)
    graph = tf.constant(0).graph
    return _State((id(graph), tuple(tapes), tuple(map(_count_writes, reads))), graph)


def _address(value):
    """Address of the values of an eager tensor, on whatever device they are.

    A variable shares its buffer with those who read it, and takes another one for new
    values while one of them is alive.
    """
    capsule = tf.experimental.dlpack.to_dlpack(value)
    data = _data_of_capsule(capsule, b"dltensor")
    return ctypes.cast(data, ctypes.POINTER(ctypes.c_void_p))[0]


def _count_writes(read):
    """Number of operations so far, in this graph, that may write a variable."""
    while read.op.type != "ReadVariableOp":
        read = read.op.inputs[0]
    uses = read.op.inputs[0].consumers()
    return sum(use.type != "ReadVariableOp" for use in uses)
