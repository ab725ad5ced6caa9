"""RealNVP, a flow of affine coupling layers."""

import tensorflow as tf

from tfp_flows._builders import register_builder
from tfp_flows.bijectors import transformers
from tfp_flows.flows import _vector_builders


@register_builder(package="tfp_flows")
def real_nvp(
    event_size,
    num_layers=10,
    hidden_units=(256, 256),
    *,
    seed,
    transformer=transformers.Affine(),
    mask="alternating",
    activation="relu",
    batch_norm=False,
    standardize=False,
    context_size=0,
    scan=False,
    dtype=tf.float32,
    compute_dtype=None,
    validate_args=False,
    name="real_nvp",
):
    """Builds a flow of affine coupling layers for vectors, which starts as its noise.

    RealNVP as in Dinh et al. (2017), https://arxiv.org/abs/1605.08803. Densities and
    samples both take one pass of each network. Give it data of mean 0 and standard
    deviation 1, or `standardize=True`.

    Args:
      event_size: `D`, the length of one point.
      num_layers: number of couplings.
      hidden_units: widths of the hidden layers of each `tfp_flows.networks.MLP`.
      seed: integer that decides the weights, in each process alike.
      transformer: one of `tfp_flows.bijectors.transformers`.
      mask: what a layer keeps: "alternating" elements or "half"; every second layer
        keeps the others.
      activation: elementwise function of the networks, or the name of one of `tf.nn`.
      batch_norm: whether `BatchNorm` layers go in between. Train such a flow through
        `tfp_flows.normalization.with_batch_statistics`.
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
      distribution: `tfd.TransformedDistribution` of standard normal noise, on variables
        of its own; `distribution.bijector` is the flow from noise to data.

    Raises:
      TypeError: `seed` is no integer, `transformer` has no `num_parameters`, or
        `compute_dtype` is none that fits.
      ValueError: a size is below 1, another argument is none of those named, or `scan`
        does not go with it.
      tf.errors.InvalidArgumentError: a check of `validate_args` fails.
    """
    layers = _vector_builders.coupling_layers(
        event_size,
        num_layers,
        hidden_units,
        transformer,
        seed,
        mask,
        validate_args,
        activation=activation,
        context_size=context_size,
        dtype=dtype,
        compute_dtype=compute_dtype,
    )
    if scan:
        layers = _vector_builders.scanned(layers, batch_norm)
    elif batch_norm:
        layers = _vector_builders.with_batch_norm(layers, event_size, dtype)
    return _vector_builders.distribution(
        layers, event_size, dtype, name, standardize=standardize
    )
