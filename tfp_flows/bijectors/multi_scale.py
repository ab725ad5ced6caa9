"""Multi-scale architecture: parts of an image leave the flow at each level."""

import math

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._cache import never_stale
from tfp_flows.bijectors._evaluation import evaluate, evaluate_again
from tfp_flows.bijectors._start import start
from tfp_flows.bijectors.squeeze import squeeze, unsqueeze

tfb = tfp.bijectors


@never_stale
class MultiScale(tfb.Bijector):
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
        exact inverse, layer by layer. Memory then does not grow with the number of
        layers, and a training step takes about 1.4 to 1.7 times as long. There are no
        gradients of gradients.
      validate_args: no effect; give it to the layers.
      name: prefix of the ops.

    Raises:
      TypeError: what should be a bijector is none.
      ValueError: the number of priors is not that of levels less one; a mask is no
        such, or keeps nothing; the input has fewer than 3 axes, or a size or number of
        channels that does not fit.
      NotImplementedError: `recompute` is true, and the gradient of a gradient is asked
        for.
    """

    def __init__(
        self,
        bijectors,
        priors=(),
        recompute=False,
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
        self._kept = [_channels_kept(prior) for prior in self.priors]
        self.recompute = recompute
        unknown = [
            module for module in self.submodules
            if getattr(module, "_conditioner_variables", []) is None
        ]
        self._conditioner_variables = None if unknown else []
        super().__init__(
            forward_min_event_ndims=3, dtype=_dtype_of(self.submodules),
            validate_args=validate_args, parameters=parameters, name=name)

    @classmethod
    def _parameter_properties(cls, dtype):
        return {
            name: tfp.util.BatchedComponentProperties(
                event_ndims=lambda self, n, name=name: [n] * len(getattr(self, name)))
            for name in ["bijectors", "priors"]
        }

    def _forward(self, x):
        y, log_det = self._evaluate(x, "forward")
        self._cache.forward_attributes(x)["ildj"] = -log_det
        return y

    def _inverse(self, y):
        x, log_det = self._evaluate(y, "inverse")
        self._cache.inverse_attributes(y)["ildj"] = log_det
        return x

    def _forward_log_det_jacobian(self, x):
        return self._evaluate(x, "forward")[1]

    def _inverse_log_det_jacobian(self, y):
        return self._evaluate(y, "inverse")[1]

    def _evaluate(self, x, direction):
        """Returns what a direction makes of `x`, and the log determinant of that."""
        run = evaluate_again if self.recompute else evaluate
        _check_image(x)
        if direction == "forward":
            return self._to_data(x, run)
        latents, log_det = self._to_latents(x, run)
        return self.merge_levels(latents), log_det

    def _to_latents(self, y, run):
        latents, log_det = [], 0.0
        for i, level in enumerate(self._levels()):
            y, change = run(level, y, "inverse")
            log_det += change
            if i < len(self.priors):
                kept = self._kept[i]
                latents.append(y[..., kept:])
                y = y[..., :kept]
        return [*latents, y], log_det

    def _to_data(self, x, run):
        *latents, y = self.split_levels(x)
        log_det = 0.0
        for i, level in reversed(list(enumerate(self._levels()))):
            if i < len(self.priors):
                y = tf.concat([y, latents[i]], axis=-1)
            y, change = run(level, y, "forward")
            log_det += change
        return y, log_det

    def _levels(self):
        """Returns the bijectors, each after its prior where it has one."""
        chains = map(tfb.Chain, zip(self.bijectors, self.priors))
        return [*chains, self.bijectors[-1]]

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
        _check_image(x)
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
        *latents, x = (tf.convert_to_tensor(z, dtype_hint=self.dtype) for z in latents)
        x = unsqueeze(x, self._factor_of_noise(-1, x))
        for i in reversed(range(len(latents))):
            if latents[i].shape[-3:-1] != x.shape[-3:-1]:
                raise ValueError(
                    f"`latents` must be of sizes that fit; got {latents[i].shape} for "
                    f"level {i}, and {x.shape} for those after it together."
                )
            x = tf.concat([x, latents[i]], axis=-1)
            x = unsqueeze(x, self._factor_of_noise(i, x))
        return x

    def _factor_of_noise(self, level, x):
        """Factor by which a level stretches its noise."""
        shape = self.bijectors[level].forward_event_shape(x.shape[-3:])
        return math.isqrt(x.shape[-1] // shape[-1])

    def start_from_data(self, values, direction):
        """Starts the layers in turn.

        Args:
          values: tensor `[..., H, W, C]`; see `tfp_flows.flows.start_from_data`.
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

        def run(level, y, way):
            return start(level, y, way), 0.0

        return self.merge_levels(self._to_latents(values, run)[0])


def _channels_kept(prior):
    mask = getattr(prior, "mask", np.zeros([]))
    kept = int(np.sum(mask))
    if mask.shape[:-1] != (1, 1) or not mask[..., :kept].all() or not kept:
        raise ValueError(
            "Each of `priors` must be a `Coupling` with a mask of shape [1, 1, "
            "channels], true for the first channels, at least one; "
            f"got {prior!r} with a mask of shape {mask.shape}, {kept} times true."
        )
    return kept


def _dtype_of(modules):
    layers = [module for module in modules if isinstance(module, tfb.Bijector)]
    return next((b.dtype for b in layers if b.dtype is not None), None)


def _check_image(x):
    if x.shape.rank is None or x.shape.rank < 3:
        raise ValueError(
            f"The input must have shape [..., H, W, C]; got shape {x.shape}.")
