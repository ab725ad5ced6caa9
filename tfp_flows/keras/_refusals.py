"""What is said where a loss is not finite: in which batch, and what may cause it."""

import numpy as np
import tensorflow as tf

from tfp_flows.keras import _points


def not_finite(variables):
    """Returns the paths of Keras variables that are not finite."""
    return [
        variable.path
        for variable in variables
        if variable.dtype.startswith(("float", "bfloat"))
        and not np.all(np.isfinite(variable.numpy()))
    ]


def message(model, refusal, place, x):
    """Returns why a step of training was refused.

    Args:
      model: `DensityModel`.
      refusal: numbers of points of the batch, and of those without a finite
        log-density.
      place: which batch that is.
      x: points of the batch, or None if they are not at hand.
    """
    points, bad = refusal
    if bad:
        text = (
            "The loss must be finite; got a log-density that is NaN or infinite for "
            f"{bad} of the {points} points of {place}."
        )
    else:
        text = (
            "Loss and gradient must be finite; got a sum or a gradient that is not, "
            f"from finite log-densities, in {place}."
        )
    lost = not_finite(model.variables)
    if lost:
        return (
            f"{text} Before that, {lost} were not finite any more. A lower learning "
            "rate or clipped gradients (`clipnorm`) may prevent that."
        )
    return f"{text} The weights are as they were before it. {causes(model, x)}"


def causes(model, x):
    """Returns what the cause may be of numbers that are not finite, and remedies."""
    return (
        "Likely causes: points outside of the support of the distribution, which "
        "`predict` finds: leave them out, or give the distribution a support that has "
        f"them; columns that are not scaled{_scales(model, x)}: standardize them, by "
        "their means and standard deviations, or by `standardize=True` of the recipes "
        "in `tfp_flows.flows`."
    )


def _scales(model, x):
    """Returns how unlike the columns of points are, where points are vectors."""
    shape = model.distribution.event_shape
    if x is None or not isinstance(shape, tf.TensorShape) or shape.rank != 1:
        return ""
    columns = np.reshape(np.array(x, np.float64), [-1, x.shape[-1]])
    columns = columns[np.all(np.isfinite(columns), axis=-1)]
    if not len(columns) or not columns.shape[-1]:
        return ""
    scales = np.std(columns, axis=0)
    low, high = np.min(scales), np.max(scales)
    return f" (standard deviations of {low:.2g} to {high:.2g} here)"


def points_of(model, data):
    """Returns the points of a batch, or None if they are not at hand as tensors."""
    x = data[0] if isinstance(data, tuple) else data
    if not all(tf.is_tensor(leaf) for leaf in tf.nest.flatten(x)):
        return None
    return _points.as_points(model, x)[0]
