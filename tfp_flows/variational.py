"""Variational inference: bounds on the evidence, for posteriors that are flows.

`log p(x) >= E_q[log p(x | z) + log p(z) - log q(z | x)]`. If `q` is a flow, with
`z = f(z_0)`, this is `E_q0[log p(x, f(z_0)) - log q_0(z_0) + log |det f'(z_0)|]`. Then
sample and density come from one forward evaluation, without an inverse.
`sample_and_log_probs` draws from any reparameterized `tfd.Distribution`. The other
functions compute bounds from the samples.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._typing import Distribution, Seed, TensorLike

__all__ = [
    "PosteriorSamples",
    "elbo",
    "importance_weighted_bound",
    "kl_warm_up",
    "log_marginal_likelihood",
    "sample_and_log_probs",
]

tfd = tfp.distributions


class PosteriorSamples(NamedTuple):
    """Samples of a posterior with their log densities, in nats.

    >>> import tensorflow as tf
    >>> from tfp_flows import variational
    >>> samples = variational.PosteriorSamples(
    ...     z=tf.zeros([1, 2]), log_likelihood=tf.constant([-3.0]), log_prior=None,
    ...     log_posterior=tf.constant([-1.0]))
    >>> samples.log_weight.numpy()
    array([-2.], dtype=float32)

    Args:
      z: samples, shape `[S, ..., D]`.
      log_likelihood: `log p(x | z)`, shape `[S, ...]`; without a prior, `log p(x, z)`.
      log_prior: `log p(z)`, shape `[S, ...]`, or None without a prior.
      log_posterior: `log q(z | x)`, shape `[S, ...]`.

    Raises:
      TypeError: an argument is missing.
    """

    z: tf.Tensor
    log_likelihood: tf.Tensor
    log_prior: tf.Tensor | None
    log_posterior: tf.Tensor

    @property
    def log_weight(self) -> tf.Tensor:
        """Log importance weights, `log p(x, z) - log q(z | x)`, shape `[S, ...]`."""
        return self.log_joint - self.log_posterior

    @property
    def log_joint(self) -> tf.Tensor:
        """`log p(x, z)`, shape `[S, ...]`."""
        if self.log_prior is None:
            return self.log_likelihood
        return self.log_likelihood + self.log_prior


def sample_and_log_probs(
    surrogate_posterior: Distribution,
    log_likelihood_fn: Callable[[tf.Tensor], TensorLike],
    prior: Distribution | None = None,
    num_samples: int = 1,
    *,
    seed: Seed = None,
    stopped_surrogate_posterior: Distribution | None = None,
) -> PosteriorSamples:
    """Draw posterior samples, and evaluate the log densities of the bounds.

    >>> import tensorflow as tf
    >>> import tensorflow_probability as tfp
    >>> from tfp_flows import flows, variational
    >>> prior = tfp.distributions.MultivariateNormalDiag(tf.zeros(2))
    >>> q = flows.planar(2, num_layers=4, seed=0)
    >>> log_likelihood_fn = lambda z: -tf.reduce_sum((z - 1.0) ** 2, axis=-1)
    >>> samples = variational.sample_and_log_probs(
    ...     q, log_likelihood_fn, prior, num_samples=10, seed=[0, 1])
    >>> samples.z.shape, variational.elbo(samples).shape
    (TensorShape([10, 2]), TensorShape([]))

    Args:
      surrogate_posterior: `q(z | x)`, a reparameterized `tfd.Distribution` of batch
        shape `[...]`.
      log_likelihood_fn: callable from `z`, of shape `[S, ..., *event_shape]`, to
        `log p(x | z)`, of shape `[S, ...]`. Without a `prior`, it returns
        `log p(x, z)`, such as `lambda z: joint.log_prob(z=z, x=x)` for a
        `tfd.JointDistributionNamed`.
      prior: `tfd.Distribution` of `z`, or None.
      num_samples: `S`, the number of samples.
      seed: PRNG seed: an int or a pair of ints for reproducible draws, or None; see
        `tfp.random.sanitize_seed`.
      stopped_surrogate_posterior: the same posterior, whose parameters passed through
        `tf.stop_gradient`. Then `log_posterior` is its density at the samples, so that
        only the gradient through the samples remains. Its variance vanishes where the
        posterior is exact (Roeder et al. 2017, "Sticking the landing",
        https://arxiv.org/abs/1703.09194). This evaluates the inverse of a flow.
        Gradients of weights inside of the posterior, as in "iaf", are not stopped: they
        are unbiased, and keep their variance.

    Returns:
      samples: `PosteriorSamples`.

    Raises:
      TypeError: a posterior or the prior is not a `tfd.Distribution`.
      TypeError: `log_likelihood_fn` is not callable.
      ValueError: `surrogate_posterior` is not reparameterized.
      ValueError: `num_samples` is below 1.
      ValueError: `log_likelihood_fn` or the prior returns another shape.
      tf.errors.InvalidArgumentError: a log density is NaN or infinite; the message
        names it. XLA drops this check, and the result is NaN.
    """
    optional = dict(
        prior=prior, stopped_surrogate_posterior=stopped_surrogate_posterior
    )
    given = {name: value for name, value in optional.items() if value is not None}
    for name, value in dict(surrogate_posterior=surrogate_posterior, **given).items():
        if not isinstance(value, tfd.Distribution):
            raise TypeError(
                f"`{name}` must be a `tfd.Distribution`; got {value!r}. An amortized "
                "posterior must be called with the parameters that an encoder predicts."
            )
    if not callable(log_likelihood_fn):
        raise TypeError(
            "`log_likelihood_fn` must be callable, from `z` to log p(x | z); "
            f"got {log_likelihood_fn!r}."
        )
    if surrogate_posterior.reparameterization_type != tfd.FULLY_REPARAMETERIZED:
        raise ValueError(
            "`surrogate_posterior` must be reparameterized, so that its samples have "
            f"gradients; got {surrogate_posterior!r}."
        )
    if num_samples < 1:
        raise ValueError(f"`num_samples` must be at least 1; got {num_samples}.")
    z, log_posterior = surrogate_posterior.experimental_sample_and_log_prob(
        [num_samples], seed=seed
    )
    if stopped_surrogate_posterior is not None:
        log_posterior = stopped_surrogate_posterior.log_prob(tf.identity(z))
    values: dict[str, Any] = dict(
        log_likelihood=log_likelihood_fn(z), log_posterior=log_posterior
    )
    if prior is not None:
        values["log_prior"] = prior.log_prob(z)
    sources = dict(
        log_likelihood="log_likelihood_fn",
        log_posterior="stopped_surrogate_posterior.log_prob",
        log_prior="prior.log_prob",
    )
    for name, value in values.items():
        value = values[name] = tf.convert_to_tensor(value)
        if not value.shape.is_compatible_with(log_posterior.shape):
            raise ValueError(
                f"`{sources[name]}` must return one number for each sample, of shape "
                f"{log_posterior.shape}; got {value.shape}."
            )
    checked = {
        name: tf.debugging.check_numerics(value, f"`{name}` must be finite")
        for name, value in values.items()
    }
    return PosteriorSamples(z, **{"log_prior": None, **checked})


def elbo(
    samples: PosteriorSamples,
    beta: TensorLike = 1.0,
    free_nats: TensorLike | None = None,
    temperature: TensorLike = 1.0,
) -> tf.Tensor:
    """Evidence lower bound, `E_q[log p(x | z) - beta (log q(z | x) - log p(z))]`.

    For samples drawn without a `prior`, there is no divergence to weight, but the log
    joint density can be divided by a temperature, as a warm-up that finds all modes:
    `E_q[log p(x, z) / temperature - log q(z | x)]`. This is equation 20 of Rezende and
    Mohamed (2015), https://arxiv.org/abs/1505.05770, whose weight of the energy, from
    0.01 to 1, is `1 / temperature`.

    >>> import tensorflow as tf
    >>> from tfp_flows import variational
    >>> samples = variational.PosteriorSamples(
    ...     z=tf.zeros([1, 2]), log_likelihood=tf.constant([-3.0]),
    ...     log_prior=tf.constant([-2.0]), log_posterior=tf.constant([-1.0]))
    >>> float(variational.elbo(samples)), float(variational.elbo(samples, beta=0.5))
    (-4.0, -3.5)

    Args:
      samples: `PosteriorSamples` of `sample_and_log_probs`.
      beta: weight of the divergence from the prior; 1 for the bound, below 1 for a
        warm-up (see `kl_warm_up`), tempering or a beta-VAE.
      free_nats: minimum of the mean divergence over samples and batch, below which it
        has no gradient; None for no minimum. This is "free bits" of Kingma et al.
        (2016), https://arxiv.org/abs/1606.04934, with all of `z` as one group.
      temperature: divisor of the log joint density; 1 for the bound, above 1 for a
        warm-up, such as `1 / kl_warm_up(step, num_steps, initial_value=0.01)`.

    Returns:
      bound: tensor of shape `[...]`, the mean over samples, in nats. Maximize its mean.

    Raises:
      TypeError: `samples` are not `PosteriorSamples`.
      ValueError: `beta` or `free_nats` is given for samples without a prior.
      ValueError: `beta` or `free_nats` is given together with a `temperature`.
      ValueError: `temperature` is not above 0.
    """
    _check_samples(samples)
    weighs = free_nats is not None or not _is_one(beta)
    if weighs and samples.log_prior is None:
        raise ValueError(
            "`beta` and `free_nats` must be left out for samples without a prior, which"
            " have no divergence to weight; got "
            f"beta={beta!r} and free_nats={free_nats!r}. Pass `prior` to "
            "`sample_and_log_probs`, and a `log_likelihood_fn` that leaves it out; or "
            "use `temperature`, 1 / beta."
        )
    if not _is_one(temperature):
        if weighs:
            raise ValueError(
                "`temperature` must be 1 with `beta` or `free_nats`; got "
                f"temperature={temperature!r}, beta={beta!r}, free_nats={free_nats!r}."
            )
        static = tf.get_static_value(temperature)
        if static is not None and not np.all(static > 0.0):
            raise ValueError(f"`temperature` must be above 0; got {temperature!r}.")
        log_joint = samples.log_joint / tf.cast(temperature, samples.log_joint.dtype)
        return tf.reduce_mean(log_joint - samples.log_posterior, axis=0)
    if samples.log_prior is None:
        return tf.reduce_mean(samples.log_weight, axis=0)
    divergence = samples.log_posterior - samples.log_prior
    if free_nats is not None:
        minimum = tf.convert_to_tensor(free_nats, divergence.dtype)
        is_above = tf.reduce_mean(divergence) >= minimum
        divergence = tf.where(is_above, divergence, minimum)
    return tf.reduce_mean(
        samples.log_likelihood - tf.cast(beta, divergence.dtype) * divergence, axis=0
    )


def importance_weighted_bound(samples: PosteriorSamples) -> tf.Tensor:
    """Importance-weighted bound, `log (1/S) sum_s p(x, z_s) / q(z_s | x)`.

    Burda et al. (2016), https://arxiv.org/abs/1509.00519: the evidence lower bound for
    one sample, which approaches the log evidence with the number of samples.

    >>> import tensorflow as tf
    >>> from tfp_flows import variational
    >>> samples = variational.PosteriorSamples(
    ...     z=tf.zeros([2, 1]), log_likelihood=tf.math.log([1.0, 3.0]), log_prior=None,
    ...     log_posterior=tf.zeros([2]))
    >>> round(float(tf.exp(variational.importance_weighted_bound(samples))), 3)
    2.0

    Args:
      samples: `PosteriorSamples` of `sample_and_log_probs`.

    Returns:
      bound: tensor of shape `[...]`, in nats.

    Raises:
      TypeError: `samples` are not `PosteriorSamples`.
    """
    _check_samples(samples)
    return tfp.math.reduce_logmeanexp(samples.log_weight, axis=0)


def _check_samples(samples: Any) -> None:
    """Raises `TypeError` for anything but a result of `sample_and_log_probs`."""
    if not isinstance(samples, PosteriorSamples):
        raise TypeError(
            "`samples` must be the `PosteriorSamples` that `sample_and_log_probs("
            f"surrogate_posterior, log_likelihood_fn, prior)` returns; got {samples!r}."
        )


def _is_one(weight: Any) -> bool:
    """Returns whether a weight is the number 1, which is its default."""
    return isinstance(weight, numbers.Real) and weight == 1


def log_marginal_likelihood(
    surrogate_posterior: Distribution,
    log_likelihood_fn: Callable[[tf.Tensor], TensorLike],
    prior: Distribution | None = None,
    num_samples: int = 5000,
    *,
    seed: Seed,
    chunk_size: int = 100,
) -> tf.Tensor:
    """Estimate `log p(x)` by importance sampling, in bounded memory.

    The estimate is `importance_weighted_bound` of `num_samples` samples. Its bias is
    negative, about half the relative variance of the mean weight.

    >>> import tensorflow as tf
    >>> import tensorflow_probability as tfp
    >>> from tfp_flows import variational
    >>> prior = tfp.distributions.MultivariateNormalDiag(tf.zeros(2))
    >>> float(variational.log_marginal_likelihood(
    ...     prior, lambda z: tf.zeros(tf.shape(z)[:-1]), prior, 200, seed=0))
    0.0

    Args:
      surrogate_posterior, log_likelihood_fn, prior: as for `sample_and_log_probs`.
      num_samples: number of samples, rounded up to a multiple of `chunk_size`.
      seed: int or pair of ints, for the same samples in each call.
      chunk_size: number of samples that are drawn at once.

    Returns:
      log_marginal: tensor of shape `[...]`, in nats, without a gradient.

    Raises:
      TypeError: an argument is not of its type, as for `sample_and_log_probs`.
      ValueError: `num_samples` or `chunk_size` is below 1.
      ValueError: `surrogate_posterior` is not reparameterized, or a log density has
        another shape, as for `sample_and_log_probs`.
    """
    if min(num_samples, chunk_size) < 1:
        raise ValueError(
            "`num_samples` and `chunk_size` must be at least 1; "
            f"got {num_samples} and {chunk_size}."
        )
    if isinstance(seed, numbers.Integral):
        seed = [0, int(seed)]
    seed = tfp.random.sanitize_seed(seed)
    num_chunks = -(-num_samples // chunk_size)

    def log_sum_of_chunk(seed: tf.Tensor) -> tf.Tensor:
        samples = sample_and_log_probs(
            surrogate_posterior, log_likelihood_fn, prior, chunk_size, seed=seed
        )
        return tf.stop_gradient(tf.reduce_logsumexp(samples.log_weight, axis=0))

    def body(
        i: tf.Tensor, seed: tf.Tensor, log_sum: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        this, later = tf.unstack(tfp.random.split_seed(seed, n=2))
        return i + 1, later, tfp.math.log_add_exp(log_sum, log_sum_of_chunk(this))

    first, later = tf.unstack(tfp.random.split_seed(seed, n=2))
    _, _, log_sum = tf.while_loop(
        lambda i, *_: i < num_chunks,
        body,
        [tf.constant(1), later, log_sum_of_chunk(first)],
        parallel_iterations=1,
    )
    count = tf.cast(num_chunks * chunk_size, log_sum.dtype)
    return log_sum - tf.math.log(count)


def kl_warm_up(
    step: TensorLike, num_steps: int, initial_value: float = 0.0
) -> tf.Tensor:
    """KL warm-up: a weight for `elbo` that grows linearly to 1.

    As in Sonderby et al. (2016), https://arxiv.org/abs/1602.02282, and van den Berg et
    al. (2018), https://arxiv.org/abs/1803.05649, in which it grows over the first 100
    epochs.

    >>> from tfp_flows import variational
    >>> [float(variational.kl_warm_up(step, num_steps=4)) for step in (0, 1, 4, 9)]
    [0.0, 0.25, 1.0, 1.0]

    Args:
      step: index of the step or epoch, from 0.
      num_steps: number of steps until the weight is 1; with 0 it is 1 from the first.
      initial_value: weight at step 0.

    Returns:
      beta: float32 tensor, `min(1, initial_value + (1 - initial_value) step /
        num_steps)`.

    Raises:
      ValueError: `num_steps` is negative.
    """
    if num_steps < 0:
        raise ValueError(f"`num_steps` must be at least 0; got {num_steps}.")
    fraction = tf.cast(step, tf.float32) / num_steps if num_steps else 1.0
    return tf.minimum(1.0, initial_value + (1.0 - initial_value) * fraction)
