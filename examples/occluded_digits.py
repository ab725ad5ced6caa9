# %% [markdown]
# # Completing half-hidden digits with a PixelCNN
#
# Pixels are integers, and need no noise if the model is discrete: a PixelCNN
# ([van den Oord et al., 2016](https://arxiv.org/abs/1606.05328)) predicts the
# probabilities of the values of each pixel from the pixels above and to the left,
#
# $$\log p(x) = \sum_d \log p(x_d \mid x_1, \dots, x_{d-1}).$$
#
# Such a model completes images: given the upper half, it samples the lower half,
# without any training for the task. Where the upper half is compatible with several
# digits, the completions show them all.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
import sklearn.datasets
import sklearn.neighbors
import tensorflow as tf

from tfp_flows import flows, networks

# %% [markdown]
# ## Data
#
# The digits of scikit-learn: 8 x 8 pixels with 17 values.

# %%
data = sklearn.datasets.load_digits()
order = np.random.RandomState(0).permutation(len(data.target))
images = data.images[order, :, :, np.newaxis].astype(np.uint8)
labels = data.target[order]
one_hot = np.eye(10, dtype=np.float32)[labels]
train, test = slice(0, 1400), slice(1400, None)

# %% [markdown]
# ## Model
#
# The network takes the class as context. In half of the training examples the context
# is 0 instead, so that one network learns $p(x)$ and $p(x \mid c)$.

# %%
num_steps = 300
batch_size = 128

network = networks.PixelCNN(
    [8, 8, 1],
    17,
    hidden_channels=32,
    num_layers=4,
    first_kernel_size=5,
    context_size=10,
    seed=0,
)
model = flows.discrete_autoregressive(network, 17)
optimizer = keras.optimizers.AdamW(
    keras.optimizers.schedules.CosineDecay(4e-3, num_steps),
    weight_decay=0.1,
    global_clipnorm=5.0,
)
optimizer.build(model.trainable_variables)
train_images, train_labels = tf.constant(images[train]), tf.constant(one_hot[train])


@tf.function
def train_step(step):
    rows = tf.random.stateless_uniform([batch_size], [0, step], 0, 1400, tf.int32)
    half = tf.cast(tf.range(batch_size) % 2, tf.float32)[:, tf.newaxis]
    context = half * tf.gather(train_labels, rows)
    with tf.GradientTape() as tape:
        conditioned = flows.condition(model, context)
        loss = -tf.reduce_mean(conditioned.log_prob(tf.gather(train_images, rows)))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply(gradients, model.trainable_variables)
    return loss


for step in range(num_steps):
    loss = train_step(tf.constant(step))
    if (step + 1) % 100 == 0:
        print(f"step {step + 1}: {-loss:.1f} nats (one batch)")

# %% [markdown]
# ## Held-out likelihood
#
# Beside a histogram for each pixel, which is what pixels tell without each other. These
# are log probabilities of integers, so bits per pixel are exact, not a bound.

# %%
counts = 0.5 + np.stack([np.sum(images[train] == value, axis=0) for value in range(17)])
histograms = np.log(counts / np.sum(counts, axis=0))
chosen = np.take_along_axis(
    histograms[np.newaxis], images[test][:, np.newaxis].astype(int), 1
)
unknown = flows.condition(model, tf.zeros([10]))
labeled = flows.condition(model, one_hot[test])
for name, nats in {
    "histograms": np.sum(chosen, axis=(1, 2, 3, 4)),
    "PixelCNN": unknown.log_prob(images[test]),
    "PixelCNN, given the class": labeled.log_prob(images[test]),
}.items():
    bits = -np.mean(nats) / (64 * np.log(2.0))
    print(f"{name:26} {np.mean(nats):8.2f} nats, {bits:.3f} bits per pixel")

# %% [markdown]
# ## Completions
#
# `sample_completions` samples what is not observed, given what is. It takes one network
# evaluation per unobserved pixel at most. A nearest-neighbor classifier of real digits
# reads the results: the upper half alone leaves the class in doubt; together with the
# class most completions are right.

# %%
num_scored = 100

observed = np.arange(8)[:, np.newaxis, np.newaxis] < 4
some, known = images[test][:num_scored], one_hot[test][:num_scored]
contexts = {"no class": tf.zeros([10]), "given the class": known}
classifier = sklearn.neighbors.KNeighborsClassifier(1)
classifier.fit(images[train].reshape(-1, 64), labels[train])
fraction = classifier.score(some.reshape(-1, 64), labels[test][:num_scored])
print(f"classified correctly: {fraction:.2f} of the held-out digits")
for name, context in contexts.items():
    conditioned = flows.condition(model, context)
    completed = conditioned.sample_completions(some, observed, seed=[0, 1])
    completed = np.reshape(completed, [-1, 64])
    fraction = classifier.score(completed, labels[test][:num_scored])
    print(f"                      {fraction:.2f} of the completions, {name}")

# %%
rows = [np.flatnonzero(labels[test] == digit)[0] for digit in range(10)]
shown = images[test][rows]


@tf.function
def complete(context, number):
    conditioned = flows.condition(model, context)
    return conditioned.sample_completions(shown, observed, [number], seed=[0, 2])


panels = {
    "digit": shown[np.newaxis],
    "input": np.where(observed, shown, 3)[np.newaxis],
    "completions of the upper half": complete(tf.zeros([10]), 6),
    "given the class": complete(tf.eye(10), 3),
}
widths = [len(panel) for panel in panels.values()]
figure, axes = plt.subplots(
    1, 4, figsize=(8.0, 7.6), width_ratios=widths, layout="constrained"
)
for ax, (title, panel) in zip(axes, panels.items()):
    tiles = np.pad(np.array(panel)[..., 0], [(0, 0), (0, 0), (1, 1), (1, 1)])
    tiles = tiles.transpose(1, 2, 0, 3).reshape(100, -1)
    ax.imshow(tiles, cmap="gray_r", vmax=16)
    ax.hlines(10 * np.arange(10) + 4.5, -0.5, tiles.shape[1] - 0.5, "tab:red", lw=0.6)
    ax.set_title(title, fontsize=11)
    ax.set_axis_off()
figure.savefig("occluded_digits.png", dpi=100)
plt.show()
