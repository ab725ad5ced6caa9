"""Glow, a multi-scale flow of images."""

import functools

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._builders import register_builder
from tfp_flows._dtypes import check_dtype
from tfp_flows._seeds import seed_groups
from tfp_flows._sizes import check_image_shape, check_integers
from tfp_flows.bijectors import MultiScale, Scan, Squeeze, transformers
from tfp_flows.flows import _image_builders as parts
from tfp_flows.networks import ConvNet

tfb = tfp.bijectors


@register_builder(package="tfp_flows")
def glow(
    event_shape,
    num_levels=3,
    num_steps=32,
    hidden_channels=512,
    *,
    seed,
    coupling="affine",
    convolution="plu",
    num_values=256,
    preprocessing="center",
    context_size=0,
    context_in="top",
    recompute=False,
    scan=False,
    dtype=tf.float32,
    compute_dtype=None,
    name="glow",
):
    """Builds a Glow, whose densities and samples both take one pass.

    Kingma and Dhariwal (2018), https://arxiv.org/abs/1807.03039. Each level squeezes
    the image, makes `num_steps` of `GlowStep`, and factors out half of the channels
    with a learned prior. Each prior starts as standard normal noise, each coupling as
    a constant scale, each convolution as a rotation. Call `initialize_from_data` with a
    first batch before training.

    It is a distribution of dequantized images, numbers in [0, num_values): see
    `dequantize`, which checks that range; a density is told of all numbers.
    `bits_per_dimension` turns it into the measure of the papers. `encode`, `decode`,
    `sample_at_temperature`, `interpolate` and `attribute_direction` show what it has
    learned.

    Args:
      event_shape: [height, width, channels]; height and width are multiples of
        `2**num_levels`.
      num_levels: number of levels, `L`.
      num_steps: steps of each level, `K`.
      hidden_channels: width of the hidden layers of each `tfp_flows.networks.ConvNet`.
      seed: integer that decides the weights, in each process alike.
      coupling: "affine", with the bounded scale of their code, or "additive".
      convolution: "plu" for `InvertibleConv1x1PLU`, "plain" for `InvertibleConv1x1`.
      num_values: number of values that a pixel can have, `2**n` for n bits.
      preprocessing: "center" to scale pixels to [-0.5, 0.5], "logit" for
        `tfp_flows.bijectors.Logit` with `alpha=0.05`.
      context_size: length of a context, such as the number of classes; 0 for none. A
        flow that has one is to be bound by `condition` or `condition_on_class` before
        use.
      context_in: what the context decides: "top" for the prior of the deepest level, as
        for their class-conditional models, "all" for all priors and couplings, too.
      recompute: whether training recomputes activations in place of keeping them; see
        `tfp_flows.bijectors.MultiScale`.
      scan: whether the steps of each level are one `tfp_flows.bijectors.Scan`,
        which traces and compiles in the same time however many they are.
      dtype: floating dtype of the variables.
      compute_dtype: floating dtype of the products of the networks, as for
        `tfp_flows.networks.ConvNet`; by default `dtype`.
      name: name of the distribution.

    Returns:
      distribution: `tfd.TransformedDistribution` of standard normal noise of the shape
        of an image, on variables of its own.

    Raises:
      TypeError: `seed` is no integer, or a dtype is none that fits.
      ValueError: an argument is out of its range.
    """
    check_dtype("dtype", dtype)
    *_, channels = check_image_shape(event_shape, num_levels, num_levels)
    check_integers(num_steps=num_steps)
    if num_steps < 1:
        raise ValueError(f"`num_steps` must be at least 1; got {num_steps}.")
    if context_in not in ("top", "all"):
        raise ValueError(f"`context_in` must be 'top' or 'all'; got {context_in!r}.")
    transformer = parts.coupling_kind(coupling, transformers.SigmoidAffine())
    started = parts.start_flag()
    inner_context = context_size if context_in == "all" else 0
    levels, priors = [], []
    for i, level_seed in enumerate(seed_groups(seed, num_levels)[0]):
        channels *= 4
        *seeds, prior_seed = seed_groups(level_seed, *[2] * num_steps, 1)
        steps = []
        for k, pair in enumerate(seeds):
            step = f"level_{i}_step_{k}"
            network = functools.partial(
                _network,
                hidden_channels,
                transformer.num_parameters,
                inner_context,
                dtype,
                compute_dtype,
                f"{step}_network",
            )
            steps.append(
                parts.glow_step(
                    channels,
                    network,
                    transformer,
                    convolution,
                    started,
                    pair,
                    dtype,
                    step,
                )
            )
        if scan:
            steps = [Scan.from_layers(steps[::-1], name=f"level_{i}_steps")]
        layers = [tfb.Invert(Squeeze()), *steps]
        last = i + 1 == num_levels
        kept = 0 if last else channels // 2
        prior = parts.prior(
            channels,
            kept,
            prior_seed[0],
            context_size if last else inner_context,
            dtype,
            f"prior_{i}",
        )
        if last:
            layers.append(prior)
        else:
            priors.append(prior)
            channels = kept
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


def _network(
    hidden,
    num_parameters,
    context_size,
    dtype,
    compute_dtype,
    name,
    kept,
    changed,
    seed,
):
    return ConvNet(
        kept,
        changed,
        hidden,
        num_parameters=num_parameters,
        seed=seed,
        context_size=context_size,
        dtype=dtype,
        compute_dtype=compute_dtype,
        name=name,
    )
