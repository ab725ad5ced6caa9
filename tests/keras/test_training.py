"""Tests of how `DensityModel` trains: steps, data, metrics, callbacks, options.

Most flows here shift normal noise. The gradient of such a loss is `mean(shift - x)`, so
that NumPy tells what each step must do.
"""

import csv
import random

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close
from tfp_flows import flows, normalization
from tfp_flows.bijectors import ActNorm, Coupling
from tfp_flows.keras import Conditioner, DensityModel

tfb, tfd = tfp.bijectors, tfp.distributions

START = np.array([0.5, -1.0])
X = np.random.default_rng(0).normal(size=[20, 2])
WEIGHTS = np.random.default_rng(1).uniform(0.5, 2.0, size=20)
CONTEXT = np.random.default_rng(2).normal(size=[20, 1])


def normal(dtype):
    zero = tf.zeros([], dtype)
    return tfd.Sample(tfd.Normal(zero, zero + 1.0), 2)


def shifted(dtype=tf.float64):
    shift = tf.Variable(START, dtype=dtype, name="shift")
    return tfd.TransformedDistribution(normal(dtype), tfb.Shift(shift))


def shift_of(model):
    return model.distribution.bijector.shift.numpy()


def model_of(
    flow=None,
    learning_rate=0.5,
    optimizer=None,
    jit_compile=False,
    cls=DensityModel,
    seed=0,
    **options,
):
    model = cls(shifted() if flow is None else flow, shuffle_seed=seed)
    optimizer = optimizer or keras.optimizers.SGD(learning_rate)
    model.compile(optimizer, jit_compile=jit_compile, **options)
    return model


def nats(x, shift):
    """Log-densities under shifted noise."""
    return -np.log(2.0 * np.pi) - np.sum((x - shift) ** 2, axis=-1) / 2.0


def descend(shift, batches, learning_rate=0.5):
    """Where gradient descent leads on batches, or on pairs of a batch and weights."""
    for batch in batches:
        x, weight = batch if isinstance(batch, tuple) else (batch, np.ones(len(batch)))
        gradient = np.sum(weight[:, None] * (shift - x), axis=0) / len(x)
        shift = shift - learning_rate * gradient
    return shift


def in_batches(rows, size=8):
    return [rows[i : i + size] for i in range(0, len(rows), size)]


class Recorder(DensityModel):
    """Keeps the batches that it is trained on; runs eagerly."""

    def train_step(self, data):
        batches = vars(self).setdefault("batches", [])
        batches.append(np.array(keras.utils.unpack_x_y_sample_weight(data)[0]))
        return super().train_step(data)


def recorded(x=X, seed=0, **options):
    """Returns the batches of `fit`."""
    model = model_of(cls=Recorder, seed=seed, run_eagerly=True)
    model.fit(x, verbose=0, **options)
    return vars(model)["batches"]


def test_keras_finds_the_variables_of_a_flow():
    flow = flows.maf(2, 2, (8,), seed=0, batch_norm=True)
    model = DensityModel(flow)
    for found, expected in [
        (model.trainable_variables, flow.trainable_variables),
        (model.non_trainable_variables, flow.non_trainable_variables),
    ]:
        assert len(expected) > 0
        assert {id(v.value) for v in found} == {id(v) for v in expected}
        assert len(found) == len(expected)
    trained, still = (
        sum(v.shape.num_elements() for v in variables)
        for variables in (flow.trainable_variables, flow.non_trainable_variables)
    )
    assert model.count_params() == trained + still
    lines = []
    model.summary(print_fn=lambda text, **_: lines.append(text))
    summary = "\n".join(lines)
    assert f"Trainable params: {trained} " in summary
    assert f"Non-trainable params: {still} " in summary
    kinds = ["MaskedAutoregressive", "BatchNorm", "MaskedAutoregressive"]
    assert [type(part).__name__ for part in model.layers] == kinds
    for part, kind in zip(model.layers, kinds):
        assert f" {part.name} " in summary and f"({kind}) " in summary
        assert f" {part.count_params()} │" in summary


def test_variables_have_paths_of_their_own_which_tensorboard_goes_by():
    model = DensityModel(flows.maf(2, 2, (8,), seed=0, batch_norm=True))
    paths = [variable.path for variable in model.variables]
    assert len(set(paths)) == len(paths) > 10


@pytest.fixture(scope="module")
def by_hand():
    """Weights after two epochs of three steps, without Keras's `fit`."""
    flow = flows.real_nvp(2, 2, (8,), seed=0)
    variables, optimizer = flow.trainable_variables, keras.optimizers.Adam(0.05)
    for batch in 2 * in_batches(np.float32(X)):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow.log_prob(batch))
        optimizer.apply(tape.gradient(loss, variables), variables)
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize(
    "options",
    [
        dict(jit_compile=False),
        dict(jit_compile=True),
        dict(run_eagerly=True),
        dict(steps_per_execution=3),
    ],
    ids=str,
)
def test_fit_is_a_loop_of_the_same_steps(options, by_hand):
    flow = flows.real_nvp(2, 2, (8,), seed=0)
    model = model_of(flow, optimizer=keras.optimizers.Adam(0.05), **options)
    for name, value in options.items():
        assert getattr(model, name) == value
    before = [variable.numpy() for variable in flow.trainable_variables]
    model.fit(X, batch_size=8, epochs=2, shuffle=False, verbose=0)
    assert model.optimizer.iterations == 6
    for variable, start, expected in zip(flow.trainable_variables, before, by_hand):
        np.testing.assert_allclose(variable, expected, rtol=0.0, atol=1e-6)
    assert max(np.max(np.abs(a - b)) for a, b in zip(before, by_hand)) > 0.1


class StepsOfKeras(DensityModel):
    train_step = keras.Model.train_step


def test_steps_of_keras_use_compute_loss():
    assert DensityModel.test_step is keras.Model.test_step
    weights = np.where(np.arange(20) == 3, 0.0, WEIGHTS)
    models = [
        model_of(cls=cls, metrics=["bits_per_dimension"], weighted_metrics=[])
        for cls in (StepsOfKeras, DensityModel)
    ]
    first, second = (
        model.fit(X, sample_weight=weights, batch_size=8, shuffle=False, verbose=0)
        for model in models
    )
    close(shift_of(models[0]), shift_of(models[1]), 1e-12)
    assert set(first.history) == {"loss", "bits_per_dimension"}
    for name, values in first.history.items():
        close(values, second.history[name], 1e-12)
    log_prob = models[0](X)
    close(
        models[0].compute_loss(X, None, log_prob, weights),
        -np.mean(weights * log_prob),
        1e-12,
    )


def test_an_epoch_has_its_steps_whatever_the_steps_per_execution():
    model = model_of(steps_per_execution=3)
    model.fit(X, batch_size=5, epochs=2, shuffle=False, verbose=0)
    close(shift_of(model), descend(START, 2 * in_batches(X, 5)))
    assert model.optimizer.iterations == 8
    close(model.predict(X, batch_size=5, verbose=0), nats(X, shift_of(model)))


def test_sample_weights_multiply_losses_and_gradients():
    weight = np.where(np.arange(20) == 3, 0.0, WEIGHTS)
    x = X.copy()
    x[3] = 1e6  # of no weight
    model = model_of()
    result = model.evaluate(x, sample_weight=weight, batch_size=8, verbose=0)
    close(result, np.sum(-weight * nats(x, START)) / 20.0, 1e-12)
    history = model.fit(
        x, sample_weight=weight, batch_size=20, verbose=0, shuffle=False
    ).history
    close(history["loss"], [result], 1e-12)
    close(shift_of(model), descend(START, [(x, weight)]), 1e-12)
    assert np.all(np.abs(shift_of(model)) < 10.0)


def test_context_goes_with_the_points():
    flow = flows.real_nvp(2, 2, (4,), seed=0, context_size=1, dtype=tf.float64)
    model = model_of(flow, optimizer=keras.optimizers.Adam(0.05))
    before = [variable.numpy() for variable in flow.trainable_variables]
    last = [X[12:], CONTEXT[12:]]
    history = model.fit(
        [X[:12], CONTEXT[:12]],
        validation_data=(last,),
        batch_size=6,
        epochs=2,
        verbose=0,
    ).history
    for variable, value in zip(flow.trainable_variables, before):
        assert np.any(variable.numpy() != value)
    expected = flows.condition(flow, CONTEXT).log_prob(X).numpy()
    close(model.predict([X, CONTEXT], verbose=0), expected, 1e-12)
    close(history["val_loss"][-1], -np.mean(expected[12:]), 1e-12)
    result = model.evaluate([X, CONTEXT], verbose=0, sample_weight=WEIGHTS)
    close(result, -np.mean(WEIGHTS * expected), 1e-12)
    other = model.predict([X, CONTEXT[::-1]], verbose=0)
    assert np.all(np.abs(other - expected) > 1e-6)
    dataset = tf.data.Dataset.from_tensor_slices(((X, CONTEXT),)).batch(7)
    close(model.evaluate(dataset, verbose=0), -np.mean(expected), 1e-12)
    samples = model.sample(2, seed=1, context=CONTEXT)
    assert samples.shape == (2, 20, 2) and samples.dtype == tf.float64
    close(samples, model.sample(2, seed=1, context=CONTEXT))
    other = model.sample(2, seed=1, context=CONTEXT[::-1])
    assert np.all(np.max(np.abs(samples - other), axis=-1) > 1e-6)


class Batches(keras.utils.PyDataset):
    def __init__(self, x, weight=None, size=8):
        super().__init__()
        self.parts = in_batches(x, size)
        self.weights = None if weight is None else in_batches(weight, size)

    def __len__(self):
        return len(self.parts)

    def __getitem__(self, i):
        weights = () if self.weights is None else (None, self.weights[i])
        return (self.parts[i], *weights)


class Table:
    """What Keras and this package need to know of a data frame."""

    shape, columns = X.shape, ["a", "b"]

    def __array__(self, dtype=None, copy=None):
        return np.array(X, dtype)


def dataset(weight=None):
    data = X if weight is None else (X, None, weight)
    return tf.data.Dataset.from_tensor_slices(data).batch(8)


DATA = {
    "NumPy": lambda: (X, None),
    "NumPy with weights": lambda: (X, WEIGHTS),
    "tensors with weights": lambda: (tf.constant(X), tf.constant(WEIGHTS)),
    "table": lambda: (Table(), None),
    "dataset": lambda: (dataset(), None),
    "dataset of tuples": lambda: (dataset().map(lambda x: (x,)), None),
    "dataset with weights": lambda: (dataset(WEIGHTS), None),
    "generator": lambda: (((x,) for x in in_batches(X)), None),
    "generator with weights": lambda: (
        ((x, None, w) for x, w in zip(in_batches(X), in_batches(WEIGHTS))),
        None,
    ),
    "PyDataset": lambda: (Batches(X), None),
}


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("kind", DATA)
def test_data_may_come_in_every_way_that_keras_knows(kind, jit_compile):
    weight = WEIGHTS if "weights" in kind else np.ones(20)
    model = model_of(jit_compile=jit_compile)

    def given():
        x, sample_weight = DATA[kind]()
        arrays = kind.split()[0] in ("NumPy", "tensors", "table")
        options = dict(batch_size=8) if arrays else {}
        if sample_weight is not None:
            options["sample_weight"] = sample_weight
        return x, options

    x, options = given()
    result = model.evaluate(x, verbose=0, **options)
    close(result, np.mean(-weight * nats(X, START)), 1e-12)
    x, options = given()
    model.fit(x, verbose=0, shuffle=False, **options)
    expected = descend(START, zip(in_batches(X), in_batches(weight)))
    close(shift_of(model), expected, 1e-12)
    if "weights" not in kind:
        x, options = given()
        close(model.predict(x, verbose=0, **options), nats(X, expected), 1e-12)


def test_batches_of_a_py_dataset_are_shuffled_as_keras_does():
    random.seed(0)
    epochs = recorded(Batches(X, size=2), epochs=2)
    first, second = np.reshape(epochs, [2, 20, 2])
    assert np.any(first != X) and np.any(first != second)
    close(np.sort(first, axis=0), np.sort(X, axis=0))
    close(np.concatenate(recorded(Batches(X, size=2), shuffle=False)), X)


def test_validation_split_keeps_the_last_rows_and_their_weights():
    model = model_of()
    history = model.fit(
        X,
        sample_weight=WEIGHTS,
        validation_split=0.25,
        batch_size=15,
        verbose=0,
        shuffle=False,
    ).history
    shift = descend(START, [(X[:15], WEIGHTS[:15])])
    close(shift_of(model), shift, 1e-12)
    close(history["val_loss"], [np.mean(-WEIGHTS[15:] * nats(X[15:], shift))], 1e-12)


def test_validation_has_its_own_batches_steps_and_frequency():
    seen = []
    watch = keras.callbacks.LambdaCallback(
        on_test_batch_end=lambda batch, logs: seen.append((batch, logs["loss"]))
    )
    model = model_of(learning_rate=0.0)
    history = model.fit(
        X,
        batch_size=20,
        epochs=2,
        verbose=0,
        callbacks=[watch],
        validation_freq=2,
        validation_data=(X, None, WEIGHTS),
        validation_batch_size=8,
        validation_steps=2,
    ).history
    losses = -WEIGHTS * nats(X, START)
    close(history["val_loss"], [np.mean(losses[:16])], 1e-12)
    assert [batch for batch, _ in seen] == [0, 1]
    close([loss for _, loss in seen], [np.mean(losses[:8]), np.mean(losses[:16])])
    plain = model.fit(X, batch_size=20, verbose=0, validation_data=dataset()).history
    close(plain["val_loss"], [np.mean(-nats(X, START))], 1e-12)


def rows_of(batches):
    """Returns the index in `X` of each row."""
    distance = np.abs(np.concatenate(batches)[:, None] - X).sum(axis=-1)
    assert np.all(np.min(distance, axis=1) == 0.0)
    return np.argmin(distance, axis=1)


def test_the_order_of_arrays_is_a_function_of_seed_and_epoch():
    batches = recorded(batch_size=8, epochs=3)
    assert [len(batch) for batch in batches] == 3 * [8, 8, 4]
    epochs = np.reshape(rows_of(batches), [3, 20])
    assert np.all(np.sort(epochs, axis=1) == np.arange(20))
    for a, b in [(0, 1), (0, 2), (1, 2)]:
        assert np.any(epochs[a] != epochs[b])
    assert np.any(epochs[0] != np.arange(20))
    again = rows_of(recorded(batch_size=8, epochs=3))
    assert np.all(again == epochs.reshape(-1))
    assert np.any(rows_of(recorded(seed=1, batch_size=8)) != epochs[0])
    later = rows_of(recorded(batch_size=8, epochs=3, initial_epoch=1))
    assert np.all(later == epochs[1:].reshape(-1))
    ordered = rows_of(recorded(batch_size=8, epochs=2, shuffle=False))
    assert np.all(ordered == np.tile(np.arange(20), 2))


def test_short_epochs_go_on_where_the_last_one_ended():
    batches = recorded(batch_size=8, epochs=3, steps_per_epoch=2)
    assert [len(batch) for batch in batches] == 2 * [8, 8, 4]
    passes = np.reshape(rows_of(batches), [2, 20])
    assert np.all(np.sort(passes, axis=1) == np.arange(20))
    later = recorded(batch_size=8, epochs=3, steps_per_epoch=2, initial_epoch=1)
    assert np.all(rows_of(later) == rows_of(batches[2:]))


def test_the_same_seed_trains_the_same_twice():
    first, second, other = (
        model_of(flows.real_nvp(2, 2, (8,), seed=0), 0.05, seed=seed, run_eagerly=True)
        for seed in (3, 3, 4)
    )
    losses = [
        model.fit(X, batch_size=8, epochs=2, verbose=0).history["loss"]
        for model in (first, second, other)
    ]
    assert losses[0] == losses[1] != losses[2]
    for a, b in zip(first.get_weights(), second.get_weights()):
        assert np.all(a == b)


def test_metrics_are_what_numpy_says():
    def absolute(zeros, log_prob):
        return tf.reduce_mean(tf.abs(log_prob - zeros), axis=-1)

    def size():
        return keras.metrics.MeanMetricWrapper(absolute, name="size", dtype="float64")

    model = model_of(
        metrics=["log_likelihood", "bits_per_dimension", size()],
        weighted_metrics=["bits_per_dimension", size()],
    )
    batches, expected, shift = list(zip(in_batches(X), in_batches(WEIGHTS))), [], START
    result = model.evaluate(
        X, batch_size=8, sample_weight=WEIGHTS, verbose=0, return_dict=True
    )
    history = model.fit(
        X, batch_size=8, sample_weight=WEIGHTS, verbose=0, shuffle=False
    ).history
    for batch in batches:
        expected.append(nats(batch[0], shift))
        shift = descend(shift, [batch])
    for logs, log_prob in [
        (result, nats(X, START)),
        ({name: value[0] for name, value in history.items()}, np.concatenate(expected)),
    ]:
        bits = -log_prob / (2.0 * np.log(2.0))
        wanted = dict(
            loss=-np.mean(WEIGHTS * log_prob),
            log_likelihood=np.mean(log_prob),
            bits_per_dimension=np.mean(bits),
            size=np.mean(-log_prob),
            weighted_bits_per_dimension=np.average(bits, weights=WEIGHTS),
            weighted_size=np.average(-log_prob, weights=WEIGHTS),
        )
        assert sorted(logs) == sorted(wanted)
        for name, value in wanted.items():
            close(logs[name], value, 1e-12)


def test_a_float32_flow_computes_in_float32_whatever_the_data_are():
    model = model_of(shifted(tf.float32))
    model.fit(X, batch_size=8, shuffle=False, verbose=0)
    assert model.distribution.bijector.shift.dtype == tf.float32
    close(shift_of(model), descend(START, in_batches(X)), 1e-6)
    assert model.predict(X, verbose=0).dtype == np.float32


def test_a_float64_flow_keeps_the_precision_of_float64_data():
    # As float32, all these rows are the same.
    x = 1.0 + 1e-9 * X
    model = model_of()
    log_prob = model.predict(x, batch_size=8, verbose=0)
    assert log_prob.dtype == np.float64
    close(log_prob, nats(x, START), 1e-14)
    assert len(np.unique(log_prob)) == 20
    result = model.evaluate(x, batch_size=8, verbose=0)
    close(result, -np.mean(nats(x, START)), 1e-14)
    history = model.fit(x, batch_size=20, shuffle=False, verbose=0).history
    close(history["loss"], [-np.mean(nats(x, START))], 1e-14)
    close(shift_of(model), descend(START, [x]), 1e-14)
    close(model(x), nats(x, shift_of(model)), 1e-14)


def test_steps_on_one_batch():
    model = model_of(metrics=["log_likelihood"])
    log_prob = nats(X, START)
    close(model.predict_on_batch(X), log_prob, 1e-12)
    tested = model.test_on_batch(X, sample_weight=WEIGHTS)
    close(tested, [-np.mean(WEIGHTS * log_prob), np.mean(log_prob)], 1e-12)
    assert np.all(shift_of(model) == START)
    trained = model.train_on_batch(X, sample_weight=WEIGHTS, return_dict=True)
    assert sorted(trained) == ["log_likelihood", "loss"]
    close([trained["loss"], trained["log_likelihood"]], tested, 1e-12)
    shift = descend(START, [(X, WEIGHTS)])
    close(shift_of(model), shift, 1e-12)
    model.train_on_batch(X[:7])
    close(shift_of(model), descend(shift, [X[:7]]), 1e-12)


def test_training_on_a_batch_starts_actnorm_from_it():
    actnorm = ActNorm(
        tf.Variable(np.zeros(2)),
        tf.Variable(np.zeros(2)),
        event_ndims=1,
        initialized=tf.Variable(False, trainable=False),
    )
    flow = tfd.TransformedDistribution(normal(tf.float64), actnorm)
    model = model_of(flow, learning_rate=0.0)
    x = 5.0 + 3.0 * X
    model.train_on_batch(x)
    z = flow.bijector.inverse(x).numpy()
    close(np.mean(z, axis=0), [0.0, 0.0])
    close(np.std(z, axis=0), [1.0, 1.0], 1e-6)
    model.train_on_batch(X)
    close(flow.bijector.inverse(np.array(x)), z)


def test_callbacks_see_and_steer_training(tmp_path):
    seen = []
    callbacks = [
        keras.callbacks.LearningRateScheduler(lambda epoch: 0.5 / (epoch + 1)),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"),
        keras.callbacks.ModelCheckpoint(
            tmp_path / "{epoch}.weights.h5", save_weights_only=True
        ),
        keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: seen.append(epoch),
            on_train_batch_end=lambda batch, logs: seen.append((batch, logs["loss"])),
        ),
    ]
    model = model_of()
    history = model.fit(
        X,
        validation_data=(X,),
        batch_size=10,
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    ).history
    first = descend(START, in_batches(X, 10))
    second = descend(first, in_batches(X, 10), 0.25)
    close(shift_of(model), second)
    close(history["val_loss"], [-np.mean(nats(X, s)) for s in (first, second)])
    assert [part for part in seen if isinstance(part, int)] == [0, 1]
    assert [part[0] for part in seen if isinstance(part, tuple)] == [0, 1, 0, 1]
    close(seen[1][1], -np.mean(nats(X[:10], START)))
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    for name in ("loss", "val_loss", "learning_rate"):
        close([float(row[name]) for row in rows], history[name])
    for epoch, shift in [(1, first), (2, second)]:
        loaded = keras.saving.load_model(tmp_path / f"{epoch}.keras")
        close(shift_of(loaded), shift)
        close(loaded.predict(X, verbose=0), nats(X, shift))
        model.load_weights(tmp_path / f"{epoch}.weights.h5")
        close(shift_of(model), shift)


def test_training_goes_on_with_the_optimizer_of_a_checkpoint(tmp_path):
    model = model_of(optimizer=keras.optimizers.Adam(0.1))
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    model.fit(X, batch_size=8, epochs=2, verbose=0, callbacks=[checkpoint])
    loaded = keras.saving.load_model(tmp_path / "1.keras")
    assert loaded.optimizer.iterations == 3
    loaded.fit(X, batch_size=8, epochs=2, initial_epoch=1, verbose=0)
    close(shift_of(loaded), shift_of(model), 1e-12)


def test_early_stopping_restores_the_best_weights():
    # The validation data are where the flow begins: it gets worse from there.
    stop = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    plateau = keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=1, min_delta=0.0)
    model = model_of()
    history = model.fit(
        X,
        validation_data=(START + np.zeros([1, 2]),),
        batch_size=20,
        epochs=9,
        verbose=0,
        callbacks=[stop, plateau],
    ).history
    assert len(history["val_loss"]) == 3 and stop.stopped_epoch == 2
    assert np.all(np.diff(history["val_loss"]) > 0.0)
    close(shift_of(model), descend(START, [X]))
    assert history["learning_rate"] == [0.5, 0.5, 0.25]


def test_nan_terminates_training():
    model = model_of(learning_rate=np.inf)
    history = model.fit(
        X,
        batch_size=8,
        epochs=3,
        verbose=0,
        callbacks=[keras.callbacks.TerminateOnNaN()],
    ).history
    # The second step was refused. Without the callback, that is an error.
    assert model.optimizer.iterations == 1 and len(history["loss"]) == 1
    assert not np.isfinite(history["loss"][0])


def test_the_backup_of_keras_begins_the_interrupted_epoch_anew(tmp_path):
    def fitted(stop_in=None):
        def interrupt(epoch, logs):
            if epoch == stop_in:
                raise KeyboardInterrupt

        model = model_of(optimizer=keras.optimizers.Adam(0.1))
        callbacks = [
            keras.callbacks.BackupAndRestore(tmp_path / str(stop_in is not None)),
            keras.callbacks.LambdaCallback(on_epoch_begin=interrupt),
        ]
        try:
            model.fit(X, batch_size=8, epochs=3, verbose=0, callbacks=callbacks)
        except KeyboardInterrupt:
            return fitted(stop_in=-1)
        return model

    undisturbed, resumed = fitted(), fitted(stop_in=1)
    assert undisturbed.optimizer.iterations == resumed.optimizer.iterations == 9
    close(shift_of(resumed), shift_of(undisturbed), 1e-12)


def test_tensorboard_gets_losses_and_histograms(tmp_path):
    reason = "the callback needs the package `tensorboard`"
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason=reason
    )
    callback = keras.callbacks.TensorBoard(tmp_path, histogram_freq=1)
    history = (
        model_of()
        .fit(X, batch_size=10, epochs=2, verbose=0, callbacks=[callback])
        .history
    )
    events = accumulator.EventAccumulator(
        str(tmp_path / "train"), size_guidance={accumulator.TENSORS: 0}
    )
    events.Reload()
    losses = [tf.make_ndarray(e.tensor_proto) for e in events.Tensors("epoch_loss")]
    close(losses, history["loss"], 1e-6)
    assert any("shift" in tag for tag in events.Tags()["tensors"])


def with_keras_network(**last):
    """Returns a network, and a flow of one coupling that asks it."""
    network = keras.Sequential(
        [keras.layers.Dense(8, "tanh"), keras.layers.Dense(2, **last)]
    )
    conditioner = Conditioner(network, output_shape=[1, 2], input_shape=[1])
    coupling = Coupling([True, False], conditioner)
    dtype = coupling.dtype or tf.float32
    return network, tfd.TransformedDistribution(normal(dtype), coupling)


@pytest.fixture
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield keras.config.dtype_policy()
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"], indirect=True)
def test_a_mixed_policy_is_one_for_keras_networks(policy):
    keras.utils.set_random_seed(0)
    network, flow = with_keras_network()
    model = model_of(flow, optimizer=keras.optimizers.Adam(0.02))
    assert network(np.float32(X[:, :1])).dtype == policy.compute_dtype
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy.compute_dtype == "float16")
    log_prob = model.predict(X, verbose=0)
    assert log_prob.dtype == np.float32
    x = np.stack([X[:, 0], X[:, 0] + 0.3 * X[:, 1]], axis=-1)
    losses = model.fit(x, batch_size=20, epochs=40, verbose=0).history["loss"]
    assert losses[-1] < losses[0] - 0.3
    assert len(model.trainable_variables) == 4
    assert {v.dtype for v in model.variables} == {"float32"}
    assert {v.dtype for v in flow.variables} == {tf.float32}


@pytest.mark.parametrize("policy", ["mixed_bfloat16"], indirect=True)
def test_a_float64_flow_keeps_its_precision_under_a_mixed_policy(policy):
    model = model_of(metrics=["log_likelihood"])
    log_prob = nats(X, START)
    close(model.predict(X, verbose=0), log_prob, 1e-12)
    means = [-np.mean(log_prob), np.mean(log_prob)]
    close(model.evaluate(X, verbose=0), means, 1e-12)


@pytest.mark.parametrize("policy", ["mixed_float16"], indirect=True)
def test_scaled_gradients_that_overflow_are_skipped(policy):
    keras.utils.set_random_seed(0)
    network, flow = with_keras_network()
    x = np.float32(X)
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(flow.log_prob(x))
    gradients = tape.gradient(loss, flow.trainable_variables)
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(1.0), initial_scale=2.0**40, dynamic_growth_steps=1
    )
    model = model_of(flow, optimizer=optimizer)
    before = [variable.numpy() for variable in flow.trainable_variables]
    skipped = model.train_on_batch(x)
    assert optimizer.dynamic_scale == 2.0**39 and optimizer.iterations == 0
    for variable, value in zip(flow.trainable_variables, before):
        assert np.all(variable.numpy() == value)
    optimizer.dynamic_scale.assign(2.0**7)
    close(model.train_on_batch(x), skipped)  # nats, not scaled
    assert optimizer.dynamic_scale == 2.0**8 and optimizer.iterations == 1
    for variable, value, gradient in zip(flow.trainable_variables, before, gradients):
        close(variable, value - gradient, 2e-3)
        assert np.any(np.abs(gradient) > 0.05)


@pytest.mark.parametrize(
    "clipping",
    [dict(clipnorm=0.9), dict(global_clipnorm=0.9), dict(clipvalue=0.9)],
    ids=str,
)
def test_gradients_are_clipped(clipping):
    first, second = (tf.Variable(value) for value in (START, np.zeros(2)))
    shifts = tfb.Chain([tfb.Shift(first), tfb.Shift(second)])
    flow = tfd.TransformedDistribution(normal(tf.float64), shifts)
    model = model_of(flow, optimizer=keras.optimizers.SGD(1.0, **clipping))
    gradient = START - np.mean(X, axis=0)
    assert np.min(np.abs(gradient)) < 0.9 < np.max(np.abs(gradient))
    model.train_on_batch(X)
    norm = np.linalg.norm(gradient)
    clipped = {
        "clipnorm": gradient * 0.9 / norm,
        "global_clipnorm": gradient * 0.9 / (np.sqrt(2.0) * norm),
        "clipvalue": np.clip(gradient, -0.9, 0.9),
    }[next(iter(clipping))]
    close(first, START - clipped)
    close(second, -clipped)


@pytest.mark.parametrize("every", [None, 2])
def test_fit_ends_with_averages_of_the_weights(every):
    optimizer = keras.optimizers.SGD(
        0.5, use_ema=True, ema_momentum=0.75, ema_overwrite_frequency=every
    )
    model = model_of(optimizer=optimizer)
    model.fit(X, batch_size=8, epochs=1, shuffle=False, verbose=0)
    shift, average = START, None
    for step, batch in enumerate(in_batches(X)):
        shift = descend(shift, [batch])
        average = shift if average is None else 0.75 * average + 0.25 * shift
        if every and (step + 1) % every == 0:
            shift = average
    close(shift_of(model), average)


def test_weights_decay():
    model = model_of(optimizer=keras.optimizers.SGD(0.5, weight_decay=0.25))
    model.train_on_batch(X)
    close(shift_of(model), descend(START, [X]) - 0.125 * START)


def test_frozen_layers_stay_as_they_are():
    first, second = (tf.Variable(value) for value in (START, np.zeros(2)))
    shifts = tfb.Chain([tfb.Shift(first), tfb.Shift(second)])
    flow = tfd.TransformedDistribution(normal(tf.float64), shifts)
    model = DensityModel(flow)
    for frozen, (still, moved) in enumerate([(first, second), (second, first)]):
        for i, part in enumerate(model.layers):
            part.trainable = i != frozen
        model.compile(keras.optimizers.SGD(0.5), jit_compile=False)
        assert [v.value for v in model.trainable_variables] == [moved]
        values, expected = still.numpy(), descend(first + second, in_batches(X))
        model.fit(X, batch_size=8, shuffle=False, verbose=0)
        assert np.all(still.numpy() == values)
        close(first + second, expected)
    assert np.all(first.numpy() != START)


def test_regularizers_of_a_keras_network_are_in_the_loss():
    keras.utils.set_random_seed(0)
    network, flow = with_keras_network(kernel_regularizer=keras.regularizers.L2(0.5))
    model = model_of(flow)
    penalty = 0.5 * np.sum(network.layers[-1].kernel.numpy() ** 2)
    assert penalty > 0.1
    expected = penalty - np.mean(model.predict(X, verbose=0))
    close(model.evaluate(X, batch_size=8, verbose=0), expected, 1e-5)
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(flow.log_prob(np.float32(X)))
    kernel = network.layers[-1].kernel.value
    step = tape.gradient(loss, kernel).numpy() + kernel.numpy()  # 2 * 0.5 * kernel
    wanted = kernel.numpy() - 0.5 * step
    close(model.train_on_batch(X), expected, 1e-5)
    close(kernel, wanted, 1e-5)


def test_activity_regularizers_of_a_keras_network_are_in_the_loss():
    keras.utils.set_random_seed(0)
    network, flow = with_keras_network(activity_regularizer=keras.regularizers.L2(0.5))
    outputs = network(np.float32(X[:, :1])).numpy()
    model = model_of(flow)
    penalty = 0.5 * np.sum(outputs**2) / 20.0
    assert penalty > 0.1
    expected = penalty - np.mean(model.predict(X, verbose=0))
    close(model.evaluate(X, verbose=0), expected, 1e-5)


def test_batch_norm_normalizes_by_the_batch_in_training_alone():
    flow, copy = (
        flows.maf(2, 2, (4,), seed=0, batch_norm=True, dtype=tf.float64)
        for _ in range(2)
    )

    def statistics(flow):
        layer = flow.bijector.bijectors[1]
        return np.array([layer.mean, layer.variance])

    x = 2.0 + 3.0 * X
    losses = []
    for batch in in_batches(x, 10):
        bound = normalization.with_batch_statistics(copy, batch)
        losses.append(-np.mean(bound.log_prob(batch)))
        normalization.update_moving_statistics(copy, bound)
    model = model_of(flow, learning_rate=0.0)
    before, untrained = statistics(flow), -np.mean(flow.log_prob(x))
    close(model.evaluate(x, verbose=0), untrained, 1e-12)
    assert np.all(statistics(flow) == before)
    history = model.fit(x, batch_size=10, shuffle=False, verbose=0).history
    close(history["loss"], [np.mean(losses)], 1e-12)
    assert abs(np.mean(losses) - untrained) > 1.0
    moved = statistics(flow)
    close(moved, statistics(copy), 1e-12)
    assert np.all(np.abs(moved - before) > 0.01)
    close(model.evaluate(x, verbose=0), -np.mean(copy.log_prob(x)), 1e-12)
    assert np.all(statistics(flow) == moved)
