"""Overhead: eager calls for one example, imports, `fit`, and primitives of TensorFlow.

No flow is faster than the primitives that it consists of: see `peers.PRIMITIVES`.
"""

import functools
import subprocess
import sys

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tests.benchmarks import peers, timing
from tests.benchmarks.candidates import normal, perturb, training_step
from tfp_flows import bijectors, flows, masks
from tfp_flows.networks import MADE, MLP

tfb, tfd = tfp.bijectors, tfp.distributions

SIZE = 8
NUM_EXAMPLES, EPOCHS = 12_800, 3


def primitives():
    """Candidates by name of the primitive."""
    functions = {
        "call": lambda x: x + 1.0,
        "copy": lambda x: x + 1.0,
        "product": tf.matmul,
        "row sums": lambda x, w: (x + 1.0, tf.reduce_sum(x * w, axis=-1)),
        "channel sums": lambda x, y: tf.reduce_sum(x * y, axis=[0, 1, 2]),
    }
    return {
        name: (functions[name], *(normal(shape, i) for i, shape in enumerate(shapes)))
        for name, shapes in peers.PRIMITIVES.items()
    }


def _radial():
    center = tf.Variable(normal([SIZE], 0))
    ours = bijectors.Radial(center, tf.Variable(1.0), tf.Variable(2.0))
    return ours, tfb.Chain([tfb.Shift(center), tfb.Scale(tf.Variable(2.0))])


def _planar():
    """The counterpart in TFP is a linear map with an update of rank 1."""
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
    perturb(network.trainable_variables)

    def shift_and_log_scale(x, *_, **__):
        return tf.unstack(network(x), axis=-1)

    ours = bijectors.Coupling(masks.half(SIZE), network)
    return ours, tfb.RealNVP(half, shift_and_log_scale_fn=shift_and_log_scale)


def _autoregressive():
    network = MADE(SIZE, 2, (16, 16), seed=0)
    perturb(network.trainable_variables)
    theirs = tfb.MaskedAutoregressiveFlow(network)
    return bijectors.MaskedAutoregressive(network), theirs


PAIRS = {
    "Radial": _radial,
    "Planar": _planar,
    "PReLU": _prelu,
    "Coupling": _coupling,
    "MaskedAutoregressive": _autoregressive,
}
FITS = {  # by name: flow, dimensions, and batch size
    "fit real_nvp": (
        functools.partial(flows.real_nvp, 64, 6, (128, 128), seed=0),
        *(64, 128),
    ),
    "fit maf": (functools.partial(flows.maf, 64, 5, (256,), seed=0), 64, 128),
}
WORKLOADS = {
    **{f"eager {name}": f"`log_prob`, D = {SIZE}, B = 1" for name in PAIRS},
    "import": "a process",
    **{
        name: f"`DensityModel.fit`, D = {size}, B = {batch_size}, one step"
        for name, (_, size, batch_size) in FITS.items()
    },
}


def measure(name, options):
    """Times one of `WORKLOADS`.

    Args:
      name: name of the workload.
      options: parsed options of the command: rounds and sample.

    Returns:
      quantity: its name.
      timings: `timing.Timings` of ours and the reference.
    """
    if name == "import":
        return "import", timing.interleave(_imports(), min(5, options.rounds), 0)
    if name in FITS:
        return "fit", _time_fit(*FITS[name], options.rounds)
    pair = PAIRS[name.removeprefix("eager ")]()
    calls = {c: _eager(layer) for c, layer in zip(["ours, eager", "TFP, eager"], pair)}
    return "eager", timing.interleave(calls, options.rounds, options.sample)


def _eager(bijector):
    base = tfd.MultivariateNormalDiag(tf.zeros([SIZE]))
    distribution = tfd.TransformedDistribution(base, bijector)
    x = np.array(normal([1, SIZE], 6))
    # A new tensor in each call is in no cache.
    return lambda: distribution.log_prob(tf.constant(x))


def _imports():
    # TFP loads its modules when they are used.
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


def _time_fit(build, size, batch_size, rounds):
    """Times `DensityModel.fit`, and a Python loop over a compiled step, per step."""
    x = normal([NUM_EXAMPLES, size], 1).numpy()
    calls = {}
    for mode, jit_compile in timing.MODES.items():
        calls[f"ours, {mode}"] = _fit(build(), x, batch_size, jit_compile)
        calls[f"loop, {mode}"] = _loop(build(), x, batch_size, jit_compile)
    timings = timing.interleave(calls, rounds, 0)
    steps = EPOCHS * NUM_EXAMPLES // batch_size
    return timing.Timings({n: s / steps for n, s in timings.seconds.items()})


def _fit(flow, x, batch_size, jit_compile):
    import keras

    from tfp_flows.keras import DensityModel

    model = DensityModel(flow)
    model.compile(keras.optimizers.Adam(1e-5), jit_compile=jit_compile)
    return lambda: model.fit(x, batch_size=batch_size, epochs=EPOCHS, verbose=0)


def _loop(flow, x, batch_size, jit_compile):
    import keras

    variables = list(flow.trainable_variables)
    optimizer = keras.optimizers.Adam(1e-5)
    optimizer.build(variables)
    step = training_step(
        lambda x: -tf.reduce_mean(flow.log_prob(x)),
        variables,
        lambda gradients: optimizer.apply(gradients, variables),
    )
    step = timing.compiled(step, jit_compile)
    rows = tf.data.Dataset.from_tensor_slices(x).shuffle(len(x))
    batches = rows.batch(batch_size).prefetch(tf.data.AUTOTUNE)

    def train():
        for _ in range(EPOCHS):
            losses = [step(batch) for batch in batches]
            float(tf.reduce_mean(losses))

    return train
