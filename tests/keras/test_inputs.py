"""Tests of the inputs of density models: contexts, tables, images, and others."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close
from tfp_flows import dequantization, flows, masks
from tfp_flows.bijectors import Coupling, Squeeze
from tfp_flows.keras import (
    BijectorLayer,
    DensityModel,
    DistributionLayer,
    LogLikelihood,
)
from tfp_flows.networks import MADE, ConvNet

tfb, tfd = tfp.bijectors, tfp.distributions
RNG = np.random.default_rng(0)
X = RNG.normal(size=[6, 2]).astype(np.float32)
CONTEXT = RNG.normal(size=[6, 3]).astype(np.float32)
LABELS = np.array([0, 1, 2, 2, 1, 0])
ONE_HOT = np.eye(3, dtype=np.float32)[LABELS]


def moved(flow):
    for i, variable in enumerate(flow.trainable_variables):
        variable.assign_add(0.3 * tf.cos(float(i) + tf.zeros_like(variable)))
    return flow


def conditional(context_size=3):
    return moved(flows.real_nvp(2, 1, (4,), seed=0, context_size=context_size))


def compiled(flow, **options):
    model = DensityModel(flow)
    model.compile(keras.optimizers.SGD(1e-3), **options)
    return model


def one_by_one(flow, x, context):
    """Log-densities of points, each in a flow of its own context."""
    return np.array(
        [
            float(flows.condition(flow, c).log_prob(point))
            for point, c in zip(x, context)
        ]
    )


# Contexts


def test_each_point_meets_its_own_context():
    flow = conditional()
    model = compiled(flow)
    expected = one_by_one(flow, X, CONTEXT)
    close(model.predict([X, CONTEXT], verbose=0), expected, 1e-5)
    loss = model.fit([X, CONTEXT], batch_size=6, verbose=0).history["loss"]
    close(loss, [-np.mean(expected)], 1e-5)


@pytest.mark.parametrize("number", [4, 6])
def test_points_of_a_row_share_its_context_or_have_their_own(number):
    """With as many points in a row as rows, TFP would pair along the wrong axis."""
    flow = conditional()
    model = DensityModel(flow)
    x = RNG.normal(size=[6, number, 2]).astype(np.float32)
    expected = [one_by_one(flow, row, [c] * number) for row, c in zip(x, CONTEXT)]
    close(model([x, CONTEXT]), expected, 1e-5)
    each = RNG.normal(size=[6, number, 3]).astype(np.float32)
    expected = [one_by_one(flow, *rows) for rows in zip(x, each)]
    close(model([x, each]), expected, 1e-5)


@pytest.mark.parametrize(
    "context, shape",
    [
        (CONTEXT[0], r"\(3,\)"),
        (CONTEXT[:1], r"\(1, 3\)"),
        (CONTEXT[:5], r"\(5, 3\)"),
        (CONTEXT[:, np.newaxis], r"\(6, 1, 3\)"),
        (CONTEXT[np.newaxis], r"\(1, 6, 3\)"),
    ],
)
def test_contexts_that_would_broadcast_are_an_error(context, shape):
    model = compiled(conditional())
    text = rf"`context` must have the shape \[N, 3\].*; got {shape} for examples \[6\]"
    data = tf.data.Dataset.from_tensors(((X, context),))
    for run in (
        lambda: model.fit([X, context]),
        lambda: model.fit(data),
        lambda: model.predict([X, context], verbose=0),
        lambda: model([X, context]),
        lambda: model.evaluate(data, verbose=0),
    ):
        with pytest.raises(ValueError, match=text):
            run()


@pytest.mark.parametrize("jit_compile", [False, True])
def test_numbers_of_rows_that_a_graph_alone_knows_are_checked(jit_compile):
    model = DensityModel(conditional())
    specs = [tf.TensorSpec([None, 2]), tf.TensorSpec([None, 3])]
    graph = tf.function(
        lambda x, context: model([x, context]), specs, jit_compile=jit_compile
    )
    close(graph(X, CONTEXT), model([X, CONTEXT]), 1e-5)
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError)):
        graph(X, CONTEXT[:1])


@pytest.mark.parametrize(
    "context, text",
    [
        (LABELS, r"int64 of shape \(6,\). Convert labels .*`tf.one_hot\(labels, 3\)`"),
        (ONE_HOT.astype(int), "one-hot vectors and other numbers by `tf.cast`"),
        (ONE_HOT.astype(bool), "got bool .* by `tf.cast`"),
        (ONE_HOT.tolist(), "got a list with Python numbers. Pass `np.array"),
    ],
)
def test_contexts_that_are_not_floating_are_told_what_to_do(context, text):
    model = compiled(conditional())
    for run in (lambda x: model.fit(x), lambda x: model.predict(x, verbose=0)):
        with pytest.raises(TypeError, match=text) as error:
            run([X, context])
        assert "dequantize" not in str(error.value)
    with pytest.raises(TypeError, match="got int32 of shape"):
        model.sample(context=[0, 0, 1])


def test_a_layer_pairs_contexts_too():
    flow = conditional()
    layer = BijectorLayer(flow.bijector, "inverse")
    expected = flows.condition(flow, CONTEXT).bijector.inverse(X)
    close(layer(X, context=CONTEXT), expected, 1e-5)
    with pytest.raises(ValueError, match=r"shape \[N, 3\]"):
        layer(X, context=CONTEXT[:1])


def coupling():
    network = ConvNet(1, 1, 4, num_layers=1, seed=0, context_size=2, context_ndims=3)
    noise = tfd.Sample(tfd.Normal(0.0, 1.0), [4, 4, 2])
    return moved(
        tfd.TransformedDistribution(noise, Coupling(masks.channelwise(2), network))
    )


def coupling_of_a_level():
    """Its context has the size of the squeezed image."""
    network = ConvNet(2, 2, 4, num_layers=1, seed=0, context_size=2, context_ndims=3)
    layers = [tfb.Invert(Squeeze()), Coupling(masks.channelwise(4), network), Squeeze()]
    noise = tfd.Sample(tfd.Normal(0.0, 1.0), [8, 4, 1])
    return moved(tfd.TransformedDistribution(noise, tfb.Chain(layers)))


def dequantizer():
    return moved(dequantization.variational_dequantizer([4, 4, 1], 2, 4, seed=0))


MAPS = {
    "coupling": (coupling, [4, 4, 2], [4, 4, 2]),
    "level": (coupling_of_a_level, [8, 4, 1], [4, 2, 2]),
    "dequantizer": (dequantizer, [4, 4, 1], [4, 4, 1]),
}


@pytest.mark.parametrize("make, event, one", MAPS.values(), ids=MAPS)
def test_contexts_may_be_maps(make, event, one, tmp_path):
    flow = make()
    model = compiled(flow)
    x = RNG.uniform(0.1, 0.9, size=[6, *event]).astype(np.float32)
    context = RNG.normal(size=[6, *one]).astype(np.float32)
    expected = one_by_one(flow, x, context)
    close(model.predict([x, context], verbose=0), expected, 1e-4)
    samples = model.sample(2, seed=0, context=context)
    assert samples.shape == [2, 6, *event]
    losses = model.fit([x, context], batch_size=6, epochs=2, verbose=0).history["loss"]
    close(losses[0], -np.mean(expected), 1e-4)
    assert losses[1] < losses[0]
    for wrong in (context[0], context[:1], context[:, np.newaxis]):
        with pytest.raises(ValueError, match="one context for each of the N examples"):
            model.fit([x, wrong])
    with pytest.raises(ValueError, match=r"axes \[H, W, \d\] of one context"):
        model.fit([x, context[0, 0]])
    if make is coupling:
        model.export(tmp_path / "model")
        served = tf.saved_model.load(tmp_path / "model")
        x, context = tf.constant(x), tf.constant(context)
        close(served.log_prob(x, context), model([x, context]), 1e-4)
        assert served.sample(context, tf.constant([0, 1])).shape == [6, *event]


# Tables


@pytest.fixture(params=["pandas", "polars"])
def table(request):
    """Returns a function that makes a table of columns with names."""
    library = pytest.importorskip(request.param)
    return lambda columns: library.DataFrame(columns)


def columns(order="ab", values=X):
    return {name: values[:, "ab".index(name)] for name in order}


@pytest.fixture
def fitted(table):
    model = compiled(moved(flows.maf(2, 1, (4,), seed=0)))
    model.fit(table(columns()), verbose=0)
    return model


def test_columns_in_another_order_are_put_right(fitted, table, tmp_path):
    expected = fitted.predict(X, verbose=0)
    assert np.all(np.abs(fitted.predict(X[:, ::-1], verbose=0) - expected) > 1e-3)
    fitted.save(tmp_path / "flow.keras")
    for model in (fitted, keras.models.load_model(tmp_path / "flow.keras")):
        for order in ("ab", "ba"):
            x = table(columns(order))
            for actual in (
                model.predict(x, verbose=0),
                model.predict_on_batch(x),
                model(x),
            ):
                close(actual, expected, 1e-6)
            close(model.evaluate(x, verbose=0), -np.mean(expected), 1e-6)
            close(model.test_on_batch(x), -np.mean(expected), 1e-6)
    history = fitted.fit(
        table(columns("ba")), validation_data=(table(columns("ba")),), verbose=0
    )
    close(history.history["loss"], [-np.mean(expected)], 1e-5)
    close(history.history["val_loss"], [-np.mean(fitted.predict(X, verbose=0))], 1e-5)


def test_other_columns_are_an_error(fitted, table):
    x = table(dict(a=X[:, 0], c=X[:, 1]))
    text = (
        r"`x` must have the columns .*\['a', 'b'\]; got \['a', 'c'\]: \['b'\] "
        r"missing, \['c'\] unknown"
    )
    for run in (
        lambda: fitted.fit(x),
        lambda: fitted.predict(x, verbose=0),
        lambda: fitted.evaluate(x, verbose=0),
        lambda: fitted.train_on_batch(x),
        lambda: fitted.fit(X, validation_data=(x,)),
        lambda: fitted(x),
    ):
        with pytest.raises(ValueError, match=text):
            run()


def test_a_fit_that_fails_teaches_no_columns(table):
    model = compiled(flows.maf(2, 1, (4,), seed=0))
    with pytest.raises(ValueError, match="must be finite"):
        model.fit(table(columns("ba", np.full([6, 2], np.nan))))
    model.fit(table(columns()), verbose=0)
    with pytest.raises(ValueError, match="columns that the model was fitted to"):
        model.predict(table(dict(c=X[:, 0], b=X[:, 1])), verbose=0)


def test_columns_of_contexts_are_known_too(table):
    model = compiled(conditional(2))
    context = CONTEXT[:, :2]
    model.fit([table(columns()), table(columns(values=context))], verbose=0)
    given = [table(columns("ba")), table(columns("ba", context))]
    close(model.predict(given, verbose=0), model.predict([X, context], verbose=0), 1e-6)
    with pytest.raises(ValueError, match="`context` must have the columns"):
        model.predict([X, table(dict(a=context[:, 0], c=context[:, 1]))], verbose=0)


def test_columns_that_hold_no_numbers_are_an_error(table):
    model = compiled(flows.maf(2, 1, (4,), seed=0))
    with pytest.raises(TypeError, match=r"only numbers.*columns \['a', 'c'\]"):
        model.fit(table(dict(a=X[:, 0], c=list("pqrpqr"))))


def test_numbers_of_columns_are_no_names():
    pandas = pytest.importorskip("pandas")
    model = compiled(flows.maf(2, 1, (4,), seed=0))
    model.fit(pandas.DataFrame(X), verbose=0)
    expected = model.predict(X, verbose=0)
    close(model.predict(pandas.DataFrame(columns()), verbose=0), expected, 1e-6)


# What makes no sense


@pytest.mark.parametrize(
    "metric",
    [
        "accuracy",
        "mae",
        keras.metrics.MeanSquaredError(),
        keras.metrics.AUC,
        keras.metrics.mean_squared_error,
        keras.metrics.Mean(),
        keras.metrics.MeanMetricWrapper(keras.metrics.mean_squared_error),
    ],
)
def test_metrics_that_compare_with_targets_are_refused(metric):
    for argument in ("metrics", "weighted_metrics"):
        text = f"`{argument}` must be of 'log_likelihood', .* has no targets"
        with pytest.raises(ValueError, match=text):
            compiled(flows.maf(2, 1, (4,), seed=0), **{argument: [metric]})


def test_metrics_of_densities_are_taken():
    def worst(y_true, y_pred):
        return -tf.reduce_min(y_pred, axis=-1)

    metrics = [
        "log_likelihood",
        worst,
        LogLikelihood("again"),
        keras.metrics.MeanMetricWrapper(worst, "wrapped"),
    ]
    model = compiled(flows.maf(2, 1, (4,), seed=0), metrics=metrics)
    logs = model.evaluate(X, verbose=0, return_dict=True)
    expected = np.mean(model.predict(X, verbose=0))
    for name, sign in dict(
        log_likelihood=1, again=1, worst=-1, wrapped=-1, loss=-1
    ).items():
        close(logs[name], sign * expected, 1e-6)


def test_rows_of_python_numbers_are_an_error():
    model = compiled(flows.maf(2, 1, (4,), seed=0))
    rows = [[1.0, 2.0], [3.0, 4.0]]
    for run in (
        model.fit,
        model.predict,
        model.evaluate,
        model.train_on_batch,
        lambda x: model.fit(X, validation_data=(x,)),
    ):
        with pytest.raises(TypeError, match=r"Pass `np.array\(x, np.float32\)`"):
            run(rows)


def image_flow(recipe=flows.glow, **options):
    if recipe is flows.real_nvp_image:
        return flows.real_nvp_image([4, 4, 1], 1, seed=0, **options)
    return flows.glow([4, 4, 1], 1, 1, 2, seed=0, **options)


UNIT = RNG.uniform(size=[6, 4, 4, 1]).astype(np.float32)


@pytest.mark.parametrize(
    "recipe, options, x, seen",
    [
        (flows.glow, {}, UNIT, "from 0 to 256.*; got numbers from 0.0.* to 0.9"),
        (flows.glow, dict(num_values=32), 255.0 * UNIT, "from 0 to 32.*to 25"),
        (flows.glow, dict(context_size=2), UNIT - 0.5, "got numbers from -0"),
        (flows.real_nvp_image, {}, UNIT, "by 255 and round"),
    ],
)
def test_images_of_another_range_warn_once(recipe, options, x, seen):
    model = DensityModel(image_flow(recipe, **options))
    x = (
        [x, np.eye(2, dtype=np.float32)[[0, 1] * 3]]
        if options.get("context_size")
        else x
    )
    with pytest.warns(UserWarning, match=seen) as record:
        model.predict(x, verbose=0)
        model.predict(x, verbose=0)
    assert sum("num_values" in str(each.message) for each in record) == 1


@pytest.mark.parametrize(
    "options, x",
    [
        ({}, 255.9 * UNIT),
        (dict(num_values=2), UNIT),
        (dict(num_values=32), 31.5 * UNIT),
    ],
)
def test_images_of_the_right_range_do_not_warn(options, x):
    model = DensityModel(image_flow(**options))
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        model.predict(x, verbose=0)
    assert not any("num_values" in str(each.message) for each in record)


def test_whole_numbers_are_told_to_be_dequantized():
    x = (255 * UNIT).astype(np.uint8)
    model = compiled(image_flow())
    for data in (x, tf.data.Dataset.from_tensors((x,))):
        with pytest.raises(
            TypeError, match="got uint8.*`tfp_flows.dequantization.dequantize`"
        ):
            model.fit(data)
    levels = DensityModel(flows.discrete_autoregressive(MADE(2, 5, (4,), seed=0), 5))
    whole = RNG.integers(0, 5, size=[6, 2])
    close(
        levels.predict(whole.astype(np.uint8), verbose=0),
        levels.predict(whole.astype(np.float32), verbose=0),
        0.0,
    )


@pytest.mark.parametrize(
    "family", [tfd.Normal, tfd.MixtureSameFamily, lambda a, b: tfd.Normal(a, b)]
)
def test_a_family_that_takes_more_than_one_tensor_is_an_error(family):
    with pytest.raises(TypeError, match="callable from one tensor.*missing a required"):
        DistributionLayer(family)


def test_a_family_that_takes_one_tensor_is_taken():
    logits = tf.constant([[0.0, 1.0], [2.0, 0.0]])
    for family in (tfd.Categorical, lambda x, scale=1.0: tfd.Normal(x, scale)):
        close(
            DistributionLayer(family).distribution(logits).mode(),
            family(logits).mode(),
            1e-6,
        )
