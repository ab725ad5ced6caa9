"""Posteriors whose parameters an encoder predicts, for each point its own."""

import math

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._compositions import bind_context
from tfp_flows._recipes import recipe
from tfp_flows.bijectors import PlanarStack, Radial, Sylvester, bases, transformers
from tfp_flows.flows._layers import check_sizes
from tfp_flows.flows.iaf import iaf

tfb, tfd = tfp.bijectors, tfp.distributions

_SYLVESTER = ("orthogonal", "householder", "triangular")
_FLOWS = ("none", "planar", "radial", *_SYLVESTER, "iaf")
_LEAST = 1e-4  # of scales: softplus alone can be 0


@recipe(package="tfp_flows")
def amortised_posterior(
    event_size,
    flow="none",
    num_layers=4,
    *,
    num_columns=None,
    num_reflections=8,
    activation="tanh",
    context_size=None,
    hidden_units=(320,),
    transformer=transformers.GatedAffine(),
    seed=None,
    dtype=tf.float32,
    name="amortised_posterior",
):
    """Builds a family `q(z | x)` of posteriors, one for each output of an encoder.

    `z_0 ~ N(loc, diag(scale)^2)`, `z = f_K(... f_1(z_0))`, where the encoder tells
    `loc`, `scale` and the parameters of each layer `f_k`, as Rezende and Mohamed
    (2015), https://arxiv.org/abs/1505.05770, and van den Berg et al. (2018),
    https://arxiv.org/abs/1803.05649, have it. The layers of an inverse autoregressive
    flow, Kingma et al. (2016), https://arxiv.org/abs/1606.04934, are networks with
    weights of their own, to which the encoder gives a context.

    Samples and their density, `experimental_sample_and_log_prob`, take one pass through
    the layers. The density of any other `z`, `log_prob`, takes their inverse.

    Args:
      event_size: `D`, the length of `z`.
      flow: "none" for the Gaussian alone, "planar", "radial", "orthogonal",
        "householder" and "triangular" (Sylvester layers by their basis), or "iaf".
      num_layers: `K`.
      num_columns: `M <= D`, width of a Sylvester layer; by default `D`, 32 at most.
      num_reflections: number of reflections of the "householder" basis.
      activation: of planar and Sylvester layers: "tanh", "leaky_relu", or an
        `Activation`.
      context_size: length of the context of "iaf", 0 for none; `D` by default.
      hidden_units, transformer: of "iaf", as for `tfp_flows.flows.iaf`.
      seed: integer that decides the weights of "iaf", in each process alike; the others
        have none.
      dtype: floating dtype.
      name: name of the distributions.

    Returns:
      family: `tf.Module`. `family(parameters)`, of a tensor `[..., num_parameters]`, is
        a `tfd.Distribution` of batch shape `[...]` and event shape `[D]`;
        `family.num_parameters` is how many the encoder has to predict. Where they are 0
        the Gaussian is standard normal, and the layers, those of "iaf" aside, are the
        identity, but have gradients that bend them: an encoder may start there. It ends
        a Keras network as a `tfp_flows.keras.DistributionLayer(family)`.

    Raises:
      TypeError: "iaf" without an integer as `seed`.
      ValueError: `flow` is none of those, a size is below 1, `num_columns` above `D`;
        the parameters are not so many as the family needs.
    """
    check_sizes(event_size, num_layers)
    if flow not in _FLOWS:
        raise ValueError(f"`flow` must be one of {_FLOWS}; got {flow!r}.")
    options = dict(size=event_size, num_layers=num_layers, dtype=dtype, name=name)
    if flow == "none":
        return _Gaussian(**options)
    if flow == "planar":
        return _Planar(activation, **options)
    if flow == "radial":
        return _Radial(**options)
    if flow == "iaf":
        context_size = event_size if context_size is None else context_size
        made = iaf(
            event_size, num_layers, hidden_units, transformer=transformer, seed=seed,
            context_size=context_size, dtype=dtype)
        return _Autoregressive(made.bijector, context_size, **options)
    columns = min(event_size, 32) if num_columns is None else num_columns
    if not 1 <= columns <= event_size or num_reflections < 1:
        raise ValueError(
            f"`num_columns` must be in [1, {event_size}] and `num_reflections` at "
            f"least 1; got {num_columns} and {num_reflections}."
        )
    return _Sylvester(flow, columns, num_reflections, activation, **options)


class _Gaussian(tf.Module):
    """Family of Gaussians of independent elements, and base of the others.

    Args:
      size: `D`.
      num_layers: `K`.
      dtype, name: as for `amortised_posterior`.
      shapes: shapes of the parameters of the flow, by name.
    """

    def __init__(self, size, num_layers, dtype, name, shapes=None):
        super().__init__(name=name)
        self.event_size, self.num_layers, self.dtype = size, num_layers, dtype
        self._shapes = dict(loc=[size], scale=[size], **(shapes or {}))
        self._sizes = [math.prod(shape) for shape in self._shapes.values()]

    @property
    def num_parameters(self):
        return sum(self._sizes)

    def __repr__(self):
        return (
            f"<{self.name}: {type(self).__name__.strip('_')}, "
            f"event_size={self.event_size}, num_layers={self.num_layers}, "
            f"num_parameters={self.num_parameters}>"
        )

    def __call__(self, parameters):
        parameters = tf.convert_to_tensor(parameters, self.dtype, name="parameters")
        if not parameters.shape.rank or parameters.shape[-1] != self.num_parameters:
            sizes = dict(zip(self._shapes, self._sizes))
            raise ValueError(
                f"`parameters` must have shape [..., {self.num_parameters}] for "
                f"{self!r}, in this order: {sizes}; got shape {parameters.shape}."
            )
        batch = tf.shape(parameters)[:-1]
        parts = {
            name: tf.ensure_shape(
                tf.reshape(part, tf.concat([batch, shape], axis=0)),
                [*parameters.shape[:-1], *shape])
            for (name, shape), part in zip(
                self._shapes.items(), tf.split(parameters, self._sizes, axis=-1))
        }
        base = tfd.MultivariateNormalDiag(parts["loc"], _positive(parts["scale"]))
        bijector = self._flow(parts)
        if bijector is None:
            return base
        return tfd.TransformedDistribution(base, bijector, name=self.name)

    def _flow(self, parts):
        """Returns the bijector of reshaped parameters, None for the identity."""
        return None


class _Planar(_Gaussian):
    def __init__(self, activation, size, num_layers, **options):
        shapes = dict(u=[num_layers, size], w=[num_layers, size], b=[num_layers])
        super().__init__(size, num_layers, shapes=shapes, **options)
        self._activation = activation

    def _flow(self, parts):
        w = parts["w"] + _directions([self.num_layers, self.event_size], self.dtype)
        return PlanarStack(parts["u"], w, parts["b"], self._activation)


class _Radial(_Gaussian):
    def __init__(self, size, num_layers, **options):
        shapes = dict(
            center=[num_layers, size], radius=[num_layers], gain=[num_layers])
        super().__init__(size, num_layers, shapes=shapes, **options)

    def _flow(self, parts):
        each = [
            tf.unstack(parts["center"], axis=-2),
            tf.unstack(_positive(parts["radius"]), axis=-1),
            tf.unstack(_positive(parts["gain"]), axis=-1),
        ]
        return tfb.Chain([Radial(*layer) for layer in zip(*each)][::-1])


class _Sylvester(_Gaussian):
    def __init__(
        self, basis, columns, reflections, activation, size, num_layers, **options
    ):
        bases_of = dict(
            orthogonal=dict(q=[num_layers, size, columns]),
            householder=dict(q=[num_layers, reflections, size]),
            triangular={},
        )
        triangle = [num_layers, columns * (columns + 1) // 2]
        shapes = dict(
            r=triangle, r_tilde=triangle, b=[num_layers, columns], **bases_of[basis])
        super().__init__(size, num_layers, shapes=shapes, **options)
        self._basis, self._columns, self._activation = basis, columns, activation

    def _flow(self, parts):
        r, r_tilde = (
            tfp.math.fill_triangular(parts[name], upper=True)
            for name in ("r", "r_tilde"))
        r_tilde += tf.eye(self._columns, dtype=self.dtype)  # both 0: no gradient
        factors = [
            tf.unstack(bases.triangular_factor(each), axis=-3) for each in (r, r_tilde)]
        each = [self._columns_of(parts), *factors, tf.unstack(parts["b"], axis=-2)]
        return tfb.Chain([
            Sylvester(*layer, activation=self._activation) for layer in zip(*each)
        ][::-1])

    def _columns_of(self, parts):
        """Returns `Q` of each layer; all are orthonormalised at once."""
        if self._basis == "triangular":
            return [
                bases.permutation_basis(
                    self.event_size, self._columns, i % 2 == 1, self.dtype)
                for i in range(self.num_layers)
            ]
        if self._basis == "householder":
            mirrors = _directions(self._shapes["q"], self.dtype)
            q = bases.householder_basis(parts["q"] + mirrors, self._columns)
        else:
            eye = tf.eye(self.event_size, self._columns, dtype=self.dtype)
            q = bases.bjorck_basis(parts["q"] + eye)
        return tf.unstack(q, axis=-3)


class _Autoregressive(_Gaussian):
    def __init__(self, bijector, context_size, **options):
        shapes = dict(context=[context_size]) if context_size else {}
        super().__init__(shapes=shapes, **options)
        self.bijector = bijector

    def _flow(self, parts):
        if "context" not in parts:
            return self.bijector
        return bind_context(self.bijector, parts["context"])


def _directions(shape, dtype):
    """Returns fixed vectors of length 1: with those of 0, layers had no gradient."""
    vectors = np.random.RandomState(0).normal(size=shape)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return tf.constant(vectors, dtype)


def _positive(raw):
    """Returns scales: 1 at 0, never 0, and linear where they are large."""
    return _LEAST + (1.0 - _LEAST) * tf.math.softplus(raw + np.log(np.e - 1.0))
