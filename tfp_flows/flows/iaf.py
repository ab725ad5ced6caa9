"""Inverse autoregressive flow."""

import tensorflow as tf

from tfp_flows._builders import recipe
from tfp_flows.bijectors import InverseAutoregressive, transformers
from tfp_flows.flows import _vector_builders


@recipe(package="tfp_flows")
def iaf(
    event_size,
    num_layers=5,
    hidden_units=(256, 256),
    *,
    seed,
    transformer=transformers.Affine(),
    order="alternating",
    activation="relu",
    residual=False,
    standardize=False,
    context_size=0,
    scan=False,
    dtype=tf.float32,
    compute_dtype=None,
    validate_args=False,
    name="iaf",
):
    """Builds an inverse autoregressive flow, which starts as its noise.

    IAF as in Kingma et al. (2016), https://arxiv.org/abs/1606.04934: the flow for
    posteriors. `sample` and the density of samples take one pass of each network, the
    density of other points the arithmetic of about two. The layers are those of
    equation 10, which scale either way; the paper's experiments have the gate of
    equation 14, `transformer=GatedAffine()`.

    Args:
      event_size: `D`, the length of one point.
      num_layers: number of layers.
      hidden_units: widths of the hidden layers of each `tfp_flows.networks.MADE`.
      seed: integer that decides weights and orders, in each process alike.
      transformer: one of `tfp_flows.bijectors.transformers`. With `GatedAffine()` no
        element is ever wider, given those before it, than the noise: only for noise
        that has scales of its own. It starts at 0.82 in each layer.
      order: order of the inputs: "alternating", or "left-to-right", "right-to-left",
        "random" or a permutation of 0 to D - 1 in each layer: "random" is
        drawn anew for each, with the others the first input never sees another.
      activation: elementwise function of the networks, or the name of one of `tf.nn`.
      residual: whether the networks have residual blocks; `hidden_units` are equal
        then.
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
        of its own; `distribution.bijector` is the flow, which goes onto other noise
        too.

    Raises:
      TypeError: `seed` is no integer, `transformer` has no `num_parameters`, or
        `compute_dtype` is none that fits.
      ValueError: a size is below 1, another argument is none of those named, or `scan`
        does not go with it.
      tf.errors.InvalidArgumentError: a check of `validate_args` fails.
    """
    layers = _vector_builders.autoregressive_layers(
        InverseAutoregressive,
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
        layers = _vector_builders.scanned(layers)
    return _vector_builders.distribution(
        layers, event_size, dtype, name, standardize=standardize
    )
