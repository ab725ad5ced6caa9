"""Flows bound to a context, within any distribution of TFP, as models of Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close
from tfp_flows import flows
from tfp_flows.bijectors import ActNorm
from tfp_flows.keras import DensityModel, DistributionLayer

tfb, tfd = tfp.bijectors, tfp.distributions
RNG = np.random.default_rng(0)
X = RNG.normal(size=[6, 2]).astype(np.float32)
ROWS = np.eye(3, dtype=np.float32)


def moved(flow):
    for i, variable in enumerate(flow.trainable_variables):
        variable.assign_add(
            0.3
            * tf.cos(
                float(i) + tf.range(variable.shape.num_elements(), dtype=variable.dtype)
            )
            .numpy()
            .reshape(variable.shape)
        )
    return flow


def family():
    return moved(flows.real_nvp(2, 2, (), seed=0, context_size=3))


def given(flow, row, x):
    return flows.condition(flow, ROWS[row]).log_prob(x).numpy()


def weights():
    return tf.Variable([0.5, -0.5, 0.1], name="weights")


def of_joint(f, x):
    return np.stack([given(f, row, x[row : row + 1])[0] for row in range(3)]) + (
        np.log([tf.nn.softmax(weights())[row] for row in range(3)])
    )


def labeled(label):
    return tfd.OneHotCategorical(logits=label, dtype=tf.float32)


# A distribution of a family, points of it, what their log-densities are, and how many
# variables it has besides those of the family.
BOUND = {
    "condition": (
        lambda f: flows.condition(f, ROWS[1]),
        X,
        lambda f: given(f, 1, X),
        0,
    ),
    "transformed": (
        lambda f: tfd.TransformedDistribution(
            flows.condition(f, ROWS[1]), tfb.Shift(tf.Variable([1.0, 2.0]))
        ),
        X,
        lambda f: given(f, 1, X - np.float32([1.0, 2.0])),
        1,
    ),
    "joint by names": (
        lambda f: tfd.JointDistributionNamed(
            dict(label=labeled(weights()), x=lambda label: flows.condition(f, label))
        ),
        dict(label=ROWS, x=X[:3]),
        lambda f: of_joint(f, X),
        1,
    ),
    "joint in sequence": (
        lambda f: tfd.JointDistributionSequential(
            [labeled(weights()), lambda label: flows.condition(f, label)]
        ),
        [ROWS, X[:3]],
        lambda f: of_joint(f, X),
        1,
    ),
    "mixture of a family": (
        lambda f: tfd.MixtureSameFamily(
            tfd.Categorical(logits=weights()), flows.condition(f, ROWS)
        ),
        X,
        lambda f: np.log(
            sum(tf.nn.softmax(weights())[k] * np.exp(given(f, k, X)) for k in range(3))
        ),
        1,
    ),
    "mixture": (
        lambda f: tfd.Mixture(
            tfd.Categorical(probs=[0.25, 0.75]),
            [flows.condition(f, ROWS[0]), flows.condition(f, ROWS[1])],
        ),
        X,
        lambda f: np.log(0.25 * np.exp(given(f, 0, X)) + 0.75 * np.exp(given(f, 1, X))),
        0,
    ),
    "independent": (
        lambda f: tfd.Independent(flows.condition(f, ROWS), 1),
        np.stack([X, X + 1.0, X - 1.0], axis=1),
        lambda f: given(f, 0, X) + given(f, 1, X + 1.0) + given(f, 2, X - 1.0),
        0,
    ),
    "sample": (
        lambda f: tfd.Sample(flows.condition(f, ROWS[2]), 2),
        np.stack([X, X + 1.0], axis=1),
        lambda f: given(f, 2, X) + given(f, 2, X + 1.0),
        0,
    ),
    "batch reshape": (
        lambda f: tfd.BatchReshape(flows.condition(f, ROWS[:1]), []),
        X,
        lambda f: given(f, 0, X),
        0,
    ),
}


@pytest.mark.parametrize("make, x, log_prob, others", BOUND.values(), ids=BOUND)
def test_a_bound_flow_trains_in_any_distribution(make, x, log_prob, others):
    flow = family()
    model = DensityModel(make(flow))
    model.compile(keras.optimizers.SGD(0.01))
    assert model.context_size == 0
    close(model.predict(x, verbose=0), log_prob(flow), 1e-5)
    number = len(flow.trainable_variables)
    assert len(model.trainable_variables) == number + others
    before = [variable.numpy() for variable in model.trainable_variables]
    losses = model.fit(x, batch_size=6, epochs=2, verbose=0).history["loss"]
    close(losses[0], -np.mean(log_prob(family())), 1e-5)
    assert losses[1] < losses[0]
    for variable, old in zip(model.trainable_variables, before):
        assert np.any(variable.numpy() != old), variable.path
    samples = model.sample(4, seed=0)
    tf.nest.map_structure(
        lambda s, points: s.shape.assert_is_compatible_with([4, *points.shape[1:]]),
        samples,
        x,
    )


@pytest.mark.parametrize("kind", ["joint by names", "joint in sequence"])
def test_the_export_of_a_joint_distribution_serves(kind, tmp_path):
    make, x, log_prob, _ = BOUND[kind]
    flow = family()
    model = DensityModel(make(flow))
    model.export(tmp_path / "model")
    served = tf.saved_model.load(tmp_path / "model")
    parts = [tf.constant(part) for part in tf.nest.flatten(x)]
    for call in (served.log_prob, served.serve):
        close(call(*parts), log_prob(flow), 1e-5)
        close(call(*(part[:2] for part in parts)), log_prob(flow)[:2], 1e-5)
    sample = served.sample(tf.constant(4), tf.constant([0, 1]))
    tf.nest.map_structure(
        lambda a, b: close(a, b, 1e-5), sample, model.sample(4, seed=1)
    )
    names = {
        spec.name
        for spec in tf.nest.flatten(
            served.signatures["log_prob"].structured_input_signature
        )
    }
    assert names == ({"label", "x"} if isinstance(x, dict) else {"x_0", "x_1"})


@pytest.mark.parametrize(
    "wrap, size",
    [
        (lambda f: tfd.Sample(f, 2), 2),
        (lambda f: tfd.Independent(f, 0), 1),
        (lambda f: tfd.TransformedDistribution(f, tfb.Scale(2.0)), 1),
        (
            lambda f: tfd.TransformedDistribution(
                tfd.Sample(tfd.Normal(0.0, 1.0), 4),
                tfb.Blockwise([f.bijector, tfb.Identity()], [2, 2]),
            ),
            4,
        ),
    ],
)
def test_an_unbound_flow_is_bound_in_any_distribution(wrap, size):
    flow = family()
    model = DensityModel(wrap(flow))
    assert model.context_size == 3
    x = np.concatenate([X, X + 1.0], axis=1) if size == 4 else X
    x = np.stack([X, X + 1.0], axis=1) if size == 2 else x
    expected = [
        wrap(flows.condition(flow, context)).log_prob(point).numpy()
        for context, point in zip(ROWS[[0, 1, 2, 2, 1, 0]], x)
    ]
    context = ROWS[[0, 1, 2, 2, 1, 0]]
    close(model.predict([x, context], verbose=0), expected, 1e-5)


def test_a_layer_keeps_the_context_that_it_has():
    flow = family()
    first, second = flow.bijector.bijectors
    chain = tfb.Chain([flows.condition(first, ROWS[0]), second])
    model = DensityModel(tfd.TransformedDistribution(flow.distribution, chain))
    context = np.tile(ROWS[1], [6, 1])
    whole = tfb.Chain(
        [flows.condition(first, ROWS[0]), flows.condition(second, ROWS[1])]
    )
    expected = tfd.TransformedDistribution(flow.distribution, whole).log_prob(X)
    close(model.predict([X, context], verbose=0), expected, 1e-5)


def test_a_bound_flow_is_no_family():
    with pytest.raises(
        ValueError, match="`conditional_distribution` must take a context"
    ):
        DistributionLayer(flows.condition(family(), ROWS[0]))


def normalized():
    shift, log_scale = tf.Variable([0.0, 0.0]), tf.Variable([0.0, 0.0])
    actnorm = ActNorm(
        shift, log_scale, tf.Variable(False, trainable=False), event_ndims=1
    )
    return tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), 2), actnorm)


@pytest.mark.parametrize(
    "wrap, x",
    [
        (lambda f: tfd.TransformedDistribution(f, tfb.Shift(tf.Variable(1.0))), X),
        (lambda f: tfd.Sample(f, 2), np.stack([X, 2.0 * X], axis=1)),
        (lambda f: tfd.Independent(f, 0), X),
    ],
)
def test_layers_start_from_data_within_other_distributions(wrap, x):
    flow = normalized()
    model = DensityModel(wrap(flow))
    model.compile(keras.optimizers.SGD(0.0))
    model.fit(x, batch_size=6, verbose=0)
    rows = np.reshape(x, [-1, 2])
    shifted = "Shift" in repr(model.distribution.parameters)
    close(flow.bijector.shift, np.mean(rows, axis=0) - shifted, 1e-5)
    close(flow.bijector.log_scale, np.log(np.std(rows, axis=0)), 1e-5)
    assert bool(flow.bijector.initialized)


def test_layers_that_no_data_reach_keep_their_parameters_and_warn():
    model = DensityModel(
        tfd.Mixture(
            tfd.Categorical(logits=tf.Variable([0.0, 0.0])),
            [normalized(), normalized()],
        )
    )
    model.compile(keras.optimizers.SGD(0.0))
    with pytest.warns(UserWarning, match="are not initialized from data.* each"):
        model.fit(X, verbose=0)
    for variable in model.trainable_variables:
        close(variable, [0.0, 0.0])
