"""Keras networks as conditioners of bijectors."""

import keras
import tensorflow as tf

from tfp_flows._autodiff import with_shape
from tfp_flows._builders import recipe
from tfp_flows.keras import _phase
from tfp_flows.networks import Network


@recipe(package="tfp_flows")
class Conditioner(Network):
    """A Keras network that tells the parameters of a coupling or autoregressive layer.

    Its variables are those of the bijector that takes it. The input may have any number
    of axes before those of one point; the network sees one batch axis. In a
    `DensityModel` and the layers of this module the network knows training from
    inference: dropout then draws one mask for each step, the same in both directions,
    and batch norm moves its averages once a step. Elsewhere it is in inference.

    The network computes in the dtype of its policy, also if that is mixed; the
    parameters have the dtype of its variables, and inputs must have it.

    Args:
      network: Keras layer or model, called with `x`, or with `[x, context]`. A layer
        that is not built is built here.
      output_shape: shape of what it returns for one point, to which that is reshaped:
        `[changed, num_parameters]` for the `Coupling` of a vector. None to leave it.
      input_shape: shape of one point. By default that of a functional or sequential
        network that has been built, and `[D]` with any `D` for others.
      context_size: length of a context, 0 for none.
      name: name of the module, by default that of the network.

    Raises:
      TypeError: `network` is no Keras layer; its variables have more than one floating
        dtype; an input has another one than they.
      ValueError: the network is not built and `input_shape` does not tell how; it
        cannot be called with such an input, or returns what `output_shape` does not
        fit; the input or context of a call has another shape.
    """

    def __init__(
        self, network, output_shape=None, input_shape=None, context_size=0, name=None
    ):
        if not isinstance(network, keras.layers.Layer):
            raise TypeError(f"`network` must be a Keras layer; got {network!r}.")
        super().__init__(name=_as_name(name or network.name))
        if input_shape is None:
            input_shape = _known_input_shape(network)
        if input_shape is None and not network.built:
            raise ValueError(
                "`network` must be built, or `input_shape` given for it to be built "
                f"here; got {network!r}, which is not."
            )
        self.context_size = context_size
        self._event = tf.TensorShape([None] if input_shape is None else input_shape)
        self._output_shape = None if output_shape is None else tuple(output_shape)
        vars(self)["network"] = network  # for Keras to track, not for `tf.Module`
        if self._event.is_fully_defined():
            self._try()
        self.dtype = _dtype_of(network)
        self._variables = [variable.value for variable in network.variables]

    is_copyable = False  # its variables are those of the Keras network

    @property
    def event_ndims(self):
        """Rank of a point."""
        return self._event.rank

    @property
    def changes_in_training(self):
        """Whether the network is in training, and changes its state in that."""
        now = _phase.current()
        return bool(now and now.training and _phase.state_of(self.network))

    def __call__(self, x, context=None):
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
        outputs = tf.cast(_phase.ask(self.network, inputs), self.dtype)
        event = tf.TensorShape(self._output_shape or outputs.shape[1:])
        shape = event if event.is_fully_defined() else tf.shape(outputs)[1:]
        result = tf.reshape(outputs, tf.concat([batch, shape], axis=0))
        return with_shape(result, static.concatenate(event))

    def __getstate__(self):
        # Keras copies the variables with the network: those are the ones to know.
        return {name: v for name, v in vars(self).items() if name != "_variables"}

    def __setstate__(self, state):
        vars(self).update(state)
        self._variables = [variable.value for variable in self.network.variables]

    def __repr__(self):
        return (
            f"<Conditioner {self.name!r} network={type(self.network).__name__} "
            f"input_shape={self._event} output_shape={self._output_shape} "
            f"context_size={self.context_size} dtype={self.dtype.name}>"
        )

    def _try(self):
        """Calls the network once, so that all its variables are there."""
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
                f" got an error of {self.network!r}: {error}"
            ) from error
        expected = self._output_shape
        if expected is not None and (
            tf.TensorShape(expected).num_elements() != shape.num_elements()
        ):
            raise ValueError(
                f"`network` must return as many numbers as `output_shape` "
                f"{list(expected)} has; got shape {shape} for one point."
            )

    def _checked(self, x):
        x = tf.convert_to_tensor(x, dtype_hint=self.dtype)
        if x.dtype != self.dtype:
            raise TypeError(
                f"The input must have the dtype of the variables of the Keras network, "
                f"{self.dtype.name}; got {x.dtype.name}. Give all its layers the same "
                "`dtype`."
            )
        rank = x.shape.rank
        if rank is None or not x.shape[
            max(0, rank - self.event_ndims) :
        ].is_compatible_with(self._event):
            raise ValueError(
                f"The last axes of the input must be those of a point, {self._event}; "
                f"got shape {x.shape}."
            )
        return x

    def _checked_context(self, context):
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


def _as_name(name):
    return "".join(c if c.isalnum() or c == "_" else "_" for c in name)


def _known_input_shape(network):
    """Returns the shape of one point if the network knows it, else None."""
    shape = getattr(network, "input_shape", None)  # of a functional or sequential one
    if isinstance(shape, list):
        shape = shape[0]
    return None if shape is None else shape[1:]


def _dtype_of(network):
    floating = [v for v in network.variables if tf.as_dtype(v.dtype).is_floating]
    dtypes = {v.dtype: v.path for v in floating}
    if len(dtypes) > 1:
        raise TypeError(
            f"The variables of a Keras network must share one floating dtype; got "
            f"{dtypes}. Give all its layers the same `dtype`."
        )
    return tf.as_dtype(next(iter(dtypes), network.variable_dtype))


def _flattened(x, batch, event_ndims):
    """Gives `x` the batch axes, and makes one axis of them."""
    axis = x.shape.rank - event_ndims
    event = tf.shape(x)[axis:]
    flat = tf.reshape(
        tf.broadcast_to(x, tf.concat([batch, event], axis=0)),
        tf.concat([[tf.reduce_prod(batch)], event], axis=0),
    )
    return with_shape(flat, tf.TensorShape([None]).concatenate(x.shape[axis:]))
