"""Tests of `tfp_flows.flows.amortized_posterior`."""

import math
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close, fresh
from tfp_flows import bijectors, flows, variational
from tfp_flows.bijectors import orthonormal, transformers
from tfp_flows.keras import DistributionLayer

tfd = tfp.distributions

D, K, M, H, C = 5, 3, 2, 4, 6
# Keyword arguments, and the number of parameters besides location and scale.
FAMILIES = {
    "gaussian": (dict(), 0),
    "planar": (dict(), K * (2 * D + 1)),
    "radial": (dict(), K * (D + 2)),
    "sylvester_orthogonal": (dict(num_columns=M), K * (D * M + M * (M + 1) + M)),
    "sylvester_householder": (
        dict(num_columns=M, num_reflections=H),
        K * (H * D + M * (M + 1) + M),
    ),
    "sylvester_triangular": (dict(num_columns=M), K * (M * (M + 1) + M)),
    "iaf": (dict(context_size=C, hidden_units=(8,), seed=0), C),
    "iaf, affine": (
        dict(
            context_size=C, hidden_units=(8,), seed=0, transformer=transformers.Affine()
        ),
        C,
    ),
    "iaf, no context": (dict(context_size=0, hidden_units=(8,), seed=0), 0),
}
each_family = pytest.mark.parametrize("name", FAMILIES)


def family_of(name, dtype=tf.float64):
    family = flows.amortized_posterior(
        D, name.split(",")[0], K, dtype=dtype, **FAMILIES[name][0]
    )
    # Affine layers in a row stretch by what rounding is to survive on the way back.
    scale = 0.2 if "affine" in name else 0.5
    for i, variable in enumerate(family.trainable_variables):
        moved = tf.random.stateless_normal(variable.shape, [0, i], 0.0, scale, dtype)
        variable.assign_add(moved)
    return family


def parameters_of(family, shape, seed=0):
    """Parameters of order 1 to 3: small ones hide errors."""
    random = np.random.RandomState(seed)
    values = random.normal(scale=1.5, size=[*shape, family.num_parameters])
    return tf.constant(values, family.dtype)


@each_family
def test_asks_for_as_many_parameters_as_it_needs(name):
    family = family_of(name)
    assert family.num_parameters == 2 * D + FAMILIES[name][1]
    assert f"num_parameters={family.num_parameters}" in repr(family)
    wrong = tf.zeros([7, family.num_parameters + 1], tf.float64)
    text = rf"shape \[\.\.\., {family.num_parameters}\] .*'loc': 5.* got shape \(7, "
    with pytest.raises(ValueError, match=text):
        family(wrong)


@each_family
def test_density_of_a_sample_is_that_by_the_inverse(name):
    family = family_of(name)
    posterior = family(parameters_of(family, [4]))
    assert posterior.batch_shape == [4] and posterior.event_shape == [D]
    z, log_prob = posterior.experimental_sample_and_log_prob([20], seed=[0, 1])
    close(posterior.log_prob(fresh(z)), log_prob, 1e-8)


@each_family
def test_density_is_that_of_the_noise_over_the_jacobian(name):
    family = family_of(name)
    posterior = family(parameters_of(family, [1])[0])
    if name == "gaussian":
        assert isinstance(posterior, tfd.MultivariateNormalDiag)
        return
    noise = posterior.distribution.sample(6, seed=[0, 2])
    with tf.GradientTape() as tape:
        tape.watch(noise)
        z = posterior.bijector.forward(noise)
    log_det = np.linalg.slogdet(tape.batch_jacobian(z, noise))[1]
    expected = posterior.distribution.log_prob(noise) - log_det
    close(posterior.log_prob(fresh(z)), expected, 1e-8)


@each_family
def test_parameters_mean_what_the_papers_say(name):
    family = family_of(name)
    parameters = parameters_of(family, [1])[0]
    rest = list(parameters.numpy())

    def take(*shape):
        values = [rest.pop(0) for _ in range(math.prod(shape))]
        return np.reshape(values, shape)

    def directions(*shape):
        vectors = np.random.RandomState(0).normal(size=shape)
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    def positive(raw):
        return 1e-4 + (1.0 - 1e-4) * np.log1p((np.e - 1.0) * np.exp(raw))

    loc, scale = take(D), positive(take(D))
    noise = np.random.RandomState(1).normal(size=[4, D])
    z = loc + scale * noise
    kind = name.split(",")[0]
    layers, eye = [], np.eye(D)
    if kind == "planar":
        layers = zip(take(K, D), take(K, D) + directions(K, D), take(K))
        layers = [bijectors.Planar(*each) for each in layers]
    elif kind == "radial":
        layers = zip(take(K, D), positive(take(K)), positive(take(K)))
        layers = [bijectors.Radial(*each) for each in layers]
    elif kind in (
        "sylvester_orthogonal",
        "sylvester_householder",
        "sylvester_triangular",
    ):
        size = M * (M + 1) // 2
        r, r_tilde = (
            tfp.math.fill_triangular(take(K, size), upper=True) for _ in range(2)
        )
        r, r_tilde = map(orthonormal.triangular_factor, (r, r_tilde + np.eye(M)))
        b = take(K, M)
        if kind == "sylvester_orthogonal":  # the nearest orthonormal matrix
            left, _, right = np.linalg.svd(take(K, D, M) + eye[:, :M], False)
            q = left @ right
        elif kind == "sylvester_householder":
            q = [
                np.linalg.multi_dot(
                    [eye - 2.0 * np.outer(v, v) / (v @ v) for v in each]
                )[:, :M]
                for each in take(K, H, D) + directions(K, H, D)
            ]
        else:
            q = [eye[:, :M], eye[::-1, :M], eye[:, :M]]
        layers = [bijectors.Sylvester(*each) for each in zip(q, r, r_tilde, b)]
    for layer in layers:  # the first layer is the first in the vector
        z = layer.forward(z)
    if kind == "iaf":
        flow = tfd.TransformedDistribution(
            tfd.MultivariateNormalDiag(loc, scale), family.bijector
        )
        flow = flows.condition(flow, take(C)) if rest else flow
        z = flow.bijector.forward(z)
    assert not rest

    posterior = family(parameters)
    base = posterior if name == "gaussian" else posterior.distribution
    close(base.mean(), loc, 1e-12)
    close(base.stddev(), scale, 1e-12)
    if name != "gaussian":
        close(posterior.bijector.forward(loc + scale * noise), z, 1e-8)


@each_family
def test_a_batch_is_its_members(name):
    family = family_of(name)
    parameters = parameters_of(family, [2, 3])
    posterior = family(parameters)
    z = posterior.sample(4, seed=[0, 3])
    log_prob = posterior.log_prob(z)
    for i in np.ndindex(2, 3):
        one = family(parameters[i])
        close(one.log_prob(fresh(z[:, i[0], i[1]])), log_prob[:, i[0], i[1]], 1e-9)


@each_family
def test_parameters_of_0_are_standard_normal_noise(name):
    family = family_of(name)
    posterior = family(tf.zeros([family.num_parameters], family.dtype))
    base = posterior if name == "gaussian" else posterior.distribution
    z = base.sample(9, seed=[0, 4])
    standard = tfd.Sample(tfd.Normal(tf.constant(0.0, tf.float64), 1.0), D)
    close(base.log_prob(z), standard.log_prob(z), 1e-12)
    if not name.startswith("iaf"):
        close(posterior.log_prob(fresh(z)), standard.log_prob(z), 1e-12)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name[:3] != "iaf"])
def test_parameters_of_0_are_no_place_to_stay(name):
    # An encoder whose last layer starts at 0 must leave the Gaussian by itself.
    family = family_of(name, tf.float32)
    parameters = tf.Variable(tf.zeros([family.num_parameters]))
    optimizer = keras.optimizers.Adam(1e-2)

    @tf.function
    def step(seed):
        with tf.GradientTape() as tape:
            terms = variational.sample_and_log_probs(
                family(parameters),
                lambda z: -0.5 * (z[..., 0] - z[..., 1] ** 2) ** 2,
                tfd.Sample(tfd.Normal(0.0, 1.0), D),
                64,
                seed=seed,
            )
            loss = -tf.reduce_mean(variational.elbo(terms))
        optimizer.apply(tape.gradient(loss, [parameters]), [parameters])

    optimizer.build([parameters])
    for i in range(30):
        step(tf.constant([0, i]))
    assert np.all(parameters.numpy() != 0.0)


@each_family
def test_each_parameter_and_variable_counts_and_no_inverse_is_taken(name):
    family = family_of(name)
    parameters = parameters_of(family, [3])
    prior = tfd.Sample(tfd.StudentT(tf.constant(3.0, tf.float64), 1.0, 2.0), D)

    def forbidden(self, y, **kwargs):
        raise AssertionError("an inverse was taken")

    layers = [
        bijectors.PlanarStack,
        bijectors.Radial,
        bijectors.Sylvester,
        bijectors.InverseAutoregressive,
    ]
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        with (
            mock.patch.multiple(layers[0], _inverse=forbidden),
            mock.patch.multiple(layers[1], _inverse=forbidden),
            mock.patch.multiple(layers[2], _inverse=forbidden),
            mock.patch.multiple(layers[3], _inverse=forbidden),
        ):
            drawn = variational.sample_and_log_probs(
                family(parameters),
                lambda z: tf.reduce_sum(tf.sin(z), axis=-1),
                prior,
                8,
                seed=[0, 5],
            )
            bound = tf.reduce_mean(variational.elbo(drawn))
        gradients = tape.gradient(bound, [parameters, *family.trainable_variables])
    assert np.all(gradients[0] != 0.0)
    for gradient, variable in zip(gradients[1:], family.trainable_variables):
        if variable.shape.num_elements():
            assert np.any(gradient != 0.0), variable.name


@each_family
def test_graphs_compiled_and_of_unknown_batch_size_do_the_same(name):
    family = family_of(name)
    parameters = parameters_of(family, [3])

    noise = tf.random.stateless_normal([2, 3, D], [0, 6], dtype=tf.float64)

    def value(parameters):  # not samples, for which XLA draws other numbers
        posterior = family(parameters)
        base = getattr(posterior, "distribution", posterior)
        bijector = getattr(posterior, "bijector", tfp.bijectors.Identity())
        log_det = bijector.forward_log_det_jacobian(noise, event_ndims=1)
        return bijector.forward(noise), log_det, base.log_prob(noise)

    expected = value(parameters)
    signature = [tf.TensorSpec([None, family.num_parameters], tf.float64)]
    for function in [
        tf.function(value, jit_compile=True),
        tf.function(value, signature),
    ]:
        for actual, wanted in zip(function(parameters), expected):
            close(actual, wanted, 1e-9)


@each_family
def test_a_variable_of_parameters_is_trained(name):
    family = family_of(name)
    values = parameters_of(family, [3])
    variable = tf.Variable(values)
    posterior, expected = family(variable), family(values)
    assert variable.ref() in {v.ref() for v in posterior.trainable_variables}
    assert posterior.batch_shape == [3] and posterior.event_shape == [D]
    z = expected.sample(4, seed=[0, 8]).numpy()
    close(posterior.log_prob(z), expected.log_prob(z), 1e-9)

    def gradient(of, posterior):
        with tf.GradientTape() as tape:
            tape.watch(of)
            total = tf.reduce_sum(tf.sin((posterior or family(of)).log_prob(fresh(z))))
        return tape.gradient(total, of)

    moved = values + 0.1
    variable.assign(moved)  # what is made of it follows
    close(posterior.log_prob(fresh(z)), family(moved).log_prob(fresh(z)), 1e-9)
    close(gradient(variable, posterior), gradient(moved, None), 1e-9)


def test_a_family_is_no_distribution():
    family = flows.amortized_posterior(2, "planar", 1)
    for name in ["sample", "log_prob", "event_shape", "mean"]:
        with pytest.raises(
            AttributeError, match=rf"{name}'. An amortized .*\[\.\.\., 9\]"
        ):
            getattr(family, name)
    assert not hasattr(family, "samples")
    with pytest.raises(AttributeError, match="has no attribute 'samples'.$"):
        family.samples()


@each_family
def test_ends_a_keras_network_and_is_saved_with_it(name, tmp_path):
    family = family_of(name, tf.float32)
    inputs = keras.Input([4])
    layer = DistributionLayer(family)
    model = keras.Model(
        inputs, layer(keras.layers.Dense(family.num_parameters)(inputs))
    )
    assert len(model.trainable_variables) == 2 + len(family.trainable_variables)
    x = np.random.RandomState(0).normal(size=[3, 4]).astype(np.float32)
    model.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras")
    z = layer.distribution(model(x)).sample(seed=[0, 7])
    close(
        loaded.layers[-1].distribution(loaded(x)).log_prob(fresh(z)),
        layer.distribution(model(x)).log_prob(fresh(z)),
        1e-5,
    )


@pytest.mark.parametrize(
    "kind, arguments, text",
    [
        (
            ValueError,
            dict(flow="iff"),
            r"`flow` must be one of \('gaussian', .*; got 'iff'",
        ),
        (
            ValueError,
            dict(event_size=0),
            "`event_size` and `num_layers` must be at least",
        ),
        (ValueError, dict(flow="planar", num_layers=0), "at least 1; got 5 and 0"),
        (
            ValueError,
            dict(flow="sylvester_orthogonal", num_columns=6),
            r"in \[1, 5\] .*; got 6 and 8",
        ),
        (
            ValueError,
            dict(flow="sylvester_householder", num_reflections=0),
            "got None and 0",
        ),
        (ValueError, dict(event_size=[5]), "`event_size` must be .*; got .5.. Pass 5"),
        (
            ValueError,
            dict(flow="sylvester_orthogonal", num_columns=2.5),
            "`num_columns` .* got 2.5",
        ),
        *[
            (
                ValueError,
                dict(flow=kind, **{name: value}),
                f"`{name}` must be None with flow='{kind}'.*; got .* It is for flow='iaf'",
            )
            for kind in ["gaussian", "planar", "radial", "sylvester_householder"]
            for name, value in dict(
                context_size=0, hidden_units=(320,), transformer=transformers.Affine()
            ).items()
        ],
        *[
            (
                ValueError,
                dict(flow=kind, num_columns=2),
                "It is for .*'sylvester_householder'",
            )
            for kind in ["gaussian", "planar", "radial", "iaf"]
        ],
        *[
            (
                ValueError,
                dict(flow=kind, num_reflections=8),
                "It is for flow='sylvester_householder'.$",
            )
            for kind in [
                "gaussian",
                "planar",
                "radial",
                "iaf",
                "sylvester_orthogonal",
                "sylvester_triangular",
            ]
        ],
        *[
            (ValueError, dict(flow=kind, activation="tanh"), "It is for flow='planar'")
            for kind in ["gaussian", "radial", "iaf"]
        ],
        (TypeError, dict(flow="iaf"), "`seed` must be an integer; got None"),
    ],
)
def test_errors(kind, arguments, text):
    with pytest.raises(kind, match=text):
        flows.amortized_posterior(**dict(event_size=5) | arguments)
