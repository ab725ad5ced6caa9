"""Sylvester flow layer."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._autodiff import with_shape
from tfp_flows._layer import Layer
from tfp_flows._parameters import (
    FINITE,
    as_parameters,
    assert_condition,
    assert_parameters,
    broadcast_batch,
    check_input,
    check_shapes,
)
from tfp_flows.bijectors import _triangular_solve
from tfp_flows.bijectors.activations import as_activation
from tfp_flows.bijectors.orthonormal import triangular_factor_bijector

tfb = tfp.bijectors

_AXES = dict(q="DM", r="MM", r_tilde="MM", b="M")


class Sylvester(Layer):
    """Sylvester flow layer: a residual network with one hidden layer of `M` units.

    `y = x + Q R h(t)`, `t = R_tilde Q'x + b`: equation 13 of van den Berg et al.
    (2018), https://arxiv.org/abs/1803.05649. By Sylvester's determinant identity, the
    log determinant is `sum_m log(1 + h'(t_m) r_mm r_tilde_mm)`. A planar flow is the
    special case `M = 1`.

    The paper gives no inverse; the one here is exact. `t` solves the triangular system
    `t + U h(t) = R_tilde Q'y + b`, `U = R_tilde R`, by back substitution with one
    scalar equation for each row. Then `x = y - Q R h(t)`, followed by one Newton step
    against cancellation. `R_tilde` may be singular.

    `x` and `y` have shape `[..., D]`. Their leading axes broadcast with the batch shape
    of the parameters; log determinants have the resulting shape.

    Args:
      q: `Q`, shape `[..., D, M]`, `1 <= M <= D`, with orthonormal columns. See
        `tfp_flows.bijectors.orthonormal`: `qr_basis` or `bjorck_basis`,
        `householder_basis` and `permutation_basis` give the paper's orthogonal,
        Householder and triangular Sylvester flows.
      r: `R`, shape `[..., M, M]`, in the units of `x`. Entries below the diagonal are
        ignored. 0 is the identity.
      r_tilde: `R_tilde`, shape `[..., M, M]`, in 1 / the units of `x`. Entries below
        the diagonal are ignored. The map is invertible if `r_mm r_tilde_mm > -1 / L`,
        where the slopes of `h` are in `[0, L]`; diagonals in (-1, 1), as
        `triangular_factor` makes them, satisfy this for `L = 1`.
      b: shape `[..., M]`, unitless.
      activation: `h`: "tanh", "leaky_relu", or an `Activation`.
      validate_args: whether to check that `q` is orthonormal, the diagonals are in
        their support, and all parameters are finite.
      name: prefix of the ops.

    Raises:
      TypeError: the parameters do not share one floating dtype.
      TypeError: `activation` is a function without its derivative.
      ValueError: the shapes of the parameters and the input do not match, or `M > D`.
      ValueError: a parameter given as numbers is outside of its support.
      tf.errors.InvalidArgumentError: a check of `validate_args` fails.

    >>> from tfp_flows.bijectors import orthonormal
    >>> layer = Sylvester(
    ...     q=orthonormal.permutation_basis(3, 2),
    ...     r=0.5 * tf.eye(2),
    ...     r_tilde=0.5 * tf.eye(2),
    ...     b=tf.zeros([2]),
    ... )
    >>> layer.forward(tf.zeros([5, 3])).shape
    TensorShape([5, 3])
    """

    def __init__(
        self,
        q,
        r,
        r_tilde,
        b,
        activation="tanh",
        validate_args=False,
        name="sylvester",
    ):
        parameters = dict(locals())
        self.q, self.r, self.r_tilde, self.b = as_parameters(
            q=q, r=r, r_tilde=r_tilde, b=b
        )
        sizes = check_shapes(_AXES, q=self.q, r=self.r, r_tilde=self.r_tilde, b=self.b)
        if None not in sizes.values() and not 1 <= sizes["M"] <= sizes["D"]:
            raise ValueError(
                "`q` must have at least 1 column and no more columns than rows; "
                f"got shape {self.q.shape}."
            )
        self.activation = activation
        self._h = as_activation(activation)
        super().__init__(
            forward_min_event_ndims=1,
            dtype=self.q.dtype,
            validate_args=validate_args,
            parameters=parameters,
            name=name,
        )

    @classmethod
    def _parameter_properties(cls, dtype):
        factor = tfp.util.ParameterProperties(
            event_ndims=2,
            shape_fn=lambda shape: [*shape[:-1], None, None],
            default_constraining_bijector_fn=lambda: triangular_factor_bijector(dtype),
        )
        return dict(
            q=tfp.util.ParameterProperties(
                event_ndims=2,
                shape_fn=lambda shape: [*shape, None],
                default_constraining_bijector_fn=_no_bijector_for_q,
            ),
            r=factor,
            r_tilde=factor,
            b=tfp.util.ParameterProperties(
                event_ndims=1, shape_fn=lambda shape: [*shape[:-1], None]
            ),
        )

    def _parameter_control_dependencies(self, is_init):
        orthonormal = (_is_orthonormal, "have orthonormal columns")
        assertions = assert_parameters(
            self, is_init, dict(q=orthonormal, r=FINITE, r_tilde=FINITE, b=FINITE)
        )
        bound = -1.0 / self._h.max_slope
        return assertions + assert_condition(
            self,
            is_init,
            ["r", "r_tilde"],
            lambda r, s: tf.linalg.diag_part(r) * tf.linalg.diag_part(s) > bound,
            f"Diagonals of `r` and `r_tilde` must have products above {bound}",
        )

    def _forward(self, x):
        return self._forward_and_log_det(x)[0]

    def _inverse(self, y):
        return self._inverse_and_log_det(y)[0]

    def _inverse_log_det_jacobian(self, y):
        return self._inverse_and_log_det(y)[1]

    def _forward_and_log_det(self, x):
        if self.experimental_batch_shape().rank != 0:
            return self._evaluate_each(x)
        w, v, _, b, margin = self._read(x)
        t = _triangular_solve.project(w, x)
        t += _triangular_solve.rows_first(b, 1, t)
        h, log_det = _triangular_solve.activate(self._h, t, margin)
        log_det = _triangular_solve.per_sample(log_det, w, x)
        return x + _triangular_solve.expand(h, v, x), log_det

    def _inverse_and_log_det(self, y):
        w, v, u, b, margin = self._read(y)
        x, log_det = _triangular_solve.invert(y, w, v, u, b, self._h, margin)
        return x, -log_det

    def _evaluate_each(self, x):
        """As `_forward_and_log_det`, for per-example matrices, without their products.

        A product is worth its cost for one matrix that all examples share. For
        per-example matrices it would be `M` times the work.
        """
        q, r, r_tilde = map(tf.convert_to_tensor, [self.q, self.r, self.r_tilde])
        check_input(self, x, q=q[..., 0])
        r, r_tilde = (tf.linalg.band_part(factor, 0, -1) for factor in (r, r_tilde))
        t = _times(r_tilde, _times(q, x, transpose=True)) + self.b
        bound = self._h.max_slope
        margin = 1.0 + bound * tf.linalg.diag_part(r) * tf.linalg.diag_part(r_tilde)
        h, slope, deficit = self._h.evaluate(t)
        log_det = tf.reduce_sum(
            self._h.log_jacobian_factor(deficit, slope, margin), axis=-1
        )
        return x + _times(q, _times(r, h)), log_det

    def _read(self, x):
        """Returns `R_tilde Q'`, `R'Q'`, `U`, `b` and `1 + U_mm L`."""
        q, r, r_tilde, b = broadcast_batch(
            _AXES, q=self.q, r=self.r, r_tilde=self.r_tilde, b=self.b
        )
        check_input(self, x, q=q[..., 0])
        r, r_tilde = (tf.linalg.band_part(factor, 0, -1) for factor in (r, r_tilde))
        w = tf.matmul(r_tilde, q, transpose_b=True)
        v = tf.matmul(r, q, transpose_a=True, transpose_b=True)
        u = tf.matmul(r_tilde, r)
        margin = 1.0 + self._h.max_slope * tf.linalg.diag_part(u)
        return w, v, u, b, margin


def _times(matrix, x, transpose=False):
    """Returns the product of `matrix` `[..., N, M]`, or its transpose, and vectors."""
    if matrix.shape.rank > 2:
        return tf.linalg.matvec(matrix, x, transpose_a=transpose)
    flat = tf.reshape(x, [-1, x.shape[-1]])
    flat = tf.matmul(flat, matrix, transpose_b=not transpose)
    shape = tf.concat([tf.shape(x)[:-1], tf.shape(flat)[-1:]], axis=0)
    return with_shape(
        tf.reshape(flat, shape), x.shape[:-1].concatenate(flat.shape[-1:])
    )


def _is_orthonormal(q):
    """Returns one boolean per matrix; the tolerance covers float32 rounding."""
    deficit = tf.matmul(q, q, transpose_a=True) - tf.eye(tf.shape(q)[-1], dtype=q.dtype)
    return tf.reduce_max(tf.abs(deficit), axis=[-2, -1]) < 1e-4


def _no_bijector_for_q():
    raise NotImplementedError(
        "`q` has no unconstrained form of the same size; pass it to `make_trainable`, "
        "made by a function of `tfp_flows.bijectors.orthonormal`, or use "
        "`flows.sylvester`."
    )
