"""The distribution that builders return, which evaluates its layers in one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._builders import register
from tfp_flows._layer import flatten, steps_of
from tfp_flows._typing import Bijector, Distribution, Seed, Shape, TensorLike

if TYPE_CHECKING:

    class TRANSFORMED(Distribution):
        """`tfd.TransformedDistribution`."""

        @property
        def bijector(self) -> Bijector: ...
        @property
        def distribution(self) -> Distribution: ...

else:
    TRANSFORMED = tfp.distributions.TransformedDistribution.__mro__[1]
_FullSpace = tfp.experimental.tangent_spaces.FullSpace


class Flow(TRANSFORMED):
    """`tfd.TransformedDistribution` that is quick, and refuses a context.

    TFP treats the argument after the points as the name of the operation, and ignores
    keywords that no bijector takes: the density would be that of another context.

    TFP calls each layer twice for a log density, through its chain and its caches. A
    flow calls each once, in the order that it finds when it is made.
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

    # Not for `tf.Module` and checkpoints.
    _TF_MODULE_IGNORED_PROPERTIES = TRANSFORMED._TF_MODULE_IGNORED_PROPERTIES | {
        "_steps"
    }

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return super()._parameter_properties(dtype, num_classes)

    def log_prob(
        self, value: TensorLike, name: str = "log_prob", **kwargs: Any
    ) -> tf.Tensor:
        if kwargs or type(name) is not str:
            _check("log_prob(x, ...)", name, kwargs)
        return super().log_prob(value, name=name, **kwargs)

    def prob(self, value: TensorLike, name: str = "prob", **kwargs: Any) -> tf.Tensor:
        _check("prob(x, ...)", name, kwargs)
        return super().prob(value, name=name, **kwargs)

    def sample(
        self,
        sample_shape: Shape = (),
        seed: Seed = None,
        name: str = "sample",
        **kwargs: Any,
    ) -> tf.Tensor:
        _check("sample(n, ...)", name, kwargs)
        if _is_floating(seed):
            shape = np.shape(np.asarray(seed))
            raise _error("sample(n, ...)", f"numbers of shape {shape}")
        return super().sample(sample_shape, seed=seed, name=name, **kwargs)

    def experimental_local_measure(self, y, backward_compat=False, **kwargs):
        steps = vars(self).get("_steps")
        if steps is None:
            steps = vars(self)["_steps"] = self._find_steps()
        if kwargs or not (backward_compat and steps):
            return super().experimental_local_measure(
                y, backward_compat=backward_compat, **kwargs
            )
        x, total = y, None
        for step, event_ndims in steps:
            x, log_det = step(x, event_ndims)
            total = log_det if total is None else total + log_det
        log_prob, space = self.distribution.experimental_local_measure(
            x, backward_compat=True
        )
        if type(space) is not _FullSpace:  # of a distribution on a manifold
            return super().experimental_local_measure(y, backward_compat=True)
        return log_prob + tf.cast(total, log_prob.dtype), space

    def _find_steps(self):
        """Returns the evaluations of the layers; an empty list if TFP has to."""
        ndims, bijector = self.event_shape, self.bijector
        if (
            not bijector._is_injective
            or not isinstance(ndims, tf.TensorShape)
            or (
                ndims.rank is None
                or tf.nest.is_nested(bijector.forward_min_event_ndims)
                or tf.nest.is_nested(bijector.inverse_min_event_ndims)
            )
        ):
            return []
        return steps_of(flatten(bijector, "inverse"), ndims.rank)


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
        f"`{call}` must have no context among its arguments; got {received}. Condition "
        "the flow first: `tfp_flows.flows.condition(flow, context)` has the same "
        "methods."
    )


register(Flow)
