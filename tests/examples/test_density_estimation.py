"""Density estimation: an interrupted training resumes, and missing files are named."""

import numpy as np
import pytest
import tensorflow as tf

from tests.examples.loading import load

TINY = dict(flow="real_nvp", layers=2, hidden=(16,), steps=80, xla=False)


def test_density_estimation_goes_on_where_it_was_interrupted(
    tmp_path, capsys, monkeypatch
):
    example = load("density_estimation")
    monkeypatch.setattr(example, "record", lambda *_: None)
    whole = example.main(**TINY)
    out = capsys.readouterr().out
    for prefix in ["", "gaussian_"]:
        assert f"{whole[prefix + 'nats']:.2f}" in out
        assert f"{whole[prefix + 'bits_per_dimension']:.3f}" in out
    np.testing.assert_allclose(whole["gaussian_nats"], 49.8, atol=0.4)
    assert whole["nats"] > whole["gaussian_nats"] + 10.0

    save = tf.train.CheckpointManager.save

    def interrupted(manager):
        save(manager)
        if manager.checkpoint.step == 30:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tf.train.CheckpointManager, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            example.main(**TINY, checkpoint=tmp_path)
    resumed = example.main(**TINY, checkpoint=tmp_path)
    assert "/80 " in capsys.readouterr().err
    for name in ["nats", "validation_nats", "step"]:
        np.testing.assert_allclose(resumed[name], whole[name], rtol=1e-5)
    with pytest.raises(ValueError, match=r"`checkpoint` .* same settings"):
        example.main(**TINY, seed=1, checkpoint=tmp_path)


def test_density_estimation_names_the_file_that_is_missing(tmp_path):
    example = load("density_estimation")
    with pytest.raises(FileNotFoundError, match="bsds300_patches_train"):
        example.main(data="bsds300", directory=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"table\.npz .* array 'x'"):
        example.main(data=f"{tmp_path}/table.npz:x")
