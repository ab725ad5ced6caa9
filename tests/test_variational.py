"""Tests of `tfp_flows.variational`, on models whose evidence is known."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.laws import close
from tfp_flows import flows, variational

tfd = tfp.distributions

NOISE = 0.7  # x = z + NOISE * e, both standard normal, of two elements
X = np.array([[1.0, -2.0], [0.3, 0.8], [-1.5, 0.1]])
PRIOR = tfd.MultivariateNormalDiag(tf.zeros([2], tf.float64), tf.ones([2], tf.float64))
SHRINK = 1.0 / (1.0 + NOISE**2)


def log_likelihood(z):
    return tf.reduce_sum(tfd.Normal(z, np.float64(NOISE)).log_prob(X), axis=-1)


def evidence():
    total = tfd.Normal(np.float64(0.0), np.sqrt(1.0 + NOISE**2))
    return tf.reduce_sum(total.log_prob(X), axis=-1)


def gaussian(shift=0.0, stretch=1.0):
    """The exact posterior, or one that is moved from it."""
    scale = np.full([3, 2], stretch * NOISE * np.sqrt(SHRINK))
    return tfd.MultivariateNormalDiag(tf.constant(SHRINK * X + shift), scale)


def divergence(shift, stretch):
    """KL of the moved posterior from the exact one, in closed form."""
    scale = NOISE * np.sqrt(SHRINK)
    return 2 * (0.5 * (stretch**2 + (shift / scale) ** 2 - 1.0) - np.log(stretch))


def test_bounds_of_the_exact_posterior_are_the_evidence():
    drawn = variational.sample_and_log_probs(
        gaussian(), log_likelihood, PRIOR, 5, seed=[0, 1]
    )
    assert drawn.z.shape == [5, 3, 2]
    close(drawn.log_weight, np.broadcast_to(evidence(), [5, 3]), 1e-12)
    close(variational.elbo(drawn), evidence(), 1e-12)
    close(variational.importance_weighted_bound(drawn), evidence(), 1e-12)
    estimate = variational.log_marginal_likelihood(
        gaussian(), log_likelihood, PRIOR, 250, seed=0
    )
    close(estimate, evidence(), 1e-12)


def test_elbo_is_the_evidence_less_the_divergence():
    moved = gaussian(0.3, 1.4)
    drawn = variational.sample_and_log_probs(
        moved, log_likelihood, PRIOR, 100_000, seed=[0, 2]
    )
    expected = evidence() - divergence(0.3, 1.4)
    error = np.std(drawn.log_weight, axis=0) / np.sqrt(1e5)
    assert np.all(error < 0.01) and divergence(0.3, 1.4) > 0.3
    assert np.all(np.abs(variational.elbo(drawn) - expected) < 5.0 * error)
    kl = moved.kl_divergence(PRIOR)
    tempered = variational.elbo(drawn, beta=0.25)
    close(tempered - variational.elbo(drawn), 0.75 * kl, 0.02)


def log_joint(z):
    return log_likelihood(z) + PRIOR.log_prob(z)


def test_terms_of_a_joint_density_give_the_same_bounds():
    apart = variational.sample_and_log_probs(
        gaussian(0.3, 1.4), log_likelihood, PRIOR, 5, seed=[0, 1]
    )
    joint = variational.sample_and_log_probs(
        gaussian(0.3, 1.4), log_joint, None, 5, seed=[0, 1]
    )
    assert joint.log_prior is None
    for bound in [
        variational.elbo,
        variational.importance_weighted_bound,
        lambda terms: terms.log_weight,
        lambda terms: terms.log_joint,
        lambda terms: variational.elbo(terms, temperature=3.0),
    ]:
        close(bound(joint), bound(apart), 1e-12)
    in_graph = tf.function(
        lambda: variational.sample_and_log_probs(
            gaussian(0.3, 1.4), log_joint, None, 5, seed=[0, 1]
        )
    )
    close(variational.elbo(in_graph()), variational.elbo(joint), 1e-12)


@pytest.mark.parametrize("temperature", [1.0, 100.0, 0.5, tf.constant(4.0)])
def test_a_temperature_divides_the_energy(temperature):
    drawn = variational.sample_and_log_probs(
        gaussian(0.3, 1.4), log_joint, None, 5, seed=[0, 1]
    )
    beta = 1.0 / float(temperature)  # of equation 20
    log_q = gaussian(0.3, 1.4).log_prob(drawn.z)
    expected = np.mean(beta * log_joint(drawn.z) - log_q, axis=0)
    close(variational.elbo(drawn, temperature=temperature), expected, 1e-12)


def test_what_is_best_at_a_temperature_is_that_much_wider():
    # Of N(0, 1), heated by 4, the best Gaussian is N(0, 4), and the bound its log Z.
    best = tfd.MultivariateNormalDiag(tf.zeros([2], tf.float64), np.full([2], 2.0))
    drawn = variational.sample_and_log_probs(
        best, PRIOR.log_prob, num_samples=3, seed=[0, 1]
    )
    log_z = 2 * (0.5 * np.log(2 * np.pi * 4.0) - 0.25 * 0.5 * np.log(2 * np.pi))
    close(variational.elbo(drawn, temperature=4.0), log_z, 1e-12)


@pytest.mark.parametrize(
    "weights",
    [
        dict(beta=0.5),
        dict(beta=0.0),
        dict(beta=tf.constant(1.0)),
        dict(free_nats=1.0),
        dict(beta=variational.kl_warm_up(1, 10)),
    ],
    ids=str,
)
def test_there_is_no_divergence_to_weigh_in_a_joint_density(weights):
    drawn = variational.sample_and_log_probs(
        gaussian(), log_joint, num_samples=5, seed=[0, 1]
    )
    with pytest.raises(ValueError, match="without a prior.*Pass `prior`"):
        variational.elbo(drawn, **weights)
    apart = variational.sample_and_log_probs(
        gaussian(), log_likelihood, PRIOR, 5, seed=[0, 1]
    )
    with pytest.raises(ValueError, match="`temperature` must be 1 with `beta` or"):
        variational.elbo(apart, temperature=2.0, **weights)


def test_the_divergence_is_not_held_up_where_nothing_asks_for_it():
    low = variational.PosteriorSamples(None, *np.array([[[0.0]], [[0.0]], [[-3.0]]]))
    close(variational.elbo(low), [3.0])


def test_weighted_bounds_rise_to_the_evidence():
    moved = gaussian(0.3, 1.4)
    drawn = variational.sample_and_log_probs(
        moved, log_likelihood, PRIOR, 20_000, seed=[0, 3]
    )
    bounds = []
    for size in [1, 5, 50]:
        parts = tf.reshape(drawn.log_weight, [size, -1, 3])
        zeros = tf.zeros_like(parts)
        terms = variational.PosteriorSamples(None, parts, zeros, zeros)
        one = variational.importance_weighted_bound(terms)
        close(one, np.log(np.mean(np.exp(parts), axis=0)), 1e-12)
        bounds.append(np.mean(one, axis=0))
    assert np.all(np.diff(bounds, axis=0) > 0.0)
    close(bounds[0], variational.elbo(drawn), 1e-12)
    assert np.all(bounds[-1] < evidence() + 0.01)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_marginal_likelihood_is_that_of_all_samples_in_bounded_memory(jit_compile):
    sizes = []

    def watched(z):
        sizes.append(z.shape[0])
        return log_likelihood(z)

    def estimate():
        return variational.log_marginal_likelihood(
            gaussian(0.3, 1.4), watched, PRIOR, 30_001, seed=(0, 4), chunk_size=500
        )

    value = tf.function(estimate, jit_compile=jit_compile)()
    assert set(sizes) == {500}
    # Weights have a relative variance of about 1; 31 * 500 samples would be too low
    # by log 2 if but half of the rounds were counted.
    close(value, evidence(), 0.02)


def test_free_nats_hold_the_divergence_up_and_stop_its_gradient():
    loc = tf.Variable(0.1 * X)

    def value(free_nats):
        with tf.GradientTape() as tape:
            posterior = tfd.MultivariateNormalDiag(loc, tf.ones_like(loc))
            drawn = variational.sample_and_log_probs(
                posterior,
                lambda z: tf.zeros(z.shape[:-1], z.dtype),
                PRIOR,
                100_000,
                seed=[0, 5],
            )
            bound = tf.reduce_mean(variational.elbo(drawn, free_nats=free_nats))
        return bound, tape.gradient(bound, loc)

    bound, gradient = value(5.0)
    close(bound, -5.0, 1e-12)
    assert gradient is None or not np.any(gradient)
    bound, gradient = value(0.001)
    close(bound, -np.mean(0.5 * np.sum((0.1 * X) ** 2, axis=-1)), 0.01)
    close(gradient, -0.1 * X / 3, 0.005)


def test_the_gradient_sticks_the_landing_where_the_posterior_is_exact():
    family = flows.amortized_posterior(2, "planar", 2, dtype=tf.float64)
    parameters = np.random.RandomState(0).normal(size=[3, family.num_parameters])
    exact = family(tf.constant(parameters))

    def gradient(stopped):
        raw = tf.constant(parameters)
        with tf.GradientTape() as tape:
            tape.watch(raw)
            other = family(tf.stop_gradient(raw)) if stopped else None
            drawn = variational.sample_and_log_probs(
                family(raw),
                exact.log_prob,
                None,
                2,
                seed=[0, 6],
                stopped_surrogate_posterior=other,
            )
            bound = tf.reduce_mean(variational.elbo(drawn))
        return bound, tape.gradient(bound, raw)

    for stopped, largest in [(True, 1e-9), (False, np.inf)]:
        bound, value = gradient(stopped)
        close(bound, 0.0, 1e-9)
        assert np.max(np.abs(value)) < largest
    assert np.max(np.abs(value)) > 1e-3


def test_the_gradient_that_sticks_the_landing_has_the_same_mean():
    family = flows.amortized_posterior(2, "radial", 2, dtype=tf.float64)
    parameters = np.random.RandomState(1).normal(size=[3, family.num_parameters])
    means = []
    for stopped in (False, True):
        raw = tf.constant(parameters)
        with tf.GradientTape() as tape:
            tape.watch(raw)
            other = family(tf.stop_gradient(raw)) if stopped else None
            drawn = variational.sample_and_log_probs(
                family(raw),
                log_likelihood,
                PRIOR,
                200_000,
                seed=[0, 7],
                stopped_surrogate_posterior=other,
            )
            bound = tf.reduce_sum(variational.elbo(drawn))
        means.append(tape.gradient(bound, raw).numpy())
    assert np.max(np.abs(means[0])) > 1.0
    np.testing.assert_allclose(*means, atol=0.05)


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("name", ["log_likelihood", "log_prior", "log_posterior"])
def test_a_term_that_is_nan_is_named(name, in_graph):
    nan = tf.constant(np.nan, tf.float64)
    posterior, prior, likelihood = gaussian(), PRIOR, log_likelihood
    if name == "log_likelihood":
        likelihood = lambda z: log_likelihood(z) * nan
    elif name == "log_prior":
        prior = tfd.MultivariateNormalDiag(tf.zeros([2], tf.float64) + nan)
    else:
        posterior = tfd.MultivariateNormalDiag(
            tf.constant(X), tf.ones([2], tf.float64) * nan
        )
        likelihood, prior = (lambda z: tf.zeros(z.shape[:-1], z.dtype)), None

    def run():
        return variational.sample_and_log_probs(
            posterior, likelihood, prior, seed=[0, 8]
        )

    text = f"`{name}` must be finite"
    with pytest.raises(tf.errors.InvalidArgumentError, match=text):
        (tf.function(run) if in_graph else run)()


def test_warm_up():
    close([variational.kl_warm_up(i, 4) for i in range(6)], [0, 0.25, 0.5, 0.75, 1, 1])
    close(variational.kl_warm_up(tf.constant(1), 2, initial_value=0.5), 0.75)
    close(variational.kl_warm_up(0, 0), 1.0)


@pytest.mark.parametrize(
    "run, text",
    [
        (
            lambda: variational.sample_and_log_probs(
                tfd.Bernoulli(0.3), log_likelihood
            ),
            "reparameterized",
        ),
        (
            lambda: variational.sample_and_log_probs(
                gaussian(), log_likelihood, num_samples=0
            ),
            "got 0",
        ),
        (
            lambda: variational.sample_and_log_probs(gaussian(), lambda z: z),
            r"\(1, 3\); got \(1, 3, 2\)",
        ),
        (
            lambda: variational.log_marginal_likelihood(
                gaussian(), log_likelihood, num_samples=0, seed=0
            ),
            "at least 1; got 0 and 100",
        ),
        (
            lambda: variational.kl_warm_up(1, -1),
            "`num_steps` must be at least 0; got -1",
        ),
        # Of each element: it would broadcast against the other terms.
        (
            lambda: variational.sample_and_log_probs(
                gaussian(), log_likelihood, tfd.Normal(np.float64(0.0), 1.0)
            ),
            r"`prior.log_prob` must return .* \(1, 3\); got \(1, 3, 2\)",
        ),
        (
            lambda: variational.elbo(
                variational.sample_and_log_probs(gaussian(), log_joint), temperature=0.0
            ),
            "`temperature` must be above 0; got 0.0",
        ),
    ],
)
def test_errors(run, text):
    with pytest.raises(ValueError, match=text):
        run()


@pytest.mark.parametrize(
    "run, text",
    [
        (
            lambda: variational.elbo(gaussian()),
            "`samples` must be the `PosteriorSamples` that `sample_and_log_probs",
        ),
        (
            lambda: variational.importance_weighted_bound(gaussian()),
            "`samples` must be the",
        ),
        (
            lambda: variational.sample_and_log_probs(
                flows.amortized_posterior(2, "planar", 2), log_likelihood, PRIOR
            ),
            r"`surrogate_posterior` must be a .*called with the parameters",
        ),
        (
            lambda: variational.sample_and_log_probs(
                gaussian(), log_likelihood, PRIOR.log_prob
            ),
            "`prior` must be a `tfd.Distribution`",
        ),
        (
            lambda: variational.sample_and_log_probs(gaussian(), PRIOR),
            "`log_likelihood_fn` must be callable",
        ),
        (
            lambda: variational.log_marginal_likelihood(
                gaussian, log_likelihood, PRIOR, 5, seed=0
            ),
            "`surrogate_posterior` must be a",
        ),
    ],
)
def test_what_is_none_of_the_kind(run, text):
    with pytest.raises(TypeError, match=text):
        run()


def joint():
    """Neal's funnel, of two elements, and what was seen of the second."""
    return tfd.JointDistributionNamed(
        dict(
            z=tfd.MultivariateNormalDiag(tf.zeros([2]), tf.constant([1.0, 2.0])),
            x=lambda z: tfd.Independent(tfd.Normal(z[..., 1:], tf.exp(z[..., :1])), 1),
        )
    )


def test_flows_are_surrogate_posteriors_of_tfp_for_joint_distributions():
    pinned = joint().experimental_pin(x=tf.constant([1.5]))

    def log_joint(z):
        return pinned.unnormalized_log_prob(z=z)

    flow = flows.iaf(2, 2, (16,), seed=0)
    with_flow = tfp.vi.fit_surrogate_posterior(
        log_joint,
        flow,
        tf.keras.optimizers.Adam(1e-2),
        300,
        sample_size=50,
        seed=(0, 9),
        jit_compile=True,
    )
    assert np.all(np.isfinite(with_flow))
    drawn = variational.sample_and_log_probs(
        flow, log_joint, num_samples=5000, seed=[0, 10]
    )
    close(-np.mean(with_flow[-20:]), variational.elbo(drawn), 0.05)
    # By quadrature.
    grid = np.linspace(-8.0, 8.0, 801, dtype=np.float32)
    z = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape([-1, 2])
    exact = tf.reduce_logsumexp(log_joint(z)) + 2 * np.log(grid[1] - grid[0])
    estimate = variational.log_marginal_likelihood(flow, log_joint, seed=1)
    close(estimate, exact, 0.03)
    assert variational.elbo(drawn) < exact + 0.01
    # And they precondition chains: TFP's kernels take the bijector.
    kernel = tfp.mcmc.TransformedTransitionKernel(
        tfp.mcmc.HamiltonianMonteCarlo(log_joint, 0.3, 5), flow.bijector
    )
    samples = tf.function(
        lambda: tfp.mcmc.sample_chain(
            300,
            tf.zeros([20, 2]),
            kernel=kernel,
            num_burnin_steps=50,
            trace_fn=None,
            seed=(0, 11),
        ),
        jit_compile=True,
    )()
    weights = np.exp(log_joint(z) - exact) * (grid[1] - grid[0]) ** 2
    close(np.mean(samples, axis=(0, 1)), weights @ z, 0.25)
