"""Posteriors whose parameters an encoder predicts, for each point its own."""

import tensorflow as tf

from tfp_flows._builders import register_builder
from tfp_flows._sizes import check_integers, check_vector_sizes
from tfp_flows.bijectors import transformers
from tfp_flows.flows import _posteriors
from tfp_flows.flows.iaf import iaf

_SYLVESTER = ("orthogonal", "householder", "triangular")
_FLOWS = ("none", "planar", "radial", *_SYLVESTER, "iaf")
_USED_BY = dict(
    num_columns=_SYLVESTER,
    num_reflections=("householder",),
    activation=("planar", *_SYLVESTER),
    context_size=("iaf",),
    hidden_units=("iaf",),
    transformer=("iaf",),
)


@register_builder(package="tfp_flows")
def amortized_posterior(
    event_size,
    flow="none",
    num_layers=4,
    *,
    num_columns=None,
    num_reflections=None,
    activation=None,
    context_size=None,
    hidden_units=None,
    transformer=None,
    seed=None,
    dtype=tf.float32,
    name="amortized_posterior",
):
    """Builds a family `q(z | x)` of posteriors, one for each output of an encoder.

    `z_0 ~ N(loc, diag(scale)^2)`, `z = f_K(... f_1(z_0))`, where the encoder tells
    `loc`, `scale` and the parameters of each layer `f_k`, as Rezende and Mohamed
    (2015), https://arxiv.org/abs/1505.05770, and van den Berg et al. (2018),
    https://arxiv.org/abs/1803.05649, have it. The layers of an inverse autoregressive
    flow, Kingma et al. (2016), https://arxiv.org/abs/1606.04934, are networks with
    weights of their own, to which the encoder gives a context.

    Samples and their density, `experimental_sample_and_log_prob`, take one pass through
    the layers. The density of any other `z`, `log_prob`, takes their inverse.

    Args:
      event_size: `D`, the length of `z`.
      flow: "none" for the Gaussian alone, "planar", "radial", "orthogonal",
        "householder" and "triangular" (Sylvester layers by their basis), or "iaf".
      num_layers: `K`, of which "none" makes no use.
      num_columns: `M <= D`, width of a Sylvester layer; by default `D`, 32 at most.
      num_reflections: number of reflections of the "householder" basis, by default 8.
      activation: of planar and Sylvester layers: "tanh", "leaky_relu", or an
        `Activation`; "tanh" by default.
      context_size: length of the context of "iaf", 0 for none; `D` by default.
      hidden_units, transformer: of "iaf", as for `tfp_flows.flows.iaf`; by default
        (320,) and `GatedAffine()`, the gate of the paper: `scale` makes up for what it
        contracts.
      seed: integer that decides the weights of "iaf", in each process alike; the others
        have none.
      dtype: floating dtype.
      name: name of the distributions.

    Returns:
      family: `tf.Module`. `family(parameters)`, of a tensor `[..., num_parameters]`, is
        a `tfd.Distribution` of batch shape `[...]` and event shape `[D]`;
        `family.num_parameters` is how many the encoder has to predict. Where they are 0
        the Gaussian is standard normal, and the layers, those of "iaf" aside, are the
        identity, but have gradients that bend them: an encoder may start there. It ends
        a Keras network as a `tfp_flows.keras.DistributionLayer(family)`.

    Raises:
      TypeError: "iaf" without an integer as `seed`.
      ValueError: `flow` is none of those, a size is below 1, `num_columns` above `D`;
        an argument is given that `flow` makes no use of; the parameters are not so many
        as the family needs.
    """
    check_vector_sizes(event_size, num_layers)
    if flow not in _FLOWS:
        raise ValueError(f"`flow` must be one of {_FLOWS}; got {flow!r}.")
    _check_used(
        flow,
        num_columns=num_columns,
        num_reflections=num_reflections,
        activation=activation,
        context_size=context_size,
        hidden_units=hidden_units,
        transformer=transformer,
    )
    activation = "tanh" if activation is None else activation
    options = dict(size=event_size, num_layers=num_layers, dtype=dtype, name=name)
    if flow == "none":
        return _posteriors.Gaussian(**options)
    if flow == "planar":
        return _posteriors.Planar(activation, **options)
    if flow == "radial":
        return _posteriors.Radial(**options)
    if flow == "iaf":
        context_size = event_size if context_size is None else context_size
        made = iaf(
            event_size,
            num_layers,
            (320,) if hidden_units is None else hidden_units,
            transformer=transformer or transformers.GatedAffine(),
            seed=seed,
            context_size=context_size,
            dtype=dtype,
        )
        return _posteriors.Autoregressive(made.bijector, context_size, **options)
    columns = min(event_size, 32) if num_columns is None else num_columns
    num_reflections = 8 if num_reflections is None else num_reflections
    check_integers(num_columns=columns, num_reflections=num_reflections)
    if not 1 <= columns <= event_size or num_reflections < 1:
        raise ValueError(
            f"`num_columns` must be in [1, {event_size}] and `num_reflections` at "
            f"least 1; got {num_columns} and {num_reflections}."
        )
    return _posteriors.Sylvester(flow, columns, num_reflections, activation, **options)


def _check_used(flow, **given):
    """Raises `ValueError` for arguments that a kind of flow makes no use of."""
    for name, value in given.items():
        if value is not None and flow not in _USED_BY[name]:
            raise ValueError(
                f"`{name}` must be left out for the flow {flow!r}, which makes no use "
                f"of it; got {value!r}. It is for {_USED_BY[name]}."
            )
