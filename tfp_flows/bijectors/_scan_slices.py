"""Slices of the batch axes of a `Scan`.

TFP slices a layer by its parameters, whose batch axes come first. In stacked values the
axis of the layers does. TFP receives the same values with that axis last, as if it were
of an event, and returns sliced ones of that form.
"""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._parameters import is_reference
from tfp_flows.bijectors._pytree import RAW, leaves_of, objects_of

_UNKNOWN = tfp.util.ParameterProperties.NO_EVENT_NDIMS


def properties():
    """Returns the properties of `_stacked_last` for TFP."""

    def ndims(scan, x_event_ndims):
        more = x_event_ndims - scan.forward_min_event_ndims
        return {path: rank + more + 1 for path, rank in _ranks(scan).items()}

    # The pattern alone tells a batch shape.
    return tfp.util.ParameterProperties(
        event_ndims=lambda *_: _UNKNOWN, event_ndims_tensor=ndims
    )


def stacked_last(scan):
    """Returns a dictionary of the values with batch axes, by path, layers last."""
    found = _found(scan)
    return {path: _roll(found[path], 1) for path in _ranks(scan)}


def with_sliced(layer, stacked, sliced):
    """Returns what is stacked for a layer that was sliced.

    Args:
      layer: pattern, sliced.
      stacked: what was stacked before.
      sliced: dictionary as `stacked_last` gives, sliced.
    """
    leaves = leaves_of(layer, stacked, check=False)
    rest = {path: v for path, v in stacked.items() if path in leaves}
    return {**rest, **{path: _roll(value, -1) for path, value in sliced.items()}}


def _roll(value, way):
    """Makes the first axis the last one, or the last the first."""
    axes = list(range(value.shape.rank))
    return tf.transpose(value, axes[way:] + axes[:way])


def _found(scan):
    """Returns the values of all layers at each path to them, as arguments have them."""
    objects = objects_of(scan.layer)
    # A variable may be at several paths; a tensor that is means nothing by that.
    paths = {
        id(objects[path]): path for path in scan.stacked if is_reference(objects[path])
    }

    def value_of(path, leaf):
        path = path if path in scan.stacked else paths.get(id(leaf))
        if path is not None:
            return tf.convert_to_tensor(scan.stacked[path])
        if not isinstance(leaf, tfp.util.DeferredTensor):
            return None
        raw = value_of(None, leaf.pretransformed_input)
        if raw is None:
            return None
        each = tf.unstack(raw, scan.num_layers)
        return tf.stack(
            [tf.convert_to_tensor(leaf.transform_fn(one), leaf.dtype) for one in each]
        )

    found = {
        path: value_of(path, leaf)
        for path, leaf in objects.items()
        if not path.endswith(RAW)
    }
    return {path: value for path, value in found.items() if value is not None}


def _ranks(scan):
    """Returns the rank that a value has for one event, by path; of no other leaves."""
    known = vars(scan).get("_ranks_of_stacked")
    if known is None:
        before, after = objects_of(scan.layer), objects_of(scan.layer[tf.newaxis])
        batch = scan.layer.experimental_batch_shape().rank + 1
        known = {
            path: after[path].shape.rank - batch
            for path in _found(scan)
            if after[path] is not before[path]  # it is what one event is computed with
        }
        vars(scan)["_ranks_of_stacked"] = known  # past `__setattr__`
    return known
