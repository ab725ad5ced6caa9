"""A bijector of TFP after a whole flow."""

from __future__ import annotations

import tensorflow_probability as tfp

from tfp_flows import _support
from tfp_flows._builders import register_builder
from tfp_flows._flow import Flow
from tfp_flows._typing import Bijector, Distribution
from tfp_flows.bijectors import never_stale

tfb, tfd = tfp.bijectors, tfp.distributions


@register_builder(package="tfp_flows")
def transform(flow: Distribution, bijector: Bijector, name: str | None = None) -> Flow:
    """Transform the samples of a flow by a bijector, such as `tfb.Exp`.

    This is `tfd.TransformedDistribution(flow, bijector)`, with two differences. Outside
    of its support, `log_prob` is -inf with a gradient of zero, where TFP returns NaN:
    at 0 and -1 if the bijector is `tfb.Exp()`. And the caches of TFP's bijectors are
    never stale, as by `tfp_flows.bijectors.never_stale`.

    The support is determined by TFP's bijectors that data pass before any layer of this
    package, in `tfb.Chain` and `tfb.Invert`, and in the transformed, independent and
    sampled distributions that `flow` is composed of. Other bounds are not detected,
    such as those of a positive base distribution. The log density of NaN is NaN.

    >>> import tensorflow_probability as tfp
    >>> from tfp_flows import flows
    >>> positive = flows.transform(flows.maf(2, 2, (8,), seed=0), tfp.bijectors.Exp())
    >>> positive.log_prob([[1.0, 1.0], [-1.0, 1.0]]).numpy().round(3)
    array([-1.838,   -inf], dtype=float32)

    Args:
      flow: `tfd.Distribution`.
      bijector: `tfb.Bijector`; several go into a `tfb.Chain`.
      name: name of the distribution.

    Returns:
      distribution: transformed distribution, a `tfp_flows.Flow`.

    Raises:
      TypeError: `flow` is not a distribution, or `bijector` is not a bijector.
    """
    if not isinstance(flow, tfd.Distribution):
        raise TypeError(f"`flow` must be a `tfd.Distribution`; got {flow!r}.")
    if not isinstance(bijector, tfb.Bijector):
        raise TypeError(f"`bijector` must be a `tfb.Bijector`; got {bijector!r}.")
    return never_stale(_support.OnSupport(flow, bijector, name=name))
