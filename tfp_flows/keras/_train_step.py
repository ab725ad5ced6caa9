"""Loss and training step of a density model, and when a step is refused.

After a step with NaN a model is lost: each variable that the gradient reaches is NaN.
So the step itself decides, within its graph, whether it is done, and its caller reads
what it noted. A graph of one step stops at an assertion before it changes variables,
also on several replicas. Several steps in one call branch, since those before are to be
kept. XLA lacks assertions, and a branch there copies all variables: it selects between
values. Keras does not use XLA with several replicas.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_flows import _support, _traversal
from tfp_flows.keras import _inputs, _replicas
from tfp_flows.keras._training_mode import held_updates, training_mode
from tfp_flows.keras.losses import BitsPerDimension, LogLikelihood, check_metric


@dataclasses.dataclass
class Position:
    """Where training is: the epoch, and the step in it, None outside of `fit`."""

    epoch: int = 0
    step: int | None = None


class LikelihoodModel(_replicas.ReplicatedModel):
    """Keras model of a `distribution`, whose loss is its negative log likelihood.

    Args:
      log_prob_dtype: floating dtype of log densities. Loss and metrics have at least
        float32, because sums over many rows need its digits and range.
      **kwargs: arguments of `keras.Model`.
    """

    distribution: Any
    train_function: Any

    def __init__(self, log_prob_dtype: tf.DType, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        wide = log_prob_dtype if log_prob_dtype == tf.float64 else tf.float32
        self._mean_loss = keras.metrics.Mean(name="loss", dtype=wide.name)
        # Past Keras, which would save them.
        hidden = dict(_gate=Gate(), position=Position(), raises_if_refused=True)
        self.__dict__.update(hidden)

    def compile(
        self,
        optimizer: Any = "adam",
        loss: None = None,
        *,
        metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """Configure training, as `keras.Model.compile` but without `loss`.

        Args:
          optimizer: Keras optimizer, or its name.
          loss: None; the loss is the negative log likelihood.
          metrics: list of "log_likelihood", "bits_per_dimension", and custom functions
            and metrics, whose arguments are zeros and log densities.
          **kwargs: further arguments of `keras.Model.compile`.

        Raises:
          ValueError: the distribution has no trainable variables; `loss` is given; a
            metric is one of Keras, which compare predictions with targets.
        """
        if loss is not None:
            raise ValueError(
                "`loss` must be None, because it is the negative log likelihood; "
                f"got {loss!r}."
            )
        if optimizer is not None and not self.trainable_variables:
            raise ValueError(
                "`distribution` must have trainable variables to be fitted; got "
                f"{self.distribution!r}, which has none. Its parameters must be "
                "`tf.Variable`s, not tensors."
            )
        for name, value in dict(metrics=metrics, **kwargs).items():
            if name in ("metrics", "weighted_metrics") and value:
                value = [value] if isinstance(value, str) else value
                kwargs[name] = [self._as_metric(metric, name) for metric in value]
        self.__dict__.update(
            _has_unweighted_metrics=bool(metrics),
            _has_built_metrics=False,
            _averages_rows=self._finds_averages_of_rows(),
        )
        super().compile(optimizer, **kwargs)

    def _as_metric(self, metric: Any, argument: str) -> Any:
        if metric == "log_likelihood":
            return LogLikelihood(dtype=self._mean_loss.dtype)
        if metric == "bits_per_dimension":
            size = _inputs.event_size(self.distribution)
            return BitsPerDimension(size, dtype=self._mean_loss.dtype)
        check_metric(metric, argument)
        return metric

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as in a `.keras` file.

        Args:
          config: as `get_compile_config` of Keras returns it.
        """
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    @property
    def metrics(self) -> list[Any]:
        """Metrics, with the mean loss over examples in place of that of Keras."""
        others = [metric for metric in super().metrics if metric.name != "loss"]
        return [self._mean_loss, *others]

    def _finds_averages_of_rows(self) -> bool:
        """Returns whether the density of a row depends on others in training."""
        return _traversal.has_batch_statistics(self.distribution) or any(
            isinstance(layer, keras.layers.BatchNormalization)
            and not layer.synchronized
            for layer in self._flatten_layers()
        )

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Return the mean of `-w log p(x)` over a batch, and update the metric `loss`.

        Args:
          x: not used.
          y: None.
          y_pred: log densities, as the model returns for a batch.
          sample_weight: weights `w` of examples or of rows, or None.
          training: not used.

        Returns:
          loss: scalar, with the losses that Keras networks add. With several replicas,
            the contribution of this one: the sum over replicas is the mean.
        """
        _inputs.check_no_targets(y)
        log_prob, weights = _flat(y_pred, sample_weight)
        losses = -log_prob
        if weights is not None:  # examples of weight 0 may be outside of the support
            losses = tf.math.multiply_no_nan(losses, weights)
        added = [tf.cast(loss, losses.dtype) for loss in self.losses]
        loss, examples = _replicas.contribution_to_mean(losses, added)
        mean = loss * _replicas.number()
        self._mean_loss.update_state(mean, sample_weight=examples)
        return loss

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Update the compiled metrics, and return the results of all metrics.

        Args:
          x: inputs.
          y: None.
          y_pred: log densities, as the model returns for a batch.
          sample_weight: weights of examples or of rows, or None.
        """
        log_prob, weights = _flat(y_pred, sample_weight)
        columns = log_prob[:, tf.newaxis]  # Keras's metrics would sum rows
        logs = super().compute_metrics(x, tf.zeros_like(columns), columns, weights)
        return _replicas.stack_of_workers(logs)

    def build_metrics(self) -> None:
        self.compute_metrics(None, None, tf.zeros([1], self._mean_loss.dtype))
        self.reset_metrics()

    def train_step(self, data: Any) -> dict[str, Any]:
        """Do one step of training, unless loss or gradient are not finite.

        Keras's own step updates the variables whatever the gradient is. Its `test_step`
        is used as it is.

        Args:
          data: `x`, `(x,)` or `(x, None, sample_weight)`, where `x` may be
            `(x, context)`.

        Returns:
          logs: dictionary of the results of metrics.
        """
        given, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        _inputs.check_no_targets(y)
        if self._averages_rows:
            _replicas.check_rows(given)
        x, replaced = given, sample_weight is not None and not self._averages_rows
        if replaced:
            x = _inputs.replace_weightless(self, given, sample_weight)
        with held_updates() as updates, tf.GradientTape() as tape:
            log_prob = self(x, training=True)
            loss = self.compute_loss(x, None, log_prob, sample_weight, training=True)
            scaled = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        gradients = tape.gradient(scaled, variables)
        reported = log_prob
        if replaced and self._has_unweighted_metrics:  # before the variables change
            reported = self._log_prob_of_all(given, log_prob, sample_weight)

        def apply() -> None:
            clipped = _replicas.clip_sum(gradients, self.optimizer)
            self.optimizer.apply_gradients(zip(clipped, variables))
            for update in updates:
                update()

        # That optimizer itself skips gradients that overflow.
        scales = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        finite = all_finite(loss, [] if scales else gradients)
        changed = None
        if self.jit_compile and not self.run_eagerly:
            changed = [*variables, *self.optimizer.variables]
            changed += self.non_trainable_variables if updates else []
            changed = [variable.value for variable in changed]
        self._gate.step(
            finite,
            lambda: _count(log_prob, sample_weight),
            self.steps_per_execution > 1,
            apply,
            changed,
        )
        if _replicas.number() == 1:  # NaN shows that a step was refused, if it ends
            total = self._mean_loss.total
            zero, nan = (tf.constant(value, total.dtype) for value in (0.0, np.nan))
            total.assign_add(tf.where(finite, zero, nan))
        return self.compute_metrics(x, None, reported, sample_weight)

    def _log_prob_of_all(
        self, inputs: Any, log_prob: tf.Tensor, sample_weight: Any
    ) -> tf.Tensor:
        """Returns log densities of all examples, including those of weight 0."""
        weights = _inputs.as_weights(sample_weight, log_prob, tf.float32)
        weightless = tf.equal(weights, 0.0)

        def evaluate() -> tf.Tensor:
            x, context = _inputs.as_events(self, inputs)
            with held_updates(), training_mode(False):
                found = _support.log_prob(self.condition(context), x)
            return tf.where(weightless, tf.cast(found, log_prob.dtype), log_prob)

        return tf.cond(tf.reduce_any(weightless), evaluate, lambda: log_prob)

    def make_train_function(self, force: bool = False) -> Callable[..., Any]:
        """Create `train_function`.

        As in Keras, except for single steps on one device: Keras reads batches from the
        iterator in a graph, which takes as long as a small step.

        Args:
          force: whether to replace a function that exists.
        """
        if self.train_function is not None and not force:
            return self.train_function
        replicas = self.distribute_strategy.num_replicas_in_sync
        if replicas > 1 or self.run_eagerly or self.steps_per_execution > 1:
            super().make_train_function(force)
            steps = self.train_function

            def several(iterator: Any) -> dict[str, Any]:
                if self.steps_per_execution > 1:
                    self._gate.reset()
                return self._checked(lambda: steps(iterator))

            self.train_function = several
            return self.train_function
        step = tf.function(
            self.train_step,
            autograph=False,
            reduce_retracing=True,
            jit_compile=self.jit_compile,
        )
        traced = [None, step]  # `element_spec` of an iterator, and the graph for it

        def function(iterator: Any) -> dict[str, Any]:
            spec = getattr(iterator, "element_spec", None)
            if spec != traced[0]:
                traced[:] = spec, _trace_step(step, spec)
            data = next(iterator)
            return self._checked(lambda: traced[1](data), data)

        self.train_function = function
        return function

    def _checked(self, steps: Callable[[], Any], data: Any = None) -> dict[str, Any]:
        """Returns the logs of steps.

        Args:
          steps: callable that does them.
          data: the batch, if it is one.

        Raises:
          ValueError: a step was refused, unless `raises_if_refused` is false.
        """
        try:
            logs = steps()
        except tf.errors.OpError as error:
            refusal = self._gate.refusal()
            if refusal is None:
                raise
            several = self.distribute_strategy.num_replicas_in_sync > 1
            if several or self.raises_if_refused:
                raise ValueError(self._reason(refusal, data)) from error
            self._mean_loss.update_state(np.nan)
            return self.get_metrics_result()
        if not np.isfinite(logs.get("loss", 0.0)):
            refusal = self._gate.refusal()
            if refusal is not None and self.raises_if_refused:
                raise ValueError(self._reason(refusal, data))
        return logs

    def _reason(self, refusal: Refusal, data: Any = None) -> str:
        """Returns the message for a step that was refused.

        Args:
          refusal: what the step noted.
          data: its batch, or None if it is not at hand.
        """
        place, step = "the batch", self.position.step
        if step is not None:
            step += refusal.steps_before + 1
            place = f"batch {step} of epoch {self.position.epoch + 1}"
        if refusal.not_finite:
            text = (
                "The loss must be finite; got a log density that is NaN or infinite for"
                f" {refusal.not_finite} of the {refusal.examples} examples of {place}."
            )
        else:
            text = (
                "Loss and gradient must be finite; got a sum or a gradient that is not "
                f"finite, from finite log densities, in {place}."
            )
        not_finite = self.not_finite_variables()
        if not_finite:
            return (
                f"{text} Variables were not finite before this step: {not_finite}. Use "
                "a lower learning rate, or clip gradients by `clipnorm`."
            )
        x = None if data is None else self._examples_of(data)
        return f"{text} The step changed no variable. {self.likely_causes(x)}"

    def _examples_of(self, data: Any) -> Any:
        """Returns the examples of a batch, or None if they are not tensors."""
        x = data[0] if isinstance(data, tuple) else data
        if not all(tf.is_tensor(leaf) for leaf in tf.nest.flatten(x)):
            return None
        return _inputs.as_events(self, x)[0]

    def not_finite_variables(self) -> list[str]:
        """Returns the paths of variables that are not finite."""
        return [
            variable.path
            for variable in self.variables
            if variable.dtype.startswith(("float", "bfloat"))
            and not np.all(np.isfinite(variable.numpy()))
        ]

    def likely_causes(self, x: Any) -> str:
        """Returns likely causes of numbers that are not finite, and remedies.

        Args:
          x: examples, or None.
        """
        return (
            "Likely causes: examples outside of the support of the distribution, which "
            "`predict` finds: drop them, or use a distribution whose support contains "
            f"them; columns of different scales{self._scales_of(x)}: standardize them, "
            "or build the flow with `standardize=True`."
        )

    def _scales_of(self, x: Any) -> str:
        """Returns the range of the scales of columns, where examples are vectors."""
        shape = self.distribution.event_shape
        if x is None or not isinstance(shape, tf.TensorShape) or shape.rank != 1:
            return ""
        columns = np.reshape(np.array(x, np.float64), [-1, x.shape[-1]])
        columns = columns[np.all(np.isfinite(columns), axis=-1)]
        if not len(columns) or not columns.shape[-1]:
            return ""
        scales = np.std(columns, axis=0)
        low, high = np.min(scales), np.max(scales)
        return f" (standard deviations of {low:.2g} to {high:.2g} here)"


@dataclasses.dataclass
class Refusal:
    """What a step noted that was refused.

    Args:
      examples: number of examples of its batch.
      not_finite: number of those without a finite log density.
      steps_before: number of steps that were done before it in the same call.
    """

    examples: int
    not_finite: int
    steps_before: int


class Gate:
    """Does those steps whose loss and gradient are finite, and notes the others."""

    def __init__(self) -> None:
        self._strategy = tf.distribute.get_strategy()
        # Whether a step was refused; of that step, numbers of examples and of those
        # without a finite log density; and how many steps were done before it.
        self._notes = tf.Variable(
            tf.zeros([4], tf.int64),
            trainable=False,
            name="notes",
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def step(
        self,
        finite: tf.Tensor,
        count: Callable[[], tf.Tensor],
        several: bool,
        apply: Callable[[], None],
        compiled_variables: Sequence[tf.Variable] | None = None,
    ) -> None:
        """Calls `apply` if the step is to be done.

        Args:
          finite: whether loss and gradient of this replica are finite.
          count: callable that returns numbers of examples of this replica, and of those
            without a finite log density, as a tensor `[2]`.
          several: whether several steps are done in one call: then none is done after
            one that was refused.
          apply: callable without arguments that changes the model.
          compiled_variables: None, or, under XLA, the variables that `apply` changes.
            There a selection between values is free, and a branch copies all variables.
        """
        one = not (several or compiled_variables or tf.executing_eagerly())
        if one or _replicas.number() > 1:
            self._assert_and_apply(finite, count, apply)
            return

        def refused() -> tf.Tensor:
            notes = self._notes.read_value()
            new = tf.concat([[1], count(), notes[3:]], axis=0)
            return tf.where(notes[0] > 0, notes, new) if several else new

        def done() -> int:
            apply()
            if several:
                self._notes.assign_add([0, 0, 0, 1])
            return 0

        def not_done() -> int:
            self._notes.assign(refused())
            return 0

        if several:
            finite &= self._notes[0] == 0
        if compiled_variables is None:
            tf.cond(finite, done, not_done)
            return
        changed = [*compiled_variables, self._notes]
        before = [tf.identity(variable) for variable in compiled_variables]
        before.append(refused())
        done()
        for variable, value in zip(changed, before):
            variable.assign(tf.where(finite, variable, value))

    def _assert_and_apply(
        self,
        finite: tf.Tensor,
        count: Callable[[], tf.Tensor],
        apply: Callable[[], None],
    ) -> None:
        numbers = tf.concat([[tf.cast(~finite, tf.int64)], count()], axis=0)
        if _replicas.number() > 1:
            total = _replicas.sum_over_replicas(tf.cast(numbers, tf.float32))
            numbers = tf.cast(total, tf.int64)
        noted = self._notes.assign(tf.pad(numbers, [[0, 1]]))
        with tf.control_dependencies([noted]):
            check = tf.debugging.Assert(numbers[0] == 0, ["A loss must be finite."])
        with tf.control_dependencies([] if check is None else [check]):
            apply()

    def reset(self) -> None:
        """Deletes the notes; to be called before several steps."""
        for notes in self._local_notes():
            notes.assign(tf.zeros_like(notes))

    def refusal(self) -> Refusal | None:
        """Returns the notes of a step that was refused, or None, and deletes them."""
        refused, *numbers = self._local_notes()[0].numpy()
        self.reset()
        return Refusal(*numbers) if refused else None

    def _local_notes(self) -> Sequence[tf.Variable]:
        return self._strategy.experimental_local_results(self._notes)


def all_finite(loss: tf.Tensor, gradients: Sequence[Any]) -> tf.Tensor:
    """Returns whether a loss and all gradients are finite.

    Args:
      loss: scalar.
      gradients: list of tensors, `tf.IndexedSlices` and None.
    """
    # A sum is not finite if an element is not. One sum for all gradients of a shape:
    # the number of operations counts, not that of elements.
    groups: dict[Any, list[tf.Tensor]] = {}
    for gradient in gradients:
        if gradient is not None:
            values = getattr(gradient, "values", gradient)
            key = values.dtype, tuple(values.shape)
            groups.setdefault(key, []).append(values)
    sums = [tf.cast(tf.reduce_sum(tf.add_n(g)), loss.dtype) for g in groups.values()]
    return tf.math.is_finite(tf.add_n([loss, *sums]))


def _flat(log_prob: Any, sample_weight: Any) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Returns log densities and weights `[N]` of all examples, at least in float32."""
    log_prob = tf.convert_to_tensor(log_prob)
    if log_prob.dtype.size < 4:
        log_prob = tf.cast(log_prob, tf.float32)
    weights = None
    if sample_weight is not None:
        weights = _inputs.as_weights(sample_weight, log_prob, log_prob.dtype)
        weights = tf.reshape(weights, [-1])
    return tf.reshape(log_prob, [-1]), weights


def _count(log_prob: tf.Tensor, sample_weight: Any) -> tf.Tensor:
    """Returns numbers of examples, and of those with weight and no finite density."""
    log_prob, weights = _flat(log_prob, sample_weight)
    not_finite = ~tf.math.is_finite(log_prob)
    if weights is not None:
        not_finite &= tf.not_equal(weights, 0.0)
    number = tf.size(log_prob, tf.int64)
    return tf.stack([number, tf.math.count_nonzero(not_finite, dtype=tf.int64)])


def _trace_step(step: Any, spec: Any) -> Callable[..., Any]:
    """Returns the graph of a step for batches of any number of rows.

    Args:
      step: `tf.function` of a batch.
      spec: `element_spec` of a dataset, or None for other iterators.
    """
    if spec is None:
        return step
    if any(isinstance(leaf, tf.OptionalSpec) for leaf in tf.nest.flatten(spec)):
        return lambda data: step(tf.nest.map_structure(_value_of, data))
    return step.get_concrete_function(spec)


def _value_of(leaf: Any) -> Any:
    """Returns the tensor, or None, of an `Optional` in datasets of Keras."""
    if not isinstance(leaf, tf.experimental.Optional):
        return leaf
    return leaf.get_value() if leaf.has_value() else None
