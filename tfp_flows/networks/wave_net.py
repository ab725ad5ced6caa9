"""Network of dilated causal convolutions over a waveform."""

import contextlib

import tensorflow as tf

from tfp_flows._builders import register_builder
from tfp_flows._seeds import split_seed
from tfp_flows.networks._causal import convolve, delayed
from tfp_flows.networks._dense import (
    add,
    as_widths,
    cast,
    check_inputs,
    check_sizes,
    describe,
    make_bias,
    make_kernel,
    multiply,
    set_context,
    set_dtypes,
)
from tfp_flows.networks._wave_walk import flatten, walk


@register_builder(package="tfp_flows")
class WaveNet(tf.Module):
    """Network with several outputs for each sample, which see the samples before it.

    The network of van den Oord et al. (2016), https://arxiv.org/abs/1609.03499, figure
    4. A first convolution makes `h` of the samples before. Each layer then computes
    `z = tanh(W_f * h + V_f c) sigmoid(W_g * h + V_g c)`, with causal convolutions `*`
    whose taps are a dilation apart, and adds a linear map of `z` to `h` for the next
    layer. The outputs are a network of two layers of rectifiers, at each time step
    alone, of the sum of linear maps of all `z`. This is their equation 2, and with a
    context `c` their equation 3. All outputs start at zero, so that a flow over this
    network starts as the identity.

    Called with `x` of shape `[..., T]`, about in [-1, 1], it returns a tensor of shape
    `[..., T, num_parameters]`. Those at `t` see the `receptive_field` samples before
    `t`, and zeros before the first one. Any `T` will do.

    A global context, `[..., context_size]`, is the `c` of all time steps. A local one
    (`context_ndims=2`), `[..., T, context_size]`, is seen by the outputs at `t` at `t`,
    and before `t` as far as the layers reach. For both, repeat the global one along
    time and concatenate. The other axes broadcast.

    Args:
      num_parameters: number of outputs for each sample.
      residual_channels: length of `h` and of `z`.
      skip_channels: length of the sum over the layers.
      dilations: time steps between the taps of each layer.
      kernel_size: number of taps of each convolution, 2 or more.
      seed: integer that decides the weights, in each process alike.
      context_size: length of a context; 0 for none.
      context_ndims: 1 for a global context, 2 for a local one.
      dtype: floating dtype of the weights and of the output.
      compute_dtype: floating dtype of the products, see `MLP`; `h` and the sum over the
        layers have `dtype`.
      name: name of the module.

    Raises:
      TypeError: `seed` is no integer; `compute_dtype` is wider than `dtype`, or not
        floating.
      ValueError: an argument is out of its range; the input of a call has no axes, or
        its context another shape.
    """

    event_ndims = 1

    def __init__(
        self,
        num_parameters,
        residual_channels,
        skip_channels,
        dilations=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
        kernel_size=2,
        *,
        seed,
        context_size=0,
        context_ndims=1,
        dtype=tf.float32,
        compute_dtype=None,
        name="wave_net",
    ):
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
            raise ValueError(f"`kernel_size` must be 2 or more; got {kernel_size}.")
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
        linear = 0.5**0.5  # no rectifier follows

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
        # Nobody sees what the last layer would add.
        self._residual_kernels = kernels("residual", layers - 1, channels, channels)
        self._residual_biases = biases("residual", layers - 1, channels)
        # Their sum has the variance that one map of all of their inputs would have.
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
    def receptive_field(self):
        """Number of samples before `t` that the outputs at `t` see."""
        return self.kernel_size + (self.kernel_size - 1) * sum(self.dilations)

    def __call__(self, x, context=None):
        x, context = self._checked(x, context)
        if context is not None and self.context_ndims == 1:
            context = context[..., tf.newaxis, :]
        before = cast(delayed(x[..., tf.newaxis], 1), self.compute_dtype)
        h = add(convolve(before, self._input_kernel, 1), self._input_bias, self.dtype)

        def gate(i, h):
            bias = self._gate_biases[i]
            if context is not None:
                told = cast(context, self.compute_dtype)
                bias = add(multiply(told, self._context_kernels[i]), bias)
            h = cast(h, self.compute_dtype)
            return add(convolve(h, self._gate_kernels[i], self.dilations[i]), bias)

        return self._run(h, gate)

    def _run(self, h, gate):
        """What follows the first convolution, in the dtype that `gate` returns."""
        skip = self._skip_bias
        for i, kernel in enumerate(self._skip_kernels):
            content, share = tf.split(gate(i, h), 2, axis=-1)
            z = tf.tanh(content) * tf.sigmoid(share)
            skip = add(multiply(z, kernel), skip, self.dtype)
            if i < len(self._residual_kernels):
                change = multiply(z, self._residual_kernels[i])
                h += add(change, self._residual_biases[i], self.dtype)
        skip = cast(tf.nn.relu(skip), z.dtype)
        hidden = tf.nn.relu(add(multiply(skip, self._hidden_kernel), self._hidden_bias))
        last = multiply(hidden, self._output_kernel)
        return add(last, self._output_bias, self.dtype)

    def solve_for_input(self, invert, w, context=None):
        """Finds the input `z` for which `z = invert(self(z, context), w)`, elementwise.

        It goes through time once, and keeps what each layer needs of the steps before:
        the cost of a step does not depend on the dilations or on `T`. No gradient goes
        through it.

        Args:
          invert: callable from parameters `[..., num_parameters]` and values `[...]` to
            values `[...]`.
          w: tensor of shape `[..., T]`.
          context: tensor of shape `[..., context_size]`, or `[..., T, context_size]`
            with `context_ndims` 2, or None.

        Returns:
          z: tensor of shape `[..., T]`.
          exact: boolean tensor: false for a subclass with a `__call__` of its own, and
            where calls compute in another dtype. Then `z` is but a start.
        """
        w, context = self._checked(w, context)
        if type(self).__call__ is not WaveNet.__call__:  # who knows what it returns
            return tf.zeros_like(w), tf.constant(False)
        # Eager tapes would keep what each step computes.
        pause = tf.init_scope if tf.executing_eagerly() else contextlib.nullcontext
        with pause():
            z = self._walk(invert, w, context)
        return tf.stop_gradient(z), tf.constant(self.compute_dtype == self.dtype)

    def _walk(self, invert, w, context):
        layers, taps = len(self.dilations), self.kernel_size
        channels, local = self.residual_channels, self.context_ndims == 2
        shape = [layers, taps, channels, 2 * channels]
        kernels = tf.reshape(tf.stack(self._gate_kernels), shape)
        before, now = kernels[:, :-1], tf.unstack(kernels[:, -1])
        told = tf.stack(self._gate_biases)[:, tf.newaxis]
        rows, context, unflatten = flatten(w, context, self.context_ndims)
        if context is not None:
            context_kernels = tf.stack(self._context_kernels)
            if not local:
                told += tf.matmul(context, context_kernels)

        def evaluate(t, recent, past):
            known = told + tf.reduce_sum(tf.matmul(past, before), axis=1)
            if context is not None and local:
                known += tf.matmul(context[:, t], context_kernels)
            fed = []

            def gate(i, h):
                fed.append(h)
                return multiply(h, now[i]) + known[i]

            h = multiply(recent, self._input_kernel) + self._input_bias
            return self._run(h, gate), fed

        z = walk(self.dilations, taps, channels, evaluate, invert, rows)
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

    def __repr__(self):
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
