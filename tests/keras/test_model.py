"""Tests of `tfp_flows.keras.DensityModel`: variables, saving, errors.

`test_training.py` has those of `fit`.
"""

import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close, fresh
from tfp_flows import flows, normalization
from tfp_flows.bijectors import Coupling, PReLU, transformers
from tfp_flows.bijectors._trainable import make_trainable
from tfp_flows.keras import Conditioner, DensityModel, register_builder
from tfp_flows.networks import MADE

tfb, tfd = tfp.bijectors, tfp.distributions
RNG = np.random.default_rng(0)
X = RNG.normal(size=[12, 2]).astype(np.float32)
IMAGES = RNG.uniform(0.0, 256.0, size=[12, 4, 4, 1]).astype(np.float32)


def noise(size=2):
    return tfd.Sample(tfd.Normal(0.0, 1.0), size)


def keras_flow():
    network = keras.Sequential(
        [
            keras.layers.Dense(4, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(2),
        ]
    )
    conditioner = Conditioner(network, [1, 2], input_shape=[1])
    return tfd.TransformedDistribution(noise(), Coupling([True, False], conditioner))


def composed():
    scale = tfp.util.TransformedVariable([1.0, 2.0], tfb.Softplus())
    shift = tf.Variable([1.0, -1.0])  # in two places
    layers = [
        flows.planar(2, 3, seed=0, activation="leaky_relu").bijector,
        tfb.Shift(shift),
        tfb.Scale(scale),
        tfb.Permute([1, 0]),
        tfb.Shift(shift),
        make_trainable(PReLU, [2], seed=1),
        tfb.Invert(tfb.Softplus(low=-50.0)),
    ]
    base = tfd.MultivariateNormalDiag(tf.Variable([0.5, 0.0]), np.float32([1.0, 3.0]))
    return tfd.TransformedDistribution(base, tfb.Invert(tfb.Chain(layers)))


@register_builder(package="tests")
def shifted(start):
    shift = tf.Variable([start, start])
    bijector = tfb.Inline(
        lambda x: x + shift,
        lambda y: y - shift,
        forward_log_det_jacobian_fn=lambda x: tf.zeros([]),
        forward_min_event_ndims=0,
    )
    return tfd.TransformedDistribution(noise(), bijector)


def of_noise(bijector):
    return lambda: tfd.TransformedDistribution(
        flows.maf(2, 1, (4,), seed=0).distribution, bijector()
    )


def variable(*shape):
    return tf.Variable(np.full(shape, 0.5, np.float32))


SAVED = {
    "noise of a recipe under another bijector": of_noise(
        lambda: tfb.Chain([tfb.Scale(2.0), flows.maf(2, 1, (4,), seed=0).bijector])
    ),
    "logistic noise of a recipe": lambda: tfd.TransformedDistribution(
        flows.nice(2, 1, (4,), seed=0).distribution, tfb.Shift(variable(2))
    ),
    "a copy": lambda: of_noise(lambda: tfb.Scale(variable(2)))().copy(name="copy"),
    "a linear operator": lambda: tfd.MultivariateNormalLinearOperator(
        variable(2), tf.linalg.LinearOperatorLowerTriangular(tf.Variable(tf.eye(2)))
    ),
    "a mixture": lambda: tfd.Mixture(
        tfd.Categorical(logits=variable(2)),
        [flows.maf(2, 1, (4,), seed=seed) for seed in (0, 1)],
    ),
    "maf": lambda: flows.maf(2, 2, (8,), seed=0, order="random"),
    "maf with its arguments": lambda: flows.maf(
        2,
        1,
        [8, 8],
        seed=np.int64(3),
        transformer=transformers.Affine(2.0),
        activation=tf.nn.tanh,
        residual=True,
        batch_norm=False,
        dtype=tf.float32,
    ),
    "iaf": lambda: flows.iaf(2, 2, (8,), seed=0),
    "nice": lambda: flows.nice(2, 3, (8,), seed=0, base_distribution=tfd.Normal),
    "neural_spline": lambda: flows.neural_spline(2, 2, (8,), seed=0),
    "batch norm": lambda: flows.real_nvp(2, 2, (8,), seed=0, batch_norm=True),
    "glow": lambda: flows.glow([4, 4, 1], 1, 2, 4, seed=0),
    "real_nvp_image": lambda: flows.real_nvp_image([4, 4, 1], 1, seed=0),
    "levels": lambda: flows.discrete_autoregressive(MADE(2, 5, (8,), seed=0), 5),
    "sylvester": lambda: tfd.TransformedDistribution(
        noise(), flows.sylvester(2, 1, seed=0, invert=True).bijector
    ),
    "composition": composed,
    "a keras network": keras_flow,
    "a recipe of the user": lambda: shifted(2.0),
}


def points(distribution):
    if len(distribution.event_shape) == 3:
        return IMAGES
    return np.round(np.abs(X)) if "discrete" in distribution.name else X


def moved(distribution):
    for i, variable in enumerate(distribution.trainable_variables):
        variable.assign_add(0.02 * tf.cos(float(i) + tf.zeros_like(variable)))
    return distribution


@pytest.mark.parametrize("make", SAVED.values(), ids=SAVED)
def test_saved_with_its_configuration_it_is_the_same_model(make, tmp_path):
    model = DensityModel(moved(make()), shuffle_seed=3, name="mine")
    x = points(model.distribution)
    # Eagerly: each graph would take seconds, and files do not depend on them.
    optimizer = keras.optimizers.SGD(1e-6)
    model.compile(optimizer, metrics=["log_likelihood"], run_eagerly=True)
    if "discrete" not in model.distribution.name:
        model.fit(x, verbose=0)  # starts layers, and moves statistics
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    close(loaded.predict(x, verbose=0), expected, 0.0)
    assert loaded.shuffle_seed == 3 and loaded.name == "mine"
    assert [v.shape for v in loaded.variables] == [v.shape for v in model.variables]
    assert [v.trainable for v in loaded.variables] == [
        v.trainable for v in model.variables
    ]
    a, b = (each.evaluate(x, return_dict=True, verbose=0) for each in (loaded, model))
    assert a == b and set(a) == {"loss", "log_likelihood"}


def test_the_variables_are_those_of_the_distribution():
    distribution = composed()
    model = DensityModel(distribution)
    assert {id(v.value) for v in model.trainable_variables} == {
        id(v) for v in distribution.trainable_variables
    }
    assert model.count_params() == sum(
        v.shape.num_elements() for v in distribution.variables
    )
    model.trainable_variables[0].assign([7.0, 7.0])
    assert any(np.all(v == 7.0) for v in distribution.trainable_variables)
    lines = []
    model.summary(print_fn=lines.append)
    for name in ["PlanarStack", "Shift", "Scale", "PReLU", "23"]:
        assert name in "\n".join(lines)


def test_weights_are_saved_restored_and_checked(tmp_path):
    path = tmp_path / "flow.weights.h5"
    model = DensityModel(moved(flows.maf(2, 2, (8,), seed=0)))
    model.save_weights(path)
    other = DensityModel(flows.maf(2, 2, (8,), seed=1))
    other.load_weights(path)
    close(other.predict(X, verbose=0), model.predict(X, verbose=0), 0.0)
    for sizes, text in [
        (
            (2, (9,)),
            r"`masked_autoregressive` .* variable 0, `bias_0`, .* \(9,\); got \(8,",
        ),
        ((3, (8,)), r"`masked_autoregressive_2` .* got none in the file"),
        ((1, (8,)), r"of 1 components; got 2 in the file"),
    ]:
        with pytest.raises(ValueError, match=text):
            DensityModel(flows.maf(2, *sizes, seed=0)).load_weights(path)


def test_a_checkpoint_of_tensorflow_restores_it(tmp_path):
    model = DensityModel(moved(flows.maf(2, 1, (8,), seed=0)))
    saved = tf.train.Checkpoint(model=model).save(f"{tmp_path}/checkpoint")
    other = DensityModel(flows.maf(2, 1, (8,), seed=1))
    tf.train.Checkpoint(model=other).restore(saved)
    close(other.predict(X, verbose=0), model.predict(X, verbose=0), 0.0)


@pytest.mark.parametrize("context_size", [0, 3])
def test_an_export_serves_densities_and_samples(context_size, tmp_path):
    flow = moved(flows.real_nvp(2, 2, (8,), seed=0, context_size=context_size))
    context = RNG.normal(size=[12, context_size]).astype(np.float32)
    inputs = [X, context] if context_size else [X]
    model = DensityModel(flow)
    model.export(tmp_path / "model")
    served = tf.saved_model.load(tmp_path / "model")
    expected = model.predict(inputs if context_size else X, verbose=0)
    for log_prob in (served.log_prob, served.serve):
        close(log_prob(*map(tf.constant, inputs)), expected, 1e-5)
        close(log_prob(*(tf.constant(i[:5]) for i in inputs)), expected[:5], 1e-5)
    if context_size:
        sample = served.sample(tf.constant(context), tf.constant([0, 1]))
        expected = model.sample(seed=(0, 1), context=context)
    else:
        sample = served.sample(tf.constant(12), tf.constant([0, 1]))
        expected = model.sample(12, seed=1)
    close(sample, expected, 1e-5)
    assert np.std(sample) > 0.1
    names = served.signatures.keys()
    assert {"serving_default", "log_prob", "sample"} <= set(names)
    text = "`format` must be 'tf_saved_model'; got 'onnx'"
    with pytest.raises(ValueError, match=text):
        model.export(tmp_path, format="onnx")


def test_samples_have_seeds():
    model = DensityModel(flows.maf(2, 1, (8,), seed=0))
    assert model.sample().shape == [2] and model.sample([3, 4]).shape == [3, 4, 2]
    close(model.sample(5, seed=1), model.sample(5, seed=1), 0.0)
    assert np.all(model.sample(5, seed=1) != model.sample(5, seed=2))
    assert np.all(model.sample(5) != model.sample(5))
    close(model.sample(5, seed=1), model.distribution.sample(5, seed=[0, 1]), 1e-5)


def write_configuration(source, path, change):
    """Writes a copy of a `.keras` file, in which the configuration is changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                config = json.loads(data)
                change(config["config"])
                data = json.dumps(config)
            new.writestr(name, data)


def test_a_file_from_a_stranger_runs_no_code_of_its_own(tmp_path):
    good, bad = tmp_path / "good.keras", tmp_path / "bad.keras"
    DensityModel(keras_flow()).save(good)

    def call(name, **arguments):
        return {"tfp_flows": "call", "value": [name, arguments]}

    marker = tmp_path / "executed"
    layer = keras.layers.Lambda(lambda x, path=str(marker): open(path, "w") and x)
    network = {
        "tfp_flows": "keras",
        "value": keras.saving.serialize_keras_object(
            keras.Sequential([keras.layers.Dense(2), layer])
        ),
    }
    for value, text in [
        (
            call("os.system", command=f"touch {marker}"),
            "builder must be registered .*os.system",
        ),
        (call("tfd.MultivariateNormalDiag.__init__"), "must be one of TFP's distrib"),
        (call("tfb.os"), "must be one of TFP's distrib"),
        ({"tfp_flows": "function", "value": "os.system"}, "must be one of `tf.nn`"),
        (
            {"tfp_flows": "function", "value": "tf.nn.__loader__"},
            "must be one of `tf.nn`",
        ),
        ({"tfp_flows": "registered", "value": "builtins.eval"}, "must be registered"),
        ({"tfp_flows": "__init__", "value": 0}, "in the format of this package"),
        (call("tfp_flows>Conditioner", network=network), "lambda"),
    ]:
        write_configuration(good, bad, lambda config: config.update(distribution=value))
        with pytest.raises(ValueError, match=text):
            keras.saving.load_model(bad)
        assert not marker.exists()


def test_what_cannot_be_described_is_named():
    flow = tfd.TransformedDistribution(
        noise(), tfb.RealNVP(num_masked=1, bijector_fn=lambda x, _: tfb.Shift(x))
    )
    hidden = tfd.MultivariateNormalDiag(variable(3, 2), tf.ones([3, 2]))[0]
    tail = tfd.TransformedDistribution(
        noise(), tfb.LambertWTail(variable(2), variable(2), variable(2))
    )
    for each, text in [
        (flow, r"RealNVP: bijector_fn"),
        (hidden, r"whose variables \['Variable:0'\] are in no argument"),
        (tail, "`TransformedDistribution: bijector` must be something that a file can"),
    ]:
        match = f"{text}.*`tfp_flows.keras.register_builder`"
        with pytest.raises(TypeError, match=match):
            DensityModel(each).get_config()


NAN = np.where(np.arange(24).reshape(12, 2) == 7, np.nan, X)


@pytest.mark.parametrize(
    "kind, run, text",
    [
        (
            TypeError,
            lambda m: DensityModel(m.distribution.bijector),
            "must be a `tfd.D",
        ),
        (
            TypeError,
            lambda m: DensityModel(noise(), shuffle_seed=0.5),
            "`shuffle_seed` must be .* 0.5",
        ),
        (
            ValueError,
            lambda m: DensityModel(tfd.Normal([0.0, 1.0], 1.0)),
            r"batch shape \[\]; got \(2,\)",
        ),
        (
            ValueError,
            lambda m: DensityModel(noise()).compile(),
            "must have trainable var",
        ),
        (ValueError, lambda m: m.compile("sgd", "mse"), "`loss` must be None"),
        (ValueError, lambda m: m.fit(NAN), "in 1 of 12 rows, the first of them row 3"),
        (ValueError, lambda m: m.evaluate(NAN), "`x` must be finite"),
        (
            ValueError,
            lambda m: m.fit(X, sample_weight=np.full(12, np.inf)),
            "`sample_weight` must be finite; got NaN or infinity in 12 of 12",
        ),
        (ValueError, lambda m: m.fit(X[:, :1]), r"shape \[N, 2\], .*; got \(12, 1\)"),
        (ValueError, lambda m: m.fit(X[0]), r"shape \[N, 2\], .*; got \(2,\)"),
        (
            ValueError,
            lambda m: m.predict(IMAGES),
            r"shape \[N, 2\], .*; got \(12, 4, 4, 1",
        ),
        (TypeError, lambda m: m.fit(np.ones([4, 2], int)), "floating.* got int64"),
        (ValueError, lambda m: m.fit(X, X), "`y` must be None"),
        (
            ValueError,
            lambda m: m.fit([X, X]),
            r"1 component\(s\).* got 2. The .* takes no con",
        ),
        (ValueError, lambda m: m.fit(X, validation_data=(X, X)), "`y` must be None"),
        (
            ValueError,
            lambda m: m.fit(X, class_weight={0: 1.0}),
            "`class_weight` must be",
        ),
        (ValueError, lambda m: m.fit(X, sample_weight=X[:5, 0]), "same number of rows"),
        (ValueError, lambda m: m.fit(X[:0]), "at least 1; got shapes"),
        (
            ValueError,
            lambda m: m.fit(tf.data.Dataset.from_tensors((NAN,))),
            "first of them row 3",
        ),
        (
            ValueError,
            lambda m: m.fit(tf.data.Dataset.from_tensors((X, X))),
            "`y` must be None",
        ),
        (
            ValueError,
            lambda m: m.sample(context=X),
            "got one for a flow of context size 0",
        ),
    ],
)
def test_errors(kind, run, text):
    model = DensityModel(flows.maf(2, 1, (4,), seed=0))
    model.compile("sgd")
    values = [v.numpy() for v in model.variables]
    with pytest.raises(kind, match=text):
        run(model)
    np.testing.assert_equal([v.numpy() for v in model.variables], values)


def test_a_missing_context_is_named():
    model = DensityModel(flows.maf(2, 1, (4,), seed=0, context_size=3))
    model.compile("sgd")
    for run, text in [
        (lambda: model.fit(X), r"must be `\[x, context\]`, .* of size 3; got shape"),
        (lambda: model.fit([X, X]), r"length 3; got shape \(12, 2\)"),
        (lambda: model.sample(), "got none for a flow of context size 3"),
    ]:
        with pytest.raises(ValueError, match=text):
            run()


def test_actnorm_starts_from_the_first_batch_before_the_first_step():
    x = 3.0 * IMAGES + 50.0
    for data in [dict(x=x, batch_size=12), dict(x=tf.data.Dataset.from_tensors((x,)))]:
        model = DensityModel(flows.glow([4, 4, 1], 1, 1, 4, seed=0))
        model.compile(keras.optimizers.SGD(0.0))
        model.fit(**data, verbose=0)
        started = flows.glow([4, 4, 1], 1, 1, 4, seed=0)
        normalization.initialize_from_data(started, x)
        close(model.predict(x, verbose=0), started.log_prob(fresh(x)), 1e-4)
    for variable in model.trainable_variables:
        variable.assign_add(tf.ones_like(variable) * 0.1)
    values = [v.numpy() for v in model.variables]
    model.fit(x, verbose=0)  # no second start
    np.testing.assert_equal([v.numpy() for v in model.variables], values)
    model = DensityModel(flows.glow([4, 4, 1], 1, 1, 4, seed=0))
    model.compile(keras.optimizers.SGD(0.0))
    model.train_on_batch(x)
    close(model.predict(x, verbose=0), started.log_prob(fresh(x)), 1e-4)


def test_a_keras_variable_that_tfp_would_freeze_is_an_error():
    loc = keras.Variable([0.0, 1.0], name="loc")
    scale = tf.Variable([1.0, 2.0])
    with pytest.raises(ValueError, match="`loc` of .* got a `keras.Variable`, loc, of"):
        DensityModel(tfd.MultivariateNormalDiag(loc, scale))
    model = DensityModel(tfd.MultivariateNormalDiag(loc.value, scale))
    assert len(model.trainable_variables) == 2


def test_a_point_with_other_names_is_an_error():
    joint = tfd.JointDistributionNamedAutoBatched(
        dict(z=tfd.Normal(tf.Variable(0.0), 1.0), x=lambda z: tfd.Normal(z, 1.0))
    )
    model = DensityModel(joint)
    model.compile("sgd")
    point = dict(z=X[:, 0], x=X[:, 1])
    model.fit(point, verbose=0)
    close(model.predict(point, verbose=0), joint.log_prob(point), 1e-5)
    for wrong in (dict(z=X[:, 0], y=X[:, 1]), [X[:, 0], X[:, 1]]):
        with pytest.raises(ValueError, match=r"dictionary of \['x', 'z'\], .* got"):
            model.fit(wrong)
