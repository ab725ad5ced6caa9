# %% [markdown]
# # Training on several devices, and resuming after an interruption
#
# Flows are trained with the strategies of `tf.distribute`. The global batch is split
# among the devices, so losses do not depend on their number. This tutorial trains the
# same flow on one device and on two, and then interrupts a training and resumes it. It
# needs no GPU: the processor is split into two logical devices. That must happen before
# TensorFlow runs anything.

# %%
import tempfile
import time

import tensorflow as tf

processor = tf.config.list_physical_devices("CPU")[0]
logical_device = tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(processor, [logical_device] * 2)

import keras
import matplotlib.pyplot as plt
import numpy as np
import sklearn.datasets
import tensorflow_probability as tfp

from tfp_flows import flows
from tfp_flows.keras import BackupAndRestore, DensityModel

tfb = tfp.bijectors

# %% [markdown]
# ## Data
#
# The digits of scikit-learn, 8 x 8 pixels with integers from 0 to 16, with ten draws of
# the noise that makes them continuous.

# %%
rng = np.random.RandomState(0)
digits = sklearn.datasets.load_digits().data
digits = digits[rng.permutation(len(digits))]
train, test = (
    np.float32(np.tile(part, [10, 1]) + rng.uniform(size=[10 * len(part), 64]))
    for part in np.split(digits, [1400])
)

# %% [markdown]
# ## One function for any number of devices
#
# Flow and model are built in `strategy.scope()`, so that each device holds a copy of
# each variable. Everything else is as for one device. For the GPUs of one machine the
# strategy is `tf.distribute.MirroredStrategy()`. For several machines it is
# `tf.distribute.MultiWorkerMirroredStrategy()`, with `TF_CONFIG` in the environment of
# each; `examples/experiments/keras_multi_device.py` does that.

# %%
num_epochs = 4
batch_size = 200


def build(strategy):
    with strategy.scope():
        flow = flows.real_nvp(64, 6, (128, 128), standardize=True, seed=0)
        flow = flows.transform(flow, tfb.Sigmoid(low=-0.34, high=17.34))
        model = DensityModel(flow)
        num_steps = num_epochs * len(train) // batch_size
        schedule = keras.optimizers.schedules.CosineDecay(2e-3, num_steps)
        model.compile(keras.optimizers.Adam(schedule, global_clipnorm=5.0))
    return model


def fit(model, callbacks=()):
    start = time.perf_counter()
    history = model.fit(
        train,
        batch_size=batch_size,
        epochs=num_epochs,
        callbacks=list(callbacks),
        verbose=0,
    )
    return history.epoch, history.history["loss"], time.perf_counter() - start


strategies = {
    "one device": tf.distribute.get_strategy(),
    "two devices": tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
}
losses = {}
for name, strategy in strategies.items():
    model = build(strategy)
    epochs, losses[name], seconds = fit(model)
    held_out = model.evaluate(test, batch_size=1985, verbose=0)
    print(f"{name:12} loss by epoch", np.round(losses[name], 2), f"{seconds:.0f} s")
    print(f"{'':12} held-out loss {held_out:.2f}")

# %% [markdown]
# The losses agree up to rounding, which training amplifies. Two logical devices share
# one processor, so the second training is not faster; two GPUs would be.

# %%
difference = np.abs(np.subtract(*losses.values()))
print(
    "relative difference, largest:",
    f"{np.max(difference / np.abs(losses['one device'])):.0e}",
)

# %% [markdown]
# ## Interruption
#
# `BackupAndRestore` saves the training every few batches: variables, optimizer, epoch
# and position in the epoch. A training that is killed resumes after the batch of its
# last backup, and ends as if it had never been interrupted. Here an exception
# interrupts it in the third epoch.


# %%
stop_after = 0.57 * num_epochs


class Interruption(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == int(stop_after * len(train) / batch_size):
            raise KeyboardInterrupt


directory = tempfile.mkdtemp()
backup = BackupAndRestore(directory, save_freq=20)
try:
    fit(build(strategies["two devices"]), [backup, Interruption()])
except KeyboardInterrupt:
    print("interrupted; a new process would start here")
backup = BackupAndRestore(directory, save_freq=20)
epochs, resumed, _ = fit(build(strategies["two devices"]), [backup])
print("epochs after the resumption:", [epoch + 1 for epoch in epochs])
print("loss by epoch              ", np.round(resumed, 2))

# %%
figure, ax = plt.subplots(figsize=(6.0, 3.6), layout="constrained")
every = 1 + np.arange(num_epochs)
ax.plot(
    every, losses["one device"], "o-", color="0.7", lw=6.0, ms=12.0, label="one device"
)
ax.plot(every, losses["two devices"], "C0o-", label="two devices")
ax.plot(1 + np.array(epochs), resumed, "C1x", ms=11.0, mew=2.5, label="resumed")
ax.axvline(1 + stop_after, color="C1", ls=":", lw=1.5, label="interruption")
ax.set(xlabel="epoch", ylabel="loss in nats", title="the same training, three times")
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)
figure.savefig("keras_multi_device.png", dpi=100)
plt.show()
