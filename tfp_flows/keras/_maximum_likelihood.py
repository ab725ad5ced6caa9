"""Training steps of a density model."""

import keras
import numpy as np
import tensorflow as tf

from tfp_flows import _support, _traversal
from tfp_flows.keras import _points, _refusals, _sample_weights
from tfp_flows.keras._gate import Gate, is_finite
from tfp_flows.keras._phase import held_updates, phase
from tfp_flows.keras.losses import BitsPerDimension, Nats, check_metric


class MaximumLikelihood(keras.Model):
    """Model with a `distribution`, whose loss is its negative log-likelihood.

    Keras's own steps make a loss of predictions and targets. There are none here;
    replicas may have unequal numbers of rows, and points may have more axes than one.

    Args:
      log_prob_dtype: floating dtype of log-densities; loss and metrics have float32 at
        least, as sums over many rows need its digits and range.
      **kwargs: arguments of `keras.Model`.
    """

    def __init__(self, log_prob_dtype, **kwargs):
        super().__init__(autocast=False, **kwargs)
        wide = log_prob_dtype if log_prob_dtype == tf.float64 else tf.float32
        self._mean_loss = keras.metrics.Mean(name="loss", dtype=wide.name)
        # Past Keras, which would take it for a part to save.
        vars(self).update(_gate=Gate(), _epoch=0, _step=None, _raises=True)

    def compile(self, optimizer="adam", loss=None, *, metrics=None, **kwargs):
        """Configures training; as `keras.Model.compile`, without `loss`.

        Args:
          optimizer: Keras optimizer, or its name.
          loss: None; it is the negative log-likelihood.
          metrics: list of "nats", "bits_per_dimension", and of functions and metrics of
            your own, which are given zeros and log-densities.
          **kwargs: further arguments of `keras.Model.compile`.

        Raises:
          ValueError: the distribution has no trainable variables; `loss` is given; a
            metric is one of Keras's, which compare predictions with targets.
        """
        if loss is not None:
            raise ValueError(
                "`loss` must be left out, as it is the negative log-likelihood; "
                f"got {loss!r}."
            )
        if optimizer is not None and not self.trainable_variables:
            raise ValueError(
                "`distribution` must have trainable variables to be fitted; got "
                f"{self.distribution!r}, in which none is found. Its parameters must "
                "be `tf.Variable`s, not tensors."
            )
        for name, value in dict(metrics=metrics, **kwargs).items():
            if name in ("metrics", "weighted_metrics") and value:
                value = [value] if isinstance(value, str) else value
                kwargs[name] = [self._as_metric(metric, name) for metric in value]
        vars(self)["_has_unweighted_metrics"] = bool(metrics)
        super().compile(optimizer, **kwargs)

    def _as_metric(self, metric, argument):
        if metric == "nats":
            return Nats(dtype=self._mean_loss.dtype)
        if metric == "bits_per_dimension":
            size = _points.size_of(self.distribution)
            return BitsPerDimension(size, dtype=self._mean_loss.dtype)
        check_metric(metric, argument)
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

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Builds what Keras would build from the mean of a batch over replicas.

        Replicas may have unequal numbers of rows, and data None in them: then there is
        no such mean. Variables of metrics must be there before the replicas ask.
        """
        with self.distribute_strategy.scope():
            if self.optimizer is not None and not self.optimizer.built:
                self.optimizer.build(self.trainable_variables)
            metrics = self._compile_metrics
            if metrics is not None and not metrics.built:
                one = tf.zeros([1, 1], self._mean_loss.dtype)
                self.compute_metrics(None, one, one)
                self.reset_metrics()

    def make_train_function(self, force=False):
        """As Keras's, but for single steps on one device: those are called as they are.

        Keras has a graph around them, which takes batches from the iterator, and that
        takes as long as a small step.
        """
        if self.train_function is not None and not force:
            return self.train_function
        several = self.distribute_strategy.num_replicas_in_sync > 1
        if several or self.run_eagerly or self.steps_per_execution > 1:
            super().make_train_function(force)
            steps = self.train_function
            self.train_function = lambda iterator: self._steps(steps, iterator)
            return self.train_function
        step = tf.function(
            self.train_step,
            autograph=False,
            reduce_retracing=True,
            jit_compile=self.jit_compile,
        )
        traced = [None, step]  # what elements are like, and the graph for them

        def function(iterator):
            spec = getattr(iterator, "element_spec", None)
            if spec != traced[0]:
                traced[:] = spec, _traced(step, spec)
            data = next(iterator)
            return self._looked_at(traced[1](data), data)

        self.train_function = function
        return function

    def _steps(self, function, iterator):
        """Calls a function of Keras for steps of training, and looks at what it did."""
        if self.steps_per_execution > 1:
            self._gate.forget()
        try:
            return self._looked_at(function(iterator))
        except tf.errors.OpError as error:
            refusal = self._gate.refusal()  # of several replicas
            if refusal is None:
                raise
            raise ValueError(self._why(refusal)) from error

    def _looked_at(self, logs, data=None):
        """Returns the logs of steps of training.

        Raises:
          ValueError: a step was refused, unless a callback is there for it.
        """
        if not np.isfinite(logs.get("loss", 0.0)):
            refusal = self._gate.refusal()
            if refusal is not None and self._raises:
                raise ValueError(self._why(refusal, data))
        return logs

    def _why(self, refusal, data=None):
        points, bad, before = refusal
        place = (
            "the batch"
            if self._step is None
            else (f"batch {self._step + before + 1} of epoch {self._epoch + 1}")
        )
        x = None if data is None else _refusals.points_of(self, data)
        return _refusals.message(self, (points, bad), place, x)

    def train_step(self, data):
        given, sample_weight = self._unpacked(data)
        self._check_rows(given)
        x, replaced = given, sample_weight is not None and not self._averages_rows()
        if replaced:
            x = _points.without_weightless(self, given, sample_weight)
        with held_updates() as updates, tf.GradientTape() as tape:
            log_prob, weights = self._log_prob(x, sample_weight, training=True)
            loss, share = self._loss(log_prob, weights)
            scaled = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        gradients = tape.gradient(scaled, variables)
        reported = log_prob
        if replaced and self._has_unweighted_metrics:  # before the step changes weights
            reported = self._of_all_points(given, log_prob, weights)

        def apply():
            clipped = _clipped_over_replicas(gradients, self.optimizer)
            self.optimizer.apply_gradients(zip(clipped, variables))
            for update in updates:
                update()

        # That optimizer looks at its gradients itself, which may overflow.
        scales = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        finite = is_finite(loss, [] if scales else gradients)
        bad = ~tf.math.is_finite(log_prob)
        if weights is not None:
            bad &= tf.not_equal(weights, 0.0)
        bad = tf.math.count_nonzero(bad)
        several = self.steps_per_execution > 1
        changed = None
        if self.jit_compile and not self.run_eagerly:
            changed = [*variables, *self.optimizer.variables]
            changed += self.non_trainable_variables if updates else []
            changed = [variable.value for variable in changed]
        self._gate.step(finite, tf.size(log_prob), bad, several, apply, changed)
        # NaN tells of the gradient to who looks at the loss alone.
        nan = tf.constant(np.nan, loss.dtype)
        loss = tf.where(finite | ~tf.math.is_finite(loss), loss, nan)
        return self._report(x, reported, loss, share, weights)

    def _of_all_points(self, inputs, log_prob, weights):
        """Returns log-densities of the points as given, those of weight 0 included."""
        no_weight = tf.equal(weights, 0.0)

        def whole():
            x, context = _points.as_points(self, inputs)
            with held_updates(), phase(False):
                found = _support.log_prob(self.bound(context), x)
            found = tf.cast(tf.reshape(found, [-1]), log_prob.dtype)
            return tf.where(no_weight, found, log_prob)

        return tf.cond(tf.reduce_any(no_weight), whole, lambda: log_prob)

    def test_step(self, data):
        x, sample_weight = self._unpacked(data)
        log_prob, weights = self._log_prob(x, sample_weight, training=False)
        loss, share = self._loss(log_prob, weights)
        return self._report(x, log_prob, loss, share, weights)

    def _check_rows(self, x):
        """Fails in the step where batch norm on a replica has no rows to average."""
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if replicas > 1 and self._averages_rows():
            rows = tf.shape(tf.nest.flatten(x)[0])[0]
            tf.debugging.assert_positive(
                rows,
                (
                    "Each replica must have a row of each batch where layers of batch "
                    "norm "
                    "take averages; got one without. Let the batch size divide the "
                    "data, "
                    "or leave the last batch out."
                ),
            )

    def _averages_rows(self):
        """Tells whether the density of a row depends on others in training."""
        return _traversal.has_batch_statistics(self.distribution) or any(
            isinstance(layer, keras.layers.BatchNormalization)
            and not layer.synchronized
            for layer in self._flatten_layers()
        )

    def _unpacked(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        _points.check_no_targets(y)
        return x, sample_weight

    def _log_prob(self, x, sample_weight, training):
        """Returns log-densities and weights of all points, without further axes."""
        log_prob = self(x, training=training)
        if log_prob.dtype.size < 4:
            log_prob = tf.cast(log_prob, tf.float32)
        if sample_weight is not None:
            sample_weight = tf.reshape(
                _sample_weights.as_weights(sample_weight, log_prob, log_prob.dtype),
                [-1],
            )
        return tf.reshape(log_prob, [-1]), sample_weight

    def _loss(self, log_prob, weights):
        """Returns the part of this replica in the loss, and its number of points."""
        losses = -log_prob
        if weights is not None:  # points of no weight may be out of the support
            losses = tf.math.multiply_no_nan(losses, weights)
        # Of regularizers; log-densities of float64 stay such.
        more = [tf.cast(loss, losses.dtype) for loss in self.losses]
        return _mean_over_replicas(losses, more)

    def _report(self, x, log_prob, loss, share, weights):
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self._mean_loss.update_state(loss * replicas, sample_weight=share)
        columns = log_prob[:, tf.newaxis]  # Keras's metrics would add up rows
        logs = self.compute_metrics(x, tf.zeros_like(columns), columns, weights)
        if _several_workers():  # Keras takes a mean over workers along the first axis
            logs = {name: value[tf.newaxis] for name, value in logs.items()}
        return logs


def _traced(step, spec):
    """Returns the graph of a step for batches of any number of rows.

    Args:
      step: `tf.function` of a batch.
      spec: what a dataset tells of its elements, or None for another iterator.
    """
    if spec is None:
        return step
    if any(isinstance(leaf, tf.OptionalSpec) for leaf in tf.nest.flatten(spec)):
        return lambda data: step(tf.nest.map_structure(_value, data))
    return step.get_concrete_function(spec)


def _value(leaf):
    """Returns the tensor, or None, that Keras makes an `Optional` in datasets."""
    if not isinstance(leaf, tf.experimental.Optional):
        return leaf
    return leaf.get_value() if leaf.has_value() else None


def _clipped_over_replicas(gradients, optimizer):
    """Clips the sum of the gradients of all replicas, before Keras clips those of each.

    Returns:
      gradients: shares of this replica in the sum, too short for Keras to clip.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    clips = [optimizer.clipnorm, optimizer.global_clipnorm, optimizer.clipvalue]
    if replicas == 1 or clips == [None] * 3:
        return gradients
    there = [g for g in gradients if g is not None]
    context = tf.distribute.get_replica_context()
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, there)
    if optimizer.clipnorm is not None:
        total = [tf.clip_by_norm(g, optimizer.clipnorm) for g in total]
    elif optimizer.global_clipnorm is not None:
        total, _ = tf.clip_by_global_norm(total, optimizer.global_clipnorm)
    else:
        bound = optimizer.clipvalue
        total = [tf.clip_by_value(g, -bound, bound) for g in total]
    total = iter(total)
    return [None if g is None else next(total) / replicas for g in gradients]


def _several_workers():
    strategy = tf.distribute.get_strategy()
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return False
    jobs = strategy.cluster_resolver.cluster_spec().as_dict()
    return sum(len(jobs.get(job, [])) for job in ("chief", "worker")) > 1


def _mean_over_replicas(losses, more):
    """Returns the part of this replica in the mean over all points of a batch.

    Replicas may have unequal numbers of them, or none: their parts add up to the mean.

    Args:
      losses: tensor `[N]`, those of this replica.
      more: list of scalars, the same on each replica, to be added.

    Returns:
      part: scalar.
      share: mean number of points of a replica.
    """
    number = tf.cast(tf.shape(losses)[0], losses.dtype)
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas > 1:
        context = tf.distribute.get_replica_context()
        number = context.all_reduce(tf.distribute.ReduceOp.SUM, number)
    part = tf.reduce_sum(losses) / number
    return tf.add_n([part, *(each / replicas for each in more)]), number / replicas
