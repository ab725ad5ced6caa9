"""Bijectors as Keras layers."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import _traversal
from tfp_flows.keras import _configuration, _contexts, _points
from tfp_flows.keras._parts import hidden_variables, parts_of
from tfp_flows.keras._phase import phase
from tfp_flows.keras._weights import check_number, save_number

tfb = tfp.bijectors


@keras.saving.register_keras_serializable("tfp_flows")
class BijectorLayer(keras.layers.Layer):
    """A bijector as a layer of functional, sequential and subclassed models.

    `layer(x)` is `bijector.forward(x)` or `bijector.inverse(x)`. The log determinant of
    that map, one number for each row of the batch, is a second output, or goes into the
    loss: `-mean(log_det)`, which with the negative log-density of the output makes
    maximum likelihood. The variables are those of the bijector, not copies.

    Args:
      bijector: any `tfb.Bijector`.
      direction: "forward" or "inverse".
      log_det: "output" to return `(y, log_det)`, "loss" to add it to the loss of the
        model, None to leave it out.
      **kwargs: arguments of `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Raises:
      TypeError: `bijector` is none; the input has no floating dtype.
      ValueError: an argument is none of those named; the context is missing or not
        wanted; the input has fewer axes than the bijector needs besides the batch.
    """

    def __init__(self, bijector, direction="forward", log_det=None, **kwargs):
        if not isinstance(bijector, tfb.Bijector):
            raise TypeError(f"`bijector` must be a `tfb.Bijector`; got {bijector!r}.")
        for name, value, known in [
            ("direction", direction, ("forward", "inverse")),
            ("log_det", log_det, (None, "output", "loss")),
        ]:
            if value not in known:
                raise ValueError(f"`{name}` must be one of {known}; got {value!r}.")
        kwargs.setdefault("dtype", _points.dtype_of(bijector).name)
        super().__init__(autocast=False, **kwargs)
        self.bijector, self.direction, self.log_det = bijector, direction, log_det
        self.context_size = _traversal.missing_context_size(bijector)
        self._context_ndims = _traversal.missing_context_ndims(bijector)
        self._parts = parts_of(bijector)

    def build(self, input_shape):
        """Finds variables that functions in the bijector hold, if there are such."""
        shape = [1, *input_shape[1:]]
        if None not in shape and not self.context_size:
            dtype = _points.dtype_of(self.bijector)
            hidden = hidden_variables(
                self.bijector,
                lambda: getattr(self.bijector, self.direction)(tf.zeros(shape, dtype)),
            )
            self._parts = parts_of(self.bijector, hidden)
        self.built = True

    def call(self, inputs, context=None, training=None):
        """Applies the bijector.

        Args:
          inputs: tensor `[N, ...]`.
          context: tensor `[N, context_size]`, or None.
          training: whether Keras networks within are to behave as in training, and
            layers of batch norm are to normalize by the batch, on the way to the noise.
        """
        bijector, dtype = self.bijector, _points.dtype_of(self.bijector)
        x = _points.floating("inputs", inputs, dtype)
        context = _contexts.as_context(
            context, self.context_size, dtype, self._context_ndims
        )
        if context is not None:
            context = _contexts.paired(
                context, self._context_ndims, x, x.shape.rank - 1
            )
            bijector = _traversal.bind_context(bijector, context, rebind=False)
        x = tf.identity(x)  # for caches that know no graphs
        with phase(training) as entered:
            y, log_det = self._apply(bijector, x, training)
        for loss in entered.added_losses():
            self.add_loss(loss)
        if self.log_det == "loss":
            self.add_loss(-tf.reduce_mean(log_det))
        return (y, log_det) if self.log_det == "output" else y

    def _apply(self, bijector, x, training):
        direction, bound = self.direction, bijector
        batch_norm = (
            training
            and direction == "inverse"
            and (_traversal.has_batch_statistics(bijector))
        )
        if batch_norm:
            bound = _traversal.with_batch_statistics(bijector, x)
        y, log_det = getattr(bound, direction)(x), None
        if self.log_det is not None:
            log_det = getattr(bound, f"{direction}_log_det_jacobian")(
                x, event_ndims=x.shape.rank - 1
            )
            log_det = tf.broadcast_to(log_det, tf.shape(x)[:1])
        if batch_norm:
            _traversal.update_moving_statistics(bijector, bound)
        return y, log_det

    def save_own_variables(self, store):
        save_number(self._parts, store)

    def load_own_variables(self, store):
        check_number(self, self._parts, store)

    def get_config(self):
        bijector = _configuration.describe(self.bijector, "bijector")
        return {
            **super().get_config(),
            **dict(bijector=bijector, direction=self.direction, log_det=self.log_det),
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "bijector": _configuration.make(config["bijector"])})
