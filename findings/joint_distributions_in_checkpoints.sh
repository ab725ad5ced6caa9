#!/usr/bin/env bash
# TensorFlow Probability 0.25.0 with TensorFlow 2.21.0 (Python 3.11).
#
# Expected: a distribution is a `tf.Module`, so `tf.train.Checkpoint(model=distribution)`
# saves its variables and restores them, whichever distribution it is.
# Seen: `JointDistributionSequential`, `JointDistributionNamed`, their auto-batched forms
# and `Blockwise` raise a ValueError about a dictionary with a key that is not a string,
# although `trainable_variables` of each finds the variable; joint distributions keep a
# cache of their parts under the key -1. Mixtures, `Sample`, `Masked` and transformed
# distributions are saved and restored. Passing the variables by name works:
# `tf.train.Checkpoint(variables=list(distribution.trainable_variables))`.
#
# Output seen:
#   not saved: Blockwise, JointDistributionNamed, JointDistributionNamedAutoBatched,
#   JointDistributionSequential, JointDistributionSequentialAutoBatched
#   saved and restored: Masked, Mixture, Sample, TransformedDistribution
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q tensorflow==2.21.0 tf_keras==2.21.0 \
    tensorflow-probability==0.25.0 numpy==2.3.5
cat > "$folder/save_each.py" <<'PYTHON'
import os
import sys

import tensorflow as tf
import tensorflow_probability as tfp

tfb, tfd = tfp.bijectors, tfp.distributions
MAKERS = dict(
    Blockwise=lambda part: tfd.Blockwise([part]),
    JointDistributionNamed=lambda part: tfd.JointDistributionNamed(dict(a=part)),
    JointDistributionNamedAutoBatched=lambda part: (
        tfd.JointDistributionNamedAutoBatched(dict(a=part))),
    JointDistributionSequential=lambda part: tfd.JointDistributionSequential([part]),
    JointDistributionSequentialAutoBatched=lambda part: (
        tfd.JointDistributionSequentialAutoBatched([part])),
    Masked=lambda part: tfd.Masked(part, True),
    Mixture=lambda part: tfd.Mixture(tfd.Categorical(probs=[1.0]), [part]),
    Sample=lambda part: tfd.Sample(part, 2),
    TransformedDistribution=lambda part: tfd.TransformedDistribution(part, tfb.Exp()))
saved, failed = [], []
for name, make in MAKERS.items():
    location = tf.Variable(1.0)
    distribution = make(tfd.Normal(location, 1.0))
    assert len(distribution.trainable_variables) == 1
    checkpoint = tf.train.Checkpoint(model=distribution)
    try:
        path = checkpoint.save(os.path.join(sys.argv[1], name))
    except ValueError as error:
        assert "non-string key" in str(error)
        failed.append(name)
        continue
    location.assign(5.0)
    checkpoint.restore(path)
    assert float(location) == 1.0
    saved.append(name)
print("not saved:", ", ".join(failed))
print("saved and restored:", ", ".join(saved))
sys.exit(saved != ["Masked", "Mixture", "Sample", "TransformedDistribution"])
PYTHON
TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" "$folder/save_each.py" "$folder"
