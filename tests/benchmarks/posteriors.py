"""Speed of amortised posteriors, as ratios within one run.

    python -m tests.benchmarks.posteriors

prints the table of `README.md`.
"""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tests.benchmarks import report, timing
from tests.benchmarks.report import normal, table
from tfp_flows import flows

tfd = tfp.distributions

SIZE, BATCH_SIZE, PIXELS, HIDDEN = 64, 100, 784, 512
KINDS = ["none", "planar", "radial", "orthogonal", "householder", "triangular", "iaf"]
NUMBERS_OF_LAYERS = [4, 16]


def posteriors(options):
    """A sample of each of 100 posteriors, with its density, and the gradients of both.

    By the parameters that an encoder predicts, and by the weights of "iaf"; over a
    training step of a bare autoencoder: encoder and decoder of two hidden layers of
    512, 784 pixels, without a flow.
    """
    calls, names = {}, []
    for number in NUMBERS_OF_LAYERS:
        for kind in KINDS:
            if kind == "none" and number > NUMBERS_OF_LAYERS[0]:
                continue
            names.append((kind, number))
            family = flows.amortised_posterior(SIZE, kind, number, seed=0)
            parameters = 0.3 * normal([BATCH_SIZE, family.num_parameters], 1)
            for compiler, jit_compile in report.COMPILERS.items():
                calls[kind, number, compiler] = _posterior(
                    family, parameters, jit_compile)
    for compiler, jit_compile in report.COMPILERS.items():
        calls["autoencoder", compiler] = _autoencoder(jit_compile)
    race = timing.race(calls, options.rounds, options.sample)
    headers, rows = ["posterior", "K"], []
    for compiler in report.COMPILERS:
        headers += [compiler, "over an autoencoder's step"]
    for name in names:
        row = list(name)
        for compiler in report.COMPILERS:
            row.append(race.time((*name, compiler)))
            row.append(race.ratio((*name, compiler), ("autoencoder", compiler)))
        rows.append(row)
    rows.append(["autoencoder", ""])
    for compiler in report.COMPILERS:
        rows[-1] += [race.time(("autoencoder", compiler)), ""]
    table(headers, rows)


def _posterior(family, parameters, jit_compile):
    prior = tfd.Sample(tfd.Normal(0.0, 1.0), SIZE)
    variables = list(family.trainable_variables)

    def value_and_gradients(parameters):
        with tf.GradientTape() as tape:
            tape.watch(parameters)
            z, log_prob = family(parameters).experimental_sample_and_log_prob(
                seed=[0, 1])
            divergence = tf.reduce_mean(log_prob - prior.log_prob(z))
        return tape.gradient(divergence, [parameters, *variables])

    function = timing.compiled(value_and_gradients, jit_compile)
    return lambda: function(parameters)


def _autoencoder(jit_compile):
    def network(inputs, outputs):
        dense = keras.layers.Dense
        return keras.Sequential([
            keras.Input([inputs]), dense(HIDDEN, "relu"), dense(HIDDEN, "relu"),
            dense(outputs)])

    encoder, decoder = network(PIXELS, 2 * SIZE), network(SIZE, PIXELS)
    variables = [v.value for v in encoder.weights + decoder.weights]
    optimizer = keras.optimizers.Adam(1e-5)
    optimizer.build(variables)
    x = tf.cast(normal([BATCH_SIZE, PIXELS], 2) > 0.0, tf.float32)

    def step(x):
        with tf.GradientTape() as tape:
            loc, log_scale = tf.split(encoder(x), 2, axis=-1)
            noise = tf.random.stateless_normal([BATCH_SIZE, SIZE], [0, 3])
            logits = decoder(loc + tf.exp(log_scale) * noise)
            loss = tf.reduce_mean(
                tf.nn.sigmoid_cross_entropy_with_logits(x, logits))
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    function = timing.compiled(step, jit_compile)
    return lambda: function(x)


if __name__ == "__main__":
    report.main(__doc__, [posteriors])
