# %% [markdown]
# # Flow posteriors, checked on a grid
#
# A latent-variable model explains an image $x$ by a latent $z$, with a prior $p(z)$ and
# a decoder $p(x \mid z)$. The posterior $p(z \mid x) = p(x, z) / p(x)$ is intractable
# in general. Here $z$ has two elements, so $p(x)$ is a sum over a grid, and everything
# that variational inference approximates can be computed.
#
# The digits of scikit-learn are observed through their three top rows alone. These
# leave open which digit it is, so that the posteriors are wide, bent, or in several
# pieces.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
import sklearn.datasets
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import flows, networks, variational

tfd = tfp.distributions

num_steps = 2000
prior = tfd.Sample(tfd.Normal(0.0, 1.0), 2)
images = np.float32(sklearn.datasets.load_digits().data >= 8.0)
images = np.random.default_rng(0).permutation(images)
train, test = tf.constant(images[:1400]), images[1400:1500]
num_seen = 24  # pixels of the three top rows


def maximize(objective, variables):
    """Maximizes `objective(x, seed)` of random batches `x`, with Adam."""
    schedule = keras.optimizers.schedules.CosineDecay(1e-2, num_steps)
    optimizer = keras.optimizers.Adam(schedule, global_clipnorm=10.0)
    optimizer.build(variables)

    @tf.function(jit_compile=True)
    def run():
        for step in tf.range(num_steps):
            seeds = tfp.random.split_seed(tf.stack([0, step]), n=2)
            rows = tf.random.stateless_uniform([200], seeds[0], 0, 1400, tf.int32)
            with tf.GradientTape() as tape:
                loss = -tf.reduce_mean(objective(tf.gather(train, rows), seeds[1]))
            optimizer.apply(tape.gradient(loss, variables), variables)

    run()


# %% [markdown]
# ## A decoder trained without a posterior
#
# $\log p(x)$ is computed on a grid, which a random shift keeps from being memorized,
# and maximized for whole images. So no family of posteriors has shaped this decoder.


# %%
def grid(cell, limit, shift=0.5):
    line = cell * tf.range(round(2.0 * limit / cell), dtype=tf.float32) - limit
    points = tf.stack(tf.meshgrid(line, line), axis=-1)
    return tf.reshape(points, [-1, 2]) + cell * shift


def log_joint(z, x):
    """Returns log p(x, z) for all images and points, `[N, points]`."""
    logits = decoder(z)[:, : x.shape[-1]]
    log_one, log_zero = tf.math.log_sigmoid(logits), tf.math.log_sigmoid(-logits)
    log_likelihood = tf.matmul(x, log_one, transpose_b=True)
    log_likelihood += tf.matmul(1.0 - x, log_zero, transpose_b=True)
    return log_likelihood + prior.log_prob(z)


def evidence(x, seed):
    z = grid(0.2, 4.0, tf.random.stateless_uniform([2], seed))
    smoothness = tf.add_n([tf.reduce_sum(w**2) for w in decoder.trainable_variables])
    return tf.reduce_logsumexp(log_joint(z, x), axis=1) - 5e-4 * smoothness


decoder = networks.MLP(2, [64], (32, 32), activation="tanh", seed=0)
maximize(evidence, decoder.trainable_variables)

z, cell = grid(0.1, 5.0), 0.1**2
seen = test[:, :num_seen]
log_p = tf.reduce_logsumexp(log_joint(z, seen), axis=1).numpy() + np.log(cell)
log_posterior = log_joint(z, seen).numpy() - log_p[:, np.newaxis]

# %% [markdown]
# ## Gaussian and planar posteriors
#
# The evidence lower bound (ELBO) is low by exactly one divergence:
#
# $$\log p(x) = \mathrm{ELBO} + \mathrm{KL}(q(z) \,\|\, p(z \mid x)).$$
#
# `flows.amortized_posterior` is a family of distributions whose parameters an encoder
# predicts, per example. `sample_and_log_probs` draws from them, and `elbo` is the
# bound. The three terms are computed independently: the ELBO from samples, the
# divergence from the density of the flow on the grid, $\log p(x)$ from the model on the
# grid. They agree.

# %%
densities, divergences, bounds = {}, {}, {}
for name, family in {
    "Gaussian": flows.amortized_posterior(2, "gaussian"),
    "planar, 16 layers": flows.amortized_posterior(2, "planar", 16),
}.items():
    encoder = networks.MLP(num_seen, [family.num_parameters], (64, 64), seed=0)

    def draw(x, seed, num_samples=1):
        def log_likelihood(z):
            pixels = tfd.Bernoulli(logits=decoder(z)[..., :num_seen])
            return tf.reduce_sum(pixels.log_prob(x[:, :num_seen]), axis=-1)

        posterior = family(encoder(x[:, :num_seen]))
        return variational.sample_and_log_probs(
            posterior, log_likelihood, prior, num_samples, seed=seed
        )

    maximize(
        lambda x, seed: variational.elbo(draw(x, seed, 5)), encoder.trainable_variables
    )
    samples = draw(test, [0, 1], 1000)
    elbo = variational.elbo(samples).numpy()
    log_q = tf.function(family(encoder(seen)).log_prob)(z[:, tf.newaxis]).numpy().T
    divergences[name] = cell * np.sum(np.exp(log_q) * (log_q - log_posterior), axis=1)
    densities[name] = np.exp(log_q)
    total = np.mean(elbo) + np.mean(divergences[name])
    print(
        f"{name:18} ELBO {np.mean(elbo):.3f} + KL {np.mean(divergences[name]):.3f} = "
        f"{total:.3f}, log p(x) {np.mean(log_p):.3f}"
    )
    for count in [5, 50]:
        groups = tf.nest.map_structure(
            lambda t: tf.reshape(t, [count, -1, *t.shape[1:]]), samples
        )
        bound = tf.reduce_mean(variational.importance_weighted_bound(groups))
        print(f"{'':18} importance-weighted bound, {count:2} samples: {bound:.3f}")

# %% [markdown]
# The planar flow closes more than half of the gap. What remains has two causes: no
# member of the family fits better (approximation gap), or the encoder does not predict
# the best member (amortization gap). `experiments/flow_posteriors.py` separates the two
# for seven families. Importance-weighted bounds approach $\log p(x)$ with more samples,
# and faster from a better posterior.
#
# The picture shows what is observed, the exact posterior, and both approximations. A
# Gaussian with independent elements has no slant, cannot bend, and covers one of two
# modes.

# %%
cases = np.argsort(divergences["Gaussian"])[[50, 75, 90, 97]]
columns = {"exact posterior": np.exp(log_posterior), **densities}
figure, axes = plt.subplots(4, 4, figsize=(7.2, 7.6), layout="constrained")
for row, case in zip(axes, cases):
    hidden = np.where(np.arange(64) < num_seen, test[case], 0.5)
    row[0].imshow(np.reshape(hidden, [8, 8]), cmap="gray_r", vmin=0.0, vmax=1.0)
    highest = np.sqrt(np.max(columns["exact posterior"][case]))
    for ax, (name, density) in zip(row[1:], columns.items()):
        picture = np.sqrt(np.reshape(density[case], [100, 100]))[15:-15, 15:-15]
        ax.imshow(picture, origin="lower", cmap="magma", vmin=0.0, vmax=highest)
        if name in divergences:
            ax.set_xlabel(f"KL {divergences[name][case]:.2f} nats")
for ax, title in zip(axes[0], ["observed", *columns]):
    ax.set_title(title)
for ax in axes.ravel():
    ax.set(xticks=[], yticks=[])
figure.savefig("flow_posteriors.png", dpi=100)
plt.show()
