"""A bijector of TFP over a whole flow."""

import tensorflow_probability as tfp

from tfp_flows import _support
from tfp_flows._builders import register_builder
from tfp_flows.bijectors import never_stale

tfb, tfd = tfp.bijectors, tfp.distributions


@register_builder(package="tfp_flows")
def transform(flow, bijector, name=None):
    """Returns the distribution of what a bijector makes of the samples of a flow.

    It is `tfd.TransformedDistribution(flow, bijector)`, but for two things. Its
    `log_prob` is -inf, with a gradient of zero, at points that no sample can be, such
    as 0 and -1 if the bijector is `tfb.Exp()`, where TFP gives NaN. And TFP's bijectors
    are made fresh, as `tfp_flows.bijectors.never_stale` does.

    Such points are found by those of TFP's bijectors that data meet before a layer of
    this package, in a `tfb.Chain`, in `tfb.Invert`, and in the transformed, independent
    and sampled distributions that `flow` consists of. Bounds that come from elsewhere,
    such as a base distribution that is positive, are not seen. A point that is NaN has
    the log density NaN.

    Args:
      flow: `tfd.Distribution`.
      bijector: `tfb.Bijector`, or several in a `tfb.Chain`.
      name: name of the distribution.

    Returns:
      distribution: a transformed distribution.

    Raises:
      TypeError: `flow` is no distribution, or `bijector` no bijector.
    """
    if not isinstance(flow, tfd.Distribution):
        raise TypeError(f"`flow` must be a `tfd.Distribution`; got {flow!r}.")
    if not isinstance(bijector, tfb.Bijector):
        raise TypeError(f"`bijector` must be a `tfb.Bijector`; got {bijector!r}.")
    return never_stale(_support.OnSupport(flow, bijector, name=name))
