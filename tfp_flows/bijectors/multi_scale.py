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
from tfp_flows.bijectors.coupling import Coupling
from tfp_flows.bijectors._recomputation import recomputed_value_and_log_det
from tfp_flows.bijectors.squeeze import squeeze, unsqueeze

tfb = tfp.bijectors


class MultiScale(Layer):
    """Factors out a part of the channels at each level, and goes on with the others.

    On the way from data to noise each level applies its bijector, which squeezes; then
    its prior keeps some channels for the next level, and makes noise of the others by
    what those kept tell: Dinh et al. (2017), section 3.6 and equation 14,
    https://arxiv.org/abs/1605.08803, with the learned priors of Glow (Kingma and
    Dhariwal, 2018), https://arxiv.org/abs/1807.03039. With a network that starts at
    zero, a prior starts as exactly N(0, I) over its part of standard normal noise.

    `x` and `y` have the same shape `[..., H, W, C]`: the latents of all levels, put
    together as images. `split_levels` takes `x` apart, `merge_levels` puts it together.

    Args:
      bijectors: list of bijectors of images, one for each level, the level of the data
        first. Each goes from the noise of its level to the data, and changes sizes by
        `tfb.Invert(Squeeze(...))` alone.
      priors: list of `Coupling`s, one for each level but the last, whose masks, of
        shape [1, 1, channels], are true for the first so many channels: those that go
        on to the next level.
      recompute: whether gradients recompute what they need from the results, by the
        exact inverse, layer by layer, in place of keeping it. A training step in a
        graph then takes longer, and a third of the memory at 32 steps; XLA saves
        nothing by it. There are no gradients of gradients, and none of tensors that a
        network of others holds elsewhere than in its attributes.
      event_shape: [H, W, C] that images must have; None for any.
      validate_args: no effect; give it to the layers.
      name: prefix of the ops.

    Raises:
      TypeError: what should be a bijector is none.
      ValueError: the number of priors is not that of levels less one; a mask is no
        such, or keeps nothing; the input is not of images that fit; `recompute` is true
        and a conditioner is a plain function.
      NotImplementedError: `recompute` is true, and the gradient of a gradient is asked
        for.
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
                raise TypeError(f"Each level must be a bijector; got {part!r}.")
        if len(self.priors) != len(self.bijectors) - 1:
            raise ValueError(
                "`priors` must have one entry less than `bijectors`; "
                f"got {len(self.priors)} and {len(self.bijectors)}."
            )
        self._kept = [_num_masked_channels(prior) for prior in self.priors]
        self.recompute, self.event_shape = recompute, event_shape
        unknown = [
            part.name for part in modules_of(self)
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
            part.needs_initialization for part in self.submodules
            if isinstance(part, Layer))

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
        """Returns the latents of the levels, the level of the data first.

        Args:
          x: noise, shape `[..., H, W, C]`.

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
        """Undoes `split_levels`.

        Args:
          latents: list of tensors, one for each level.

        Returns:
          x: noise, shape `[..., H, W, C]`.

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
        """Starts the layers in turn.

        Args:
          values: tensor `[..., H, W, C]`; see
            `tfp_flows.normalization.initialize_from_data`.
          direction: "inverse", the one that goes from data to noise.

        Returns:
          values: what the direction makes of them from now on.

        Raises:
          TypeError, ValueError: as the layers; ValueError if `direction` is "forward".
        """
        if direction != "inverse":
            raise ValueError(
                "`MultiScale` starts from data that come as its `y`; got such that "
                "come as its `x`."
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
