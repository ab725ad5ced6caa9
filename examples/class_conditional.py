# %% [markdown]
# # Class-conditional densities, and Bayes' rule as a classifier
#
# A conditional flow is one density $p(x \mid c)$ for each context $c$, on one set of
# weights. With the class as context it generates images of a given class. By Bayes'
# rule it also classifies, although it was never trained to:
#
# $$p(c \mid x) = \frac{p(c)\, p(x \mid c)}{\sum_k p(k)\, p(x \mid k)}.$$

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
import sklearn.datasets
import sklearn.discriminant_analysis
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import dequantization, flows
from tfp_flows.keras import DensityModel

tfb, tfd = tfp.bijectors, tfp.distributions
keras.utils.set_random_seed(0)

# %% [markdown]
# ## Data
#
# The digits of scikit-learn: 8 x 8 pixels with integers from 0 to 16. Uniform noise
# makes them continuous, and is drawn anew in each epoch.

# %%
data = sklearn.datasets.load_digits()
order = np.random.RandomState(0).permutation(len(data.target))
images, labels = np.float32(data.data[order]), data.target[order]
one_hot = np.eye(10, dtype=np.float32)[labels]
train, validation, test = slice(0, 1260), slice(1260, 1400), slice(1400, None)


def add_noise(images):
    return dequantization.dequantize(images, num_values=17)


dataset = tf.data.Dataset.from_tensor_slices((images[train], one_hot[train]))
dataset = dataset.shuffle(1260).batch(105)
dataset = dataset.map(lambda x, context: ((add_noise(x), context),))

# %% [markdown]
# ## Model
#
# `context_size=10` makes the flow conditional: each of its networks takes the class as
# a one-hot vector. It is trained on pairs of points and contexts.

# %%
num_epochs = 60

flow = flows.neural_spline(64, 4, (128, 128), context_size=10, standardize=True, seed=0)
flow = flows.transform(flow, tfb.Sigmoid(low=-0.34, high=17.34))
model = DensityModel(flow)
schedule = keras.optimizers.schedules.CosineDecay(2e-3, 12 * num_epochs)
model.compile(
    keras.optimizers.AdamW(schedule, weight_decay=4.0, global_clipnorm=5.0),
    metrics=["bits_per_dimension"],
    jit_compile=True,
)
validation_pairs = [
    add_noise(np.tile(images[validation], [5, 1])),
    np.tile(one_hot[validation], [5, 1]),
]
stop = keras.callbacks.EarlyStopping(patience=15, restore_best_weights=True)
history = model.fit(
    dataset,
    validation_data=(validation_pairs,),
    validation_batch_size=700,
    epochs=num_epochs,
    callbacks=[stop],
    verbose=0,
)
bits = np.min(history.history["val_bits_per_dimension"])
print(f"{len(history.epoch)} epochs, validation {bits:.3f} bits per dimension")

# %% [markdown]
# ## Classification
#
# `flows.condition` gives the flow its contexts. Batch shapes broadcast as everywhere in
# TensorFlow Probability: images of shape `[N, 1, 64]` and 10 contexts give a table of
# `log p(x | c)` of shape `[N, 10]` in one call.

# %%
log_prior = np.log(np.mean(one_hot[train], axis=0))


@tf.function
def log_joint(x):
    by_class = flows.condition(flow, tf.eye(10))
    return by_class.log_prob(x[:, tf.newaxis, :]) + log_prior


table = np.mean([log_joint(add_noise(images[test])) for _ in range(5)], axis=0)
accuracy = np.mean(np.argmax(table, axis=1) == labels[test])
qda = sklearn.discriminant_analysis.QuadraticDiscriminantAnalysis(reg_param=0.1)
qda.fit(images[:1400], labels[:1400])
print("accuracy on held-out digits")
print(f"  Gaussian for each class  {qda.score(images[test], labels[test]):.3f}")
print(f"  flow                     {accuracy:.3f}")

# %% [markdown]
# The log-sum-exp of the table is $\log p(x)$. The class of an image is a gain in nats
# over it, which is at most $\log 10 = 2.3$ on average: the information that an image
# and its class share. The flow gains nearly all of it, because digits rarely leave
# their class in doubt.

# %%
log_prob = np.log(np.sum(np.exp(table - table.max(axis=1, keepdims=True)), axis=1))
log_prob += table.max(axis=1)
own_class = (table - log_prior)[np.arange(len(table)), labels[test]]
print(f"mean log p(x)      {np.mean(log_prob):8.2f} nats")
print(f"mean log p(x | c)  {np.mean(own_class):8.2f} nats")
print(f"gain               {np.mean(own_class - log_prob):8.2f} nats")

# %% [markdown]
# ## Generation
#
# One sample per context, in one call. A distribution that takes its parents as
# arguments is a part of joint distributions, too; here the class is a random variable.

# %%
samples = flows.condition(flow, tf.eye(10)).sample(12, seed=[0, 1])
joint = tfd.JointDistributionNamed(
    dict(
        label=tfd.OneHotCategorical(logits=log_prior, dtype=tf.float32),
        image=lambda label: flows.condition(flow, label),
    )
)
drawn = joint.sample(5, seed=[0, 2])
print("classes drawn from the joint distribution:", np.argmax(drawn["label"], axis=1))


def tile(images):
    """Returns images side by side, `[rows, columns, 64]`."""
    rows, columns, _ = images.shape
    images = np.clip(np.floor(images), 0, 16).reshape(rows, columns, 8, 8)
    padded = np.pad(images, [(0, 0), (0, 0), (1, 1), (1, 1)])
    return padded.transpose(0, 2, 1, 3).reshape(10 * rows, 10 * columns)


real = np.stack([images[test][labels[test] == c][:12] for c in range(10)])
figure, axes = plt.subplots(1, 2, figsize=(9.0, 3.9), layout="constrained")
titles = {
    "held-out digits": real,
    "samples, given the class": np.swapaxes(samples, 0, 1),
}
for ax, (title, rows) in zip(axes, titles.items()):
    ax.imshow(tile(rows), cmap="gray_r")
    ax.set(
        title=title, xticks=[], yticks=10 * np.arange(10) + 4.5, yticklabels=range(10)
    )
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
figure.savefig("class_conditional.png", dpi=100)
plt.show()
