"""The laws as functions: a reader's layer obeys them, and broken layers do not."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import bijectors, keras, masks, networks, testing
from tfp_flows._flow import Flow

tfb, tfd = tfp.bijectors, tfp.distributions
X = np.random.default_rng(0).normal(size=[3, 2])


@keras.register_builder(package="test_testing")
class Sinh(bijectors.Layer):
    """What a reader writes: three methods, and nothing of this package but `Layer`."""

    def __init__(self, log_scale, event_ndims=1, validate_args=False, name="sinh"):
        parameters = dict(locals())
        self.log_scale = log_scale
        super().__init__(
            forward_min_event_ndims=event_ndims,
            dtype=log_scale.dtype,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    def _forward(self, x):
        return tf.sinh(x * tf.exp(self.log_scale))

    def _inverse(self, y):
        return tf.asinh(y) * tf.exp(-self.log_scale)

    def _inverse_log_det_jacobian(self, y):
        log_slopes = -self.log_scale - 0.5 * tf.math.log1p(y**2)
        return tf.reduce_sum(
            log_slopes, axis=list(range(-self.forward_min_event_ndims, 0))
        )


def sinh(value=(0.1, -0.3), dtype=tf.float64, **options):
    return Sinh(tf.Variable(value, dtype=dtype, name="log_scale"), **options)


@keras.register_builder(package="test_testing")
def flow_of_sinh(value):
    base = tfd.Independent(tfd.Normal(tf.zeros(2), 1.0), 1)
    return Flow(base, tfb.Chain([sinh(value, tf.float32), tfb.Shift(tf.zeros(2))]))


def test_a_layer_of_a_reader_obeys_the_laws():
    testing.check_layer(sinh(), X)
    testing.check_layer(tfb.Chain([sinh(), tfb.Invert(sinh(0.2))]), X)


@pytest.mark.parametrize(
    "layer",
    [
        bijectors.Radial(tf.Variable(X[0]), tf.Variable(1.0, dtype=tf.float64), 3.0),
        bijectors.PReLU(tf.Variable(0.3, dtype=tf.float64)),
        bijectors.MaskedAutoregressive(
            networks.MADE(2, 2, (4,), seed=0, dtype=tf.float64)
        ),
        tfb.Sigmoid(),
    ],
    ids=lambda layer: layer.name,
)
def test_layers_obey_the_laws(layer):
    if layer.name == "masked_autoregressive":  # with gradients for all weights
        for variable in layer.trainable_variables:
            rng = np.random.default_rng(1)
            variable.assign(rng.normal(size=variable.shape))
    testing.check_layer(layer, X, jit_compile=False)


def _broken(**methods):
    return type("Broken", (Sinh,), methods)(
        tf.Variable([0.1, -0.3], dtype=tf.float64), name="broken"
    )


def _stale(self, y):  # keeps what it computed, whatever is written since
    if not hasattr(self, "_known"):
        self._known = tf.constant(np.exp(-self.log_scale.numpy()))
    return tf.asinh(y) * self._known


@pytest.mark.parametrize(
    "layer, law",
    [
        (_broken(_inverse=lambda self, y: y), "`inverse` inverts `forward`"),
        (
            _broken(
                _inverse_log_det_jacobian=lambda self, y: tf.reduce_sum(y, axis=-1)
            ),
            "`forward_log_det_jacobian` is that of the Jacobian",
        ),
        (
            _broken(_inverse_log_det_jacobian=lambda self, y: tf.reduce_sum(y)),
            "has the batch shape",
        ),
        (
            _broken(
                _inverse_and_log_det=lambda self, y: (
                    self._inverse(y),
                    tf.zeros(y.shape[:-1], y.dtype),
                )
            ),
            "`inverse_and_log_det` returns what `inverse_log_det_jacobian` returns",
        ),
        (_broken(_inverse=_stale), "`inverse` is fresh after variables were written"),
    ],
)
def test_broken_layers_do_not(layer, law):
    with pytest.raises(AssertionError, match=f"`broken` must obey: .*{law}"):
        testing.check_layer(layer, X, jit_compile=False)


def test_its_cache_is_fresh_and_serves_value_and_log_det():
    layer = sinh()
    flow = tfd.TransformedDistribution(
        tfd.Independent(tfd.Normal(np.zeros(2), 1.0), 1), layer
    )
    y = flow.sample(3, seed=(0, 1))
    before = flow.log_prob(y)
    layer.log_scale.assign_add([0.1, 0.1])
    assert np.all(flow.log_prob(y) != before)
    np.testing.assert_array_equal(flow.log_prob(y), flow.log_prob(tf.constant(y)))


def test_it_trains_and_is_saved_in_keras(tmp_path):
    model = keras.DensityModel(flow_of_sinh([0.5, 0.5]))
    model.compile("adam")
    data = np.float32(np.random.default_rng(0).normal(size=[64, 2]))
    before = model.distribution.bijector.bijectors[0].log_scale.numpy()
    model.fit(data, epochs=1, verbose=0)
    layer = model.distribution.bijector.bijectors[0]
    assert np.all(layer.log_scale.numpy() != before)
    model.save(tmp_path / "model.keras")
    import keras as keras_library

    loaded = keras_library.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        loaded.distribution.log_prob(data), model.distribution.log_prob(data), rtol=1e-6
    )


def test_it_is_scanned():
    layers = [sinh([0.1 * i, -0.3]) for i in range(3)]
    chain = tfb.Chain(layers[::-1])
    expected = chain.forward(X), chain.forward_log_det_jacobian(X)
    scan = bijectors.Scan.from_layers(layers)
    np.testing.assert_allclose(scan.forward(X), expected[0])
    np.testing.assert_allclose(scan.forward_log_det_jacobian(X), expected[1])
    testing.check_layer(scan, X, jit_compile=False)


def test_it_is_recomputed():
    images = np.random.default_rng(0).normal(size=[2, 2, 2, 1])
    gradients = []
    for recompute in (False, True):
        layer = sinh(0.3, event_ndims=3)
        flow = bijectors.MultiScale([tfb.Chain([layer, layer])], [], recompute)
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(flow.forward(images) ** 2)
            total += tf.reduce_sum(flow.forward_log_det_jacobian(images))
        gradients.append(tape.gradient(total, layer.log_scale))
    np.testing.assert_allclose(*gradients)


def test_layers_by_masks_are_layers():
    coupling = bijectors.Coupling(
        masks.half(2), networks.MLP(1, [1, 2], seed=0, dtype=tf.float64)
    )
    assert isinstance(coupling, bijectors.Layer)
    y, log_det = coupling.forward_and_log_det(X, event_ndims=2)
    np.testing.assert_allclose(y, coupling.forward(X))
    np.testing.assert_allclose(
        log_det, coupling.forward_log_det_jacobian(X, event_ndims=2)
    )
    with pytest.raises(ValueError, match="`event_ndims` must be at least 1"):
        coupling.inverse_and_log_det(X, event_ndims=0)
