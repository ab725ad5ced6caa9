"""The class of distributions of levels, element by element."""

import numbers

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._autodiff import with_shape
from tfp_flows._layer import TakesContext
from tfp_flows.bijectors import _last_axis_sums
from tfp_flows.bijectors._conditioner import check_context, check_has_context
from tfp_flows.flows._level_heads import Categorical, LogisticMixture
from tfp_flows.networks.base import as_network

tfd = tfp.distributions


class DiscreteAutoregressive(TakesContext, tfd.Distribution):
    """The distribution of `discrete_autoregressive`, with the same arguments."""

    _TF_MODULE_IGNORED_PROPERTIES = (
        tfd.Distribution._TF_MODULE_IGNORED_PROPERTIES.union(["_network"])
    )

    def __init__(
        self,
        network,
        num_levels=256,
        mixture_size=None,
        event_shape=None,
        context=None,
        validate_args=False,
        name="discrete_autoregressive",
    ):
        parameters = dict(locals())
        if not isinstance(num_levels, numbers.Integral) or num_levels < 2:
            raise ValueError(
                f"`num_levels` must be an integer of at least 2; got {num_levels!r}."
            )
        self.network, self.num_levels = network, num_levels
        adapted = as_network(network)
        # Past `__setattr__`: `tf.Module` finds its variables in `network`.
        vars(self)["_network"] = adapted
        dtype = adapted.dtype or tf.float32
        self._head = Categorical(num_levels)
        if mixture_size is not None:
            if not isinstance(mixture_size, numbers.Integral) or mixture_size < 1:
                raise ValueError(
                    "`mixture_size` must be an integer of at least 1, or None; "
                    f"got {mixture_size!r}."
                )
            self._head = LogisticMixture(num_levels, mixture_size)
        self._check_number(adapted.num_parameters)
        self._shape = _event_shape_of(adapted, event_shape)
        self.context_ndims = adapted.context_ndims
        self.context, self.context_size = check_context(adapted, context, None, dtype)
        super().__init__(
            # With an integer dtype TFP would cut off the decimals of an array.
            dtype=dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=validate_args,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        ndims = lambda model: model.context_ndims
        return dict(context=tfp.util.ParameterProperties(event_ndims=ndims))

    def _event_shape(self):
        return self._shape

    def _event_shape_tensor(self):
        return tf.constant(self._shape.as_list(), tf.int32)

    def _sample_control_dependencies(self, value):
        shape = tf.convert_to_tensor(value, dtype_hint=self.dtype).shape
        if not shape[-self._shape.rank :].is_compatible_with(self._shape):
            raise ValueError(
                f"`value` must have shape [..., {', '.join(map(str, self._shape))}]; "
                f"got shape {shape}."
            )
        if not (self.validate_args or tf.executing_eagerly()):
            return []
        value = tf.convert_to_tensor(value, dtype_hint=self.dtype)
        last = tf.cast(self.num_levels - 1, tf.float64)
        level = tf.cast(value, tf.float64)
        good = (level >= 0.0) & (level <= last) & (level == tf.floor(level))
        text = f"`value` must hold whole numbers from 0 to {self.num_levels - 1}"
        if not tf.executing_eagerly():
            return [tf.debugging.Assert(tf.reduce_all(good), [text, value])]
        if not tf.reduce_all(good):
            raise ValueError(f"{text}; got {value[~good][0].numpy()}.")
        return []

    def _log_prob(self, value):
        levels = tf.cast(value, self.dtype)
        terms = self._head.log_prob(self._ask(levels), levels)
        return _last_axis_sums.total_of_event(terms, self._shape.rank)

    def _sample_n(self, n, seed=None):
        batch = self.batch_shape_tensor()
        return self.solve(self.uniforms(tf.concat([[n], batch], axis=0), seed))

    def uniforms(self, batch, seed):
        """Returns a number for each element; those batch axes come first."""
        shape = tf.concat([batch, self._shape.as_list()], axis=0)
        return tf.random.stateless_uniform(
            shape, tfp.random.sanitize_seed(seed), dtype=self.dtype, alg="philox"
        )  # the same with XLA and without

    def solve(self, w):
        """Finds levels, each the quantile of its distribution given those before it.

        Args:
          w: numbers in [0, 1), shape `[..., *event_shape]`. One below 0 stands for the
            level `-1 - w`, whatever its distribution.
        """

        def invert(parameters, w):
            return tf.where(w < 0.0, -1.0 - w, self._head.quantile(parameters, w))

        start, changed = tf.where(w < 0.0, -1.0 - w, tf.zeros_like(w)), True
        network = self._network
        can_solve = network.solve_for_input is not None
        if can_solve and network.event_ndims == self._shape.rank:
            check_has_context(self)
            z, exact = network.solve_for_input(
                lambda parameters, w: self._scaled(invert(parameters, w)),
                w,
                self.context,
            )
            start = tf.round(0.5 * (z + 1.0) * (self.num_levels - 1.0))
            changed = ~exact

        def again(_, old):
            new = invert(self._ask(old), w)
            return tf.reduce_any(new != old), with_shape(new, old.shape)

        _, levels = tf.while_loop(
            lambda changed, _: changed,
            again,
            (tf.convert_to_tensor(changed), start),
            maximum_iterations=self._shape.num_elements(),
        )
        return tf.stop_gradient(levels)

    def _ask(self, levels):
        """Returns what the network makes of levels."""
        check_has_context(self)
        context = [] if self.context is None else [tf.convert_to_tensor(self.context)]
        parameters = self.network(self._scaled(levels), *context)
        self._check_number(parameters.shape[-1])
        return parameters

    def _scaled(self, levels):
        return 2.0 / (self.num_levels - 1) * levels - 1.0

    def _check_number(self, number):
        needed = self._head.num_parameters
        if number not in (None, needed):
            raise ValueError(
                "`network` must return as many parameters for each element as its "
                f"levels need, {needed}; got {number}."
            )


def _event_shape_of(network, event_shape):
    """Returns the shape, which the network or the caller must know."""
    known, given = tf.TensorShape(network.event_shape), tf.TensorShape(event_shape)
    if not known.is_compatible_with(given):
        raise ValueError(
            f"`event_shape` must be that of the network, {known}; got {given}."
        )
    shape = known.merge_with(given)
    if not shape.is_fully_defined():
        raise ValueError(
            "`event_shape` must be given for a network that does not tell it; "
            f"got {event_shape}."
        )
    return shape
