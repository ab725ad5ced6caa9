"""Masked network whose outputs see only the inputs before them."""

import copy

import numpy as np
import tensorflow as tf

from tfp_flows import masks
from tfp_flows.networks._dense import (
    as_function,
    check_inputs,
    check_sizes,
    make_bias,
    make_kernel,
    multiply,
    split_seed,
)
from tfp_flows.networks._walk import Linear, Plan, walk


class MADE(tf.Module):
    """Network with several outputs for each input, which see the inputs before it.

    Masked autoencoder as in Germain et al. (2015), https://arxiv.org/abs/1502.03509. Each
    kernel is masked in the forward pass: whatever happens to the weights, an output does
    not see what it must not. All outputs start at zero, so that a flow over this network
    starts as the identity.

    Called with `x` of shape `[..., D]`, and a context `[..., context_size]` if it has
    one, it returns a tensor of shape `[..., D, num_parameters]`. The context is added
    before the first activation; the axes before the last broadcast.

    With `num_masks` above 1 it is order-agnostic and connectivity-agnostic, as the paper
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
      dtype: floating dtype of the weights.
      name: name of the module.

    Raises:
      TypeError: `seed` is no integer.
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
        name="made",
    ):
        super().__init__(name=name)
        hidden_units = tuple(hidden_units)
        check_sizes(
            event_size=event_size, num_parameters=num_parameters,
            hidden_units=hidden_units or 0, num_masks=num_masks)
        if residual and len(set(hidden_units)) > 1:
            raise ValueError(
                "`hidden_units` must be equal with `residual`; "
                f"got {hidden_units}."
            )
        self.event_size, self.num_parameters = event_size, num_parameters
        self.hidden_units, self.context_size = hidden_units, context_size
        self.residual, self.skip = residual, skip
        self.dtype = tf.as_dtype(dtype)
        self._activation = as_function(activation)
        self._order, self._degrees = order, degrees
        self._make_masks(num_masks, seed)
        self._make_weights(seed)

    def _make_masks(self, num_masks, seed):
        sets = self._draw_masks(num_masks, seed)
        self._degree_sets = [
            tf.Variable(values, trainable=False, dtype=tf.int64, name=f"degrees_{i}")
            for i, values in enumerate(sets)
        ]
        self.mask_index = tf.Variable(
            0, trainable=False, dtype=tf.int64, name="mask_index"
        )

    def _draw_masks(self, num_masks, seed):
        """Returns an array of degrees `[num_masks, units]` for each space."""
        rng = np.random.default_rng(seed % 2**32)
        lowest = 1 if self.context_size == 0 else 0  # the first output sees a context
        widths = self.hidden_units[:1] if self.residual else self.hidden_units
        sets = []
        for _ in range(num_masks):
            agnostic = num_masks > 1
            order = "random" if agnostic else self._order
            inputs = masks.input_degrees(masks.order(self.event_size, order, rng))
            kind = "random" if agnostic else self._degrees
            hidden = [
                masks.hidden_degrees(self.event_size, width, kind, lowest, rng)
                for width in widths
            ]
            if agnostic:  # units keep their weights, and change their places
                hidden = [rng.permutation(degrees) for degrees in hidden]
            sets.append([inputs, *hidden])
        return [np.stack(space) for space in zip(*sets)]

    def _make_weights(self, seed):
        first, *rest = self.hidden_units
        # Inputs, outputs and the spaces of both, of each linear map in turn.
        if self.residual:
            maps = [(self.event_size, first, 0, 1)]
            maps += [(first, first, 1, 1)] * (2 * len(self.hidden_units))
        else:
            sizes = [self.event_size, *self.hidden_units]
            maps = [(a, b, i, i + 1) for i, (a, b) in enumerate(zip(sizes, sizes[1:]))]
        self._spaces = [spaces for _, _, *spaces in maps]
        seeds = split_seed(seed, len(maps) + 1)
        kernels, biases = [], []
        for i, (inputs, outputs, *_) in enumerate(maps):
            ends_block = self.residual and i > 0 and i % 2 == 0
            kernels.append(make_kernel(
                None if ends_block else seeds[i], [inputs, outputs],
                self.dtype, f"kernel_{i}"))
            biases.append(make_bias(outputs, self.dtype, f"bias_{i}"))
        outputs = [self.event_size, self.num_parameters]
        last = len(maps)
        self._spaces.append([self._spaces[-1][1], 0])
        kernels.append(make_kernel(
            None, [self.hidden_units[-1], *outputs], self.dtype, f"kernel_{last}"))
        biases.append(tf.Variable(tf.zeros(outputs, self.dtype), name=f"bias_{last}"))
        if self.skip:
            self._spaces.append([0, 0])
            kernels.append(make_kernel(
                None, [self.event_size, *outputs], self.dtype, "skip_kernel"))
        self._kernels, self._biases = kernels, biases
        self._context_kernel = None
        if self.context_size:
            self._context_kernel = make_kernel(
                seeds[-1], [self.context_size, first], self.dtype, "context_kernel")

    @property
    def order(self):
        """Array of the inputs in their order, of the masks in use."""
        return np.argsort(self._read_degrees()[0])

    @property
    def num_masks(self):
        """Size of the set of orders and masks."""
        return self._degree_sets[0].shape[0]

    def next_masks(self):
        """Takes the next order and masks of the set; the first after the last."""
        self.mask_index.assign((self.mask_index + 1) % self.num_masks)

    def resample_masks(self, seed):
        """Draws another set of orders and masks.

        Args:
          seed: integer that decides it.
        """
        for variable, values in zip(
            self._degree_sets, self._draw_masks(self.num_masks, seed)
        ):
            variable.assign(values)

    def views(self):
        """Returns a network for each of the masks, on the variables of this one."""
        networks = [copy.copy(self) for _ in range(self.num_masks)]
        for index, network in enumerate(networks):
            network.mask_index = index
        return networks

    def __call__(self, x, context=None):
        x, context = check_inputs(self, x, context, self.event_size)
        kernels = self._masked_kernels(self._read_degrees())

        def linear(i, h):
            kernel = kernels[i]
            if kernel.shape.rank == 3:
                flat = tf.reshape(kernel, [kernel.shape[0], -1])
                h = multiply(h, flat)
                if i < len(self._biases):
                    h += tf.reshape(self._biases[i], [-1])
                return h
            h = multiply(h, kernel) + self._biases[i]
            if i == 0 and context is not None:
                h += multiply(context, self._context_kernel)
            return h

        flat = self._run(x, linear)
        shape = [*flat.shape[:-1], self.event_size, self.num_parameters]
        dynamic = tf.concat([tf.shape(flat)[:-1], shape[-2:]], axis=0)
        return tf.ensure_shape(tf.reshape(flat, dynamic), shape)

    def _run(self, x, linear):
        """The network, but for what `linear(i, h)` does for the i-th linear map."""
        activate, last = self._activation, len(self._biases) - 1
        h = linear(0, x)
        if self.residual:
            for i in range(1, last, 2):
                h += linear(i + 1, activate(linear(i, activate(h))))
        else:
            for i in range(1, last):
                h = linear(i, activate(h))
        result = linear(last, activate(h))
        return result + linear(last + 1, x) if self.skip else result

    def solve(self, invert, w, context=None):
        """Finds the input `z` for which `z = invert(self(z, context), w)`, elementwise.

        It computes each hidden unit when its inputs are known, for about the price of
        two calls, where it takes a call for each input if nobody knows the masks. No
        gradient goes through it.

        Args:
          invert: callable from parameters `[..., num_parameters]` and values `[...]` to
            values `[...]`.
          w: tensor of shape `[..., D]`.
          context: tensor of shape `[..., context_size]`, or None.

        Returns:
          z: tensor of shape `[..., D]`.
          exact: boolean tensor: false in a graph whose masks have been replaced since
            it was made, where `z` is but a start for another way to solve.
        """
        w, context = check_inputs(self, w, context, self.event_size)
        with tf.init_scope():  # out of any graph under construction
            known = [values.numpy() for values in self._read_degrees()]
        z = self._walk(Plan(known[0], known[1:]), invert, w, context)
        if tf.executing_eagerly():
            return z, tf.constant(True)
        same = [tf.reduce_all(a == b) for a, b in zip(self._read_degrees(), known)]
        return z, tf.reduce_all(same)

    def _walk(self, plan, invert, w, context):
        kernels = self._masked_kernels(self._read_degrees())
        bases = [bias[..., tf.newaxis] for bias in self._biases]
        shape = tf.shape(w)
        if context is not None:
            told = multiply(context, self._context_kernel) + self._biases[0]
            batch = tf.broadcast_dynamic_shape(shape[:-1], tf.shape(told)[:-1])
            shape = tf.concat([batch, shape[-1:]], axis=0)
            told = tf.broadcast_to(told, tf.concat([batch, told.shape[-1:]], axis=0))
            bases[0] = tf.transpose(tf.reshape(told, [-1, told.shape[-1]]))
        if self.skip:
            bases.append(tf.zeros([self.event_size, self.num_parameters, 1], self.dtype))
        linears = [
            Linear(tf.stop_gradient(kernel), tf.stop_gradient(base), *spaces)
            for kernel, base, spaces in zip(kernels, bases, self._spaces)
        ]
        flat = tf.reshape(tf.broadcast_to(w, shape), [-1, self.event_size])
        z = walk(plan, linears, self._run, invert, tf.stop_gradient(flat))
        return tf.reshape(z, shape)

    def _masked_kernels(self, degrees):
        result = []
        for i, (kernel, (source, target)) in enumerate(zip(self._kernels, self._spaces)):
            sees, seen = degrees[source][:, tf.newaxis], degrees[target]
            mask = sees < seen if kernel.shape.rank == 3 else sees <= seen
            if kernel.shape.rank == 3:
                mask = mask[..., tf.newaxis]
            result.append(tf.where(mask, kernel, tf.zeros([], self.dtype)))
        return result

    def _read_degrees(self):
        if self.num_masks == 1:
            return [tf.convert_to_tensor(degrees)[0] for degrees in self._degree_sets]
        return [tf.gather(degrees, self.mask_index) for degrees in self._degree_sets]
