"""Tests of `tfp_flows.bijectors.Scan.from_layers`, and of the builders that use it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close
from tfp_flows import bijectors, dequantization, flows, normalization
from tfp_flows.bijectors import Radial, Scan
from tfp_flows.keras import DensityModel

tfb = tfp.bijectors
SMALL = dict(num_layers=4, hidden_units=(3,))
DENSITIES = {
    "maf": lambda **k: flows.maf(3, **SMALL, **k),
    "maf_given": lambda **k: flows.maf(3, 3, (3,), order="left-to-right", **k),
    "iaf": lambda **k: flows.iaf(3, **SMALL, **k),
    "real_nvp": lambda **k: flows.real_nvp(3, **SMALL, **k),
    "real_nvp_one": lambda **k: flows.real_nvp(1, 3, (3,), **k),
    "nice": lambda **k: flows.nice(3, **SMALL, **k),
    "neural_spline": lambda **k: flows.neural_spline(3, **SMALL, **k),
    "glow": lambda **k: flows.glow([4, 4, 1], 2, 2, 2, **k),
}
BIJECTORS = {
    "radial": lambda **k: flows.radial(3, 3, **k).bijector,
    "sylvester": lambda **k: flows.sylvester(3, 3, 2, **k).bijector,
    "sylvester_triangular": (
        lambda **k: flows.sylvester(3, 3, 2, basis="triangular", **k).bijector
    ),
    "sylvester_householder": (
        lambda **k: flows.sylvester(3, 3, 2, basis="householder", **k).bijector
    ),
}


def _scans(flow):
    return [part for part in flow.submodules if isinstance(part, Scan)]


def _moved(flow):
    """Moves all variables alike, whether they are stacked or not."""
    for variable in flow.trainable_variables:
        variable.assign(0.9 * variable + 0.05)
    return flow


@pytest.mark.parametrize("builder", DENSITIES.values(), ids=DENSITIES)
def test_a_scanned_builder_is_the_same_distribution(builder):
    plain, scanned = (
        _moved(builder(seed=1, dtype=tf.float64, scan=scan)) for scan in (False, True)
    )
    assert _scans(scanned) and not _scans(plain)
    count = lambda flow: sum(v.shape.num_elements() for v in flow.trainable_variables)
    assert count(scanned) == count(plain)
    x = np.random.default_rng(0).normal(size=[4, *plain.event_shape])
    close(scanned.log_prob(x), plain.log_prob(x))
    close(scanned.sample(2, seed=(0, 1)), plain.sample(2, seed=(0, 1)))


@pytest.mark.parametrize("builder", BIJECTORS.values(), ids=BIJECTORS)
def test_a_scanned_builder_is_the_same_bijector(builder):
    plain, scanned = (
        _moved(builder(seed=1, dtype=tf.float64, scan=scan)) for scan in (False, True)
    )
    assert isinstance(scanned, Scan)
    x = np.random.default_rng(0).normal(size=[4, 3])
    for method in ["forward", "inverse", "forward_log_det_jacobian"]:
        close(getattr(scanned, method)(x), getattr(plain, method)(x))


def _activations(module):
    """Functions of a module that keep the shape of their argument, by name."""
    probe, found = tf.constant(np.random.default_rng(0).normal(size=[3, 4])), {}
    for name in dir(module):
        function = getattr(module, name)
        if callable(function) and not isinstance(function, type):
            try:
                found[name] = function if function(probe).shape == [3, 4] else None
            except (TypeError, ValueError, AttributeError, tf.errors.OpError):
                pass  # of several arguments, or none of numbers
    return {name: function for name, function in found.items() if function is not None}


@pytest.mark.parametrize(
    "module, known",
    [
        (tf.nn, "elu gelu leaky_relu relu relu6 selu sigmoid silu softplus tanh"),
        (
            keras.activations,
            "elu gelu leaky_relu relu6 selu sigmoid silu softplus tanh",
        ),
    ],
)
def test_any_activation_may_be_scanned(module, known):
    """Those of TensorFlow refer to themselves; a search for variables still ends."""
    activations = _activations(module)
    assert set(known.split()) <= set(activations)
    x = np.random.default_rng(0).normal(size=[4, 3])
    for name, activation in activations.items():
        plain, scanned = (
            _moved(
                flows.real_nvp(
                    3,
                    2,
                    (4,),
                    seed=1,
                    dtype=tf.float64,
                    scan=scan,
                    activation=activation,
                )
            )
            for scan in (False, True)
        )
        assert _scans(scanned), name
        close(scanned.log_prob(x), plain.log_prob(x))


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("builder", [flows.real_nvp, flows.maf])
def test_an_activation_that_is_not_elementwise_is_an_error(builder, scan):
    flow = builder(3, 2, (4,), seed=1, scan=scan, activation=tf.nn.crelu)
    with pytest.raises(ValueError, match=r"`activation` must keep .* got `crelu_v2`"):
        flow.log_prob(np.ones([2, 3], np.float32))


def test_a_scanned_glow_starts_from_data():
    y = dequantization.dequantize(
        np.random.default_rng(0).integers(0, 99, size=[6, 4, 4, 1]),
        seed=0,
        dtype=tf.float64,
    )
    plain, scanned = (
        flows.glow(
            [4, 4, 1],
            2,
            2,
            2,
            seed=0,
            scan=scan,
            dtype=tf.float64,
            context_size=3,
            conditioning="all",
        )
        for scan in (False, True)
    )
    labels = [0, 1, 2, 0, 1, 2]
    plain, scanned = (
        flows.condition_on_class(flow, labels, 3) for flow in (plain, scanned)
    )
    for flow in [plain, scanned]:
        normalization.initialize_from_data(flow, y)
    close(scanned.log_prob(y), plain.log_prob(y))


def test_recipes_say_what_does_not_go_with_a_scan():
    with pytest.raises(ValueError, match="`num_layers` must be even .*; got 3"):
        flows.real_nvp(3, 3, seed=0, scan=True)
    with pytest.raises(ValueError, match="`batch_norm` must be False with `scan=True`"):
        flows.maf(3, 2, seed=0, scan=True, batch_norm=True)
    with pytest.raises(ValueError, match="agree in the numbers .* an order drawn anew"):
        flows.maf(3, 4, seed=0, scan=True, order="random")


def test_keras_trains_and_saves_all_layers(tmp_path):
    flow = flows.real_nvp(2, 4, (3,), seed=0, scan=True)
    for variable in flow.trainable_variables:  # so that all have gradients
        variable.assign_add(0.1 * tf.ones_like(variable))
    start = [np.array(variable) for variable in flow.trainable_variables]
    x = np.random.default_rng(0).normal(size=[32, 2]).astype(np.float32)
    model = DensityModel(flow)
    model.compile(optimizer="adam")
    model.fit(x, epochs=1, batch_size=16, verbose=0)
    for variable, old in zip(flow.trainable_variables, start):
        changed = np.any(np.reshape(variable != old, [2, -1]), axis=1)
        assert np.all(changed), variable.name
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras")
    close(loaded.predict(x, verbose=0), model.predict(x, verbose=0), 0.0)


def _radial(size=3, **others):
    variables = [tf.Variable(np.ones(s)) for s in ([size], [], [])]
    return Radial(*variables, **others)


def test_layers_must_be_equal():
    for layers, message in [
        ([], "at least one layer; got none"),
        ([_radial(), _radial(4)], r"got .*4.* in layer 1 and .* at `center`"),
        ([_radial(), _radial(validate_args=True)], "got True in layer 1 .*`validate_"),
        ([_radial(), tfb.Scale(2.0)], "in layer 1 .* at `the layer itself`"),
        ([_radial()] * 2, "must differ in variables or tensors; got the same"),
        (list(flows.maf(3, 2, (3,), seed=0).bijector.bijectors), "order_kind"),
        (list(flows.real_nvp(3, 2, (3,), seed=0).bijector.bijectors), "`mask`"),
        (
            list(
                flows.real_nvp(3, 2, (3,), seed=0, batch_norm=True).bijector.bijectors
            ),
            "must not normalize by statistics of batches",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            bijectors.Scan.from_layers(layers)
    with pytest.raises(TypeError, match="Each of `layers` must be a bijector; got 3"):
        bijectors.Scan.from_layers([3])


def test_variables_keep_names_and_flags():
    frozen = tf.Variable(np.ones([3]), trainable=False, name="place")
    other = tf.Variable(np.zeros([3]), trainable=False, name="elsewhere")
    scan = bijectors.Scan.from_layers(
        [Radial(c, np.float64(1.0), 1.0) for c in (frozen, other)]
    )
    (variable,) = scan.variables
    assert variable.name == "place:0" and not variable.trainable
    np.testing.assert_array_equal(variable, [np.ones([3]), np.zeros([3])])


def test_one_layer_is_enough():
    layer = _radial()
    scan = bijectors.Scan.from_layers([layer])
    x = np.random.default_rng(0).normal(size=[4, 3])
    close(scan.forward(x), layer.forward(x))
    assert [v.shape[0] for v in scan.variables] == [1, 1, 1]
