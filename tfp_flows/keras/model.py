"""Maximum likelihood for any distribution, by `fit`."""

from __future__ import annotations

import functools
import numbers
import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import _support, _traversal
from tfp_flows._typing import Distribution, Seed, Shape, TensorLike
from tfp_flows.keras import _fit_inputs, _inputs, _serialization
from tfp_flows.keras._train_step import LikelihoodModel
from tfp_flows.keras._training_mode import training_mode, update
from tfp_flows.keras._variable_tracking import holders_of
from tfp_flows.keras.backup import epoch_to_resume

tfd = tfp.distributions


@keras.saving.register_keras_serializable("tfp_flows")
class DensityModel(LikelihoodModel):
    """Keras model of a distribution: `fit` maximizes the likelihood of data.

    `fit(x)` and `evaluate(x)` take examples, of shape `[N, *event_shape]`. Their `loss`
    is the mean of `-log_prob(x)` in nats, with sample weights `sum_i w_i loss_i / N`,
    as in all of Keras. `predict(x)` returns log densities `[N]`. The metrics
    "log_likelihood" and "bits_per_dimension" of `compile` are means over examples;
    callbacks such as early stopping maximize the first and minimize the second.

    >>> from tfp_flows import flows
    >>> model = DensityModel(flows.maf(2, num_layers=1, hidden_units=(8,), seed=0))
    >>> model.compile("adam", metrics=["bits_per_dimension"])
    >>> x = np.random.default_rng(0).normal(size=[64, 2])
    >>> history = model.fit(x, batch_size=32, epochs=2, verbose=0)
    >>> sorted(history.history)
    ['bits_per_dimension', 'loss']
    >>> model.predict(x, verbose=0).shape, model.sample(5, seed=0).shape
    ((64,), TensorShape([5, 2]))

    **Shapes.** Examples may have more batch axes, `[N, T, *event_shape]`. Then means
    are over all `N T` examples, and `predict` returns `[N, T]`. Sample weights have
    shape `[N]`, one for each row, or `[N, T]`; an axis of length 1 may follow. A
    conditional flow takes its context as second input: `fit([x, context])`,
    `predict([x, context])`, `validation_data=([x, context],)`. There is one context for
    each example, or for each row. A joint distribution takes its structure.

    **Variables.** The model tracks the variables of the distribution, not copies of
    them. So `summary`, optimizers, callbacks, `save_weights`, `save` and `export` act
    on them. Layers such as `ActNorm`, also that of `standardize=True`, are initialized
    from the first batch, before the first step; from 10000 rows where data are arrays
    of vectors. `BatchNorm` layers normalize by the batch in training. Keras networks in
    a `Conditioner` are in training mode during training. The distribution keeps its
    dtype under a mixed policy, which applies to the Keras networks in it.

    **Data.** The order of arrays is a function of `shuffle_seed` and of the epoch. Data
    must be finite and of the event shape; of datasets, only the first batch is checked.
    The model remembers the column names of tables, such as those of pandas. Tables with
    another order of columns are reordered, tables with other names refused.

    **Numbers that are not finite.** A loss or gradient that is not finite stops
    training with an error, before the step changes anything. With
    `keras.callbacks.TerminateOnNaN` there is no error. `evaluate` and `predict` return
    infinities. An example of weight 0 may have density 0, except where batch
    normalization averages over it. For float16 and bfloat16, means are in float32.

    **Devices.** Build flow and model within `strategy.scope()` to train on several.

    Args:
      distribution: `tfd.Distribution` of batch shape `[]`.
      shuffle_seed: integer that determines the order of training data.
      **kwargs: arguments of `keras.Model`: `name`, `dtype`, `trainable`.

    Raises:
      TypeError: `distribution` is not a `tfd.Distribution`; `shuffle_seed` is not an
        integer; data have the wrong dtype.
      ValueError: the batch shape is not `[]`; a model without trainable variables is
        compiled; data or weights have the wrong shape, are not finite or have targets;
        a loss in training is not finite; the context is missing or not wanted; weights
        in a file are of another architecture.
    """

    distribution: Distribution
    shuffle_seed: int
    context_size: int
    context_ndims: int
    columns: dict[str, list[str]]
    _holders: list[keras.layers.Layer]

    def __init__(
        self, distribution: Distribution, shuffle_seed: int = 0, **kwargs: Any
    ) -> None:
        if not isinstance(distribution, tfd.Distribution):
            raise TypeError(
                f"`distribution` must be a `tfd.Distribution`; got {distribution!r}. "
                "Combine a bijector with a base distribution in a "
                "`tfd.TransformedDistribution`."
            )
        is_bool = isinstance(shuffle_seed, bool)
        if is_bool or not isinstance(shuffle_seed, numbers.Integral):
            raise TypeError(f"`shuffle_seed` must be an integer; got {shuffle_seed!r}.")
        _inputs.check_batch_shape(distribution)
        mixed = "mixed" in keras.config.dtype_policy().name
        if not kwargs.get("dtype") and not mixed:
            kwargs["dtype"] = _inputs.floating_dtype(distribution).name
        super().__init__(_inputs.floating_dtype(distribution), **kwargs)
        self.distribution, self.shuffle_seed = distribution, int(shuffle_seed)
        self.context_size = _traversal.missing_context_size(distribution)
        self.context_ndims = _traversal.missing_context_ndims(distribution)
        untracked = _fit_inputs.untracked_variables_of(self)
        self._holders = holders_of(distribution, untracked)
        # Past Keras, which would save them.
        self.__dict__["columns"] = {}  # names of the columns of tables, by their place
        self.__dict__["_sampler"] = tf.function(self._sample, autograph=False)
        self.built = True

    def build(self, input_shape: Any = None) -> None:
        """Do nothing, because the variables exist.

        Args:
          input_shape: not used.
        """

    def call(self, inputs: Any, training: bool | None = None) -> tf.Tensor:
        """Return log densities.

        Args:
          inputs: `x`, or `[x, context]`.
          training: whether `BatchNorm` layers and Keras networks behave as in training.
        """
        x, context = _inputs.as_events(self, inputs)
        distribution = self.condition(context)
        with training_mode(training) as mode:
            if training and _traversal.has_batch_statistics(distribution):
                of_batch = _traversal.with_batch_statistics(distribution, x)
                log_prob = _support.log_prob(of_batch, x)
                update(
                    functools.partial(
                        _traversal.update_moving_statistics, distribution, of_batch
                    )
                )
            else:
                log_prob = _support.log_prob(distribution, x)
        for loss in mode.added_losses():
            self.add_loss(loss)
        return log_prob

    def condition(self, context: TensorLike | None) -> Distribution:
        """Return the distribution, conditioned on a context if it takes one.

        Args:
          context: tensor `[..., context_size]`, whose axes before the last are the
            batch shape of the result; None for a flow that takes no context.
        """
        if context is None:
            return self.distribution
        return _traversal.bind_context(self.distribution, context, rebind=False)

    def sample(
        self,
        sample_shape: Shape = (),
        *,
        seed: Seed = None,
        context: TensorLike | None = None,
    ) -> tf.Tensor:
        """Draw samples, in a graph that is traced once.

        Args:
          sample_shape: number of samples, or shape.
          seed: PRNG seed: an int or a pair of ints for reproducible draws, or None; see
            `tfp.random.sanitize_seed`.
          context: tensor `[..., context_size]`, whose batch axes follow `sample_shape`;
            None for a flow that takes no context.

        Returns:
          samples: tensor of shape `[*sample_shape, ..., *event_shape]`.

        Raises:
          ValueError: the context is missing or not wanted.
        """
        context = _inputs.as_context(
            context,
            self.context_size,
            _inputs.floating_dtype(self.distribution),
            self.context_ndims,
        )
        if isinstance(seed, numbers.Integral):
            seed = tf.constant([0, seed])  # TFP would change it in each call
        is_number = isinstance(sample_shape, numbers.Integral)
        shape: Any = [sample_shape] if is_number else sample_shape
        return self._sampler(tuple(shape), seed, context)

    def _sample(self, sample_shape: Any, seed: Any, context: Any) -> tf.Tensor:
        return self.condition(context).sample(sample_shape, seed=seed)

    def fit(
        self,
        x: Any = None,
        y: None = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
    ) -> keras.callbacks.History:
        """Maximize the likelihood of data, as `keras.Model.fit` without targets.

        Args:
          x: examples, or `[examples, context]`: arrays or tensors, or any data that
            Keras takes, such as a `tf.data.Dataset` of batches `(x,)`.
          y, class_weight: None.
          others: as for `keras.Model.fit`.

        Returns:
          history: `keras.callbacks.History`.

        Raises:
          TypeError, ValueError: see the class.
        """
        _inputs.check_no_targets(y)
        if class_weight is not None:
            raise ValueError(
                "`class_weight` must be None, because there are no targets; got "
                f"{class_weight!r}. Pass `sample_weight`."
            )
        x = _fit_inputs.known_columns(self, x)
        with _fit_inputs.new_columns(self, x):
            if validation_split and validation_data is None:
                x, sample_weight, validation_data = _fit_inputs.split(
                    self, x, sample_weight, validation_split
                )
            if validation_data is not None:
                val_x, val_y, val_weight = keras.utils.unpack_x_y_sample_weight(
                    validation_data
                )
                size = validation_batch_size or batch_size
                validation_data = _fit_inputs.prepare_evaluation_data(
                    self, val_x, val_y, val_weight, size
                )
            initial_epoch = epoch_to_resume(callbacks, initial_epoch)
            x, steps_per_epoch = _fit_inputs.prepare_training_data(
                self,
                x,
                sample_weight,
                batch_size,
                shuffle,
                initial_epoch,
                steps_per_epoch,
            )
        return super().fit(
            x,
            epochs=epochs,
            verbose=verbose,
            callbacks=self._with_position(callbacks, initial_epoch),
            validation_data=validation_data,
            shuffle=shuffle and isinstance(x, keras.utils.PyDataset),
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
            validation_freq=validation_freq,
        )

    def _with_position(self, callbacks: Any, initial_epoch: int) -> Any:
        """Returns callbacks of `fit`, and one that keeps `position` up to date."""
        position = self.position
        position.epoch, position.step = initial_epoch, 0

        def on_epoch_begin(epoch: int, logs: Any) -> None:
            position.epoch = epoch

        def on_train_batch_begin(step: int, logs: Any) -> None:
            position.step = step

        keep = keras.callbacks.LambdaCallback(
            on_epoch_begin=on_epoch_begin, on_train_batch_begin=on_train_batch_begin
        )
        is_list = isinstance(callbacks, keras.callbacks.CallbackList)
        given = callbacks.callbacks if is_list else tf.nest.flatten(callbacks or [])
        self.__dict__["raises_if_refused"] = not any(
            isinstance(callback, keras.callbacks.TerminateOnNaN) for callback in given
        )
        if is_list:
            callbacks.append(keep)
            return callbacks
        return [*given, keep]

    def train_on_batch(
        self, x: Any, y: None = None, sample_weight: Any = None, **kwargs: Any
    ) -> Any:
        """Do one step of training, as `keras.Model.train_on_batch` without targets.

        Args:
          x: examples, or `[examples, context]`.
          y: None.
          sample_weight: weights of examples or of rows, or None.
          **kwargs: as for `keras.Model.train_on_batch`.
        """
        _inputs.check_no_targets(y)
        x = _fit_inputs.known_columns(self, x)
        with _fit_inputs.new_columns(self, x):
            inputs, _, sample_weight = _inputs.as_data(self, x, sample_weight)
            _fit_inputs.initialize(self, inputs)
        self.position.step = None
        self.__dict__["raises_if_refused"] = True
        return super().train_on_batch(inputs, None, sample_weight, **kwargs)

    def evaluate(
        self,
        x: Any = None,
        y: None = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Return loss and metrics, as `keras.Model.evaluate` without targets.

        Args:
          x: examples, or `[examples, context]`.
          y: None.
          batch_size, verbose, sample_weight, **kwargs: as for `keras.Model.evaluate`.
        """
        data = _fit_inputs.prepare_evaluation_data(
            self, x, y, sample_weight, batch_size
        )
        return super().evaluate(data, verbose=verbose, **kwargs)

    def predict(
        self, x: Any, batch_size: int | None = None, **kwargs: Any
    ) -> np.ndarray:
        """Return log densities, as `keras.Model.predict`.

        Args:
          x: examples, or `[examples, context]`.
          batch_size, **kwargs: as for `keras.Model.predict`.

        Returns:
          log_prob: array of shape `[N]` or `[N, T]`.
        """
        data = _fit_inputs.prepare_evaluation_data(self, x, None, None, batch_size)
        return super().predict(data, **kwargs)

    def test_on_batch(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Return loss and metrics, as `keras.Model.test_on_batch` without targets.

        Args:
          x: examples, or `[examples, context]`.
          *args, **kwargs: as for `keras.Model.test_on_batch`.
        """
        x = _fit_inputs.known_columns(self, x)
        return super().test_on_batch(x, *args, **kwargs)

    def predict_on_batch(self, x: Any) -> np.ndarray:
        """Return log densities, as `keras.Model.predict_on_batch`.

        Args:
          x: examples, or `[examples, context]`.
        """
        return super().predict_on_batch(_fit_inputs.known_columns(self, x))

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> tf.Tensor:
        if self.columns:
            inputs = _fit_inputs.known_columns(self, inputs)
        return super().__call__(inputs, *args, **kwargs)

    def export(
        self,
        filepath: str | os.PathLike[str],
        format: str = "tf_saved_model",
        verbose: bool | None = None,
    ) -> None:
        """Export a SavedModel that serves without this package.

        It has `log_prob(x)`, for examples `[N, *event_shape]` and
        `[N, T, *event_shape]`; the first also as `serve`. And it has
        `sample(n, seed)` with a seed of shape `[2]`. For conditional flows these are
        `log_prob(x, context)` and `sample(context, seed)`, one sample for each row.

        Args:
          filepath: folder to write.
          format: "tf_saved_model".
          verbose: whether to print what was exported.

        Raises:
          ValueError: `format` is another one.
        """
        if format != "tf_saved_model":
            raise ValueError(f"`format` must be 'tf_saved_model'; got {format!r}.")
        dtype = _inputs.floating_dtype(self.distribution)
        examples = _inputs.specs_of(self.distribution)
        seed = tf.TensorSpec([2], tf.int32, "seed")
        contexts, drawn = [], tf.TensorSpec([], tf.int32, "n")
        if self.context_size:
            axes = [None] * self.context_ndims
            drawn = tf.TensorSpec([*axes, self.context_size], dtype, "context")
            contexts = [drawn]

        def log_prob(*inputs: tf.Tensor) -> tf.Tensor:
            x = tf.nest.pack_sequence_as(
                self.distribution.dtype, list(inputs[: len(examples)])
            )
            return self([x, inputs[-1]] if contexts else x, training=False)

        def sample(number_or_context: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
            context = number_or_context if contexts else None
            shape = [] if contexts else number_or_context
            return self.condition(context).sample(shape, seed=seed)

        archive = keras.export.ExportArchive()
        for holder in self._holders:  # a joint distribution cannot be tracked
            archive.track(holder)
        archive.add_endpoint("serve", log_prob, [*examples, *contexts])
        more_axes = _for_more_axes(log_prob, examples, contexts)
        archive.add_endpoint("log_prob", more_axes)
        archive.add_endpoint("sample", sample, [drawn, seed])
        archive.write_out(filepath, verbose=bool(verbose))

    def save_own_variables(self, store: Any) -> None:
        _serialization.save_number(self._holders, store)

    def load_own_variables(self, store: Any) -> None:
        _serialization.check_number(self, self._holders, store)

    def get_config(self) -> dict[str, Any]:
        described = _serialization.serialize(self.distribution, "distribution")
        config = dict(
            name=self.name,
            dtype=self.dtype_policy.name,
            trainable=self.trainable,
            shuffle_seed=self.shuffle_seed,
            distribution=described,
        )
        return {**config, **({"columns": dict(self.columns)} if self.columns else {})}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DensityModel:
        config = dict(config)
        columns = config.pop("columns", {})
        distribution = _serialization.deserialize(config["distribution"])
        model = cls(**{**config, "distribution": distribution})
        model.columns.update(columns)
        return model


def _for_more_axes(
    log_prob: Any, examples: Sequence[tf.TensorSpec], contexts: Sequence[tf.TensorSpec]
) -> Any:
    """Returns a graph for examples `[N, ...]`, and one for those with another axis."""
    function = tf.function(log_prob, autograph=False)
    function.get_concrete_function(*examples, *contexts)
    longer = [
        tf.TensorSpec([None, *spec.shape], spec.dtype, spec.name) for spec in examples
    ]
    function.get_concrete_function(*longer, *contexts)
    return function
