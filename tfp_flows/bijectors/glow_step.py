"""One step of flow of Glow, as one layer."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._freshness import never_stale
from tfp_flows._traversal import start_layers
from tfp_flows.bijectors._pixelwise import (
    check_pixels,
    multiply_pixels,
    over_pixels,
    per_pixel,
)
from tfp_flows.bijectors.actnorm import warn_before_start

tfb = tfp.bijectors


@never_stale
class GlowStep(tfb.Bijector):
    """Step of flow of Glow: activation normalization, 1x1 convolution and coupling.

    From data to latents, `x = coupling^-1(W (y - shift) exp(-log_scale))`: figure 2a of
    Kingma and Dhariwal (2018), https://arxiv.org/abs/1807.03039. The step equals
    `tfb.Chain([actnorm, tfb.Invert(convolution), coupling])`, but evaluates `actnorm`
    and `convolution` as one affine map of each pixel, by one matrix product.

    `x` and `y` have shape `[..., H, W, C]`. The axes before the event broadcast with
    the batch shapes of the layers; log determinants have the resulting shape.

    Args:
      actnorm: `ActNorm`.
      convolution: `InvertibleConv1x1` or `InvertibleConv1x1PLU`, whose forward
        direction is applied from data to latents.
      coupling: `Coupling` with a mask of rank 3.
      validate_args: has no effect; pass it to the layers.
      name: prefix of the ops.

    Raises:
      TypeError: an argument is not a layer of its class.
      ValueError: the layers have events of rank other than 3, or different numbers of
        channels.

    >>> from tfp_flows.bijectors import ActNorm, Coupling, InvertibleConv1x1, matrices
    >>> step = GlowStep(
    ...     ActNorm(tf.zeros([4]), tf.zeros([4])),
    ...     InvertibleConv1x1(matrices.random_orthogonal(4, seed=0)),
    ...     Coupling(
    ...         [[[True, True, False, False]]],
    ...         lambda x: tf.zeros([*x.shape[:-1], 2, 2]),
    ...     ),
    ... )
    >>> step.inverse(tf.zeros([5, 8, 8, 4])).shape
    TensorShape([5, 8, 8, 4])
    """

    def __init__(
        self, actnorm, convolution, coupling, validate_args=False, name="glow_step"
    ):
        parameters = dict(locals())
        for argument, layer, needs in [
            ("actnorm", actnorm, "log_scale"),
            ("convolution", convolution, "inverse_matrix"),
            ("coupling", coupling, "mask"),
        ]:
            if not (isinstance(layer, tfb.Bijector) and hasattr(layer, needs)):
                raise TypeError(
                    f"`{argument}` must be such a layer of `tfp_flows.bijectors`; "
                    f"got {layer!r}."
                )
            if layer.forward_min_event_ndims != 3:
                raise ValueError(
                    f"`{argument}` must take events of rank 3; "
                    f"got rank {layer.forward_min_event_ndims}."
                )
        sizes = [
            getattr(convolution, "weight", actnorm.shift).shape[-1],
            getattr(convolution, "sign", actnorm.shift).shape[-1],
            actnorm.shift.shape[-1],
        ]
        if len(set(sizes)) > 1 or coupling.mask.shape[-1] not in (1, sizes[0]):
            raise ValueError(
                "The layers must be of as many channels; got "
                f"{sizes[2]}, {min(sizes[:2])} and {coupling.mask.shape[-1]}."
            )
        self.actnorm, self.convolution = actnorm, convolution
        self.coupling = coupling
        self._conditioner_variables = coupling._conditioner_variables
        super().__init__(
            forward_min_event_ndims=3,
            dtype=actnorm.dtype,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype):
        layer = tfp.util.BatchedComponentProperties(
            event_ndims=lambda _, x_event_ndims: x_event_ndims
        )
        return dict(actnorm=layer, convolution=layer, coupling=layer)

    def _parameter_control_dependencies(self, is_init):
        # The step evaluates these layers without the methods that would check them.
        layers = [] if is_init else [self.actnorm, self.convolution]
        return [
            check
            for layer in layers
            for check in layer._parameter_control_dependencies(is_init)
        ]

    def _forward(self, x):
        y, log_det = self._value_and_log_det(x, "forward")
        self._cache.forward_attributes(x)["ildj"] = -log_det
        return y

    def _inverse(self, y):
        x, log_det = self._value_and_log_det(y, "inverse")
        self._cache.inverse_attributes(y)["ildj"] = log_det
        return x

    def _forward_log_det_jacobian(self, x):
        return self._value_and_log_det(x, "forward")[1]

    def _inverse_log_det_jacobian(self, y):
        return self._value_and_log_det(y, "inverse")[1]

    def _value_and_log_det(self, x, direction):
        """Returns what a direction makes of `x`, and the log determinant of that."""
        check_pixels(self, x, 3, self.actnorm.shift.shape[-1])
        if direction == "forward":
            y, log_det = self.coupling._value_and_log_det(x, direction)
            return self._map_pixels(y, direction), log_det + self._log_det(y)
        y = self._map_pixels(x, direction)
        result, log_det = self.coupling._value_and_log_det(y, direction)
        return result, log_det - self._log_det(y)

    def _map_pixels(self, x, direction):
        """Applies `actnorm` and `convolution` as one affine map."""
        warn_before_start(self.actnorm.initialized)
        shift = tf.convert_to_tensor(self.actnorm.shift)
        log_scale = tf.convert_to_tensor(self.actnorm.log_scale)
        if direction == "forward":
            matrix = tf.exp(log_scale)[..., tf.newaxis] * (
                self.convolution.inverse_matrix()
            )
        else:
            matrix = self.convolution.matrix() * tf.exp(-log_scale)[..., tf.newaxis, :]
            shift = -tf.linalg.matvec(matrix, shift)
        return multiply_pixels(x, matrix, 3) + per_pixel(shift, 3)

    def _log_det(self, y):
        """Log determinant of that map, from latents to data."""
        log_det = tf.reduce_sum(self.actnorm.log_scale, axis=-1)
        return over_pixels(self, log_det - self.convolution.log_abs_det(), y, 3)

    def initialize_from_data(self, values, direction):
        """Initialize the layers from data, in order.

        Args:
          values: input of the step in `direction`, shape `[..., H, W, C]`; see
            `tfp_flows.normalization.initialize_from_data`.
          direction: "forward" or "inverse": the direction from data to latents.

        Returns:
          values: output of the step in `direction`.

        Raises:
          TypeError, ValueError: as for the layers.
        """
        chain = tfb.Chain([self.actnorm, tfb.Invert(self.convolution), self.coupling])
        return start_layers(chain, values, direction)
