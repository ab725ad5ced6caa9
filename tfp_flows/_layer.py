"""Base class of layers, and the same contract for bijectors of TFP."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._freshness import Cache, FreshCache, hash_of_layer, never_stale

tfb = tfp.bijectors

OPPOSITE = dict(forward="inverse", inverse="forward")
_CHAIN, _INVERT = (kind.__mro__[1] for kind in (tfb.Chain, tfb.Invert))
_METHODS = dict(forward="_forward", inverse="_inverse")
_NO_KWARGS: dict[str, Any] = {}


class TakesContext:
    """What a layer or distribution states about a context that it depends on.

    Attributes:
      context_size: length of the last axis of a context; 0 if there is none.
      context_ndims: rank of one context: 1 for vectors, 3 for feature maps.
      context: tensor of shape `[..., context_size]`, or None as long as it is missing.
    """

    context_size: int = 0
    context_ndims: int = 1
    context: Any = None
    copy: Callable[..., Any]  # of `tfb.Bijector` and `tfd.Distribution`


class _CacheOfLayer(Cache):
    """The cache of a layer, which evaluates value and log determinant together."""

    def _evaluate(self, direction, source, kwargs):
        layer = self.owner()
        if direction == "_forward":
            if layer._has_forward_pair and not kwargs:
                value, log_det = layer._forward_and_log_det(source)
                return value, {"ildj": -log_det}
            return layer._forward(source, **kwargs), {}
        if layer._has_inverse_pair and not kwargs:
            value, log_det = layer._inverse_and_log_det(source)
            return value, {"ildj": log_det}
        return layer._inverse(source, **kwargs), {}

    @functools.cached_property
    def _all_known(self):
        return not any(
            isinstance(part, Layer) and part.hidden_variables is None
            for part in modules_of(self.owner())
        )

    def _remembers(self):
        return self._all_known

    def _find_inputs(self):
        inputs = super()._find_inputs()
        for part in modules_of(self.owner()):
            if isinstance(part, Layer):
                inputs.extend(part.hidden_variables)
        return list({id(value): value for value in inputs}.values())


class Layer(TakesContext, tfb.Bijector):
    """Base class of layers: a bijector whose cache is never stale.

    A subclass implements `_forward(x)`, `_inverse(y)` and
    `_inverse_log_det_jacobian(y)`, as any `tfb.Bijector`. What it gets is the same as
    the layers of this package: `forward_and_log_det` and `inverse_and_log_det`; a cache
    that returns no result from before a variable was written or a gradient tape was
    opened; training, saving, scanning and recomputation.

    Where value and log determinant share work, it implements `_forward_and_log_det(x)`
    and `_inverse_and_log_det(y)`, too, which return both; the three methods above are
    one line each then. Each is evaluated once where TFP calls for value and log
    determinant in turn, as `log_prob` of a `tfd.TransformedDistribution` does. A log
    determinant has the batch axes of the value, or broadcasts with them.

    The other attributes have defaults, which a subclass replaces where they differ.

    Args:
      *args, **kwargs: see `tfb.Bijector`.

    Attributes:
      hidden_variables: variables that the layer reads and `tf.Module` does not find,
        such as those of a Keras network; None if they are unknown: then no result is
        cached.
      untracked_layers: layers that are no attributes for `tf.Module`.
      conditioner: network that predicts its parameters, or None.
      needs_initialization: whether `initialize_from_data` sets variables.
      initialized: boolean variable that is true once it has, or None.
      has_batch_statistics: whether `with_batch_statistics` changes the layer.
      restricts_support: whether `forward` maps onto a part of all real numbers.
      context_size, context_ndims, context: see `tfp_flows.flows.condition`.

    Example:

    >>> class Stretch(Layer):
    ...     def __init__(self, log_scale, validate_args=False, name="stretch"):
    ...         parameters = dict(locals())
    ...         self.log_scale = log_scale
    ...         super().__init__(
    ...             forward_min_event_ndims=0, dtype=log_scale.dtype,
    ...             validate_args=validate_args, parameters=parameters, name=name)
    ...
    ...     def _forward(self, x):
    ...         return x * tf.exp(self.log_scale)
    ...
    ...     def _inverse(self, y):
    ...         return y * tf.exp(-self.log_scale)
    ...
    ...     def _inverse_log_det_jacobian(self, y):
    ...         return tf.zeros_like(y) - self.log_scale
    >>> layer = Stretch(tf.Variable(0.5))
    >>> y, log_det = layer.forward_and_log_det(tf.ones([2, 3]), event_ndims=1)
    >>> log_det.numpy().tolist()
    [1.5, 1.5]
    """

    hidden_variables: Sequence[tf.Variable] | None = ()
    untracked_layers: Sequence[tfb.Bijector] = ()
    conditioner: Any = None
    initialized: tf.Variable | None = None
    needs_initialization: bool = False
    has_batch_statistics: bool = False
    restricts_support: bool = False

    _has_forward_pair = _has_inverse_pair = _has_forward_log_det = False
    _cache = FreshCache(_CacheOfLayer)
    __hash__ = hash_of_layer

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._has_forward_pair = (
            cls._forward_and_log_det is not Layer._forward_and_log_det
        )
        cls._has_inverse_pair = (
            cls._inverse_and_log_det is not Layer._inverse_and_log_det
        )
        cls._has_forward_log_det = (
            cls._forward_log_det_jacobian is not Layer._forward_log_det_jacobian
        )

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        state.pop("_cache", None)  # a copy starts with an empty one
        return state

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict[str, Any]:
        """No parameter has batch axes, unless a subclass says so."""
        return {}

    @classmethod
    def _is_increasing(cls, **kwargs: Any) -> bool:
        raise NotImplementedError(
            "`cdf`, `quantile` and related methods require an increasing map of "
            f"scalars; got {cls.__name__}, a map of events. Estimate the CDF from "
            "samples: `np.mean(np.all(flow.sample(n) <= x, axis=-1))`."
        )

    def forward_and_log_det(
        self, x: Any, event_ndims: int | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return `forward(x)` and its log determinant, from one evaluation.

        Args:
          x: tensor of shape `[..., *event_shape]`.
          event_ndims: rank of an event of `x`, over which the log determinant is
            summed; `forward_min_event_ndims` by default.

        Returns:
          y: tensor, as `forward(x)`.
          log_det: tensor, as `forward_log_det_jacobian(x, event_ndims)`. By default it
            may lack batch axes along which it is constant.
        """
        return self._value_and_log_det("forward", x, event_ndims)

    def inverse_and_log_det(
        self, y: Any, event_ndims: int | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return `inverse(y)` and its log determinant, from one evaluation.

        Args:
          y: tensor of shape `[..., *event_shape]`.
          event_ndims: rank of an event of `y`, over which the log determinant is
            summed; `inverse_min_event_ndims` by default.

        Returns:
          x: tensor, as `inverse(y)`.
          log_det: tensor, as `inverse_log_det_jacobian(y, event_ndims)`. By default it
            may lack batch axes along which it is constant.
        """
        return self._value_and_log_det("inverse", y, event_ndims)

    def initialize_from_data(self, values: Any, direction: str) -> tf.Tensor:
        """Set variables from data, where `needs_initialization` is true.

        Args:
          values: data as they come to the layer.
          direction: "forward" or "inverse": the direction from data to latents.

        Returns:
          values: result of that direction after the initialization.
        """
        return self.inverse(values) if direction == "inverse" else self.forward(values)

    def with_batch_statistics(self, y: tf.Tensor) -> Layer:
        """Return the layer with the statistics of a batch, for a training step.

        Args:
          y: data as they come to `inverse`.
        """
        return self

    def _forward_and_log_det(self, x):
        if self._has_forward_log_det:
            return self._forward(x), self._forward_log_det_jacobian(x)
        y = self._forward(x)
        return y, -self._inverse_log_det_jacobian(y)

    def _inverse_and_log_det(self, y):
        return self._inverse(y), self._inverse_log_det_jacobian(y)

    def _forward_log_det_jacobian(self, x):
        return self._forward_and_log_det(x)[1]

    def _value_and_log_det(self, direction, value, event_ndims):
        """Returns result and log determinant of a direction; looks both up if kept."""
        if not isinstance(value, tf.Tensor) or value.dtype is not self._dtype:
            value = tf.convert_to_tensor(value, self._dtype)
        cache = self._cache
        if cache.edges:
            edge = cache.find(_METHODS[direction], value, _NO_KWARGS)
            if edge is not None:
                return self._read_edge(edge, direction, event_ndims)
        if direction == "forward":
            evaluate, ndims = self._forward_and_log_det, self._forward_min_event_ndims
        else:
            evaluate, ndims = self._inverse_and_log_det, self._inverse_min_event_ndims
        if self._validate_args or not tf.executing_eagerly():
            with self._name_and_control_scope(direction):
                result, log_det = evaluate(value)
                if event_ndims is not None and event_ndims != ndims:
                    log_det = self._sum_over(log_det, result, direction, event_ndims)
            return result, log_det
        result, log_det = evaluate(value)
        if event_ndims is not None and event_ndims != ndims:
            log_det = self._sum_over(log_det, result, direction, event_ndims)
        return result, log_det

    def _read_edge(self, edge, direction, event_ndims):
        source, result = edge.source, edge.target()
        if edge.direction != _METHODS[direction]:
            source, result = result, source
        if direction == "forward":
            return result, self.forward_log_det_jacobian(source, event_ndims)
        return result, self.inverse_log_det_jacobian(source, event_ndims)

    def _sum_over(self, log_det, result, direction, event_ndims):
        """Sums log determinants over those axes of an event that are batch axes here.

        Args:
          log_det: as `_forward_and_log_det` gives it.
          result: the value with it, which has all batch axes.
          direction: "forward" or "inverse".
          event_ndims: rank of an event of the input.
        """
        own, after = self._forward_min_event_ndims, self._inverse_min_event_ndims
        if direction == "inverse":
            own, after = after, own
        more = event_ndims - own
        if more < 0:
            raise ValueError(
                f"`event_ndims` must be at least {own} for `{self.name}`; "
                f"got {event_ndims}."
            )
        shape = result.shape
        rank = shape.rank - after + own  # of the input
        if rank < event_ndims:
            raise ValueError(
                f"The input of `{self.name}` must have at least {event_ndims} axes, "
                f"the rank of an event; got rank {rank}."
            )
        if not shape.is_fully_defined():
            shape = tf.shape(result)
        log_det = tf.broadcast_to(log_det, shape[: result.shape.rank - after])
        return self._sum_fn(log_det, axis=list(range(-more, 0)))


def flatten(bijector: tfb.Bijector, direction: str) -> list[tuple[tfb.Bijector, str]]:
    """Returns the layers of nested chains, each with its direction, in order of use.

    Args:
      bijector: layer, or `tfb.Chain` and `tfb.Invert` of layers.
      direction: "forward" or "inverse", for the whole.
    """
    if isinstance(bijector, _INVERT):
        return flatten(bijector.bijector, OPPOSITE[direction])
    if isinstance(bijector, _CHAIN):
        parts = bijector.bijectors
        ordered = parts if direction == "inverse" else parts[::-1]
        return [layer for part in ordered for layer in flatten(part, direction)]
    return [(bijector, direction)]


def steps_of(
    layers: list[tuple[tfb.Bijector, str]], event_ndims: int
) -> list[tuple[Callable, int]]:
    """Returns the evaluations of layers, in order of use.

    Args:
      layers: list of pairs, layer and direction, as `flatten` returns it.
      event_ndims: rank of an event of the input.

    Returns:
      steps: list of callables, from a tensor and the rank of its events to value and
        log determinant, each with that rank.
    """
    steps: list[tuple[Callable, int]] = []
    for layer, direction in layers:
        if isinstance(layer, Layer):
            evaluate = functools.partial(layer._value_and_log_det, direction)
        else:
            if "_cache" not in vars(layer):
                never_stale(layer)
            pair = _forward_pair if direction == "forward" else _inverse_pair
            evaluate = functools.partial(pair, layer)
        steps.append((evaluate, event_ndims))
        if layer.forward_min_event_ndims != layer.inverse_min_event_ndims:
            event_ndims = (
                layer.forward_event_ndims(event_ndims)
                if direction == "forward"
                else layer.inverse_event_ndims(event_ndims)
            )
    return steps


def value_and_log_det(
    layers: list[tuple[tfb.Bijector, str]], x: tf.Tensor, event_ndims: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the result of layers, and the sum of their log determinants.

    Args:
      layers: list of pairs, layer and direction, as `flatten` returns it.
      x: tensor of known rank.
      event_ndims: rank of an event of `x`.
    """
    total = tf.zeros(tf.shape(x)[: x.shape.rank - event_ndims], x.dtype)
    for evaluate, ndims in steps_of(layers, event_ndims):
        x, log_det = evaluate(x, ndims)
        total += log_det
    return x, total


def modules_of(module: tf.Module) -> list[tf.Module]:
    """Returns a module and all in it, with layers that are hidden from `tf.Module`."""
    found = [module, *module.submodules]
    for part in list(found):
        if isinstance(part, Layer):
            for layer in part.untracked_layers:
                found += modules_of(layer)
    return found


def _forward_pair(bijector, x, event_ndims):
    return bijector.forward(x), bijector.forward_log_det_jacobian(x, event_ndims)


def _inverse_pair(bijector, y, event_ndims):
    return bijector.inverse(y), bijector.inverse_log_det_jacobian(y, event_ndims)
