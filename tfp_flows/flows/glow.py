"""Glow: a multi-scale flow for images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._builders import register_builder
from tfp_flows._dtypes import check_dtype
from tfp_flows._flow import Flow
from tfp_flows._seeds import seed_groups
from tfp_flows._sizes import check_image_shape, check_positive
from tfp_flows._typing import DTypeLike
from tfp_flows.bijectors import MultiScale, Scan, Squeeze, transformers
from tfp_flows.flows import _image_builders
from tfp_flows.networks import ConvNet

tfb = tfp.bijectors


@register_builder(package="tfp_flows")
def glow(
    event_shape: Sequence[int],
    num_levels: int = 3,
    num_steps: int = 32,
    hidden_channels: int = 512,
    *,
    seed: int,
    coupling: Literal["affine", "additive"] = "affine",
    convolution: Literal["plu", "plain"] = "plu",
    num_values: int = 256,
    preprocessing: Literal["center", "logit"] = "center",
    context_size: int = 0,
    conditioning: Literal["top_prior", "all"] = "top_prior",
    recompute: bool = False,
    scan: bool = False,
    dtype: DTypeLike = tf.float32,
    compute_dtype: DTypeLike | None = None,
    name: str = "glow",
) -> Flow:
    """Build a Glow, a multi-scale flow for images.

    Kingma and Dhariwal (2018), https://arxiv.org/abs/1807.03039. Each level squeezes
    the image, applies `num_steps` layers `tfp_flows.bijectors.GlowStep`, and factors
    out half of the channels, with a learned prior. Densities and samples both take one
    evaluation of each network. Call `tfp_flows.normalization.initialize_from_data` with
    a first batch before training. Priors are initialized to the standard normal
    distribution, couplings to a constant scale, and convolutions to an orthogonal map.

    The flow is a distribution of dequantized images, real numbers in [0, num_values).
    `tfp_flows.dequantization` maps integers to this range and converts densities to
    bits per dimension. `log_prob` itself does not check the range.
    `tfp_flows.latent_space` has tools to encode, interpolate and manipulate images.

    >>> from tfp_flows import flows
    >>> flow = flows.glow([4, 4, 1], 1, num_steps=2, hidden_channels=8, seed=0)
    >>> flow.log_prob(flow.sample(3, seed=1)).shape
    TensorShape([3])

    Args:
      event_shape: [height, width, channels]. Height and width must be multiples of
        `2**num_levels`.
      num_levels: number of levels, `L`.
      num_steps: number of steps of each level, `K`.
      hidden_channels: width of the hidden layers of each `tfp_flows.networks.ConvNet`.
      seed: integer that determines the initial weights; they are the same in each
        process.
      coupling: "affine", with the bounded scale of the authors' code, or "additive".
      convolution: "plu" for `InvertibleConv1x1PLU`, "plain" for `InvertibleConv1x1`.
      num_values: number of values of a pixel, `2**n` for `n` bits.
      preprocessing: "center" to scale pixels to [-0.5, 0.5], "logit" for
        `tfp_flows.bijectors.Logit` with `alpha=0.05`.
      context_size: length of the context, such as the number of classes; 0 for an
        unconditional flow. Condition the flow by `tfp_flows.flows.condition` or
        `condition_on_class` before use.
      conditioning: what is conditioned on the context: "top_prior" for the prior of the
        last level, as in the authors' class-conditional models, or "all" for all priors
        and couplings.
      recompute: whether training recomputes activations instead of storing them; see
        `tfp_flows.bijectors.MultiScale`.
      scan: whether the steps of each level are one `tfp_flows.bijectors.Scan`, whose
        tracing and compile times do not depend on `num_steps`.
      dtype: dtype of the variables, float32 or float64.
      compute_dtype: dtype of the matrix products of the networks, as for
        `tfp_flows.networks.ConvNet`; by default `dtype`.
      name: name of the distribution.

    Returns:
      flow: `tfp_flows.Flow` over standard normal images, on new variables.

    Raises:
      TypeError: `seed` is not an integer.
      TypeError: `dtype` or `compute_dtype` is not supported.
      ValueError: a size is below 1, or another argument is not one of its options.
      ValueError: height or width is not divisible by `2**num_levels`.
    """
    check_dtype("dtype", dtype)
    *_, channels = check_image_shape(event_shape, num_levels, num_levels)
    check_positive(num_steps=num_steps)
    if conditioning not in ("top_prior", "all"):
        raise ValueError(
            f"`conditioning` must be 'top_prior' or 'all'; got {conditioning!r}."
        )
    transformer = _image_builders.coupling_transformer(
        coupling, transformers.SigmoidAffine()
    )
    initialized = _image_builders.initialized_flag()
    inner_context_size = context_size if conditioning == "all" else 0
    levels, priors = [], []
    for i, level_seed in enumerate(seed_groups(seed, num_levels)[0]):
        channels *= 4
        *step_seeds, prior_seed = seed_groups(level_seed, *[2] * num_steps, 1)
        steps = []
        for k, seeds in enumerate(step_seeds):
            step_name = f"level_{i}_step_{k}"

            def make_network(
                masked: int, transformed: int, seed: int, name: str = step_name
            ) -> Any:
                return ConvNet(
                    masked,
                    transformed,
                    hidden_channels,
                    num_parameters=transformer.num_parameters,
                    seed=seed,
                    context_size=inner_context_size,
                    dtype=dtype,
                    compute_dtype=compute_dtype,
                    name=f"{name}_network",
                )

            steps.append(
                _image_builders.glow_step(
                    channels,
                    make_network,
                    transformer,
                    convolution,
                    initialized,
                    seeds,
                    dtype,
                    step_name,
                )
            )
        if scan:
            steps = [Scan.from_layers(steps[::-1], name=f"level_{i}_steps")]
        layers = [tfb.Invert(Squeeze()), *steps]
        is_last = i + 1 == num_levels
        num_passed = 0 if is_last else channels // 2
        prior = _image_builders.prior(
            channels,
            num_passed,
            prior_seed[0],
            context_size if is_last else inner_context_size,
            dtype,
            f"prior_{i}",
        )
        if is_last:
            layers.append(prior)
        else:
            priors.append(prior)
            channels = num_passed
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
