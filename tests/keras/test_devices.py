"""Training on several devices and workers is training on one, with the same batches.

All trainings but those on one device are processes that run `training_script.py`.
"""

import json
import signal
import socket

import numpy as np
import pytest
import tensorflow as tf

from tests.keras import training_script
from tests.keras.processes import Training, finish, kill, wait_for_end
from tfp_flows import flows
from tfp_flows.keras import BijectorLayer, DensityModel

ON_DEVICES = ["arrays", "weights", "axes", "columns", "dataset", "glow"]
ON_WORKERS = ["arrays", "dataset", "glow"]


def worker(index, ports, result, *arguments):
    """Starts a training as one of several workers."""
    cluster = dict(worker=[f"127.0.0.1:{port}" for port in ports])
    task = dict(type="worker", index=index)
    return Training(
        result, *arguments, TF_CONFIG=json.dumps(dict(cluster=cluster, task=task))
    )


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("devices")


@pytest.fixture(scope="module")
def one(folder):
    """Results on one device."""
    result = folder / "one.npz"
    with tf.device("CPU"):
        training_script.main([*ON_DEVICES, "refused"], result)
    return dict(np.load(result))


@pytest.fixture(scope="module")
def two(folder):
    """Results on two logical devices of one process."""
    result = folder / "two.npz"
    finish(Training(result, *ON_DEVICES, "refused", "batch_norm", "--devices", "2"))
    return dict(np.load(result))


@pytest.fixture(scope="module")
def workers(folder):
    """Results of two workers, of which one was killed and both were started again."""
    results = [folder / f"worker_{i}.npz" for i in range(2)]
    command = [*ON_WORKERS, "unordered", "--backup", folder / "backup"]
    ports = free_ports(2)
    options = [[], ["--kill", "1,4"]]  # of `arrays`, the first of the trainings
    first, second = trainings = [
        worker(i, ports, result, *command, *options[i])
        for i, result in enumerate(results)
    ]
    try:
        assert wait_for_end(second, first) is second, first.log
        assert second.code == -signal.SIGKILL, second.log
        assert wait_for_end(first).code != 0  # TensorFlow misses the other one
    finally:
        kill(*trainings)
    assert (folder / "backup" / "arrays" / "training.npz").exists()
    finish(*(worker(i, ports, result, *command) for i, result in enumerate(results)))
    return [dict(np.load(result)) for result in results]


def check_same(actual, expected, training):
    """Checks that a training gave the same losses, weights and predictions."""
    keys = [key for key in expected if key.startswith(f"{training}/")]
    assert len(keys) >= 4
    assert expected[f"{training}/loss"][-1] < expected[f"{training}/loss"][0]
    epochs = len(actual[f"{training}/epochs"])  # of those since it was interrupted
    for key in keys:
        wanted = expected[key]
        if not key.endswith(("weights", "predictions")):
            wanted = wanted[-epochs:]
        largest = np.max(np.abs(wanted))
        np.testing.assert_allclose(
            actual[key],
            np.broadcast_to(wanted, actual[key].shape),
            rtol=1e-5,
            atol=1e-5 * largest if key.endswith("weights") else 0.0,
            err_msg=key,
        )


@pytest.mark.parametrize("training", ON_DEVICES)
def test_two_devices_do_what_one_does(one, two, training):
    check_same(two, one, training)
    values = two[f"{training}/weights"]
    assert len(values) == 2
    np.testing.assert_array_equal(values[0], values[1])


def test_batch_norm_refuses_a_replica_without_rows(two):
    assert "Each replica must have a row of each batch" in str(two["batch_norm/error"])


def test_replicas_refuse_a_loss_that_is_not_finite(one, two):
    text = "for 1 of the 8 examples of batch 3 of epoch 1. The step changed no variable"
    for results in (one, two):
        assert text in str(results["refused/error"])
        assert results["refused/steps"] == 2
        assert np.all(np.isfinite(results["refused/rest"]))
    np.testing.assert_allclose(two["refused/rest"], one["refused/rest"], rtol=1e-5)


@pytest.mark.parametrize(
    "kind", [lambda flow: DensityModel(flow), lambda flow: BijectorLayer(flow.bijector)]
)
def test_flow_and_model_are_of_one_scope(kind):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    flow = flows.real_nvp(3, 2, (4,), seed=0)
    with strategy.scope():
        mirrored = flows.real_nvp(3, 2, (4,), seed=0)
        with pytest.raises(ValueError, match=r"one `strategy.scope\(\)`; got .* `bias"):
            kind(flow)
        kind(mirrored)
    with pytest.raises(ValueError, match=r"one `strategy.scope\(\)`; got .* `bias"):
        kind(mirrored)
    kind(flow)


@pytest.mark.parametrize("training", ON_WORKERS)
def test_two_workers_do_what_one_process_does(one, workers, training):
    for worker in workers:
        check_same(worker, one, training)
    np.testing.assert_array_equal(
        *[worker[f"{training}/weights"] for worker in workers]
    )


def test_workers_start_actnorm_alike_from_data_in_unequal_order(workers):
    np.testing.assert_array_equal(*[worker["unordered/weights"] for worker in workers])


def test_a_killed_worker_goes_on_from_the_backup(folder, workers):
    for worker in workers:
        assert list(worker["arrays/epochs"]) == [1, 2]
    steps = sorted(
        np.loadtxt(path, int).tolist() for path in folder.glob("backup/arrays.*.steps")
    )
    # Epoch, step of it, and all the steps that the weights have had.
    before = [[0, i, i] for i in [1, 2, 3, 4]] + [[1, i, 4 + i] for i in [1, 2, 3, 4]]
    after = [[1, i, 7] for i in [1, 2, 3]] + [[1, 4, 8]]
    after += [[2, i, 8 + i] for i in [1, 2, 3, 4]]
    survivor, killed, *rest = sorted(steps, key=lambda each: (each[0], len(each)))
    assert killed == before and rest == [after, after]
    # It may miss the other one before it has noted the step that both have done.
    assert survivor in (before, before[:-1])


def test_a_backup_goes_when_training_is_done(folder, workers):
    assert not list(folder.glob("backup/*/*"))
