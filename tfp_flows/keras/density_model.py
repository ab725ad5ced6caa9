"""Maximum likelihood for any distribution, by `fit`."""

import numbers

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import _compositions
from tfp_flows.keras import _configuration, _data, _export, _points
from tfp_flows.keras._parts import parts_of
from tfp_flows.keras._phase import phase
from tfp_flows.keras.backup import epoch_to_resume
from tfp_flows.keras.losses import BitsPerDimension, Nats

tfd = tfp.distributions


@keras.saving.register_keras_serializable("tfp_flows")
class DensityModel(keras.Model):
    """A distribution as a Keras model: `fit` maximises the likelihood of data.

    `fit(x)` and `evaluate(x)` take points, of shape `[N, *event_shape]`; their `loss`
    is the mean of `-log_prob(x)` in nats, with sample weights `sum_i w_i loss_i / N`,
    as everywhere in Keras. `predict(x)` returns log-densities `[N]`, and
    `compile(metrics=["nats", "bits_per_dimension"])` reports two more. A flow with a
    context takes it as second input: `fit([x, context])`, `predict([x, context])`,
    `validation_data=([x, context],)`. A joint distribution takes its structure.

    The variables of the distribution are those of the model, not copies: `summary()`,
    optimizers, callbacks, `save_weights`, `save` and `export` act on them. Layers of
    `ActNorm` start from the first batch before the first step. Layers of `BatchNorm`
    normalise by the batch in training. Keras networks within `Conditioner`s know
    training from inference.

    Arrays are trained on in an order that is a function of `seed` and of the epoch
    alone. They, datasets and generators must be of the event shape and finite; of
    datasets, the first batch is looked at. The distribution keeps its dtype under a
    mixed policy, which then is one for the Keras networks within it.

    Build flow and model within `strategy.scope()` to train on several devices.

    Args:
      distribution: `tfd.Distribution` of batch shape `[]`.
      seed: integer that decides the order of training data.
      **kwargs: arguments of `keras.Model`: `name`, `dtype`, `trainable`.

    Raises:
      TypeError: `distribution` is none, `seed` is no integer; data have the wrong
        dtype.
      ValueError: the batch shape is not `[]`; a model without trainable variables is
        compiled; data have the wrong shape, are not finite or have targets; the
        context is missing or not wanted; weights are of another architecture.
    """

    def __init__(self, distribution, seed=0, **kwargs):
        if not isinstance(distribution, tfd.Distribution):
            raise TypeError(
                f"`distribution` must be a `tfd.Distribution`; got {distribution!r}. A "
                "bijector makes one with noise: `tfd.TransformedDistribution`."
            )
        if isinstance(seed, bool) or not isinstance(seed, numbers.Integral):
            raise TypeError(f"`seed` must be an integer; got {seed!r}.")
        _points.check_batch_shape(distribution)
        if not kwargs.get("dtype") and "mixed" not in keras.config.dtype_policy().name:
            kwargs["dtype"] = _points.dtype_of(distribution).name
        super().__init__(autocast=False, **kwargs)
        self.distribution, self.seed = distribution, int(seed)
        self.context_size = _compositions.unbound_context_size(distribution)
        self._parts = parts_of(distribution)
        self._mean_loss = keras.metrics.Mean(name="loss")
        self._sampler = tf.function(self.draw, autograph=False)
        self.built = True

    def build(self, input_shape=None):
        """Does nothing: the variables are there."""

    def compile(self, optimizer="adam", loss=None, *, metrics=None, **kwargs):
        """Configures training; as `keras.Model.compile`, without `loss`.

        Args:
          optimizer: Keras optimizer, or its name.
          loss: None; it is the negative log-likelihood.
          metrics: list of "nats", "bits_per_dimension", and of Keras metrics, which
            are given zeros and log-densities.
          **kwargs: further arguments of `keras.Model.compile`.

        Raises:
          ValueError: the distribution has no trainable variables; `loss` is given.
        """
        if loss is not None:
            raise ValueError(
                "`loss` must be left out, as it is the negative log-likelihood; "
                f"got {loss!r}."
            )
        if optimizer is not None and not self.trainable_variables:
            raise ValueError(
                "`distribution` must have trainable variables to be fitted; got "
                f"{self.distribution!r}, in which none is found. Its parameters must be "
                "`tf.Variable`s, not tensors."
            )
        for name, value in dict(metrics=metrics, **kwargs).items():
            if name in ("metrics", "weighted_metrics") and value:
                kwargs[name] = [self._as_metric(metric) for metric in value]
        super().compile(optimizer, **kwargs)

    def _as_metric(self, metric):
        if metric == "nats":
            return Nats()
        if metric == "bits_per_dimension":
            return BitsPerDimension(_points.size_of(self.distribution))
        return metric

    def compile_from_config(self, config):
        """Compiles as in a `.keras` file; Keras leaves that to who has a `compile`."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    @property
    def metrics(self):
        unused = getattr(self, "_loss_tracker", None)  # of `compute_loss`
        rest = [m for m in super().metrics if m not in (unused, self._mean_loss)]
        return [self._mean_loss, *rest]

    def call(self, inputs, training=None):
        """Returns log-densities.

        Args:
          inputs: `x`, or `[x, context]`.
          training: whether layers of batch norm, and Keras networks, are to behave as
            in training.
        """
        x, context = _points.as_points(self, inputs)
        distribution = self._bound(context)
        with phase(training):
            if not (training and _compositions.has_statistics(distribution)):
                return distribution.log_prob(x)
            bound = _compositions.with_batch_statistics(distribution, x)
            log_prob = bound.log_prob(x)
            _compositions.update_running_statistics(distribution, bound)
            return log_prob

    def sample(self, sample_shape=(), *, seed=None, context=None):
        """Returns samples, of shape `[*sample_shape, *event_shape]`.

        Args:
          sample_shape: how many.
          seed: integer, the same for the same samples, or stateless seed; None for
            others in each call.
          context: tensor `[..., context_size]`, whose axes before the last come after
            those of `sample_shape`; None for a flow without context.

        Raises:
          ValueError: the context is missing or not wanted.
        """
        context = _points.as_context(
            context, self.context_size, _points.dtype_of(self.distribution))
        if isinstance(seed, numbers.Integral):
            seed = tf.constant([0, seed])  # TFP would draw another one in each call
        shape = [sample_shape] if isinstance(sample_shape, numbers.Integral) else sample_shape
        return self._sampler(tuple(shape), seed, context)

    def draw(self, sample_shape, seed, context):
        """Returns samples, as `sample` does, from within a graph."""
        return self._bound(context).sample(sample_shape, seed=seed)

    def _bound(self, context):
        if context is None:
            return self.distribution
        return _compositions.bind_context(self.distribution, context)

    def train_step(self, data):
        x, sample_weight = self._unpacked(data)
        with tf.GradientTape() as tape:
            log_prob = self(x, training=True)
            loss, share = self._loss(log_prob, sample_weight)
            scaled = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        gradients = tape.gradient(scaled, variables)
        self.optimizer.apply_gradients(zip(gradients, variables))
        return self._report(x, log_prob, loss, share, sample_weight)

    def test_step(self, data):
        x, sample_weight = self._unpacked(data)
        log_prob = self(x, training=False)
        loss, share = self._loss(log_prob, sample_weight)
        return self._report(x, log_prob, loss, share, sample_weight)

    def _unpacked(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        _points.check_no_targets(y)
        return x, sample_weight

    def _loss(self, log_prob, sample_weight):
        """Returns the part of this replica in the loss, and its number of rows.

        Replicas may have unequal numbers of rows, or none: their parts add up to the
        mean over all.
        """
        losses = -log_prob
        if sample_weight is not None:
            losses *= tf.cast(sample_weight, losses.dtype)
        number = tf.cast(tf.shape(losses)[0], losses.dtype)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if replicas > 1:
            context = tf.distribute.get_replica_context()
            number = context.all_reduce(tf.distribute.ReduceOp.SUM, number)
        loss = tf.reduce_sum(losses) / number
        for more in self.losses:  # of regularisers
            loss += tf.cast(more, loss.dtype) / replicas
        return loss, number / replicas

    def _report(self, x, log_prob, loss, share, sample_weight):
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self._mean_loss.update_state(loss * replicas, sample_weight=share)
        zeros = tf.zeros_like(log_prob)
        return self.compute_metrics(x, zeros, log_prob, sample_weight)

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        initial_epoch=0,
        steps_per_epoch=None,
        validation_steps=None,
        validation_batch_size=None,
        validation_freq=1,
    ):
        """Maximises the likelihood of data; as `keras.Model.fit`, without targets.

        Args:
          x: points, or `[points, context]`: arrays or tensors, or whatever Keras takes
            for data, such as a `tf.data.Dataset` of batches `(x,)`.
          y, class_weight: None.
          others: as for `keras.Model.fit`.

        Returns:
          history: `keras.callbacks.History`.

        Raises:
          TypeError, ValueError: as the class says.
        """
        _points.check_no_targets(y)
        if class_weight is not None:
            raise ValueError("`class_weight` must be None, as there are no targets.")
        batch_size = batch_size or 32
        if _data.are_arrays(x):
            data = _points.as_data(self, x, sample_weight)
            if validation_split and validation_data is None:
                data, validation_data = _data.split(data, validation_split)
            self._start(_data.spread(data, min(batch_size, _data.number_of(data)))[0])
            whole = -(-_data.number_of(data) // batch_size)
            steps_per_epoch = steps_per_epoch or whole
            initial_epoch = epoch_to_resume(callbacks, initial_epoch)
            x = _data.shuffled(
                data, batch_size, self.seed, initial_epoch * steps_per_epoch, shuffle)
        else:
            batch, x = _data.first_batch(x, self.distribute_strategy)
            x_first, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
            _points.check_no_targets(y)
            self._start(_points.as_data(self, x_first, weight)[0])
        if validation_data is not None:
            validation_data = self._dataset(
                *keras.utils.unpack_x_y_sample_weight(validation_data),
                validation_batch_size or batch_size)
        return super().fit(
            x, epochs=epochs, verbose=verbose, callbacks=callbacks,
            validation_data=validation_data, shuffle=False,
            initial_epoch=initial_epoch, steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps, validation_freq=validation_freq)

    def evaluate(self, x=None, y=None, batch_size=None, verbose="auto",
                 sample_weight=None, **kwargs):
        """As `keras.Model.evaluate`, without targets."""
        data = self._dataset(x, y, sample_weight, batch_size)
        return super().evaluate(data, verbose=verbose, **kwargs)

    def predict(self, x, batch_size=None, **kwargs):
        """Returns log-densities `[N]`; as `keras.Model.predict`."""
        return super().predict(self._dataset(x, None, None, batch_size), **kwargs)

    def _dataset(self, x, y, sample_weight, batch_size):
        """Returns a dataset for arrays, and other data as they are."""
        _points.check_no_targets(y)
        if not _data.are_arrays(x):
            return x
        data = _points.as_data(self, x, sample_weight)
        return _data.in_order(data, batch_size or 32)

    def _start(self, inputs):
        """Starts layers such as `ActNorm` from a batch, if they have not been."""
        flags = _compositions.flags_of_start(self.distribution)
        if all(bool(flag.numpy()) for flag in flags):
            return
        x, context = _points.as_points(self, inputs)
        with phase(False):
            _compositions.start_from_data(self._bound(context), x)

    def export(self, filepath, format="tf_saved_model", verbose=None, **kwargs):
        """Exports a SavedModel that serves without this package.

        It has `log_prob(x)`, also as `serve`, and `sample(n, seed)` with a seed of
        shape [2]. For flows with a context they are `log_prob(x, context)` and
        `sample(context, seed)`, one sample for each row.

        Args:
          filepath: folder to write.
          format: "tf_saved_model".
          verbose: whether to print what was exported.
          **kwargs: none.

        Raises:
          ValueError: `format` is another one.
        """
        if format != "tf_saved_model" or kwargs:
            raise ValueError(
                "`format` must be 'tf_saved_model', without further arguments; got "
                f"{format!r} and {sorted(kwargs)}."
            )
        _export.export(self, filepath, verbose)

    def get_config(self):
        distribution = _configuration.describe(self.distribution, "distribution")
        own = dict(name=self.name, dtype=self.dtype_policy.name, seed=self.seed)
        return {**own, "trainable": self.trainable, "distribution": distribution}

    @classmethod
    def from_config(cls, config):
        distribution = _configuration.make(config["distribution"])
        return cls(**{**config, "distribution": distribution})
