"""In which phase Keras networks are asked, and what that changes in their state.

A bijector is a function: asked twice, it answers the same, and changes nothing. A Keras
network in training draws a new mask of dropout in each call, and moves the averages of
batch norm. So within a phase its state stands still, however often a network is asked,
in whichever direction. What it would have changed is kept, and is assigned once, when
the phase ends.
"""

import contextlib
import functools
import threading

import keras
import tensorflow as tf


class _Local(threading.local):
    """What each thread has for itself: each replica of a strategy has its own."""

    def __init__(self):
        self.phases = []
        self.held = None


_local = _Local()


class _Phase:
    def __init__(self, training):
        self.training = training
        self.updates = {}
        self.losses = {}

    def added_losses(self):
        """Returns losses that networks added, not those of the body of a loop."""
        losses = [loss for losses in self.losses.values() for loss in losses]
        return [loss for loss in losses if _is_of_this_graph(loss)]


def current():
    """Returns the phase that this thread is in, or None."""
    return _local.phases[-1] if _local.phases else None


@contextlib.contextmanager
def phase(training):
    """Enters a phase for all Keras networks that are asked within.

    Args:
      training: whether they are to behave as in training.

    Yields:
      phase: with `added_losses`, what networks added as losses.
    """
    entered = _Phase(training)
    _local.phases.append(entered)
    try:
        yield entered
    finally:
        _local.phases.pop()
    for variable, value in entered.updates.values():
        if _is_of_this_graph(value):  # not of the body of a loop, say
            update(functools.partial(variable.assign, value))


@contextlib.contextmanager
def held_updates():
    """Holds what would change state at the end of phases within, for a later moment.

    Yields:
      updates: list of callables without arguments, to be filled within.
    """
    before, _local.held = _local.held, []
    try:
        yield _local.held
    finally:
        _local.held = before


def update(function):
    """Calls a function that changes state, or keeps it for who holds updates."""
    if _local.held is None:
        function()
    else:
        _local.held.append(function)


def ask(network, inputs):
    """Calls a Keras layer in the current phase, without a change of its state.

    Args:
      network: Keras layer that has been built.
      inputs: what it is called with.

    Returns:
      outputs: what it returns.
    """
    now = current()
    state = [] if now is None else state_of(network)
    with keras.StatelessScope(collect_losses=True) as scope:
        outputs = network(inputs, training=bool(now is not None and now.training))
    if now is not None:
        now.losses[id(network)] = list(scope.losses)  # those of the last call count
    for variable in state:
        value = scope.get_current_value(variable)
        if value is not None:
            now.updates[id(variable)] = variable, value
    return outputs


def state_of(network):
    """Returns the variables of a Keras layer that are not trained, with its seeds."""
    trained = {id(variable) for variable in network.trainable_variables}
    return [v for v in network.variables if id(v) not in trained]


def _is_of_this_graph(value):
    return tf.executing_eagerly() or value.graph is tf.constant(0).graph
