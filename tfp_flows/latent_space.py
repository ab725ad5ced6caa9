"""Latent space of flows: encode, decode, interpolate, manipulate, temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._seeds import as_stateless_seed
from tfp_flows._typing import Distribution, Seed, Shape, TensorLike
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


def encode(flow: Distribution, y: TensorLike) -> list[tf.Tensor]:
    """Map data to their latents, one tensor for each level.

    >>> import tensorflow as tf
    >>> from tfp_flows import flows, latent_space
    >>> flow = flows.glow([4, 4, 1], 2, num_steps=1, hidden_channels=8, seed=0)
    >>> [z.shape[1:] for z in latent_space.encode(flow, tf.zeros([3, 4, 4, 1]))]
    [TensorShape([2, 2, 2]), TensorShape([1, 1, 8])]

    Args:
      flow: `tfd.TransformedDistribution`, such as `tfp_flows.flows.glow` returns.
      y: data, shape `[..., *event_shape]`.

    Returns:
      latents: list of tensors, from the first level, next to the data, to the last.
        Under the model, each is standard normal. A flow without `MultiScale` has one
        level.

    Raises:
      TypeError: `flow` is not a `tfd.TransformedDistribution`.
    """
    _check_is_transformed(flow)
    latents = flow.bijector.inverse(y)
    multi_scale = _multi_scale_of(flow)
    return [latents] if multi_scale is None else multi_scale.split_levels(latents)


def decode(flow: Distribution, latents: Sequence[TensorLike]) -> tf.Tensor:
    """Map latents to data: the inverse of `encode`.

    >>> import tensorflow as tf
    >>> from tfp_flows import flows, latent_space
    >>> flow = flows.real_nvp(2, 2, (8,), seed=0)
    >>> latent_space.decode(flow, [tf.zeros([3, 2])]).shape
    TensorShape([3, 2])

    Args:
      flow: `tfd.TransformedDistribution`, as for `encode`.
      latents: list of tensors, one for each level.

    Returns:
      y: data, shape `[..., *event_shape]`.

    Raises:
      TypeError: `flow` is not a `tfd.TransformedDistribution`.
      ValueError: the number of latents is not the number of levels, or a shape is not
        that of its level.
    """
    _check_is_transformed(flow)
    multi_scale = _multi_scale_of(flow)
    if multi_scale is not None:
        return flow.bijector.forward(multi_scale.merge_levels(latents))
    if len(latents) != 1:
        raise ValueError(
            "`latents` must have one entry for a flow without `MultiScale`; "
            f"got {len(latents)}."
        )
    return flow.bijector.forward(latents[0])


def sample_at_temperature(
    flow: Distribution,
    sample_shape: Shape,
    temperature: float | Sequence[float],
    *,
    seed: Seed,
) -> tf.Tensor:
    """Draw samples with latents scaled by a temperature.

    Kingma and Dhariwal (2018), section 6, https://arxiv.org/abs/1807.03039. With
    temperatures below 1, about 0.7, samples vary less and look better. At temperature
    0, all samples are the image of the mode of the latents.

    >>> from tfp_flows import flows, latent_space
    >>> flow = flows.glow([4, 4, 1], 2, num_steps=1, hidden_channels=8, seed=0)
    >>> latent_space.sample_at_temperature(flow, 3, 0.7, seed=0).shape
    TensorShape([3, 4, 4, 1])

    Args:
      flow: `tfd.TransformedDistribution` over a normal base distribution of mean 0.
      sample_shape: shape of the samples, or one integer.
      temperature: standard deviation of the latents, at least 0, for all levels; or a
        list with one for each level, from the first level, next to the data.
      seed: int or pair of ints, for the same samples in each call.

    Returns:
      y: samples, shape `[*sample_shape, *batch_shape, *event_shape]`.

    Raises:
      TypeError: `flow` is not a `tfd.TransformedDistribution`.
      ValueError: a temperature is negative or not finite.
      ValueError: the number of temperatures is not the number of levels.
    """
    _check_is_transformed(flow)
    values = np.asarray(temperature, np.float64)
    if not np.all(np.isfinite(values) & (values >= 0.0)):
        raise ValueError(
            f"`temperature` must be at least 0 and finite; got {temperature}."
        )
    sample_shape = np.atleast_1d(np.array(sample_shape, np.int32))
    shape = tf.concat([sample_shape, flow.batch_shape_tensor()], axis=0)
    if flow.distribution.batch_shape.rank:  # samples of the base have these axes
        shape = sample_shape
    latents = flow.distribution.sample(shape, seed=as_stateless_seed(seed))
    if np.ndim(temperature) == 0:
        return flow.bijector.forward(latents * tf.cast(temperature, latents.dtype))
    temperatures = np.atleast_1d(values)
    multi_scale = _multi_scale_of(flow)
    levels = [latents] if multi_scale is None else multi_scale.split_levels(latents)
    if len(temperatures) != len(levels):
        raise ValueError(
            f"`temperature` must have one entry for each of the {len(levels)} levels; "
            f"got {len(temperatures)}."
        )
    return decode(flow, [z * tf.cast(t, z.dtype) for z, t in zip(levels, temperatures)])


def interpolate(
    flow: Distribution, start: TensorLike, end: TensorLike, num_points: int
) -> tf.Tensor:
    """Interpolate linearly between two examples in latent space.

    >>> import tensorflow as tf
    >>> from tfp_flows import flows, latent_space
    >>> flow = flows.real_nvp(2, 2, (8,), seed=0)
    >>> y = latent_space.interpolate(flow, tf.zeros([2]), tf.ones([2]), num_points=5)
    >>> y.shape
    TensorShape([5, 2])

    Args:
      flow: `tfd.TransformedDistribution`, as for `encode`.
      start, end: data, shape `[..., *event_shape]`.
      num_points: number of results, including `start` and `end`, at least 2.

    Returns:
      y: data, shape `[num_points, ..., *event_shape]`.

    Raises:
      TypeError: `flow` is not a `tfd.TransformedDistribution`.
      ValueError: `num_points` is below 2.
    """
    _check_is_transformed(flow)
    if num_points < 2:
        raise ValueError(f"`num_points` must be at least 2; got {num_points}.")
    ends = [flow.bijector.inverse(y) for y in (start, end)]
    return flow.bijector.forward(tf.linspace(*ends, num_points))


def attribute_direction(
    flow: Distribution, y: TensorLike, labels: npt.ArrayLike
) -> list[tf.Tensor]:
    """Compute the direction of an attribute in latent space.

    The mean of the latents of examples with the attribute, minus the mean of those
    without: Kingma and Dhariwal (2018), section 6, https://arxiv.org/abs/1807.03039.

    >>> import tensorflow as tf
    >>> from tfp_flows import flows, latent_space
    >>> flow = flows.real_nvp(2, 2, (8,), seed=0)
    >>> y = tf.constant([[0.0, 1.0], [0.0, 3.0], [5.0, 2.0]])
    >>> direction = latent_space.attribute_direction(flow, y, [False, False, True])
    >>> [z.numpy().round(3) for z in direction]
    [array([5., 0.], dtype=float32)]

    Args:
      flow: `tfd.TransformedDistribution`, as for `encode`.
      y: data, shape `[N, *event_shape]`.
      labels: booleans of shape `[N]`, true for examples with the attribute.

    Returns:
      direction: list of tensors, one for each level, for `manipulate`.

    Raises:
      TypeError: `flow` is not a `tfd.TransformedDistribution`.
      ValueError: `labels` are not of shape `[N]`, or all are equal.
    """
    _check_is_transformed(flow)
    labels = np.asarray(labels, bool)
    number = len(y)  # type: ignore[arg-type]
    if labels.shape != (number,) or labels.all() or not labels.any():
        raise ValueError(
            f"`labels` must be booleans of shape [{number}], not all equal; got shape "
            f"{list(labels.shape)}, {np.sum(labels)} of them true."
        )
    return [
        tf.reduce_mean(z[labels], axis=0) - tf.reduce_mean(z[~labels], axis=0)
        for z in encode(flow, y)
    ]


def manipulate(
    flow: Distribution, y: TensorLike, direction: Sequence[tf.Tensor], amount: float
) -> tf.Tensor:
    """Shift the latents of data along a direction.

    >>> import tensorflow as tf
    >>> from tfp_flows import flows, latent_space
    >>> flow = flows.real_nvp(2, 2, (8,), seed=0)
    >>> y = latent_space.manipulate(flow, [[0.0, 1.0]], [tf.constant([5.0, 0.0])], 0.5)
    >>> y.numpy().round(3)
    array([[2.5, 1. ]], dtype=float32)

    Args:
      flow: `tfd.TransformedDistribution`, as for `encode`.
      y: data, shape `[..., *event_shape]`.
      direction: list of tensors, one for each level, from `attribute_direction`.
      amount: factor of the direction.

    Returns:
      y: data of the same shape.

    Raises:
      TypeError: `flow` is not a `tfd.TransformedDistribution`.
      ValueError: the number of entries of `direction` is not the number of levels.
    """
    latents = encode(flow, y)
    if len(direction) != len(latents):
        raise ValueError(
            f"`direction` must have one entry for each of the {len(latents)} levels; "
            f"got {len(direction)}."
        )
    return decode(flow, [z + amount * step for z, step in zip(latents, direction)])


def _check_is_transformed(flow: Any) -> None:
    parts = [getattr(flow, name, None) for name in ("bijector", "distribution")]
    if not isinstance(flow, tfd.Distribution) or None in parts:
        raise TypeError(
            f"`flow` must be a `tfd.TransformedDistribution`; got {flow!r}."
        )


def _multi_scale_of(flow: Distribution) -> Any:
    """Returns the `MultiScale` next to the base distribution, or None."""
    part = flow.bijector
    while getattr(part, "bijectors", None) and not isinstance(part, MultiScale):
        part = part.bijectors[-1]
    return part if isinstance(part, MultiScale) else None
