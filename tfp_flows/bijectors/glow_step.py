"""One step of flow of Glow, as one layer."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._layer import OPPOSITE, Layer
from tfp_flows._traversal import initialize_layers
from tfp_flows.bijectors._pixelwise import (
    check_pixels,
    multiply_pixels,
    per_pixel,
    sum_over_pixels,
)
from tfp_flows.bijectors.actnorm import ActNorm, warn_if_uninitialized
from tfp_flows.bijectors.conv1x1 import InvertibleConv1x1, InvertibleConv1x1PLU
from tfp_flows.bijectors.coupling import Coupling


class GlowStep(Layer):
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
        for argument, layer, kinds in [
            ("actnorm", actnorm, (ActNorm,)),
            ("convolution", convolution, (InvertibleConv1x1, InvertibleConv1x1PLU)),
            ("coupling", coupling, (Coupling,)),
        ]:
            if not isinstance(layer, kinds):
                raise TypeError(
                    f"`{argument}` must be an instance of "
                    f"{' or '.join(f'`{kind.__name__}`' for kind in kinds)}; "
                    f"got {layer!r}."
                )
            if layer.forward_min_event_ndims != 3:
                raise ValueError(
                    f"`{argument}` must take events of rank 3; "
                    f"got rank {layer.forward_min_event_ndims}."
                )
        channels = actnorm.shift.shape[-1]
        others = convolution.num_channels, coupling.mask.shape[-1]
        if others[0] != channels or others[1] not in (1, channels):
            raise ValueError(
                "`actnorm`, `convolution` and `coupling` must have the same number of "
                f"channels; got {channels}, {others[0]} and {others[1]}."
            )
        self.actnorm, self.convolution = actnorm, convolution
        self.coupling = coupling
        super().__init__(
            forward_min_event_ndims=3,
            dtype=actnorm.dtype,
            # The layers are not called by the methods that would run their checks.
            validate_args=any(
                [validate_args, actnorm.validate_args, convolution.validate_args]
            ),
            parameters=parameters,
            name=name,
        )

    needs_initialization = True

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
        return self._forward_and_log_det(x)[0]

    def _inverse(self, y):
        return self._inverse_and_log_det(y)[0]

    def _inverse_log_det_jacobian(self, y):
        return self._inverse_and_log_det(y)[1]

    def _forward_and_log_det(self, x):
        check_pixels(self, x, 3, self.actnorm.shift.shape[-1])
        y, log_det = self.coupling._forward_and_log_det(x)
        shift, log_scale = self._read_actnorm()
        # `actnorm` and `convolution` as one affine map.
        matrix = tf.exp(log_scale)[..., tf.newaxis] * self.convolution.inverse_matrix()
        result = multiply_pixels(y, matrix, 3) + per_pixel(shift, 3)
        log_det_of_pixel = tf.reduce_sum(log_scale, axis=-1)
        log_det_of_pixel -= self.convolution.log_abs_det()
        return result, log_det + sum_over_pixels(self, log_det_of_pixel, y, 3)

    def _inverse_and_log_det(self, y):
        check_pixels(self, y, 3, self.actnorm.shift.shape[-1])
        shift, log_scale = self._read_actnorm()
        matrix = self.convolution.matrix() * tf.exp(-log_scale)[..., tf.newaxis, :]
        shift = -tf.linalg.matvec(matrix, shift)
        if shift.shape.rank != 1:
            shift = per_pixel(shift, 3)
        x = multiply_pixels(y, matrix, 3) + shift
        result, log_det = self.coupling._inverse_and_log_det(x)
        log_det_of_pixel = self.convolution.log_abs_det()
        log_det_of_pixel -= tf.reduce_sum(log_scale, axis=-1)
        return result, log_det + sum_over_pixels(self, log_det_of_pixel, x, 3)

    def _read_actnorm(self):
        """Returns shift and log-scale."""
        warn_if_uninitialized(self.actnorm.initialized)
        return (
            tf.convert_to_tensor(self.actnorm.shift),
            tf.convert_to_tensor(self.actnorm.log_scale),
        )

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
        layers = [
            (self.actnorm, "inverse"),
            (self.convolution, "forward"),
            (self.coupling, "inverse"),
        ]
        if direction == "forward":
            layers = [(layer, OPPOSITE[own]) for layer, own in reversed(layers)]
        return initialize_layers(layers, values)
