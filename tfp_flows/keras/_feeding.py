"""What goes into a density model, and what comes out of it but by `fit`."""

import warnings

import keras
import tensorflow as tf

from tfp_flows import _traversal
from tfp_flows.keras import _columns, _data, _points, _refusals
from tfp_flows.keras._parts import hidden_variables
from tfp_flows.keras._phase import phase


def for_training(
    model, x, sample_weight, batch_size, shuffle, initial_epoch, steps_per_epoch
):
    """Returns what to give to `fit` of Keras, after a look at it and a start from it.

    Args:
      model: `DensityModel`.
      x: inputs, as arrays or as whatever Keras takes for data.
      sample_weight, batch_size, shuffle, steps_per_epoch: as given to `fit`.
      initial_epoch: the epoch in which training goes on.

    Returns:
      data: dataset.
      steps_per_epoch: number of batches of an epoch, or None.

    Raises:
      TypeError, ValueError: as `DensityModel` says.
    """
    if not _data.are_arrays(x):
        batch, x = _data.first_batch(x, model.distribute_strategy)
        inputs, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        _points.check_no_targets(y)
        start(model, _points.as_data(model, inputs, sample_weight)[0])
        return x, steps_per_epoch
    batch_size = batch_size or 32
    data = _points.as_data(model, x, sample_weight)
    number = _data.number_of(data)
    start(model, _data.spread(data, min(_rows_to_start(model, batch_size), number))[0])
    steps_per_epoch = steps_per_epoch or -(-number // batch_size)
    order = dict(batch_size=batch_size, seed=model.seed, shuffle=shuffle)
    if steps_per_epoch % model.steps_per_execution == 0:
        first_batch = initial_epoch * steps_per_epoch
        return _data.shuffled(data, first_batch, **order), steps_per_epoch
    # From data without end, Keras would execute steps of the next epoch as well.
    data = _data.one_epoch(
        data, steps_per_epoch, lambda: vars(model)["_epoch"], **order
    )
    return data, None


def _rows_to_start(model, batch_size):
    """Returns of how many rows the start is: more than a batch where they are short."""
    shape = model.distribution.event_shape
    is_vector = isinstance(shape, tf.TensorShape) and shape.rank == 1
    return max(batch_size, 10_000) if is_vector else batch_size


def as_known(model, x):
    """Returns inputs, with columns of tables in the order in which they are known.

    Raises:
      TypeError: they are rows of Python numbers.
      ValueError: a table has other columns.
    """
    _data.check_no_numbers("x", x)
    return _columns.in_order(model._columns, x, _places(model))


def columns_learned(model, x):
    """Returns a context in which names of columns are learned, if no error follows."""
    return _columns.learned(model._columns, x, _places(model))


def _places(model):
    return [*_points.names_of(model.distribution), "context"]


def with_epoch(model, callbacks, initial_epoch):
    """Returns callbacks of `fit` and one more, which keeps numbers of epoch and step.

    Where training is to end without an error at a loss that is not finite, the model is
    told to raise none.
    """
    vars(model).update(_epoch=initial_epoch, _step=0)
    keep = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: vars(model).update(_epoch=epoch),
        on_train_batch_begin=lambda step, logs: vars(model).update(_step=step),
    )
    given = getattr(callbacks, "callbacks", callbacks)
    vars(model)["_raises"] = not any(
        isinstance(callback, keras.callbacks.TerminateOnNaN)
        for callback in tf.nest.flatten(given or [])
    )
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks.append(keep)
        return callbacks
    return [*tf.nest.flatten(callbacks or []), keep]


def for_evaluation(model, x, y, sample_weight, batch_size):
    """Returns a dataset for arrays, and other data as they are.

    Raises:
      ValueError: there are targets, `y`; and as `DensityModel` says.
    """
    _points.check_no_targets(y)
    x = as_known(model, x)
    if not _data.are_arrays(x):
        return x
    data = _points.as_data(model, x, sample_weight)
    return _data.in_order(data, batch_size or 32)


def split(model, x, sample_weight, fraction):
    """Returns inputs and weights without the last rows, and those for validation."""
    if not _data.are_arrays(x):
        raise ValueError(
            "`validation_split` needs arrays, of which the last rows are taken; got "
            f"{type(x).__name__}. Give `validation_data`."
        )
    data = _points.as_data(model, x, sample_weight)
    (x, _, sample_weight), last = _data.split(data, fraction)
    return x, sample_weight, last


def start(model, inputs):
    """Starts layers such as `ActNorm` from a batch, if they have not been started.

    Layers in the components of a mixture, or of a joint distribution, cannot be: what
    data come to them is not known. They keep their parameters, and a warning says so.

    Args:
      model: `DensityModel`.
      inputs: `x`, or `(x, context)`.
    """
    distribution = model.distribution
    missing = {
        id(flag)
        for flag in _traversal.initialized_flags(distribution)
        if not bool(flag.numpy())
    }
    bijector = _traversal.whole_bijector_of(distribution)
    flags = [] if bijector is None else _traversal.initialized_flags(bijector)
    reached = missing & {id(flag) for flag in flags}
    if reached != missing:
        warnings.warn(
            f"Layers such as `ActNorm` within {distribution!r} start as they are, not "
            "from data, as they are in no flow that all data pass. Call "
            "`tfp_flows.normalization.initialize_from_data` on each flow in it before "
            "`fit`.",
            stacklevel=4,
        )
    if not reached:
        return
    x, context = _points.as_points(model, inputs)
    before = [(variable, variable.numpy()) for variable in model.variables]
    with phase(False):
        _traversal.initialize_from_data(model.bound(context), x)
    lost = _refusals.not_finite(model.variables)
    if lost:
        for variable, value in before:
            variable.assign(value)
        raise ValueError(
            "The first batch must lead to finite numbers where layers start from it; "
            f"got NaN or infinity for {lost}. {_refusals.causes(model, x)}"
        )
    _agree(model)


def _agree(model):
    """Gives all workers the mean of variables that each may have started otherwise.

    Their data may be in unequal order.
    """
    strategy = model.distribute_strategy
    if strategy.num_replicas_in_sync == 1:
        return
    variables = [v.value for v in model.variables if v.dtype.startswith("float")]

    values = strategy.run(lambda: [tf.identity(variable) for variable in variables])
    for variable, value in zip(variables, values):
        variable.assign(strategy.reduce("MEAN", value, axis=None))


def hidden_variables_of(model):
    """Returns variables that the distribution of a model uses, and may not know of."""
    distribution = model.distribution
    points = _points.specs_of(distribution)
    shapes = [spec.shape[1:] for spec in points]
    if not all(shape.is_fully_defined() for shape in shapes):
        return []
    size, dtype = model.context_size, _points.dtype_of(distribution)
    maps = _shapes_of_maps(shapes[0], model.context_ndims)

    def evaluate():
        flow = model.distribution
        if size:
            flow = model.bound(tf.zeros([1, *maps[0], size], dtype))
        x = [tf.zeros([1, *shape], spec.dtype) for shape, spec in zip(shapes, points)]
        with warnings.catch_warnings():  # of layers that have not been started
            warnings.simplefilter("ignore")
            flow.log_prob(tf.nest.pack_sequence_as(distribution.dtype, x))

    while True:
        try:
            return hidden_variables(distribution, evaluate)
        except ValueError:  # of maps of another size
            maps.pop(0)
            if not maps and model.context_ndims == 1:
                raise
            if not maps:
                return []


def _shapes_of_maps(event_shape, context_ndims):
    """Returns what the axes of a context before its last may be: those of a level."""
    sizes = event_shape[: context_ndims - 1]
    shapes = [sizes.as_list()]
    while all(size % 2 == 0 for size in shapes[-1]) and context_ndims > 1:
        shapes.append([size // 2 for size in shapes[-1]])
    return shapes


def export(model, filepath, verbose):
    """Writes a SavedModel; `DensityModel.export` says of what.

    Args:
      model: `DensityModel`.
      filepath: folder.
      verbose: whether to print what was exported.
    """
    dtype = _points.dtype_of(model.distribution)
    points = _points.specs_of(model.distribution)
    seed = tf.TensorSpec([2], tf.int32, "seed")
    contexts, drawn = [], tf.TensorSpec([], tf.int32, "n")
    if model.context_size:
        axes = [None] * model.context_ndims
        drawn = tf.TensorSpec([*axes, model.context_size], dtype, "context")
        contexts = [drawn]

    def log_prob(*inputs):
        x = tf.nest.pack_sequence_as(
            model.distribution.dtype, list(inputs[: len(points)])
        )
        return model([x, inputs[-1]] if contexts else x, training=False)

    def sample(number_or_context, seed):
        context = number_or_context if contexts else None
        shape = [] if contexts else number_or_context
        return model.bound(context).sample(shape, seed=seed)

    archive = keras.export.ExportArchive()
    for part in model._parts:  # a joint distribution itself cannot be tracked
        archive.track(part)
    archive.add_endpoint("serve", log_prob, [*points, *contexts])
    archive.add_endpoint("log_prob", _for_more_axes(log_prob, points, contexts))
    archive.add_endpoint("sample", sample, [drawn, seed])
    archive.write_out(filepath, verbose=bool(verbose))


def _for_more_axes(log_prob, points, contexts):
    """Returns a graph for points `[N, ...]`, and one for those with another axis."""
    function = tf.function(log_prob, autograph=False)
    function.get_concrete_function(*points, *contexts)
    longer = [
        tf.TensorSpec([None, *spec.shape], spec.dtype, spec.name) for spec in points
    ]
    function.get_concrete_function(*longer, *contexts)
    return function
