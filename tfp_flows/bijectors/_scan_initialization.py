"""Data-dependent initialization of the layers of a `Scan`."""

import tensorflow as tf

from tfp_flows._layer import flatten
from tfp_flows._traversal import initialize_layers
from tfp_flows.bijectors._pytree import leaves_of, replace_leaves


def initialize_scan(scan, values, direction):
    """Initializes the layers of a `Scan` from data, and assigns the stacked variables.

    The template takes the values of one layer after the other, sets them, and returns
    them. It takes values that replicas cannot assign as tensors.

    Args:
      scan: `Scan`.
      values, direction: as for its `initialize_from_data`.

    Returns:
      values: result of the direction after the initialization.
    """
    leaves = leaves_of(scan.layer, scan.stacked)
    pairs = {path: (leaves[path], stack) for path, stack in scan.stacked.items()}
    lent = {path: pair for path, pair in pairs.items() if all(map(_can_be_set, pair))}
    found = {path: [None] * scan.num_layers for path in lent}
    order = range(scan.num_layers)
    for k in order if direction == "forward" else reversed(order):
        for leaf, stack in lent.values():
            leaf.assign(stack[k])
        given = {
            path: tf.convert_to_tensor(stack)[k]
            for path, (_, stack) in pairs.items()
            if path not in lent
        }
        layers = flatten(replace_leaves(scan.layer, given), direction)
        values = initialize_layers(layers, values)
        for path, (leaf, _) in lent.items():
            found[path][k] = tf.identity(leaf)
    for path, (_, stack) in lent.items():
        stack.assign(tf.stack(found[path]))
    return values


def _can_be_set(value):
    """Returns whether a value may be assigned here, in replicas, too."""
    return isinstance(value, tf.Variable) and not (
        tf.distribute.has_strategy()
        and value.aggregation == tf.VariableAggregation.NONE
    )
