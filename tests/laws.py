"""The laws that every bijector obeys, each a function of a bijector and points.

TFP remembers which input gave which output, by identity, and then answers `inverse`
without computing it: a wrong inverse would look right. `fresh` hides the identity.
"""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

tfb, tfd = tfp.bijectors, tfp.distributions

METHODS = (
    "forward",
    "inverse",
    "forward_log_det_jacobian",
    "inverse_log_det_jacobian",
)


def fresh(tensor):
    """Returns a copy that no cache can know."""
    return tf.constant(np.array(tensor))


def close(actual, expected, tolerance=1e-9):
    """Asserts closeness, absolute and relative to the largest number."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.all(np.isfinite(expected))
    scale = 1.0 + np.max(np.abs(expected), initial=0.0)
    np.testing.assert_allclose(actual, expected, rtol=0.0, atol=tolerance * scale)


def at(bijector, x, y):
    """Returns the four methods of a bijector at two tensors, by name.

    Value and log determinant of a direction share what they have in common.
    """
    return {n: getattr(bijector, n)(p) for n, p in zip(METHODS, [x, y, x, y])}


def evaluate(bijector, x, y):
    """Returns the four methods of a bijector at `x` and `y`, each alone, by name."""
    points = dict(zip(METHODS, [x, y, x, y]))
    return {name: getattr(bijector, name)(fresh(p)) for name, p in points.items()}


def check_round_trips(bijector, x, tolerance, exact):
    """Each direction undoes the other, in shape, dtype and value.

    The second direction cannot do better than to carry over the rounding of what comes
    between: a few units of it, times the norm of its Jacobian there, are allowed for.

    Args:
      bijector: bijector to check, with the dtype of `x`.
      x: points of its domain, taken as points of its codomain too.
      tolerance: largest error allowed where that is larger.
      exact: the same bijector in float64, which tells the Jacobians.
    """
    methods = [bijector.forward, bijector.inverse]
    exact_methods = [exact.forward, exact.inverse]
    batch_shape = x.shape[: x.ndim - bijector.forward_min_event_ndims]
    for there, back, exact_back in zip(methods, methods[::-1], exact_methods[::-1]):
        between = there(fresh(x))
        assert between.dtype == x.dtype and between.shape == x.shape
        jacobians = jacobian(exact_back, np.float64(between), batch_shape)
        rounding = 32.0 * np.finfo(x.dtype).eps * np.max(np.abs(between), initial=1.0)
        carried = rounding * np.max(np.linalg.norm(jacobians, 2, axis=(-2, -1)))
        close(back(fresh(between)), x, max(tolerance, carried))


def check_log_dets(bijector, x):
    """Both log determinants are those of autodiff, and each minus the other."""
    ndims = bijector.forward_min_event_ndims
    y = bijector.forward(fresh(x))
    fldj = bijector.forward_log_det_jacobian(fresh(x))
    ildj = bijector.inverse_log_det_jacobian(fresh(y))
    batch_shape = x.shape[: x.ndim - ndims]
    assert fldj.shape == ildj.shape == batch_shape
    close(ildj, -fldj)
    for fn, point, ldj in [(bijector.forward, x, fldj), (bijector.inverse, y, ildj)]:
        sign, expected = np.linalg.slogdet(jacobian(fn, point, batch_shape))
        assert np.all(sign > 0.0)
        close(ldj, expected)
    whole = bijector.forward_log_det_jacobian(fresh(x), event_ndims=x.ndim)
    close(whole, np.sum(fldj))


def jacobian(fn, x, batch_shape):
    """Jacobians of `fn` at each event in `x`, flattened, by the gradient tape."""
    flat = tf.reshape(fresh(x), [*batch_shape, -1])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(flat)
        y = tf.reshape(fn(tf.reshape(flat, x.shape)), [*batch_shape, flat.shape[-1]])
        outputs = tf.unstack(y, axis=-1)
    return tf.stack([tape.gradient(output, flat) for output in outputs], axis=-2)


def check_modes(bijector, x):
    """Graphs, compiled ones and such of unknown batch size compute what eager does."""
    y = bijector.forward(fresh(x))
    expected = evaluate(bijector, x, y)
    ndims = bijector.forward_min_event_ndims
    unknown = [None] * (x.ndim - ndims) + list(x.shape[x.ndim - ndims :])
    if not bijector.experimental_batch_shape().rank:
        unknown = [None] * x.ndim if ndims == 0 else unknown

    def alone(x, y):
        # Each has a tensor of its own, so that none takes what another has computed.
        return {
            name: getattr(bijector, name)(tf.identity(point))
            for name, point in zip(METHODS, [x, y, x, y])
        }

    signature = [tf.TensorSpec(unknown, x.dtype)] * 2
    for compiled in [
        tf.function(alone, autograph=False),
        tf.function(lambda x, y: at(bijector, x, y), autograph=False, jit_compile=True),
        tf.function(alone, signature, autograph=False),
    ]:
        for name, value in compiled(tf.constant(x), tf.constant(y)).items():
            close(value, expected[name])
    for name, point in zip(METHODS, [x, y, x, y]):
        close(getattr(bijector, name)(fresh(point[:0])), expected[name][:0])


def check_vectorized_map(bijector, x):
    """The methods map over points as they act on all of them."""
    y = bijector.forward(fresh(x))
    points = (fresh(x), fresh(y))
    mapped = tf.vectorized_map(lambda point: at(bijector, *point), points)
    for name, expected in evaluate(bijector, x, y).items():
        close(mapped[name], expected)


def check_gradients(make, x):
    """First and second gradients are those of finite differences.

    By the input and by each variable; through both directions with their log
    determinants, and through `log_prob`, which mixes them.

    Args:
      make: callable that makes the bijector on variables of float64.
      x: points of its domain and codomain.
    """
    bijector = make()
    variables = bijector.trainable_variables
    rng = np.random.default_rng(0)
    start = [*(np.array(v) for v in variables), x]
    directions = [
        rng.normal(size=value.shape) * np.max(np.abs(value), initial=0.0)
        for value in start
    ]
    quantities = [_forward, _inverse, _log_prob]

    def first(values):
        """Returns each quantity, and the gradients of each."""
        point = tf.identity(values[-1])
        for variable, value in zip(variables, values):
            variable.assign(value)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(point)
            # Each has a tensor of its own, so that none takes what another computed.
            totals = [quantity(bijector, tf.identity(point)) for quantity in quantities]
        return totals, [tape.gradient(t, [*variables, point]) for t in totals]

    in_graph = tf.function(first, autograph=False)  # sooner, in so many points

    def difference(which, of):
        h = 1e-5
        above, below = (
            in_graph(
                [
                    np.array(value + sign * h * step) if i in which else value
                    for i, (value, step) in enumerate(zip(start, directions))
                ]
            )[of]
            for sign in (1.0, -1.0)
        )
        return tf.nest.map_structure(lambda a, b: (a - b) / (2 * h), above, below)

    gradients = first(start)[1]
    for i in range(len(start)):
        expected = difference([i], of=0)
        for quantity, gradient, of_this in zip(quantities, gradients, expected):
            assert gradient[i] is not None, f"argument {i} is not used in {quantity}"
            close(tf.reduce_sum(gradient[i] * directions[i]), of_this, 1e-6)
    expected = difference(range(len(start)), of=1)
    first(start)
    for quantity, of_this in zip(quantities, expected):
        actual = _derivative_of_gradient(bijector, quantity, directions, start[-1])
        for one, other in zip(actual, of_this):
            close(one, other, 1e-5)


def check_forward_mode(make, x, in_graph=False):
    """Jacobian-vector products are those of the gradient tape, which is held to laws.

    By the input and all variables at once, of both directions with their log
    determinants.

    Args:
      make: callable that makes the bijector on variables of float64.
      x: points of its domain and codomain.
      in_graph: whether in a graph, or in eager mode.
    """
    bijector = make()
    rng = np.random.default_rng(0)
    variables = bijector.trainable_variables
    tangents = [tf.constant(rng.normal(size=v.shape)) for v in [*variables, x]]

    def both(point):
        return _forward(bijector, point) + _inverse(bijector, point) ** 2

    def forward_mode(point):
        with tf.autodiff.ForwardAccumulator([*variables, point], tangents) as mode:
            total = both(tf.identity(point))
        return mode.jvp(total)

    def reverse_mode(point):
        with tf.GradientTape() as tape:
            tape.watch(point)
            total = both(point)
        return _inner(tape.gradient(total, [*variables, point]), tangents)

    if in_graph:
        forward_mode = tf.function(forward_mode, autograph=False)
    reverse_mode = tf.function(reverse_mode, autograph=False)
    close(forward_mode(tf.constant(x)), reverse_mode(tf.constant(x)))


def _inner(tensors, others):
    return sum(tf.reduce_sum(one * other) for one, other in zip(tensors, others))


def check_gradients_in_loops(make, x):
    """Gradients through a loop over points, in a graph, are those without it.

    Args:
      make: callable that makes the bijector on variables of float64.
      x: points of its domain and codomain.
    """
    bijector = make()

    def gradient(point, wrap):
        with tf.GradientTape() as tape:
            tape.watch(point)
            total = tf.reduce_sum(wrap(_row, point))
        return tape.gradient(total, [point, *bijector.trainable_variables])

    def _row(point):
        return _forward(bijector, point) + _inverse(bijector, point)

    def loop(fn, points):
        return tf.map_fn(fn, points)

    def unrolled(fn, points):
        return tf.stack([fn(point) for point in tf.unstack(points)])

    actual, expected = (
        tf.function(gradient, autograph=False)(tf.constant(x[:2]), wrap)
        for wrap in (loop, unrolled)
    )
    for one, other in zip(actual, expected):
        close(one, other)


def _derivative_of_gradient(bijector, quantity, directions, x):
    """Gradient, by the tape, of the derivative along `directions`."""
    variables = bijector.trainable_variables

    def compute(point):
        with tf.GradientTape() as outer:
            outer.watch(point)
            with tf.GradientTape() as inner:
                inner.watch(point)
                total = quantity(bijector, point)
            gradients = inner.gradient(total, [*variables, point])
            along = sum(tf.reduce_sum(g * d) for g, d in zip(gradients, directions))
        return outer.gradient(along, [*variables, point], unconnected_gradients="zero")

    if quantity is _log_prob:  # it has both directions in it
        compute = tf.function(compute, autograph=False, jit_compile=True)
    return compute(tf.constant(x))


def _weighted(*tensors):
    rng = np.random.default_rng(1)
    return sum(tf.reduce_sum(rng.normal(size=t.shape) * t) for t in tensors)


def _forward(bijector, x):
    return _weighted(bijector.forward(x), bijector.forward_log_det_jacobian(x))


def _inverse(bijector, y):
    return _weighted(bijector.inverse(y), bijector.inverse_log_det_jacobian(y))


def _log_prob(bijector, y):
    return _weighted(distribution_of(bijector, y.shape).log_prob(y))


def distribution_of(bijector, shape):
    """Returns the bijector of normal variables, with batch and event shape to fit."""
    ndims = bijector.forward_min_event_ndims
    variables = bijector.trainable_variables
    dtype = variables[0].dtype if variables else bijector.dtype
    base = tfd.Normal(tf.zeros(shape[len(shape) - ndims :], dtype), 1.0)
    base = tfd.Independent(base, reinterpreted_batch_ndims=ndims)
    return tfd.TransformedDistribution(base, bijector)


def check_mixed_batch(make, tensors, x):
    """Parameters of which some have batch axes act as if all had them.

    Args:
      make: callable from tensors, by name, to the bijector.
      tensors: NumPy arrays without batch axes, by name.
      x: points of shape `[S, B, ...]`.
    """
    rng = np.random.default_rng(0)
    full = {n: np.broadcast_to(v, [x.shape[1], *v.shape]) for n, v in tensors.items()}
    for name in [n for n in tensors if n != "q"]:
        factor = rng.uniform(0.9, 1.0, size=[x.shape[1]] + [1] * tensors[name].ndim)
        moved = full[name] * factor
        some = make({**tensors, name: moved})
        every = make({**full, name: moved})
        assert some.experimental_batch_shape() == [x.shape[1]]
        for point in [x, x[0], x[:, :1], x[0, 0]]:
            y = every.forward(fresh(point))
            expected = evaluate(every, point, y)
            for method, value in evaluate(some, point, y).items():
                close(value, expected[method])


def check_batch(bijector, x):
    """Each bijector of a batch, taken by slicing, acts as it does alone."""
    batch_shape = bijector.experimental_batch_shape()
    y, fldj = bijector.forward(x), bijector.forward_log_det_jacobian(x)
    for index in np.ndindex(*batch_shape):
        alone, those = bijector[index], (slice(None), *index)
        assert alone.experimental_batch_shape() == []
        close(alone.forward(x[those]), y[those])
        close(alone.forward_log_det_jacobian(x[those]), fldj[those])
        close(alone.inverse(fresh(y[those])), x[those])


def check_slices(bijector, x):
    """Slices of a batch act as their members do, as layers of compositions, too."""
    ndims, batch = (
        bijector.forward_min_event_ndims,
        bijector.experimental_batch_shape().as_list(),
    )
    x = np.broadcast_to(x[0], [*batch, *x.shape[x.ndim - ndims :]])
    y = bijector.forward(fresh(x))
    every = evaluate(bijector, x, y)
    chain = tfb.Chain([tfb.Invert(tfb.Invert(bijector))])
    for flow, kept in [
        (chain, (0,)),
        (chain, (..., slice(None, None, -1))),
        (bijector, (slice(0, 1), tf.newaxis, ...)),
        (bijector, (..., slice(0, 0))),
    ]:
        of_events = (*kept, *[slice(None)] * ndims) if ... in kept else kept
        sliced = flow[kept]
        expected = {
            name: value.numpy()[kept if name.endswith("jacobian") else of_events]
            for name, value in every.items()
        }
        assert sliced.experimental_batch_shape() == (
            expected["forward_log_det_jacobian"].shape
        )
        points = x[of_events], y.numpy()[of_events]
        for name, value in evaluate(sliced, *points).items():
            close(value, expected[name])
