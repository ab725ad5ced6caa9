"""RealNVP of images, with a multi-scale architecture."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import masks
from tfp_flows._builders import register_builder
from tfp_flows._dtypes import check_dtype
from tfp_flows._seeds import seed_groups
from tfp_flows._sizes import check_image_shape, check_integers
from tfp_flows.bijectors import Coupling, MultiScale, Squeeze, transformers
from tfp_flows.flows import _image_builders as parts
from tfp_flows.networks import ResidualConvNet

tfb = tfp.bijectors


@register_builder(package="tfp_flows")
def real_nvp_image(
    event_shape,
    num_levels=2,
    num_steps=3,
    hidden_channels=64,
    num_blocks=2,
    *,
    seed,
    coupling="affine",
    num_values=256,
    preprocessing="logit",
    context_size=0,
    recompute=False,
    dtype=tf.float32,
    compute_dtype=None,
    name="real_nvp_image",
):
    """Builds a multi-scale RealNVP, whose densities and samples both take one pass.

    Dinh et al. (2017), section 3.6, https://arxiv.org/abs/1605.08803. Each level but
    the last makes `num_steps` couplings with checkerboard masks, squeezes, makes as
    many with masks of channels, and factors out half of the channels; the last makes
    `num_steps + 1` with checkerboards. Their batch normalization is an `ActNorm` here,
    which has no mode of training; and what is factored out has a learned prior, which
    starts as standard normal noise. Call `initialize_from_data` with a first batch
    before training.

    It is a distribution of dequantized images, numbers in [0, num_values): see `glow`
    for what goes with it.

    Args:
      event_shape: [height, width, channels]; height and width are multiples of
        `2**(num_levels - 1)`.
      num_levels: number of levels.
      num_steps: couplings with each kind of mask.
      hidden_channels: width of each `tfp_flows.networks.ResidualConvNet`, doubled at
        each level.
      num_blocks: number of residual blocks of each of these.
      seed: integer that decides the weights, in each process alike.
      coupling: "affine" or "additive".
      num_values, preprocessing: as for `glow`.
      context_size: length of a context, 0 for none, which all couplings and priors
        see. A flow that has one is to be bound by `condition` before use.
      recompute: whether training recomputes activations in place of keeping them; see
        `tfp_flows.bijectors.MultiScale`.
      dtype: floating dtype of the variables.
      compute_dtype: floating dtype of the products of the networks, as for
        `tfp_flows.networks.ResidualConvNet`; by default `dtype`.
      name: name of the distribution.

    Returns:
      distribution: `tfd.TransformedDistribution` of standard normal noise of the shape
        of an image, on variables of its own.

    Raises:
      TypeError: `seed` is no integer, or a dtype is none that fits.
      ValueError: an argument is out of its range.
    """
    check_integers(num_levels=num_levels)
    check_dtype("dtype", dtype)
    height, width, channels = check_image_shape(event_shape, num_levels, num_levels - 1)
    check_integers(num_steps=num_steps)
    if num_steps < 1:
        raise ValueError(f"`num_steps` must be at least 1; got {num_steps}.")
    transformer = parts.coupling_kind(coupling, transformers.Affine())
    started = parts.start_flag()
    levels, priors = [], []
    for i, level_seed in enumerate(seed_groups(seed, num_levels)[0]):
        last = i + 1 == num_levels
        (*boards, of_prior), of_channels = seed_groups(
            level_seed, num_steps + 2, num_steps
        )

        def couplings(kept, size, seeds, kind):
            layers = []
            for k, layer_seed in enumerate(seeds):
                name = f"level_{i}_{kind}_{k}"
                mask = kept(k % 2 == 1)
                whole = mask.shape[-1] == 1
                network = ResidualConvNet(
                    size if whole else int(mask.sum()),
                    size if whole else int((~mask).sum()),
                    hidden_channels * 2**i,
                    num_parameters=transformer.num_parameters,
                    num_blocks=num_blocks,
                    seed=layer_seed,
                    context_size=context_size,
                    dtype=dtype,
                    compute_dtype=compute_dtype,
                    name=f"{name}_network",
                )
                layers += [
                    parts.actnorm(size, started, dtype, f"{name}_actnorm"),
                    Coupling(mask, network, transformer, name=name),
                ]
            return layers

        layers = couplings(
            lambda flip: masks.checkerboard(height, width, flip),
            channels,
            boards if last else boards[:-1],
            "checkerboard",
        )
        if not last:
            height, width, channels = height // 2, width // 2, 4 * channels
            layers.append(tfb.Invert(Squeeze()))
            layers += couplings(
                lambda flip: masks.channelwise(channels, flip),
                channels,
                of_channels,
                "channels",
            )
            channels //= 2
            priors.append(
                parts.prior(
                    2 * channels, channels, of_prior, context_size, dtype, f"prior_{i}"
                )
            )
        levels.append(tfb.Chain(layers, name=f"level_{i}"))
    return parts.distribution(
        [
            *parts.preprocessing(preprocessing, num_values, dtype),
            MultiScale(levels, priors, recompute, list(event_shape)),
        ],
        event_shape,
        dtype,
        name,
    )
