# %% [markdown]
# # A GAN, a VAE and a flow on the same data
#
# All three turn latents $z$, standard normal, into data $x$ by a network. They differ
# in what they can say about an $x$ that is given, and therefore in how they are
# trained. Let $p$ be the density of the data, and $q$ that of the model.
#
# - A **flow** is invertible, so $q(x)$ is exact. Maximum likelihood minimizes
#   $KL(p \| q)$: the flow covers all data, and pays with points in between.
# - A **VAE** decodes $z$ to a distribution $q(x \mid z)$. Its density is an integral
#   over $z$; training maximizes a lower bound of $\log q(x)$.
# - A **GAN** ([Goodfellow et al., 2014](https://arxiv.org/abs/1406.2661)) has a
#   generator and no density. A discriminator learns to tell data from samples, and the
#   generator learns to deceive it.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import flows, variational

tfd = tfp.distributions

# %% [markdown]
# ## Data
#
# A ring of eight narrow Gaussians, whose density is known.

# %%
num_points = 20_000

angles = 2.0 * np.pi * np.arange(8) / 8
centers = np.float32(2.8 * np.stack([np.cos(angles), np.sin(angles)], axis=-1))
truth = tfd.MixtureSameFamily(
    tfd.Categorical(logits=tf.zeros(8)),
    tfd.MultivariateNormalDiag(centers, tf.fill([8, 2], 0.1)),
)
train, test = truth.sample(num_points, seed=[0, 0]), truth.sample(2000, seed=[0, 1])
prior = tfd.Sample(tfd.Normal(0.0, 1.0), 2)


def dense(num_outputs, seed):
    keras.utils.set_random_seed(seed)
    body = [keras.layers.Dense(128, "leaky_relu") for _ in range(2)]
    return keras.Sequential([keras.Input([2]), *body, keras.layers.Dense(num_outputs)])


def weights(*networks):
    return [v.value for network in networks for v in network.trainable_variables]


# %% [markdown]
# ## Three losses
#
# The VAE's decoder predicts a Gaussian; its encoder predicts a posterior with four
# planar layers. Discriminator outputs are logits: its loss is the cross-entropy of the
# labels "data" and "sample", and the generator maximizes the logits of its samples.
# Noise on the discriminator's inputs, which fades, lets data and samples overlap.

# %%
num_steps = 1500
softplus = tf.nn.softplus

flow = flows.neural_spline(2, 4, (64, 64), seed=0)
conditional_posterior = flows.amortized_posterior(2, "planar", num_layers=4)
encoder, decoder = dense(conditional_posterior.num_parameters, 1), dense(4, 2)
generator, discriminator = dense(2, 3), dense(1, 4)


def likelihood(z):
    outputs = tf.reshape(decoder(tf.reshape(z, [-1, 2])), [*z.shape[:-1], 4])
    loc, scale = tf.split(outputs, 2, axis=-1)
    return tfd.MultivariateNormalDiag(loc, softplus(scale) + 0.01)


def sample_posterior(x, num_samples, seed):
    return variational.sample_and_log_probs(
        conditional_posterior(encoder(x)),
        lambda z: likelihood(z).log_prob(x),
        prior,
        num_samples,
        seed=seed,
    )


def flow_loss(x, seed, progress):
    return -tf.reduce_mean(flow.log_prob(x))


def vae_loss(x, seed, progress):
    beta = variational.kl_warm_up(0.1 + progress, 0.25)
    return -tf.reduce_mean(variational.elbo(sample_posterior(x, 1, seed), beta))


def blurred(x, seed, progress):
    noise = tf.random.stateless_normal(tf.shape(x), seed)
    return x + 0.5 * (1.0 - progress) * noise


def discriminator_loss(x, seed, progress):
    fake = generator(prior.sample(len(x), seed=seed))
    real_logits = discriminator(blurred(x, seed + 1, progress))
    fake_logits = discriminator(blurred(fake, seed + 2, progress))
    return tf.reduce_mean(softplus(-real_logits) + softplus(fake_logits))


def generator_loss(x, seed, progress):
    fake = blurred(generator(prior.sample(len(x), seed=seed + 3)), seed + 4, progress)
    return tf.reduce_mean(softplus(-discriminator(fake)))


def fit(losses, num_steps, rate, beta_1=0.9):
    """Minimizes several losses in turn, each by its own variables."""
    schedule = keras.optimizers.schedules.CosineDecay(rate, num_steps)
    options = dict(beta_1=beta_1, global_clipnorm=5.0)
    optimizers = [keras.optimizers.Adam(schedule, **options) for _ in losses]
    for optimizer, (_, variables) in zip(optimizers, losses):
        optimizer.build(variables)

    @tf.function(jit_compile=True)
    def train_step(step):
        rows = tf.random.stateless_uniform([256], [0, step], 0, num_points, tf.int32)
        progress = tf.cast(step, tf.float32) / num_steps
        for (loss, variables), optimizer in zip(losses, optimizers):
            with tf.GradientTape() as tape:
                value = loss(tf.gather(train, rows), tf.stack([1, 10 * step]), progress)
            optimizer.apply(tape.gradient(value, variables), variables)

    for step in range(num_steps):
        train_step(tf.constant(step))


fit([(flow_loss, list(flow.trainable_variables))], num_steps, 5e-3)
fit([(vae_loss, weights(encoder, decoder))], 3 * num_steps, 3e-3)
game = [(discriminator_loss, weights(discriminator))]
game += [(generator_loss, weights(generator))]
fit(game, 2 * num_steps, 1e-3, beta_1=0.5)

# %% [markdown]
# ## Comparison
#
# `log q(x)` of held-out points is exact for the flow and an estimate by 500 weighted
# samples for the VAE; a GAN has none. Samples of all three are judged by the true
# density: its mean log, the fraction of samples farther from all centers than 99.9 % of
# the data, and the number of modes with at least a quarter of their share. Samples of
# the flow and of the VAE lie between the modes, too; those of the GAN lie on threads
# between modes that are too narrow.

# %%
samples = {
    "data": test.numpy(),
    "flow": flow.sample(2000, seed=[0, 2]).numpy(),
    "VAE": likelihood(prior.sample(2000, seed=[0, 3])).sample(seed=[0, 4]).numpy(),
    "GAN": generator(prior.sample(2000, seed=[0, 5])).numpy(),
}
log_q = {
    "data": truth.log_prob(test),
    "flow": flow.log_prob(test),
    "VAE": variational.importance_weighted_bound(sample_posterior(test, 500, [0, 6])),
}
print("       log q(x)   log p(samples)   off the data   modes")
for name, points in samples.items():
    nats = f"{np.mean(log_q[name]):8.3f}" if name in log_q else "       -"
    log_p = np.mean(truth.log_prob(points))
    near = np.linalg.norm(points[:, np.newaxis] - centers, axis=-1) < 0.372
    modes = np.sum(np.mean(near, axis=0) > 0.25 / 8)
    off = 1.0 - np.mean(np.any(near, axis=1))
    print(f"{name:6} {nats} {log_p:16.2f} {off:14.1%} {modes:7}")

# %%
figure, axes = plt.subplots(1, 4, figsize=(10.0, 2.9), layout="constrained")
for ax, (name, points) in zip(axes, samples.items()):
    ax.hist2d(*points.T, bins=100, range=[(-3.5, 3.5)] * 2, cmap="magma", vmax=6)
    title = name if name == "data" else f"samples of the {name}"
    ax.set(title=title, xticks=[], yticks=[], aspect="equal")
figure.savefig("gan_vae_flow.png", dpi=100)
plt.show()
