"""Laws that every layer must obey, as functions: for layers of your own.

Each function checks one law of a bijector at given points, and raises `AssertionError`
with the name of the law. `check_layer` checks all of them. Use float64, as rounding
errors of float32 hide small mistakes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._layer import Layer
from tfp_flows._typing import TensorLike

tfb, tfd = tfp.bijectors, tfp.distributions

__all__ = [
    "check_composition",
    "check_copies",
    "check_freshness",
    "check_graphs",
    "check_layer",
    "check_log_dets",
    "check_pairs",
    "check_round_trips",
]
_METHODS = (
    "forward",
    "inverse",
    "forward_log_det_jacobian",
    "inverse_log_det_jacobian",
)


def check_layer(
    layer: tfb.Bijector,
    x: TensorLike,
    *,
    tolerance: float | None = None,
    jit_compile: bool = True,
) -> None:
    """Check all laws of a layer.

    Args:
      layer: bijector to check.
      x: points of its domain, shape `[..., *event_shape]`, with at least one batch
        axis; a few points are enough.
      tolerance: largest error, relative to the largest number; by default 1e-8 for
        float64, and 1e-3 for float32.
      jit_compile: whether graphs are compiled by XLA, too.

    Raises:
      AssertionError: the layer violates a law, which the message names.

    Example:

    >>> from tfp_flows import bijectors
    >>> layer = bijectors.DiagonalScale(tf.Variable([0.3, -0.2], dtype=tf.float64))
    >>> check_layer(layer, [[1.0, 2.0], [-0.5, 0.1]])
    """
    check_round_trips(layer, x, tolerance=tolerance)
    check_log_dets(layer, x, tolerance=tolerance)
    check_pairs(layer, x, tolerance=tolerance)
    check_graphs(layer, x, tolerance=tolerance, jit_compile=jit_compile)
    check_composition(layer, x, tolerance=tolerance)
    check_copies(layer, x, tolerance=tolerance)
    check_freshness(layer, x, tolerance=tolerance)


def check_round_trips(
    layer: tfb.Bijector, x: TensorLike, *, tolerance: float | None = None
) -> None:
    """Check that `inverse` inverts `forward`, and keeps shape and dtype.

    Args:
      layer: bijector to check.
      x: points of its domain, shape `[..., *event_shape]`.
      tolerance: see `check_layer`.

    Raises:
      AssertionError: it does not.
    """
    x = _points(layer, x)
    y = layer.forward(_fresh(x))
    back = layer.inverse(_fresh(y))
    _require(back.dtype == x.dtype, layer, "`inverse` keeps the dtype", back.dtype)
    _require(back.shape == x.shape, layer, "`inverse` restores the shape", back.shape)
    _close(back, x, layer, "`inverse` inverts `forward`", tolerance)
    _close(
        layer.forward(_fresh(back)), y, layer, "`forward` inverts `inverse`", tolerance
    )


def check_log_dets(
    layer: tfb.Bijector, x: TensorLike, *, tolerance: float | None = None
) -> None:
    """Check both log determinants against those of Jacobians by autodiff.

    Args:
      layer: bijector to check, which keeps the size of an event.
      x: points of its domain, shape `[..., *event_shape]`.
      tolerance: see `check_layer`.

    Raises:
      AssertionError: one of them differs, or has another shape than that of the batch.
    """
    x = _points(layer, x)
    ndims = max(layer.forward_min_event_ndims, 1)
    after = layer.forward_event_ndims(ndims)
    batch = x.shape[: x.ndim - ndims]
    y = layer.forward(_fresh(x)).numpy()
    fldj = layer.forward_log_det_jacobian(_fresh(x), event_ndims=ndims)
    ildj = layer.inverse_log_det_jacobian(_fresh(y), event_ndims=after)
    for name, log_det in [("forward", fldj), ("inverse", ildj)]:
        law = f"`{name}_log_det_jacobian` has the batch shape {list(batch)}"
        _require(log_det.shape == batch, layer, law, log_det.shape)
    law = "log determinants of both directions differ in their sign alone"
    _close(ildj, -fldj, layer, law, tolerance)
    for name, method, point, log_det in [
        ("forward", layer.forward, x, fldj),
        ("inverse", layer.inverse, y, ildj),
    ]:
        expected = np.linalg.slogdet(_jacobian(method, point, batch))[1]
        law = f"`{name}_log_det_jacobian` is that of the Jacobian"
        _close(log_det, expected, layer, law, tolerance)


def check_pairs(
    layer: tfb.Bijector, x: TensorLike, *, tolerance: float | None = None
) -> None:
    """Check `forward_and_log_det` and `inverse_and_log_det` of a `Layer`.

    Args:
      layer: bijector to check; any that is not a `tfp_flows.bijectors.Layer` passes.
      x: points of its domain, shape `[..., *event_shape]`.
      tolerance: see `check_layer`.

    Raises:
      AssertionError: they differ from value and log determinant one by one.
    """
    if not isinstance(layer, Layer):
        return
    x = _points(layer, x)
    ndims = max(layer.forward_min_event_ndims, 1)
    y = layer.forward(_fresh(x))
    for name, point, event_ndims, pair in [
        ("forward", x, ndims, layer.forward_and_log_det),
        ("inverse", y, layer.forward_event_ndims(ndims), layer.inverse_and_log_det),
    ]:
        value, log_det = pair(_fresh(point), event_ndims=event_ndims)
        law = f"`{name}_and_log_det` returns what `{name}` returns"
        _close(value, getattr(layer, name)(_fresh(point)), layer, law, tolerance)
        method = getattr(layer, f"{name}_log_det_jacobian")
        law = f"`{name}_and_log_det` returns what `{name}_log_det_jacobian` returns"
        _close(
            log_det,
            method(_fresh(point), event_ndims=event_ndims),
            layer,
            law,
            tolerance,
        )


def check_graphs(
    layer: tfb.Bijector,
    x: TensorLike,
    *,
    tolerance: float | None = None,
    jit_compile: bool = True,
) -> None:
    """Check that graphs compute what eager mode does, with unknown batch sizes, too.

    Args:
      layer: bijector to check.
      x: points of its domain, shape `[..., *event_shape]`.
      tolerance: see `check_layer`.
      jit_compile: whether graphs are compiled by XLA, too.

    Raises:
      AssertionError: a result differs.
    """
    x = _points(layer, x)
    expected = _evaluate(layer, x)
    for name, point in _arguments(layer, x).items():
        method = getattr(layer, name)
        known = layer.forward_min_event_ndims
        shape = [None] * (x.ndim - known) + [*point.shape[x.ndim - known :]]
        spec = tf.TensorSpec(shape, point.dtype)
        graphs = {
            "a graph": tf.function(method, autograph=False),
            "a graph of unknown batch size": tf.function(
                lambda p, method=method: method(p), [spec], autograph=False
            ),
        }
        if jit_compile:
            graphs["a compiled graph"] = tf.function(
                method, autograph=False, jit_compile=True
            )
        for where, graph in graphs.items():
            law = f"`{name}` is the same in {where} as in eager mode"
            _close(graph(_fresh(point)), expected[name], layer, law, tolerance)


def check_composition(
    layer: tfb.Bijector, x: TensorLike, *, tolerance: float | None = None
) -> None:
    """Check the layer in `tfb.Chain`, `tfb.Invert` and a transformed distribution.

    Args:
      layer: bijector to check.
      x: points of its domain, shape `[..., *event_shape]`.
      tolerance: see `check_layer`.

    Raises:
      AssertionError: a composition computes something else.
    """
    x = _points(layer, x)
    expected = _evaluate(layer, x)
    chain = tfb.Chain([layer, tfb.Invert(layer), layer])
    for name, value in _evaluate(chain, x).items():
        _close(value, expected[name], layer, f"`{name}` holds in a chain", tolerance)
    ndims = max(layer.forward_min_event_ndims, 1)
    base = tfd.Independent(
        tfd.Normal(tf.zeros(x.shape[x.ndim - ndims :], x.dtype), 1.0), ndims
    )
    flow = tfd.TransformedDistribution(base, layer)
    y = expected["forward"]
    log_det = layer.inverse_log_det_jacobian(
        _fresh(y), event_ndims=layer.forward_event_ndims(ndims)
    )
    _close(
        flow.log_prob(_fresh(y)),
        base.log_prob(x) + log_det,
        layer,
        "`log_prob` is the change of variables",
        tolerance,
    )


def check_copies(
    layer: tfb.Bijector, x: TensorLike, *, tolerance: float | None = None
) -> None:
    """Check that `copy` and `copy.deepcopy` compute the same.

    Args:
      layer: bijector to check.
      x: points of its domain, shape `[..., *event_shape]`.
      tolerance: see `check_layer`.

    Raises:
      AssertionError: a copy computes something else, or a deep copy shares variables.
    """
    x = _points(layer, x)
    expected = _evaluate(layer, x)
    deep = copy.deepcopy(layer)
    for how, other in [("copy", layer.copy()), ("copy.deepcopy", deep)]:
        for name, value in _evaluate(other, x).items():
            law = f"`{name}` is the same after `{how}`"
            _close(value, expected[name], layer, law, tolerance)
    shared = {id(v) for v in layer.variables} & {id(v) for v in deep.variables}
    _require(not shared, layer, "a deep copy shares no variable", len(shared))


def check_freshness(
    layer: tfb.Bijector, x: TensorLike, *, tolerance: float | None = None
) -> None:
    """Check that no result is from before a variable was written or a tape opened.

    The trainable variables are moved and restored.

    Args:
      layer: bijector to check.
      x: points of its domain, shape `[..., *event_shape]`.
      tolerance: see `check_layer`.

    Raises:
      AssertionError: a result is stale, or a variable has no gradient.
    """
    x = _points(layer, x)
    points = {name: _fresh(point) for name, point in _arguments(layer, x).items()}
    before = [variable.numpy() for variable in layer.trainable_variables]
    kept = []  # results are looked up as long as they are alive
    try:
        for _ in range(2):
            for name, point in points.items():
                kept.append(getattr(layer, name)(point))
                law = f"`{name}` is fresh after variables were written"
                new = getattr(layer.copy(), name)(_fresh(point))
                _close(kept[-1], new, layer, law, tolerance)
            for variable in layer.trainable_variables:
                variable.assign(variable * 0.99)
    finally:
        for variable, value in zip(layer.trainable_variables, before):
            variable.assign(value)
    found = set()
    for name, point in points.items():
        with tf.GradientTape(persistent=True) as tape:
            results = [getattr(layer, name)(p) for p in (point, _fresh(point))]
            totals = [tf.reduce_sum(result) for result in results]
        sources = layer.trainable_variables
        grads = [tape.gradient(total, sources) for total in totals]
        for variable, actual, expected in zip(sources, *grads):
            law = f"gradients of `{name}` by `{variable.name}` are those of a new tape"
            _require((actual is None) == (expected is None), layer, law, actual)
            if actual is not None:
                found.add(id(variable))
                _close(
                    tf.convert_to_tensor(actual),
                    tf.convert_to_tensor(expected),
                    layer,
                    law,
                    tolerance,
                )
    missing = [v.name for v in layer.trainable_variables if id(v) not in found]
    _require(not missing, layer, "all trainable variables have gradients", missing)


def _points(layer, x):
    dtype = tf.float64 if layer.dtype is None else layer.dtype
    return np.asarray(x, tf.as_dtype(dtype).as_numpy_dtype)


def _fresh(tensor):
    """Returns a copy, for which no cache has a result."""
    return tf.constant(np.array(tensor))


def _arguments(layer, x):
    """Returns the points at which each method is called."""
    y = layer.forward(_fresh(x)).numpy()
    return dict(zip(_METHODS, [x, y, x, y]))


def _evaluate(layer, x):
    """Returns the results of the four methods, by name."""
    points = _arguments(layer, x)
    return {name: getattr(layer, name)(_fresh(p)) for name, p in points.items()}


def _jacobian(method: Callable, point: np.ndarray, batch: tuple[int, ...]) -> tf.Tensor:
    """Returns the Jacobian at each event, flattened, by the gradient tape."""
    flat = tf.reshape(_fresh(point), [*batch, -1])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(flat)
        result = tf.reshape(method(tf.reshape(flat, point.shape)), flat.shape)
        outputs = tf.unstack(result, axis=-1)
    zero = tf.UnconnectedGradients.ZERO
    rows = [tape.gradient(out, flat, unconnected_gradients=zero) for out in outputs]
    return tf.stack(rows, axis=-2)


def _close(actual, expected, layer, law, tolerance):
    actual, expected = np.asarray(actual), np.asarray(expected)
    _require(np.all(np.isfinite(actual)), layer, f"{law}, and is finite", actual)
    if tolerance is None:
        tolerance = 1e-8 if expected.dtype == np.float64 else 1e-3
    try:
        error = np.max(np.abs(actual - expected), initial=0.0)
    except ValueError:
        error = f"shapes {actual.shape} and {expected.shape}"
        _require(False, layer, law, error)
    scale = 1.0 + np.max(np.abs(expected), initial=0.0)
    _require(
        error <= tolerance * scale,
        layer,
        law,
        f"an error of {error:.3g}, above {tolerance * scale:.3g}",
    )


def _require(holds, layer, law, received):
    if not holds:
        raise AssertionError(f"`{layer.name}` must obey: {law}; got {received}.")
