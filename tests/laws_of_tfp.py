"""The laws that make a bijector one of TFP: composition, state, cache, devices."""

import contextlib
import copy
import gc
from unittest import mock

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow.python.framework import kernels

from tests.laws import METHODS, at, close, distribution_of, evaluate, fresh

tfb, tfd = tfp.bijectors, tfp.distributions

# Operations that only bind a graph together, and run wherever what they bind runs.
_BINDING = {
    "Placeholder",
    "Const",
    "NoOp",
    "Identity",
    "IdentityN",
    "While",
    "StatelessWhile",
    "If",
    "StatelessIf",
    "PartitionedCall",
    "StatefulPartitionedCall",
    "SymbolicGradient",
}


def check_composition(bijector, x):
    """Chain, Invert and distributions of it compute what it computes."""
    y = bijector.forward(fresh(x))
    here = evaluate(bijector, x, y)
    there = evaluate(tfb.Invert(bijector), y, x)
    for name, inverse_name in zip(METHODS, ["inverse", "forward"] * 2):
        inverse_name += name.removeprefix("forward").removeprefix("inverse")
        close(there[inverse_name], here[name])
    twice = tfb.Chain([bijector, tfb.Invert(bijector), bijector])
    chained = evaluate(twice, x, y)
    for name in METHODS:
        close(chained[name], here[name])

    distribution = distribution_of(bijector, x.shape)
    batch = distribution.batch_shape
    for sample_shape in [(), (2,), (2, 3)]:
        seed = (0, 1)
        sample, log_prob = distribution.experimental_sample_and_log_prob(
            sample_shape, seed=seed
        )
        assert sample.shape == (*sample_shape, *batch, *distribution.event_shape)
        assert log_prob.shape == (*sample_shape, *batch)
        close(distribution.log_prob(fresh(sample)), log_prob)
        close(distribution.sample(sample_shape, seed=seed), sample)

    joint = tfd.JointDistributionNamedAutoBatched(
        dict(z=distribution, y=lambda z: tfd.Normal(z, tf.ones([], z.dtype))),
        batch_ndims=len(batch),
    )
    draw = joint.sample(seed=(0, 1))
    assert joint.log_prob(draw).shape == batch


def check_state(make, x, path):
    """Its variables are complete, and survive checkpoint, SavedModel and copy."""
    created = []

    def create(creator, **kwargs):
        created.append(creator(**kwargs))
        return created[-1]

    with tf.variable_creator_scope(create):
        bijector = make()
    assert {id(v) for v in bijector.variables} == set(map(id, created))
    assert len(bijector.trainable_variables) == sum(v.trainable for v in created)
    other = make()
    y = bijector.forward(fresh(x))
    expected = evaluate(bijector, x, y)
    _scale(other.variables, 0.5)
    saved = tf.train.Checkpoint(model=bijector).save(f"{path}/checkpoint")
    status = tf.train.Checkpoint(model=other).restore(saved)
    status.assert_consumed()
    for restored in [other, bijector.copy(), copy.deepcopy(bijector)]:
        for name, value in evaluate(restored, x, y).items():
            np.testing.assert_array_equal(value, expected[name])
    clone = copy.deepcopy(bijector)
    _scale(clone.variables, 0.5)
    assert np.any(clone.forward(fresh(x)) != expected["forward"])

    module = tf.Module()
    module.bijector = bijector
    module.forward = tf.function(
        bijector.forward, [tf.TensorSpec(x.shape, x.dtype)], autograph=False
    )
    tf.saved_model.save(module, f"{path}/model")
    loaded = tf.saved_model.load(f"{path}/model")
    close(loaded.forward(fresh(x)), expected["forward"])

    assert bijector == bijector.copy() and bijector != make()
    assert len({bijector, bijector}) == 1 and hash(bijector) == hash(bijector)
    assert bijector.copy(name="other").name == "other"
    assert type(bijector).__name__ in repr(bijector) and bijector.name in repr(bijector)


def check_cache(make, x):
    """The same tensor after a change of variables, tapes or graphs is computed anew."""
    bijector = make()
    point = tf.constant(x)
    for flow in [bijector, tfb.Chain([bijector]), tfb.Chain([tfb.Invert(bijector)])]:
        distribution = distribution_of(flow, x.shape)

        def everything(p):
            values = [getattr(flow, method)(p) for method in METHODS]
            return [*values, distribution.log_prob(p)]

        kept = []  # TFP forgets an answer once nobody holds it
        for _ in range(2):
            kept.append(everything(point))
            for actual, expected in zip(kept[-1], everything(fresh(x))):
                np.testing.assert_array_equal(actual, expected)
            _scale(bijector.variables, 0.9)
        kept.append(everything(point))  # no tape sees these

        def gradient(p):
            with tf.GradientTape() as tape:
                tape.watch(p)
                total = sum(map(tf.reduce_sum, everything(p)))
            return tape.gradient(total, [p, *bijector.trainable_variables])

        for actual, expected in zip(gradient(point), gradient(fresh(x))):
            close(actual, expected)

    # A sample is no constant to a tape, even if another one saw how it was made.
    with tf.GradientTape():
        sample = distribution_of(bijector, x.shape).sample(seed=(0, 1))
    gradients = []
    for point in [sample, fresh(sample)]:
        with tf.GradientTape() as tape:
            tape.watch(point)
            log_prob = distribution_of(bijector, x.shape).log_prob(point)
        sources = [point, *bijector.trainable_variables]
        gradients.append(tape.gradient(log_prob, sources))
    for actual, expected in zip(*gradients):
        close(actual, expected)


def _scale(variables, factor):
    """Moves those that are numbers and not places or degrees."""
    for variable in variables:
        if variable.dtype.is_floating:
            variable.assign(variable * factor)


def check_cache_in_graphs(make, x):
    """So it is within one graph, where branches are graphs of their own."""
    bijector = make()
    flow = tfb.Chain([bijector])
    variable = bijector.trainable_variables[0]
    start = variable.numpy()

    def both(p):
        return flow.forward(p), distribution_of(flow, x.shape).log_prob(p)

    @tf.function(autograph=False)
    def compute(p):
        before = both(p)
        variable.assign(variable * 0.5)
        after = both(p)
        branch = tf.cond(tf.reduce_all(p == p), lambda: both(p), lambda: both(p))
        return before, after, branch, both(p)

    results = compute(tf.constant(x))
    variable.assign(start)
    expected = [both(fresh(x))]
    variable.assign(start * 0.5)
    expected += [both(fresh(x))] * 3
    tf.nest.map_structure(close, results, tuple(expected))


def check_one_evaluation(make, x):
    """`log_prob` and sampling with its log density run the layer's work once."""
    bijector = make()
    distribution = distribution_of(bijector, x.shape)
    kind = type(bijector)
    names = ["_forward_and_log_det", "_inverse_and_log_det", "_forward", "_inverse"]
    names += [f"{name}_log_det_jacobian" for name in names[2:]]
    runs = {
        "_inverse_and_log_det": lambda: distribution.log_prob(fresh(x)),
        "_forward_and_log_det": lambda: distribution.experimental_sample_and_log_prob(
            seed=(0, 1)
        ),
    }
    for expected, run in runs.items():
        for scope in [contextlib.nullcontext, tf.GradientTape]:
            for compiled in [run, tf.function(run, autograph=False)]:
                with contextlib.ExitStack() as stack:
                    calls = {n: stack.enter_context(_counted(kind, n)) for n in names}
                    with scope():
                        compiled()
                    counts = {name: call.call_count for name, call in calls.items()}
                assert counts == {**dict.fromkeys(names, 0), expected: 1}


def _counted(kind, name):
    method = getattr(kind, name)
    return mock.patch.object(kind, name, autospec=True, side_effect=method)


def check_memory(make, x):
    """Steps leave no tensors behind, in the cache of the layer or in TFP's."""
    bijector = make()
    distribution = distribution_of(tfb.Chain([bijector]), x.shape)

    def count():
        gc.collect()
        return sum(issubclass(type(o), tf.Tensor) for o in gc.get_objects())

    def steps(number):
        for _ in range(number):
            with tf.GradientTape() as tape:
                total = tf.reduce_sum(distribution.log_prob(fresh(x)))
            tape.gradient(total, bijector.trainable_variables)

    steps(2)
    before = count()
    steps(15)  # in which one tensor a step would show
    assert count() <= before


def check_kernels(bijector, x):
    """Each operation has a kernel for GPUs, and none leaves the dtype."""
    unwanted = (tf.float64 if x.dtype == np.float32 else tf.float32).as_datatype_enum

    @tf.function(autograph=False)
    def values_and_gradients(x, y):
        with tf.GradientTape() as tape:
            tape.watch([x, y])
            values = at(bijector, x, y)
        sources = [x, y, *bijector.trainable_variables]
        return values, tape.gradient(values, sources)

    graph = values_and_gradients.get_concrete_function(*[tf.constant(x)] * 2).graph
    inner = [node for f in graph.as_graph_def().library.function for node in f.node_def]
    for node in [*graph.as_graph_def().node, *inner]:
        if node.op not in _BINDING:
            assert _runs_on_gpu(node), f"{node.op} {dict(node.attr)}"
        if node.op != "Const":  # TensorFlow makes empty ones for axes
            dtypes = {attribute.type for attribute in node.attr.values()}
            assert unwanted not in dtypes, f"{node}"


def _runs_on_gpu(node):
    for kernel in kernels.get_registered_kernels_for_op(node.op).kernel:
        fits = all(
            node.attr[c.name].type in c.allowed_values.list.type
            or set(node.attr[c.name].list.type) & set(c.allowed_values.list.type)
            for c in kernel.constraint
        )
        if kernel.device_type in ("GPU", "DEFAULT") and fits:
            return True
    return False
