"""Multi-scale architecture: parts of an image leave the flow at each level."""

import math

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._autodiff import with_shape
from tfp_flows._layer import (
    OPPOSITE,
    Layer,
    flatten,
    modules_of,
    value_and_log_det,
)
from tfp_flows._traversal import initialize_layers
from tfp_flows.bijectors._mask_split import with_batch_of_both
from tfp_flows.bijectors._recomputation import recomputed_value_and_log_det
from tfp_flows.bijectors.coupling import Coupling
from tfp_flows.bijectors.squeeze import squeeze, unsqueeze

tfb = tfp.bijectors


class MultiScale(Layer):
    """Multi-scale architecture: factors out some of the channels at each level.

    From data to latents, each level applies its bijector, which squeezes. Then some
    channels pass to the next level; the others are factored out, with a prior
    conditioned on those that pass: Dinh et al. (2017), section 3.6 and equation 14,
    https://arxiv.org/abs/1605.08803, with the learned priors of Glow (Kingma and
    Dhariwal, 2018), https://arxiv.org/abs/1807.03039. With a network initialized to
    zero, a prior is N(0, I).

    `x` and `y` have the same shape `[..., H, W, C]`: the latents of all levels are
    arranged as images. `split_levels` separates them, `merge_levels` joins them.

    Args:
      bijectors: list of bijectors of images, one for each level, the level of the data
        first. Each maps latents of its level to data, and changes sizes by
        `tfb.Invert(Squeeze(...))` alone.
      priors: list of `Coupling`s, one for each level but the last, with masks of shape
        [1, 1, channels] that are true for the first channels: those that pass to the
        next level.
      recompute: whether gradients recompute intermediate values from the results, layer
        by layer, by the exact inverse, instead of keeping them. A training step in a
        graph then takes longer, and a third of the memory at 32 steps; XLA saves
        nothing. There are no gradients of gradients, and none by tensors that a custom
        network holds anywhere but in its attributes.
      event_shape: [H, W, C] that images must have; None for any.
      validate_args: not used; pass it to the layers.
      name: prefix of the ops.

    Raises:
      TypeError: one of `bijectors` or `priors` is not a bijector.
      ValueError: the number of priors is not one less than that of levels; a mask has
        another form; the input is not images that fit; `recompute` is True and a
        conditioner is a plain function.
      NotImplementedError: `recompute` is True, and the gradient of a gradient is taken.
    """

    def __init__(
        self,
        bijectors,
        priors=(),
        recompute=False,
        event_shape=None,
        validate_args=False,
        name="multi_scale",
    ):
        parameters = dict(locals())
        self.bijectors, self.priors = list(bijectors), list(priors)
        for part in [*self.bijectors, *self.priors]:
            if not isinstance(part, tfb.Bijector):
                raise TypeError(
                    "Each of `bijectors` and `priors` must be a bijector; "
                    f"got {part!r}."
                )
        if len(self.priors) != len(self.bijectors) - 1:
            raise ValueError(
                "`priors` must have one entry less than `bijectors`; "
                f"got {len(self.priors)} and {len(self.bijectors)}."
            )
        self._kept = [_num_masked_channels(prior) for prior in self.priors]
        self.recompute, self.event_shape = recompute, event_shape
        unknown = [
            part.name
            for part in modules_of(self)
            if isinstance(part, Layer) and part.hidden_variables is None
        ]
        if unknown and recompute:
            raise ValueError(
                "`recompute` must be False with plain functions as conditioners, whose "
                f"variables cannot be tracked; got True, and {', '.join(unknown)}. Use "
                "a `tf.Module`."
            )
        # By level, its layers from data to latents; past `tf.Module` and checkpoints.
        vars(self)["_levels"] = [
            [pair for part in parts for pair in flatten(part, "inverse")]
            for parts in [*zip(self.bijectors, self.priors), self.bijectors[-1:]]
        ]
        super().__init__(
            forward_min_event_ndims=3,
            dtype=_dtype_of(self.submodules),
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    _TF_MODULE_IGNORED_PROPERTIES = Layer._TF_MODULE_IGNORED_PROPERTIES | {"_levels"}

    @property
    def needs_initialization(self):
        return any(
            part.needs_initialization
            for part in self.submodules
            if isinstance(part, Layer)
        )

    @classmethod
    def _parameter_properties(cls, dtype):
        return {
            name: tfp.util.BatchedComponentProperties(
                event_ndims=lambda self, n, name=name: [n] * len(getattr(self, name))
            )
            for name in ["bijectors", "priors"]
        }

    def _forward(self, x):
        return self._forward_and_log_det(x)[0]

    def _inverse(self, y):
        return self._inverse_and_log_det(y)[0]

    def _inverse_log_det_jacobian(self, y):
        return self._inverse_and_log_det(y)[1]

    def _forward_and_log_det(self, x):
        return self._evaluate(x, "forward")

    def _inverse_and_log_det(self, y):
        return self._evaluate(y, "inverse")

    def _evaluate(self, x, direction):
        """Returns result and log determinant of a direction."""
        run = recomputed_value_and_log_det if self.recompute else value_and_log_det
        self._check(x)
        if self.event_shape and not x.shape[-3:].is_fully_defined():
            x = with_shape(x, [*x.shape[:-3], *self.event_shape])  # lost in graphs
        if direction == "forward":
            return self._to_data(x, run)
        latents, log_det = self._to_latents(x, run)
        return self.merge_levels(latents), log_det

    def _to_latents(self, y, run):
        latents, total = [], 0.0
        for i, layers in enumerate(self._levels):
            y, log_det = run(layers, y, 3)
            total += log_det
            if i < len(self.priors):
                kept = self._kept[i]
                latents.append(y[..., kept:])
                y = y[..., :kept]
        return [*latents, y], total

    def _to_data(self, x, run):
        *latents, y = self.split_levels(x)
        total = 0.0
        for i, layers in reversed(list(enumerate(self._levels))):
            if i < len(self.priors):
                y = tf.concat(with_batch_of_both(y, latents[i]), axis=-1)
            opposite = [(layer, OPPOSITE[own]) for layer, own in reversed(layers)]
            y, log_det = run(opposite, y, 3)
            total += log_det
        return y, total

    def _check(self, x):
        expected = tf.TensorShape(self.event_shape or [None, None, None])
        if x.shape.rank is None or not expected.is_compatible_with(x.shape[-3:]):
            raise ValueError(
                f"The input must be images of shape {expected}, with any axes before; "
                f"got shape {x.shape}."
            )

    def split_levels(self, x):
        """Separate the latents of the levels, the level of the data first.

        Args:
          x: latents arranged as images, shape `[..., H, W, C]`.

        Returns:
          latents: list of tensors of shape `[..., h, w, c]`.

        Raises:
          ValueError: the sizes do not fit.
        """
        x = tf.convert_to_tensor(x, dtype_hint=self.dtype)
        self._check(x)
        latents = []
        for i, level in enumerate(self.bijectors):
            shape = level.inverse_event_shape(x.shape[-3:])
            x = squeeze(x, math.isqrt(shape[-1] // x.shape[-1]))
            if i < len(self.priors):
                kept = self._kept[i]
                latents.append(x[..., kept:])
                x = x[..., :kept]
        return [*latents, x]

    def merge_levels(self, latents):
        """Arrange the latents of the levels as images; inverts `split_levels`.

        Args:
          latents: list of tensors, one for each level.

        Returns:
          x: latents arranged as images, shape `[..., H, W, C]`.

        Raises:
          ValueError: the number of latents is not that of levels, or sizes do not fit.
        """
        if len(latents) != len(self.bijectors):
            raise ValueError(
                f"`latents` must have one entry for each of the {len(self.bijectors)} "
                f"levels; got {len(latents)}."
            )
        latents = [tf.convert_to_tensor(z, dtype_hint=self.dtype) for z in latents]
        expected = [
            prior.mask.shape[-1] - kept for prior, kept in zip(self.priors, self._kept)
        ]
        deepest = self.bijectors[-1]
        for kept in self._kept[-1:]:
            expected.append(deepest.inverse_event_shape([None, None, kept])[-1])
        shapes = [z.shape for z in latents]
        if expected and [shape[-1] for shape in shapes] != expected:
            raise ValueError(
                f"`latents` must have {expected} channels, level by level; got shapes "
                f"{shapes}."
            )
        x = latents.pop()
        for level, latent in zip(self.bijectors[::-1], [*latents[::-1], None]):
            image = level.forward_event_shape(x.shape[-3:])
            x = unsqueeze(x, math.isqrt(x.shape[-1] // image[-1]))
            if latent is not None:
                if not latent.shape[-3:-1].is_compatible_with(x.shape[-3:-1]):
                    raise ValueError(
                        f"`latents` must be of sizes that fit; got shapes {shapes}."
                    )
                x = tf.concat(with_batch_of_both(x, latent), axis=-1)
        return x

    def initialize_from_data(self, values, direction):
        """Initialize the layers from data, in the order of use.

        Args:
          values: data, shape `[..., H, W, C]`; see
            `tfp_flows.normalization.initialize_from_data`.
          direction: "inverse", the direction from data to latents.

        Returns:
          values: latents after the initialization.

        Raises:
          TypeError, ValueError: as for the layers; ValueError if `direction` is
            "forward".
        """
        if direction != "inverse":
            raise ValueError(
                "`MultiScale` must be initialized in its inverse direction, from data "
                f"`y` to latents `x`; got `direction={direction!r}`."
            )
        values = tf.convert_to_tensor(values, dtype_hint=self.dtype)
        self._check(values)
        run = lambda layers, values, _: (initialize_layers(layers, values), 0.0)
        return self.merge_levels(self._to_latents(values, run)[0])


def _num_masked_channels(prior):
    """Returns how many channels, the first ones, a coupling leaves unchanged.

    Raises:
      ValueError: it is not a coupling with such a mask.
    """
    mask = prior.mask if isinstance(prior, Coupling) else np.zeros([])
    number = int(np.sum(mask))
    if mask.shape[:-1] != (1, 1) or not mask[..., :number].all() or not number:
        raise ValueError(
            "Each of `priors` must be a `Coupling` with a mask of shape [1, 1, "
            "channels] that is true for the first channels, at least one; "
            f"got {prior!r} with a mask of shape {mask.shape}, {number} times true."
        )
    return number


def _dtype_of(modules):
    layers = [module for module in modules if isinstance(module, tfb.Bijector)]
    return next((b.dtype for b in layers if b.dtype is not None), None)
