"""Composition of structurally identical layers, traced and compiled once."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._autodiff import with_shape
from tfp_flows._layer import Layer, flatten, value_and_log_det
from tfp_flows._parameters import check_broadcasts, is_reference, without_keras
from tfp_flows._traversal import is_initializable
from tfp_flows.bijectors import _scan_slices
from tfp_flows.bijectors._pytree import VariableSnapshot, leaves_of, replace_leaves
from tfp_flows.bijectors._scan_initialization import initialize_scan
from tfp_flows.bijectors._scan_loop import scan
from tfp_flows.bijectors._scan_stacking import stack_layers

tfb = tfp.bijectors


class Scan(Layer):
    """Composition of `K` structurally identical layers, which is traced once.

    `y = layer_{K-1}(... layer_1(layer_0(x)))`: layer 0 acts first, nearest to the
    latents. It equals the `tfb.Chain` of the layers, last layer first. A chain traces
    and compiles each of its layers. A scan does so once, in a loop over stacked values:
    the size of the graph does not depend on `K`. `Scan.from_layers` makes one from
    existing layers.

    Each value that a layer computes with has a path: an argument of a bijector, an
    attribute of a network, an entry of a list, such as `center` of a `Radial` or
    `conditioner._kernels[0]` of a `Coupling`. A stacked value replaces the value of
    `layer` at its path, one slice for each layer. All other values are shared by the
    layers: they are in attribute `shared`, by path, and its variables are trained.

    In graphs, the gradient keeps the input of each layer and evaluates the layer once
    more. It needs less memory than that of a chain, and up to a third more arithmetic.
    The cost of gradients of gradients grows as `K^2`.

    `x` and `y` have the shape that `layer` takes. The axes before an event broadcast
    with the batch shape of `layer`; log determinants have the resulting shape.

    Args:
      layer: template: a bijector, or `tfb.Chain`, that keeps the shape of events. Its
        variables at stacked paths are not trained.
      stacked: dictionary, by path, of tensors, variables or deferred tensors of shape
        `[K, ...]`, where `layer` has a tensor or deferred tensor of shape `[...]`.
      validate_args: not used; pass it to the layer.
      name: prefix of the ops.

    Raises:
      TypeError: `layer` is not a bijector; a stacked dtype is not that of the template.
      ValueError: `stacked` is empty, or has a path that `layer` does not have, or a
        shape that does not fit. `layer` changes the rank or shape of an event, or has
        variables that cannot be replaced, in a Keras network or a plain function.
    """

    # The template hides its variables; `_references` has those that are trained.
    _TF_MODULE_IGNORED_PROPERTIES = Layer._TF_MODULE_IGNORED_PROPERTIES | {
        "layer",
        "_parameters",
    }

    def __init__(
        self, layer, stacked, validate_args=False, name="scan", *, _stacked_last=()
    ):
        parameters = dict(locals())
        if not isinstance(layer, tfb.Bijector):
            raise TypeError(f"`layer` must be a bijector; got {layer!r}.")
        ndims = layer.forward_min_event_ndims
        if ndims != layer.inverse_min_event_ndims or tf.nest.is_nested(ndims):
            raise ValueError(
                "`layer` must keep the rank of an event; got "
                f"{ndims} and {layer.inverse_min_event_ndims}."
            )
        if _stacked_last:  # TFP has sliced the layer
            stacked = _scan_slices.with_sliced(layer, stacked, _stacked_last)
            parameters.update(stacked=stacked, _stacked_last=())
        leaves = leaves_of(layer, stacked)
        stacked = {
            path: _as_stack(path, value, leaves) for path, value in stacked.items()
        }
        self.num_layers = _number_of(stacked)
        shared = {path: leaf for path, leaf in leaves.items() if path not in stacked}
        # Past `__setattr__`, so that checkpoints do not contain the template.
        vars(self).update(layer=layer, stacked=stacked, shared=shared)
        self._references = {  # by path, as checkpoints know them
            path: value
            for path, value in [*stacked.items(), *shared.items()]
            if is_reference(value)
        }
        super().__init__(
            forward_min_event_ndims=ndims,
            dtype=layer.dtype,
            is_constant_jacobian=layer.is_constant_jacobian,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def from_layers(cls, layers, name="scan"):
        """Make a scan that equals the composition of existing layers.

        The layers must be structurally identical: they may differ in the values of
        variables and tensors alone. The scan has one variable of shape `[K, ...]` in
        place of each that differs, with the values of the layers and the name in the
        first layer. A variable or tensor that is the same object in all layers is
        shared. So are integer variables with equal values, such as masks of networks.

        Args:
          layers: list of `K` bijectors that keep the shape of events, from latents to
            data: the first acts first in `forward`. Where two kinds of layers
            alternate, pass `tfb.Chain`s of one of each. Do not use them afterwards: the
            first becomes the template, the others are not needed.
          name: prefix of the ops.

        Returns:
          bijector: `tfp_flows.bijectors.Scan`.

        Raises:
          TypeError: one of the layers is not a bijector.
          ValueError: there are no layers; they differ in anything but values, or in
            nothing; a layer normalizes by batch statistics; or as for `Scan`.
        """
        layer, stacked = stack_layers(layers)
        return cls(layer, stacked, name=name)

    @classmethod
    def _parameter_properties(cls, dtype):
        layer = tfp.util.BatchedComponentProperties(
            event_ndims=lambda _, x_event_ndims: x_event_ndims
        )
        return dict(layer=layer, _stacked_last=_scan_slices.properties())

    @property
    def untracked_layers(self):
        return (self.layer,)

    @property
    def needs_initialization(self):
        return is_initializable(self.layer)

    @property
    def _stacked_last(self):
        return _scan_slices.stacked_last(self)

    def _forward(self, x):
        return self._forward_and_log_det(x)[0]

    def _inverse(self, y):
        return self._inverse_and_log_det(y)[0]

    def _inverse_log_det_jacobian(self, y):
        return self._inverse_and_log_det(y)[1]

    def _forward_and_log_det(self, x):
        return self._evaluate(x, "forward")

    def _inverse_and_log_det(self, y):
        return self._evaluate(y, "inverse")

    def _evaluate(self, x, direction):
        """Returns result and log determinant of a direction."""
        ndims = self.forward_min_event_ndims
        x = self._with_all_batch_axes(x, direction)
        shared = {
            path: leaf
            for path, leaf in self.shared.items()
            if tf.as_dtype(leaf.dtype).is_floating
        }
        paths = [*self.stacked, *shared]
        numbers = (
            {}
            if tf.executing_eagerly()
            else {
                path: VariableSnapshot(leaf)
                for path, leaf in self.shared.items()
                if isinstance(leaf, tf.Variable) and leaf.dtype.is_integer
            }
        )

        def step(x, *tensors):
            layer = replace_leaves(self.layer, {**numbers, **dict(zip(paths, tensors))})
            with tf.GradientTape() as tape:
                result = value_and_log_det(flatten(layer, direction), x, ndims)
            _check_none(tape.watched_variables())
            return result

        tensors = (
            [tf.convert_to_tensor(value) for value in values.values()]
            for values in (self.stacked, shared)
        )
        return scan(step, x, *tensors, self.num_layers, direction == "inverse", ndims)

    def _with_all_batch_axes(self, x, direction):
        """Checks the shape of `x`, and gives it the batch axes that the result has."""
        ndims = self.forward_min_event_ndims
        if x.shape.rank is None or x.shape.rank < ndims:
            raise ValueError(
                f"The input must have known rank, at least {ndims}; "
                f"got shape {x.shape}."
            )
        event = x.shape[x.shape.rank - ndims :]
        after = (
            self.layer.forward_event_shape(event)
            if direction == "forward"
            else self.layer.inverse_event_shape(event)
        )
        if not after.is_compatible_with(event):
            raise ValueError(
                "`layer` must keep the shape of an event; "
                f"got {event}, of which it makes {after}."
            )
        batch, own = x.shape[: x.shape.rank - ndims], self.experimental_batch_shape()
        check_broadcasts(batch, own, "The axes of the input before an event")
        if (
            own.rank == 0
            or batch.is_fully_defined()
            and (tf.broadcast_static_shape(batch, own) == batch)
        ):
            return x
        shape = tf.shape(x)
        axis = x.shape.rank - ndims
        full = tf.broadcast_dynamic_shape(
            shape[:axis], self.experimental_batch_shape_tensor()
        )
        result = tf.broadcast_to(x, tf.concat([full, shape[axis:]], axis=0))
        static = tf.broadcast_static_shape(batch, own)
        return with_shape(result, static.concatenate(event))

    def initialize_from_data(self, values, direction):
        """Initialize the layers from data, in the order of use.

        Args:
          values: tensor; see `tfp_flows.normalization.initialize_from_data`.
          direction: "forward" or "inverse": the direction from data to latents.

        Returns:
          values: result of that direction after the initialization.

        Raises:
          TypeError, ValueError: as for the layers; TypeError if variables to set are
            not stacked as variables.
        """
        if not self.needs_initialization:
            return super().initialize_from_data(values, direction)
        return initialize_scan(self, values, direction)


def _as_stack(path, value, leaves):
    """Returns what is stacked at a path, as a tensor or a reference."""
    if path not in leaves:
        raise ValueError(
            f"`stacked` must have paths of leaves of `layer`, {sorted(leaves)}; "
            f"got {path!r}."
        )
    leaf, value = leaves[path], without_keras(value)
    if not is_reference(value):
        value = tf.convert_to_tensor(value, dtype_hint=leaf.dtype)
    if value.dtype != leaf.dtype:
        raise TypeError(
            f"`stacked[{path!r}]` must have the dtype of what it stands for, "
            f"{leaf.dtype.name}; got {value.dtype.name}."
        )
    shape = value.shape
    if not shape.rank or not shape[0] or not shape[1:].is_compatible_with(leaf.shape):
        raise ValueError(
            f"`stacked[{path!r}]` must have shape [K, ...], with the shape of what it "
            f"stands for, {leaf.shape}, after K; got {shape}."
        )
    return value


def _number_of(stacked):
    numbers = {path: value.shape[0] for path, value in stacked.items()}
    if len(set(numbers.values())) != 1:
        raise ValueError(
            "`stacked` must have something, with one length K of all first axes; "
            f"got {numbers}."
        )
    return next(iter(numbers.values()))


def _check_none(variables):
    if variables:
        raise ValueError(
            "`layer` must read its variables from its arguments and from attributes of "
            "its networks alone, where others can take their places; got "
            f"{sorted(variable.name for variable in variables)}, read from elsewhere."
        )
