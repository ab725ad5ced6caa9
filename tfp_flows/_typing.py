"""Types that the annotations of the package share.

TensorFlow and TFP ship no types, so that their classes are `Any` to a type checker.
`Bijector` and `Distribution` are those of TFP at run time. To a type checker they are
the declarations below: editors complete what these list, and everything else is `Any`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, Union

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tensorflow_probability as tfp

# What `tf.convert_to_tensor` takes: tensors, variables, arrays, numbers, lists of them.
TensorLike: TypeAlias = Union[tf.Tensor, tf.Variable, npt.ArrayLike]
# An int or a pair of ints for reproducible draws, or None.
Seed: TypeAlias = Union[int, Sequence[int], npt.NDArray[np.integer], tf.Tensor, None]
# Shape of a tensor, such as `[D]` or `(32, 32, 3)`; an int means one axis.
Shape: TypeAlias = Union[int, Sequence[int], tf.TensorShape, tf.Tensor]
# Such as `tf.float32`, "float32" or `np.float32`.
DTypeLike: TypeAlias = Union[tf.DType, "np.dtype[Any]", type, str]
# Anything that can be called on tensors and returns a tensor, such as a network.
TensorFn: TypeAlias = Callable[..., tf.Tensor]

if TYPE_CHECKING:

    class Bijector(tf.Module):
        """`tfp.bijectors.Bijector`."""

        def __init__(self, *args: Any, **kwargs: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...
        def __call__(self, value: Any, name: str | None = None, **kwargs: Any) -> Any:
            """Transforms a tensor, a distribution, or another bijector."""

        @property
        def name(self) -> str: ...
        @property
        def dtype(self) -> Any: ...
        @property
        def parameters(self) -> dict[str, Any]: ...
        @property
        def variables(self) -> tuple[tf.Variable, ...]: ...
        @property
        def trainable_variables(self) -> tuple[tf.Variable, ...]: ...
        @property
        def forward_min_event_ndims(self) -> Any: ...
        @property
        def inverse_min_event_ndims(self) -> Any: ...
        def forward(
            self, x: TensorLike, name: str = "forward", **kwargs: Any
        ) -> tf.Tensor: ...
        def inverse(
            self, y: TensorLike, name: str = "inverse", **kwargs: Any
        ) -> tf.Tensor: ...
        def forward_log_det_jacobian(
            self,
            x: TensorLike,
            event_ndims: int | None = None,
            name: str = "forward_log_det_jacobian",
            **kwargs: Any,
        ) -> tf.Tensor: ...
        def inverse_log_det_jacobian(
            self,
            y: TensorLike,
            event_ndims: int | None = None,
            name: str = "inverse_log_det_jacobian",
            **kwargs: Any,
        ) -> tf.Tensor: ...

    class Distribution(tf.Module):
        """`tfp.distributions.Distribution`."""

        def __init__(self, *args: Any, **kwargs: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...
        @property
        def name(self) -> str: ...
        @property
        def dtype(self) -> Any: ...
        @property
        def parameters(self) -> dict[str, Any]: ...
        @property
        def variables(self) -> tuple[tf.Variable, ...]: ...
        @property
        def trainable_variables(self) -> tuple[tf.Variable, ...]: ...
        @property
        def event_shape(self) -> tf.TensorShape: ...
        @property
        def batch_shape(self) -> tf.TensorShape: ...
        def log_prob(
            self, value: TensorLike, name: str = "log_prob", **kwargs: Any
        ) -> tf.Tensor: ...
        def prob(
            self, value: TensorLike, name: str = "prob", **kwargs: Any
        ) -> tf.Tensor: ...
        def sample(
            self,
            sample_shape: Shape = (),
            seed: Seed = None,
            name: str = "sample",
            **kwargs: Any,
        ) -> tf.Tensor: ...
        def experimental_sample_and_log_prob(
            self,
            sample_shape: Shape = (),
            seed: Seed = None,
            name: str = "sample_and_log_prob",
            **kwargs: Any,
        ) -> tuple[tf.Tensor, tf.Tensor]: ...

else:
    Bijector = tfp.bijectors.Bijector
    Distribution = tfp.distributions.Distribution

BijectorT = TypeVar("BijectorT", bound=Bijector)
DistributionT = TypeVar("DistributionT", bound=Distribution)
