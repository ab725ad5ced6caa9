"""Facts of the scan over layers that the laws do not state."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests import laws
from tests.catalogue.conditioned_layers import glow_step
from tests.laws import close, fresh
from tfp_flows import bijectors, flows, normalization
from tfp_flows.bijectors import (
    Coupling,
    InvertibleConv1x1PLU,
    Radial,
    Scan,
    Squeeze,
)
from tfp_flows.bijectors._pytree import leaves_of

tfb, tfd = tfp.bijectors, tfp.distributions
RNG = np.random.default_rng(0)
CONTEXT = RNG.normal(size=[5, 2])


def _layers(builder, **arguments):
    """Layers of a flow from noise to data, as pairs of two kinds."""
    flow = builder(3, 4, (3,), seed=0, activation="tanh", dtype=tf.float64, **arguments)
    if "context_size" in arguments:
        flow = flows.condition(flow, tf.constant(CONTEXT))
    layers = flow.bijector.bijectors[::-1]
    return [tfb.Chain(pair[::-1]) for pair in zip(layers[::2], layers[1::2])]


KINDS = {
    "radial": lambda: flows.radial(3, 3, seed=0, dtype=tf.float64).bijector.bijectors[
        ::-1
    ],
    "sylvester": (
        lambda: flows.sylvester(3, 3, 2, seed=0, dtype=tf.float64).bijector.bijectors[
            ::-1
        ]
    ),
    "couplings": lambda: _layers(flows.real_nvp, context_size=2),
    "autoregressive": lambda: _layers(flows.maf),
    "autoregressive_one": lambda: (
        flows.maf(
            3, 1, (3,), seed=0, activation="tanh", dtype=tf.float64
        ).bijector.bijectors
    ),
    "glow": lambda: [glow_step(4, seed, tf.float64) for seed in range(2)],
}


@functools.cache
def _pair(kind):
    """Layers far from the identity, and points, which tests leave as they are."""
    layers = list(KINDS[kind]())
    rng = np.random.default_rng(1)
    for layer in layers:
        for variable in layer.trainable_variables:
            inputs = max(1, np.prod(variable.shape[:-1]))
            variable.assign(rng.normal(size=variable.shape) / np.sqrt(inputs))
    return layers, rng.normal(size=[5, 2, 1, 4] if kind == "glow" else [5, 3])


def _total(bijector, direction, x):
    value = getattr(bijector, direction)(x)
    log_det = getattr(bijector, f"{direction}_log_det_jacobian")(x)
    weights = np.linspace(0.5, 2.0, log_det.shape[0])
    return tf.reduce_sum(tf.sin(value)) + tf.reduce_sum(weights * log_det)


def _gradients(bijector, direction, x):
    """Value, and gradients by input and variables."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = _total(bijector, direction, x)
    return total, tape.gradient(total, [x, *bijector.trainable_variables])


def _stacked_like(scan, layers, values):
    """Stacks values for the trainable variables of a chain, in the order of a scan."""
    variables = tfb.Chain(layers[::-1]).trainable_variables
    known = {id(v): value for v, value in zip(variables, values)}
    each = [leaves_of(layer, scan.stacked) for layer in layers]
    paths = {id(v): path for path, v in scan.stacked.items()}
    return [
        np.stack([known[id(leaves[paths[id(v)]])] for leaves in each])
        for v in scan.trainable_variables
    ]


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.endswith("one")])
def test_is_a_chain_of_its_layers(kind, direction):
    layers, x = _pair(kind)
    scan, chain = bijectors.Scan.from_layers(layers), tfb.Chain(layers[::-1])
    expected, (by_x, *others) = _gradients(chain, direction, fresh(x))
    others = _stacked_like(scan, layers, others)
    compute = functools.partial(_gradients, scan, direction)
    for mode in [compute, tf.function(compute, autograph=False)]:
        total, (of_x, *gradients) = mode(fresh(x))
        close(total, expected)
        close(of_x, by_x)
        for gradient, other in zip(gradients, others):
            close(gradient, other)
    method = f"{direction}_log_det_jacobian"
    close(getattr(scan, method)(x), getattr(chain, method)(x))
    close(getattr(scan, direction)(x), getattr(chain, direction)(x))


def test_second_gradients_through_a_sequential_direction():
    layers, x = _pair("autoregressive_one")
    scan, chain = bijectors.Scan.from_layers(layers), tfb.Chain(layers[::-1])

    def second(bijector, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            _, gradients = _gradients(bijector, "forward", x)
            total = sum(tf.reduce_sum(gradient**2) for gradient in gradients)
        return tape.gradient(total, [x, *bijector.trainable_variables])

    by_x, *others = second(chain, fresh(x))
    of_x, *gradients = tf.function(second, autograph=False)(scan, fresh(x))
    close(of_x, by_x, 1e-8)
    for gradient, other in zip(gradients, _stacked_like(scan, layers, others)):
        close(gradient, other, 1e-8)


def test_a_context_gets_its_gradient():
    layers, x = _pair("couplings")
    flow = bijectors.Scan.from_layers(layers)

    def by_context(bijector):
        def compute(context):
            with tf.GradientTape() as tape:
                tape.watch(context)
                bound = flows.condition(bijector, context)
                total = _total(bound, "forward", tf.constant(x[0]))
            return tape.gradient(total, context)

        return compute

    expected = by_context(tfb.Chain(layers[::-1]))(fresh(CONTEXT))
    assert np.all(expected != 0.0)
    compute = by_context(flow)
    close(compute(fresh(CONTEXT)), expected)
    close(tf.function(compute, autograph=False)(fresh(CONTEXT)), expected)


def _radial(size=3, **values):
    zeros, one = np.zeros([size]), np.ones([])
    return Radial(**{**dict(center=zeros, radius=one, gain=one), **values})


def _scan(number, size=3, **values):
    rng = np.random.default_rng(2)
    centers = tf.Variable(rng.normal(size=[number, size]), name="center")
    layer = _radial(center=tf.zeros([size], tf.float64), **values)
    return Scan(layer, {"center": centers})


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graphs_are_as_large_for_any_number_of_layers(jit_compile):
    x = tf.ones([5, 3], tf.float64)

    def count(number):
        scan = _scan(number)
        function = tf.function(
            lambda x: _gradients(scan, "inverse", x),
            jit_compile=jit_compile,
            autograph=False,
        )
        graph = function.get_concrete_function(x).graph.as_graph_def()
        inner = [len(f.node_def) for f in graph.library.function]
        return len(graph.node), sorted(inner)

    assert count(8) == count(64)


def test_what_is_not_stacked_is_shared():
    gain = tf.Variable(2.0, dtype=tf.float64)
    scan = _scan(3, gain=gain)
    assert list(scan.shared) == ["gain"] and scan.num_layers == 3
    assert [v.shape for v in scan.trainable_variables] == [[3, 3], []]
    layers = [_radial(center=c, gain=gain) for c in tf.unstack(scan.stacked["center"])]
    x = fresh(RNG.normal(size=[5, 3]))
    compute = lambda x: _gradients(scan, "inverse", x)[1][-1]
    for mode in [compute, tf.function(compute, autograph=False)]:
        close(mode(x), _gradients(tfb.Chain(layers[::-1]), "inverse", x)[1][-1])


def test_a_permutation_may_be_shared():
    permutation = tf.Variable([1, 2, 0], trainable=False)
    square, row = np.ones([3, 3]), np.ones([3])
    pattern = InvertibleConv1x1PLU(
        permutation, square, square, row, tf.zeros([3], tf.float64)
    )
    scan = Scan(pattern, {"log_magnitude": RNG.normal(size=[2, 3])})
    assert list(scan.shared) == ["permutation"]
    x = RNG.normal(size=[2, 2, 1, 3])
    close(tf.function(scan.forward, autograph=False)(x), scan.forward(x))


def test_the_pattern_is_not_trained():
    scan = bijectors.Scan.from_layers(_pair("glow")[0])
    own = {id(variable) for variable in scan.layer.variables}
    assert own and not own & {id(variable) for variable in scan.variables}
    assert all(variable.shape[0] == 2 for variable in scan.variables)
    again = {id(variable) for variable in scan.copy().variables}
    assert again == {id(variable) for variable in scan.variables}


def test_a_deferred_tensor_is_stacked_as_a_whole():
    gains = tfp.util.TransformedVariable(np.array([0.5, 3.0]), tfb.Exp())
    gain = tfp.util.TransformedVariable(np.ones([]), tfb.Exp())
    scan = Scan(_radial(gain=gain), {"gain": gains})
    assert len(scan.trainable_variables) == 1
    x = RNG.normal(size=[5, 3])
    chain = tfb.Chain([_radial(gain=np.float64(g)) for g in [3.0, 0.5]])
    close(scan.forward(x), chain.forward(x))


def _radials_with_batch_axes(kind):
    """Two layers of batch shape [4, 3], of which not all parameters have all axes."""
    rng = np.random.default_rng(3)
    shared = tf.Variable(rng.normal(size=[3]) ** 2)
    layers = []
    for _ in range(2):
        center = tf.Variable(rng.normal(size=[4, 1, 2]))
        radius = np.exp(rng.normal(size=[3]))
        if kind == "deferred":
            radius = tfp.util.TransformedVariable(radius, tfb.Softplus())
        else:
            radius = tf.Variable(radius)
        layers.append(Radial(center, radius, radius if kind == "twice" else shared))
    return layers


BATCHES = {
    "shared": lambda: _radials_with_batch_axes("shared"),
    "deferred": lambda: _radials_with_batch_axes("deferred"),
    "twice": lambda: _radials_with_batch_axes("twice"),
    "contexts": lambda: _pair("couplings")[0],
}


@pytest.mark.parametrize("kind", BATCHES)
def test_slices_are_those_of_a_chain(kind):
    layers = BATCHES[kind]()
    scan, chain = bijectors.Scan.from_layers(layers), tfb.Chain(layers[::-1])
    if kind == "contexts":
        scan, chain = (flows.condition(each, CONTEXT) for each in (scan, chain))
    batch = chain.experimental_batch_shape()
    assert batch.rank and scan.experimental_batch_shape() == batch
    size = 3 if kind == "contexts" else 2
    x = np.random.default_rng(4).normal(size=[2, *batch, size])
    close(scan.forward(x), chain.forward(x))
    laws.check_slices(scan, x)
    noise = tfd.Sample(tfd.Normal(np.float64(0.0), 1.0), size)
    flow = tfd.TransformedDistribution(noise, tfb.Chain([scan]))
    close(flow[..., 1].log_prob(x[..., 1, :]), flow.log_prob(x)[..., 1])

    def gradients():
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(scan[..., 1].forward(x[..., 1, :]))
        return tape.gradient(total, scan.trainable_variables)

    for eager, compiled in zip(gradients(), tf.function(gradients)()):
        assert np.any(eager != 0.0)
        close(compiled, eager)


def test_a_variable_in_two_places_stays_one():
    layers = []
    for value in [0.5, 2.0]:
        one = tf.Variable(value, dtype=tf.float64)
        layers.append(_radial(radius=one, gain=one))
    scan = bijectors.Scan.from_layers(layers)
    assert list(scan.stacked) == ["radius"] and not scan.shared
    x = RNG.normal(size=[5, 3])
    close(scan.forward(x), tfb.Chain(layers[::-1]).forward(x))


def test_checkpoints_know_the_paths(tmp_path):
    scan, other = (bijectors.Scan.from_layers(_pair("couplings")[0]) for _ in range(2))
    for variable in scan.trainable_variables:
        variable.assign(variable * 2.0)
    saved = tf.train.Checkpoint(model=scan).save(f"{tmp_path}/checkpoint")
    tf.train.Checkpoint(model=other).restore(saved).assert_consumed()
    x = _pair("couplings")[1]
    close(other.forward(x), scan.forward(x), 0.0)
    names = [name for name, _ in tf.train.list_variables(saved)]
    path = "bijectors[1]..conditioner.._kernels[0]"  # as TensorFlow escapes it
    assert any(path in name for name in names)


@pytest.mark.parametrize("in_graph", [False, True])
def test_starts_its_layers_from_data(in_graph):
    y = RNG.normal(size=[7, 2, 3, 4], scale=3.0) + 2.0
    results = []
    for wrap in [lambda layers: tfb.Chain(layers[::-1]), bijectors.Scan.from_layers]:
        layers = [glow_step(4, seed, tf.float64) for seed in range(3)]
        for i, layer in enumerate(layers):  # or they would commute
            for variable in layer.trainable_variables:
                variable.assign_add(0.3 * np.sin(i + variable))
        flow = wrap(layers)
        start = functools.partial(normalization.initialize_from_data, flow)
        (tf.function(start) if in_graph else start)(y)
        results.append(flow.inverse(y))
    close(results[1], results[0])
    assert np.all(np.std(flow.stacked["actnorm.log_scale"], axis=0) > 1e-3)


class _Closed(tf.Module):
    """Network that has a variable where nobody looks for one."""

    dtype, num_parameters = tf.float64, 2

    def __init__(self, function):
        super().__init__()
        self._function = function

    def __call__(self, x):
        return self._function(x)


def test_hidden_variables_are_refused():
    hidden = tf.Variable(np.ones([1, 4]))
    function = lambda x: tf.reshape(x @ hidden, [*x.shape[:-1], 2, 2])
    scale = tf.Variable(np.ones([]))
    mask = np.array([True, False, False])
    for network in [_Closed(function), _Closed(functools.partial(function)), function]:
        with pytest.raises(ValueError, match="`layer` must have its variables in its"):
            Scan(Coupling(mask, network), {"conditioner": tf.ones([2])})
    globals()["HIDDEN"] = hidden
    reads_a_global = lambda x: tf.reshape(x @ HIDDEN, [-1, 2, 2])  # noqa: F821
    chain = tfb.Chain([Coupling(mask, _Closed(reads_a_global)), tfb.Scale(scale)])
    scan = Scan(chain, {"bijectors[1].scale": tf.Variable(np.ones([2]))})
    for call in [scan.forward, tf.function(scan.forward, autograph=False)]:
        with pytest.raises(ValueError, match="`layer` must read its variables from"):
            call(np.ones([2, 3]))


def test_errors():
    layer = _radial()
    with pytest.raises(TypeError, match="`layer` must be a bijector; got 3"):
        Scan(3, {})
    layer = _radial(center=tf.zeros([3], tf.float64))
    for stacked, message in [
        ({}, "`stacked` must have something"),
        ({"middle": np.zeros([2, 3])}, r"paths of leaves .*'center'.*; got 'middle'"),
        ({"center": np.zeros([2, 4])}, r"shape \[K, ...\].* \(3,\), after K; got \(2"),
        ({"center": np.zeros([0, 3])}, r"after K; got \(0, 3\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            Scan(layer, stacked)
    with pytest.raises(TypeError, match="dtype .*, float64; got float32"):
        Scan(layer, {"center": tf.zeros([2, 3])})
    scan = _scan(2)
    with pytest.raises(ValueError, match=r"known rank, at least 1; got shape \(\)"):
        scan.forward(np.float64(1.0))
    images = Scan(
        tfb.Chain([Squeeze(), tfb.Scale(tf.ones([]))]),
        {"bijectors[1].scale": tf.ones([2])},
    )
    with pytest.raises(ValueError, match="must keep the shape of an event; got"):
        images.forward(tf.ones([1, 2, 2, 4]))
