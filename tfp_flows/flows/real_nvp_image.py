"""RealNVP for images, with a multi-scale architecture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import masks
from tfp_flows._builders import register_builder
from tfp_flows._dtypes import check_dtype
from tfp_flows._flow import Flow
from tfp_flows._seeds import seed_groups
from tfp_flows._sizes import check_image_shape, check_integers, check_positive
from tfp_flows._typing import DTypeLike
from tfp_flows.bijectors import Coupling, MultiScale, Squeeze, transformers
from tfp_flows.flows import _image_builders
from tfp_flows.networks import ResidualConvNet

tfb = tfp.bijectors


@register_builder(package="tfp_flows")
def real_nvp_image(
    event_shape: Sequence[int],
    num_levels: int = 2,
    num_couplings: int = 3,
    hidden_channels: int = 64,
    num_blocks: int = 2,
    *,
    seed: int,
    coupling: Literal["affine", "additive"] = "affine",
    num_values: int = 256,
    preprocessing: Literal["center", "logit"] = "logit",
    context_size: int = 0,
    recompute: bool = False,
    dtype: DTypeLike = tf.float32,
    compute_dtype: DTypeLike | None = None,
    name: str = "real_nvp_image",
) -> Flow:
    """Build a RealNVP for images, with a multi-scale architecture.

    Dinh et al. (2017), section 3.6, https://arxiv.org/abs/1605.08803. Each level except
    the last applies `num_couplings` couplings with checkerboard masks, squeezes,
    applies `num_couplings` couplings with channel-wise masks, and factors out half of
    the channels. The last level applies `num_couplings + 1` couplings with checkerboard
    masks. Densities and samples both take one evaluation of each network.

    Two things differ from the paper. `ActNorm` replaces batch normalization, so that
    training and evaluation agree. Factored-out channels have a learned prior, which is
    initialized to the standard normal distribution. Call
    `tfp_flows.normalization.initialize_from_data` with a first batch before training.

    The flow is a distribution of dequantized images, real numbers in [0, num_values).
    `tfp_flows.dequantization` maps integers to this range and converts densities to
    bits per dimension.

    >>> from tfp_flows import flows
    >>> flow = flows.real_nvp_image([4, 4, 1], 2, 1, hidden_channels=4, seed=0)
    >>> flow.log_prob(flow.sample(3, seed=1)).shape
    TensorShape([3])

    Args:
      event_shape: [height, width, channels]. Height and width must be multiples of
        `2**(num_levels - 1)`.
      num_levels: number of levels.
      num_couplings: number of couplings with each kind of mask.
      hidden_channels: width of each `tfp_flows.networks.ResidualConvNet`, doubled at
        each level.
      num_blocks: number of residual blocks of each network.
      seed: integer that determines the initial weights; they are the same in each
        process.
      coupling: "affine" or "additive".
      num_values: number of values of a pixel, `2**n` for `n` bits.
      preprocessing: "logit" for `tfp_flows.bijectors.Logit` with `alpha=0.05`, "center"
        to scale pixels to [-0.5, 0.5].
      context_size: length of the context of all couplings and priors, 0 for an
        unconditional flow. Condition the flow by `tfp_flows.flows.condition` before
        use.
      recompute: whether training recomputes activations instead of storing them; see
        `tfp_flows.bijectors.MultiScale`.
      dtype: dtype of the variables, float32 or float64.
      compute_dtype: dtype of the matrix products of the networks, as for
        `tfp_flows.networks.ResidualConvNet`; by default `dtype`.
      name: name of the distribution.

    Returns:
      flow: `tfp_flows.Flow` over standard normal images, on new variables.

    Raises:
      TypeError: `seed` is not an integer.
      TypeError: `dtype` or `compute_dtype` is not supported.
      ValueError: a size is below 1, or another argument is not one of its options.
      ValueError: height or width is not divisible by `2**(num_levels - 1)`.
    """
    check_integers(num_levels=num_levels)
    check_dtype("dtype", dtype)
    height, width, channels = check_image_shape(event_shape, num_levels, num_levels - 1)
    check_positive(num_couplings=num_couplings)
    transformer = _image_builders.coupling_transformer(coupling, transformers.Affine())
    initialized = _image_builders.initialized_flag()

    def couplings(
        level: int,
        kind: str,
        make_mask: Callable[[bool], npt.NDArray[np.bool_]],
        channels: int,
        seeds: Sequence[int],
    ) -> list[Any]:
        layers: list[Any] = []
        for k, layer_seed in enumerate(seeds):
            layer_name = f"level_{level}_{kind}_{k}"
            mask = make_mask(k % 2 == 1)
            of_pixels = mask.shape[-1] == 1  # the same for all channels
            network = ResidualConvNet(
                channels if of_pixels else int(mask.sum()),
                channels if of_pixels else int((~mask).sum()),
                hidden_channels * 2**level,
                num_parameters=transformer.num_parameters,
                num_blocks=num_blocks,
                seed=layer_seed,
                context_size=context_size,
                dtype=dtype,
                compute_dtype=compute_dtype,
                name=f"{layer_name}_network",
            )
            layers += [
                _image_builders.actnorm(
                    channels, initialized, dtype, f"{layer_name}_actnorm"
                ),
                Coupling(mask, network, transformer, name=layer_name),
            ]
        return layers

    levels, priors = [], []
    for i, level_seed in enumerate(seed_groups(seed, num_levels)[0]):
        is_last = i + 1 == num_levels
        (*checkerboard_seeds, prior_seed), channel_seeds = seed_groups(
            level_seed, num_couplings + 2, num_couplings
        )
        layers = couplings(
            i,
            "checkerboard",
            lambda flip: masks.checkerboard(height, width, flip),
            channels,
            checkerboard_seeds if is_last else checkerboard_seeds[:-1],
        )
        if not is_last:
            height, width, channels = height // 2, width // 2, 4 * channels
            layers.append(tfb.Invert(Squeeze()))
            layers += couplings(
                i,
                "channels",
                lambda flip: masks.channelwise(channels, flip),
                channels,
                channel_seeds,
            )
            channels //= 2
            priors.append(
                _image_builders.prior(
                    2 * channels,
                    channels,
                    prior_seed,
                    context_size,
                    dtype,
                    f"prior_{i}",
                )
            )
        levels.append(tfb.Chain(layers, name=f"level_{i}"))
    return _image_builders.image_flow(
        [
            *_image_builders.preprocessing_layers(preprocessing, num_values, dtype),
            MultiScale(levels, priors, recompute, list(event_shape)),
        ],
        event_shape,
        dtype,
        name,
    )
