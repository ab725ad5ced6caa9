"""Dilated causal convolutions: an autoregressive network for sequences."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import tensorflow as tf

from tfp_flows._autodiff import with_shape
from tfp_flows._builders import register_builder
from tfp_flows._seeds import split_seed
from tfp_flows._typing import DTypeLike, TensorLike
from tfp_flows.networks._cached_generation import flatten_sequences, generate
from tfp_flows.networks._dense_ops import add, cast, multiply
from tfp_flows.networks._initializers import make_bias, make_kernel
from tfp_flows.networks._network_checks import (
    as_widths,
    check_inputs,
    check_sizes,
    describe,
    set_context,
    set_dtypes,
)
from tfp_flows.networks.base import Network


@register_builder(package="tfp_flows")
class WaveNet(Network):
    """WaveNet, dilated causal convolutions over a sequence.

    See van den Oord et al. (2016), https://arxiv.org/abs/1609.03499, figure 4. The
    outputs of a sample depend on the samples before it. A first convolution computes
    `h` from these samples. Each layer then computes
    `z = tanh(W_f * h + V_f c) sigmoid(W_g * h + V_g c)`, with causal convolutions `*`
    whose taps are a dilation apart, and adds a linear map of `z` to `h` for the next
    layer. The outputs are two ReLU layers, applied at each time step, to the sum of
    linear maps of all `z`. This is their equation 2, and with a context `c` their
    equation 3. All outputs are initialized to zero, so that a flow over this network is
    initialized to the identity.

    Called with `x` of shape `[..., T]`, with values of about [-1, 1], it returns a
    tensor of shape `[..., T, num_parameters]`, for any `T`. The outputs at `t` depend
    on the `receptive_field` samples before `t`, with zeros before the first one.

    A global context, `[..., context_size]`, is the `c` of all time steps. A local one
    (`context_ndims=2`) has shape `[..., T, context_size]`: the outputs at `t` depend on
    it at `t`, and before `t` as far as the layers reach. For both, repeat the global
    one along time and concatenate. The other axes broadcast.

    Args:
      num_parameters: number of outputs for each sample.
      residual_channels: length of `h` and of `z`.
      skip_channels: length of the sum over the layers.
      dilations: time steps between the taps of each layer.
      kernel_size: number of taps of each convolution, at least 2.
      seed: integer that determines the weights, the same in every process.
      context_size: length of a context; 0 for none.
      context_ndims: 1 for a global context, 2 for a local one.
      dtype: floating dtype of the weights and of the output.
      compute_dtype: floating dtype of the products, see `MLP`; `h` and the sum over the
        layers have `dtype`.
      name: name of the module.

    Raises:
      TypeError: `seed` is not an integer; `compute_dtype` is not floating, or is wider
        than `dtype`.
      ValueError: an argument is out of its range; the input of a call is a scalar, or
        its context has another shape.

    Example:

    >>> network = WaveNet(num_parameters=2, residual_channels=4, skip_channels=8,
    ...                   dilations=(1, 2, 4), seed=0)
    >>> network.receptive_field
    9
    >>> network(tf.zeros([5, 16])).shape
    TensorShape([5, 16, 2])
    """

    def __init__(
        self,
        num_parameters: int,
        residual_channels: int,
        skip_channels: int,
        dilations: int | Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
        kernel_size: int = 2,
        *,
        seed: int,
        context_size: int = 0,
        context_ndims: int = 1,
        dtype: DTypeLike = tf.float32,
        compute_dtype: DTypeLike | None = None,
        name: str = "wave_net",
    ) -> None:
        super().__init__(name=name)
        dilations = as_widths(dilations)
        check_sizes(
            num_parameters=num_parameters,
            residual_channels=residual_channels,
            skip_channels=skip_channels,
            dilations=dilations or 0,
            kernel_size=kernel_size,
        )
        if kernel_size < 2:
            raise ValueError(f"`kernel_size` must be at least 2; got {kernel_size}.")
        set_context(self, context_size, context_ndims, (1, 2))
        self.num_parameters, self.residual_channels = num_parameters, residual_channels
        self.skip_channels, self.dilations = skip_channels, dilations
        self.kernel_size = kernel_size
        set_dtypes(self, dtype, compute_dtype)
        self._make_weights(seed)

    def _make_weights(self, seed):
        taps, dtype, layers = self.kernel_size, self.dtype, len(self.dilations)
        channels, skip_channels = self.residual_channels, self.skip_channels
        seeds = iter(split_seed(seed, 4 * layers + 2))
        linear = 0.5**0.5  # no ReLU follows

        def kernels(name, number, *shape, scale=linear):
            return [
                make_kernel(next(seeds), shape, dtype, f"{name}_kernel_{i}", scale)
                for i in range(number)
            ]

        def biases(name, number, size):
            return [make_bias(size, dtype, f"{name}_bias_{i}") for i in range(number)]

        self._input_kernel = make_kernel(
            next(seeds), [taps, channels], dtype, "input_kernel", linear
        )
        self._input_bias = make_bias(channels, dtype, "input_bias")
        self._gate_kernels = kernels("gate", layers, taps * channels, 2 * channels)
        self._gate_biases = biases("gate", layers, 2 * channels)
        # The residual of the last layer would have no use.
        self._residual_kernels = kernels("residual", layers - 1, channels, channels)
        self._residual_biases = biases("residual", layers - 1, channels)
        # Their sum has the variance of one map of all of their inputs.
        self._skip_kernels = kernels(
            "skip", layers, channels, skip_channels, scale=layers**-0.5
        )
        self._skip_bias = make_bias(skip_channels, dtype, "skip_bias")
        self._hidden_kernel = make_kernel(
            next(seeds), [skip_channels, skip_channels], dtype, "hidden_kernel"
        )
        self._hidden_bias = make_bias(skip_channels, dtype, "hidden_bias")
        self._output_kernel = make_kernel(
            None, [skip_channels, self.num_parameters], dtype, "output_kernel"
        )
        self._output_bias = make_bias(self.num_parameters, dtype, "output_bias")
        number = layers if self.context_size else 0
        self._context_kernels = kernels(
            "context", number, self.context_size, 2 * channels
        )

    @property
    def receptive_field(self) -> int:
        """Number of samples before `t` that the outputs at `t` depend on."""
        return self.kernel_size + (self.kernel_size - 1) * sum(self.dilations)

    def __call__(self, x: TensorLike, context: TensorLike | None = None) -> tf.Tensor:
        """Predict the parameters of each sample.

        Args:
          x: tensor of shape `[..., T]`.
          context: tensor of shape `[..., context_size]`, or `[..., T, context_size]`
            with `context_ndims` 2, or None.

        Returns:
          parameters: tensor of shape `[..., T, num_parameters]`.
        """
        samples, contexts = self._checked(x, context)
        compute_dtype = self.compute_dtype
        if contexts is not None:
            contexts = cast(contexts, compute_dtype)
            if self.context_ndims == 1:
                contexts = contexts[..., tf.newaxis, :]
        inputs = cast(delay(samples[..., tf.newaxis], 1), compute_dtype)
        h = convolve_causally(inputs, self._input_kernel, 1)
        h = add(h, self._input_bias, self.dtype)

        def gate(i, h):
            bias = self._gate_biases[i]
            if contexts is not None:
                bias = add(multiply(contexts, self._context_kernels[i]), bias)
            h = cast(h, compute_dtype)
            h = convolve_causally(h, self._gate_kernels[i], self.dilations[i])
            return add(h, bias)

        return self._run(h, gate)

    def _run(self, h, gate):
        """Evaluates the layers after the first one, in the dtype of `gate`."""
        skip = self._skip_bias
        for i, kernel in enumerate(self._skip_kernels):
            content, logit = tf.split(gate(i, h), 2, axis=-1)
            z = tf.tanh(content) * tf.sigmoid(logit)
            skip = add(multiply(z, kernel), skip, self.dtype)
            if i < len(self._residual_kernels):
                change = multiply(z, self._residual_kernels[i])
                h += add(change, self._residual_biases[i], self.dtype)
        skip = cast(tf.nn.relu(skip), z.dtype)
        hidden = tf.nn.relu(add(multiply(skip, self._hidden_kernel), self._hidden_bias))
        last = multiply(hidden, self._output_kernel)
        return add(last, self._output_bias, self.dtype)

    def solve_for_input(
        self,
        invert: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
        w: TensorLike,
        context: TensorLike | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Find the input `z` for which `z = invert(self(z, context), w)`, elementwise.

        It runs through time once, with a cache of the inputs of each layer, so that the
        cost of a step depends neither on the dilations nor on `T`. No gradient flows
        through it.

        Args:
          invert: callable from parameters `[..., num_parameters]` and values `[...]` to
            values `[...]`.
          w: tensor of shape `[..., T]`.
          context: tensor of shape `[..., context_size]`, or `[..., T, context_size]`
            with `context_ndims` 2, or None.

        Returns:
          z: tensor of shape `[..., T]`.
          exact: boolean tensor: false for a subclass that overrides `__call__`, and
            where calls use another compute dtype. Then `z` is only an initial value for
            a fixed-point iteration.
        """
        w, context = self._checked(w, context)
        if type(self).__call__ is not WaveNet.__call__:  # it may return anything
            return tf.zeros_like(w), tf.constant(False)
        # Eager tapes would keep the intermediate results of each step.
        pause = tf.init_scope if tf.executing_eagerly() else contextlib.nullcontext
        with pause():
            z = self._generate(invert, w, context)
        return tf.stop_gradient(z), tf.constant(self.compute_dtype == self.dtype)

    def _generate(self, invert, w, context):
        layers, taps = len(self.dilations), self.kernel_size
        channels, local = self.residual_channels, self.context_ndims == 2
        shape = [layers, taps, channels, 2 * channels]
        kernels = tf.reshape(tf.stack(self._gate_kernels), shape)
        past_kernels, last_kernels = kernels[:, :-1], tf.unstack(kernels[:, -1])
        biases = tf.stack(self._gate_biases)[:, tf.newaxis]
        rows, context, unflatten = flatten_sequences(w, context, self.context_ndims)
        if context is not None:
            context_kernels = tf.stack(self._context_kernels)
            if not local:
                biases += tf.matmul(context, context_kernels)

        def evaluate(t, recent, past):
            known = biases + tf.reduce_sum(tf.matmul(past, past_kernels), axis=1)
            if context is not None and local:
                known += tf.matmul(context[:, t], context_kernels)
            layer_inputs = []

            def gate(i, h):
                layer_inputs.append(h)
                return multiply(h, last_kernels[i]) + known[i]

            h = multiply(recent, self._input_kernel) + self._input_bias
            return self._run(h, gate), layer_inputs

        z = generate(self.dilations, taps, channels, evaluate, invert, rows)
        return unflatten(z)

    def _checked(self, x, context):
        x = tf.convert_to_tensor(x, dtype_hint=self.dtype)
        if not x.shape.rank:
            raise ValueError(
                f"The input must have a last axis, time; got shape {x.shape}."
            )
        x, context = check_inputs(self, x, context, x.shape[-1])
        if (
            context is not None
            and self.context_ndims == 2
            and not (context.shape[-2:-1].is_compatible_with(x.shape[-1:]))
        ):
            raise ValueError(
                "A local `context` must have shape `[..., T, context_size]`, with the "
                f"`T` of the input; got shapes {context.shape} and {x.shape}."
            )
        return x, context

    def __repr__(self) -> str:
        return describe(
            self,
            "num_parameters",
            "residual_channels",
            "skip_channels",
            "dilations",
            "kernel_size",
            "context_size",
            "context_ndims",
        )


def delay(h: tf.Tensor, steps: int) -> tf.Tensor:
    """Returns `h` of shape `[..., T, channels]` moved to later steps, after zeros."""
    if steps == 0:
        return h
    paddings = [[0, 0]] * (h.shape.rank - 2) + [[steps, 0], [0, 0]]
    moved = tf.pad(h, paddings)[..., : tf.shape(h)[-2], :]
    return with_shape(moved, h.shape)


def convolve_causally(
    h: tf.Tensor, kernel: tf.Tensor | tf.Variable, dilation: int
) -> tf.Tensor:
    """Returns a causal convolution of `h` of shape `[..., T, inputs]`.

    It is one product for each tap: outside XLA, TensorFlow has no gradient of
    `tf.nn.conv1d` with dilations on CPUs, and within XLA there is no gain.

    Args:
      h: tensor of shape `[..., T, inputs]`.
      kernel: tensor of shape `[taps * inputs, outputs]`, the oldest tap first.
      dilation: number of steps between two taps; the last one is at its own step.
    """
    taps = tf.split(kernel, kernel.shape[0] // h.shape[-1])
    return tf.add_n(
        [multiply(delay(h, age * dilation), tap) for age, tap in enumerate(taps[::-1])]
    )
