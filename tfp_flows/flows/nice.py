"""NICE, a flow that keeps volumes but for a diagonal scale."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._builders import register_builder
from tfp_flows.bijectors import DiagonalScale, transformers
from tfp_flows.flows import _vector_builders


@register_builder(package="tfp_flows")
def nice(
    event_size,
    num_layers=4,
    hidden_units=(1000, 1000, 1000, 1000, 1000),
    *,
    seed,
    base=tfp.distributions.Logistic,
    mask="alternating",
    activation="relu",
    standardize=False,
    context_size=0,
    scan=False,
    dtype=tf.float32,
    compute_dtype=None,
    validate_args=False,
    name="nice",
):
    """Builds a flow of additive coupling layers, which starts as its noise.

    NICE as in Dinh et al. (2015), https://arxiv.org/abs/1410.8516: additive couplings
    by networks of rectifiers, which take odd and even elements in turn, a diagonal
    scale, and a logistic prior. The sizes are those of their section 5.1 for MNIST. The
    diagonal scale learns slowly: scale the data to the spread of the noise, 1.8, or
    give `standardize=True`, with which the noise starts with a spread of 1.

    Args:
      event_size: `D`, the length of one point.
      num_layers: number of couplings; in the paper 4, and at least 3 for each element
        to depend on all.
      hidden_units: widths of the hidden layers of each `tfp_flows.networks.MLP`.
      seed: integer that decides the weights, in each process alike.
      base: class of the noise of an element, called with location and scale:
        `tfd.Logistic` or `tfd.Normal`.
      mask: what a layer keeps: "half" or "alternating" elements; every second layer
        keeps the others.
      activation: elementwise function of the networks, or the name of one of `tf.nn`.
      standardize: whether a layer next to the data standardizes them: each element is
        shifted and scaled by its mean and standard deviation, as
        `tfp_flows.normalization.initialize_from_data` finds them once, before
        training. They are saved, and not trained. Until then the layer is the identity.
      context_size: length of a context, 0 for none. A flow that has one is to be bound
        to a context by `tfp_flows.flows.condition` before use.
      scan: whether the layers are one `tfp_flows.bijectors.Scan`, which traces and
        compiles in the same time however many they are. `num_layers` must be even
        then, as kinds of layers take turns.
      dtype: floating dtype of the variables.
      compute_dtype: floating dtype of the products of the networks, as for
        `tfp_flows.networks.MLP`; by default `dtype`.
      validate_args: whether to check that the points given are finite.
      name: name of the distribution.

    Returns:
      distribution: `tfd.TransformedDistribution` of independent noise, on variables of
        its own; `distribution.bijector` is the flow from noise to data.

    Raises:
      TypeError: `seed` is no integer, or a dtype is none that fits.
      ValueError: a size is below 1, another argument is none of those named, or `scan`
        does not go with it.
      tf.errors.InvalidArgumentError: a check of `validate_args` fails.
    """
    couplings = _vector_builders.coupling_layers(
        event_size,
        num_layers,
        hidden_units,
        transformers.Additive(),
        seed,
        mask,
        validate_args,
        activation=activation,
        context_size=context_size,
        dtype=dtype,
        compute_dtype=compute_dtype,
    )
    if scan:
        couplings = _vector_builders.scanned(couplings)
    start = tf.zeros([event_size], dtype)
    if standardize:  # noise of the spread of what comes from the data
        start -= tf.math.log(base(tf.zeros([], dtype), tf.ones([], dtype)).stddev())
    scale = DiagonalScale(tf.Variable(start, name="log_scale"))
    return _vector_builders.distribution(
        [scale, *couplings], event_size, dtype, name, base, standardize
    )
