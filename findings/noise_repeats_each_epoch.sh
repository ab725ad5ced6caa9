#!/usr/bin/env bash
# TensorFlow 2.21.0, TensorFlow Probability 0.25.0 (Python 3.11).
#
# Expected: with a global seed, noise that `Dataset.map` adds (dequantization,
# augmentation) is reproducible from run to run, and new in each epoch, as the order of
# `Dataset.shuffle` is.
# Seen: each iteration over the dataset draws the same numbers as the first one, both for
# `tf.random.uniform` and for TFP's `sample()`: a model sees one fixed realization of its
# noise for the whole training. Without a global seed each epoch has new noise.
# `tf.random.Generator`, created outside of the mapped function, has new noise with a
# global seed, too.
#
# Output seen:
#   global seed: tf.random.uniform repeats, tfd.Normal.sample repeats,
#   tf.random.Generator is new, Dataset.shuffle is new
#   no seed: tf.random.uniform is new, tfd.Normal.sample is new,
#   tf.random.Generator is new, Dataset.shuffle is new
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q tensorflow==2.21.0 tf_keras==2.21.0 \
    tensorflow-probability==0.25.0 numpy==2.3.5
cat > "$folder/epochs.py" <<'PYTHON'
import sys

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions
points = tf.data.Dataset.range(32)


def with_generator():
    generator = tf.random.Generator.from_non_deterministic_state()
    return points.map(lambda _: generator.uniform([]))


DATASETS = {
    "tf.random.uniform": lambda: points.map(lambda _: tf.random.uniform([])),
    "tfd.Normal.sample": lambda: points.map(lambda _: tfd.Normal(0.0, 1.0).sample()),
    "tf.random.Generator": with_generator,
    "Dataset.shuffle": lambda: points.shuffle(32),
}
found = {}
for label, seed in [("no seed", None), ("global seed", 1)]:
    if seed is not None:
        tf.random.set_seed(seed)
    for name, make in DATASETS.items():
        dataset = make()
        first, second = (list(dataset.as_numpy_iterator()) for _ in range(2))
        found[label, name] = "repeats" if first == second else "is new"
for label in ["global seed", "no seed"]:
    print(f"{label}:", ", ".join(f"{n} {found[label, n]}" for n in DATASETS))
repeated = {key for key, value in found.items() if value == "repeats"}
expected = {("global seed", n) for n in ["tf.random.uniform", "tfd.Normal.sample"]}
sys.exit(repeated != expected)
PYTHON
TF_CPP_MIN_LOG_LEVEL=3 "$folder/venv/bin/python" "$folder/epochs.py"
