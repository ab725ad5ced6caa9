"""Speed of amortized posteriors, as ratios within one run.

    python -m tests.benchmarks.posteriors --peers-python PATH

prints the table of `README.md`. `PATH` is an interpreter that has PyTorch.
"""

import functools

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tests.benchmarks import peer_processes, peers, report, textbook, timing
from tests.benchmarks.report import normal, table
from tests.benchmarks.textbook import BATCH_SIZE, NUMBERS_OF_LAYERS, SIZE
from tests.benchmarks.training import Adam
from tfp_flows import flows

tfd = tfp.distributions

PIXELS, HIDDEN = 784, 512
QUANTITIES = ["sample", "step"]


def posteriors(options):
    """A sample of each of 100 posteriors with its density; and the gradients of both.

    D = 64. "step" are the gradients of the divergence from a standard normal, by what
    an encoder predicts and by the weights of "iaf". Over them: a training step of a
    bare autoencoder, encoder and decoder of two hidden layers of 512, 784 pixels, no
    flow; and the faster of the papers' formulas in PyTorch, as they are and compiled.
    """
    names = [("gaussian", 1)]
    names += [(kind, n) for kind in textbook.KINDS for n in NUMBERS_OF_LAYERS]
    calls = {}
    for kind, number in names:
        columns = dict(num_columns=textbook.NUM_COLUMNS)
        more = dict(
            orthogonal=columns,
            triangular=columns,
            householder=dict(columns, num_reflections=textbook.NUM_REFLECTIONS),
            iaf=dict(hidden_units=(textbook.HIDDEN_UNITS,)),
        ).get(kind, {})
        family = flows.amortized_posterior(SIZE, kind, number, seed=0, **more)
        parameters = 0.3 * normal([BATCH_SIZE, family.num_parameters], 1)
        for quantity, function in zip(QUANTITIES, _functions(family)):
            for compiler, jit_compile in report.COMPILERS.items():
                calls[kind, number, quantity, compiler] = functools.partial(
                    timing.compiled(function, jit_compile), parameters
                )
    for compiler, jit_compile in report.COMPILERS.items():
        calls["autoencoder", compiler] = _autoencoder(jit_compile)
    with peer_processes.Peers("posterior", options) as others:
        print(*others.absent, sep="\n\n", end="\n\n" if others.absent else "")
        calls |= others.calls
        race = timing.race(calls, options.rounds, options.sample, peer_processes.PAUSE)
    table(
        ["autoencoder", *report.COMPILERS],
        [["step", *(race.time(("autoencoder", c)) for c in report.COMPILERS)]],
    )
    for quantity in QUANTITIES:
        rows = []
        for kind, number in names:
            ours = [(kind, number, quantity, c) for c in report.COMPILERS]
            theirs = [
                (library, f"{kind} {number} {quantity}") for library in peers.TEXTBOOKS
            ]
            theirs = [key for key in theirs if key in race.names]
            fastest = min(ours, key=race.median)
            step = ("autoencoder", fastest[-1])
            row = [kind, number, *map(race.time, ours), race.ratio(fastest, step)]
            if theirs:
                row += map(race.time, theirs)
                row.append(race.ratio(fastest, min(theirs, key=race.median)))
            else:
                row += [""] * (len(peers.TEXTBOOKS) + 1)
            rows.append(row)
        table(
            [
                f"`{quantity}`",
                "K",
                *report.COMPILERS,
                "over an autoencoder's step",
                *peers.TEXTBOOKS,
                "over the faster textbook",
            ],
            rows,
        )


def _functions(family):
    """Returns functions of parameters: sample and density, and gradients."""
    prior = tfd.Sample(tfd.Normal(0.0, 1.0), SIZE)
    variables = list(family.trainable_variables)

    def sample(parameters):
        return family(parameters).experimental_sample_and_log_prob(seed=[0, 1])

    def step(parameters):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            z, log_prob = sample(parameters)
            divergence = tf.reduce_mean(log_prob - prior.log_prob(z))
        return tape.gradient(divergence, [parameters, *variables])

    return sample, step


def _autoencoder(jit_compile):
    def network(inputs, outputs):
        dense = keras.layers.Dense
        return keras.Sequential(
            [
                keras.Input([inputs]),
                dense(HIDDEN, "relu"),
                dense(HIDDEN, "relu"),
                dense(outputs),
            ]
        )

    encoder, decoder = network(PIXELS, 2 * SIZE), network(SIZE, PIXELS)
    variables = [v.value for v in encoder.weights + decoder.weights]
    adam = Adam(variables)
    x = tf.cast(normal([BATCH_SIZE, PIXELS], 2) > 0.0, tf.float32)

    def step(x):
        with tf.GradientTape() as tape:
            loc, log_scale = tf.split(encoder(x), 2, axis=-1)
            noise = tf.random.stateless_normal([BATCH_SIZE, SIZE], [0, 3])
            logits = decoder(loc + tf.exp(log_scale) * noise)
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(x, logits))
        adam(tape.gradient(loss, variables))
        return loss

    return functools.partial(timing.compiled(step, jit_compile), x)


if __name__ == "__main__":
    report.main(
        __doc__,
        [posteriors],
        lambda parser: peer_processes.add_arguments(parser, peers.TEXTBOOKS),
    )
