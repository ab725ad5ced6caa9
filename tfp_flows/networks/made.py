"""Masked autoencoder: a dense autoregressive network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfp_flows._builders import register_builder
from tfp_flows._seeds import split_seed
from tfp_flows._typing import DTypeLike, TensorLike
from tfp_flows.networks._block_schedule import BlockSchedule
from tfp_flows.networks._dense_ops import activate, add, multiply, replace_last_axis
from tfp_flows.networks._initializers import make_bias, make_kernel
from tfp_flows.networks._made_masks import (
    MaskSets,
    connectivity_mask,
    linear_map_shapes,
)
from tfp_flows.networks._network_checks import (
    as_function,
    as_widths,
    check_context_size,
    check_inputs,
    check_sizes,
    describe,
    set_dtypes,
)
from tfp_flows.networks._sequential_inverse import Linear, invert_by_blocks
from tfp_flows.networks.base import Network


@register_builder(package="tfp_flows")
class MADE(Network):
    """Masked autoencoder for distribution estimation (MADE).

    An autoregressive network with several outputs for each input: those of an input
    depend on the inputs that precede it in the order. See Germain et al. (2015),
    https://arxiv.org/abs/1502.03509. Kernels are masked in every call, so that no
    training step can violate the autoregressive order. All outputs are initialized to
    zero, so that a flow over this network is initialized to the identity.

    Called with `x` of shape `[..., D]`, and a context `[..., context_size]` if it takes
    one, it returns a tensor of shape `[..., D, num_parameters]`. The context is added
    before the first activation. Axes before the last broadcast.

    With `num_masks` above 1 it is order- and connectivity-agnostic, as trained in the
    paper: `next_masks` switches to the next of a fixed list of orders and masks,
    `resample_masks` draws another list, and `ensemble` returns one network for each
    element of the list, with shared weights, to average over at evaluation.

    Args:
      event_size: `D`, number of inputs.
      num_parameters: number of outputs for each input.
      hidden_units: widths of the hidden layers; with `residual` of the blocks, equal.
      seed: integer that determines weights, orders and masks, in every process alike.
      order: which input comes first, second, ...: "left-to-right", "right-to-left",
        "random" or a permutation of 0 to D - 1. It is saved as a variable.
      hidden_degrees: "equal", the same number of hidden units of each degree up to 1,
        or "random". They are saved as variables.
      num_masks: number of orders and masks; if above 1, all are random.
      activation: elementwise function, or the name of a function in `tf.nn`.
      residual: whether the hidden layers are blocks of two layers each with a shortcut.
      skip_connections: whether the outputs also depend linearly on the inputs that
        precede them.
      context_size: length of a context; 0 for none.
      dtype: floating dtype of the weights and of the output.
      compute_dtype: floating dtype of the matrix products, see `MLP`.
      name: name of the module.

    Raises:
      TypeError: `seed` is not an integer; `compute_dtype` is not floating, or is wider
        than `dtype`.
      ValueError: an argument is out of its range; `order` is not a permutation; the
        input or context of a call has another last axis.

    Example:

    >>> network = MADE(event_size=3, num_parameters=2, hidden_units=(16, 16), seed=0)
    >>> network(tf.zeros([5, 3])).shape
    TensorShape([5, 3, 2])
    """

    num_parameters: int
    context_size: int

    def __init__(
        self,
        event_size: int,
        num_parameters: int,
        hidden_units: int | Sequence[int] = (256, 256),
        *,
        seed: int,
        order: str | npt.ArrayLike = "left-to-right",
        hidden_degrees: str = "equal",
        num_masks: int = 1,
        activation: str | Callable[[tf.Tensor], tf.Tensor] = "relu",
        residual: bool = False,
        skip_connections: bool = False,
        context_size: int = 0,
        dtype: DTypeLike = tf.float32,
        compute_dtype: DTypeLike | None = None,
        name: str = "made",
    ) -> None:
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
        self.residual, self.skip_connections = residual, skip_connections
        set_dtypes(self, dtype, compute_dtype)
        self._activation = as_function(activation)
        self._make_weights(seed)
        self._masks = MaskSets(
            num_masks,
            seed,
            event_size=event_size,
            widths=hidden_units[:1] if residual else hidden_units,
            order_kind=order,
            degree_kind=hidden_degrees,
            lowest=1 if context_size == 0 else 0,  # of units for the context alone
        )

    def _make_weights(self, seed):
        first, outputs = self.hidden_units[0], self.event_size * self.num_parameters
        maps = linear_map_shapes(
            self.event_size, self.hidden_units, outputs, self.residual
        )
        seeds = split_seed(seed, len(maps))
        seeds[-1] = None  # zeros: a flow is initialized to the identity
        if self.residual:
            seeds[2:-1:2] = [None] * len(self.hidden_units)  # and each block, too
        self._biases = [
            make_bias(size, self.dtype, f"bias_{i}")
            for i, (_, size, *_) in enumerate(maps)
        ]
        if self.skip_connections:
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
    def event_shape(self) -> tf.TensorShape:  # type: ignore[override]
        """Shape of one input, `[event_size]`."""
        return tf.TensorShape([self.event_size])

    @property
    def order(self) -> npt.NDArray:  # type: ignore[override]
        """Permutation of the inputs, of the masks in use: which comes first, ..."""
        return np.argsort(self._masks.known()[0])

    def next_masks(self) -> None:
        """Switch to the next order and masks of the list; the first after the last.

        Graphs that were traced before remain correct. Their sequential direction then
        takes one network evaluation per input.
        """
        self._masks.take_next()

    def resample_masks(self, seed: int) -> None:
        """Draw another list of orders and masks.

        Args:
          seed: integer that determines it.
        """
        self._masks.resample(seed)

    def ensemble(self) -> list[MADE]:
        """Return a network for each of the orders and masks, with shared weights.

        Average over them at evaluation, as in section 4.2 of Germain et al. (2015).
        """
        networks = []
        for masks in self._masks.members():
            network = copy.copy(self)
            network._masks = masks
            networks.append(network)
        return networks

    def __call__(self, x: TensorLike, context: TensorLike | None = None) -> tf.Tensor:
        """Predict the parameters of each input.

        Args:
          x: tensor of shape `[..., event_size]`.
          context: tensor of shape `[..., context_size]`, or None.

        Returns:
          parameters: tensor of shape `[..., event_size, num_parameters]`.
        """
        x, context = check_inputs(self, x, context, self.event_size)
        kernels, last = self._masked_kernels(), len(self._biases) - 1
        dtype, compute_dtype = self.dtype, self.compute_dtype

        def linear(i, h):
            # Terms of a later sum, and results, are not rounded to the compute dtype.
            result_dtype = dtype if self.residual or i >= last else compute_dtype
            if h.dtype != compute_dtype:
                h = tf.cast(h, compute_dtype)
            h = multiply(h, kernels[i])
            if h.dtype != result_dtype:
                h = tf.cast(h, result_dtype)
            if i <= last:  # skip connections have no bias
                h = add(h, self._biases[i])
            if i == 0 and context is not None:
                context_bias = tf.cast(context, compute_dtype)
                h = add(h, multiply(context_bias, self._context_kernel))
            return h

        flat = self._run(x, linear)
        return replace_last_axis(flat, flat, [self.event_size, self.num_parameters])

    def _run(self, x, linear):
        """Evaluates the network, where `linear(i, h)` applies the i-th linear map."""
        activation = self._activation
        last = len(self._biases) - 1
        h = linear(0, x)
        if self.residual:
            for i in range(1, last, 2):
                inner = linear(i, activate(activation, h))
                h += linear(i + 1, activate(activation, inner))
        else:
            for i in range(1, last):
                h = linear(i, activate(activation, h))
        result = linear(last, activate(activation, h))
        return result + linear(last + 1, x) if self.skip_connections else result

    def solve_for_input(
        self,
        invert: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
        w: TensorLike,
        context: TensorLike | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Find the input `z` for which `z = invert(self(z, context), w)`, elementwise.

        Each hidden unit is computed once, when its inputs are known, at about the cost
        of two network evaluations. No gradient flows through it.

        Args:
          invert: callable from parameters `[..., num_parameters]` and values `[...]` to
            values `[...]`.
          w: tensor of shape `[..., D]`.
          context: tensor of shape `[..., context_size]`, or None.

        Returns:
          z: tensor of shape `[..., D]`.
          exact: boolean tensor: false in a graph whose masks have been replaced since
            it was traced, for a subclass that overrides `__call__`, and where calls
            use another compute dtype. Then `z` is only an initial value for a
            fixed-point iteration.
        """
        w, context = check_inputs(self, w, context, self.event_size)
        if type(self).__call__ is not MADE.__call__:  # a subclass may return anything
            return tf.zeros_like(w), tf.constant(False)
        known = self._masks.known()
        schedule = BlockSchedule(known[0], known[1:])
        z = self._solve_by_blocks(schedule, invert, w, context)
        same_dtype = self.compute_dtype == self.dtype  # else calls round differently
        if tf.executing_eagerly() or not same_dtype:
            return z, tf.constant(same_dtype)
        same = [tf.reduce_all(a == b) for a, b in zip(self._masks.read(), known)]
        return z, tf.reduce_all(same)

    def _solve_by_blocks(self, schedule, invert, w, context):
        shape = tf.shape(w)
        bases = [bias[:, tf.newaxis] for bias in self._biases]
        if context is not None:
            context_bias = multiply(context, self._context_kernel) + self._biases[0]
            batch = tf.broadcast_dynamic_shape(shape[:-1], tf.shape(context_bias)[:-1])
            shape = tf.concat([batch, shape[-1:]], axis=0)
            width = context_bias.shape[-1]
            context_bias = tf.broadcast_to(
                context_bias, tf.concat([batch, [width]], axis=0)
            )
            bases[0] = tf.transpose(tf.reshape(context_bias, [-1, width]))
        if self.skip_connections:
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
        flat = tf.stop_gradient(
            tf.reshape(tf.broadcast_to(w, shape), [-1, self.event_size])
        )
        z = invert_by_blocks(schedule, linears, self._run, invert, flat)
        return tf.reshape(z, shape)

    def _masked_kernels(self):
        degrees, zero = self._masks.read(), tf.zeros([], self.dtype)
        kernels = []
        for kernel, (source, target) in zip(self._kernels, self._spaces):
            mask = connectivity_mask(degrees, source, target, self.num_parameters)
            kernels.append(tf.where(mask, kernel, zero))
        return kernels

    def __repr__(self) -> str:
        return describe(
            self, "event_size", "num_parameters", "hidden_units", "context_size"
        )
