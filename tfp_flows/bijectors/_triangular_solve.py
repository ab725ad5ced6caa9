"""Triangular systems of planar and Sylvester layers: `y = x + V' h(t)`.

The inverse solves `t + U h(t) = d` with a triangular `U`, where `V` has `K` rows. Rows
are the first axis here: `t` and `d` have shape `[K, ...]` and `U` has shape
`[K, K, ...]`, with trailing axes of equal number that broadcast. Each row is contiguous
in memory, and one step of the substitution handles all examples at once.
"""

import tensorflow as tf

from tfp_flows._autodiff import custom_gradient

# Rows eliminated in one pass over the others. Each root search is compiled separately.
_WITH_ROOTS, _WITHOUT_ROOTS = 1, 4


def project(w, x):
    """Returns `W x`, rows first.

    Args:
      w: `W`, shape `[..., K, D]`.
      x: shape `[..., D]`. If `w` has no batch axes, those of `x` are flattened to one.
    """
    if w.shape.rank == 2:
        return tf.matmul(w, tf.reshape(x, [-1, w.shape[-1]]), transpose_b=True)
    return _last_axes_first(tf.reduce_sum(w * x[..., tf.newaxis, :], axis=-1), 1)


def rows_first(parameter, axes, like):
    """Moves the last axes of a parameter to the front and adds axes up to a rank.

    Args:
      parameter: tensor of shape `[..., K]` or `[..., K, K]`.
      axes: number of axes to move.
      like: tensor of shape `[K, ...]`, whose rank the result gets.
    """
    first = _last_axes_first(parameter, axes)
    shape = tf.shape(first)
    ones = [1] * (like.shape.rank - 1 - (first.shape.rank - axes))
    return tf.reshape(first, tf.concat([shape[:axes], ones, shape[axes:]], axis=0))


def expand(h, v, x):
    """Returns `V' h`, in the shape of `x`, for `h` of the shape of `project(v, x)`."""
    if v.shape.rank == 2:
        return tf.reshape(tf.matmul(h, v, transpose_a=True), tf.shape(x))
    h = tf.transpose(h, [*range(1, h.shape.rank), 0])
    return tf.reduce_sum(h[..., tf.newaxis] * v, axis=-2)


def activate(activation, t, margin):
    """Returns `h(t)`, and `log(1 + U_kk h'(t_k))` summed over rows.

    Args:
      activation: `Activation`, the function `h`.
      t: shape `[K, ...]`.
      margin: `1 + U_kk max_slope`, shape `[..., K]`.
    """
    h, slope, deficit = activation.evaluate(t)
    factor = activation.log_jacobian_factor(deficit, slope, rows_first(margin, 1, t))
    return h, tf.reduce_sum(factor, axis=0)


def per_sample(total, v, x):
    """Restores the batch axes that `project` flattened."""
    return tf.reshape(total, tf.shape(x)[:-1]) if v.shape.rank == 2 else total


def _last_axes_first(tensor, axes):
    rank = tensor.shape.rank
    return tf.transpose(tensor, [*range(rank - axes, rank), *range(rank - axes)])


def solve(u, d, activation, margin=None, lower=False):
    """Solves `t + U h(t) = d` for `t`, row by row.

    Args:
      u: `U`. Upper triangular with `1 + U_kk max_slope > 0`; or, with `lower`,
        strictly lower triangular, where each row depends on earlier rows alone and no
        root is searched for.
      d: right-hand side.
      activation: `Activation`, the function `h`.
      margin: `1 + U_kk max_slope`, shape `[K, ...]`, if it is known without the
        rounding error of this sum.
      lower: whether `u` is strictly lower triangular.

    Returns:
      t: tensor of the shape of `d`, with gradients of all orders with respect to `u`
        and `d`, by the implicit function theorem.
    """
    if None in u.shape.as_list():  # the gradient needs to know the axes of the sum
        u = tf.broadcast_to(u, tf.concat([tf.shape(u)[:1], tf.shape(d)], axis=0))
    if margin is None:
        margin = 1.0 + activation.max_slope * _diagonal(u)
    margin = tf.stop_gradient(margin)
    t = _substitute(tf.stop_gradient(u), tf.stop_gradient(d), activation, margin, lower)
    return _attach_implicit_gradient(
        tf.stop_gradient(t), u, d, activation, margin, lower
    )


def invert(y, w, v, u, b, activation, margin, below=None):
    """Solves `y = x + V' h(t)`, `t = W x + b + L h(t)`, for `x`.

    Args:
      y: shape `[..., D]`.
      w: `W`, shape `[..., K, D]`.
      v: `V`, shape `[..., K, D]`.
      u: the upper triangle of `W V'`, shape `[..., K, K]`.
      b: shape `[..., K]`.
      activation: `Activation`, the function `h`.
      margin: `1 + U_kk max_slope`, shape `[..., K]`.
      below: `L`, the rest of `W V'`, shape `[..., K, K]`; None for zeros.

    Returns:
      x: tensor of the shape of `y`.
      log_det: log determinant of the map from `x` to `y`.
    """
    projected = project(w, y)
    b, margin = (rows_first(part, 1, projected) for part in (b, margin))
    u = rows_first(u, 2, projected)
    t = solve(u, projected + b, activation, margin)
    h, slope, deficit = activation.evaluate(t)
    log_det = tf.reduce_sum(
        activation.log_jacobian_factor(deficit, slope, margin), axis=0
    )
    x = y - expand(h, v, y)
    image = project(w, x) + b
    if below is not None:
        image += tf.reduce_sum(rows_first(below, 2, projected) * h, axis=1)
    x = _refine(
        x, t, image, u, v, slope, activation.jacobian_factor(deficit, slope, margin)
    )
    return x, per_sample(log_det, w, y)


def _refine(x, t, image, u, v, slope, factor):
    """Restores the digits that `x = y - V' h(t)` lost to cancellation.

    For unbounded `h`, both terms may be much larger than `x`, which inherits their
    rounding error. One Newton step on `t = W x + b` and `y` reduces it to the error
    that the rounding of `y` implies. Gradients are those of `x`.

    Args:
      x: shape `[..., D]`.
      t: solution of `t + U h(t) = d`, as `solve` returns it.
      image: `t` as computed from `x`, of the shape of `t`.
      u: `U`, as for `solve`.
      v: `V`, as for `expand`.
      slope: `h'(t)`.
      factor: `1 + U_kk h'(t_k)`.
    """
    arguments = t - image, u, slope, factor
    deficit, u, slope, factor = map(tf.stop_gradient, arguments)
    columns = tf.transpose(_without_diagonal(u), [1, 0, *range(2, u.shape.rank)])

    def row(k, right):
        change = right / factor[k]
        return change, slope[k] * change

    change = _substitute_rows(columns, deficit, row, True, _WITHOUT_ROOTS)
    if t.shape[0] > 1:
        # A long step means that `t` has no correct digit in rows that affect others.
        short = tf.reduce_all(tf.abs(change) <= 0.01 * (1.0 + tf.abs(t)), axis=0)
        change = tf.where(short, change, tf.zeros_like(change))
    change = slope * change
    return x + tf.stop_gradient(expand(change, v, x))


def _attach_implicit_gradient(t, u, d, activation, margin, lower):
    """Returns `t` unchanged, with its implicit gradients with respect to `u`, `d`."""

    @custom_gradient
    def attach(t, u, d):
        def gradient(dt):
            # Attached again, so that this gradient depends on `u` and `d`.
            solution = _attach_implicit_gradient(
                tf.stop_gradient(t), u, d, activation, margin, lower
            )
            h, slope, deficit = activation.evaluate(solution)
            # The given margin, with its derivative with respect to `U_kk`.
            rough = activation.max_slope * _diagonal(u)
            exact = margin + rough - tf.stop_gradient(rough)
            factor = activation.jacobian_factor(deficit, slope, exact)
            dd = _substitute_transposed(u, slope, factor, dt, lower)
            return tf.zeros_like(t), _minus_outer(dd, h, u, lower), dd

        return tf.identity(t), gradient

    return attach(t, u, d)


def _substitute(u, d, activation, margin, lower):
    columns = tf.transpose(u, [1, 0, *range(2, u.shape.rank)])
    if lower:
        return _substitute_rows(
            columns,
            d,
            lambda k, right: (None, activation(right)),
            False,
            _WITHOUT_ROOTS,
        )
    diagonal = _diagonal(u)

    def row(k, right):
        t = activation.solve(right, diagonal[k], margin[k])
        return t, activation(t)

    return _substitute_rows(columns, d, row, True, _WITH_ROOTS)


def _substitute_transposed(u, slope, factor, g, lower):
    """Solves `(I + U h')' z = g`, with `factor = 1 + U_kk h'_k`."""

    def row(k, residual):
        z = (g[k] + slope[k] * residual) / factor[k]
        return z, z

    return _substitute_rows(
        _without_diagonal(u), tf.zeros_like(g), row, lower, _WITHOUT_ROOTS
    )


def _substitute_rows(columns, residual, row, last_first, block_size):
    """Substitutes row by row.

    Args:
      columns: shape `[K, K, ...]`.
      residual: right-hand side, shape `[K, ...]`.
      row: function of `k` and the residual of row `k`. Returns the result of the row,
        or None if that is the residual; and the factor whose product with `columns[k]`
        is subtracted from all rows.
      last_first: whether to begin with the last row.
      block_size: number of rows eliminated in one pass over the others.

    Returns:
      results: tensor of the shape of `residual`.
    """
    size = residual.shape[0]
    if size == 1:
        result, _ = row(0, residual[0])
        return residual if result is None else result[tf.newaxis]
    rows = tf.reshape(tf.range(size), [size] + [1] * (residual.shape.rank - 1))

    def some(done, number, residual):
        """Eliminates the next `number` rows in one pass over the others."""
        next_ones = [
            size - 1 - done - i if last_first else done + i for i in range(number)
        ]
        rights = [residual[k] for k in next_ones]
        results, changes = [], []
        for i, k in enumerate(next_ones):
            result, factor = row(k, rights[i])
            results.append(result)
            changes.append(columns[k] * factor)
            for j in range(i + 1, number):
                rights[j] -= columns[k, next_ones[j]] * factor
        for change in changes:
            residual -= change
        for k, result in zip(next_ones, results):
            if result is not None:  # finished rows hold their results
                residual = tf.where(rows == k, result, residual)
        return residual

    blocks, rest = divmod(size, block_size)
    if blocks:
        residual = tf.while_loop(
            lambda i, residual: i < blocks,
            lambda i, residual: (i + 1, some(block_size * i, block_size, residual)),
            (tf.constant(0), residual),
            maximum_iterations=blocks,
        )[1]
    return some(block_size * blocks, rest, residual) if rest else residual


def _without_diagonal(u):
    k = tf.shape(u)[0]
    return u * tf.reshape(
        1 - tf.eye(k, dtype=u.dtype), [k, k] + [1] * (u.shape.rank - 2)
    )


def _diagonal(u):
    last = tf.transpose(u, [*range(2, u.shape.rank), 0, 1])
    return _last_axes_first(tf.linalg.diag_part(last), 1)


def _minus_outer(z, h, u, lower):
    """Returns `-z_k h_j` for the entries of `u`, summed over its broadcast axes."""
    size = u.shape[0]
    mask = tf.linalg.band_part(
        tf.ones([size, size], u.dtype), -1 if lower else 0, 0 if lower else -1
    )
    if lower:
        mask -= tf.eye(size, dtype=u.dtype)
    mask = tf.reshape(mask, [size, size] + [1] * (u.shape.rank - 2))
    if all(length == 1 for length in u.shape[2:]):
        flat = [tf.reshape(v, [size, -1]) for v in (z, h)]
        total = tf.matmul(*flat, transpose_b=True)
        return -mask * tf.reshape(total, u.shape)
    total = z[:, tf.newaxis] * h
    lacks = [
        axis
        for axis in range(2, u.shape.rank)
        if u.shape[axis] == 1 and total.shape[axis] != 1
    ]
    return -mask * tf.reduce_sum(total, lacks, keepdims=True)
