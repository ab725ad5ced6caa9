"""What lets a step of training change a model: a finite loss and a finite gradient.

After a step with NaN, a model is lost: each variable that the gradient reaches is NaN.
So the step itself decides, within its graph: it takes one of two branches, or, under
XLA, chooses between values, and who called it looks at what was noted. Replicas cannot
branch around an optimizer, which merges them; they stop at an assertion, which XLA
lacks, but they know no XLA in Keras.
"""

import tensorflow as tf


class Gate:
    """Changes a model by those steps alone whose loss and gradient are finite."""

    def __init__(self):
        self._strategy = tf.distribute.get_strategy()
        # Whether a step was refused; of that step, the number of points, and of those
        # without a finite log-density; and how many steps were done before it.
        self._notes = tf.Variable(
            tf.zeros([4], tf.int64),
            trainable=False,
            name="notes",
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def step(self, finite, points, bad, several, apply, compiled_variables=None):
        """Calls a function that changes the model, if a step is to be done.

        Args:
          finite: whether loss and gradient of this replica are finite.
          points: number of points of this replica.
          bad: number of them without a finite log-density.
          several: whether several steps are done before anyone looks at the notes:
            then none is done after one that was refused.
          apply: callable without arguments.
          compiled_variables: None, or, under XLA, those that `apply` changes. There a
            choice between values is free, and a branch copies all variables.
        """
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if replicas > 1:
            self._step_of_replica(finite, points, bad, apply)
            return

        def refused():
            notes = self._notes.read_value()
            numbers = (tf.cast(number, tf.int64) for number in (points, bad))
            new = tf.stack([1, *numbers, notes[3]])
            return tf.where(notes[0] > 0, notes, new) if several else new

        def done():
            apply()
            if several:
                self._notes.assign_add([0, 0, 0, 1])
            return 0

        def not_done():
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

    def _step_of_replica(self, finite, points, bad, apply):
        local = tf.stack([tf.cast(n, tf.float32) for n in (~finite, points, bad)])
        context = tf.distribute.get_replica_context()
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, local)
        noted = self._notes.assign(tf.cast(tf.pad(total, [[0, 1]]), tf.int64))
        with tf.control_dependencies([noted]):
            check = tf.debugging.Assert(total[0] == 0.0, ["A loss must be finite."])
        with tf.control_dependencies([] if check is None else [check]):
            apply()

    def forget(self):
        """Begins anew; to be called before several steps."""
        for notes in self._local():
            notes.assign(tf.zeros_like(notes))

    def refusal(self):
        """Returns what was noted of a step that was refused, and forgets it.

        Returns:
          refusal: None, or numbers of points, of those without a finite log-density,
            and of steps that were done before, since the last look.
        """
        refused, points, bad, before = self._local()[0].numpy()
        self.forget()
        return (points, bad, before) if refused else None

    def _local(self):
        return self._strategy.experimental_local_results(self._notes)


def is_finite(loss, gradients):
    """Tells whether a loss and all gradients are finite.

    Args:
      loss: scalar.
      gradients: list of tensors, `tf.IndexedSlices` and None.
    """
    values = [getattr(g, "values", g) for g in gradients if g is not None]
    # One operation for each: a sum has what is not finite in it.
    sums = [tf.reduce_sum(tf.cast(v, loss.dtype)) for v in values]
    return tf.math.is_finite(tf.add_n([loss, *sums]))
