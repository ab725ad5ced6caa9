# %% [markdown]
# # A variational autoencoder with a flow as its posterior
#
# A variational autoencoder explains an image $x$ by a few latent variables $z$. A
# decoder predicts $p(x \mid z)$; an encoder predicts an approximate posterior
# $q(z \mid x)$. Both are trained to maximize a lower bound, the ELBO:
#
# $$\log p(x) \ge E_q[\log p(x \mid z)] - E_q[\log q(z \mid x) - \log p(z)].$$
#
# The gap is the divergence of $q$ from the true posterior. A Gaussian $q$ with a
# diagonal covariance cannot follow a posterior that is curved or correlated. A flow
# can: the encoder predicts the parameters of a few layers that transform the Gaussian,
# per example ([Rezende and Mohamed, 2015](https://arxiv.org/abs/1505.05770)).

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
import sklearn.datasets
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import flows, variational

tfd = tfp.distributions

# %% [markdown]
# ## Data
#
# The digits of scikit-learn. A pixel is one of 17 integers; it is modeled as a binomial
# variable of 16 trials, whose probability the decoder predicts.

# %%
data = sklearn.datasets.load_digits()
order = np.random.RandomState(0).permutation(len(data.target))
images, labels = np.float32(data.data[order]), data.target[order]
train, test = tf.constant(images[:1400]), images[1400:]

# %% [markdown]
# ## Model
#
# `amortized_posterior` builds a conditional distribution: a callable from
# `num_parameters` outputs of the encoder to $q(z \mid x)$. Two latent variables are
# few, but they can be drawn.

# %%
num_steps = 2000
batch_size = 100
num_latents = 2

prior = tfd.Sample(tfd.Normal(0.0, 1.0), num_latents)


def dense(num_inputs, num_outputs, seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input([num_inputs]),
            keras.layers.Dense(256, "gelu"),
            keras.layers.Dense(256, "gelu"),
            keras.layers.Dense(num_outputs, kernel_initializer="zeros"),
        ]
    )


class VAE:
    def __init__(self, conditional_posterior, seed):
        self.conditional_posterior = conditional_posterior
        self.encoder = dense(64, conditional_posterior.num_parameters, seed)
        self.decoder = dense(num_latents, 64, seed + 1)
        # Layers whose parameters are all 0 are the identity, and have no gradient.
        bias = self.encoder.layers[-1].bias
        bias.assign(0.3 * np.random.default_rng(seed).normal(size=bias.shape))
        self.variables = [
            variable.value
            for network in (self.encoder, self.decoder)
            for variable in network.trainable_variables
        ]

    def posterior(self, x):
        return self.conditional_posterior(self.encoder(x / 16.0))

    def likelihood(self, z):
        logits = self.decoder(tf.reshape(z, [-1, num_latents]))
        logits = tf.reshape(logits, [*z.shape[:-1], 64])
        return tfd.Independent(tfd.Binomial(16.0, logits=logits), 1)

    def samples(self, x, num_samples, seed):
        """Samples z from q(z | x), with the three log densities that the ELBO needs."""
        return variational.sample_and_log_probs(
            self.posterior(x),
            lambda z: self.likelihood(z).log_prob(x),
            prior,
            num_samples,
            seed=seed,
        )


# %% [markdown]
# ## Training
#
# The ELBO is estimated with one sample per image. `kl_warm_up` raises the weight of the
# second term from 0 to 1 over the first quarter of the steps, so that the latent
# variables are not ignored.


# %%
def fit(model):
    optimizer = keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(2e-3, num_steps), global_clipnorm=5.0
    )
    optimizer.build(model.variables)

    @tf.function(jit_compile=True)
    def train_step(step):
        seeds = tfp.random.split_seed(tf.stack([0, step]), n=2)
        rows = tf.random.stateless_uniform([batch_size], seeds[0], 0, 1400, tf.int32)
        beta = variational.kl_warm_up(tf.cast(step, tf.float32), num_steps // 4)
        with tf.GradientTape() as tape:
            samples = model.samples(tf.gather(train, rows), 1, seeds[1])
            loss = -tf.reduce_mean(variational.elbo(samples, beta))
        optimizer.apply(tape.gradient(loss, model.variables), model.variables)

    for step in range(num_steps):
        train_step(tf.constant(step))


models = {}
for name in ["gaussian", "planar"]:
    posterior = flows.amortized_posterior(num_latents, name, num_layers=8)
    models[name] = VAE(posterior, seed=0)
    fit(models[name])

# %% [markdown]
# ## Bounds
#
# The mean over held-out digits. Importance sampling with many samples estimates $\log
# p(x)$ itself. The flow has the higher bound and the smaller gap, and its decoder is
# the better one: it was trained with the tighter bound.

# %%
num_samples = 200

for name, model in models.items():
    samples = model.samples(test, num_samples, seed=[0, 1])
    bound = np.mean(variational.elbo(samples))
    log_prob = np.mean(variational.importance_weighted_bound(samples))
    print(
        f"{name:9} ELBO {bound:8.2f} nats, log p(x) {log_prob:8.2f} nats, "
        f"gap {log_prob - bound:.2f}"
    )

# %% [markdown]
# Left: what the decoder makes of a grid of latent variables. Neighbors look alike, and
# digits morph into one another. Right: the posterior means of the held-out digits, with
# their labels as colors.

# %%
model = models["planar"]
z = np.mean(model.posterior(test).sample(50, seed=[0, 2]), axis=0)
num_tiles = 16
edges = (np.arange(num_tiles) + 0.5) / num_tiles
quantiles = np.float32(tfd.Normal(0.0, 1.0).quantile(edges))
grid = np.stack(np.meshgrid(quantiles, quantiles[::-1]), axis=-1)
tiles = model.likelihood(tf.constant(grid)).mean().numpy()
tiles = tiles.reshape(num_tiles, num_tiles, 8, 8).transpose(0, 2, 1, 3)

figure, axes = plt.subplots(1, 2, figsize=(9.0, 4.4), layout="constrained")
axes[0].imshow(tiles.reshape(8 * num_tiles, -1), cmap="gray_r", vmax=16)
axes[0].set(title="decoded grid of latent variables", xticks=[], yticks=[])
dots = axes[1].scatter(*z.T, s=14, c=labels[1400:], cmap="tab10", vmin=-0.5, vmax=9.5)
axes[1].set(
    title="latent variables of held-out digits", xticks=[], yticks=[], aspect="equal"
)
figure.colorbar(dots, ax=axes[1], ticks=range(10), shrink=0.8)
figure.savefig("vae.png", dpi=100)
plt.show()
