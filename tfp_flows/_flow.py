"""The distribution that recipes return: one of TFP that says how to give a context."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._builders import register

TRANSFORMED = tfp.distributions.TransformedDistribution.__mro__[1]


class Flow(TRANSFORMED):
    """`tfd.TransformedDistribution`, which takes no context along with points.

    TFP takes what comes after the points for the name of the operation, and ignores
    keywords that no bijector knows: the density would be that of another context.
    """

    def __init__(
        self, distribution, bijector, validate_args=False, parameters=None, name=None
    ):
        parameters = dict(locals()) if parameters is None else parameters
        super().__init__(
            distribution,
            bijector,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return super()._parameter_properties(dtype, num_classes)

    def log_prob(self, value, name="log_prob", **kwargs):
        _check("log_prob(x, ...)", name, kwargs)
        return super().log_prob(value, name=name, **kwargs)

    def prob(self, value, name="prob", **kwargs):
        _check("prob(x, ...)", name, kwargs)
        return super().prob(value, name=name, **kwargs)

    def sample(self, sample_shape=(), seed=None, name="sample", **kwargs):
        _check("sample(n, ...)", name, kwargs)
        if _is_floating(seed):
            raise _error("sample(n, ...)", f"numbers of shape {np.shape(seed)}")
        return super().sample(sample_shape, seed=seed, name=name, **kwargs)


def _check(call, name, kwargs):
    if name is not None and not isinstance(name, str):
        raise _error(call, f"a second argument of shape {np.shape(name)}")
    if "context" in kwargs:
        raise _error(call, "a `context`")


def _is_floating(value):
    if isinstance(value, (list, tuple)):
        value = np.asarray(value)
    dtype = getattr(value, "dtype", None)
    return isinstance(value, float) or (
        dtype is not None and tf.as_dtype(dtype).is_floating
    )


def _error(call, received):
    return TypeError(
        f"`{call}` must have no context among its arguments; got {received}. Bind it "
        "before: `tfp_flows.flows.condition(flow, context)` has the same methods."
    )


register(Flow)
