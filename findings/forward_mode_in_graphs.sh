#!/usr/bin/env bash
# TensorFlow 2.21.0, Python 3.11, on the CPU.
#
# The Jacobian-vector product of a function with `tf.custom_gradient`, by
# `tf.autodiff.ForwardAccumulator`, in eager mode and in a `tf.function`.
# Expected: the same numbers, as the gradient function tells.
# Seen: in a graph the gradient function is ignored, and the operations within the
# function are differentiated instead. Where these stop gradients, as those do that solve
# an equation by iterations and give the gradient of the solution by the implicit function
# theorem, the product is 0, without a word. A gradient tape is right in both.
#
# Output seen:
#   exact          [1.5        0.5        0.28867513]
#   tape, eager    [1.5        0.5        0.28867513]
#   tape, graph    [1.5        0.5        0.28867513]
#   forward, eager [1.5        0.5        0.28867513]
#   forward, graph [0. 0. 0.]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q tensorflow==2.21.0 numpy==2.3.5
TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import tensorflow as tf


@tf.custom_gradient
def root(a):
    """Square root by Newton's iterations, with the gradient of the solution."""
    fixed = tf.stop_gradient(a)
    x = tf.ones_like(a)
    for _ in range(20):
        x = 0.5 * (x + fixed / x)
    return x, lambda g: g / (2.0 * x)


def forward(a, tangent):
    with tf.autodiff.ForwardAccumulator(a, tangent) as accumulator:
        value = root(a)
    return accumulator.jvp(value, tf.UnconnectedGradients.ZERO)


def reverse(a, tangent):
    with tf.GradientTape() as tape:
        tape.watch(a)
        value = root(a)
    return tape.gradient(value, a, tangent)  # the Jacobian is diagonal


a, tangent = tf.constant([0.25, 4.0, 12.0]), tf.constant([1.5, 2.0, 2.0])
exact = tangent / (2.0 * tf.sqrt(a))
found = {
    "exact": exact,
    "tape, eager": reverse(a, tangent),
    "tape, graph": tf.function(reverse, autograph=False)(a, tangent),
    "forward, eager": forward(a, tangent),
    "forward, graph": tf.function(forward, autograph=False)(a, tangent),
}
for name, value in found.items():
    print(f"{name:14} {value.numpy()}")
ignored = found.pop("forward, graph")
right = all(np.allclose(value, exact, rtol=1e-6) for value in found.values())
sys.exit(not (right and np.all(ignored.numpy() == 0.0)))
PYTHON
