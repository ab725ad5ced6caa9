"""Neural spline flow."""

import tensorflow as tf

from tfp_flows._builders import register_builder
from tfp_flows.bijectors import MaskedAutoregressive, transformers
from tfp_flows.flows import _vector_builders


@register_builder(package="tfp_flows")
def neural_spline(
    event_size,
    num_layers=5,
    hidden_units=(256, 256),
    *,
    seed,
    kind="coupling",
    num_bins=8,
    bound=5.0,
    activation="relu",
    standardize=False,
    context_size=0,
    scan=False,
    dtype=tf.float32,
    compute_dtype=None,
    validate_args=False,
    name="neural_spline",
):
    """Builds a flow of rational-quadratic splines, which starts as its noise.

    Durkan et al. (2019), https://arxiv.org/abs/1906.04032. The splines are the identity
    outside of an interval: give it data of mean 0 and standard deviation 1, or
    `standardize=True`.

    Args:
      event_size: `D`, the length of one point.
      num_layers: number of layers.
      hidden_units: widths of the hidden layers of each network.
      seed: integer that decides the weights, in each process alike.
      kind: "coupling", with odd and even elements in turn: densities and samples take
        one pass of each network; or "autoregressive", in an order and its reverse in
        turn: samples take the arithmetic of about two.
      num_bins: number of pieces of a spline.
      bound: `B`, the interval of a spline is `(-B, B)`.
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
      distribution: `tfd.TransformedDistribution` of standard normal noise, on variables
        of its own; `distribution.bijector` is the flow from noise to data.

    Raises:
      TypeError: `seed` is no integer, or a dtype is none that fits.
      ValueError: a size is below 1, another argument is none of those named, or `scan`
        does not go with it.
      tf.errors.InvalidArgumentError: a check of `validate_args` fails.
    """
    spline = transformers.RationalQuadraticSpline(num_bins, bound)
    network = dict(
        activation=activation,
        context_size=context_size,
        dtype=dtype,
        compute_dtype=compute_dtype,
    )
    if kind == "coupling":
        layers = _vector_builders.coupling_layers(
            event_size,
            num_layers,
            hidden_units,
            spline,
            seed,
            "alternating",
            validate_args,
            **network,
        )
    elif kind == "autoregressive":
        layers = _vector_builders.autoregressive_layers(
            MaskedAutoregressive,
            event_size,
            num_layers,
            hidden_units,
            spline,
            seed,
            "alternating",
            validate_args,
            **network,
        )
    else:
        raise ValueError(
            f"`kind` must be 'coupling' or 'autoregressive'; got {kind!r}."
        )
    if scan:
        layers = _vector_builders.scanned(layers)
    return _vector_builders.distribution(
        layers, event_size, dtype, name, standardize=standardize
    )
