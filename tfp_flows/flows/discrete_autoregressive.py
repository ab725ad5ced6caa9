"""Autoregressive distribution over integers."""

from __future__ import annotations

from tfp_flows._builders import register_builder
from tfp_flows._typing import Shape, TensorFn, TensorLike
from tfp_flows.distributions import DiscreteAutoregressive


@register_builder(package="tfp_flows")
def discrete_autoregressive(
    network: TensorFn,
    num_values: int = 256,
    num_components: int | None = None,
    event_shape: Shape | None = None,
    context: TensorLike | None = None,
    validate_args: bool = False,
    name: str = "discrete_autoregressive",
) -> DiscreteAutoregressive:
    """Build an autoregressive distribution over the integers of images or waveforms.

    The network predicts the distribution of each element, conditioned on the preceding
    ones. It is no flow, but has the same methods, and `sample_completions` in addition.
    See `tfp_flows.distributions.DiscreteAutoregressive` for equations and costs.

    >>> from tfp_flows import flows, networks
    >>> network = networks.PixelCNN([4, 4, 1], 2, 8, num_layers=1, seed=0)
    >>> model = flows.discrete_autoregressive(network, num_values=2)
    >>> model.sample(3, seed=[0, 1]).shape
    TensorShape([3, 4, 4, 1])

    Args:
      network: autoregressive network, called as `network(x)` or `network(x, context)`,
        which returns `[..., *event_shape, num_parameters]`: one of
        `tfp_flows.networks` that is autoregressive, or a custom callable.
      num_values: number of values of an element, at least 2.
      num_components: number of logistic components; None for logits.
      event_shape: shape of an image or waveform. May be None for networks that have an
        `event_shape` or `event_size`.
      context: tensor of shape `[..., context_size]`, or None. Its batch axes are those
        of the distribution. See `tfp_flows.flows.condition`.
      validate_args: whether graphs check the values that `log_prob` receives. They are
        always checked in eager mode.
      name: name of the distribution.

    Returns:
      distribution: `tfp_flows.distributions.DiscreteAutoregressive`.

    Raises:
      TypeError: `context` has another dtype than the network.
      ValueError: `num_values` or `num_components` is out of its range.
      ValueError: the network returns another number of parameters than needed.
      ValueError: `event_shape` is unknown, or not that of the network.
      ValueError: a context is missing, or has another size than `context_size`.
    """
    return DiscreteAutoregressive(
        network,
        num_values,
        num_components,
        event_shape,
        context,
        validate_args,
        name,
    )
