"""Masked autoregressive flow."""

import tensorflow as tf

from tfp_flows._builders import recipe
from tfp_flows.bijectors import MaskedAutoregressive, transformers
from tfp_flows.flows import _vector_builders


@recipe(package="tfp_flows")
def maf(
    event_size,
    num_layers=5,
    hidden_units=(256, 256),
    *,
    seed,
    transformer=transformers.Affine(),
    order="alternating",
    activation="relu",
    residual=False,
    batch_norm=False,
    standardize=False,
    context_size=0,
    scan=False,
    dtype=tf.float32,
    compute_dtype=None,
    validate_args=False,
    name="maf",
):
    """Builds a masked autoregressive flow, which starts as its noise.

    MAF as in Papamakarios et al. (2017), https://arxiv.org/abs/1705.07057: the flow for
    densities. `log_prob` takes one pass of each network, `sample` the arithmetic of
    about two. Give it data of mean 0 and standard deviation 1, or `standardize=True`.

    Args:
      event_size: `D`, the length of one point.
      num_layers: number of layers.
      hidden_units: widths of the hidden layers of each `tfp_flows.networks.MADE`.
      seed: integer that decides weights and orders, in each process alike.
      transformer: one of `tfp_flows.bijectors.transformers`.
      order: order of the inputs: "alternating", or "left-to-right", "right-to-left",
        "random" or a permutation of 0 to D - 1 in each layer: "random" is
        drawn anew for each, with the others the first input never sees another.
      activation: elementwise function of the networks, or the name of one of `tf.nn`.
      residual: whether the networks have residual blocks; `hidden_units` are equal
        then.
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
        then, where two kinds of layers take turns, as by default, and `order` must not
        be "random".
      dtype: floating dtype of the variables.
      compute_dtype: floating dtype of the products of the networks, as for
        `tfp_flows.networks.MADE`; by default `dtype`.
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
    layers = _vector_builders.autoregressive_layers(
        MaskedAutoregressive,
        event_size,
        num_layers,
        hidden_units,
        transformer,
        seed,
        order,
        validate_args,
        activation=activation,
        residual=residual,
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
