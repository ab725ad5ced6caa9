"""TFP's distributions and bijectors with sums that keep the digits of large events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows.bijectors import _last_axis_sums

tfb, tfd = tfp.bijectors, tfp.distributions


class Scale(tfb.Scale):
    """`tfb.Scale`, with the log-determinants of large events summed in steps."""

    def _sum_fn(self, x: tf.Tensor, axis: Any = None) -> tf.Tensor:
        return _last_axis_sums.sum_axes(x, axis)


class Sigmoid(tfb.Sigmoid):
    """`tfb.Sigmoid`, with the log-determinants of large events summed in steps."""

    def _sum_fn(self, x: tf.Tensor, axis: Any = None) -> tf.Tensor:
        return _last_axis_sums.sum_axes(x, axis)


class _Sample(tfd.Sample):
    def _sum_fn(self) -> Callable[..., tf.Tensor]:
        return _last_axis_sums.sum_axes


class _Independent(tfd.Independent):
    def _sum_fn(self) -> Callable[..., tf.Tensor]:
        return _last_axis_sums.sum_axes


def sample_of(distribution: Any, event_shape: Sequence[int]) -> Any:
    """Returns `tfd.Sample`, which sums in steps if the event is large."""
    kind = _Sample if np.prod(event_shape) >= _last_axis_sums.LONG else tfd.Sample
    return kind(distribution, list(event_shape))


def independent(distribution: Any) -> Any:
    """Returns `tfd.Independent` of one axis, which sums in steps if that is long."""
    size = tf.compat.dimension_value(distribution.batch_shape[-1])
    kind = (
        _Independent
        if size is not None and size >= _last_axis_sums.LONG
        else tfd.Independent
    )
    return kind(distribution, reinterpreted_batch_ndims=1)
