# %% [markdown]
# # Toy densities: affine couplings and splines
#
# In the plane one can see what a flow represents well, and what it cannot. This
# tutorial fits two coupling flows of equal depth to three known densities:
#
# - `flows.real_nvp`: affine couplings shift and scale one coordinate by functions of
#   the other ([Dinh et al., 2017](https://arxiv.org/abs/1605.08803));
# - `flows.neural_spline`: couplings with monotonic rational-quadratic splines in place
#   of the affine map ([Durkan et al., 2019](https://arxiv.org/abs/1906.04032)).
#
# Since the true density $p$ is known, the Kullback-Leibler divergence $\mathrm{KL}(p
# \,\|\, q) = E_p[\log p(y) - \log q(y)]$ can be estimated from held-out samples. It is
# the number of nats that the flow falls short of a perfect model.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import flows
from tfp_flows.keras import DensityModel

tfd = tfp.distributions

# %% [markdown]
# ## Three densities
#
# - *Two moons* must be bent and separated.
# - *Eight Gaussians* must be torn apart. The image of a connected set under a
#   continuous map is connected, so a flow leaves filaments of low density between the
#   modes.
# - The *checkerboard* has edges, which a continuous density can only approach.


# %%
def mixture(components):
    weights = tfd.Categorical(logits=tf.zeros(components.batch_shape))
    return tfd.MixtureSameFamily(weights, components)


def gaussians(centers, stddev):
    centers = np.float32(centers)
    return mixture(tfd.MultivariateNormalDiag(centers, tf.fill([2], stddev)))


angle = np.linspace(0.0, np.pi, 100)
arc = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
moons = np.concatenate([arc, [1.0, 0.5] - arc]) - [0.5, 0.25]
ring = np.exp(0.25j * np.pi * np.arange(8))
corners = [[i, j] for i in range(-2, 2) for j in range(-2, 2) if (i + j) % 2 == 0]
corners = 1.75 * np.float32(corners)
densities = {
    "two moons": gaussians(2.0 * moons, 0.2),
    "eight Gaussians": gaussians(2.8 * np.stack([ring.real, ring.imag], -1), 0.3),
    "checkerboard": mixture(tfd.Independent(tfd.Uniform(corners, corners + 1.75), 1)),
}

# %% [markdown]
# ## Fitting
#
# `DensityModel` wraps any distribution as a Keras model whose loss is the mean of
# `-log_prob`. `jit_compile=True` compiles the training step with XLA, which matters for
# small models: without it, most of the time goes into launching small operations. As
# the compilation takes a while, the same model is fitted to all three densities, each
# time from the initial weights and the initial state of the optimizer.

# %%
num_epochs = 10
num_layers = 5
builders = {"affine": flows.real_nvp, "splines": flows.neural_spline}

line = np.linspace(-4.0, 4.0, 120, dtype=np.float32)
pixels = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
pictures, divergences = {}, {}
for kind, builder in builders.items():
    model = DensityModel(builder(2, num_layers, (64, 64), seed=0))
    schedule = keras.optimizers.schedules.CosineDecay(5e-3, num_epochs * 156)
    optimizer = keras.optimizers.Adam(schedule, global_clipnorm=10.0)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, jit_compile=True)
    state = [*model.variables, *optimizer.variables]
    initial = [variable.numpy() for variable in state]
    for name, density in densities.items():
        for variable, value in zip(state, initial):
            variable.assign(value)
        train, test = (density.sample(n, seed=[0, n]) for n in [39_936, 10_000])
        model.fit(train, batch_size=256, epochs=num_epochs, verbose=0)
        gap = density.log_prob(test) - model.predict(test, 5_000, verbose=0)
        error = np.std(gap) / np.sqrt(len(test))
        divergences[name, kind] = np.mean(gap)
        pictures[name, kind] = np.exp(model.predict(pixels, 5_000, verbose=0))
        print(f"{kind:8} {name:16} KL(p || q) = {np.mean(gap):.3f} ± {error:.3f} nats")
for name, density in densities.items():
    pictures[name, "true density"] = density.prob(pixels)

# %% [markdown]
# Splines lose a fraction of what affine couplings lose. A spline can gather probability
# in several places along a line and thin it out in between, whereas a composition of
# five affine maps draws visible filaments and blurs the edges of the squares. More
# affine layers narrow the gap.

# %%
columns = ["true density", *builders]
figure, axes = plt.subplots(3, 3, figsize=(7.2, 7.6), layout="constrained")
for row, name in zip(axes, densities):
    highest = np.max(pictures[name, "true density"])
    for ax, column in zip(row, columns):
        values = np.reshape(pictures[name, column], [120, 120])
        ax.imshow(values, origin="lower", cmap="magma", vmin=0.0, vmax=highest)
        ax.set(xticks=[], yticks=[])
        if column in builders:
            ax.set_xlabel(f"{divergences[name, column]:.3f} nats lost")
    row[0].set_ylabel(name)
for ax, column in zip(axes[0], columns):
    ax.set_title(column)
figure.savefig("toy_densities.png", dpi=100)
plt.show()
