"""Tests of `tfp_flows.keras.BackupAndRestore`, by killed processes and exceptions."""

import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.keras.processes import Training, finish
from tfp_flows.keras import BackupAndRestore, DensityModel

tfd = tfp.distributions

X = np.random.default_rng(0).normal(1.0, 2.0, size=[18, 2])  # 5 batches of 4
# Training: where it is killed, where it goes on from, and how often it makes a backup.
KILLED = {
    "spline": (["--kill", "1,2", "--frequency", "1"], [1, 2]),  # inside an epoch
    "dropout": (["--kill", "2,0", "--frequency", "2"], [2, 0]),  # between epochs
    "plain": (["--kill", "1,1", "--torn", "--frequency", "2"], [1, 0]),  # in a backup
}


class Stop(keras.callbacks.Callback):
    """Interrupts training after so many steps of an epoch, or before it."""

    def __init__(self, epoch, step):
        super().__init__()
        self._place = epoch, step

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._stop_at(0)

    def on_train_batch_end(self, batch, logs=None):
        self._stop_at(batch + 1)

    def _stop_at(self, step):
        if self._place == (self._epoch, step):
            raise KeyboardInterrupt


def normal(size=2, **kwargs):
    loc, scale = [tf.Variable(np.full(size, value)) for value in (0.0, 3.0)]
    model = DensityModel(tfd.MultivariateNormalDiag(loc, scale), shuffle_seed=5)
    model.compile(
        keras.optimizers.Adam(0.1),
        metrics=["log_likelihood"],
        weighted_metrics=["bits_per_dimension"],
        **kwargs,
    )
    return model


def fit(model, callbacks=(), epochs=3, x=X):
    history = model.fit(
        x,
        batch_size=4,
        epochs=epochs,
        validation_data=(x[:3],),
        verbose=0,
        callbacks=list(callbacks),
    )
    return history


def interrupted(model, backup, *place, **kwargs):
    with pytest.raises(KeyboardInterrupt):
        fit(model, [backup, Stop(*place)], **kwargs)


def check_same(model, history, undisturbed, expected):
    """Checks that training ended as without interruption, in the epochs it had."""
    for actual, value in zip(
        [*model.variables, *model.optimizer.variables],
        [*undisturbed.variables, *undisturbed.optimizer.variables],
        strict=True,
    ):
        np.testing.assert_allclose(actual, value, rtol=1e-9, atol=1e-12)
    assert set(history.history) == set(expected.history)
    for name, values in expected.history.items():
        np.testing.assert_allclose(
            history.history[name], values[history.epoch[0] :], rtol=1e-6, err_msg=name
        )


@pytest.fixture(scope="module")
def undisturbed():
    model = normal()
    return model, fit(model)


@pytest.mark.parametrize(
    "save_freq, place, start",
    [
        ("epoch", (1, 3), (1, 0)),  # goes on at the start of the epoch
        (2, (1, 3), (1, 2)),
        (2, (0, 1), (0, 0)),  # before the first backup
        (1, (1, 5), (1, 5)),  # after all steps of an epoch, before its end
        (3, (2, 0), (2, 0)),
    ],
)
def test_training_goes_on_from_the_last_backup(
    tmp_path, undisturbed, save_freq, place, start
):
    interrupted(normal(), BackupAndRestore(tmp_path, save_freq), *place)
    model, steps = normal(), []
    count = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: steps.append(
            int(model.optimizer.iterations)
        )
    )
    history = fit(model, [BackupAndRestore(tmp_path, save_freq), count])
    check_same(model, history, *undisturbed)
    first = 5 * start[0] + start[1]
    assert history.epoch == list(range(start[0], 3))
    assert sorted({*steps} - {first}) == list(range(first + 1, 16))


def test_training_may_be_interrupted_again_and_again(tmp_path, undisturbed):
    places = [(0, 2), (0, 3), (0, 4), (1, 4), (1, 5)]
    for place in places:
        interrupted(normal(), BackupAndRestore(tmp_path, 2), *place)
    model = normal()
    check_same(model, fit(model, [BackupAndRestore(tmp_path, 2)]), *undisturbed)


def test_the_same_model_and_callback_go_on(tmp_path, undisturbed):
    model, backup = normal(), BackupAndRestore(tmp_path, 1)
    for place in [(0, 3), (0, 2), (1, 4)]:  # the second while steps are left out
        interrupted(model, backup, *place)
    check_same(model, fit(model, [backup]), *undisturbed)


def test_several_steps_in_an_execution(tmp_path):
    x = X[:16]  # 4 batches
    model = normal(steps_per_execution=2)
    expected = fit(model, x=x)
    interrupted(normal(steps_per_execution=2), BackupAndRestore(tmp_path, 2), 1, 4, x=x)
    again = normal(steps_per_execution=2)
    history = fit(again, [BackupAndRestore(tmp_path, 2)], x=x)
    assert history.epoch == [1, 2]
    check_same(again, history, model, expected)


def test_a_backup_may_stay_and_training_become_longer(tmp_path, undisturbed):
    keep = BackupAndRestore(tmp_path, delete_checkpoint=False)
    fit(normal(), [keep], epochs=2)
    assert [path.name for path in tmp_path.iterdir()] == ["training.npz"]
    assert keep.epoch() == 2
    model = normal()
    history = fit(model, [BackupAndRestore(tmp_path)])
    check_same(model, history, *undisturbed)
    assert history.epoch == [2]
    assert not list(tmp_path.iterdir())


def test_an_error_in_writing_leaves_the_last_backup(tmp_path, undisturbed, monkeypatch):
    savez = np.savez

    def half(file, **values):
        if int(values["variable_2"]) == 4:  # steps of the optimizer
            file.write(b"half of it")
            raise OSError("no space left")
        savez(file, **values)

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", half)
        with pytest.raises(OSError, match="no space left"):
            fit(normal(), [BackupAndRestore(tmp_path, 2)])
    model = normal()
    check_same(model, fit(model, [BackupAndRestore(tmp_path, 2)]), *undisturbed)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: normal(size=3),
            r"same model.*one with .* of shape \[2\] in place of",
        ),
        (lambda: DensityModel(tfd.Normal(tf.Variable(0.0), 1.0)), "same model"),
    ],
)
def test_rejects_the_backup_of_another_model(tmp_path, make, message):
    interrupted(normal(), BackupAndRestore(tmp_path), 1, 1)
    model = make()
    if not model.compiled:
        model.compile("adam")
    size = model.distribution.event_shape.num_elements()
    x = np.ones([8, size] if size > 1 else [8], model.dtype)
    with pytest.raises(ValueError, match=message):
        model.fit(x, verbose=0, callbacks=[BackupAndRestore(tmp_path)])


@pytest.mark.parametrize(
    "optimizer, message",
    [
        (keras.optimizers.SGD(0.1), "got one with adam.* in place of sgd"),
        (keras.optimizers.Adam(0.1, amsgrad=True), r"got one with 8 variables for 10"),
    ],
)
def test_rejects_the_backup_of_another_optimizer(tmp_path, optimizer, message):
    interrupted(normal(), BackupAndRestore(tmp_path), 1, 1)
    model = normal()
    model.compile(optimizer)
    with pytest.raises(ValueError, match=message):
        fit(model, [BackupAndRestore(tmp_path)])


@pytest.mark.parametrize("save_freq", [0, -1, 1.5, True, None, "batch"])
def test_rejects_a_wrong_frequency(save_freq):
    with pytest.raises(ValueError, match="`save_freq` must be 'epoch' or a number of"):
        BackupAndRestore("folder", save_freq)


def run(result, *arguments):
    """Starts a training with operations that are deterministic."""
    return Training(result, *arguments, "--deterministic")


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Returns the folder of trainings that were killed, started again, and were not."""
    folder = tmp_path_factory.mktemp("killed")
    backup = ["--backup", folder / "backup"]
    whole = run(folder / "whole.npz", *KILLED)
    finish(
        *(
            run(folder / f"{name}.npz", name, *backup, *options)
            for name, (options, _) in KILLED.items()
        ),
        code=-signal.SIGKILL,
    )
    finish(whole)
    assert {path.parent.name for path in folder.glob("backup/*/*.npz")} == {*KILLED}
    assert len(list(folder.glob("backup/plain/*"))) == 2  # of which one is torn
    finish(run(folder / "again.npz", *KILLED, *backup))
    assert not list(folder.glob("backup/*/*"))
    return folder


@pytest.mark.parametrize("training", KILLED)
def test_a_killed_training_ends_as_an_undisturbed_one_to_the_bit(killed, training):
    again, whole = [dict(np.load(killed / f"{n}.npz")) for n in ("again", "whole")]
    epoch, step = KILLED[training][1]
    assert list(again[f"{training}/epochs"]) == list(range(epoch, 3))
    for key in (key for key in whole if key.startswith(f"{training}/")):
        expected = whole[key]
        if not key.endswith(("weights", "predictions")):
            expected = expected[epoch:]
        np.testing.assert_array_equal(again[key], expected, err_msg=key)


@pytest.mark.parametrize("training", KILLED)
def test_no_step_is_lost_beyond_the_last_backup(killed, training):
    files = killed.glob(f"backup/{training}.*.steps")
    steps = [np.loadtxt(file, int) for file in files]
    before, after = sorted(steps, key=lambda each: each[0, 2])
    per_epoch = before[before[:, 0] == 0][-1, 2]
    epoch, step = KILLED[training][1]
    first = per_epoch * epoch + step
    assert before[0, 2] <= 2 and before[-1, 2] - first <= 2  # at most `--frequency`
    assert after[0, 2] >= first
    assert after[-1, 2] == 3 * per_epoch
