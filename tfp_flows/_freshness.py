"""Caches of bijectors that never return values, gradients or graphs of the past.

TFP's cache looks a tensor up by identity. It does not notice that a variable changed,
that a gradient tape was opened, or that another graph is under construction since the
result was computed. Yet `log_prob` needs a cache: it calls the inverse of each layer
and then its log determinant, and one evaluation should serve both. The cache here
returns a result only where computing it again would give the same values, recorded by
the same tapes, in the same graph.

A composition of TFP, such as `tfb.Chain`, is only as fresh as its components, some of
which may be TFP's own. The first time that a composition with a layer of this package
is evaluated, TFP's cache hashes the layer. The hash function then gives such caches to
the composition and to its components, each as an attribute of the one object. No class
of TFP is changed.

Two things go unnoticed: that a tape, which recorded how an output was computed, is then
told to `watch` that output as if it were an input; and values that a layer reads from
anything but its own variables and tensors. For functions passed to TFP's bijectors, the
trainable variables that they read are found.

Only this file and `_autodiff.py` use private parts of TFP and TensorFlow. If a release
lacks one, caches stay empty: slower, with the same results.
"""

import ctypes
import functools
import itertools
import os
import sys
import types
import warnings
import weakref

import tensorflow as tf
import tensorflow_probability as tfp

tfb, tfd = tfp.bijectors, tfp.distributions

# A graph lives as long as an edge holds one of its tensors: a layer keeps this many.
_MAX_EDGES = 8
_COMPONENTS = (tfb.Bijector, tfd.Distribution)
_unique = itertools.count()
_FILES_OF_TFP = os.path.dirname(tfp.__file__)
_EVALUATIONS = {
    getattr(tfb.Bijector, name).__code__
    for name in [
        *("forward", "forward_log_det_jacobian"),
        *("inverse", "inverse_log_det_jacobian"),
    ]
}
_POINTER = ctypes.POINTER(ctypes.c_void_p)


def _private_parts():
    """Returns private parts of TensorFlow and Python; None if one is missing."""
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
            "The caches of tfp_flows are turned off, because TensorFlow "
            f"{tf.__version__} lacks a function that they need: {error}. Values and "
            "gradients are unaffected, but some evaluations run twice. Install a "
            "TensorFlow release that this version of tfp_flows was tested with.",
            stacklevel=2,
        )
        return None


_private = _private_parts()


def never_stale(target):
    """Replace TFP's cache of bijectors by one that is never stale.

    In eager mode, TFP's bijectors look up the result for a tensor that they have seen,
    even if their variables changed since, or without gradients if a tape was opened
    since. A `tfp_flows.bijectors.Layer` does not, nor does a composition of TFP that
    contains one, such as `tfb.Chain([tfb.Scale(variable), layer])`, nor a flow that a
    builder of this package returns. Call this function for anything else: a bijector of
    TFP over a distribution, such as
    `tfd.TransformedDistribution(flow, tfb.Scale(variable))`; a base distribution that
    TFP transforms itself, such as `tfd.MultivariateNormalDiag(variable, variable)`; and
    any bijector without a layer of this package.

    Args:
      target: bijector or distribution, with all bijectors that it contains.

    Returns:
      target: the same object.

    Raises:
      TypeError: `target` is neither.

    Example:

    >>> scale = tf.Variable(2.0)
    >>> bijector, x = never_stale(tfb.Scale(scale)), tf.constant(1.0)
    >>> y = bijector.forward(x)
    >>> _ = scale.assign(3.0)
    >>> bijector.forward(x).numpy().item()
    3.0
    """
    if not isinstance(target, _COMPONENTS):
        raise TypeError(
            f"`target` must be a bijector or a distribution; got {target!r}."
        )
    for part in (target, *target.submodules):
        if isinstance(part, tfb.Bijector):
            _refresh(part)
    return target


def components_of(part):
    """Returns the bijectors and distributions among the arguments of a constructor."""
    arguments = list((getattr(part, "parameters", None) or {}).values())
    leaves = tf.nest.flatten(arguments)
    return [leaf for leaf in leaves if isinstance(leaf, _COMPONENTS)]


def _refresh(bijector):
    """Gives a bijector of TFP a cache of its own, unless it has one."""
    if isinstance(type(bijector)._cache, FreshCache):
        return
    known = vars(bijector).get("_cache")
    if not isinstance(known, _CacheOfTFP) or known.owner() is not bijector:
        # Past `__setattr__`, so that `tf.Module` does not track it.
        vars(bijector)["_cache"] = _CacheOfTFP(bijector)


def hash_of_layer(bijector):
    """Hash function of layers, which TFP's cache of a composition calls.

    The keys of TFP's cache hash a composition, and so its layers. The composition gets
    a fresh cache then, and a key that matches no other. All other callers receive the
    hash of TFP.
    """
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_FILES_OF_TFP):
        if frame.f_code in _EVALUATIONS:
            never_stale(frame.f_locals["self"])
            return next(_unique)
        frame = frame.f_back
    return tfb.Bijector.__hash__(bijector)


class FreshCache:
    """Descriptor: `layer._cache` is the cache of that instance.

    Once made, the cache is in the dictionary of the instance, where Python finds it
    without calling this.

    Args:
      kind: subclass of `Cache`.
    """

    def __init__(self, kind):
        self._kind = kind

    def __get__(self, bijector, bijector_class=None):
        if bijector is None:
            return self
        cache = vars(bijector)["_cache"] = self._kind(bijector)
        # With those that constrain parameters, whose keys TFP hashes in each call.
        for part in (bijector, *components_of(bijector)):
            never_stale(part)
        return cache


class _Edge:
    """An input and its output, what else is known of them, and when that holds."""

    def __init__(self, direction, source, target, witness, kwargs, attributes, drop):
        self.direction = direction
        self.source = source
        self.target = weakref.ref(target, drop)
        self.witness = witness
        self.kwargs = kwargs
        self.attributes = attributes
        self.graph = self.tapes = self.versions = self.reads = None


class Cache:
    """The four methods of TFP's cache that `tfb.Bijector` calls.

    Args:
      bijector: the bijector whose results are kept. It is not kept alive.
    """

    def __init__(self, bijector):
        self.owner = weakref.ref(bijector)
        self.edges = []
        self._inputs = None  # all that values depend on, but for the source

    def forward(self, x, **kwargs):
        return self._apply("_forward", x, kwargs)

    def inverse(self, y, **kwargs):
        return self._apply("_inverse", y, kwargs)

    def forward_attributes(self, x, **kwargs):
        edge = self.find("_forward", x, kwargs) if self.edges else None
        return {} if edge is None else edge.attributes

    def inverse_attributes(self, y, **kwargs):
        edge = self.find("_inverse", y, kwargs) if self.edges else None
        return {} if edge is None else edge.attributes

    def find(self, direction, tensor, kwargs):
        """Returns the edge with the result for a tensor, or None if none holds."""
        for edge in self.edges:
            if edge.direction == direction:
                if edge.source is not tensor:
                    continue
            elif edge.target() is not tensor:
                continue
            target = edge.target()
            if target is None or kwargs.keys() != edge.kwargs.keys():
                continue
            same = True
            for name in kwargs:
                same = same and kwargs[name] is edge.kwargs[name]
            if not same:
                continue
            state = _state((edge.source, target, edge.witness), self._inputs)
            if (
                state is not None
                and state[0] is edge.graph
                and (state[1] == edge.tapes and state[2] == edge.versions)
            ):
                return edge
        return None

    def _apply(self, direction, source, kwargs):
        edge = self.find(direction, source, kwargs) if self.edges else None
        if edge is not None:
            return edge.target() if edge.direction == direction else edge.source
        target, attributes = self._evaluate(direction, source, kwargs)
        if (
            target is not source
            and tf.is_tensor(source)
            and tf.is_tensor(target)
            and (_private is not None and self._remembers())
        ):
            self._keep(direction, source, target, kwargs, attributes)
        return target

    def _evaluate(self, direction, source, kwargs):
        """Returns the value, and attributes such as the log determinant, `ildj`."""
        bijector = self.owner()
        if direction == "_forward":
            return bijector._forward(source, **kwargs), {}
        return bijector._inverse(source, **kwargs), {}

    def _remembers(self):
        """Returns whether results may be kept."""
        return True

    def _keep(self, direction, source, target, kwargs, attributes):
        if self._inputs is None:  # variables made in the first call exist by now
            self._inputs = self._find_inputs()
        # The caller does not have it, and so cannot have another tape watch it.
        witness = tf.identity(target)
        state = _state((source, target, witness), self._inputs)
        if state is None:
            return
        cache = weakref.ref(self)

        def drop(target_ref):
            owner = cache()
            if owner is not None:
                owner.edges = [e for e in owner.edges if e.target is not target_ref]

        edge = _Edge(direction, source, target, witness, kwargs, attributes, drop)
        edge.graph, edge.tapes, edge.versions, edge.reads = state
        if self.edges:
            kept = _without_past(self.edges, edge, self._inputs)
            self.edges = [edge, *kept[: _MAX_EDGES - 1]]
        else:
            self.edges = [edge]

    def _find_inputs(self):
        """Returns a list of the variables and tensors that the bijector reads."""
        bijector = self.owner()
        parameters = (bijector.parameters or {}).values()
        tensors = [p for p in parameters if isinstance(p, tf.Tensor)]
        return [*bijector.variables, *tensors]


class _CacheOfTFP(Cache):
    """The cache of one bijector that is not a layer, as an attribute of it."""

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
    def _bijector(self):
        bijector = self.owner()  # no reference: it would outlive its last user
        if bijector is None:
            raise RuntimeError(
                "A bijector must be copied by its method `copy` or by `copy.deepcopy`; "
                "got a copy that `copy.copy` made of a bijector that is deleted."
            )
        return bijector

    def _remembers(self):
        return not self._is_composition  # its components do: each is evaluated once

    def _evaluate(self, direction, source, kwargs):
        if self._bijector is None or not self._has_functions:
            return super()._evaluate(direction, source, kwargs)
        with tf.GradientTape() as tape:  # which finds the variables that they read
            result = super()._evaluate(direction, source, kwargs)
        inputs = self._find_inputs() if self._inputs is None else self._inputs
        known = set(map(id, inputs))
        new = [v for v in tape.watched_variables() if id(v) not in known]
        self._inputs = [*inputs, *new]
        return result


def _is_opaque(value):
    return callable(value) and not isinstance(value, (type, tf.Module))


def _state(tensors, inputs):
    """Returns what must stay the same for a result to hold; None if it can't be told.

    Returns:
      graph: graph under construction, or None in eager mode.
      tapes: for each tensor and each value read, how many tapes would record an
        operation on it.
      versions: for each value read from a variable, what changes if it is written.
      reads: what must be kept so that no version comes back.
    """
    count_tapes = _private.count_tapes
    tapes, reads = [], []
    for tensor in tensors:
        tapes.append(count_tapes([tensor]))
    for variable in inputs:
        value = variable
        if not isinstance(value, tf.Tensor):
            value = variable.value()
            reads.append(value)
        tapes.append(count_tapes([value]))
    # It counts 0, 1, or 2 for several tapes and for a persistent one, of which it
    # can't be told whether they are still the same.
    if tapes and max(tapes) > 1:
        return None
    versions = []
    if not tf.executing_eagerly():
        for read in reads:  # number of operations in this graph that may write it
            while read.op.type != "ReadVariableOp":
                read = read.op.inputs[0]
            writes = 0
            for use in read.op.inputs[0].consumers():
                writes += use.type != "ReadVariableOp"
            versions.append(writes)
        return tf.constant(0).graph, tapes, versions, None
    for value in reads:
        # Address of its buffer: a variable shares this with those who read it, and
        # takes another one for new values while one of them is alive.
        address = None
        if value.dtype in _ADDRESSED:
            try:
                capsule = _private.to_dlpack(value)
                data = _private.data_of_capsule(capsule, b"dltensor")
                address = ctypes.cast(data, _POINTER)[0]
            except (NotImplementedError, RuntimeError, ValueError, tf.errors.OpError):
                pass  # a device that has no addresses
        if address is None:
            return None
        versions.append(address)
    return None, tapes, versions, reads


# TensorFlow ends the process if it is called for the address of strings.
_ADDRESSED = {
    tf.bool,
    *(tf.uint8, tf.int8, tf.uint16, tf.int16, tf.uint32, tf.int32),
    *(tf.uint64, tf.int64, tf.float16, tf.bfloat16, tf.float32, tf.float64),
    *(tf.complex64, tf.complex128),
}


def _without_past(edges, new, inputs):
    """Returns the edges that may be found again, now that a new one is kept.

    Those of graphs whose construction has ended are not, nor those from before a
    variable was written.
    """
    versions, graph = {new.graph: new.versions}, new.graph
    while graph is not None:
        graph = getattr(graph, "outer_graph", None)
        versions.setdefault(graph, None)
    if new.graph is not None and any(edge.graph is None for edge in edges):
        with tf.init_scope():
            if tf.executing_eagerly():
                state = _state((), inputs)
                versions[None] = state and state[2]
    return [
        edge
        for edge in edges
        if edge.graph in versions and versions[edge.graph] in (None, edge.versions)
    ]
