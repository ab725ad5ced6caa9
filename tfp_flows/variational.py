"""Bounds of the evidence for posteriors that are flows.

`log p(x) >= E_q[log p(x | z) + log p(z) - log q(z | x)]`. Where `q` is a flow,
`z = f(z_0)`, this is `E_q0[log p(x, f(z_0)) - log q_0(z_0) + log |det f'(z_0)|]`:
sample and density come from one pass forward, and no inverse is taken.
`sample_and_log_probs` draws from any `tfd.Distribution`, and the other functions make
bounds of what was drawn.
"""

import collections
import numbers

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

__all__ = [
    "PosteriorSamples",
    "elbo",
    "importance_weighted_bound",
    "kl_warm_up",
    "log_marginal_likelihood",
    "sample_and_log_probs",
]

tfd = tfp.distributions


class PosteriorSamples(
    collections.namedtuple(
        "PosteriorSamples", ["z", "log_likelihood", "log_prior", "log_posterior"]
    )
):
    """Samples of a posterior, `[S, ..., D]`, and log-densities there, `[S, ...]`.

    `log_likelihood` is `log p(x | z)`, `log_prior` is `log p(z)`, `log_posterior` is
    `log q(z | x)`, in nats. Without a prior, `log_prior` is None and `log_likelihood`
    is `log p(x, z)`.
    """

    __slots__ = ()

    @property
    def log_weight(self):
        """Log importance weights, `log p(x, z) - log q(z | x)`, `[S, ...]`."""
        return self.log_joint - self.log_posterior

    @property
    def log_joint(self):
        """`log p(x, z)`, `[S, ...]`."""
        if self.log_prior is None:
            return self.log_likelihood
        return self.log_likelihood + self.log_prior


def sample_and_log_probs(
    posterior,
    log_likelihood,
    prior=None,
    num_samples=1,
    *,
    seed=None,
    stopped_posterior=None,
):
    """Draws from a posterior, and evaluates the terms of the bounds there.

    Args:
      posterior: `q(z | x)`, a reparameterized `tfd.Distribution`, batch shape `[...]`.
      log_likelihood: callable from `z`, of shape `[S, ..., *event_shape]`, to
        `log p(x | z)`, of shape `[S, ...]`. Without a `prior`, to `log p(x, z)`: such
        as `lambda z: joint.log_prob(z=z, x=x)` for a `tfd.JointDistributionNamed`.
      prior: `tfd.Distribution` of `z`, or None.
      num_samples: `S`.
      seed: stateless seed; None for other samples in each call.
      stopped_posterior: the same posterior with parameters through
        `tf.stop_gradient`. Then `log q` is its density at the samples: their gradient
        alone counts, which has no variance where the posterior is exact (Roeder et al.
        2017, "Sticking the landing", https://arxiv.org/abs/1703.09194). This takes the
        inverse of a flow. Weights within it, as those of "iaf", are not stopped: their
        gradient is right, but keeps its variance.

    Returns:
      terms: `PosteriorSamples`.

    Raises:
      TypeError: a posterior or the prior is no distribution, or `log_likelihood` not
        callable.
      ValueError: samples of the posterior have no gradient, `num_samples` is below 1,
        or `log_likelihood` or the prior returns another shape.
      tf.errors.InvalidArgumentError: a term is NaN or infinite; the message names it.
        XLA leaves that check out: there it is NaN in what is returned.
    """
    optional = dict(prior=prior, stopped_posterior=stopped_posterior)
    given = {name: value for name, value in optional.items() if value is not None}
    for name, value in dict(posterior=posterior, **given).items():
        if not isinstance(value, tfd.Distribution):
            raise TypeError(
                f"`{name}` must be a `tfd.Distribution`; got {value!r}. A family gives "
                "one for the output of an encoder: `family(parameters)`."
            )
    if not callable(log_likelihood):
        raise TypeError(
            "`log_likelihood` must be callable, from `z` to log p(x | z); "
            f"got {log_likelihood!r}."
        )
    if posterior.reparameterization_type != tfd.FULLY_REPARAMETERIZED:
        raise ValueError(
            "`posterior` must be reparameterized, so that its samples have gradients; "
            f"got {posterior!r}."
        )
    if num_samples < 1:
        raise ValueError(f"`num_samples` must be at least 1; got {num_samples}.")
    z, log_posterior = posterior.experimental_sample_and_log_prob(
        [num_samples], seed=seed
    )
    if stopped_posterior is not None:
        log_posterior = stopped_posterior.log_prob(tf.identity(z))
    values = dict(log_likelihood=log_likelihood(z), log_posterior=log_posterior)
    if prior is not None:
        values["log_prior"] = prior.log_prob(z)
    for name, value in values.items():
        value = values[name] = tf.convert_to_tensor(value)
        if not value.shape.is_compatible_with(log_posterior.shape):
            given = "prior.log_prob" if name == "log_prior" else name
            raise ValueError(
                f"`{given}` must return one number for each sample, of shape "
                f"{log_posterior.shape}; got {value.shape}."
            )
    checked = {
        name: tf.debugging.check_numerics(value, f"`{name}` must be finite")
        for name, value in values.items()
    }
    return PosteriorSamples(z, **{"log_prior": None, **checked})


def elbo(terms, beta=1.0, free_nats=None, temperature=1.0):
    """Evidence lower bound, `E_q[log p(x | z)] - beta (log q(z | x) - log p(z))`.

    Where all terms are of a joint density, drawn without a `prior`, there is no
    divergence to weigh, but an energy to heat, for a warm-up that finds all modes. At a
    temperature this is `E_q[log p(x, z) / temperature - log q(z | x)]`: equation 20 of
    Rezende and Mohamed (2015), https://arxiv.org/abs/1505.05770, whose weight of the
    energy, from 0.01 to 1, is `1 / temperature`.

    Args:
      terms: `PosteriorSamples`.
      beta: weight of the divergence from the prior: below 1 for a warm-up (see
        `kl_warm_up`), tempering or a beta-VAE; 1 is the bound.
      free_nats: if given, the mean divergence over samples and batch counts as at least
        that much: below it, it has no gradient (free bits of Kingma et al. 2016,
        https://arxiv.org/abs/1606.04934, with all of `z` as one group).
      temperature: what the logarithm of the joint density is divided by: above 1 for a
        warm-up, as `1 / warm_up(step, num_steps, start=0.01)`; 1 is the bound.

    Returns:
      bound: shape `[...]`, the mean over samples, in nats. Maximize its mean.

    Raises:
      TypeError: `terms` are no `PosteriorSamples`.
      ValueError: there is a `beta` or are `free_nats` for terms without a prior, or
        with a `temperature`; `temperature` is a number that is not above 0.
    """
    _check_terms(terms)
    weighs = free_nats is not None or not _is_one(beta)
    if weighs and terms.log_prior is None:
        raise ValueError(
            "`beta` and `free_nats` must be left out for terms of a joint density, in "
            "which there is no divergence from a prior to weigh; got "
            f"beta={beta!r} and free_nats={free_nats!r}. Draw with `prior`, and with a "
            "`log_likelihood` that leaves it out; or give the `temperature` of the "
            "energy, 1 / beta."
        )
    if not _is_one(temperature):
        if weighs:
            raise ValueError(
                "`temperature` must be 1 with `beta` or `free_nats`; got "
                f"temperature={temperature!r}, beta={beta!r}, free_nats={free_nats!r}."
            )
        known = tf.get_static_value(temperature)
        if known is not None and not np.all(known > 0.0):
            raise ValueError(f"`temperature` must be above 0; got {temperature!r}.")
        log_joint = terms.log_joint / tf.cast(temperature, terms.log_joint.dtype)
        return tf.reduce_mean(log_joint - terms.log_posterior, axis=0)
    if terms.log_prior is None:
        return tf.reduce_mean(terms.log_weight, axis=0)
    divergence = terms.log_posterior - terms.log_prior
    if free_nats is not None:
        free = tf.convert_to_tensor(free_nats, divergence.dtype)
        enough = tf.reduce_mean(divergence) >= free
        divergence = tf.where(enough, divergence, free)
    return tf.reduce_mean(
        terms.log_likelihood - tf.cast(beta, divergence.dtype) * divergence, axis=0
    )


def importance_weighted_bound(terms):
    """Bound of Burda et al. (2016), https://arxiv.org/abs/1509.00519.

    `log (1/S) sum_s p(x, z_s) / q(z_s | x)`: the evidence lower bound for one sample,
    and the log evidence for many.

    Args:
      terms: `PosteriorSamples`.

    Returns:
      bound: shape `[...]`, in nats.

    Raises:
      TypeError: `terms` are no `PosteriorSamples`.
    """
    _check_terms(terms)
    return tfp.math.reduce_logmeanexp(terms.log_weight, axis=0)


def _check_terms(terms):
    """Raises `TypeError` for what `sample_and_log_probs` did not return."""
    if not isinstance(terms, PosteriorSamples):
        raise TypeError(
            "`terms` must be what `sample_and_log_probs(posterior, log_likelihood, "
            "prior)` returns; "
            f"got {terms!r}."
        )


def _is_one(weight):
    """Returns whether a weight is the number 1, as it is when nobody gave another."""
    return isinstance(weight, numbers.Real) and weight == 1


def log_marginal_likelihood(
    posterior,
    log_likelihood,
    prior=None,
    num_samples=5000,
    *,
    seed,
    samples_at_once=100,
):
    """Estimates `log p(x)` by importance sampling, in bounded memory.

    It is `importance_weighted_bound` of that many samples: low by about half the
    relative variance of the mean weight.

    Args:
      posterior, log_likelihood, prior: as for `sample_and_log_probs`.
      num_samples: number of samples, rounded up to a multiple of `samples_at_once`.
      seed: stateless seed, or an integer.
      samples_at_once: number of samples that are in memory.

    Returns:
      log_marginal: shape `[...]`, in nats. No gradient flows through it.

    Raises:
      ValueError: a number is below 1; or as for `sample_and_log_probs`.
    """
    if min(num_samples, samples_at_once) < 1:
        raise ValueError(
            "`num_samples` and `samples_at_once` must be at least 1; "
            f"got {num_samples} and {samples_at_once}."
        )
    if isinstance(seed, numbers.Integral):
        seed = [0, int(seed)]
    seed = tfp.random.sanitize_seed(seed)
    rounds = -(-num_samples // samples_at_once)

    def total(seed):
        drawn = sample_and_log_probs(
            posterior, log_likelihood, prior, samples_at_once, seed=seed
        )
        return tf.stop_gradient(tf.reduce_logsumexp(drawn.log_weight, axis=0))

    def body(i, seed, so_far):
        now, later = tf.unstack(tfp.random.split_seed(seed, n=2))
        return i + 1, later, tfp.math.log_add_exp(so_far, total(now))

    first, rest = tf.unstack(tfp.random.split_seed(seed, n=2))
    _, _, result = tf.while_loop(
        lambda i, *_: i < rounds,
        body,
        [tf.constant(1), rest, total(first)],
        parallel_iterations=1,
    )
    count = tf.cast(rounds * samples_at_once, result.dtype)
    return result - tf.math.log(count)


def kl_warm_up(step, num_steps, start=0.0):
    """Weight for `elbo` that grows from `start` to 1 within some steps, and stays.

    As in Sonderby et al. (2016), https://arxiv.org/abs/1602.02282, and van den Berg et
    al. (2018), where it grows over the first 100 epochs.

    Args:
      step: number of steps, or epochs, that have been: a number or tensor.
      num_steps: number of them until it is 1; 0 for 1 from the first.
      start: weight of the first step.

    Returns:
      beta: float32 tensor, `min(1, start + (1 - start) step / num_steps)`.

    Raises:
      ValueError: `num_steps` is negative.
    """
    if num_steps < 0:
        raise ValueError(f"`num_steps` must not be negative; got {num_steps}.")
    share = tf.cast(step, tf.float32) / num_steps if num_steps else 1.0
    return tf.minimum(1.0, start + (1.0 - start) * share)
