"""The contract of conditioner networks: base class, and adapters of other callables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy.typing as npt
import tensorflow as tf

from tfp_flows._parameters import without_keras
from tfp_flows._typing import TensorLike


class Network(tf.Module):
    """Base class of conditioners, which predict the parameters of a layer.

    A conditioner is called with `x` of shape `[..., *event]`, and with a context if
    `context_size` is above 0. It returns parameters of shape
    `[..., *event, num_parameters]`. Batch axes of `x` and context broadcast.

    Any callable of this kind is a conditioner: a function, a `tf.Module`, a built Keras
    network. A subclass of `Network` also states what a layer can use. All attributes
    have defaults, so a subclass sets only those that differ, on the class or on the
    instance.

    Attributes:
      num_parameters: number of outputs for each element; None if it is not stated.
        Layers compare it with that of their transformer.
      context_size: length of the last axis of a context: 0 for none. None if it is not
        stated: then layers take it from their own arguments.
      context_ndims: rank of one context: 1 for vectors, more for sequences and maps.
      event_ndims: rank of one input: 1 for vectors, 3 for images.
      event_shape: shape of one input; None if it is not stated.
      dtype: dtype of weights, inputs and outputs; None if it is not stated.
      compute_dtype: dtype of the matrix products and convolutions; None for `dtype`.
      order: for an autoregressive network, a permutation of the elements: which one
        comes first, second, ...; None for 0 to D - 1.
      solve_for_input: method `solve_for_input(invert, w, context=None)` of an
        autoregressive network that can be inverted at a lower cost than one call for
        each element; None if there is no such method. It returns `z` with
        `z = invert(self(z, context), w)`, elementwise, and a boolean tensor, whether
        `z` is exact; if not, `z` is the initial value of a fixed-point iteration.
      needs_initialization: whether `initialize_from_data` sets variables.
      changes_in_training: whether calls in training mode are random or change state, as
        those of dropout and batch normalization do.
      hidden_variables: variables that a call reads and that are not in attributes,
        where `tf.Module` finds them; None if unknown: then layers cache no result.
      is_copyable: whether all variables are attributes that the constructor sets, so
        that a copy with tensors in their place is the network with these values. Layers
        differentiate such copies.

    Args:
      name: name of the module.

    Example:

    >>> class Linear(Network):
    ...     num_parameters = 2
    ...
    ...     def __init__(self, inputs, outputs):
    ...         super().__init__()
    ...         self.outputs = outputs
    ...         self.kernel = tf.Variable(tf.zeros([inputs, 2 * outputs]))
    ...
    ...     def __call__(self, x, context=None):
    ...         shape = [*x.shape[:-1], self.outputs, self.num_parameters]
    ...         return tf.reshape(tf.matmul(x, self.kernel), shape)
    >>> from tfp_flows.bijectors import Coupling
    >>> layer = Coupling([True, True, False], Linear(2, 1))
    >>> layer.forward(tf.ones([5, 3])).shape
    TensorShape([5, 3])
    """

    num_parameters: int | None = None
    context_size: int | None = 0
    context_ndims: int = 1
    event_ndims: int = 1
    event_shape: tf.TensorShape | Sequence[int] | None = None
    dtype: tf.DType | None = None
    compute_dtype: tf.DType | None = None
    order: npt.ArrayLike | None = None
    solve_for_input: Callable[..., tuple[tf.Tensor, tf.Tensor]] | None = None
    needs_initialization: bool = False
    changes_in_training: bool = False
    hidden_variables: Sequence[tf.Variable] | None = ()
    is_copyable: bool = True

    def __call__(self, x: TensorLike, context: TensorLike | None = None) -> tf.Tensor:
        """Predict the parameters of each element.

        Args:
          x: tensor of shape `[..., *event]`.
          context: tensor of shape `[..., context_size]`, or None.

        Returns:
          parameters: tensor of shape `[..., *event, num_parameters]`.
        """
        raise NotImplementedError(
            f"`{type(self).__name__}` must implement `__call__(x, context=None)`."
        )

    def initialize_from_data(
        self, x: TensorLike, context: TensorLike | None = None
    ) -> tf.Tensor:
        """Set variables from a batch, where `needs_initialization` is true.

        Args:
          x: batch of inputs, as for a call.
          context: their context, as for a call.

        Returns:
          parameters: result of a call with these inputs after the initialization.
        """
        return self(x) if context is None else self(x, context)


class AdaptedNetwork:
    """A conditioner that is not a `Network`, whose attributes are read once.

    Args:
      conditioner: callable.
    """

    def __init__(self, conditioner: Callable[..., tf.Tensor]) -> None:
        self.adapted = conditioner

        def stated(name):
            return getattr(conditioner, name, getattr(Network, name))

        self.num_parameters = stated("num_parameters")
        self.context_size = getattr(conditioner, "context_size", None)
        self.context_ndims = stated("context_ndims")
        self.event_ndims = stated("event_ndims")
        self.event_shape = stated("event_shape")
        if self.event_shape is None and hasattr(conditioner, "event_size"):
            self.event_shape = [conditioner.event_size]
        dtype = getattr(conditioner, "dtype", None)
        known = isinstance(dtype, (str, tf.DType))
        self.dtype = self.compute_dtype = tf.as_dtype(dtype) if known else None
        self.order = stated("order")
        self.solve_for_input = stated("solve_for_input")
        self.needs_initialization = hasattr(conditioner, "initialize_from_data")
        self.initialize_from_data = getattr(
            conditioner, "initialize_from_data", conditioner
        )
        self.changes_in_training = stated("changes_in_training")
        # Only networks of Keras are "built"; their variables must stay as they are.
        self.is_keras = hasattr(conditioner, "built")
        is_module = isinstance(conditioner, tf.Module)
        self.is_copyable = is_module and not self.is_keras and stated("is_copyable")
        self.hidden_variables: list[tf.Variable] | None = None  # of a plain function
        if is_module:
            self.hidden_variables = []
        elif hasattr(conditioner, "variables"):
            self.hidden_variables = list(map(without_keras, conditioner.variables))

    def __call__(self, *inputs: tf.Tensor) -> tf.Tensor:
        return self.adapted(*inputs)


def as_network(conditioner: Callable[..., tf.Tensor]) -> Network | AdaptedNetwork:
    """Returns a conditioner as an object that states what `Network` does.

    Args:
      conditioner: callable.

    Raises:
      TypeError: `conditioner` is not callable.
    """
    if isinstance(conditioner, (Network, AdaptedNetwork)):
        return conditioner
    if not callable(conditioner):
        raise TypeError(f"`conditioner` must be callable; got {conditioner!r}.")
    return AdaptedNetwork(conditioner)
