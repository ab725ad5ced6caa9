# %% [markdown]
# # Glow: temperature, interpolation and attributes of images
#
# Glow ([Kingma and Dhariwal, 2018](https://arxiv.org/abs/1807.03039)) is a multi-scale
# flow for images. Each level squeezes 2 x 2 pixels into channels, applies steps of
# activation normalization, invertible 1 x 1 convolution and coupling, and factors out
# half of the channels. It generates images, and its latents are useful: they are a
# space in which images can be interpolated and manipulated.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
import sklearn.datasets
import tensorflow as tf

from tfp_flows import dequantization, flows, latent_space
from tfp_flows.keras import DensityModel

keras.utils.set_random_seed(0)

# %% [markdown]
# ## Data
#
# The digits of scikit-learn, 8 x 8 pixels with 17 values. Dequantization adds uniform
# noise to the integers, anew in each epoch.

# %%
data = sklearn.datasets.load_digits()
order = np.random.RandomState(0).permutation(len(data.target))
images, labels = np.float32(data.images[order, :, :, np.newaxis]), data.target[order]
train, validation, test = np.split(images, [1260, 1400])


def add_noise(images):
    return dequantization.dequantize(images, num_values=17)


dataset = tf.data.Dataset.from_tensor_slices(train).shuffle(len(train))
dataset = dataset.batch(63).map(add_noise)

# %% [markdown]
# ## Training
#
# Two levels of four steps each. `fit` initializes the activation normalization from the
# first batch, as the paper does. Small data are soon overfitted: weight decay and the
# best validation loss select the weights.

# %%
num_epochs = 30

flow = flows.glow([8, 8, 1], 2, 4, 32, num_values=17, seed=0)
model = DensityModel(flow)
schedule = keras.optimizers.schedules.CosineDecay(
    0.0, 20 * num_epochs, warmup_target=2e-3, warmup_steps=50
)
optimizer = keras.optimizers.AdamW(schedule, weight_decay=2.0, global_clipnorm=50.0)
optimizer.exclude_from_weight_decay(
    [variable for variable in model.trainable_variables if len(variable.shape) < 2]
)
model.compile(optimizer, metrics=["bits_per_dimension"])
history = model.fit(
    dataset,
    validation_data=(add_noise(np.tile(validation, [5, 1, 1, 1])),),
    validation_batch_size=700,
    epochs=num_epochs,
    callbacks=[keras.callbacks.EarlyStopping(patience=30, restore_best_weights=True)],
    verbose=0,
)
points = add_noise(test)
scores = model.evaluate(points, batch_size=397, verbose=0, return_dict=True)
print(
    f"best of {len(history.epoch)} epochs: {1 + np.argmin(history.history['val_loss'])}"
)
print(f"held-out digits: {scores['bits_per_dimension']:.3f} bits per dimension")

# %% [markdown]
# ## Temperature
#
# Latents drawn with a standard deviation below 1, the temperature, give samples that
# are less varied and cleaner. At 0 only one image is left: the image of the mode.

# %%
num_columns = 12

rows = {"held-out digits": test[:num_columns] + 0.5}
for temperature in [0.0, 0.5, 0.7, 1.0]:
    rows[f"temperature {temperature}"] = latent_space.sample_at_temperature(
        flow, num_columns, temperature, seed=(0, 1)
    )

# %% [markdown]
# ## Interpolation
#
# On a straight line between the latents of two images lie images that turn the one into
# the other. The average of the pixels would be a cross-fade. Latents are exact:
# decoded, they give back the image.

# %%
pairs = {"1 to 7": (1, 7), "0 to 6": (0, 6), "4 to 9": (4, 9)}
first = {
    digit: points[np.flatnonzero(labels[1400:] == digit)[0]] for digit in range(10)
}
for name, (start, end) in pairs.items():
    rows[name] = latent_space.interpolate(flow, first[start], first[end], num_columns)
decoded = latent_space.decode(flow, latent_space.encode(flow, points))
print(f"largest round-trip error: {np.max(np.abs(decoded - points)):.0e} of 17")

# %% [markdown]
# ## Attributes
#
# The mean latents of images that have an attribute, minus those of images that do not,
# are a direction. Images shifted along it gain or lose the attribute, here brightness,
# and remain the images they are.

# %%
brightness = np.mean(train, axis=(1, 2, 3))
direction = latent_space.attribute_direction(
    flow, add_noise(train), brightness > np.median(brightness)
)
amounts = np.linspace(-1.5, 1.5, num_columns)
for digit in (3, 5):
    changed = [
        latent_space.manipulate(flow, first[digit][tf.newaxis], direction, amount)[0]
        for amount in amounts
    ]
    rows[f"brightness of a {digit}"] = tf.stack(changed)
    change = np.mean(changed[-1]) - np.mean(changed[0])
    print(f"mean pixel of a {digit}, from first to last: +{change:.1f}")

# %%
figure, axes = plt.subplots(len(rows), 1, figsize=(8.0, 6.6), layout="constrained")
for ax, (title, row) in zip(axes, rows.items()):
    row = np.clip(np.floor(row), 0, 16)[..., 0]
    tiles = np.pad(row, [(0, 0), (1, 0), (1, 1)]).transpose(1, 0, 2)
    ax.imshow(tiles.reshape(9, -1), cmap="gray_r", vmin=0, vmax=16)
    ax.set_ylabel(title, rotation=0, ha="right", va="center")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
figure.savefig("glow.png", dpi=100)
plt.show()
