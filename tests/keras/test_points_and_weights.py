"""Tests of what `DensityModel` makes of points with more axes, and of sample weights.

The loss is the mean over all points, whatever axes number them, of weight times loss;
weights of rows are those of all points of a row. `test_devices.py` has replicas.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close
from tfp_flows import flows
from tfp_flows.keras import DensityModel

tfd = tfp.distributions

START = np.array([0.5, -1.0])
RNG = np.random.default_rng(0)
X = RNG.normal(size=[12, 3, 2])  # 12 rows of 3 points
OF_ROWS, OF_POINTS = RNG.uniform(0.0, 2.0, [12]), RNG.uniform(0.0, 2.0, [12, 3])
WEIGHTS = {
    "N": (OF_ROWS, OF_ROWS[:, None]),
    "N 1": (OF_ROWS[:, None], OF_ROWS[:, None]),
    "N T": (OF_POINTS, OF_POINTS),
    "N T 1": (OF_POINTS[..., None], OF_POINTS),
}


def nats(x, shift=START):
    """Log-densities under shifted noise."""
    return -np.log(2.0 * np.pi) - np.sum((x - shift) ** 2, axis=-1) / 2.0


def size_of(y_true, y_pred):
    return tf.reduce_mean(tf.abs(y_pred - y_true), axis=-1)


def model_of(**options):
    loc = tf.Variable(START)
    model = DensityModel(tfd.MultivariateNormalDiag(loc, tf.ones([2], tf.float64)))
    size = keras.metrics.MeanMetricWrapper(size_of, name="size", dtype="float64")
    model.compile(
        keras.optimizers.SGD(0.5),
        metrics=["log_likelihood"],
        weighted_metrics=["bits_per_dimension", size],
        **options,
    )
    return model


def given(kind, x, weights):
    """Returns arguments of `fit`: data in batches of 5 rows."""
    if kind == "arrays":
        return dict(x=x, sample_weight=weights, batch_size=5)
    return dict(x=tf.data.Dataset.from_tensor_slices((x, None, weights)).batch(5))


def check(x, weights, shape, data, **options):
    """Checks loss, metrics and a step against NumPy.

    Args:
      x: points.
      weights: a weight for each point.
      shape: weights as they are given.
      data: kind of the data, as for `given`.
      **options: of `compile`.
    """
    model = model_of(**options)
    log_prob, weights = nats(x), np.broadcast_to(weights, x.shape[:-1])
    weighted = np.average(log_prob, weights=weights)
    expected = dict(
        loss=-np.mean(weights * log_prob),
        log_likelihood=np.mean(log_prob),
        bits_per_dimension=-weighted / (2.0 * np.log(2.0)),
        size=np.average(-log_prob, weights=weights),
    )
    result = model.evaluate(**given(data, x, shape), verbose=0, return_dict=True)
    assert sorted(result) == sorted(expected)
    close(model.predict(x, batch_size=5, verbose=0), log_prob, 1e-12)
    model.fit(**given(data, x, shape) | dict(shuffle=False), verbose=0)
    shift = START
    for rows in (slice(0, 5), slice(5, 10), slice(10, 12)):
        w, points = weights[rows, ..., None], x[rows]
        step = np.mean(np.reshape(w * (shift - points), [-1, 2]), axis=0)
        shift = shift - 0.5 * step
    close(model.distribution.loc, shift, 1e-12)
    for name, value in expected.items():
        close(result[name], value, 1e-12)


@pytest.mark.parametrize("data", ["arrays", "dataset"])
@pytest.mark.parametrize("kind", WEIGHTS)
def test_the_loss_is_the_mean_over_all_points(kind, data):
    shape, weights = WEIGHTS[kind]
    check(X, weights, shape, data, jit_compile=kind == "N 1")


@pytest.mark.parametrize("data", ["arrays", "dataset"])
@pytest.mark.parametrize("shape", [OF_ROWS, OF_ROWS[:, None]], ids=["N", "N 1"])
def test_weights_with_an_axis_of_length_one_are_those_without(shape, data):
    check(X[:, 0], OF_ROWS, shape, data)


def test_points_may_have_any_number_of_axes():
    x = RNG.normal(size=[12, 3, 2, 2])
    check(x, OF_POINTS[..., None], OF_POINTS, "arrays")
    check(x, OF_POINTS[..., None], OF_POINTS[..., None], "arrays")
    weights = RNG.uniform(0.0, 2.0, [12, 3, 2])
    check(x, weights, weights[..., None], "dataset", run_eagerly=True)


def test_one_batch_and_validation_go_by_the_same_rule():
    model, log_prob = model_of(), nats(X)
    for weights in (OF_ROWS, OF_ROWS[:, None]):
        expected = -np.mean(OF_ROWS[:, None] * log_prob)
        close(model.test_on_batch(X, sample_weight=weights)[0], expected, 1e-12)
        validation = (X, None, weights)
        history = model.fit(
            X[:1] * 0.0 + START, validation_data=validation, verbose=0
        ).history
        close(history["val_loss"], [expected], 1e-12)  # the gradient was 0
        result = model_of().train_on_batch(X, sample_weight=weights)
        close(result[0], expected, 1e-12)


def test_a_generator_may_not_tell_the_axes_of_its_weights():
    def batches():
        yield X[:5, 0], (), OF_ROWS[:5]
        yield X[5:, 0], (), OF_ROWS[5:, None]

    signature = (
        tf.TensorSpec([None, 2], tf.float64),
        (),
        tf.TensorSpec(None, tf.float64),
    )
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    result = model_of().evaluate(dataset, verbose=0)
    close(result[0], -np.mean(OF_ROWS * nats(X[:, 0])), 1e-12)


@pytest.mark.parametrize(
    "weights, points, text",
    [
        (OF_POINTS, X[:, 0], r"\(12,\) of the examples, .*; got \(12, 3\)"),
        (OF_POINTS[:, :2], X, r"\(12, 3\) of the examples, .*; got \(12, 2\)"),
        (X, X, r"\(12, 3\) of the examples, .*; got \(12, 3, 2\)"),
    ],
    ids=["N T", "N U", "N T D"],
)
def test_weights_of_another_shape_are_an_error_of_both(weights, points, text):
    text = "`sample_weight` must have the shape " + text
    for name in ("fit", "evaluate"):
        model = model_of()
        with pytest.raises(ValueError, match=text):
            getattr(model, name)(points, sample_weight=weights, verbose=0)
        # Graphs of Keras may be for any shape: then it is TensorFlow that names both.
        errors, both = (
            (ValueError, tf.errors.InvalidArgumentError),
            (r"\(5, 3\)|\(5,\).* got \(5,|got \(None, 3(, 2)?\)|\[5,2\] vs. \[5,3\]"),
        )
        with pytest.raises(errors, match=both):
            getattr(model, name)(**given("dataset", points, weights), verbose=0)
        close(model.distribution.loc, START, 0.0)


def test_points_of_no_weight_do_not_count_in_gradients():
    weight = np.where(np.arange(12) % 2, 0.0, OF_ROWS)
    flow, copy = (
        flows.real_nvp(2, 2, (4,), seed=0, dtype=tf.float64) for _ in range(2)
    )
    model = DensityModel(flow)
    model.compile(keras.optimizers.SGD(0.5), metrics=["log_likelihood"])
    history = model.fit(X, sample_weight=weight, batch_size=12, verbose=0).history
    log_prob = copy.log_prob(X).numpy()
    close(history["log_likelihood"], [np.mean(log_prob)], 1e-12)  # of all points
    close(history["loss"], [-np.mean(weight[:, None] * log_prob)], 1e-12)
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(weight[:, None] * copy.log_prob(X))
    gradients = tape.gradient(loss, copy.trainable_variables)
    for variable, start, gradient in zip(
        flow.trainable_variables, copy.trainable_variables, gradients
    ):
        close(variable, start - 0.5 * gradient, 1e-12)


def test_a_context_of_a_row_is_that_of_its_points():
    flow = flows.real_nvp(2, 2, (4,), seed=0, dtype=tf.float64, context_size=1)
    model = DensityModel(flow)
    model.compile("sgd")
    for variable in flow.trainable_variables:
        variable.assign_add(
            0.1
            * tf.cos(tf.range(tf.size(variable), dtype=tf.float64))
            .numpy()
            .reshape(variable.shape)
        )
    context = RNG.normal(size=[12, 1])
    each = np.broadcast_to(context[:, None], [12, 3, 1])
    flat = flows.condition(flow, each.reshape([36, 1]))
    expected = np.reshape(flat.log_prob(X.reshape([36, 2])), [12, 3])
    for value in (context, each):
        close(model.predict([X, value], batch_size=5, verbose=0), expected, 1e-12)
        result = model.evaluate(
            [X, value], sample_weight=OF_ROWS, batch_size=5, verbose=0
        )
        close(result, -np.mean(OF_ROWS[:, None] * expected), 1e-12)
    assert np.ptp(expected - model.predict([X, context[::-1]], verbose=0)) > 1e-3
    # Where a batch has as many rows as points in a row, they would pair without a word.
    close(model.predict([X[:3], context[:3]], verbose=0), expected[:3], 1e-12)


@pytest.mark.parametrize("context_size", [0, 2])
def test_an_export_serves_points_with_another_axis(context_size, tmp_path):
    flow = flows.maf(2, 1, (4,), seed=0, context_size=context_size, dtype=tf.float64)
    model = DensityModel(flow)
    model.export(tmp_path / "model")
    served = tf.saved_model.load(tmp_path / "model")
    context = [OF_POINTS[:, :2]] if context_size else []
    expected = model.predict([X, *context] if context else X, verbose=0)
    close(served.log_prob(*map(tf.constant, [X, *context])), expected, 1e-12)
    for log_prob in (served.log_prob, served.serve):
        close(log_prob(*map(tf.constant, [X[:, 1], *context])), expected[:, 1], 1e-12)
    inputs = served.signatures["log_prob"].structured_input_signature[1]
    assert inputs["x"].shape.as_list() == [None, 2]
