"""Conditioners of layers: checks, contexts, and prediction of parameters."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._dtypes import check_dtype, holds_whole_numbers
from tfp_flows._keras_seam import check_backend
from tfp_flows._layer import Layer
from tfp_flows._parameters import is_reference, without_keras
from tfp_flows.bijectors._pytree import VariableSnapshot, leaves_of
from tfp_flows.bijectors.transformers import Transformer, as_transformer
from tfp_flows.networks.base import AdaptedNetwork, Network, as_network


@dataclasses.dataclass(frozen=True, eq=False)
class Conditioning:
    """The conditioner and the transformer of a layer, adapted when it is made.

    It is opaque to `tf.Module` and `tf.nest`, so that variables are found once.

    Args:
      network: what `as_network` returns for the conditioner.
      transformer: what `as_transformer` returns for the transformer.
    """

    network: Network | AdaptedNetwork
    transformer: Transformer

    def read_network(self) -> tuple[dict[str, tf.Tensor], dict[str, VariableSnapshot]]:
        """Returns the values that the network depends on, by path, as far as known.

        A custom gradient takes them as inputs: others have no gradient, and no variable
        can be read within the gradient of a loop in a graph.

        Returns:
          tensors: dictionary of floating tensors, the current values of variables.
          integers: dictionary of snapshots of integer variables, in graphs.
        """
        tensors, integers = {}, {}
        for path, leaf in self._leaves().items():
            if tf.as_dtype(leaf.dtype).is_floating:
                tensors[path] = tf.convert_to_tensor(leaf)
            elif isinstance(leaf, tf.Variable) and not tf.executing_eagerly():
                integers[path] = VariableSnapshot(leaf)
        return tensors, integers

    def _leaves(self):
        network = self.network
        if not network.is_copyable:
            return {}
        if isinstance(network, AdaptedNetwork):  # it may create variables in a call
            return leaves_of(network.adapted, check=False)
        return self._leaves_of_network

    @functools.cached_property
    def _leaves_of_network(self):
        return leaves_of(self.network, check=False)


def attach(
    layer: Any, conditioner: Any, transformer: Any, context: Any, context_size: Any
) -> tf.DType | None:
    """Checks the arguments of a layer with a conditioner, and sets its attributes.

    Args:
      layer: layer under construction.
      conditioner, transformer, context, context_size: its arguments of these names.

    Returns:
      dtype: dtype of the network if it has one, else None.

    Raises:
      TypeError: the conditioner or the transformer is not callable.
      ValueError: a Keras network is not built or has state; numbers of parameters or
        context sizes disagree.
    """
    network = as_network(conditioner)
    adapted = as_transformer(transformer)
    check_network(network, adapted, conditioner)
    layer._conditioning = Conditioning(network, adapted)
    layer.conditioner, layer.transformer = conditioner, transformer
    hidden = network.hidden_variables
    layer.hidden_variables = None if hidden is None else list(hidden)
    layer.context_ndims = network.context_ndims
    layer.context, layer.context_size = check_context(
        network, context, context_size, network.dtype
    )
    return network.dtype


def check_network(
    network: Network | AdaptedNetwork, transformer: Transformer, conditioner: Any
) -> None:
    """Checks that a network has its variables, and fits a transformer.

    Raises:
      ValueError: a Keras network is not built, has state, or is of a backend other than
        TensorFlow; the numbers of parameters disagree.
    """
    check_backend(conditioner, "conditioner")
    number = network.num_parameters
    if number not in (None, transformer.num_parameters):
        raise ValueError(
            "`conditioner` must return as many parameters for each element as "
            f"`transformer` takes, {transformer.num_parameters}; got {number}."
        )
    if not (isinstance(network, AdaptedNetwork) and network.is_keras):
        return
    if not conditioner.built:
        raise ValueError(
            "A Keras network as `conditioner` must be built, so that its variables are "
            f"known; got {conditioner!r}. Call it once before, or wrap it in a "
            "`tfp_flows.keras.Conditioner`."
        )
    if conditioner.non_trainable_variables:
        raise ValueError(
            "A Keras network as `conditioner` must have no state, such as that of "
            f"dropout or batch normalization; got {conditioner!r}. Wrap a network of "
            "Keras 3 in a `tfp_flows.keras.Conditioner`, which supports state."
        )


def check_context(
    network: Network | AdaptedNetwork,
    context: Any,
    context_size: int | None,
    dtype: tf.DType | None,
) -> tuple[tf.Tensor | tf.Variable | None, int | None]:
    """Returns the context as a tensor, or None, and its size, or None if unknown.

    Args:
      network: conditioner, which may state a `context_size`.
      context: what the user gave.
      context_size: length of the context's last axis, as the user gave it.
      dtype: dtype for contexts that have none.

    Raises:
      TypeError: the context has another dtype than the network, or integers.
      ValueError: the sizes of conditioner, layer and context disagree.
    """
    own = network.context_size
    if None not in (own, context_size) and own != context_size:
        raise ValueError(
            "`context_size` must be that of `conditioner`; "
            f"got {context_size} and {own}."
        )
    size = own if context_size is None else context_size
    if context is None:
        return None, size
    context = without_keras(context)
    if dtype is not None and holds_whole_numbers(context):
        raise TypeError(
            "`context` must be floating, of the dtype of the network, "
            f"{tf.as_dtype(dtype).name}; got integers or booleans, {context!r}. Pass "
            "labels as one-hot vectors, by `tf.one_hot` or "
            "`tfp_flows.flows.condition_on_class`, and numbers by `tf.cast`."
        )
    if not is_reference(context):
        context = tf.convert_to_tensor(context, dtype_hint=dtype, name="context")
    if size == 0:
        raise ValueError(
            "`context` must be None where the network takes none (`context_size` 0); "
            f"got shape {context.shape}."
        )
    if dtype is not None and context.dtype != dtype:
        raise TypeError(
            f"`context` must have the dtype of the network, {tf.as_dtype(dtype).name}; "
            f"got {tf.as_dtype(context.dtype).name}."
        )
    ndims = network.context_ndims
    known = context.shape.rank is not None
    if known and (
        context.shape.rank < ndims
        or size is not None
        and not context.shape[-1:].is_compatible_with([size])
    ):
        raise ValueError(
            f"`context` must have at least {ndims} axes, the last of them as long as "
            f"`context_size`; got shape {context.shape} and {size}."
        )
    return context, size


def context_properties() -> dict[str, tfp.util.ParameterProperties]:
    """Returns the properties of the context of a layer with a conditioner, for TFP."""

    def ndims(layer, event_ndims):
        more = event_ndims - layer.forward_min_event_ndims
        return more + layer.context_ndims

    return dict(context=tfp.util.ParameterProperties(event_ndims=ndims))


def predict_parameters(
    layer: Layer,
    x: tf.Tensor,
    event_shape: Any,
    context: tf.Tensor | None = None,
    network: Any = None,
) -> tf.Tensor:
    """Evaluates the conditioner of a layer.

    Args:
      layer: layer that `attach` prepared.
      x: input of the conditioner.
      event_shape: shape of the transformed elements, each with a set of parameters.
      context: tensor to use instead of the context of the layer, or None.
      network: network to use instead of the conditioner of the layer, or None.

    Returns:
      parameters: tensor of shape `[..., *event_shape, num_parameters]`.

    Raises:
      TypeError: the conditioner returns another dtype.
      ValueError: the context is missing, or the conditioner returns another shape.
    """
    conditioning = layer._conditioning
    if network is None:
        network = conditioning.network
    if layer.context is None:
        if layer.context_size:
            check_has_context(layer)
        parameters = network(x)
    else:
        if context is None:
            context = tf.convert_to_tensor(layer.context)
        parameters = network(x, context)
    if not isinstance(parameters, tf.Tensor):
        check_backend(parameters, "conditioner")
        parameters = tf.convert_to_tensor(parameters, name="parameters")
    expected = [*event_shape, conditioning.transformer.num_parameters]
    shape, ndims = parameters.shape, len(expected)
    if (
        shape.rank is None
        or shape.rank < ndims
        or not shape[shape.rank - ndims :].is_compatible_with(expected)
    ):
        raise ValueError(
            f"`conditioner` must return a tensor of shape [..., "
            f"{', '.join(map(str, expected))}], `num_parameters` for each element; "
            f"got shape {shape}."
        )
    if parameters.dtype != x.dtype:
        raise TypeError(
            f"`conditioner` must return the dtype of the input, {x.dtype.name}; "
            f"got {parameters.dtype.name}."
        )
    return parameters


def check_has_context(layer: Any) -> None:
    """Raises `ValueError` if a layer lacks the context that its network needs."""
    if layer.context is None and layer.context_size:
        raise ValueError(
            f"`{layer.name}` needs a context of size {layer.context_size}, and has "
            "none. Condition it with `tfp_flows.flows.condition(flow, context)`."
        )


def check_stateless(layer: Layer, what: str) -> None:
    """Raises `ValueError` if a re-evaluation of the network would differ."""
    if layer._conditioning.network.changes_in_training:
        raise ValueError(
            f"{what} of `{layer.name}` must not be used in training mode if the "
            "conditioner has dropout or batch normalization, because its gradient "
            f"re-evaluates it; got {layer.conditioner!r}."
        )


def check_finite(layer: Layer, x: tf.Tensor) -> tf.Tensor:
    """Returns the input of a layer, which with `validate_args` must be finite.

    Raises:
      TypeError: it is neither float32 nor float64.
    """
    check_dtype("x", x.dtype)
    if not layer.validate_args:
        return x
    finite = tf.debugging.assert_all_finite(x, "The input must be finite.")
    with tf.control_dependencies([finite]):
        return tf.identity(x)
