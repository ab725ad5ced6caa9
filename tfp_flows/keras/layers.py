"""Keras layers of flows: a bijector in a network, a flow at the end of a network."""

from __future__ import annotations

import inspect
import os
import weakref
from collections.abc import Callable
from typing import Any, Literal

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import _support, _traversal
from tfp_flows._typing import Bijector, Distribution, TensorLike
from tfp_flows.keras import _inputs, _serialization
from tfp_flows.keras._training_mode import training_mode
from tfp_flows.keras._variable_tracking import holders_of, untracked_variables

tfb, tfd = tfp.bijectors, tfp.distributions
# By key, so that the loss in a `.keras` file finds the layer of the model beside it.
_layers_by_key: weakref.WeakValueDictionary = weakref.WeakValueDictionary()


@keras.saving.register_keras_serializable("tfp_flows")
class BijectorLayer(keras.layers.Layer):
    """A bijector as a layer of functional, sequential and subclassed Keras models.

    `layer(x)` is `bijector.forward(x)` or `bijector.inverse(x)`. The log determinant of
    that map, one number for each row of the batch, is a second output, or is added to
    the loss as `-mean(log_det)`. Together with the negative log density of the output
    this gives maximum likelihood. The layer tracks the variables of the bijector, not
    copies of them.

    >>> layer = BijectorLayer(tfb.Exp(), log_det="output")
    >>> y, log_det = layer(tf.constant([[0.0, 1.0], [2.0, 3.0]]))
    >>> log_det.numpy().tolist()
    [1.0, 5.0]

    Args:
      bijector: any `tfb.Bijector`.
      direction: "forward" or "inverse".
      log_det: "output" to return `(y, log_det)`, "loss" to add `-mean(log_det)` to the
        loss of the model, None for neither.
      **kwargs: arguments of `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Raises:
      TypeError: `bijector` is not a `tfb.Bijector`; the input is not floating-point.
      ValueError: `direction` or `log_det` has another value; the context is missing or
        not wanted; the input has fewer axes than the bijector needs after the batch.
    """

    def __init__(
        self,
        bijector: Bijector,
        direction: Literal["forward", "inverse"] = "forward",
        log_det: Literal["output", "loss"] | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(bijector, tfb.Bijector):
            raise TypeError(f"`bijector` must be a `tfb.Bijector`; got {bijector!r}.")
        for name, value, known in [
            ("direction", direction, ("forward", "inverse")),
            ("log_det", log_det, (None, "output", "loss")),
        ]:
            if value not in known:
                raise ValueError(f"`{name}` must be one of {known}; got {value!r}.")
        kwargs.setdefault("dtype", _inputs.floating_dtype(bijector).name)
        super().__init__(autocast=False, **kwargs)
        self.bijector, self.direction, self.log_det = bijector, direction, log_det
        self.context_size = _traversal.missing_context_size(bijector)
        self.context_ndims = _traversal.missing_context_ndims(bijector)
        self._holders = holders_of(bijector)

    def build(self, input_shape: Any) -> None:
        """Find variables that functions in the bijector hold.

        Args:
          input_shape: shape of the inputs, `[N, ...]`.
        """
        shape = [1, *input_shape[1:]]
        if None not in shape and not self.context_size:
            dtype = _inputs.floating_dtype(self.bijector)
            untracked = untracked_variables(
                self.bijector,
                lambda: getattr(self.bijector, self.direction)(tf.zeros(shape, dtype)),
            )
            self._holders = holders_of(self.bijector, untracked)
        self.built = True

    def call(
        self,
        inputs: TensorLike,
        context: TensorLike | None = None,
        training: bool | None = None,
    ) -> Any:
        """Apply the bijector.

        Args:
          inputs: tensor `[N, ...]`.
          context: tensor `[N, context_size]`, or None.
          training: whether Keras networks in the bijector behave as in training. In the
            inverse direction, `BatchNorm` layers then normalize by the batch.

        Returns:
          y: tensor, or `(y, log_det)` with `log_det` of shape `[N]`.
        """
        bijector, dtype = self.bijector, _inputs.floating_dtype(self.bijector)
        x = _inputs.as_floating("inputs", inputs, dtype)
        context = _inputs.as_context(
            context, self.context_size, dtype, self.context_ndims
        )
        if context is not None:
            context = _inputs.pair_context(
                context, self.context_ndims, x, x.shape.rank - 1
            )
            bijector = _traversal.bind_context(bijector, context, rebind=False)
        x = tf.identity(x)  # for caches that do not distinguish graphs
        with training_mode(training) as mode:
            y, log_det = self._apply(bijector, x, training)
        for loss in mode.added_losses():
            self.add_loss(loss)
        if self.log_det == "loss":
            self.add_loss(-tf.reduce_mean(log_det))
        return (y, log_det) if self.log_det == "output" else y

    def _apply(self, bijector: Any, x: tf.Tensor, training: bool | None) -> Any:
        direction, applied = self.direction, bijector
        batch_norm = (
            training
            and direction == "inverse"
            and _traversal.has_batch_statistics(bijector)
        )
        if batch_norm:
            applied = _traversal.with_batch_statistics(bijector, x)
        y, log_det = getattr(applied, direction)(x), None
        if self.log_det is not None:
            log_det = getattr(applied, f"{direction}_log_det_jacobian")(
                x, event_ndims=x.shape.rank - 1
            )
            log_det = tf.broadcast_to(log_det, tf.shape(x)[:1])
        if batch_norm:
            _traversal.update_moving_statistics(bijector, applied)
        return y, log_det

    def save_own_variables(self, store: Any) -> None:
        _serialization.save_number(self._holders, store)

    def load_own_variables(self, store: Any) -> None:
        _serialization.check_number(self, self._holders, store)

    def get_config(self) -> dict[str, Any]:
        bijector = _serialization.serialize(self.bijector, "bijector")
        return {
            **super().get_config(),
            **dict(bijector=bijector, direction=self.direction, log_det=self.log_det),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> BijectorLayer:
        bijector = _serialization.deserialize(config["bijector"])
        return cls(**{**config, "bijector": bijector})


@keras.saving.register_keras_serializable("tfp_flows")
class DistributionLayer(keras.layers.Layer):
    """Last layer of a network that predicts the distribution of targets, `p(y | x)`.

    Keras passes tensors from layer to layer. So the output of this layer is its input,
    and `distribution` converts such outputs to a `tfd.Distribution`, one for each row.
    Train by `model.compile(optimizer, loss=NegativeLogLikelihood(layer))` and
    `model.fit(x, y)`. Then `layer.distribution(model.predict(x))` has densities,
    samples, and moments or quantiles where the distribution has them.

    The layer, and so the model, tracks the variables of the flow.

    >>> from tfp_flows import flows
    >>> layer = DistributionLayer(flows.maf(1, context_size=16, seed=0))
    >>> network = keras.Sequential([keras.layers.Dense(16, activation="relu"), layer])
    >>> distribution = layer.distribution(network(tf.ones([5, 3])))
    >>> distribution.batch_shape, distribution.sample(seed=0).shape
    (TensorShape([5]), TensorShape([5, 1]))

    Args:
      conditional_distribution: flow that takes a context, such as
        `tfp_flows.flows.maf(1, context_size=16, seed=0)`, whose context is the input of
        the layer; or a callable from the input to a `tfd.Distribution` with the batch
        axes of the input. For `.keras` files, a function must be registered with Keras,
        or with `register_builder`.
      **kwargs: arguments of `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Raises:
      TypeError: `conditional_distribution` is neither; a callable returns something
        other than a `tfd.Distribution`.
      ValueError: a flow takes no context; the last axis of the input does not have the
        length of the context; targets do not have the event shape.
    """

    def __init__(
        self,
        conditional_distribution: Distribution | Callable[[tf.Tensor], Distribution],
        **kwargs: Any,
    ) -> None:
        is_flow = isinstance(conditional_distribution, tfd.Distribution)
        if not is_flow:
            _check_signature(conditional_distribution)
        if not is_flow and not callable(conditional_distribution):
            raise TypeError(
                "`conditional_distribution` must be a flow that takes a context, or a "
                "callable that returns a `tfd.Distribution`; got "
                f"{conditional_distribution!r}."
            )
        size = 0
        if is_flow:
            size = _traversal.missing_context_size(conditional_distribution)
        if is_flow and not size:
            raise ValueError(
                "`conditional_distribution` must take a context, which is the input of "
                f"the layer; got {conditional_distribution!r}. Build the flow with "
                "`context_size` above 0."
            )
        is_module = isinstance(conditional_distribution, tf.Module)
        if is_module:
            kwargs.setdefault(
                "dtype", _inputs.floating_dtype(conditional_distribution).name
            )
        super().__init__(autocast=False, **kwargs)
        self.conditional_distribution = conditional_distribution
        self.context_size = size
        self._holders = holders_of(conditional_distribution) if is_module else []
        self._is_in_training = False
        self._key = os.urandom(8).hex()

    def build(self, input_shape: Any) -> None:
        """Find variables that a function holds.

        Args:
          input_shape: shape of the inputs, `[..., context_size]`.
        """
        shape = [1, *input_shape[1:]]
        if not self.context_size and None not in shape:

            def evaluate() -> None:
                distribution = self.distribution(tf.zeros(shape, self.variable_dtype))
                distribution.log_prob(distribution.sample(seed=[0, 0]))

            owner = self.conditional_distribution
            if not isinstance(owner, tf.Module):
                owner = tf.Module(name="conditional_distribution")
            self._holders = holders_of(owner, untracked_variables(owner, evaluate))
        self.built = True

    def call(self, inputs: TensorLike, training: bool | None = None) -> tf.Tensor:
        """Return the inputs.

        Args:
          inputs: tensor `[..., context_size]`.
          training: whether Keras networks in the flow behave as in training, when the
            loss is evaluated in the same step.
        """
        self._is_in_training = bool(training)
        inputs = tf.cast(inputs, self.variable_dtype)
        if self.context_size and inputs.shape[-1] != self.context_size:
            raise ValueError(
                "The last axis of the input must have the length of the context of "
                f"`conditional_distribution`, {self.context_size}; got shape "
                f"{tuple(inputs.shape)}."
            )
        return tf.identity(inputs)

    def distribution(self, outputs: TensorLike) -> Distribution:
        """Convert an output of the layer to a distribution.

        Args:
          outputs: tensor `[..., context_size]`, as the model returns.

        Returns:
          distribution: `tfd.Distribution` of batch shape `[...]`.
        """
        outputs = tf.cast(outputs, self.variable_dtype)
        if self.context_size:
            return _traversal.bind_context(
                self.conditional_distribution, outputs, rebind=False
            )
        distribution = self.conditional_distribution(outputs)
        if not isinstance(distribution, tfd.Distribution):
            raise TypeError(
                "`conditional_distribution` must return a `tfd.Distribution`; got "
                f"{distribution!r}."
            )
        return distribution

    def log_prob(self, y: TensorLike, outputs: TensorLike) -> tf.Tensor:
        """Return log densities of targets, in training mode if the last call was.

        Args:
          y: tensor `[..., *event_shape]`.
          outputs: tensor `[..., context_size]`, as the model returns.

        Returns:
          log_prob: tensor `[...]`.
        """
        return self.log_prob_and_losses(y, outputs)[0]

    def log_prob_and_losses(
        self, y: TensorLike, outputs: TensorLike
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Return log densities, and losses that Keras networks in the flow add.

        Args:
          y: tensor `[..., *event_shape]`.
          outputs: tensor `[..., context_size]`, as the model returns.

        Returns:
          log_prob: tensor `[...]`.
          losses: list of scalars, such as activity regularizers.
        """
        with training_mode(self._is_in_training) as mode:
            log_prob = self._log_prob(y, outputs)
        return log_prob, mode.added_losses()

    def _log_prob(self, y: TensorLike, outputs: TensorLike) -> tf.Tensor:
        distribution = self.distribution(outputs)
        y = tf.convert_to_tensor(y)
        event, batch = distribution.event_shape, distribution.batch_shape
        if y.shape.rank is None:  # where Keras has traced several ranks
            whole = [distribution.batch_shape_tensor(), event]
            y = tf.reshape(y, tf.concat(whole, axis=0))
        elif event == [1] and y.shape.rank == batch.rank:
            y = y[..., tf.newaxis]
        axis = y.shape.rank - event.rank
        if axis != batch.rank or not y.shape[axis:].is_compatible_with(event):
            raise ValueError(
                f"Targets must have the event shape {event} after the axes of the "
                f"batch, {batch}; got shape {y.shape}."
            )
        dtype = distribution.dtype
        return _support.log_prob(distribution, tf.cast(y, dtype) if dtype else y)

    def save_own_variables(self, store: Any) -> None:
        _serialization.save_number(self._holders, store)

    def load_own_variables(self, store: Any) -> None:
        _serialization.check_number(self, self._holders, store)

    def get_config(self) -> dict[str, Any]:
        name = "conditional_distribution"
        described = _serialization.serialize(self.conditional_distribution, name)
        return {**super().get_config(), name: described, "key": self._key}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DistributionLayer:
        config = dict(config)
        key, name = config.pop("key"), "conditional_distribution"
        layer = cls(**{**config, name: _serialization.deserialize(config[name])})
        layer._key = key
        _layers_by_key[key] = layer
        return layer


def _check_signature(conditional_distribution: Any) -> None:
    """Raises `TypeError` unless it can be called with one argument."""
    of_class = isinstance(conditional_distribution, type)  # metaclasses hide arguments
    try:
        signature = inspect.signature(
            conditional_distribution.__init__ if of_class else conditional_distribution
        )
    except (TypeError, ValueError):  # not known
        return
    try:
        signature.bind(*[None] * (1 + of_class))
    except TypeError as error:
        raise TypeError(
            "`conditional_distribution` must be a callable from one tensor, the output "
            f"of the layer, to a `tfd.Distribution`; got {conditional_distribution!r}: "
            f"{error}. Split the tensor in a function, such as `lambda outputs: "
            "tfd.Normal(outputs[..., 0], tf.math.softplus(outputs[..., 1]))`."
        ) from error


def key_of(layer: DistributionLayer) -> str:
    """Returns the key by which the copy of a layer is found, when both are loaded."""
    return layer._key


def layer_of(key: str) -> DistributionLayer:
    """Returns the layer that was last created from a configuration with that key.

    Raises:
      ValueError: there is none.
    """
    if key not in _layers_by_key:
        raise ValueError(
            "The `DistributionLayer` of a loss must be loaded with it, in one model; "
            "got the loss alone."
        )
    return _layers_by_key[key]
