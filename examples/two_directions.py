# %% [markdown]
# # Two directions: which flow is fast for what
#
# A flow $y = f(x)$ from latents to data is used in two directions. *Density evaluation*
# maps data to latents, and is what maximum likelihood needs. *Sampling* maps latents to
# data, and is what variational inference needs. Layers differ in which of the two is
# cheap.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import bijectors, flows, networks

tfd = tfp.distributions

# %% [markdown]
# ## A masked autoregressive layer, by hand
#
# MAF ([Papamakarios et al., 2017](https://arxiv.org/abs/1705.07057)) transforms each
# element conditioned on the preceding outputs:
#
# $$y_d = x_d \exp(s_d) + t_d, \qquad (s_d, t_d) = g_d(y_1, \dots, y_{d-1}).$$
#
# One network, a MADE, predicts all $s_d$ and $t_d$ at once. Masks on its weights ensure
# that the parameters of element $d$ depend on the preceding elements alone.

# %%
num_dims = 64
network = networks.MADE(num_dims, 2, hidden_units=(256, 256), seed=0)
for i, weights in enumerate(network.trainable_variables):  # as if it were trained
    weights.assign_add(0.05 * tf.random.stateless_normal(weights.shape, [0, i]))
affine = bijectors.transformers.Affine()
layer = bijectors.MaskedAutoregressive(network, affine)
x = tf.random.stateless_normal([100, num_dims], [0, 100])

# %% [markdown]
# *Sampling* is sequential: $y_d$ needs $y_1, \dots, y_{d-1}$ as network inputs. The
# naive algorithm evaluates the network $D$ times, and each evaluation makes one more
# element correct. *Density evaluation* has all of $y$, and takes a single evaluation.
# The Jacobian is triangular, so its log determinant is the sum of the $s_d$.

# %%
y = tf.zeros_like(x)
for _ in range(num_dims):
    y, log_det = affine.forward_and_log_det(x, network(y))
print("sampling, D evaluations:  difference", np.max(np.abs(y - layer.forward(x))))

x_again, log_det = affine.inverse_and_log_det(y, network(y))
log_det = tf.reduce_sum(log_det, axis=-1)
print("density, 1 evaluation:    difference", np.max(np.abs(x_again - x)))
difference = log_det - layer.inverse_log_det_jacobian(y)
print("log determinant:          difference", np.max(np.abs(difference)))

# %% [markdown]
# The package does not evaluate the network $D$ times. Because of the masks, a hidden
# unit depends on some first elements only. Once these are known, it is computed once
# and for all, block by block. Sampling then costs about two network evaluations,
# although in many small steps.
#
# ## Which layer for what
#
# - **MAF**: density in one evaluation, samples in about two.
# - **IAF** ([Kingma et al., 2016](https://arxiv.org/abs/1606.04934)) is its mirror
#   image, with parameters predicted from $x_1, \dots, x_{d-1}$: samples in one
#   evaluation, density of given points in about two.
# - **Coupling layers** (RealNVP, [Dinh et al., 2017](https://arxiv.org/abs/1605.08803))
#   leave one half of the elements unchanged, and predict the parameters of the other
#   half from it. Both directions take one evaluation. Each layer does less, so more of
#   them are needed.
#
# The following measures both directions, compiled with XLA, for 100 examples.

# %%
sizes = [16, 64, 256]
num_repeats = 20


def milliseconds(function, *args):
    """Returns the shortest processor time of a call, after compilation."""
    function, times = tf.function(function, jit_compile=True), []
    for _ in range(num_repeats + 1):
        start = time.process_time()
        function(*args).numpy()
        times.append(1e3 * (time.process_time() - start))
    return min(times)


def naive_sampler(layer):
    def sample(x):
        y = x
        for _ in tf.range(x.shape[-1]):
            y, _ = affine.forward_and_log_det(x, layer.conditioner(y))
        return y

    return sample


timings = {}
for size in sizes:
    points = tf.random.stateless_normal([100, size], [0, size])
    maf = flows.maf(size, 1, (256, 256), seed=0)
    iaf = flows.iaf(size, 1, (256, 256), transformer=affine, seed=0)
    real_nvp = flows.real_nvp(size, 2, (128, 128), seed=0)
    for name, flow in {"MAF": maf, "IAF": iaf, "RealNVP": real_nvp}.items():
        timings[name, "density", size] = milliseconds(flow.log_prob, points)
        timings[name, "sampling", size] = milliseconds(flow.bijector.forward, points)
    naive = naive_sampler(
        bijectors.MaskedAutoregressive(
            networks.MADE(size, 2, hidden_units=(256, 256), seed=0), affine
        )
    )
    timings["MAF", "sampling, naive", size] = milliseconds(naive, points)
for name, direction in dict.fromkeys(key[:2] for key in timings):
    row = [f"{timings[name, direction, size]:7.2f} ms" for size in sizes]
    print(f"{name:8} {direction:16}", *row)

# %% [markdown]
# ## Jacobians
#
# The Jacobians $\partial x / \partial y$ show the same structure: triangular for one
# autoregressive layer, half of a diagonal and a block for one coupling layer. Several
# layers have a dense Jacobian, and yet its log determinant is the sum over the layers.


# %%
def perturbed(flow):
    for i, weights in enumerate(flow.trainable_variables):
        weights.assign_add(0.1 * tf.random.stateless_normal(weights.shape, [0, i]))
    return flow


jacobians = {}
for title, flow in {
    "1 MAF layer": flows.maf(16, 1, (64, 64), activation="tanh", seed=0),
    "1 coupling layer": flows.real_nvp(16, 1, (32, 32), mask="half", seed=0),
    "4 coupling layers": flows.real_nvp(16, 4, (32, 32), mask="half", seed=0),
}.items():
    bijector, y = perturbed(flow).bijector, tf.random.stateless_normal([1, 16], [0, 7])
    with tf.GradientTape() as tape:
        tape.watch(y)
        x = bijector.inverse(y)
    jacobians[title] = matrix = tape.batch_jacobian(x, y)[0].numpy()
    full = np.linalg.slogdet(matrix)[1]
    layers = bijector.inverse_log_det_jacobian(tf.identity(y))[0].numpy()
    print(f"{title:18} log det {layers:9.5f}, of the full Jacobian {full:9.5f}")

# %%
figure, axes = plt.subplots(2, 3, figsize=(9.0, 6.2), layout="constrained")
for ax, (title, matrix) in zip(axes[0], jacobians.items()):
    with np.errstate(divide="ignore"):
        ax.imshow(np.log10(np.abs(matrix)), cmap="viridis", vmin=-2.0, vmax=1.0)
    ax.set(title=title, xticks=[], yticks=[], xlabel="data", ylabel="latents")
    ax.set_facecolor("0.85")
styles = {"density": "o-", "sampling": "s--", "sampling, naive": "x:"}
for ax, name in zip(axes[1], ["MAF", "IAF", "RealNVP"]):
    for direction, style in styles.items():
        if (name, direction, sizes[0]) in timings:
            values = [timings[name, direction, size] for size in sizes]
            ax.loglog(sizes, values, style, label=direction)
    ax.set(title=f"{name}: milliseconds", xlabel="dimensions", ylim=(0.3, 5000.0))
    ax.set_xticks(sizes, sizes)
    ax.minorticks_off()
    ax.legend(frameon=False, loc="upper left")
figure.savefig("two_directions.png", dpi=100)
plt.show()
