#!/usr/bin/env bash
# TensorFlow Probability 0.25.0, TensorFlow 2.21.0, NumPy 2.3.5, Python 3.11, on the CPU.
#
# The float32 log density of independent normals, 2**20 in one event (about those of an
# image of 592 x 592 x 3), eagerly and with `jit_compile=True`, beside float64.
# Expected: both within a few units of rounding, 1.2e-7 of the sum.
# Seen: compiled, the sum drifts by tens of nats, as one that adds a term at a time would;
# eagerly by a tenth. The relative error is small, but it is the differences of log
# densities that count.
#
# Output seen:
#   exact [-1488719.14663698 -1486781.65644086 -1487268.66414792 -1487856.32783267]
#   eager: errors in nats [-0.10336302  0.03144086 -0.08585208  0.07783267]
#   compiled: errors in nats [-24.35336302 -21.96855914 -23.08585208 -22.54716733]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q tensorflow==2.21.0 tensorflow-probability==0.25.0 \
    tf_keras==2.21.0 numpy==2.3.5
TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions
x = np.random.default_rng(0).normal(size=[4, 2**20]).astype(np.float32)
exact = np.sum(-0.5 * np.float64(x) ** 2 - 0.5 * np.log(2.0 * np.pi), axis=-1)


def log_prob(x):
    return tfd.Sample(tfd.Normal(0.0, 1.0), [2**20]).log_prob(x)


print("exact", exact)
compiled = tf.function(log_prob, autograph=False, jit_compile=True)
errors = []
for name, function in [("eager", log_prob), ("compiled", compiled)]:
    error = function(tf.constant(x)).numpy() - exact
    print(f"{name}: errors in nats", error)
    errors.append(np.max(np.abs(error)))
sys.exit(not (errors[0] < 0.5 and errors[1] > 5.0))
PYTHON
