"""What costs Python's time: one point in eager mode, and the import, ours over TFP's.

An outcome has `sizes` and `seconds` as those of `outcomes`, with one quantity.
"""

import functools
import subprocess
import sys

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tests.benchmarks import timing
from tests.benchmarks.candidates import move
from tests.benchmarks.report import normal
from tfp_flows import bijectors, masks
from tfp_flows.networks import MADE, MLP

tfb, tfd = tfp.bijectors, tfp.distributions

SIZE = 8


def _radial():
    center = tf.Variable(normal([SIZE], 0))
    ours = bijectors.Radial(center, tf.Variable(1.0), tf.Variable(2.0))
    return ours, tfb.Chain([tfb.Shift(center), tfb.Scale(tf.Variable(2.0))])


def _planar():
    """TFP's nearest: a linear map that adds a matrix of rank 1."""
    u, w = (tf.Variable(0.3 * normal([SIZE], seed)) for seed in (0, 1))
    update = tf.linalg.LinearOperatorLowRankUpdate(
        tf.linalg.LinearOperatorIdentity(SIZE), u[:, tf.newaxis], v=w[:, tf.newaxis]
    )
    theirs = tfb.Chain([tfb.Shift(u), tfb.ScaleMatvecLinearOperator(update)])
    return tfb.Invert(bijectors.Planar(u, w, tf.Variable(0.1))), tfb.Invert(theirs)


def _prelu():
    slope = tf.Variable(tf.exp(0.3 * normal([SIZE], 0)))
    return bijectors.PReLU(slope), tfb.Scale(slope)


def _coupling():
    half = SIZE // 2
    network = MLP(half, [half, 2], [16, 16], seed=0)
    move(network.trainable_variables)

    def shift_and_log_scale(x, *_, **__):
        return tf.unstack(network(x), axis=-1)

    ours = bijectors.Coupling(masks.half(SIZE), network)
    return ours, tfb.RealNVP(half, shift_and_log_scale_fn=shift_and_log_scale)


def _autoregressive():
    network = MADE(SIZE, 2, (16, 16), seed=0)
    move(network.trainable_variables)
    theirs = tfb.MaskedAutoregressiveFlow(network)
    return bijectors.MaskedAutoregressive(network), theirs


PAIRS = {
    "Radial": _radial,
    "Planar": _planar,
    "PReLU": _prelu,
    "Coupling": _coupling,
    "MaskedAutoregressive": _autoregressive,
}
WORKS = [*(f"eager {name}" for name in PAIRS), "import"]


def measure(name, options):
    """Races a layer of ours with the nearest of TFP, or the imports.

    Args:
      name: one of `WORKS`.
      options: what the command parsed: rounds and sample.
    """
    if name == "import":
        race = timing.race(_imports(), min(5, options.rounds), 0)
        return {"sizes": "a process", "seconds": {"import": _seconds(race)}}
    pair = PAIRS[name.removeprefix("eager ")]()
    calls = {c: _eager(layer) for c, layer in zip(["ours, eager", "TFP, eager"], pair)}
    race = timing.race(calls, options.rounds, options.sample)
    return {
        "sizes": f"`log_prob`, D = {SIZE}, B = 1",
        "seconds": {"eager": _seconds(race)},
    }


def _seconds(race):
    return {name: list(values) for name, values in race.seconds.items()}


def _eager(bijector):
    noise = tfd.MultivariateNormalDiag(tf.zeros([SIZE]))
    distribution = tfd.TransformedDistribution(noise, bijector)
    x = np.array(normal([1, SIZE], 6))
    # A new tensor each time, which no cache knows.
    return lambda: distribution.log_prob(tf.constant(x))


def _imports():
    # TFP loads its parts when they are used.
    tfp_too = "from tensorflow_probability import bijectors as b, distributions as d; "
    commands = {
        "ours, process": "import tfp_flows",
        "TFP, process": f"{tfp_too}b.Chain, d.Normal",
    }
    return {
        name: functools.partial(
            subprocess.run,
            [sys.executable, "-c", command],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        for name, command in commands.items()
    }
