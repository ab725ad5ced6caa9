"""The builders, small, that are held to what every flow promises."""

import dataclasses
import functools
import inspect
import typing

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import flows
from tfp_flows.networks import MADE

tfb, tfd = tfp.bijectors, tfp.distributions


@dataclasses.dataclass(frozen=True)
class FlowCase:
    """A builder with small sizes, and data for its flow.

    Args:
      builder: function of `tfp_flows.flows`.
      sizes: its positional arguments.
      options: keyword arguments of it.
      kind: "vectors", "images", or "integers".
      build: callable from keyword arguments to the flow, if that is not `builder` with
        the sizes.
    """

    builder: typing.Callable
    sizes: tuple = ()
    options: dict = dataclasses.field(default_factory=dict)
    kind: str = "vectors"
    build: typing.Callable | None = None

    def make(self, **more):
        """Returns the flow, with seed 0 if none is given."""
        if self.build is not None:
            return self.build(**more)
        return self.builder(*self.sizes, **{**self.options, "seed": 0, **more})

    def takes(self, option):
        """Whether the builder has a keyword argument of that name."""
        return option in inspect.signature(self.builder).parameters

    @property
    def event_shape(self):
        return [4] if self.kind != "images" else [4, 4, 1]

    def data(self, number, dtype=np.float32, seed=0):
        """Returns points that the flow may be asked for."""
        rng, shape = np.random.default_rng(seed), [number, *self.event_shape]
        if self.kind == "images":
            return rng.uniform(0.0, 256.0, size=shape).astype(dtype)
        if self.kind == "integers":
            return rng.integers(0, 5, size=shape).astype(dtype)
        return rng.normal(size=shape).astype(dtype)


def moved(flow, scale=0.05):
    """Moves the variables of a flow away from where they start; returns it."""
    for i, variable in enumerate(flow.trainable_variables):
        waves = tf.reshape(tf.range(tf.size(variable)), variable.shape)
        variable.assign_add(scale * tf.cos(i + tf.cast(waves, variable.dtype)))
    return flow


def _discrete(dtype=tf.float32, seed=0, **others):
    network = MADE(4, 5, (8,), seed=seed, dtype=dtype)
    return flows.discrete_autoregressive(network, 5, **others)


def _amortized(seed=0, dtype=tf.float32, **others):
    family = flows.amortized_posterior(
        4, "iaf", 2, context_size=2, hidden_units=(8,), seed=seed, dtype=dtype, **others
    )
    return family(tf.fill([family.num_parameters], tf.constant(0.3, dtype)))


def _image(builder, *sizes):
    return FlowCase(builder, ([4, 4, 1], 1, *sizes), kind="images")


def _of_layers(builder):
    def build(**options):
        flow = builder(4, 2, **{"seed": 0, **options})
        if not isinstance(flow, tfb.Bijector):
            return flow
        dtype = options.get("dtype", tf.float32)
        noise = tfd.MultivariateNormalDiag(tf.zeros(4, dtype))
        return tfd.TransformedDistribution(noise, tfb.Invert(flow))

    return FlowCase(builder, build=build)


_spline = functools.partial(FlowCase, flows.neural_spline, (4, 2, (8,)))

FLOWS = {
    "maf": FlowCase(flows.maf, (4, 2, (8,))),
    "iaf": FlowCase(flows.iaf, (4, 2, (8,))),
    "real_nvp": FlowCase(flows.real_nvp, (4, 2, (8,))),
    "nice": FlowCase(flows.nice, (4, 2, (8,))),
    "neural_spline": _spline(),
    "neural_spline/autoregressive": _spline(dict(kind="autoregressive")),
    "planar": _of_layers(flows.planar),
    "radial": _of_layers(flows.radial),
    "sylvester": _of_layers(flows.sylvester),
    "glow": _image(flows.glow, 2, 4),
    "real_nvp_image": _image(flows.real_nvp_image, 1, 4, 1),
    "discrete_autoregressive": FlowCase(
        flows.discrete_autoregressive, kind="integers", build=_discrete
    ),
    "amortized_posterior": FlowCase(flows.amortized_posterior, build=_amortized),
}
