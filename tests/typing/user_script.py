"""Builders, contexts, initialization and variational inference, for mypy --strict."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
import tensorflow_probability as tfp

import tfp_flows
from tfp_flows import (
    bijectors,
    dequantization,
    distributions,
    flows,
    latent_space,
    normalization,
    variational,
)

tfd = tfp.distributions


def density(x: tf.Tensor) -> tf.Tensor:
    """A flow that is initialized from data and trained by hand."""
    flow: tfp_flows.Flow = flows.maf(2, 3, (32, 32), seed=0, standardize=True)
    normalization.initialize_from_data(flow, x)
    optimizer = tf.keras.optimizers.Adam(1e-3)
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(flow.log_prob(x))
    gradients = tape.gradient(loss, flow.trainable_variables)
    optimizer.apply_gradients(zip(gradients, flow.trainable_variables))
    layers: tuple[tf.Tensor, tf.Tensor] = (
        flow.bijector.forward(x),
        flow.bijector.forward_log_det_jacobian(x, event_ndims=1),
    )
    return flow.log_prob(layers[0]) + flow.distribution.log_prob(x)


def conditional(labels: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
    """Conditioning keeps the class of what is conditioned."""
    flow = flows.real_nvp(2, seed=0, context_size=3)
    conditioned: tfp_flows.Flow = flows.condition(flow, context)
    of_classes: tfp_flows.Flow = flows.condition_on_class(flow, labels, num_classes=3)
    return conditioned.sample(5, seed=(0, 1)) + of_classes.sample([5], seed=1)


def images(x: tf.Tensor) -> list[tf.Tensor]:
    """Integers, dequantized, and their latents."""
    flow = flows.glow([8, 8, 3], 2, 4, 32, seed=0, conditioning="top_prior")
    y = dequantization.dequantize(dequantization.reduce_bit_depth(x, num_bits=5))
    bits = dequantization.bits_per_dimension(flow.log_prob(y), flow.event_shape)
    tf.debugging.assert_all_finite(bits, "bits")
    return latent_space.encode(flow, y)


def integers(network: Callable[..., tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    """A distribution over integers, and its completions."""
    model: distributions.DiscreteAutoregressive
    model = flows.discrete_autoregressive(network, num_values=4, event_shape=[8, 8, 1])
    return model.sample_completions(x, [[[True]]] * 8, sample_shape=3, seed=0)


def posterior(parameters: tf.Tensor, step: int) -> tf.Tensor:
    """The loss of an encoder."""
    conditional_distribution = flows.amortized_posterior(2, "sylvester_orthogonal")
    encoder_outputs: int = conditional_distribution.num_parameters
    tf.debugging.assert_equal(tf.shape(parameters)[-1], encoder_outputs)
    samples = variational.sample_and_log_probs(
        conditional_distribution(parameters),
        lambda z: tf.reduce_sum(z, axis=-1),
        tfd.MultivariateNormalDiag(tf.zeros(2)),
        num_samples=8,
        seed=(0, 1),
    )
    beta = variational.kl_warm_up(step, 100, initial_value=0.1)
    return -tf.reduce_mean(variational.elbo(samples, beta=beta))


def trainable() -> bijectors.Radial:
    """A trainable layer keeps its class."""
    return bijectors.make_trainable(bijectors.Radial, [2], seed=0)


def misuse() -> None:
    """Errors that mypy finds."""
    flows.maf(2, sed=0)  # type: ignore[call-arg]
    flows.maf("two", seed=0)  # type: ignore[arg-type]
    flows.glow([8, 8, 3], seed=0, conditioning="some")  # type: ignore[arg-type]
    flows.planar(2, 3, seed=0, invert="no")  # type: ignore[arg-type]
    flows.nice(2, seed=0, base=tfd.Normal)  # type: ignore[call-arg]
    variational.kl_warm_up(1, 10, start=0.5)  # type: ignore[call-arg]
