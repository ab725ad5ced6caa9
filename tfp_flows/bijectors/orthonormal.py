"""Matrices with orthonormal columns, and triangular factors, for Sylvester flows.

Each function takes tensors of any values and returns what `Sylvester` asks for. Give it
a variable through `tfp.util.DeferredTensor`, or the output of an encoder as it is.
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

# A product of two diagonals then keeps away from -1, where the flow would be singular:
# a product of two tanh can be exactly -1 in float32.
_LARGEST_DIAGONAL = 0.999


def qr_basis(matrix):
    """Orthonormal basis of the span of the columns of a matrix, by Gram and Schmidt.

    It is exact in one step, and the choice where one basis serves all samples.

    Args:
      matrix: shape `[..., D, M]`, `M <= D`, of full rank.

    Returns:
      q: shape `[..., D, M]`, the QR decomposition's Q, with the signs that make the
        diagonal of R positive; an orthonormal `matrix` is returned as it is.

    Raises:
      ValueError: `M > D`.
    """
    matrix = _check_tall(matrix)
    q, r = tf.linalg.qr(matrix)
    diagonal = tf.stop_gradient(tf.linalg.diag_part(r))
    one = tf.ones_like(diagonal)
    return q * tf.where(diagonal < 0.0, -one, one)[..., tf.newaxis, :]


def bjorck_basis(matrix, max_iterations=50):
    """The orthonormal matrix that is nearest to a matrix, by Bjorck's iteration.

    `Q <- Q (I + E / 2 + 3 E^2 / 8)`, `E = I - Q'Q`, until `E` is 0 to rounding: the
    orthogonal flows of van den Berg et al. (2018), https://arxiv.org/abs/1803.05649,
    with one more term of the series (Bjorck and Bowie 1971), which saves a third of the
    iterations. It is made of matrix products alone, and the choice where each sample
    has a basis of its own.

    Args:
      matrix: shape `[..., D, M]`, `M <= D`, of full rank. For an encoder whose output
        starts near 0, add `tf.eye(D, M)` to it.
      max_iterations: integer. Each iteration makes small singular values 15/8 times as
        large; the default serves condition numbers to about 1e7.

    Returns:
      q: shape `[..., D, M]`.

    Raises:
      ValueError: `M > D`.
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
    """The first columns of a product of Householder reflections.

    `H_1 H_2 ...`, `H = I - 2 v v' / |v|^2`: the Householder flows of the same paper.

    Args:
      vectors: normals of the mirrors, shape `[..., H, D]`; 0 stands for no reflection.
      num_columns: `M <= D`; all `D` by default.

    Returns:
      q: shape `[..., D, M]`, orthonormal to rounding.

    Raises:
      ValueError: `num_columns` is not in `[1, D]`.
    """
    vectors = tf.convert_to_tensor(vectors)
    size = vectors.shape[-1]
    num_columns = size if num_columns is None else num_columns
    if not 1 <= num_columns <= size:
        raise ValueError(
            f"`num_columns` must be in [1, {size}], the length of the vectors; "
            f"got {num_columns}."
        )
    # The product is `I - V' inv(S) V`, where `S` is `V V'` above its diagonal, and half
    # of it there: Joffrain et al. (2006), "Accumulating Householder transformations,
    # revisited". Mirror by mirror, it would be as many passes over `q`.
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
    """The identity's first columns, in order or reversed, for triangular flows.

    Args:
      size: `D`.
      num_columns: `M <= D`; all by default.
      reverse: whether to take the coordinates from the last one down. Layers that
        alternate let each coordinate depend on each.
      dtype: floating dtype.

    Returns:
      q: shape `[D, M]`.
    """
    q = tf.eye(size, num_columns or size, dtype=dtype)
    return tf.reverse(q, [0]) if reverse else q


def triangular_factor(matrix):
    """The upper triangle of a matrix, its diagonal squashed by tanh to below 1.

    Args:
      matrix: shape `[..., M, M]`; what is below the diagonal is not read.

    Returns:
      r: shape `[..., M, M]`, the factor `R` or `R_tilde` of a Sylvester flow.
    """
    matrix = tf.linalg.band_part(matrix, 0, -1)
    diagonal = _LARGEST_DIAGONAL * tf.math.tanh(tf.linalg.diag_part(matrix))
    return tf.linalg.set_diag(matrix, diagonal)


def triangular_factor_bijector(dtype=tf.float32):
    """The map of `triangular_factor` as a `tfb.Bijector`.

    Args:
      dtype: floating dtype of what it maps.

    Returns:
      bijector: map from vectors of length `M (M + 1) / 2` to matrices `[M, M]`.
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
