"""Tests of `tfp_flows.bijectors._trainable`."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows.bijectors import (
    Planar,
    PlanarStack,
    PReLU,
    Radial,
    Sylvester,
    orthonormal,
)
from tfp_flows.bijectors._trainable import make_trainable

tfb, tfd = tfp.bijectors, tfp.distributions


@pytest.mark.parametrize("bijector_class", [Planar, PReLU, Radial])
def test_starts_near_the_identity(bijector_class):
    x = np.random.default_rng(0).normal(size=[100, 3]).astype(np.float32)
    bijector = make_trainable(bijector_class, [3], seed=1)
    np.testing.assert_allclose(bijector.forward(x), x, atol=0.1)


def test_the_seed_decides_the_variables():
    first, again, other = [
        make_trainable(Radial, [3], seed=seed).center.numpy() for seed in [1, 1, 2]
    ]
    np.testing.assert_array_equal(first, again)
    assert np.all(first != other)


def test_fixed_arguments_are_not_trained():
    bijector = make_trainable(Radial, [3], seed=1, gain=2.0)
    assert {v.name for v in bijector.trainable_variables} == {"center:0", "radius:0"}


def test_constraints_hold_whatever_the_variables():
    bijector = make_trainable(
        Sylvester,
        [4],
        seed=0,
        parameter_shapes=dict(r=[2, 2], r_tilde=[2, 2], b=[2]),
        q=orthonormal.permutation_basis(4, 2),
        validate_args=True,
    )
    for variable in bijector.trainable_variables:
        variable.assign(100.0 * tf.ones_like(variable))
    assert np.all(np.isfinite(bijector.forward_log_det_jacobian(tf.ones([1, 4]))))
    np.testing.assert_array_equal(np.tril(bijector.r, -1), 0.0)


def test_the_standard_deviation_of_each_parameter():
    bijector = make_trainable(
        Planar, [1000], seed=0, stddev=dict(u=0.0, w=3.0), dtype=tf.float64
    )
    np.testing.assert_array_equal(bijector.u, 0.0)
    assert 2.8 < np.std(bijector.w) < 3.2
    assert 0.0 < abs(bijector.b) < 0.1


def test_goes_into_a_chain_and_a_checkpoint(tmp_path):
    flow = tfb.Chain([make_trainable(Radial, [2], seed=seed) for seed in range(3)])
    model = tfd.TransformedDistribution(tfd.MultivariateNormalDiag(tf.zeros(2)), flow)
    assert len(model.trainable_variables) == 9
    checkpoint = tf.train.Checkpoint(model=model)
    path = checkpoint.save(str(tmp_path / "flow"))
    before = [variable.numpy() for variable in model.trainable_variables]
    for variable in model.trainable_variables:
        variable.assign_add(tf.ones_like(variable))
    checkpoint.restore(path).assert_consumed()
    for variable, value in zip(model.trainable_variables, before):
        np.testing.assert_array_equal(variable, value)


def test_requires_the_shapes_that_it_cannot_infer():
    with pytest.raises(ValueError, match=r"must contain `u`.*got None"):
        make_trainable(PlanarStack, [3], seed=0)


@pytest.mark.parametrize("argument", ["parameter_shapes", "stddev"])
def test_rejects_names_that_are_no_parameters(argument):
    with pytest.raises(ValueError, match=rf"`{argument}` must name .*got \['alpha'\]"):
        make_trainable(Radial, [3], seed=0, **{argument: dict(alpha=1.0)})


@pytest.mark.parametrize("seed", [None, 0.5, (0, 1)])
def test_rejects_a_seed_that_is_no_integer(seed):
    with pytest.raises(TypeError, match="`seed` must be an integer; got"):
        make_trainable(Radial, [3], seed=seed)


def test_says_that_a_basis_has_no_unconstrained_form():
    with pytest.raises(NotImplementedError, match="`q` has no unconstrained form"):
        make_trainable(Sylvester, [3], seed=0, parameter_shapes=dict(q=[3, 2]))
