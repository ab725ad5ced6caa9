# %% [markdown]
# # Regression that predicts densities: a flow as the last layer
#
# A network trained by squared errors predicts a mean. With a Gaussian as its output it
# also predicts how uncertain the mean is. Neither can predict "here or there". With a
# flow as its output the network predicts any density $p(y \mid x)$, and the rest of the
# code stays as it is: `DistributionLayer` ends the network, and `NegativeLogLikelihood`
# is its loss.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import flows
from tfp_flows.keras import DistributionLayer, NegativeLogLikelihood

tfd = tfp.distributions

# %% [markdown]
# ## Data: an inverse problem
#
# A cause $y$, uniform on $[0, 1]$, has an effect $x = y + 0.3 \sin(2 \pi y) + \epsilon$
# with Gaussian noise $\epsilon$ ([Bishop,
# 1994](https://publications.aston.ac.uk/id/eprint/373/)). To predict the cause from the
# effect is hard: in the middle, three different causes have the same effect. The true
# density is known: $p(y \mid x) \propto p(x \mid y)$ on $[0, 1]$.

# %%
scale = 0.05
num_points = 4000
y_grid = np.linspace(-0.2, 1.2, 281, dtype=np.float32)


def draw_points(number, seed):
    rng = np.random.default_rng(seed)
    y = rng.uniform(size=number)
    x = y + 0.3 * np.sin(2.0 * np.pi * y) + scale * rng.normal(size=number)
    return np.float32(x[:, np.newaxis]), np.float32(y[:, np.newaxis])


def true_density(y, x):
    """Returns p(y | x) for arrays that broadcast."""
    effect = tfd.Normal(y + 0.3 * tf.sin(2.0 * np.pi * y), scale)
    line = np.linspace(0.0, 1.0, 1001, dtype=np.float32)
    normal = tfd.Normal(line + 0.3 * np.sin(2.0 * np.pi * line), scale)
    total = tf.reduce_mean(normal.prob(np.asarray(x)[..., np.newaxis]), axis=-1)
    return np.where((0.0 <= y) & (y <= 1.0), effect.prob(x) / total, 0.0)


x_train, y_train = draw_points(num_points, seed=0)
x_test, y_test = draw_points(5000, seed=1)

# %% [markdown]
# ## Two networks
#
# They differ in the last layer alone. The first ends with the parameters of a Gaussian.
# The second ends with 32 features, which are the context of a conditional flow: the
# network predicts the knots of a spline in each of its layers.

# %%
num_epochs = 30


def gaussian(outputs):
    return tfd.MultivariateNormalDiag(
        outputs[..., :1], 1e-3 + tf.nn.softplus(outputs[..., 1:])
    )


def build_network(num_outputs, conditional_distribution):
    keras.utils.set_random_seed(0)
    layer = DistributionLayer(conditional_distribution)
    network = keras.Sequential(
        [
            keras.Input([1]),
            keras.layers.Dense(64, "tanh"),
            keras.layers.Dense(64, "tanh"),
            keras.layers.Dense(num_outputs),
            layer,
        ]
    )
    return network, layer


conditional_flow = flows.neural_spline(
    1, 2, (64,), kind="autoregressive", bound=2.0, context_size=32, seed=0
)
networks = {
    "Gaussian": build_network(2, gaussian),
    "flow": build_network(32, conditional_flow),
}
num_steps = num_epochs * num_points // 100
for name, (network, layer) in networks.items():
    schedule = keras.optimizers.schedules.CosineDecay(5e-3, num_steps)
    network.compile(
        keras.optimizers.Adam(schedule, global_clipnorm=5.0),
        loss=NegativeLogLikelihood(layer),
    )
    history = network.fit(x_train, y_train, 100, num_epochs, verbose=0)
    print(f"{name:9} loss of the last epoch: {history.history['loss'][-1]:.3f}")

# %% [markdown]
# ## Result
#
# `layer.distribution` turns predictions into distributions. On held-out points the flow
# is about one nat better than the Gaussian, and close to the true density.

# %%
log_probs = {
    name: layer.distribution(network.predict(x_test, verbose=0)).log_prob(y_test)
    for name, (network, layer) in networks.items()
}
log_probs["true density"] = np.log(true_density(y_test, x_test))
for name, values in log_probs.items():
    error = np.std(values) / np.sqrt(len(x_test))
    print(f"{name:13} {np.mean(values):6.3f} ± {error:.3f} nats")

# %% [markdown]
# The predicted densities, column by column: for each effect $x$ on the horizontal axis,
# the density of the cause $y$. The Gaussian puts its mean where there are no data.

# %%
x_grid = np.linspace(-0.1, 1.1, 241, dtype=np.float32)[:, np.newaxis]
panels = {"true density": true_density(y_grid[:, np.newaxis], x_grid[:, 0])}
for name, (network, layer) in networks.items():
    distribution = layer.distribution(network.predict(x_grid, verbose=0))
    panels[name] = distribution.prob(y_grid[:, np.newaxis, np.newaxis])

figure, axes = plt.subplots(
    1, 3, figsize=(10.0, 3.6), layout="constrained", sharey=True
)
for ax, (name, density) in zip(axes, panels.items()):
    ax.pcolormesh(x_grid[:, 0], y_grid, density, cmap="magma", vmax=8.0)
    ax.set(title=name, xlabel="effect $x$")
axes[0].plot(x_test[:300], y_test[:300], ".", color="white", markersize=1.5)
axes[0].set_ylabel("cause $y$")
figure.savefig("keras_regression.png", dpi=100)
plt.show()
