# %% [markdown]
# # Density estimation with Keras: compile, fit, evaluate, save
#
# `DensityModel` makes a Keras model of any distribution of TensorFlow Probability. Its
# loss is the negative log-likelihood, so there are no labels. Metrics, callbacks and
# `.keras` files work as they do for a classifier.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
import sklearn.datasets
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import dequantization, flows
from tfp_flows.keras import DensityModel

tfb, tfd = tfp.bijectors, tfp.distributions
keras.utils.set_random_seed(0)

# %% [markdown]
# ## Data
#
# The 1797 digits of scikit-learn have 8 x 8 pixels, integers from 0 to 16. A density of
# integers would be unbounded, with a narrow peak on each. So uniform noise is added:
# dequantization. It is drawn anew in each epoch.

# %%
digits = sklearn.datasets.load_digits().data.astype(np.float32)
digits = digits[np.random.RandomState(0).permutation(len(digits))]
train, validation, test = np.split(digits, [1260, 1400])


def add_noise(images):
    return dequantization.dequantize(images, num_values=17)


batch_size = 105
dataset = tf.data.Dataset.from_tensor_slices(train).shuffle(len(train))
dataset = dataset.batch(batch_size).map(add_noise)
validation_points = add_noise(np.tile(validation, [5, 1]))

# %% [markdown]
# ## Model
#
# The flow has four coupling layers with rational-quadratic splines. A sigmoid restricts
# its support to the range of the pixels, a little widened. `standardize=True` adds a
# layer that centers and scales the pixels; `fit` initializes it from the first batch.

# %%
flow = flows.neural_spline(64, 4, (128, 128), seed=0, standardize=True)
pixels = tfb.Sigmoid(low=-0.34, high=17.34)
model = DensityModel(flows.transform(flow, pixels))
model.compile(
    keras.optimizers.AdamW(2e-3, weight_decay=4.0, global_clipnorm=5.0),
    metrics=["bits_per_dimension"],
    jit_compile=True,
)
print(f"{model.count_params()} parameters")

# %% [markdown]
# ## Training
#
# Callbacks are those of Keras. `bits_per_dimension` is the negative log-likelihood in
# the unit of image models: bits per pixel.

# %%
num_epochs = 40

history = model.fit(
    dataset,
    validation_data=(validation_points,),
    validation_batch_size=700,
    epochs=num_epochs,
    verbose=0,
    callbacks=[
        keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=8),
        keras.callbacks.EarlyStopping(patience=18, restore_best_weights=True),
        keras.callbacks.ModelCheckpoint("keras_fit.keras", save_best_only=True),
    ],
)
train_bits = history.history["bits_per_dimension"]
validation_bits = history.history["val_bits_per_dimension"]
best_epoch = int(np.argmin(history.history["val_loss"]))
print(f"best of {len(train_bits)} epochs: {best_epoch + 1}")

# %% [markdown]
# ## Evaluation
#
# Held-out digits, with ten draws of the noise each, beside a Gaussian with full
# covariance. The flow saves about one bit for each pixel.

# %%
points = add_noise(np.tile(test, [10, 1]))
scores = model.evaluate(points, batch_size=len(test), verbose=0, return_dict=True)
noisy = add_noise(np.tile(train, [10, 1])).numpy()
covariance = np.cov(noisy.T) + 0.03 * np.eye(64)
gaussian = tfd.MultivariateNormalTriL(
    np.mean(noisy, axis=0), np.float32(np.linalg.cholesky(covariance))
)
nats = np.mean(gaussian.log_prob(points))
print("held-out bits per dimension")
print(f"  Gaussian  {dequantization.bits_per_dimension(nats, 64):.3f}")
print(f"  flow      {scores['bits_per_dimension']:.3f}")

# %% [markdown]
# The file holds architecture and weights. It is read wherever `tfp_flows.keras` is
# imported, and the model in it is the one that was saved.

# %%
saved = keras.models.load_model("keras_fit.keras")
log_prob = [each.predict(points[:397], verbose=0) for each in (model, saved)]
difference = np.max(np.abs(log_prob[0] - log_prob[1]))
print(f"largest difference of the saved model: {difference:.0e} nats")

# %%
samples = saved.sample(36, seed=1)


def tile(images):
    """Returns images side by side, 6 x 6."""
    images = np.clip(np.floor(images), 0, 16).reshape(6, 6, 8, 8)
    padded = np.pad(images, [(0, 0), (0, 0), (1, 1), (1, 1)])
    return padded.transpose(0, 2, 1, 3).reshape(60, 60)


figure, axes = plt.subplots(1, 3, figsize=(10.0, 3.6), layout="constrained")
for ax, title, images in zip(
    axes, ["held-out digits", "samples"], [test[:36], samples]
):
    ax.imshow(tile(images), cmap="gray_r")
    ax.set_title(title)
    ax.set_axis_off()
epochs = 1 + np.arange(len(train_bits))
axes[2].plot(epochs, train_bits, label="training")
axes[2].plot(epochs, validation_bits, label="validation")
axes[2].plot(epochs[best_epoch], validation_bits[best_epoch], "C1o", label="saved")
axes[2].set(title="bits per dimension", xlabel="epoch", ylim=(1.7, 2.7))
axes[2].legend(frameon=False)
axes[2].spines[["top", "right"]].set_visible(False)
figure.savefig("keras_fit.png", dpi=100)
plt.show()
