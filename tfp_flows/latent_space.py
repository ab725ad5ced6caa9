"""What lies behind images: latents, temperatures, ways between and along."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._seeds import as_stateless_seed
from tfp_flows.bijectors import MultiScale

__all__ = [
    "attribute_direction",
    "decode",
    "encode",
    "interpolate",
    "manipulate",
    "sample_at_temperature",
]

tfd = tfp.distributions


def encode(flow, y):
    """Returns the latents of data, level by level.

    Args:
      flow: `tfd.TransformedDistribution`, such as `glow` returns.
      y: data, shape `[..., *event_shape]`.

    Returns:
      latents: list of tensors, that of the level of the data first, the deepest last;
        each is standard normal noise as far as the model goes. A flow without
        `MultiScale` has one level.

    Raises:
      TypeError: `flow` is no such distribution.
    """
    _check_flow(flow)
    noise = flow.bijector.inverse(y)
    levels = _levels_of(flow)
    return [noise] if levels is None else levels.split_levels(noise)


def decode(flow, latents):
    """Returns the data that latents stand for; it undoes `encode`.

    Args:
      flow: as for `encode`.
      latents: list of tensors, one for each level.

    Returns:
      y: data, shape `[..., *event_shape]`.

    Raises:
      TypeError: `flow` is no such distribution.
      ValueError: the number of latents is not that of levels, or their shapes do not
        fit.
    """
    _check_flow(flow)
    levels = _levels_of(flow)
    if levels is not None:
        return flow.bijector.forward(levels.merge_levels(latents))
    if len(latents) != 1:
        raise ValueError(
            "`latents` must have one entry for a flow without `MultiScale`; "
            f"got {len(latents)}."
        )
    return flow.bijector.forward(latents[0])


def sample_at_temperature(flow, sample_shape, temperature, *, seed):
    """Draws samples with noise of another spread, at each level.

    Kingma and Dhariwal (2018), section 6, https://arxiv.org/abs/1807.03039: below 1,
    about 0.7, samples are less varied and look better. At 0 there is but one sample,
    what comes of the mode of the noise.

    Args:
      flow: as for `encode`, over normal noise of mean 0.
      sample_shape: shape of the sample, or one integer.
      temperature: standard deviation of the noise, at least 0, for all levels or a list
        with one for each, the level of the data first.
      seed: pair of integers, or integer.

    Returns:
      y: samples, shape `[*sample_shape, *batch_shape, *event_shape]`.

    Raises:
      TypeError: `flow` is no such distribution.
      ValueError: a temperature is negative or not finite, or there is another number of
        them than of levels.
    """
    _check_flow(flow)
    values = np.asarray(temperature, np.float64)
    if not np.all(np.isfinite(values) & (values >= 0.0)):
        raise ValueError(
            f"`temperature` must be at least 0 and finite; got {temperature}."
        )
    sample_shape = np.atleast_1d(np.array(sample_shape, np.int32))
    shape = tf.concat([sample_shape, flow.batch_shape_tensor()], axis=0)
    if flow.distribution.batch_shape.rank:  # noise of a batch has its axes already
        shape = sample_shape
    noise = flow.distribution.sample(shape, seed=as_stateless_seed(seed))
    if np.ndim(temperature) == 0:
        return flow.bijector.forward(noise * tf.cast(temperature, noise.dtype))
    levels = _levels_of(flow)
    latents = [noise] if levels is None else levels.split_levels(noise)
    if len(temperature) != len(latents):
        raise ValueError(
            f"`temperature` must have one entry for each of the {len(latents)} levels; "
            f"got {len(temperature)}."
        )
    return decode(
        flow,
        [latent * tf.cast(t, latent.dtype) for latent, t in zip(latents, temperature)],
    )


def interpolate(flow, start, end, num_points):
    """Returns images on the straight way between two, in the space of the noise.

    Args:
      flow: as for `encode`.
      start, end: data, shape `[..., *event_shape]`.
      num_points: number of points, both ends among them, at least 2.

    Returns:
      y: shape `[num_points, ..., *event_shape]`.

    Raises:
      TypeError: `flow` is no such distribution.
      ValueError: `num_points` is below 2.
    """
    _check_flow(flow)
    if num_points < 2:
        raise ValueError(f"`num_points` must be at least 2; got {num_points}.")
    ends = [flow.bijector.inverse(point) for point in (start, end)]
    return flow.bijector.forward(tf.linspace(*ends, num_points))


def attribute_direction(flow, y, labels):
    """Returns the direction of an attribute in the space of the noise.

    The mean of the latents of what has the attribute, less that of what has not: the
    manipulation of Kingma and Dhariwal (2018), section 6,
    https://arxiv.org/abs/1807.03039.

    Args:
      flow: as for `encode`.
      y: data, shape `[N, *event_shape]`.
      labels: booleans of shape `[N]`, who has it.

    Returns:
      direction: list of tensors, one for each level. `move` goes along it.

    Raises:
      TypeError: `flow` is no such distribution.
      ValueError: `labels` has another shape, or all or none have the attribute.
    """
    _check_flow(flow)
    labels = np.asarray(labels, bool)
    if labels.shape != (len(y),) or labels.all() or not labels.any():
        raise ValueError(
            f"`labels` must be booleans of shape [{len(y)}], of both values; got shape "
            f"{list(labels.shape)}, {np.sum(labels)} times true."
        )
    return [
        tf.reduce_mean(z[labels], axis=0) - tf.reduce_mean(z[~labels], axis=0)
        for z in encode(flow, y)
    ]


def manipulate(flow, y, direction, amount):
    """Returns data that were moved along a direction in the space of the noise.

    Args:
      flow: as for `encode`.
      y: data, shape `[..., *event_shape]`.
      direction: list of tensors, as `attribute_direction` returns it.
      amount: number: at 1 the whole difference of the means is added.

    Returns:
      y: data of the same shape.

    Raises:
      TypeError: `flow` is no such distribution.
      ValueError: `direction` has another number of entries than there are levels.
    """
    latents = encode(flow, y)
    if len(direction) != len(latents):
        raise ValueError(
            f"`direction` must have one entry for each of the {len(latents)} levels; "
            f"got {len(direction)}."
        )
    return decode(flow, [z + amount * step for z, step in zip(latents, direction)])


def _check_flow(flow):
    parts = [getattr(flow, name, None) for name in ("bijector", "distribution")]
    if not isinstance(flow, tfd.Distribution) or None in parts:
        raise TypeError(
            f"`flow` must be a `tfd.TransformedDistribution`; got {flow!r}."
        )


def _levels_of(flow):
    """Returns the `MultiScale` that noise comes to first, or None."""
    part = flow.bijector
    while getattr(part, "bijectors", None) and not isinstance(part, MultiScale):
        part = part.bijectors[-1]
    return part if isinstance(part, MultiScale) else None
