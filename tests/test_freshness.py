"""No stale values: TFP's bijectors around our layers, memory, and missing parts."""

import copy
import gc
import importlib
import importlib.util
import pickle
import warnings
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import METHODS, close, fresh
from tfp_flows import _freshness, bijectors
from tfp_flows.bijectors import DiagonalScale, Radial, never_stale

tfb, tfd = tfp.bijectors, tfp.distributions


def variable(value):
    return tf.Variable(value, dtype=tf.float64)


def _spline():
    return tfb.RationalQuadraticSpline(
        variable([0.7, 1.3]), variable([0.9, 1.1]), variable([1.2])
    )


def _linear_operator():
    return tf.linalg.LinearOperatorLowerTriangular(variable([[1.2, 0.0], [0.4, 0.8]]))


def _autoregressive():
    weight = variable(0.7)

    def shift_and_log_scale(x):
        first = tf.stack([tf.zeros_like(x[..., 0]), weight * x[..., 0]], axis=-1)
        return first, weight * first

    return tfb.MaskedAutoregressiveFlow(shift_and_log_scale)


def _real_nvp():
    weight = variable(0.7)
    return tfb.RealNVP(
        num_masked=1,
        shift_and_log_scale_fn=lambda x, _, **kwargs: (weight * x, tf.sin(weight * x)),
    )


def _inline():
    scale = variable(2.0)
    return tfb.Inline(
        lambda x: scale * x,
        lambda y: y / scale,
        forward_log_det_jacobian_fn=lambda x: tf.math.log(scale) * tf.ones_like(x),
        forward_min_event_ndims=0,
    )


# TFP's bijectors with parameters, on variables, for points with elements in (0, 1).
PARAMETRIZED = {
    "Blockwise": lambda: tfb.Blockwise(
        [tfb.Scale(variable(2.0)), tfb.Shift(variable(0.3))], [1, 1]
    ),
    "FrechetCDF": lambda: tfb.FrechetCDF(variable(-0.1), variable(0.9), variable(1.2)),
    "GeneralizedExtremeValueCDF": lambda: tfb.GeneralizedExtremeValueCDF(
        variable(0.1), variable(1.3), variable(0.2)
    ),
    "GeneralizedPareto": lambda: tfb.GeneralizedPareto(
        variable(-0.5), variable(1.3), variable(0.2)
    ),
    "GompertzCDF": lambda: tfb.GompertzCDF(variable(0.5), variable(0.8)),
    "GumbelCDF": lambda: tfb.GumbelCDF(variable(0.2), variable(1.5)),
    "Householder": lambda: tfb.Householder(variable([0.6, 0.8])),
    "Inline": _inline,
    "KumaraswamyCDF": lambda: tfb.KumaraswamyCDF(variable(1.2), variable(0.8)),
    "LambertWTail": lambda: tfb.LambertWTail(
        variable(0.2), variable(1.2), variable(0.1)
    ),
    "MaskedAutoregressiveFlow": _autoregressive,
    "MatvecLU": lambda: tfb.MatvecLU(
        variable([[1.2, 0.3], [0.4, 0.8]]), permutation=[1, 0]
    ),
    "MoyalCDF": lambda: tfb.MoyalCDF(variable(0.2), variable(1.5)),
    "PowerTransform": lambda: tfb.PowerTransform(variable(0.4)),
    "RationalQuadraticSpline": _spline,
    "RealNVP": _real_nvp,
    "Scale": lambda: tfb.Scale(variable([1.5, 0.5])),
    "Scale of a log": lambda: tfb.Scale(log_scale=variable(0.3)),
    "Scale of a TransformedVariable": lambda: tfb.Scale(
        tfp.util.TransformedVariable(np.float64(1.5), tfb.Exp())
    ),
    "ScaleMatvecDiag": lambda: tfb.ScaleMatvecDiag(variable([1.5, 0.5])),
    "ScaleMatvecLU": lambda: tfb.ScaleMatvecLU(
        variable([[1.2, 0.3], [0.4, 0.8]]), permutation=[1, 0]
    ),
    "ScaleMatvecLinearOperator": lambda: tfb.ScaleMatvecLinearOperator(
        _linear_operator()
    ),
    "ScaleMatvecTriL": lambda: tfb.ScaleMatvecTriL(variable([[1.2, 0.0], [0.4, 0.8]])),
    "Shift": lambda: tfb.Shift(variable([0.3, 0.1])),
    "ShiftedGompertzCDF": lambda: tfb.ShiftedGompertzCDF(variable(0.5), variable(0.8)),
    "Sigmoid": lambda: tfb.Sigmoid(variable(-1.0), variable(2.0)),
    "SinhArcsinh": lambda: tfb.SinhArcsinh(variable(0.2), variable(1.2)),
    "SoftClip": lambda: tfb.SoftClip(variable(-1.0), variable(2.0)),
    "Softfloor": lambda: tfb.Softfloor(variable(0.7)),
    "Softplus": lambda: tfb.Softplus(variable(0.7), low=variable(0.1)),
    "TransformDiagonal": lambda: tfb.Chain(
        [tfb.TransformDiagonal(tfb.Scale(variable(2.0))), tfb.FillTriangular()]
    ),
    "WeibullCDF": lambda: tfb.WeibullCDF(variable(0.9), variable(1.2)),
}


def points(name):
    size = 3 if name == "TransformDiagonal" else 2  # which makes matrices of vectors
    return np.random.default_rng(0).uniform(0.2, 0.8, size=[3, size])


def diagonal_scale(size):
    """A layer of ours that keeps elements in (0, 1)."""
    return DiagonalScale(variable(np.full(size, -0.2)))


def radial():
    return Radial(variable([0.3, -0.2]), variable(1.0), variable(2.0))


def compositions(name):
    """TFP's bijector outermost, innermost, inverted and nested, with a layer of ours.

    Returns:
      flows: dictionary of pairs: a bijector, and points of its domain.
    """
    x = points(name)
    theirs, ours = PARAMETRIZED[name](), diagonal_scale(x.shape[-1])
    y = theirs.forward(fresh(x)).numpy()
    outermost = tfb.Chain([theirs, ours])
    inverted = tfb.Invert(tfb.Chain([tfb.Invert(theirs)]))
    return {
        "outermost": (outermost, x),
        "innermost": (tfb.Chain([diagonal_scale(y.shape[-1]), theirs]), x),
        "inverted": (tfb.Invert(outermost), outermost.forward(fresh(x)).numpy()),
        "nested": (tfb.Chain([inverted, tfb.Chain([ours])]), x),
    }


def assert_fresh(methods, point, variables):
    """Asserts that the same tensor is answered as a copy of it, whatever has changed.

    Args:
      methods: dictionary of callables from a tensor to one.
      point: dictionary of NumPy arrays, by the same names.
      variables: all that they depend on.
    """
    known = {name: tf.constant(value) for name, value in point.items()}
    kept = []  # TFP forgets an answer once nobody holds it
    for _ in range(2):
        for name, method in methods.items():
            kept.append(method(known[name]))
            np.testing.assert_array_equal(kept[-1], method(fresh(point[name])))
        for v in variables:
            v.assign(v * 0.9)
    for name, method in list(methods.items())[-2:]:  # log dets: they have all in them
        gradients = []
        for tensor in [known[name], fresh(point[name])]:
            with tf.GradientTape() as tape:
                tape.watch(tensor)
                total = tf.reduce_sum(method(tensor))
            gradients.append(
                tape.gradient(total, [tensor, *variables], unconnected_gradients="zero")
            )
        for actual, expected in zip(*gradients):  # a few of TFP's are NaN either way
            np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", PARAMETRIZED)
def test_tfp_around_our_layers(name):
    for flow, x in compositions(name).values():
        with tf.GradientTape() as tape:  # which finds those in functions, too
            y = flow.forward(fresh(x))
        variables = {id(v): v for v in [*flow.variables, *tape.watched_variables()]}
        assert_fresh(
            {method: getattr(flow, method) for method in METHODS},
            dict(zip(METHODS, [x, y.numpy()] * 2)),
            [v for v in variables.values() if v.dtype.is_floating],
        )


def two_deep(scale, shift):
    """Distributions in which TFP's bijectors act before a layer of ours is asked."""
    base = tfd.MultivariateNormalDiag(tf.zeros(2, tf.float64))
    inner = tfd.TransformedDistribution(base, radial())
    return tfd.TransformedDistribution(
        tfd.TransformedDistribution(inner, tfb.Scale(scale)), tfb.Shift(shift)
    )


def coroutine(first, second):
    def model():
        yield tfd.JointDistributionCoroutine.Root(first)
        yield second

    return tfd.JointDistributionCoroutine(model)


DISTRIBUTIONS = {
    "TransformedDistribution": lambda flow: flow,
    "Independent": lambda flow: tfd.Independent(flow),
    "Sample": lambda flow: tfd.Sample(flow, 3),
    "JointDistributionNamed": lambda flow: tfd.JointDistributionNamed(
        dict(a=flow, b=flow)
    ),
    "JointDistributionSequential": lambda flow: tfd.JointDistributionSequential(
        [flow, flow]
    ),
    "JointDistributionCoroutine": lambda flow: coroutine(flow, flow),
}


@pytest.mark.parametrize("kind", ["chain", "two_deep", "base"])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions_with_tfp_outermost(name, kind):
    scale, shift = variable([1.5, 0.5]), variable([0.3, 0.1])
    if kind == "chain":
        base = tfd.MultivariateNormalDiag(tf.zeros(2, tf.float64))
        flow = tfd.TransformedDistribution(
            base, tfb.Shift(shift)(tfb.Scale(scale)(radial()))
        )
    elif kind == "two_deep":
        flow = never_stale(two_deep(scale, shift))
    else:  # TFP's normal is a transformed one
        base = tfd.MultivariateNormalDiag(shift, scale)
        flow = never_stale(tfd.TransformedDistribution(base, radial()))
    distribution = DISTRIBUTIONS[name](flow)
    draw = distribution.sample(2, seed=(0, 1))
    arrays = tf.nest.map_structure(lambda t: t.numpy(), draw)
    kept = []
    for _ in range(3):
        kept.append(distribution.log_prob(draw))
        again = tf.nest.map_structure(fresh, arrays)
        close(kept[-1], distribution.log_prob(again))
        scale.assign(scale * 0.9)
        shift.assign(shift * 0.9)
    gradients = []
    for point in [draw, again]:
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(distribution.log_prob(point))
        gradients.append(tape.gradient(total, [scale, shift]))
    for actual, expected in zip(*gradients):
        assert np.any(expected != 0.0)
        close(actual, expected)


def test_what_never_stale_is_for():
    scale = variable([1.5, 0.5])
    x = tf.constant(points("Scale"))
    for make_fresh in [never_stale, lambda bijector: bijector]:
        theirs = make_fresh(tfb.Scale(scale))
        before = theirs.forward(x)
        scale.assign(scale * 2.0)
        is_fresh = np.all(theirs.forward(x) == before * 2.0)
        assert is_fresh == (make_fresh is never_stale)
    with pytest.raises(
        TypeError, match="`target` must be a bijector or a distribution"
    ):
        never_stale(scale)


def test_layers_of_ours_make_their_arguments_fresh():
    images = np.random.default_rng(0).normal(size=[2, 2, 2, 1])
    scale = variable(1.5)
    flow = bijectors.MultiScale([tfb.Scale(scale)], [])
    assert_fresh(
        {
            "inverse": flow.inverse,
            "inverse_log_det_jacobian": lambda y: flow.inverse_log_det_jacobian(y),
        },
        dict.fromkeys(["inverse", "inverse_log_det_jacobian"], images),
        [scale],
    )


def test_gradients_of_tensors_that_a_later_tape_watches():
    center = tf.constant([0.3, -0.2], tf.float64)
    scale = tf.constant([1.5, 0.5], tf.float64)
    layer = Radial(center, variable(1.0), variable(2.0))
    flow = tfb.Chain([tfb.Scale(scale), layer])
    x = tf.constant(points("Scale"))
    kept = flow.forward(x)
    gradients = []
    for point in [x, fresh(x)]:
        with tf.GradientTape() as tape:
            tape.watch([center, scale])
            total = tf.reduce_sum(flow.forward(point))
        gradients.append(tape.gradient(total, [center, scale]))
    for actual, expected in zip(*gradients):
        close(actual, expected)
    assert kept is not None


@pytest.mark.parametrize("position", ["outermost", "innermost"])
def test_layers_beside_tfp_are_evaluated_once(position):
    layer, theirs = radial(), tfb.Scale(variable([1.5, 0.5]))
    parts = [theirs, layer] if position == "outermost" else [layer, theirs]
    base = tfd.MultivariateNormalDiag(tf.zeros(2, tf.float64))
    flow = tfd.TransformedDistribution(base, tfb.Chain(parts))
    for _ in range(2):  # the second has no key of TFP's cache
        with (
            mock.patch.object(
                Radial,
                "_inverse_and_log_det",
                autospec=True,
                side_effect=Radial._inverse_and_log_det,
            ) as inverse,
            mock.patch.object(Radial, "_forward") as forward,
        ):
            flow.log_prob(fresh(points("Scale")))
        assert inverse.call_count == 1 and forward.call_count == 0


def test_bijectors_with_caches_of_their_own_are_copied():
    x = points("Scale")
    flow = tfb.Chain([tfb.Scale(variable([1.5, 0.5])), radial()])
    y = flow.forward(x)
    clone = copy.deepcopy(flow)
    for v in clone.variables:
        v.assign(v * 0.5)
    again = flow.copy().forward(x)
    assert np.all(again == y) and np.all(clone.forward(x) != y)
    assert np.all(flow.forward(x) == y) and hash(flow) == hash(flow)
    assert flow == flow.copy() and len({flow, flow}) == 1
    theirs = tfb.Scale(np.float64([1.5, 0.5]))
    tfb.Chain([theirs, radial()]).forward(x)
    assert np.all(
        pickle.loads(pickle.dumps(theirs)).forward(x) == 1.0 * theirs.forward(x)
    )
    lone = copy.copy(theirs)
    del theirs
    gc.collect()
    with pytest.raises(RuntimeError, match="by its method `copy`"):
        lone.forward(x)


def tensors_of_shape(*shape):
    gc.collect()
    return sum(
        issubclass(type(o), tf.Tensor) and o.shape == shape for o in gc.get_objects()
    )


@pytest.mark.parametrize("outermost", [False, True])
def test_the_past_of_variables_is_not_held(outermost):
    size = 173
    layer = Radial(variable(np.zeros(size)), variable(1.0), variable(1.0))
    flow = (
        tfb.Chain([tfb.Scale(variable(np.ones(size))), layer]) if outermost else layer
    )
    x = fresh(np.ones([2, size]))
    kept, counts = [], []
    for step in range(12):
        kept.append((flow.forward(x), flow.forward_log_det_jacobian(x)))
        if step in (2, 11):
            counts.append(tensors_of_shape(size))
        for v in flow.variables:
            v.assign(v + 0.1)
    # Those of now, and the unreduced log determinant of TFP's `Scale`.
    assert counts == [3, 3] if outermost else [1, 1]


def test_bijectors_are_freed_without_a_collection():
    flow = tfb.Chain([tfb.Scale(variable([1.5, 0.5])), radial()])
    flow.forward(points("Scale"))
    part = _freshness.weakref.ref(flow.bijectors[0])
    gc.disable()
    try:
        del flow
        assert part() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "gone",
    [
        "tensorflow.python.ops.gradients_util.PossibleTapeGradientTypes",
        "tensorflow.experimental.dlpack.to_dlpack",
        "ctypes.pythonapi.PyCapsule_GetPointer",
    ],
)
def test_without_a_private_part_it_is_slower_and_right(gone):
    where, name = gone.rsplit(".", 1)
    owner = {
        "tensorflow.experimental.dlpack": tf.experimental.dlpack,
        "ctypes.pythonapi": _freshness.ctypes.pythonapi,
    }.get(where) or importlib.import_module(where)
    if where == "ctypes.pythonapi":
        patch = mock.patch.object(_freshness.ctypes, "pythonapi", mock.Mock(spec=[]))
    else:
        patch = mock.patch.object(owner, name)
    spec = importlib.util.spec_from_file_location("cache_without", _freshness.__file__)
    without = importlib.util.module_from_spec(spec)
    with patch, warnings.catch_warnings(record=True) as caught:
        if where != "ctypes.pythonapi":
            delattr(owner, name)
        warnings.simplefilter("always")
        spec.loader.exec_module(without)
        cache = without.FreshCache(without.Cache)
        layer_class = type("Again", (Radial,), {"_cache": cache})
        layer = layer_class(variable([0.3, -0.2]), variable(1.0), variable(2.0))
        flow = tfb.Chain([tfb.Scale(variable([1.5, 0.5])), layer])
        expected = tfb.Chain([tfb.Scale(flow.variables[0] * 1.0), radial()])
        x = points("Scale")
        for method in METHODS:
            close(getattr(flow, method)(x), getattr(expected, method)(x))
        y = flow.forward(fresh(x)).numpy()
        assert_fresh(
            {method: getattr(flow, method) for method in METHODS},
            dict(zip(METHODS, [x, y] * 2)),
            flow.variables,
        )
    messages = [str(w.message) for w in caught if "tfp_flows" in str(w.message)]
    assert len(messages) == 1 and "caches of tfp_flows are turned off" in messages[0]
    assert type(_freshness._private_parts()).__name__ == "SimpleNamespace"
