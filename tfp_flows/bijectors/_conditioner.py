"""What layers with a network do to it: ask it, track it, give it its context."""

import numbers

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._dtypes import check_dtype, holds_whole_numbers
from tfp_flows._keras_seam import check_backend
from tfp_flows._parameters import is_reference, without_keras


def adopt(bijector, conditioner, transformer, context, context_size):
    """Checks what a layer with a network is given, and makes it its attributes.

    Args:
      bijector: layer under construction.
      conditioner, transformer, context, context_size: its arguments of these names.

    Returns:
      dtype: dtype of the network if it has one, else None.

    Raises:
      TypeError, ValueError: as `check_conditioner` and `check_context`.
    """
    bijector.hidden_variables = check_conditioner(conditioner, transformer)
    bijector.conditioner, bijector.transformer = conditioner, transformer
    bijector.context_ndims = context_ndims_of(conditioner)
    dtype = dtype_of(conditioner)
    bijector.context, bijector.context_size = check_context(
        conditioner, context, context_size, dtype
    )
    return dtype


def check_conditioner(conditioner, transformer):
    """Checks that both can be called, and that a network has its variables by now.

    Returns:
      variables: variables of a Keras network, which `tf.Module` does not find by
        itself; none of other modules; None of functions, whose variables nobody knows.

    Raises:
      TypeError: one of them is not what a layer can use.
      ValueError: a Keras network has no variables so far, or is of a backend other
        than TensorFlow; the number of parameters is not the same for both.
    """
    if not callable(conditioner):
        raise TypeError(f"`conditioner` must be callable; got {conditioner!r}.")
    check_transformer(transformer)
    check_backend(conditioner, "conditioner")
    number = getattr(conditioner, "num_parameters", transformer.num_parameters)
    if number != transformer.num_parameters:
        raise ValueError(
            "`conditioner` must return as many parameters for each element as "
            f"`transformer` takes, {transformer.num_parameters}; got {number}."
        )
    of_keras = hasattr(conditioner, "built")
    if of_keras and not conditioner.built:
        raise ValueError(
            "A Keras network as `conditioner` must be built, so that its variables are "
            f"known; got {conditioner!r}. Call it once before, or wrap it in a "
            "`tfp_flows.keras.Conditioner`."
        )
    if of_keras and conditioner.non_trainable_variables:
        raise ValueError(
            "A Keras network as `conditioner` must have no state, such as that of "
            f"dropout or batch norm; got {conditioner!r}. One of Keras 3 goes "
            "into a `tfp_flows.keras.Conditioner`, which knows what to do with it."
        )
    if isinstance(conditioner, tf.Module):
        return []
    if not hasattr(conditioner, "variables"):
        return None
    return [without_keras(variable) for variable in conditioner.variables]


def check_transformer(transformer):
    """Raises `TypeError` for what a layer cannot ask for bijectors of its elements."""
    number = getattr(transformer, "num_parameters", None)
    if (
        callable(transformer)
        and not isinstance(transformer, type)
        and isinstance(number, numbers.Integral)
    ):
        return
    if isinstance(transformer, type):
        hint = f"Make an instance: `{transformer.__name__}()`."
    elif callable(transformer):
        hint = "A function gets that number as an attribute: `f.num_parameters = 2`."
    else:
        hint = "By default it is `Affine()`."
    raise TypeError(
        "`transformer` must be callable and have `num_parameters`, an integer, as "
        f"those of `tfp_flows.bijectors.transformers` have; got {transformer!r}. {hint}"
    )


def dtype_of(conditioner):
    """Returns the dtype of a network that has one, by name or not, else None."""
    dtype = getattr(conditioner, "dtype", None)
    return tf.as_dtype(dtype) if isinstance(dtype, (str, tf.DType)) else None


def check_context(conditioner, context, context_size, dtype):
    """Returns the context as a tensor, or None, and its size, or None if unknown.

    Args:
      conditioner: callable, which may have an attribute `context_size`.
      context: what the user gave.
      context_size: length of the context's last axis, as the user gave it.
      dtype: dtype for contexts that have none.

    Raises:
      TypeError: the context has another dtype than the network, or whole numbers.
      ValueError: the sizes of conditioner, layer and context disagree.
    """
    own = getattr(conditioner, "context_size", None)
    if None not in (own, context_size) and own != context_size:
        raise ValueError(
            "`context_size` must be that of `conditioner`; "
            f"got {context_size} and {own}."
        )
    size = own if context_size is None else context_size
    if context is None:
        return None, size
    context = without_keras(context)
    if dtype is not None and holds_whole_numbers(context):
        raise TypeError(
            "`context` must be floating, of the dtype of the network, "
            f"{tf.as_dtype(dtype).name}; got integers or booleans, {context!r}. Labels "
            "go in as one-hot vectors, by `tf.one_hot` or "
            "`tfp_flows.flows.condition_on_class`; numbers by `tf.cast`."
        )
    if not is_reference(context):
        context = tf.convert_to_tensor(context, dtype_hint=dtype, name="context")
    if size == 0:
        raise ValueError(
            "`context` must be None where the network takes none (`context_size` 0); "
            f"got shape {context.shape}."
        )
    if dtype is not None and context.dtype != dtype:
        raise TypeError(
            f"`context` must have the dtype of the network, {tf.as_dtype(dtype).name}; "
            f"got {tf.as_dtype(context.dtype).name}."
        )
    ndims = context_ndims_of(conditioner)
    known = context.shape.rank is not None
    if known and (
        context.shape.rank < ndims
        or size is not None
        and not context.shape[-1:].is_compatible_with([size])
    ):
        raise ValueError(
            f"`context` must have at least {ndims} axes, the last of them as long as "
            f"`context_size`; got shape {context.shape} and {size}."
        )
    return context, size


def context_ndims_of(conditioner):
    """Returns the rank of one context: 1 for vectors, more for maps."""
    return getattr(conditioner, "context_ndims", 1)


def context_properties():
    """Returns what TFP asks to know about the context of a layer with a network."""

    def ndims(layer, event_ndims):
        more = event_ndims - layer.forward_min_event_ndims
        return more + context_ndims_of(layer.conditioner)

    return dict(context=tfp.util.ParameterProperties(event_ndims=ndims))


def parameters_for(bijector, x, event_shape, context=None, conditioner=None):
    """Asks the conditioner of a layer for the parameters of its transformer.

    Args:
      bijector: layer with `conditioner`, `transformer`, `context` and `context_size`.
      x: what the conditioner sees.
      event_shape: shape of what is transformed, one set of parameters an element.
      context: tensor to take for the context of the layer, or None for its own.
      conditioner: network to take for that of the layer, or None for its own.

    Returns:
      parameters: tensor of shape `[..., *event_shape, num_parameters]`.

    Raises:
      ValueError: the context is missing, or the conditioner returns another shape.
    """
    check_has_context(bijector)
    if conditioner is None:
        conditioner = bijector.conditioner
    if bijector.context is None:
        parameters = conditioner(x)
    else:
        if context is None:
            context = tf.convert_to_tensor(bijector.context)
        parameters = conditioner(x, context)
    if not tf.is_tensor(parameters):
        check_backend(parameters, "conditioner")
    parameters = tf.convert_to_tensor(parameters, name="parameters")
    expected = tf.TensorShape(event_shape).concatenate(
        bijector.transformer.num_parameters
    )
    rank = parameters.shape.rank
    if rank is None or not parameters.shape[
        max(0, rank - expected.rank) :
    ].is_compatible_with(expected):
        raise ValueError(
            f"`conditioner` must return a tensor of shape [..., "
            f"{', '.join(map(str, expected))}], one set of `num_parameters` for each "
            f"element; got shape {parameters.shape}."
        )
    if parameters.dtype != x.dtype:
        raise TypeError(
            f"`conditioner` must return the dtype of the input, {x.dtype.name}; "
            f"got {parameters.dtype.name}."
        )
    return parameters


def check_has_context(bijector):
    """Raises `ValueError` if a layer lacks the context that its network needs."""
    if bijector.context is None and bijector.context_size:
        raise ValueError(
            f"`{bijector.name}` needs a context of size {bijector.context_size}, and "
            "has none. Bind one with `tfp_flows.flows.condition(flow, context)`."
        )


def check_stands_still(bijector, what):
    """Raises `ValueError` if a network would answer differently when asked again."""
    if getattr(bijector.conditioner, "changes_in_training", False):
        raise ValueError(
            f"{what} of `{bijector.name}` must not be used in training with a network "
            "that has dropout or batch norm, as its gradient asks the network again; "
            f"got {bijector.conditioner!r}."
        )


def checked_input(bijector, x):
    """Returns `x`, which under `validate_args` must be finite.

    Raises:
      TypeError: it is neither of float32 nor of float64.
    """
    check_dtype("x", x.dtype)
    if not bijector.validate_args:
        return x
    finite = tf.debugging.assert_all_finite(x, "The input must be finite.")
    with tf.control_dependencies([finite]):
        return tf.identity(x)
