"""Flow of Sylvester layers."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._builders import check_outside_of_graphs, register_builder
from tfp_flows._dtypes import check_dtype
from tfp_flows._sizes import check_integers
from tfp_flows.bijectors import Scan, Sylvester, orthonormal
from tfp_flows.bijectors._trainable import make_trainable

_BASES = ("orthogonal", "householder", "triangular")


@register_builder(package="tfp_flows")
def sylvester(
    event_size,
    num_layers,
    num_columns=None,
    *,
    seed,
    basis="orthogonal",
    num_reflections=8,
    activation="tanh",
    scan=False,
    dtype=tf.float32,
    name="sylvester",
):
    """Builds a trainable flow of Sylvester layers, which starts as the identity.

    Sylvester flows as in van den Berg et al. (2018), https://arxiv.org/abs/1803.05649.
    The forward direction is the cheap one: as it is for posteriors, in `tfb.Invert` for
    fitting data. The other direction solves `num_columns` scalar equations a layer.

    Args:
      event_size: `D`, the length of one point.
      num_layers: number of layers.
      num_columns: `M <= D`, width of a layer; `D` by default.
      seed: integer that decides the initial values, in each process alike.
      basis: "orthogonal" trains a matrix for each layer, orthonormalized by QR;
        "householder" trains the normals of reflections; "triangular" has the
        coordinates themselves, in order and reversed in turn, and trains none.
      num_reflections: number of reflections of the "householder" basis.
      activation: "tanh", "leaky_relu", or an `Activation`.
      scan: whether the layers are one `tfp_flows.bijectors.Scan`, which traces and
        compiles in the same time however many they are.
      dtype: floating dtype of the variables.
      name: prefix of the ops.

    Returns:
      bijector: `tfb.Chain` or `Scan` of `Sylvester` layers on variables: `r` = 0, the
        others random.

    Raises:
      ValueError: a size is below 1, `num_columns` above `event_size`, or `basis` not
        known.
    """
    check_dtype("dtype", dtype)
    num_columns = event_size if num_columns is None else num_columns
    check_integers(
        event_size=event_size,
        num_layers=num_layers,
        num_columns=num_columns,
        num_reflections=num_reflections,
    )
    if min(event_size, num_layers, num_columns, num_reflections) < 1:
        raise ValueError(
            "`event_size`, `num_layers`, `num_columns` and `num_reflections` must be "
            f"at least 1; got {event_size}, {num_layers}, {num_columns} and "
            f"{num_reflections}."
        )
    if num_columns > event_size:
        raise ValueError(
            "`num_columns` must be at most `event_size`; "
            f"got {num_columns} and {event_size}."
        )
    if basis not in _BASES:
        raise ValueError(f"`basis` must be one of {_BASES}; got {basis!r}.")
    check_outside_of_graphs()
    square = [num_columns, num_columns]
    layers = []
    for i, seeds in enumerate(tfp.random.split_seed([0, seed], n=int(num_layers))):
        basis_seed, layer_seed = tfp.random.split_seed(seeds, n=2)
        if basis == "triangular":
            q = orthonormal.permutation_basis(
                event_size, num_columns, i % 2 == 1, dtype
            )
        elif basis == "orthogonal":
            q = _trained(
                [event_size, num_columns], basis_seed, dtype, orthonormal.qr_basis
            )
        else:
            q = _trained(
                [num_reflections, event_size],
                basis_seed,
                dtype,
                lambda vectors: orthonormal.householder_basis(vectors, num_columns),
            )
        layers.append(
            make_trainable(
                Sylvester,
                [event_size],
                seed=int(layer_seed[1]),
                stddev=dict(r=0.0, r_tilde=event_size**-0.5, b=1.0),
                shapes=dict(r=square, r_tilde=square, b=[num_columns]),
                dtype=dtype,
                q=q,
                activation=activation,
            )
        )
    if scan:
        return Scan.from_layers(layers, name=name)
    return tfp.bijectors.Chain(layers[::-1], name=name)


def _trained(shape, seed, dtype, make_basis):
    raw = tf.Variable(tf.random.stateless_normal(shape, seed, dtype=dtype), name="q")
    return tfp.util.DeferredTensor(raw, make_basis, shape=make_basis(raw).shape)
