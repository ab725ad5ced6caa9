# %% [markdown]
# # Energy fitting: planar flows without data
#
# Given is an energy $U(z)$, and wanted is the density $p(z) = \exp(-U(z)) / Z$, with
# unknown $Z$, as for a posterior or in physics. There are no samples of $p$. A flow $q$
# is fitted to its own samples, by minimizing the reverse Kullback-Leibler divergence
#
# $$\mathrm{KL}(q \,\|\, p) = E_q[\log q(z) + U(z)] + \log Z.$$
#
# Samples of $q$ are differentiable functions of its parameters, so gradients pass
# through them into the energy. $\log Z$ is a constant. Training samples and never
# inverts, and so planar layers are used in the direction in which they are cheap:
# `invert=False`. The energies are those of [Rezende and Mohamed
# (2015)](https://arxiv.org/abs/1505.05770), table 1. Soft walls at $|z_1| = 4$ confine
# the last three.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import flows

tfb, tfd = tfp.bijectors, tfp.distributions


# %%
def bump(distance, width):
    return -0.5 * (distance / width) ** 2


def wall(z1):
    return -bump(tf.maximum(tf.abs(z1) - 4.0, 0.0), 0.2)


def log_sum(*logs):
    return tf.reduce_logsumexp(tf.stack(logs), axis=0)


def two_moons(z1, z2):
    radius = tf.sqrt(tf.maximum(z1**2 + z2**2, 1e-12))
    return -bump(radius - 2.0, 0.4) - log_sum(bump(z1 - 2.0, 0.6), bump(z1 + 2.0, 0.6))


def wave(z1, z2):
    return wall(z1) - bump(z2 - tf.sin(0.5 * np.pi * z1), 0.4)


def split_wave(z1, z2):
    height = z2 - tf.sin(0.5 * np.pi * z1)
    away = 3.0 * tf.exp(bump(z1 - 1.0, 0.6))
    return wall(z1) - log_sum(bump(height, 0.35), bump(height + away, 0.35))


def forked_wave(z1, z2):
    height = z2 - tf.sin(0.5 * np.pi * z1)
    away = 3.0 * tf.sigmoid((z1 - 1.0) / 0.3)
    return wall(z1) - log_sum(bump(height, 0.4), bump(height + away, 0.35))


energies = [two_moons, wave, split_wave, forked_wave]

# %% [markdown]
# ## Training
#
# The base distribution is a Gaussian whose mean and scales are trained, too: it spares
# the layers from learning shifts and scalings. The energy is multiplied by a factor
# that rises from 0.01 to 1 in the first half of training (annealing): at first the
# modes of the target are connected, so that the flow covers all of them.

# %%
num_steps = 3000
num_samples = 128


def planar_flow(num_layers, mean=(0.0, 0.0), stddev=1.0):
    base = tfd.MultivariateNormalDiag(
        tf.Variable(mean), tfp.util.TransformedVariable([stddev] * 2, tfb.Exp())
    )
    flow = flows.planar(2, num_layers, seed=0)
    return tfd.TransformedDistribution(base, flow.bijector)


def fit(flow, energy, annealing=0.5):
    variables = flow.trainable_variables
    schedule = keras.optimizers.schedules.CosineDecay(0.02, num_steps)
    optimizer = keras.optimizers.Adam(schedule, beta_2=0.99)
    optimizer.build(variables)

    @tf.function(jit_compile=True)
    def train(seed):
        for step in tf.range(num_steps):
            ramp = tf.cast(step + 1, tf.float32) / max(1.0, annealing * num_steps)
            weight = tf.minimum(1.0, 0.01 + ramp)
            with tf.GradientTape() as tape:
                z, log_q = flow.experimental_sample_and_log_prob(
                    num_samples, seed=tf.stack([seed, step])
                )
                loss = tf.reduce_mean(log_q + weight * energy(*tf.unstack(z, axis=-1)))
            optimizer.apply(tape.gradient(loss, variables), variables)

    train(tf.constant(0))


# %% [markdown]
# ## Checks on a grid
#
# In the plane, $Z$ is a sum over a grid, so the divergence itself can be computed: once
# from samples, and once as a sum over the grid. The latter evaluates the density of the
# flow at given points, which takes the inverse of every layer. Planar layers have no
# closed-form inverse; here it is computed to machine precision, and the density sums to
# 1 over the grid.

# %%
line = np.linspace(-6.0, 6.0, 241, dtype=np.float32)
grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
cell = 0.05**2


def log_target(energy):
    """Returns log p at the points of the grid, and log Z."""
    log_p = -np.float64(energy(*grid.T))
    log_z = np.log(cell * np.sum(np.exp(log_p)))
    return log_p - log_z, log_z


def evaluate(flow, energy):
    log_p, log_z = log_target(energy)
    log_q = np.float64(tf.function(flow.log_prob)(grid))
    z, log_q_z = flow.experimental_sample_and_log_prob(20_000, seed=[0, 1])
    sampled = np.mean(log_q_z + energy(*tf.unstack(z, axis=-1))) + log_z
    summed = cell * np.sum(np.exp(log_q) * (log_q - log_p))
    return np.exp(log_q), sampled, summed, cell * np.sum(np.exp(log_q))


depths = [2, 16]
pictures = [[np.exp(log_target(energy)[0]) for energy in energies]]
titles = [[energy.__name__.replace("_", " ") for energy in energies]]
for depth in depths:
    pictures.append([])
    titles.append([])
    for energy in energies:
        flow = planar_flow(depth)
        fit(flow, energy)
        density, sampled, summed, mass = evaluate(flow, energy)
        pictures[-1].append(density)
        titles[-1].append(f"{depth} layers: {summed:.3f} nats")
        print(
            f"{energy.__name__:12} {depth:2} layers: KL from samples {sampled:6.3f}, "
            f"on the grid {summed:6.3f} nats; sum of the density {mass:.4f}"
        )

# %% [markdown]
# Two layers cannot represent these densities; 16 come within about 0.1 nats.
#
# ## Mode seeking
#
# The reverse divergence weights errors by $q$: it does not penalize a mode that $q$
# never visits. A flow that starts within one of two equal modes, without annealing,
# stays there, and its divergence is $\log 2 \approx 0.693$ nats. With annealing, it
# finds both.

# %%
for annealing in [0.0, 0.5]:
    flow = planar_flow(8, mean=(2.0, 0.0), stddev=0.3)
    fit(flow, two_moons, annealing)
    print(
        f"annealing {annealing}: KL(q || p) = {evaluate(flow, two_moons)[1]:.3f} nats"
    )

# %%
figure, axes = plt.subplots(3, 4, figsize=(9.0, 7.1), layout="constrained")
for row, values, names in zip(axes, pictures, titles):
    for ax, density, target, name in zip(row, values, pictures[0], names):
        square = np.reshape(density, [241, 241])[20:-20, 20:-20]
        ax.imshow(square, origin="lower", cmap="magma", vmin=0.0, vmax=target.max())
        ax.set(xticks=[], yticks=[], title=name)
figure.savefig("energy_fitting.png", dpi=100)
plt.show()
