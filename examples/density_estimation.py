# %% [markdown]
# # Density estimation on images of digits
#
# Three flows are fitted to the 8 × 8 digits of scikit-learn, and compared by their
# log-likelihood of held-out images. On the way: dequantization, standardization, early
# stopping, and the units in which densities of images are reported.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
import sklearn.datasets
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import bijectors, dequantization, flows
from tfp_flows.keras import DensityModel

tfb, tfd = tfp.bijectors, tfp.distributions

# %% [markdown]
# ## Dequantization
#
# Pixels are integers from 0 to 16. A continuous density can be arbitrarily high at
# integers, and its likelihood is then meaningless. `dequantize` adds uniform noise from
# $[0, 1)$. The expected log density of the result is a lower bound on the log
# probability of the integers. `Dataset.map` draws new noise in every epoch. Division by
# 17 maps the values to $[0, 1)$.

# %%
images = sklearn.datasets.load_digits().data.astype(np.int32)
images = np.random.default_rng(0).permutation(images)
train, validation, test = np.split(images, [1260, 1400])


def dequantize(x):
    return dequantization.dequantize(x, num_values=17) / 17.0


dataset = tf.data.Dataset.from_tensor_slices(train).shuffle(len(train), seed=0)
dataset = dataset.batch(100, drop_remainder=True).map(dequantize)
validation, test = (np.concatenate([dequantize(x)] * 5) for x in [validation, test])

# %% [markdown]
# ## Models
#
# Half of the pixels are black, which is difficult to represent for a flow on $[0, 1)$.
# A logit gives the ends of the interval more room. `flows.transform` places it over the
# flow, next to the data. Logits of pixels have different means and standard deviations;
# `standardize=True` adds a layer that is initialized from them before the first step.

# %%
to_pixels = tfb.Invert(bijectors.Logit(0.02))
models = {
    "MAF": flows.maf(64, 3, (256, 256), seed=0, standardize=True),
    "RealNVP": flows.real_nvp(64, 6, (128, 128), seed=0, standardize=True),
    "splines": flows.neural_spline(64, 3, (128, 128), seed=0, standardize=True),
}

# %% [markdown]
# ## Training
#
# 1260 images are few: without regularization, the networks overfit within seconds.
# Strong weight decay delays this, and early stopping restores the weights with the best
# validation loss.

# %%
num_epochs = 40

samples, scores = {}, {}
for name, flow in models.items():
    model = DensityModel(flows.transform(flow, to_pixels))
    schedule = keras.optimizers.schedules.CosineDecay(2e-3, num_epochs * 12)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=3.0, global_clipnorm=10.0)
    model.compile(optimizer)
    stopping = keras.callbacks.EarlyStopping(patience=8, restore_best_weights=True)
    model.fit(
        dataset,
        epochs=num_epochs,
        validation_data=(validation,),
        validation_batch_size=700,
        callbacks=[stopping],
        verbose=0,
    )
    scores[name] = model.predict(test, batch_size=397, verbose=0)
    samples[name] = model.sample(32, seed=1)

# %% [markdown]
# ## Comparison
#
# The baseline is a Gaussian with full covariance. Nats are for a whole image; bits per
# dimension divide by the 64 pixels, change the base of the logarithm and the sign, so
# that lower is better. The error is the standard error over the held-out images.

# %%
x = np.concatenate([dequantize(images[:1400]) for _ in range(5)])
gaussian = tfd.MultivariateNormalTriL(
    np.mean(x, axis=0), np.linalg.cholesky(np.cov(x.T)).astype(np.float32)
)
scores = {"Gaussian": gaussian.log_prob(test).numpy(), **scores}
for name, nats in scores.items():
    error = np.std(np.mean(np.reshape(nats, [5, -1]), axis=0)) / np.sqrt(397)
    log_prob_of_integers = np.mean(nats) - 64 * np.log(17.0)
    bits = dequantization.bits_per_dimension(log_prob_of_integers, [64])
    print(
        f"{name:9} {np.mean(nats):8.2f} ± {error:.2f} nats, {bits:.3f} bits per pixel"
    )

# %% [markdown]
# All flows are far above the Gaussian, which spends much of its mass outside of the
# interval. Splines are best: the distribution of a pixel has a narrow peak at black and
# a wide remainder, which a monotonic spline fits better than a shift and a scale. The
# samples look like digits, though not perfect ones. Larger data sets, longer training
# and flags for all options are in `experiments/density_estimation.py`.


# %%
def tile(images, rows=4, columns=8):
    images = np.reshape(images, [rows, columns, 8, 8])
    images = np.pad(images, [(0, 0), (0, 0), (0, 1), (0, 1)])
    return np.swapaxes(images, 1, 2).reshape(rows * 9, columns * 9)


figure, axes = plt.subplots(2, 2, figsize=(8.0, 4.6), layout="constrained")
panels = {"data": test[:32], **samples}
for ax, (name, values) in zip(axes.ravel(), panels.items()):
    ax.imshow(tile(values), cmap="gray", vmin=0.0, vmax=1.0)
    title = name if name == "data" else f"{name}: {np.mean(scores[name]):.1f} nats"
    ax.set_title(title)
    ax.set_axis_off()
figure.savefig("density_estimation.png", dpi=100)
plt.show()
