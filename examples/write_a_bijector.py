# %% [markdown]
# # Writing a layer
#
# A layer of a flow is a class with three methods: `_forward`, `_inverse`, and the log
# determinant of the inverse. Derived from `tfp_flows.bijectors.Layer`, it is a
# `tfb.Bijector` that trains, is saved by Keras, and can be stacked in a `Scan`. This
# tutorial writes one, tests it, and uses it for independent component analysis.

# %%
import pathlib
import tempfile

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import bijectors
from tfp_flows.keras import DensityModel, register_builder
from tfp_flows.testing import check_layer

tfb, tfd = tfp.bijectors, tfp.distributions

# %% [markdown]
# ## The layer
#
# The layer acts on each element, $y = \sinh(t \operatorname{asinh}(x)) / t$. Close to 0
# it is the identity; far away $|y|$ grows like $|x|^t$. For $t > 1$ it turns a Gaussian
# into a distribution with heavy tails. The parameter is $\log t$, so that all values
# are valid and 0 is the identity.
#
# Three things in the code are more than formulas. `parameters` are the arguments of the
# constructor, with which a copy is made. The attribute `log_tail` holds the variable
# itself and not its value, so that training reaches it. `forward_min_event_ndims=0`
# says that the layer acts on scalars.


# %%
class Tails(bijectors.Layer):
    """Elementwise y = sinh(t asinh(x)) / t, with t = exp(log_tail)."""

    def __init__(self, log_tail, validate_args=False, name="tails"):
        parameters = dict(locals())
        self.log_tail = log_tail
        super().__init__(
            forward_min_event_ndims=0,
            dtype=log_tail.dtype,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    def _forward(self, x):
        t = tf.exp(self.log_tail)
        return tf.sinh(t * tf.asinh(x)) / t

    def _inverse(self, y):
        t = tf.exp(self.log_tail)
        return tf.sinh(tf.asinh(t * y) / t)

    def _inverse_log_det_jacobian(self, y):
        t = tf.exp(self.log_tail)
        log_cosh = tf.math.log(tf.cosh(tf.asinh(t * y) / t))
        return log_cosh - 0.5 * tf.math.log1p((t * y) ** 2)


# %% [markdown]
# ## Tests
#
# A layer with an error trains as well: the loss falls, the numbers are finite, and what
# is wrong is the density. Hence the laws that all layers of this package are tested by:
# `check_layer` compares the inverse with the forward map, log determinants with those
# of Jacobians by automatic differentiation, graphs and XLA with eager evaluation, and
# copies and compositions with the layer. It returns if they hold, and otherwise names
# the law that is broken. Use float64, where an error cannot be mistaken for rounding.

# %%
x = tf.random.stateless_normal([10, 2], [0, 1], dtype=tf.float64)
check_layer(Tails(tf.Variable([0.7, -0.3], dtype=tf.float64)), x)
print("Tails passes.")


class WrongSign(Tails):
    def _inverse_log_det_jacobian(self, y):
        return -super()._inverse_log_det_jacobian(y)


try:
    check_layer(WrongSign(tf.Variable([0.7, -0.3], dtype=tf.float64)), x)
except AssertionError as error:
    print("WrongSign fails:", str(error).strip().splitlines()[0])

line = np.linspace(-60.0, 60.0, 200_001, dtype=np.float32)
for kind in [Tails, WrongSign]:
    model = tfd.TransformedDistribution(tfd.Normal(0.0, 1.0), kind(tf.constant(0.5)))
    integral = np.trapezoid(model.prob(line), line)
    print(f"{kind.__name__:9} integral of the density {integral:.3f}")

# %% [markdown]
# ## A use: independent component analysis
#
# Two independent sources with heavy tails are mixed by a matrix. From the mixtures
# alone, maximum likelihood recovers the matrix: a Gaussian is the same in all rotated
# coordinates, but heavy tails have axes. The flow is the new layer, followed by a
# trainable matrix, `InvertibleConv1x1` without any pixels.

# %%
num_epochs = 20

mixing = np.array([[1.2, 0.4], [0.3, -0.8]], np.float32)
sources = tfd.Sample(tfd.StudentT(3.0, 0.0, 1.0), 2).sample(22_000, seed=[0, 2])
data = tf.linalg.matvec(mixing, sources).numpy()
train, test = data[:20_000], data[20_000:]


@register_builder(package="tutorial")
def independent_components(num_components):
    base = tfd.Sample(tfd.Normal(0.0, 1.0), num_components)
    tails = Tails(tf.Variable(tf.zeros(num_components)))
    matrix = tf.Variable(tf.eye(num_components))
    mixing = bijectors.InvertibleConv1x1(matrix, event_ndims=1)
    return tfd.TransformedDistribution(base, tfb.Chain([mixing, tails]))


flow = independent_components(2)
model = DensityModel(flow)
model.compile(keras.optimizers.Adam(5e-3), jit_compile=True)
model.fit(train, batch_size=200, epochs=num_epochs, verbose=0)

gaussian = tfd.MultivariateNormalTriL(
    np.mean(train, axis=0), np.linalg.cholesky(np.cov(train.T)).astype(np.float32)
)
truth = tfd.Sample(tfd.StudentT(3.0, 0.0, 1.0), 2)
log_det = np.log(np.abs(np.linalg.det(mixing)))
print(f"Gaussian      {np.mean(gaussian.log_prob(test)):.3f} nats")
print(f"flow          {np.mean(model.predict(test, verbose=0)):.3f} nats")
print(f"true density  {np.mean(truth.log_prob(sources[20_000:])) - log_det:.3f} nats")
matrix, tails = flow.bijector.bijectors[0].weight.numpy(), flow.bijector.bijectors[1]
print("t:", tf.exp(tails.log_tail).numpy().round(2))

# %% [markdown]
# ## Saving and scanning
#
# The layer behaves as those of the package do. A `.keras` file restores the flow, since
# `register_builder` recorded the call that built it. A `Scan` compiles a stack of such
# layers as one loop.

# %%
with tempfile.TemporaryDirectory() as directory:
    path = pathlib.Path(directory, "tails.keras")
    model.save(path)
    restored = keras.models.load_model(path)
same = np.array_equal(restored.predict(test, verbose=0), model.predict(test, verbose=0))
print("the restored model has the same densities:", same)
layers = [Tails(tf.Variable([0.1 * i, 0.2])) for i in range(4)]
stack, chain = bijectors.Scan.from_layers(layers), tfb.Chain(layers[::-1])
difference = stack.forward(test) - chain.forward(test)
print("Scan against Chain, largest difference:", np.max(np.abs(difference)))

# %% [markdown]
# The picture shows log densities. White lines are the columns of the fitted matrix,
# dotted lines those of the true one: the axes of the heavy tails, along which the
# contours of the flow point. The Gaussian has ellipses.

# %%
figure, axes = plt.subplots(1, 3, figsize=(9.0, 3.2), layout="constrained")
line = np.linspace(-6.0, 6.0, 200, dtype=np.float32)
grid = np.stack(np.meshgrid(line, line), axis=-1)
for ax, density in zip(axes[1:], [gaussian, flow]):
    nats = tf.function(density.log_prob)(grid).numpy()
    ax.contourf(line, line, nats, levels=np.linspace(-14.0, -1.0, 14), cmap="magma")
for ax, title in zip(axes, ["data", "Gaussian", "flow"]):
    ax.set(title=title, xticks=[], yticks=[], xlim=(-6, 6), ylim=(-6, 6))
axes[0].scatter(*train.T, s=2, color="black", alpha=0.3, linewidths=0)
for column in (matrix / np.linalg.norm(matrix, axis=0)).T:
    axes[2].plot(*np.outer(column, [-7.0, 7.0]), color="white", linewidth=1.0)
for column in (mixing / np.linalg.norm(mixing, axis=0)).T:
    axes[2].plot(*np.outer(column, [-7.0, 7.0]), "k:", linewidth=2.0)
figure.savefig("write_a_bijector.png", dpi=100)
plt.show()
