#!/usr/bin/env bash
# TensorFlow Probability 0.25.0 with NumPy 2.4.6 (TensorFlow 2.21.0, Python 3.11); the same
# with NumPy 2.5.5 on Python 3.12. TFP sets no upper bound for NumPy, so `pip install
# tensorflow-probability` brings this pair together.
#
# Expected: distributions on simplices and spheres have their default event-space
# bijectors, which is what variational inference and HMC transform them by.
# Seen: `tfb.Pad` cannot be made, as it calls `np.reshape(..., newshape=...)`, a keyword
# that NumPy 2.4 removed; nor `SoftmaxCentered` and `UnitVector`, which are made of it; so
# that the distributions below sample and have densities, but no unconstrained form.
# `Gamma`, `LKJ`, `Wishart` and all others that were tried keep theirs. With NumPy 2.3.5, or
# with tfp-nightly 0.26.0.dev20261027, everything works.
#
# Output seen:
#   NumPy 2.3.5: nothing fails
#   NumPy 2.4.6: Pad, SoftmaxCentered, UnitVector; Deterministic, Dirichlet,
#   ExpRelaxedOneHotCategorical, JointDistributionNamed, PowerSpherical,
#   RelaxedOneHotCategorical, SphericalUniform, VonMisesFisher
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
cat > "$folder/try_all.py" <<'PYTHON'
import sys

import numpy as np
import tensorflow_probability as tfp

tfb, tfd = tfp.bijectors, tfp.distributions
POINT = np.float32([1.0, 0.0, 0.0])
LOGITS = np.float32([0.0, 1.0, 2.0])
BIJECTORS = dict(
    FillScaleTriL=tfb.FillScaleTriL, CorrelationCholesky=tfb.CorrelationCholesky,
    IteratedSigmoidCentered=tfb.IteratedSigmoidCentered, Pad=tfb.Pad,
    SoftmaxCentered=tfb.SoftmaxCentered, UnitVector=tfb.UnitVector)
DISTRIBUTIONS = dict(
    Beta=lambda: tfd.Beta(1.0, 2.0),
    Deterministic=lambda: tfd.Deterministic(1.0),
    Dirichlet=lambda: tfd.Dirichlet([1.0, 2.0, 3.0]),
    ExpRelaxedOneHotCategorical=lambda: tfd.ExpRelaxedOneHotCategorical(
        1.0, logits=LOGITS),
    Gamma=lambda: tfd.Gamma(1.0, 2.0),
    JointDistributionNamed=lambda: tfd.JointDistributionNamed(
        dict(rate=tfd.Gamma(1.0, 2.0), weights=tfd.Dirichlet([1.0, 2.0, 3.0]))),
    LKJ=lambda: tfd.LKJ(3, 2.0),
    PowerSpherical=lambda: tfd.PowerSpherical(POINT, 1.0),
    RelaxedOneHotCategorical=lambda: tfd.RelaxedOneHotCategorical(1.0, logits=LOGITS),
    SphericalUniform=lambda: tfd.SphericalUniform(3),
    VonMisesFisher=lambda: tfd.VonMisesFisher(POINT, 1.0),
    WishartTriL=lambda: tfd.WishartTriL(5.0, np.eye(3, dtype=np.float32)))
failed = []
for name, make in BIJECTORS.items():
    try:
        make()
    except TypeError:
        failed.append(name)
for name, make in DISTRIBUTIONS.items():
    distribution = make()
    sample = distribution.sample(seed=(0, 1))
    distribution.log_prob(sample)
    try:
        distribution.experimental_default_event_space_bijector().inverse(sample)
    except TypeError as error:
        assert "newshape" in str(error)
        failed.append(name)
print(f"NumPy {np.__version__}: {', '.join(failed) or 'nothing fails'}")
sys.exit(failed != sys.argv[1:])
PYTHON
export TF_CPP_MIN_LOG_LEVEL=3
"$folder/venv/bin/pip" install -q tensorflow==2.21.0 tensorflow-probability==0.25.0 \
    tf_keras==2.21.0 numpy==2.3.5
"$folder/venv/bin/python" "$folder/try_all.py"
"$folder/venv/bin/pip" install -q numpy==2.4.6
"$folder/venv/bin/python" "$folder/try_all.py" Pad SoftmaxCentered UnitVector \
    Deterministic Dirichlet ExpRelaxedOneHotCategorical JointDistributionNamed \
    PowerSpherical RelaxedOneHotCategorical SphericalUniform VonMisesFisher
