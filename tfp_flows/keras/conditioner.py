"""Keras networks as conditioners of bijectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfp_flows._autodiff import with_shape
from tfp_flows._builders import register_builder
from tfp_flows._typing import TensorLike
from tfp_flows.keras import _training_mode
from tfp_flows.networks import Network


@register_builder(package="tfp_flows")
class Conditioner(Network):
    """Keras network that predicts the parameters of a coupling or autoregressive layer.

    The bijector that takes it tracks its variables. Inputs may have any number of axes
    before those of one example; the network has one batch axis. In a `DensityModel`, a
    `BijectorLayer` and a `DistributionLayer` the network is in training mode during
    training: dropout then draws one mask for each step, the same in both directions,
    and batch normalization moves its averages once in each step. Elsewhere it is in
    inference mode.

    The network computes in the dtype of its policy, which may be mixed. The parameters
    have the dtype of its variables, which must be that of the inputs.

    >>> network = keras.Sequential(
    ...     [keras.layers.Dense(8, activation="relu"), keras.layers.Dense(4)])
    >>> conditioner = Conditioner(network, output_shape=[2, 2], input_shape=[1])
    >>> from tfp_flows.bijectors import Coupling
    >>> layer = Coupling([True, False, False], conditioner)
    >>> layer.forward(tf.ones([5, 3])).shape
    TensorShape([5, 3])

    Args:
      network: Keras layer or model, called with `x`, or with `[x, context]`. It is
        built here unless it is built already.
      output_shape: shape of the parameters of one example, to which the output is
        reshaped: `[num_transformed, num_parameters]` for a `Coupling` of vectors. None
        for the shape of the output.
      input_shape: shape of one example. By default that of a functional or sequential
        network that is built, and `[D]` with any `D` for other networks.
      context_size: length of a context, 0 for none.
      name: name of the module, by default that of the network.

    Raises:
      TypeError: `network` is not a Keras layer; its variables have several floating
        dtypes; an input has another dtype.
      ValueError: the network is not built and `input_shape` is None; it cannot be
        called with inputs of that shape, or its output does not fit `output_shape`; the
        input or context of a call has another shape.
    """

    def __init__(
        self,
        network: keras.layers.Layer,
        output_shape: Sequence[int] | None = None,
        input_shape: Sequence[int | None] | None = None,
        context_size: int = 0,
        name: str | None = None,
    ) -> None:
        if not isinstance(network, keras.layers.Layer):
            raise TypeError(f"`network` must be a Keras layer; got {network!r}.")
        super().__init__(name=_as_name(name or network.name))
        if input_shape is None:
            input_shape = _known_input_shape(network)
        if input_shape is None and not network.built:
            raise ValueError(
                "`network` must be built, or `input_shape` given for it to be built "
                f"here; got {network!r}, which is not built."
            )
        self.context_size = context_size
        self._event = tf.TensorShape([None] if input_shape is None else input_shape)
        self._output_shape = None if output_shape is None else tuple(output_shape)
        self.__dict__["network"] = network  # for Keras to track, not for `tf.Module`
        if self._event.is_fully_defined():
            self._build()
        self.dtype = _network_dtype(network)
        self._network_variables = [variable.value for variable in network.variables]

    is_copyable = False  # its variables are those of the Keras network
    context_size: int
    dtype: tf.DType

    @property
    def event_ndims(self) -> int:  # type: ignore[override]
        """Rank of one example."""
        return self._event.rank

    @property
    def changes_in_training(self) -> bool:  # type: ignore[override]
        """Whether the network is in training mode, and has state that it updates."""
        mode = _training_mode.current_mode()
        if mode is None or not mode.training:
            return False
        return bool(_training_mode.non_trainable_state(self.network))

    def __call__(self, x: TensorLike, context: TensorLike | None = None) -> tf.Tensor:
        """Return the parameters.

        Args:
          x: tensor `[..., *input_shape]`.
          context: tensor `[..., context_size]`, or None.

        Returns:
          parameters: tensor `[..., *output_shape]`.
        """
        x = self._checked(x)
        axis = x.shape.rank - self.event_ndims
        batch, static = tf.shape(x)[:axis], x.shape[:axis]
        context = self._checked_context(context)
        if context is not None:
            batch = tf.broadcast_dynamic_shape(batch, tf.shape(context)[:-1])
            static = tf.broadcast_static_shape(static, context.shape[:-1])
        inputs = _flattened(x, batch, self.event_ndims)
        if context is not None:
            inputs = [inputs, _flattened(context, batch, 1)]
        outputs = _training_mode.call_without_update(self.network, inputs)
        outputs = tf.cast(outputs, self.dtype)
        event = tf.TensorShape(self._output_shape or outputs.shape[1:])
        shape = event if event.is_fully_defined() else tf.shape(outputs)[1:]
        result = tf.reshape(outputs, tf.concat([batch, shape], axis=0))
        return with_shape(result, static.concatenate(event))

    def __getstate__(self):
        # A copy of the network has copies of the variables.
        return {
            name: v for name, v in vars(self).items() if name != "_network_variables"
        }

    def __setstate__(self, state):
        vars(self).update(state)
        self._network_variables = [
            variable.value for variable in self.network.variables
        ]

    def __repr__(self):
        return (
            f"<Conditioner {self.name!r} network={type(self.network).__name__} "
            f"input_shape={self._event} output_shape={self._output_shape} "
            f"context_size={self.context_size} dtype={self.dtype.name}>"
        )

    def _build(self) -> None:
        """Calls the network once, which creates all its variables."""
        dtype = tf.as_dtype(self.network.compute_dtype)
        x = tf.zeros([1, *self._event], dtype)
        if self.context_size:
            x = [x, tf.zeros([1, self.context_size], dtype)]
        try:
            shape = self.network(x, training=False).shape[1:]
        except (TypeError, ValueError, AttributeError, tf.errors.OpError) as error:
            raise ValueError(
                f"`network` must take an input of shape {self._event}"
                f"{f' and a context of {self.context_size}' * bool(self.context_size)};"
                f" got an error from {self.network!r}: {error}"
            ) from error
        expected = self._output_shape
        if expected is not None and (
            tf.TensorShape(expected).num_elements() != shape.num_elements()
        ):
            raise ValueError(
                "`network` must return as many numbers as `output_shape` "
                f"{list(expected)} has; got shape {shape} for one example."
            )

    def _checked(self, x: Any) -> tf.Tensor:
        x = tf.convert_to_tensor(x, dtype_hint=self.dtype)
        if x.dtype != self.dtype:
            raise TypeError(
                "The input must have the dtype of the variables of the Keras network, "
                f"{self.dtype.name}; got {x.dtype.name}. Create all its layers with "
                "the same `dtype`."
            )
        rank = x.shape.rank
        if rank is None or not x.shape[
            max(0, rank - self.event_ndims) :
        ].is_compatible_with(self._event):
            raise ValueError(
                "The last axes of the input must be those of an example, "
                f"{self._event}; got shape {x.shape}."
            )
        return x

    def _checked_context(self, context: Any) -> tf.Tensor | None:
        if (context is not None) != (self.context_size > 0):
            raise ValueError(
                "`context` must be given if and only if `context_size` is above 0; got "
                f"{'none' if context is None else 'one'}, and {self.context_size}."
            )
        if context is None:
            return None
        context = tf.convert_to_tensor(context, dtype_hint=self.dtype)
        if context.shape.rank is None or not context.shape[-1:].is_compatible_with(
            [self.context_size]
        ):
            raise ValueError(
                "The last axis of `context` must have length `context_size`, "
                f"{self.context_size}; got shape {context.shape}."
            )
        return context


def _as_name(name: str) -> str:
    return "".join(c if c.isalnum() or c == "_" else "_" for c in name)


def _known_input_shape(network: keras.layers.Layer) -> Any:
    """Returns the shape of an example of a functional or sequential network."""
    shape = getattr(network, "input_shape", None)
    if isinstance(shape, list):
        shape = shape[0]
    return None if shape is None else shape[1:]


def _network_dtype(network: keras.layers.Layer) -> tf.DType:
    floating = [v for v in network.variables if tf.as_dtype(v.dtype).is_floating]
    dtypes = {v.dtype: v.path for v in floating}
    if len(dtypes) > 1:
        raise TypeError(
            "The variables of a Keras network must share one floating dtype; got "
            f"{dtypes}. Create all its layers with the same `dtype`."
        )
    return tf.as_dtype(next(iter(dtypes), network.variable_dtype))


def _flattened(x: tf.Tensor, batch: tf.Tensor, event_ndims: int) -> tf.Tensor:
    """Returns `x`, broadcast to batch axes, with these axes as one."""
    axis = x.shape.rank - event_ndims
    event = tf.shape(x)[axis:]
    flat = tf.reshape(
        tf.broadcast_to(x, tf.concat([batch, event], axis=0)),
        tf.concat([[tf.reduce_prod(batch)], event], axis=0),
    )
    return with_shape(flat, tf.TensorShape([None]).concatenate(x.shape[axis:]))
