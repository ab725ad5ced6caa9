# %% [markdown]
# # WaveNet: generating sound, one sample at a time
#
# A WaveNet ([van den Oord et al., 2016](https://arxiv.org/abs/1609.03499)) predicts the
# distribution of each sample of a waveform from the samples before it, by dilated
# causal convolutions. Here it learns synthesized notes of ten pitches, with the pitch
# as context. Then it generates notes, and recognizes the pitch of held-out ones.
# `examples/experiments/spoken_digits.py` does the same with recordings of speech.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

from tfp_flows import flows, networks

# %% [markdown]
# ## Data
#
# Notes of an eighth of a second at 8000 samples per second: a fundamental and four
# harmonics, with random amplitudes, decays and phases, and a little noise. As in the
# paper, a mu-law turns samples into 256 integers, so that quiet sounds keep detail.

# %%
rate = 8000
length = 1000
pitches = 150.0 * 2.0 ** (np.arange(10) / 6.0)  # in hertz


def encode(sound):
    compressed = np.sign(sound) * np.log1p(255.0 * np.abs(sound)) / np.log(256.0)
    return np.int32(np.floor(127.5 * (compressed + 1.0) + 0.5))


def decode(values):
    compressed = values / 127.5 - 1.0
    return np.sign(compressed) * np.expm1(np.abs(compressed) * np.log(256.0)) / 255.0


def play_notes(number, seed):
    """Returns `[number, length]` integers, and the pitch of each note, 0 to 9."""
    rng = np.random.default_rng(seed)
    pitch = np.arange(number) % 10
    seconds = np.arange(length) / rate
    sound = rng.normal(scale=0.002, size=[number, length])
    frequency = pitches[pitch] * 2.0 ** rng.normal(scale=0.005, size=number)
    for harmonic in range(1, 6):
        amplitude = 0.2 * rng.uniform(size=[number, 1]) / harmonic
        decay = rng.uniform(5.0, 30.0, size=[number, 1])
        phase = rng.uniform(0.0, 2.0 * np.pi, size=[number, 1])
        angle = 2.0 * np.pi * harmonic * frequency[:, np.newaxis] * seconds + phase
        sound += amplitude * np.exp(-decay * seconds) * np.sin(angle)
    return encode(sound), pitch


notes, labels = play_notes(300, seed=0)
test_notes, test_labels = play_notes(50, seed=1)

# %% [markdown]
# ## Model
#
# The network has eight layers with dilations 1, 2, ..., 128, and sees 256 samples. It
# predicts 256 logits for each sample. `discrete_autoregressive` makes the distribution.

# %%
num_steps = 150
batch_size = 4

network = networks.WaveNet(
    256, 24, 48, dilations=[2**i for i in range(8)], context_size=10, seed=0
)
model = flows.discrete_autoregressive(network, 256, event_shape=[length])
print(f"receptive field: {network.receptive_field} samples")
optimizer = keras.optimizers.Adam(
    keras.optimizers.schedules.CosineDecay(4e-3, num_steps), global_clipnorm=1.0
)
optimizer.build(model.trainable_variables)
train_notes, contexts = tf.constant(notes), tf.one_hot(labels, 10)


@tf.function(jit_compile=True)
def train_step(step):
    rows = tf.random.stateless_uniform([batch_size], [0, step], 0, 300, tf.int32)
    with tf.GradientTape() as tape:
        conditioned = flows.condition(model, tf.gather(contexts, rows))
        nats = tf.reduce_mean(conditioned.log_prob(tf.gather(train_notes, rows)))
        loss = -nats / (length * np.log(2.0))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply(gradients, model.trainable_variables)
    return loss


losses = [train_step(tf.constant(step)).numpy() for step in range(num_steps)]
print(f"last 20 steps: {np.mean(losses[-20:]):.2f} bits per sample")

# %% [markdown]
# ## Likelihood and recognition
#
# Bits per sample are what it takes to store a note. The histogram of all samples needs
# far more. The pitch under which a held-out note is most probable is its pitch in
# nearly all cases: a classifier by Bayes' rule.

# %%
histogram = np.log2(np.bincount(notes.ravel(), minlength=256) + 1.0)
histogram -= np.log2(np.sum(np.exp2(histogram)))
table = flows.condition(model, tf.eye(10)).log_prob(test_notes[:, np.newaxis])
nats = table.numpy()[np.arange(50), test_labels]
print("held-out bits per sample")
print(f"  histogram  {-np.mean(histogram[test_notes]):.2f}")
print(f"  WaveNet    {-np.mean(nats) / (length * np.log(2.0)):.2f}")
accuracy = np.mean(np.argmax(table, axis=1) == test_labels)
print(f"pitch recognized in {accuracy:.2f} of the notes")

# %% [markdown]
# ## Generation
#
# Sampling is sequential, but each layer keeps what it needs of earlier samples, so the
# cost per sample does not grow with the receptive field.

# %%
generate = tf.function(
    lambda: flows.condition(model, tf.eye(10)).sample(seed=[0, 1]), jit_compile=True
)
generated = decode(generate().numpy())


def spectrogram(sound):
    """Returns decibels, `[frequency, time]`."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, 256)[::16]
    power = np.abs(np.fft.rfft(frames * np.hanning(256), 512)) ** 2
    return 10.0 * np.log10(power.T / np.max(power) + 1e-6)


# %% [markdown]
# Spectrograms: time to the right, frequency upwards, one note for each pitch. The
# fundamental of the generated notes, marked, rises with the pitch as in the real ones.

# %%
figure, axes = plt.subplots(2, 10, figsize=(10.0, 4.4), layout="constrained")
for ax_row, title, sounds in zip(
    axes, ["held out", "generated"], [decode(test_notes[:10]), generated]
):
    for ax, sound, pitch in zip(ax_row, sounds, pitches):
        ax.imshow(
            spectrogram(sound)[:130],
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=-40.0,
            extent=[0.0, 1.0, 0.0, 130 * rate / 512],
        )
        ax.plot([-0.06], [pitch], ">", color="tab:green", clip_on=False, ms=6.0)
        ax.set(xticks=[], yticks=[], xlim=(0.0, 1.0))
    ax_row[0].set_ylabel(title, labelpad=14.0)
for ax, pitch in zip(axes[0], pitches):
    ax.set_title(f"{pitch:.0f} Hz", fontsize=10)
figure.savefig("wavenet.png", dpi=100)
plt.show()
