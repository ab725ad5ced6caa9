"""Training mode of Keras networks in flows, and the state that they change in it.

A bijector is a function: two calls with one input return the same, and change nothing.
A Keras network in training draws a dropout mask in each call, and moves the averages of
batch normalization. So within `training_mode`, however often and in whichever direction
a network is called, its state remains as it was on entry. The new state is assigned
once, on exit.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf


class _Local(threading.local):
    """State of one thread: each replica of a strategy runs in its own."""

    def __init__(self) -> None:
        self.modes: list[Mode] = []
        self.held: list[Callable[[], Any]] | None = None


_local = _Local()


class Mode:
    """What Keras networks did within one `training_mode`.

    Args:
      training: whether they behave as in training.
    """

    def __init__(self, training: bool) -> None:
        self.training = training
        self.updates: dict[int, tuple[keras.Variable, tf.Tensor]] = {}
        self.losses: dict[int, list[tf.Tensor]] = {}

    def added_losses(self) -> list[tf.Tensor]:
        """Returns losses that networks added, except those of the body of a loop."""
        losses = [loss for losses in self.losses.values() for loss in losses]
        return [loss for loss in losses if _is_of_this_graph(loss)]


def current_mode() -> Mode | None:
    """Returns the innermost mode of this thread."""
    return _local.modes[-1] if _local.modes else None


@contextlib.contextmanager
def training_mode(training: bool | None) -> Iterator[Mode]:
    """Context in which all Keras networks are in training, or in inference.

    Args:
      training: whether they behave as in training.

    Yields:
      mode: with `added_losses`, which networks added as losses.
    """
    entered = Mode(bool(training))
    _local.modes.append(entered)
    try:
        yield entered
    finally:
        _local.modes.pop()
    for variable, value in entered.updates.values():
        if _is_of_this_graph(value):  # not of the body of a loop, say
            update(functools.partial(variable.assign, value))


@contextlib.contextmanager
def held_updates() -> Iterator[list[Callable[[], Any]]]:
    """Context in which updates of state are collected, not executed.

    Yields:
      updates: list of callables without arguments, filled within.
    """
    before, _local.held = _local.held, []
    try:
        yield _local.held
    finally:
        _local.held = before


def update(function: Callable[[], Any]) -> None:
    """Calls a function that updates state, or collects it for `held_updates`."""
    if _local.held is None:
        function()
    else:
        _local.held.append(function)


def call_without_update(network: keras.layers.Layer, inputs: Any) -> tf.Tensor:
    """Calls a Keras layer in the current mode, without an update of its state.

    Args:
      network: Keras layer that has been built.
      inputs: its inputs.

    Returns:
      outputs: its outputs.
    """
    mode = current_mode()
    state = [] if mode is None else non_trainable_state(network)
    with keras.StatelessScope(collect_losses=True) as scope:
        outputs = network(inputs, training=mode is not None and mode.training)
    if mode is not None:
        mode.losses[id(network)] = list(scope.losses)  # those of the last call count
        for variable in state:
            value = scope.get_current_value(variable)
            if value is not None:
                mode.updates[id(variable)] = variable, value
    return outputs


def non_trainable_state(network: keras.layers.Layer) -> list[keras.Variable]:
    """Returns the variables of a layer that are not trained, including seeds."""
    trained = {id(variable) for variable in network.trainable_variables}
    return [v for v in network.variables if id(v) not in trained]


def _is_of_this_graph(value: tf.Tensor) -> bool:
    return tf.executing_eagerly() or value.graph is tf.constant(0).graph
