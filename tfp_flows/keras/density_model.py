"""Maximum likelihood for any distribution, by `fit`."""

import functools
import numbers

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import _support, _traversal
from tfp_flows.keras import _configuration, _contexts, _feeding, _points
from tfp_flows.keras._maximum_likelihood import MaximumLikelihood
from tfp_flows.keras._parts import parts_of
from tfp_flows.keras._phase import phase, update
from tfp_flows.keras._weights import check_number, save_number
from tfp_flows.keras.backup import epoch_to_resume

tfd = tfp.distributions


@keras.saving.register_keras_serializable("tfp_flows")
class DensityModel(MaximumLikelihood):
    """A distribution as a Keras model: `fit` maximizes the likelihood of data.

    `fit(x)` and `evaluate(x)` take points, of shape `[N, *event_shape]`; their `loss`
    is the mean of `-log_prob(x)` in nats, with sample weights `sum_i w_i loss_i / N`,
    as everywhere in Keras. `predict(x)` returns log-densities `[N]`, and
    `compile(metrics=["nats", "bits_per_dimension"])` reports two more, the first of
    which callbacks such as early stopping know to improve upwards. Points may have more
    axes, `[N, T, *event_shape]`: then means are over all `N T` of them, `predict`
    returns `[N, T]`, and a context `[N, context_size]` is one for each row. Sample
    weights are `[N]`, one for each row, or `[N, T]`; an axis of length 1 may follow.

    A flow with a context takes it as second input: `fit([x, context])`,
    `predict([x, context])`, `validation_data=([x, context],)`. A joint distribution
    takes its structure.

    The variables of the distribution are those of the model, not copies: `summary()`,
    optimizers, callbacks, `save_weights`, `save` and `export` act on them. Layers of
    `ActNorm`, such as that of `standardize=True`, start from the first batch before the
    first step; from arrays of vectors, from 10000 rows. Layers of `BatchNorm`
    normalize by the batch in training. Keras networks within `Conditioner`s know
    training from inference.

    Arrays are trained on in an order that is a function of `seed` and of the epoch
    alone. They, datasets and generators must be of the event shape and finite; of
    datasets, the first batch is looked at. Of contexts there is one for each point, or
    one for each row of points that have more axes. The names of the columns of tables,
    such as those of pandas, are remembered: another order is put right, other names are
    refused. The distribution keeps its dtype under a
    mixed policy, which then is one for the Keras networks within it.

    A loss or gradient that is not finite stops training with an error, before the step
    changes anything; with `keras.callbacks.TerminateOnNaN`, without an error.
    `evaluate` and `predict` report infinities. A point of weight 0 may have density 0,
    but where batch norm takes averages. Of distributions in float16 and bfloat16, means
    have the digits of float32.

    Build flow and model within `strategy.scope()` to train on several devices.

    Args:
      distribution: `tfd.Distribution` of batch shape `[]`.
      seed: integer that decides the order of training data.
      **kwargs: arguments of `keras.Model`: `name`, `dtype`, `trainable`.

    Raises:
      TypeError: `distribution` is none, `seed` is no integer; data have the wrong
        dtype.
      ValueError: the batch shape is not `[]`; a model without trainable variables is
        compiled; data or weights have the wrong shape, are not finite or have targets;
        a loss in training is not finite; the context is missing or not wanted; weights
        are of another architecture.
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
        mixed = "mixed" in keras.config.dtype_policy().name
        if not kwargs.get("dtype") and not mixed:
            kwargs["dtype"] = _points.dtype_of(distribution).name
        super().__init__(_points.dtype_of(distribution), **kwargs)
        self.distribution, self.seed = distribution, int(seed)
        self.context_size = _traversal.missing_context_size(distribution)
        self.context_ndims = _traversal.missing_context_ndims(distribution)
        self._parts = parts_of(distribution, _feeding.hidden_variables_of(self))
        # Past Keras, which would take it for a part to save.
        vars(self)["_columns"] = {}  # names of those of tables, by the place of these
        vars(self)["_sampler"] = tf.function(self._draw, autograph=False)
        self.built = True

    def build(self, input_shape=None):
        """Does nothing: the variables are there."""

    def call(self, inputs, training=None):
        """Returns log-densities.

        Args:
          inputs: `x`, or `[x, context]`.
          training: whether layers of batch norm, and Keras networks, are to behave as
            in training.
        """
        x, context = _points.as_points(self, inputs)
        distribution = self.bound(context)
        with phase(training) as entered:
            if training and _traversal.has_batch_statistics(distribution):
                bound = _traversal.with_batch_statistics(distribution, x)
                log_prob = _support.log_prob(bound, x)
                update(
                    functools.partial(
                        _traversal.update_moving_statistics, distribution, bound
                    )
                )
            else:
                log_prob = _support.log_prob(distribution, x)
        for loss in entered.added_losses():
            self.add_loss(loss)
        return log_prob

    def sample(self, sample_shape=(), *, seed=None, context=None):
        """Returns samples, of shape `[*sample_shape, *event_shape]`.

        Args:
          sample_shape: how many.
          seed: integer, the same for the same samples, or stateless seed; None for
            others in each call.
          context: tensor `[..., context_size]`, whose axes before those of one context
            come after those of `sample_shape`; None for a flow without context.

        Raises:
          ValueError: the context is missing or not wanted.
        """
        context = _contexts.as_context(
            context,
            self.context_size,
            _points.dtype_of(self.distribution),
            self.context_ndims,
        )
        if isinstance(seed, numbers.Integral):
            seed = tf.constant([0, seed])  # TFP would draw another one in each call
        if isinstance(sample_shape, numbers.Integral):
            sample_shape = [sample_shape]
        return self._sampler(tuple(sample_shape), seed, context)

    def _draw(self, sample_shape, seed, context):
        return self.bound(context).sample(sample_shape, seed=seed)

    def bound(self, context):
        """Returns the distribution, given a context if it takes one.

        Args:
          context: tensor `[..., context_size]`, whose axes before the last are the
            batch shape of the result; None for a flow without context.
        """
        if context is None:
            return self.distribution
        return _traversal.bind_context(self.distribution, context, rebind=False)

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
        """Maximizes the likelihood of data; as `keras.Model.fit`, without targets.

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
            raise ValueError("`class_weight` must be None: there are no targets.")
        x = _feeding.as_known(self, x)
        with _feeding.columns_learned(self, x):
            if validation_split and validation_data is None:
                x, sample_weight, validation_data = _feeding.split(
                    self, x, sample_weight, validation_split
                )
            if validation_data is not None:
                validation_data = _feeding.for_evaluation(
                    self,
                    *keras.utils.unpack_x_y_sample_weight(validation_data),
                    validation_batch_size or batch_size,
                )
            initial_epoch = epoch_to_resume(callbacks, initial_epoch)
            x, steps_per_epoch = _feeding.for_training(
                self,
                x,
                sample_weight,
                batch_size,
                shuffle,
                initial_epoch,
                steps_per_epoch,
            )
        callbacks = _feeding.with_epoch(self, callbacks, initial_epoch)
        return super().fit(
            x,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_data=validation_data,
            shuffle=shuffle and isinstance(x, keras.utils.PyDataset),
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
            validation_freq=validation_freq,
        )

    def train_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        """As `keras.Model.train_on_batch`, without targets."""
        _points.check_no_targets(y)
        x = _feeding.as_known(self, x)
        with _feeding.columns_learned(self, x):
            inputs, _, sample_weight = _points.as_data(self, x, sample_weight)
            _feeding.start(self, inputs)
        vars(self).update(_step=None, _raises=True)
        return super().train_on_batch(inputs, None, sample_weight, **kwargs)

    def evaluate(
        self,
        x=None,
        y=None,
        batch_size=None,
        verbose="auto",
        sample_weight=None,
        **kwargs,
    ):
        """As `keras.Model.evaluate`, without targets."""
        data = _feeding.for_evaluation(self, x, y, sample_weight, batch_size)
        return super().evaluate(data, verbose=verbose, **kwargs)

    def predict(self, x, batch_size=None, **kwargs):
        """Returns log-densities `[N]` or `[N, T]`; as `keras.Model.predict`."""
        return super().predict(
            _feeding.for_evaluation(self, x, None, None, batch_size), **kwargs
        )

    def test_on_batch(self, x, *args, **kwargs):
        """As `keras.Model.test_on_batch`, without targets."""
        return super().test_on_batch(_feeding.as_known(self, x), *args, **kwargs)

    def predict_on_batch(self, x):
        """As `keras.Model.predict_on_batch`; returns log-densities."""
        return super().predict_on_batch(_feeding.as_known(self, x))

    def __call__(self, inputs, *args, **kwargs):
        if self._columns:
            inputs = _feeding.as_known(self, inputs)
        return super().__call__(inputs, *args, **kwargs)

    def export(self, filepath, format="tf_saved_model", verbose=None):
        """Exports a SavedModel that serves without this package.

        It has `log_prob(x)`, of points `[N, *event_shape]` and `[N, T, *event_shape]`,
        the first also as `serve`, and `sample(n, seed)` with a seed of shape [2]. For
        flows with a context they are `log_prob(x, context)` and `sample(context,
        seed)`, one sample for each row.

        Args:
          filepath: folder to write.
          format: "tf_saved_model".
          verbose: whether to print what was exported.

        Raises:
          ValueError: `format` is another one.
        """
        if format != "tf_saved_model":
            raise ValueError(f"`format` must be 'tf_saved_model'; got {format!r}.")
        _feeding.export(self, filepath, verbose)

    def save_own_variables(self, store):
        save_number(self._parts, store)

    def load_own_variables(self, store):
        check_number(self, self._parts, store)

    def get_config(self):
        distribution = _configuration.describe(self.distribution, "distribution")
        own = dict(name=self.name, dtype=self.dtype_policy.name, seed=self.seed)
        own.update(dict(columns=dict(self._columns)) if self._columns else {})
        return {**own, "trainable": self.trainable, "distribution": distribution}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        columns = config.pop("columns", {})
        distribution = _configuration.make(config["distribution"])
        model = cls(**{**config, "distribution": distribution})
        model._columns.update(columns)
        return model
