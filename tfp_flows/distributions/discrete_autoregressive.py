"""Autoregressive distributions over integers."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._autodiff import with_shape
from tfp_flows._layer import TakesContext
from tfp_flows._typing import Distribution, Seed, Shape, TensorFn, TensorLike
from tfp_flows.bijectors import _last_axis_sums
from tfp_flows.bijectors._conditioner import check_context, check_has_context
from tfp_flows.distributions._discrete_likelihoods import (
    Categorical,
    DiscretizedLogisticMixture,
)
from tfp_flows.networks.base import as_network

tfd = tfp.distributions


class DiscreteAutoregressive(TakesContext, Distribution):
    """Autoregressive distribution over the integers of images or waveforms.

    `p(x) = prod_i p(x_i | x_1, ..., x_(i-1))`, where each `x_i` is an integer from 0 to
    `num_values - 1`. The network receives the integers scaled to [-1, 1], and predicts
    the parameters of each factor:

    - one logit for each value, as in PixelRNN, https://arxiv.org/abs/1601.06759;
    - or, with `num_components`, the weights, means and scales of a mixture of logistic
      distributions, rounded to integers, as in PixelCNN++,
      https://arxiv.org/abs/1701.05517, equation 2.

    `log_prob` takes one network evaluation, for integers or floating-point tensors of
    whole numbers. Samples have the dtype of the network, and no gradient. Sampling
    inverts the conditional distribution functions at uniform random numbers, by
    fixed-point iteration: at most one network evaluation per element. A network with
    `solve_for_input`, such as `MADE`, needs about the cost of two evaluations.

    >>> from tfp_flows import distributions, networks
    >>> network = networks.MADE(event_size=3, num_parameters=4, seed=0)
    >>> model = distributions.DiscreteAutoregressive(network, num_values=4)
    >>> model.log_prob([[0, 1, 3], [2, 2, 2]]).numpy().round(2)
    array([-4.16, -4.16], dtype=float32)
    >>> x = model.sample_completions([3, 0, 0], [True, False, False], 5, seed=[0, 1])
    >>> x.shape, float(x[0, 0])
    (TensorShape([5, 3]), 3.0)

    Args:
      network: autoregressive network, called as `network(x)` or `network(x, context)`,
        which returns `[..., *event_shape, num_parameters]`: one of
        `tfp_flows.networks` that is autoregressive, or a custom callable.
      num_values: number of values of an element, at least 2.
      num_components: number of logistic components; None for logits.
      event_shape: shape of an image or waveform. May be None for networks that have an
        `event_shape` or `event_size`.
      context: tensor of shape `[..., context_size]`, or None. Its batch axes are those
        of the distribution. See `tfp_flows.flows.condition`.
      validate_args: whether graphs check the values that `log_prob` receives. They are
        always checked in eager mode.
      name: name of the distribution.

    Raises:
      TypeError: `context` has another dtype than the network.
      ValueError: `num_values` or `num_components` is out of its range.
      ValueError: the network returns another number of parameters than needed.
      ValueError: `event_shape` is unknown, or not that of the network.
      ValueError: a context is missing, or has another size than `context_size`.
    """

    _TF_MODULE_IGNORED_PROPERTIES = (
        tfd.Distribution._TF_MODULE_IGNORED_PROPERTIES.union(["_network"])
    )
    network: TensorFn
    num_values: int
    context: Any

    _likelihood: Categorical | DiscretizedLogisticMixture
    _shape: tf.TensorShape

    def __init__(
        self,
        network: TensorFn,
        num_values: int = 256,
        num_components: int | None = None,
        event_shape: Shape | None = None,
        context: TensorLike | None = None,
        validate_args: bool = False,
        name: str = "discrete_autoregressive",
    ) -> None:
        parameters = dict(locals())
        if not isinstance(num_values, numbers.Integral) or num_values < 2:
            raise ValueError(
                f"`num_values` must be an integer of at least 2; got {num_values!r}."
            )
        self.network, self.num_values = network, num_values
        adapted = as_network(network)
        # Past `__setattr__`: `tf.Module` finds its variables in `network`.
        vars(self)["_network"] = adapted
        dtype = adapted.dtype or tf.float32
        self._likelihood = Categorical(num_values)
        if num_components is not None:
            if not isinstance(num_components, numbers.Integral) or num_components < 1:
                raise ValueError(
                    "`num_components` must be an integer of at least 1, or None; "
                    f"got {num_components!r}."
                )
            self._likelihood = DiscretizedLogisticMixture(num_values, num_components)
        self._check_number(adapted.num_parameters)
        self._shape = _event_shape_of(adapted, event_shape)
        self.context_ndims = adapted.context_ndims
        self.context, self.context_size = check_context(adapted, context, None, dtype)
        super().__init__(
            # With an integer dtype TFP would truncate the decimals of an array.
            dtype=dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=validate_args,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: int | None = None) -> Any:
        ndims = lambda model: model.context_ndims
        return dict(context=tfp.util.ParameterProperties(event_ndims=ndims))

    def sample_completions(
        self,
        x: TensorLike,
        observed_mask: npt.ArrayLike,
        sample_shape: Shape = (),
        seed: Seed = None,
    ) -> tf.Tensor:
        """Sample the unobserved elements of images or waveforms, given the observed.

        Args:
          x: integers of shape `[..., *event_shape]`. Unobserved elements may have any
            value.
          observed_mask: booleans that broadcast to `event_shape`, true for elements of
            `x` that are kept. These must be the first elements in the order of the
            network, such as the upper rows of an image for `PixelCNN`.
          sample_shape: shape of the samples for each `x`.
          seed: PRNG seed: an int or a pair of ints for reproducible draws, or None; see
            `tfp.random.sanitize_seed`.

        Returns:
          completions: integers in the dtype of the network, of shape
            `[*sample_shape, ..., *event_shape]`.

        Raises:
          ValueError: the observed elements are not the first in the order.
          ValueError: an observed element is not an integer from 0 to `num_values - 1`,
            in eager mode.
        """
        shape = self.event_shape.as_list()
        observed = np.broadcast_to(np.asarray(observed_mask, bool), shape)
        order = self._network.order
        order = np.arange(observed.size) if order is None else np.asarray(order)
        number = np.sum(observed)
        if not np.all(observed.ravel()[order[:number]]):
            raise ValueError(
                "`observed_mask` must be true only for the first elements in the order "
                f"of the network; got {number} true elements, which are not the first."
            )
        x = tf.convert_to_tensor(x, dtype_hint=self.dtype)
        x = tf.where(observed, x, tf.zeros([], x.dtype))
        with tf.control_dependencies(self._sample_control_dependencies(x)):
            x = tf.cast(x, self.dtype)
        sample_shape = tf.reshape(tf.cast(sample_shape, tf.int32), [-1])
        batch = tf.broadcast_dynamic_shape(
            tf.shape(x)[: tf.rank(x) - len(shape)], self.batch_shape_tensor()
        )
        u = self._uniforms(tf.concat([sample_shape, batch], axis=0), seed)
        return self._invert_cdf(tf.where(observed, -1.0 - x, u))

    def _event_shape(self) -> tf.TensorShape:
        return self._shape

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant(self._shape.as_list(), tf.int32)

    def _sample_control_dependencies(self, value: TensorLike) -> list[tf.Operation]:
        shape = tf.convert_to_tensor(value, dtype_hint=self.dtype).shape
        if not shape[-self._shape.rank :].is_compatible_with(self._shape):
            raise ValueError(
                f"`value` must have shape [..., {', '.join(map(str, self._shape))}]; "
                f"got shape {shape}."
            )
        if not (self.validate_args or tf.executing_eagerly()):
            return []
        value = tf.convert_to_tensor(value, dtype_hint=self.dtype)
        last = tf.cast(self.num_values - 1, tf.float64)
        number = tf.cast(value, tf.float64)
        good = (number >= 0.0) & (number <= last) & (number == tf.floor(number))
        text = f"`value` must hold integers from 0 to {self.num_values - 1}"
        if not tf.executing_eagerly():
            return [tf.debugging.Assert(tf.reduce_all(good), [text, value])]
        if not tf.reduce_all(good):
            raise ValueError(f"{text}; got {value[~good][0].numpy()}.")
        return []

    def _log_prob(self, value: TensorLike) -> tf.Tensor:
        values = tf.cast(value, self.dtype)
        terms = self._likelihood.log_prob(self._call_network(values), values)
        return _last_axis_sums.sum_event(terms, self._shape.rank)

    def _sample_n(self, n: int, seed: Seed = None) -> tf.Tensor:
        batch = self.batch_shape_tensor()
        uniforms = self._uniforms(tf.concat([[n], batch], axis=0), seed)
        return self._invert_cdf(uniforms)

    def _uniforms(self, batch: tf.Tensor, seed: Seed) -> tf.Tensor:
        """Returns a number for each element, of shape `[*batch, *event_shape]`."""
        shape = tf.concat([batch, self._shape.as_list()], axis=0)
        return tf.random.stateless_uniform(
            shape, tfp.random.sanitize_seed(seed), dtype=self.dtype, alg="philox"
        )  # the same with XLA and without

    def _invert_cdf(self, w: tf.Tensor) -> tf.Tensor:
        """Returns values, each the quantile of its conditional distribution.

        Args:
          w: numbers in [0, 1), shape `[..., *event_shape]`. A number below 0 stands for
            the value `-1 - w`, whatever the conditional distribution.
        """

        def invert(parameters: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
            quantile = self._likelihood.quantile(parameters, w)
            return tf.where(w < 0.0, -1.0 - w, quantile)

        first: tf.Tensor = tf.where(w < 0.0, -1.0 - w, tf.zeros_like(w))
        changed: Any = True
        solve, ndims = self._network.solve_for_input, self._network.event_ndims
        if solve is not None and ndims == self._shape.rank:
            check_has_context(self)
            z, exact = solve(
                lambda parameters, w: self._scaled(invert(parameters, w)),
                w,
                self.context,
            )
            first = tf.round(0.5 * (z + 1.0) * (self.num_values - 1.0))
            changed = ~exact

        def iterate(_: tf.Tensor, old: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            new = invert(self._call_network(old), w)
            return tf.reduce_any(new != old), with_shape(new, old.shape)

        _, values = tf.while_loop(
            lambda changed, _: changed,
            iterate,
            (tf.convert_to_tensor(changed), first),
            maximum_iterations=self._shape.num_elements(),
        )
        return tf.stop_gradient(values)

    def _call_network(self, values: tf.Tensor) -> tf.Tensor:
        """Returns the parameters that the network predicts."""
        check_has_context(self)
        context = [] if self.context is None else [tf.convert_to_tensor(self.context)]
        parameters = self.network(self._scaled(values), *context)
        self._check_number(parameters.shape[-1])
        return parameters

    def _scaled(self, values: tf.Tensor) -> tf.Tensor:
        return 2.0 / (self.num_values - 1) * values - 1.0

    def _check_number(self, number: int | None) -> None:
        needed = self._likelihood.num_parameters
        if number not in (None, needed):
            raise ValueError(
                "`network` must return as many parameters for each element as its "
                f"distribution needs, {needed}; got {number}."
            )


def _event_shape_of(network: Any, event_shape: Shape | None) -> tf.TensorShape:
    """Returns the event shape, of the network or as it was given."""
    own, given = tf.TensorShape(network.event_shape), tf.TensorShape(event_shape)
    if not own.is_compatible_with(given):
        raise ValueError(
            f"`event_shape` must be that of the network, {own}; got {given}."
        )
    shape = own.merge_with(given)
    if not shape.is_fully_defined():
        raise ValueError(
            "`event_shape` must be given for a network without `event_shape` or "
            f"`event_size`; got {event_shape}."
        )
    return shape
