"""Masked network whose outputs see only the inputs before them."""

import copy
import functools

import numpy as np
import tensorflow as tf

from tfp_flows._builders import register_builder
from tfp_flows._seeds import split_seed
from tfp_flows.networks._dense import (
    activate,
    add,
    as_function,
    as_widths,
    cast,
    check_context_size,
    check_inputs,
    check_sizes,
    in_place_of_last,
    make_bias,
    make_kernel,
    multiply,
    set_dtypes,
)
from tfp_flows.networks._mask_sets import MaskSets, maps_between, who_sees_whom
from tfp_flows.networks._walk import Linear, walk
from tfp_flows.networks._walk_plan import Plan


@register_builder(package="tfp_flows")
class MADE(tf.Module):
    """Network with several outputs for each input, which see the inputs before it.

    Masked autoencoder as in Germain et al. (2015), https://arxiv.org/abs/1502.03509.
    Each kernel is masked in the forward pass: whatever happens to the weights, an
    output does not see what it must not. All outputs start at zero, so that a flow over
    this network starts as the identity.

    Called with `x` of shape `[..., D]`, and a context `[..., context_size]` if it has
    one, it returns a tensor of shape `[..., D, num_parameters]`. The context is added
    before the first activation; the axes before the last broadcast.

    With `num_masks` above 1 it is order- and connectivity-agnostic, as the paper
    trains it: `next_masks` takes the next of a fixed set of orders and masks,
    `resample_masks` draws a new set, and `views` gives one network for each member of
    the set, on the same weights, to average over at evaluation.

    Args:
      event_size: `D`, number of inputs.
      num_parameters: number of outputs for each input.
      hidden_units: widths of the hidden layers; with `residual` of the blocks, equal.
      seed: integer that decides weights, orders and masks, in each process alike.
      order: which input comes first, second, ...: "given", "reversed", "random" or a
        permutation of 0 to D - 1. It is saved as a variable.
      degrees: "equal", as many hidden units of each degree as can be, or "random". They
        are saved as variables.
      num_masks: size of the set of orders and masks; if above 1, all are random.
      activation: elementwise function, or the name of one of `tf.nn`.
      residual: whether the hidden layers are blocks of two layers each with a shortcut.
      skip: whether the outputs see the inputs before them directly, too.
      context_size: length of a context; 0 for none.
      dtype: floating dtype of the weights and of the output.
      compute_dtype: floating dtype of the products, see `MLP`.
      name: name of the module.

    Raises:
      TypeError: `seed` is no integer; `compute_dtype` not floating, or too wide.
      ValueError: an argument is out of its range; `order` is no permutation; the input
        or context of a call has another last axis.
    """

    def __init__(
        self,
        event_size,
        num_parameters,
        hidden_units=(256, 256),
        *,
        seed,
        order="given",
        degrees="equal",
        num_masks=1,
        activation="relu",
        residual=False,
        skip=False,
        context_size=0,
        dtype=tf.float32,
        compute_dtype=None,
        name="made",
    ):
        super().__init__(name=name)
        hidden_units = as_widths(hidden_units)
        check_sizes(
            event_size=event_size,
            num_parameters=num_parameters,
            hidden_units=hidden_units or 0,
            num_masks=num_masks,
        )
        check_context_size(context_size)
        if residual and len(set(hidden_units)) > 1:
            raise ValueError(
                f"`hidden_units` must be equal with `residual`; got {hidden_units}."
            )
        self.event_size, self.num_parameters = event_size, num_parameters
        self.hidden_units, self.context_size = hidden_units, context_size
        self.residual, self.skip = residual, skip
        set_dtypes(self, dtype, compute_dtype)
        self._activation = as_function(activation)
        self._make_weights(seed)
        self._masks = MaskSets(
            num_masks,
            seed,
            event_size=event_size,
            widths=hidden_units[:1] if residual else hidden_units,
            order_kind=order,
            degree_kind=degrees,
            lowest=1 if context_size == 0 else 0,
        )  # the first output sees a context

    def _make_weights(self, seed):
        first, outputs = self.hidden_units[0], self.event_size * self.num_parameters
        maps = maps_between(self.event_size, self.hidden_units, outputs, self.residual)
        seeds = split_seed(seed, len(maps))
        seeds[-1] = None  # zeros, so that a flow starts as the identity
        if self.residual:
            seeds[2:-1:2] = [None] * len(self.hidden_units)  # and each block, too
        self._biases = [
            make_bias(size, self.dtype, f"bias_{i}")
            for i, (_, size, *_) in enumerate(maps)
        ]
        if self.skip:
            maps.append((self.event_size, outputs, 0, 0))
            seeds.append(None)
        self._kernels = [
            make_kernel(seeds[i], shape, self.dtype, f"kernel_{i}")
            for i, (*shape, _, _) in enumerate(maps)
        ]
        self._spaces = [tuple(spaces) for _, _, *spaces in maps]
        self._context_kernel = None
        if self.context_size:
            self._context_kernel = make_kernel(
                split_seed(seed, len(maps) + 1)[-1],
                [self.context_size, first],
                self.dtype,
                "context_kernel",
            )

    @property
    def order(self):
        """Array of the inputs in their order, of the masks in use."""
        return np.argsort(self._masks.known()[0])

    def next_masks(self):
        """Takes the next order and masks of the set; the first after the last.

        Graphs made before stay right, but solve by a pass for each input from then on.
        """
        self._masks.take_next()

    def resample_masks(self, seed):
        """Draws another set of orders and masks.

        Args:
          seed: integer that decides it.
        """
        self._masks.resample(seed)

    def views(self):
        """Returns a network for each of the masks, on the variables of this one."""
        networks = []
        for one in self._masks.each():
            network = copy.copy(self)
            network._masks = one
            networks.append(network)
        return networks

    def __call__(self, x, context=None):
        x, context = check_inputs(self, x, context, self.event_size)
        kernels, last = self._masked_kernels(), len(self._biases) - 1

        def linear(i, h):
            # What is summed up later, or is a result, is not rounded once more.
            dtype = self.dtype if self.residual or i >= last else self.compute_dtype
            h = cast(multiply(cast(h, self.compute_dtype), kernels[i]), dtype)
            if i <= last:  # that of the skip connection has none
                h = add(h, self._biases[i])
            if i == 0 and context is not None:
                told = cast(context, self.compute_dtype)
                h = add(h, multiply(told, self._context_kernel))
            return h

        flat = self._run(x, linear)
        return in_place_of_last(flat, flat, [self.event_size, self.num_parameters])

    def _run(self, x, linear):
        """The network, but for what `linear(i, h)` does for the i-th linear map."""
        activated = functools.partial(activate, self._activation)
        last = len(self._biases) - 1
        h = linear(0, x)
        if self.residual:
            for i in range(1, last, 2):
                h += linear(i + 1, activated(linear(i, activated(h))))
        else:
            for i in range(1, last):
                h = linear(i, activated(h))
        result = linear(last, activated(h))
        return result + linear(last + 1, x) if self.skip else result

    def solve_for_input(self, invert, w, context=None):
        """Finds the input `z` for which `z = invert(self(z, context), w)`, elementwise.

        It computes each hidden unit when its inputs are known, for about the arithmetic
        of two calls, where it takes a call for each input if nobody knows the masks. No
        gradient goes through it.

        Args:
          invert: callable from parameters `[..., num_parameters]` and values `[...]` to
            values `[...]`.
          w: tensor of shape `[..., D]`.
          context: tensor of shape `[..., context_size]`, or None.

        Returns:
          z: tensor of shape `[..., D]`.
          exact: boolean tensor: false in a graph whose masks have been replaced since
            it was made, for a subclass with a `__call__` of its own, and where calls
            compute in another dtype. Then `z` is but a start for another way to solve.
        """
        w, context = check_inputs(self, w, context, self.event_size)
        if type(self).__call__ is not MADE.__call__:  # who knows what it returns
            return tf.zeros_like(w), tf.constant(False)
        known = self._masks.known()
        z = self._walk(Plan(known[0], known[1:]), invert, w, context)
        alike = self.compute_dtype == self.dtype  # if not, calls round in another way
        if tf.executing_eagerly() or not alike:
            return z, tf.constant(alike)
        same = [tf.reduce_all(a == b) for a, b in zip(self._masks.read(), known)]
        return z, tf.reduce_all(same)

    def _walk(self, plan, invert, w, context):
        shape = tf.shape(w)
        bases = [bias[:, tf.newaxis] for bias in self._biases]
        if context is not None:
            told = multiply(context, self._context_kernel) + self._biases[0]
            batch = tf.broadcast_dynamic_shape(shape[:-1], tf.shape(told)[:-1])
            shape = tf.concat([batch, shape[-1:]], axis=0)
            told = tf.broadcast_to(told, tf.concat([batch, told.shape[-1:]], axis=0))
            bases[0] = tf.transpose(tf.reshape(told, [-1, told.shape[-1]]))
        if self.skip:
            bases.append(tf.zeros_like(bases[-1]))
        linears, kernels = [], self._masked_kernels()
        for kernel, base, (source, target) in zip(kernels, bases, self._spaces):
            if target == 0:
                event = [self.event_size, self.num_parameters]
                kernel = tf.reshape(kernel, [kernel.shape[0], *event])
                base = tf.reshape(base, [*event, 1])
            linears.append(
                Linear(tf.stop_gradient(kernel), tf.stop_gradient(base), source, target)
            )
        flat = tf.reshape(tf.broadcast_to(w, shape), [-1, self.event_size])
        z = walk(plan, linears, self._run, invert, tf.stop_gradient(flat))
        return tf.reshape(z, shape)

    def _masked_kernels(self):
        degrees, zero = self._masks.read(), tf.zeros([], self.dtype)
        return [
            tf.where(who_sees_whom(degrees, *spaces, self.num_parameters), kernel, zero)
            for kernel, spaces in zip(self._kernels, self._spaces)
        ]
