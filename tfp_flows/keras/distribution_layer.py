"""The last layer of a network that predicts a distribution."""

import inspect
import os
import weakref

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import _support, _traversal
from tfp_flows.keras import _configuration, _points
from tfp_flows.keras._parts import hidden_variables, parts_of
from tfp_flows.keras._phase import phase
from tfp_flows.keras._weights import check_number, save_number

tfd = tfp.distributions
# By key, so that the loss in a `.keras` file finds the layer of the model beside it.
_layers = weakref.WeakValueDictionary()


@keras.saving.register_keras_serializable("tfp_flows")
class DistributionLayer(keras.layers.Layer):
    """Ends a network that predicts the distribution of targets, `p(y | x)`.

    Keras passes tensors from layer to layer: this one returns the tensor that it is
    given, and `distribution` makes a `tfd.Distribution` of it, one for each row. Train
    by `model.compile(optimizer, loss=NegativeLogLikelihood(layer))` and
    `model.fit(x, y)`; then `layer.distribution(model.predict(x))` has densities,
    samples, and moments or quantiles where the family has such.

    The variables of the flow are those of the layer, and so of the model.

    Args:
      family: flow with a context, such as `tfp_flows.flows.maf(1, context_size=16,
        seed=0)` makes, whose context the input is; or a callable from the input to a
        `tfd.Distribution` with its batch axes, such as a Gaussian. A function that is
        to be saved in a `.keras` file is registered with Keras, or a `recipe`.
      **kwargs: arguments of `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Raises:
      TypeError: `family` is neither; a callable returns no distribution.
      ValueError: a flow takes no context; the last axis of the input is not as long as
        the context; points are not of the event shape.
    """

    def __init__(self, family, **kwargs):
        flow = isinstance(family, tfd.Distribution)
        if not flow:
            _check_takes_one(family)
        if not flow and not callable(family):
            raise TypeError(
                "`family` must be a flow with a context or a callable that returns a "
                f"`tfd.Distribution`; got {family!r}."
            )
        size = _traversal.missing_context_size(family) if flow else 0
        if flow and not size:
            raise ValueError(
                "`family` must take a context, which the input of the layer is; got "
                f"{family!r}. Recipes have `context_size` for it."
            )
        if isinstance(family, tf.Module):
            kwargs.setdefault("dtype", _points.dtype_of(family).name)
        super().__init__(autocast=False, **kwargs)
        self.family, self.context_size = family, size
        self._parts = parts_of(family) if isinstance(family, tf.Module) else []
        self._training = False
        self._key = os.urandom(8).hex()

    def build(self, input_shape):
        """Finds variables that a function holds."""
        shape = [1, *input_shape[1:]]
        if not self.context_size and None not in shape:

            def evaluate():
                distribution = self.distribution(tf.zeros(shape, self.variable_dtype))
                distribution.log_prob(distribution.sample(seed=[0, 0]))

            known = isinstance(self.family, tf.Module)
            owner = self.family if known else tf.Module(name="family")
            self._parts = parts_of(owner, hidden_variables(owner, evaluate))
        self.built = True

    def call(self, inputs, training=None):
        """Returns the inputs.

        Args:
          inputs: tensor `[..., context_size]`.
          training: what the loss is told, which follows in the same step.
        """
        self._training = bool(training)
        inputs = tf.cast(inputs, self.variable_dtype)
        if self.context_size and inputs.shape[-1] != self.context_size:
            raise ValueError(
                "The last axis of the input must be as long as the context of "
                f"`family`, {self.context_size}; got shape {tuple(inputs.shape)}."
            )
        return tf.identity(inputs)

    def distribution(self, outputs):
        """Returns the distribution that an output of the layer stands for.

        Args:
          outputs: tensor `[..., context_size]`, as the model returns.

        Returns:
          distribution: `tfd.Distribution` of batch shape `[...]`.
        """
        outputs = tf.cast(outputs, self.variable_dtype)
        if self.context_size:
            return _traversal.bind_context(self.family, outputs, rebind=False)
        distribution = self.family(outputs)
        if not isinstance(distribution, tfd.Distribution):
            raise TypeError(
                f"`family` must return a `tfd.Distribution`; got {distribution!r}."
            )
        return distribution

    def log_prob(self, y, outputs):
        """Returns log-densities of targets, in the phase of the last call.

        Args:
          y: tensor `[..., *event_shape]`.
          outputs: tensor `[..., context_size]`, as the model returns.
        """
        return self.log_prob_and_losses(y, outputs)[0]

    def log_prob_and_losses(self, y, outputs):
        """Returns log-densities, and losses that Keras networks within the flow add.

        Args:
          y, outputs: as for `log_prob`.

        Returns:
          log_prob: tensor `[...]`.
          losses: list of scalars, such as regularizers of what a network returns.
        """
        with phase(self._training) as entered:
            log_prob = self._log_prob(y, outputs)
        return log_prob, entered.added_losses()

    def _log_prob(self, y, outputs):
        distribution = self.distribution(outputs)
        y = tf.convert_to_tensor(y)
        event, batch = distribution.event_shape, distribution.batch_shape
        if y.shape.rank is None:  # where Keras has met several ranks
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

    def save_own_variables(self, store):
        save_number(self._parts, store)

    def load_own_variables(self, store):
        check_number(self, self._parts, store)

    def get_config(self):
        family = _configuration.describe(self.family, "family")
        return {**super().get_config(), "family": family, "key": self._key}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        key = config.pop("key")
        layer = cls(**{**config, "family": _configuration.make(config["family"])})
        layer._key = key
        _layers[key] = layer
        return layer


def _check_takes_one(family):
    """Raises `TypeError` for what cannot be called with the output of a layer alone."""
    of_class = isinstance(family, type)  # whose metaclass may hide what it takes
    try:
        signature = inspect.signature(family.__init__ if of_class else family)
    except (TypeError, ValueError):  # nobody knows
        return
    try:
        signature.bind(*[None] * (1 + of_class))
    except TypeError as error:
        raise TypeError(
            "`family` must be a callable from one tensor, the output of the layer, to a"
            f" `tfd.Distribution`; got {family!r}: {error}. Take the tensor apart in a "
            "function, such as `lambda outputs: tfd.Normal(outputs[..., 0], "
            "tf.math.softplus(outputs[..., 1]))`."
        ) from error


def key_of(layer):
    """Returns what finds the layer that is made of the configuration of a layer."""
    return layer._key


def layer_of(key):
    """Returns the layer that was last made of a configuration with that key.

    Raises:
      ValueError: there is none.
    """
    if key not in _layers:
        raise ValueError(
            "The `DistributionLayer` of a loss must be loaded with it, in one model; "
            "got the loss alone."
        )
    return _layers[key]
