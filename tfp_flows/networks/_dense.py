"""Variables and products that the networks share."""

import tensorflow as tf

from tfp_flows._autodiff import with_shape
from tfp_flows._dtypes import check_dtype
from tfp_flows._sizes import is_size

_FLOATING = (tf.bfloat16, tf.float16, tf.float32, tf.float64)


def make_kernel(seed, shape, dtype, name, scale=1.0):
    """Returns a variable for a layer of rectifiers, as He et al. (2015) start it.

    Args:
      seed: one of `split_seed`; None for zeros.
      shape: shape, inputs before outputs.
      dtype: dtype of the variable.
      name: its name.
      scale: factor of the standard deviation, `sqrt(2 / inputs)`.
    """
    if seed is None:
        return tf.Variable(tf.zeros(shape, dtype), name=name)
    stddev = scale * (2.0 / max(1, shape[0])) ** 0.5
    value = tf.random.stateless_normal(shape, seed, stddev=stddev, dtype=dtype)
    return tf.Variable(value, name=name)


def make_bias(size, dtype, name):
    """Returns a variable of zeros."""
    return tf.Variable(tf.zeros([size], dtype), name=name)


def set_dtypes(network, dtype, compute_dtype=None):
    """Makes the dtypes of weights and of products attributes of a network.

    Raises:
      TypeError: `dtype` is neither float32 nor float64, or `compute_dtype` is no
        floating dtype, or wider than `dtype`.
    """
    network.dtype = network.compute_dtype = check_dtype("dtype", dtype)
    if compute_dtype is not None:
        network.compute_dtype = tf.as_dtype(compute_dtype)
    if (
        network.compute_dtype not in _FLOATING
        or network.compute_dtype.size > network.dtype.size
    ):
        raise TypeError(
            f"`compute_dtype` must be one of {[d.name for d in _FLOATING]}, and not "
            f"wider than `dtype`, {network.dtype.name}; got {compute_dtype!r}."
        )


def set_context(network, size, ndims, allowed):
    """Makes what a network has of contexts its attributes.

    Raises:
      ValueError: the size is out of its range, or the rank none of those allowed.
    """
    check_context_size(size)
    if ndims not in allowed:
        raise ValueError(
            f"`context_ndims` must be {' or '.join(map(str, allowed))}; got {ndims!r}."
        )
    network.context_size, network.context_ndims = size, ndims


def describe(network, *names):
    """Returns what `repr` says of a network: attributes of these names, and dtypes."""
    names = [*names, "dtype"]
    if network.compute_dtype != network.dtype:
        names.append("compute_dtype")
    return (
        f"<{type(network).__name__} {network.name!r} "
        f"{' '.join(f'{name}={_spell(getattr(network, name))}' for name in names)}>"
    )


def multiply(x, kernel):
    """Returns `x @ kernel` for `x` `[..., inputs]`, as one product, in its dtype."""
    kernel = cast(kernel, x.dtype)
    if kernel.shape[0] == 0:
        # Fused with what follows, oneDNN ends the process at an empty product.
        shape = tf.concat([tf.shape(x)[:-1], kernel.shape[1:]], axis=0)
        zeros = tf.zeros(shape, x.dtype) + tf.reduce_sum(kernel)  # it has a gradient
        return with_shape(zeros, x.shape[:-1].concatenate(kernel.shape[1:]))
    if x.shape.rank == 2:
        return tf.matmul(x, kernel)
    flat = tf.matmul(tf.reshape(x, [-1, kernel.shape[0]]), kernel)
    return in_place_of_last(flat, x, [kernel.shape[1]])


def add(h, bias, dtype=None):
    """Returns `h + bias` in a dtype, by default that of `h`."""
    dtype = h.dtype if dtype is None else dtype
    # TensorFlow would fuse the sum of a product in float16 into it, and on CPUs take a
    # thousand times as long.
    wide = tf.float32 if dtype == tf.float16 else dtype
    return cast(cast(h, wide) + cast(bias, wide), dtype)


def cast(x, dtype):
    """`tf.cast` that costs nothing in eager mode where `x` has that dtype."""
    return x if x.dtype == dtype else tf.cast(x, dtype)


def in_place_of_last(values, like, shape):
    """Gives `values` the axes of `like` but its last, and then those of `shape`."""
    result = tf.reshape(values, tf.concat([tf.shape(like)[:-1], shape], axis=0))
    return with_shape(result, like.shape[:-1].concatenate(shape))


def as_function(activation):
    """Returns the elementwise function: a callable, or the name of one of `tf.nn`.

    Raises:
      ValueError: there is no such function.
    """
    if callable(activation):
        return activation
    function = getattr(tf.nn, activation, None) if isinstance(activation, str) else None
    if not callable(function):
        raise ValueError(
            "`activation` must be callable or the name of a function of `tf.nn`; "
            f"got {activation!r}."
        )
    return function


def activate(activation, h):
    """Returns an activation of `h`.

    Raises:
      ValueError: it does not have the shape of `h`.
    """
    result = activation(h)
    if not h.shape.is_compatible_with(result.shape):
        name = getattr(activation, "__name__", repr(activation))
        raise ValueError(
            f"`activation` must keep the shape of its argument; got `{name}`, which "
            f"returns shape {result.shape} for {h.shape}. Give an elementwise function."
        )
    return result


def as_widths(hidden_units):
    """Returns a tuple of widths; one number stands for one layer."""
    if isinstance(hidden_units, (tuple, list)):
        return tuple(hidden_units)
    return (hidden_units,)


def check_sizes(**named):
    """Checks that sizes, or all sizes in a sequence, are integers of at least 1.

    Raises:
      ValueError: one is not.
    """
    for name, value in named.items():
        sizes = value if isinstance(value, (tuple, list)) else [value]
        if not all(map(is_size, sizes)):
            raise ValueError(
                f"`{name}` must be an integer of at least 1, or a sequence of such; "
                f"got {value!r}."
            )


def check_context_size(size):
    """Raises `ValueError` if the length of a context is no integer of at least 0."""
    if not is_size(size, least=0):
        raise ValueError(
            "`context_size` must be the length of a context, an integer of at least 1, "
            f"or 0 for none; got {size!r}."
        )


def check_inputs(network, x, context, input_size):
    """Checks what a network is called with.

    Args:
      network: network with `context_size` and `dtype`.
      x: tensor of shape `[..., input_size]`.
      context: tensor of shape `[..., context_size]`, or None.
      input_size: length of the last axis of `x`.

    Returns:
      x, context: as tensors of the network's dtype.

    Raises:
      ValueError: a last axis does not fit, or the context is missing or not wanted.
    """
    x = tf.convert_to_tensor(x, dtype_hint=network.dtype)
    if x.shape.rank is None or not x.shape[-1:].is_compatible_with([input_size]):
        raise ValueError(
            f"The last axis of the input must have length {input_size}; "
            f"got shape {x.shape}."
        )
    if (context is not None) != (network.context_size > 0):
        raise ValueError(
            f"`context` must be given if and only if `context_size` is above 0; got "
            f"{'none' if context is None else 'one'}, and {network.context_size}."
        )
    if context is not None:
        context = tf.convert_to_tensor(context, dtype_hint=network.dtype)
        if context.shape.rank is None or not context.shape[-1:].is_compatible_with(
            [network.context_size]
        ):
            raise ValueError(
                "The last axis of `context` must have length `context_size`, "
                f"{network.context_size}; got shape {context.shape}."
            )
    return x, context


def _spell(value):
    if isinstance(value, tf.DType):
        return value.name
    return repr(list(value) if isinstance(value, (tuple, tf.TensorShape)) else value)
