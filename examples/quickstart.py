# %% [markdown]
# # Quickstart: a flow learns to write
#
# A normalizing flow is a trainable probability distribution: an invertible map, made of
# neural networks, between Gaussian latents and data. `sample` maps latents to data.
# `log_prob` maps data to latents, and returns the exact log density. This tutorial fits
# a flow to points in the plane in less than a minute.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from tfp_flows import flows
from tfp_flows.keras import DensityModel

tfd = tfp.distributions

# %% [markdown]
# ## Data
#
# The points are spread evenly over the letters of a word. Their density is 1 / area
# inside of the letters and 0 elsewhere, so the best possible mean log-likelihood is
# -log(area).

# %%
word = "FLOW"
num_points = 50_000

outline = TextPath((0.0, 0.0), word, size=3.0, prop=FontProperties(weight="bold"))
low, high = outline.get_extents().get_points()
middle, half = 0.5 * (low + high), 0.5 * (high - low)
candidates = np.random.default_rng(0).uniform(-half, half, size=[4 * num_points, 2])
inside = np.zeros(len(candidates), bool)
for polygon in outline.to_polygons():
    inside ^= plt.Polygon(polygon).get_path().contains_points(candidates + middle)
area = 4.0 * np.prod(half) * np.mean(inside)
points = np.float32(candidates[inside])
train, test = points[:num_points], points[num_points : num_points + 20_000]
print(f"{len(train)} points for training, {len(test)} held out")

# %% [markdown]
# ## Model
#
# A builder returns the flow, a `tfd.Distribution`. `DensityModel` makes it a Keras
# model whose loss is the negative log-likelihood. Everything else is as for any Keras
# model.

# %%
num_epochs = 18
batch_size = 500

flow = flows.neural_spline(
    event_size=2,
    num_layers=4,
    hidden_units=(64, 64),
    kind="autoregressive",
    num_bins=16,
    bound=3.0,
    standardize=True,
    seed=0,
)
model = DensityModel(flow)
num_steps = num_epochs * len(train) // batch_size
schedule = keras.optimizers.schedules.CosineDecay(5e-3, num_steps)
model.compile(keras.optimizers.Adam(schedule), jit_compile=True)
model.fit(train, batch_size=batch_size, epochs=num_epochs, verbose=2)

# %% [markdown]
# ## Result
#
# On held-out points the flow is far better than a Gaussian, and close to the true
# density. A gap remains because a continuous map cannot tear the plane: thin filaments
# connect the letters.

# %%
gaussian = tfd.MultivariateNormalTriL(
    np.mean(train, axis=0), np.float32(np.linalg.cholesky(np.cov(train.T)))
)
log_prob = model.predict(test, batch_size=5000, verbose=0)
error = np.std(log_prob) / np.sqrt(len(test))
print("mean log-likelihood of held-out points, in nats")
print(f"  Gaussian      {np.mean(gaussian.log_prob(test)):.3f}")
print(f"  flow          {np.mean(log_prob):.3f} ± {error:.3f}")
print(f"  true density  {-np.log(area):.3f}")

# %% [markdown]
# `flow.bijector` is the map from latents to data. Its inverse is exact: mapped back,
# data become the same latents, up to rounding.

# %%
latents = tf.random.stateless_normal([6000, 2], seed=[0, 1])
samples = flow.bijector.forward(latents).numpy()
round_trip = flow.bijector.inverse(samples)
print(f"largest round-trip error: {np.max(np.abs(round_trip - latents)):.0e}")

# %% [markdown]
# In the picture, samples have the colors of their latents: the flow bends and stretches
# a Gaussian until it is a word.

# %%
frame = half + 0.25
x, y = (np.linspace(-end, end, pixels) for end, pixels in zip(frame, [640, 192]))
grid = np.float32(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))
density = np.exp(model.predict(grid, batch_size=5000, verbose=0)).reshape(192, 640)

figure, axes = plt.subplot_mosaic(
    [["latents", "samples"], ["density", "density"]],
    figsize=(9.0, 5.0),
    width_ratios=[1.0, 2.6],
    height_ratios=[1.0, 1.35],
    layout="constrained",
)
angle = np.arctan2(latents[:, 1], latents[:, 0]) / (2.0 * np.pi)
for name, values in {"latents": latents, "samples": samples}.items():
    axes[name].scatter(*np.transpose(values), s=1.5, c=angle, cmap="hsv")
limits = dict(xlim=(-frame[0], frame[0]), ylim=(-frame[1], frame[1]))
axes["samples"].set(**limits)
axes["density"].pcolormesh(x, y, density, cmap="magma", vmax=1.6 / area)
for name, ax in axes.items():
    ax.set(title=name, xticks=[], yticks=[], aspect="equal")
figure.savefig("quickstart.png", dpi=90)
plt.show()
