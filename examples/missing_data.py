# %% [markdown]
# # Missing data: fitting a flow to incomplete rows, and multiple imputation
#
# Tables miss entries. Filling each hole with one number (a mean, a regression) hides
# that the entry is uncertain. A density $p(x)$ of whole rows implies the distribution
# of the missing entries given the observed ones, from which they can be sampled. A flow
# provides $p(x)$. Two classical methods do the rest:
#
# - **Metropolis** samples the missing entries. As a function of them, $p(x)$ is
#   proportional to the conditional density, and the constant cancels.
# - **Monte Carlo EM** fits the flow to incomplete rows. The E-step samples the missing
#   entries from the current model; the M-step takes gradient steps on the completed
#   rows.
#
# Both assume that entries are missing at random: whether one is missing does not depend
# on its value. Here entries are removed by chance, and the truth is known.

# %%
import keras
import matplotlib.pyplot as plt
import numpy as np
import sklearn.datasets
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import flows

tfd = tfp.distributions

# %% [markdown]
# ## Data
#
# 2000 points of the two moons. 40 % of the entries are removed, but never both of a
# row: a row without any entry carries no information.


# %%
def moons(num_points, noise, seed):
    x, _ = sklearn.datasets.make_moons(num_points, noise=noise, random_state=seed)
    return np.float32(1.5 * (x - [0.5, 0.25]))


random = np.random.default_rng(0)
truth = moons(2000, 0.1, 0)
missing = random.uniform(size=truth.shape) < 0.4
missing[np.all(missing, axis=1)] = False
complete = ~np.any(missing, axis=1)
print(f"complete rows: {np.sum(complete)} of {len(truth)}")

# %% [markdown]
# ## E-step: Metropolis
#
# The proposal moves the missing entries alone, by a normal step with a random scale,
# from small ones that are accepted often to large ones that reach other modes. It is
# symmetric, so a step is accepted with probability $\min(1, p(x') / p(x))$. All rows
# are one batch of chains.

# %%
flow = flows.neural_spline(2, 4, (64, 64), seed=0)
is_missing = tf.constant(np.float32(missing))


def propose(states, seed):
    seeds = tfp.random.split_seed(seed, n=2)
    step = tf.random.stateless_normal(tf.shape(states[0]), seeds[0])
    log_scale = tf.random.stateless_uniform([len(missing), 1], seeds[1], -3.0, 1.0)
    return [states[0] + is_missing * tf.exp(log_scale) * step]


@tf.function(jit_compile=True)
def impute(x, seed):
    """Returns rows after 20 Metropolis steps in their missing entries."""
    kernel = tfp.mcmc.RandomWalkMetropolis(flow.log_prob, propose)
    states = tfp.mcmc.sample_chain(
        1, x, kernel=kernel, num_burnin_steps=19, trace_fn=None, seed=seed
    )
    return states[0]


# %% [markdown]
# ## Monte Carlo EM
#
# Chains start from observed values of the same column, drawn at random. In each round
# they continue from where they were, while the flow changes slowly beneath them.

# %%
num_rounds = 80
num_steps = 20  # in each round

schedule = keras.optimizers.schedules.CosineDecay(3e-3, num_rounds * num_steps)
optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.5, global_clipnorm=10.0)
optimizer.build(flow.trainable_variables)


@tf.function(jit_compile=True)
def train(x, seed):
    for i in tf.range(num_steps):
        seed_of_step = tf.stack([seed, i])
        rows = tf.random.stateless_uniform([256], seed_of_step, 0, len(x), tf.int32)
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow.log_prob(tf.gather(x, rows)))
        gradients = tape.gradient(loss, flow.trainable_variables)
        optimizer.apply(gradients, flow.trainable_variables)


x = truth.copy()
for column in range(2):
    holes = missing[:, column]
    x[holes, column] = random.choice(truth[~holes, column], np.sum(holes))
x = tf.constant(x)
for i in range(num_rounds):
    x = impute(x, tf.constant([0, i]))
    train(x, tf.constant(i))
for i in range(10):  # the flow is final, and the chains converge
    x = impute(x, tf.constant([1, i]))
imputed = x.numpy()

# %% [markdown]
# ## Results
#
# On new points, the second entry is removed and predicted from the first. The flow's
# conditional density is its joint density, normalized along a line. The baselines are
# the mean of the column and a linear regression, each with a Gaussian error, and the
# exact conditional density as the upper limit.


# %%
def conditional_log_prob(log_prob, points):
    """Returns log p(x_2 | x_1), by a sum over a grid of x_2."""
    line = np.linspace(-4.0, 4.0, 400, dtype=np.float32)
    grid = np.stack(np.broadcast_arrays(points[:, None, 0], line), axis=-1)
    total = tf.reduce_logsumexp(log_prob(grid), axis=1) + np.log(line[1] - line[0])
    return log_prob(points) - total


exact = tfd.MixtureSameFamily(
    tfd.Categorical(tf.zeros(200)),
    tfd.MultivariateNormalDiag(moons(200, None, 0), [0.15, 0.15]),
)
test, observed = moons(1000, 0.1, 1), truth[complete]
slope, intercept = np.float32(np.polyfit(*observed.T, 1))
residuals = observed[:, 1] - slope * observed[:, 0] - intercept
baselines = {
    "column mean": tfd.Normal(np.mean(observed[:, 1]), np.std(observed[:, 1])),
    "regression": tfd.Normal(slope * test[:, 0] + intercept, np.std(residuals)),
}
scores = {name: model.log_prob(test[:, 1]) for name, model in baselines.items()}
scores["flow"] = conditional_log_prob(tf.function(flow.log_prob), test)
scores["exact"] = conditional_log_prob(tf.function(exact.log_prob), test)
for name, nats in scores.items():
    error = np.std(nats) / np.sqrt(len(nats))
    print(f"{name:12} {np.mean(nats):7.3f} ± {error:.3f} nats per missing entry")

# %% [markdown]
# The picture shows rows whose second entry is missing. Mean and regression impute
# values where there are no data. Samples from the flow lie on the moons, on either one
# where both are possible. One sample is a possible value, not a measurement:
# computations should be repeated for several imputations, to include their uncertainty.

# %%
holes = missing[:, 1]
x_1 = truth[holes, 0]
filled = {
    "complete rows": truth[complete].T,
    "column mean": [x_1, np.full_like(x_1, np.mean(observed[:, 1]))],
    "regression": [x_1, slope * x_1 + intercept],
    "flow: one sample": imputed[holes].T,
}
figure, axes = plt.subplots(1, 4, figsize=(10.0, 2.6), layout="constrained")
for ax, (name, points) in zip(axes, filled.items()):
    color = "black" if name == "complete rows" else "C3"
    ax.scatter(*truth[complete].T, s=6, color="0.85", linewidths=0)
    ax.scatter(*points, s=5, color=color, linewidths=0)
    ax.set(title=name, xticks=[], yticks=[], xlim=(-3.0, 3.0), ylim=(-2.2, 2.2))
figure.savefig("missing_data.png", dpi=100)
plt.show()
