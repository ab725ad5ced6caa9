"""The sequential direction of layers with networks, against one pass and TFP's.

    python -m tests.benchmarks.networks

prints tables as `layers` does.
"""

import argparse

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tests.benchmarks import report, timing
from tests.benchmarks.candidates import move
from tests.benchmarks.report import compare, normal
from tfp_flows.bijectors import MaskedAutoregressive, transformers
from tfp_flows.networks import MADE

tfb = tfp.bijectors


def made_inverse(options):
    """The sequential direction of one MADE for images against one pass, and TFP's."""
    for hidden_units in [(1024,), (1024, 1024)]:
        for scale in (0.3, 1.5):
            _made_inverse(hidden_units, scale, options)


def _made_inverse(hidden_units, scale, options):
    size, batch_size = 784, 100
    layer, theirs = _autoregressive_pair(size, hidden_units, scale)
    y = normal([batch_size, size], 4)
    x = layer.inverse(y)
    found, found_by_tfp = (
        timing.compiled(b.forward, jit_compile=False)(x) for b in (layer, theirs)
    )
    distance = np.max(np.abs(found - found_by_tfp) / (1.0 + np.abs(found_by_tfp)))
    error = np.max(np.abs(found - y))
    print(
        f"{hidden_units}, weights of scale {scale}: the inverses of ours and TFP "
        f"differ by {distance:.1e}; ours from the truth by {error:.1e}.\n"
    )
    both = {"one pass": (_density(layer), y), "sequential": (layer.forward, x)}
    compare(both, [("sequential", "one pass", "at most 5")], options)
    # Theirs takes seconds.
    few = argparse.Namespace(rounds=min(3, options.rounds), sample=0)
    both = {"sequential": (layer.forward, x), "TFP, sequential": (theirs.forward, x)}
    compare(both, [("TFP, sequential", "sequential", "at least 100")], few)


SECTIONS = [made_inverse]


def _tfp_network(size, hidden_units):
    network = tfb.AutoregressiveNetwork(
        2, event_shape=[size], hidden_units=list(hidden_units), activation="relu"
    )
    network.build([None, size])
    return network


def _autoregressive_pair(size, hidden_units, scale):
    """Returns a layer of ours and one of TFP with the same weights."""
    made = MADE(size, 2, hidden_units, seed=0)
    move(made.trainable_variables, scale)
    # So high a bound that the scale is the one of TFP.
    layer = MaskedAutoregressive(made, transformers.Affine(max_log_scale=1e9))
    network = _tfp_network(size, hidden_units)
    # It masks its weights when it makes them, and not when it is called.
    for variable, value in zip(
        network.trainable_variables,
        [w for pair in zip(made._masked_kernels(), made._biases) for w in pair],
    ):
        variable.assign(tf.reshape(value, variable.shape))
    return layer, tfb.MaskedAutoregressiveFlow(network)


def _density(bijector):
    return lambda y: (
        bijector.inverse(y),
        bijector.inverse_log_det_jacobian(y, event_ndims=1),
    )


if __name__ == "__main__":
    report.main(__doc__, SECTIONS)
