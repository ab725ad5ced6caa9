"""Matrices with orthonormal columns, and triangular factors, for Sylvester flows.

Each function maps unconstrained tensors to valid arguments of `Sylvester`. Wrap a
variable in `tfp.util.DeferredTensor` to train it, or pass the output of an encoder.
"""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

__all__ = [
    "bjorck_basis",
    "householder_basis",
    "permutation_basis",
    "qr_basis",
    "triangular_factor",
    "triangular_factor_bijector",
]

tfb = tfp.bijectors

# Keeps products of two diagonal entries above -1, where the flow is singular: in
# float32, a product of two tanh can be exactly -1.
_LARGEST_DIAGONAL = 0.999


def qr_basis(matrix):
    """Orthonormal basis of the column space of a matrix, by QR decomposition.

    Exact in one step: the best choice if all examples share one basis.

    Args:
      matrix: shape `[..., D, M]`, `M <= D`, of full rank.

    Returns:
      q: shape `[..., D, M]`, the factor Q of the QR decomposition whose R has a
        positive diagonal. An orthonormal `matrix` is returned unchanged.

    Raises:
      ValueError: `M > D`.

    >>> qr_basis([[2.0], [0.0]]).numpy()
    array([[1.],
           [0.]], dtype=float32)
    """
    matrix = _check_tall(matrix)
    q, r = tf.linalg.qr(matrix)
    diagonal = tf.stop_gradient(tf.linalg.diag_part(r))
    one = tf.ones_like(diagonal)
    return q * tf.where(diagonal < 0.0, -one, one)[..., tf.newaxis, :]


def bjorck_basis(matrix, max_iterations=50):
    """Orthonormal matrix nearest to a matrix, by Bjorck's iteration.

    `Q <- Q (I + E / 2 + 3 E^2 / 8)`, `E = I - Q'Q`, until `E` is 0 to machine
    precision. It makes the orthogonal Sylvester flows of van den Berg et al. (2018),
    https://arxiv.org/abs/1803.05649; one more term of the series (Bjorck and Bowie,
    1971) saves a third of the iterations. It consists of matrix products alone: the
    best choice if each example has its own basis.

    Args:
      matrix: shape `[..., D, M]`, `M <= D`, of full rank. If it is the output of an
        encoder that is initialized near 0, add `tf.eye(D, M)`.
      max_iterations: integer. Each iteration multiplies small singular values by 15/8;
        the default suffices for condition numbers up to about 1e7.

    Returns:
      q: shape `[..., D, M]`.

    Raises:
      ValueError: `M > D`.

    >>> q = bjorck_basis([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    >>> tf.matmul(q, q, transpose_a=True).numpy().round(5)
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    matrix = _check_tall(matrix)
    size = matrix.shape[-1]
    info = np.finfo(matrix.dtype.as_numpy_dtype)
    gram = tf.matmul(matrix, matrix, transpose_a=True)
    # It converges from singular values up to 1. This bounds the largest one.
    bound2 = tf.reduce_max(tf.reduce_sum(tf.abs(gram), axis=-1), axis=-1)
    scale2 = 1.0 / tf.maximum(tf.stop_gradient(bound2), info.tiny)
    scale2 = scale2[..., tf.newaxis, tf.newaxis]
    one = tf.eye(size, dtype=matrix.dtype)

    def far(q, e):
        return tf.reduce_max(tf.abs(e)) > 4.0 * size * info.eps

    def nearer(q, e):
        q += tf.matmul(q, 0.5 * e + 0.375 * tf.matmul(e, e))
        return [q, one - tf.matmul(q, q, transpose_a=True)]

    return tf.while_loop(
        far,
        nearer,
        [matrix * tf.sqrt(scale2), one - gram * scale2],
        maximum_iterations=max_iterations,
    )[0]


def householder_basis(vectors, num_columns=None):
    """First columns of a product of Householder reflections.

    `H_1 H_2 ...`, `H = I - 2 v v' / |v|^2`, as in the Householder Sylvester flows of
    van den Berg et al. (2018), https://arxiv.org/abs/1803.05649.

    Args:
      vectors: normals of the reflections, shape `[..., H, D]`; a zero vector is the
        identity.
      num_columns: `M <= D`; `D` by default.

    Returns:
      q: shape `[..., D, M]`, orthonormal to machine precision.

    Raises:
      ValueError: `num_columns` is not in `[1, D]`.

    >>> (householder_basis([[1.0, 0.0]]) + 0.0).numpy()  # reflects the first axis
    array([[-1.,  0.],
           [ 0.,  1.]], dtype=float32)
    """
    vectors = tf.convert_to_tensor(vectors)
    size = vectors.shape[-1]
    num_columns = size if num_columns is None else num_columns
    if not 1 <= num_columns <= size:
        raise ValueError(
            f"`num_columns` must be in [1, {size}], the length of the vectors; "
            f"got {num_columns}."
        )
    # The product is `I - V' inv(S) V`, where `S` is the upper triangle of `V V'` with
    # half its diagonal: Joffrain et al. (2006), "Accumulating Householder
    # transformations, revisited". One reflection at a time would read `q` `H` times.
    gram = tf.matmul(vectors, vectors, transpose_b=True)
    tiny = np.finfo(vectors.dtype.as_numpy_dtype).tiny
    half = 0.5 * tf.maximum(tf.linalg.diag_part(gram), 4.0 * tiny)
    upper = tf.linalg.set_diag(tf.linalg.band_part(gram, 0, -1), half)
    solution = tf.linalg.triangular_solve(
        upper, vectors[..., :num_columns], lower=False
    )
    one = tf.eye(size, num_columns, dtype=vectors.dtype)
    return one - tf.matmul(vectors, solution, transpose_a=True)


def permutation_basis(size, num_columns=None, reverse=False, dtype=tf.float32):
    """First columns of the identity or of the reversal, for triangular flows.

    Args:
      size: `D`.
      num_columns: `M <= D`; `D` by default.
      reverse: whether to reverse the coordinates. If layers alternate, every coordinate
        can depend on every other.
      dtype: floating dtype.

    Returns:
      q: shape `[D, M]`.

    >>> permutation_basis(2, reverse=True).numpy()
    array([[0., 1.],
           [1., 0.]], dtype=float32)
    """
    q = tf.eye(size, num_columns or size, dtype=dtype)
    return tf.reverse(q, [0]) if reverse else q


def triangular_factor(matrix):
    """Upper triangle of a matrix, with tanh applied to its diagonal.

    Args:
      matrix: shape `[..., M, M]`; entries below the diagonal are ignored.

    Returns:
      r: shape `[..., M, M]`, the factor `R` or `R_tilde` of a Sylvester layer, with
        diagonal entries in (-0.999, 0.999).

    >>> triangular_factor([[0.0, 2.0], [3.0, 0.0]]).numpy()
    array([[0., 2.],
           [0., 0.]], dtype=float32)
    """
    matrix = tf.linalg.band_part(matrix, 0, -1)
    diagonal = _LARGEST_DIAGONAL * tf.math.tanh(tf.linalg.diag_part(matrix))
    return tf.linalg.set_diag(matrix, diagonal)


def triangular_factor_bijector(dtype=tf.float32):
    """`triangular_factor` as a `tfb.Bijector` of vectors of length `M (M + 1) / 2`.

    Args:
      dtype: floating dtype.

    Returns:
      bijector: `tfb.Chain` from shape `[..., M (M + 1) / 2]` to `[..., M, M]`.

    >>> triangular_factor_bijector().forward(tf.zeros([3])).shape
    TensorShape([2, 2])
    """
    largest = tf.constant(_LARGEST_DIAGONAL, dtype)
    squash = tfb.Chain([tfb.Scale(largest), tfb.Tanh()])
    return tfb.Chain([tfb.TransformDiagonal(squash), tfb.FillTriangular(upper=True)])


def _check_tall(matrix):
    matrix = tf.convert_to_tensor(matrix)
    rows, columns = matrix.shape[-2:]
    if rows is not None and columns is not None and columns > rows:
        raise ValueError(
            f"`matrix` must have no more columns than rows; got shape {matrix.shape}."
        )
    return matrix
