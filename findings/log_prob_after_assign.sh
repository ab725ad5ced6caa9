#!/usr/bin/env bash
# TensorFlow Probability 0.25.0 (TensorFlow 2.21.0, NumPy 2.3.5, Python 3.11), eager mode.
#
# `log_prob` of a transformed distribution whose bijector has a variable, twice at the same
# tensor, with an assignment in between.
# Expected: the second value is the density with the variable's new value.
# Seen: it is no density at all. TFP's bijectors remember the log determinant of an input
# tensor by its identity, whatever became of their variables; a chain computes the inverse
# anew with the new scale, 8, and takes the log determinant of the old one, 2. A lone
# `Scale` does the same for `log_prob`, and for its `forward` and `inverse` answers with
# the old values altogether.
#
# Output seen:
#   Chain: scale 2 -1.737086, scale 8 at the same tensor -1.807398, at a copy -3.193693
#   Scale: forward 2.0, after the assignment 2.0, of a copy 8.0
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

tfb, tfd = tfp.bijectors, tfp.distributions

scale = tf.Variable(2.0)
chain = tfb.Chain([tfb.Scale(scale), tfb.Shift(1.0)])  # y = scale (x + 1)
distribution = tfd.TransformedDistribution(tfd.Normal(0.0, 1.0), chain)
y = tf.constant(3.0)
old = distribution.log_prob(y)
scale.assign(8.0)
same, copy = distribution.log_prob(y), distribution.log_prob(tf.identity(y))
print(f"Chain: scale 2 {old:.6f}, scale 8 at the same tensor {same:.6f}, "
      f"at a copy {copy:.6f}")


def exact(scale):
    x = 3.0 / scale - 1.0
    return -0.5 * x**2 - 0.5 * np.log(2.0 * np.pi) - np.log(scale)


scale.assign(2.0)
bijector, x = tfb.Scale(scale), tf.constant(1.0)
first = bijector.forward(x)
scale.assign(8.0)
second, third = bijector.forward(x), bijector.forward(tf.identity(x))
print(f"Scale: forward {first}, after the assignment {second}, of a copy {third}")

as_stated = (
    np.allclose(old, exact(2.0), atol=1e-5)
    and np.allclose(copy, exact(8.0), atol=1e-5)
    and np.allclose(same, exact(8.0) + np.log(8.0 / 2.0), atol=1e-5)
    and (first, second, third) == (2.0, 2.0, 8.0)
)
sys.exit(not as_stated)
PYTHON
