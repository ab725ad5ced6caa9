"""Imputation by a flow has the conditional distributions that it should."""

import dataclasses

import numpy as np
import pytest
import scipy.stats

from tests.examples.loading import load

MEAN = np.array([1.0, -2.0, 0.5])
COVARIANCE = np.array([[4.0, 3.0, 0.2], [3.0, 2.5, 0.1], [0.2, 0.1, 0.09]])


@pytest.fixture(scope="module")
def example():
    return load("missing_data")


@pytest.fixture(scope="module")
def gaussian(example):
    """A model whose conditional densities are known, in units other than 1."""
    location, scale = np.array([3.0, 0.0, -1.0]), np.array([2.0, 1.0, 0.1])
    units = MEAN, COVARIANCE
    return example.Model(location, scale, units, example.gaussian_density(units))


def conditional(model, row):
    """Returns mean and covariance of the missing entries, in the units of the table."""
    missing = np.isnan(row)
    mean = model.location + model.scale * MEAN
    covariance = model.scale[:, np.newaxis] * COVARIANCE * model.scale
    gain = covariance[missing][:, ~missing] @ np.linalg.inv(
        covariance[~missing][:, ~missing]
    )
    return (
        mean[missing] + gain @ (row - mean)[~missing],
        covariance[missing][:, missing] - gain @ covariance[~missing][:, missing],
    )


def test_draws_have_the_conditional_density(example, gaussian):
    nan = np.nan
    rows = np.array([[nan, nan, -0.9], [6.0, nan, nan], [nan, -1.0, -1.0]])
    number = 4000
    draws = example.impute(gaussian, rows, number, seed=0, chains=400)
    for i, row in enumerate(rows):
        missing = np.isnan(row)
        np.testing.assert_array_equal(
            draws[:, i, ~missing], np.tile(row[~missing], [number, 1])
        )
        mean, covariance = conditional(gaussian, row)
        spread = np.sqrt(np.diag(covariance))
        values = draws[:, i, missing]
        np.testing.assert_allclose((np.mean(values, 0) - mean) / spread, 0.0, atol=0.1)
        np.testing.assert_allclose(
            np.cov(values.T) / np.multiply.outer(spread, spread),
            covariance / np.multiply.outer(spread, spread),
            atol=0.12,
        )


def test_a_row_without_entries_becomes_a_draw_of_the_model(example, gaussian):
    # The walks start from another Gaussian, which they must forget.
    other = np.array([0.0, -2.0, 1.0]), np.diag([2.0, 2.0, 0.2])
    model = dataclasses.replace(gaussian, gaussian=other)
    draws = example.impute(model, np.full([1, 3], np.nan), 1000, seed=1, chains=1000)
    for values, mean, scale, location, variance in zip(
        draws[:, 0].T, MEAN, model.scale, model.location, np.diag(COVARIANCE)
    ):
        normal = scipy.stats.norm(location + scale * mean, scale * variance**0.5)
        assert scipy.stats.kstest(values, normal.cdf).pvalue > 1e-3


def test_scores_are_conditional_log_densities(example, gaussian):
    random = np.random.RandomState(0)
    rows = gaussian.restore(random.multivariate_normal(MEAN, COVARIANCE, 5))
    # Proposals from another Gaussian than the model change nothing.
    other = 1.1 * MEAN, 1.3 * COVARIANCE + 0.02 * np.eye(3)
    model = dataclasses.replace(gaussian, gaussian=other)
    missing = random.uniform(size=rows.shape) < 0.5
    missing[0] = [True, True, True]
    missing[1] = [False, False, False]
    nats, effective = example.conditional_log_prob(
        model, rows, missing, seed=0, samples=4000
    )
    for row, gone, value in zip(rows, missing, nats):
        expected = 0.0
        if np.any(gone):
            moments = conditional(model, np.where(gone, np.nan, row))
            expected = scipy.stats.multivariate_normal(*moments).logpdf(row[gone])
        np.testing.assert_allclose(value, expected, atol=0.1)
    assert np.all((effective > 400.0) & (effective < 4001.0))

    for j in range(3):
        grid, density, nats = example.entry_density(model, rows, j)
        np.testing.assert_allclose(np.trapezoid(density, grid, axis=0), 1.0, rtol=1e-6)
        for i, row in enumerate(rows):
            moments = conditional(model, np.where(np.arange(3) == j, np.nan, row))
            normal = scipy.stats.multivariate_normal(*moments)
            np.testing.assert_allclose(nats[i], normal.logpdf(row[j]), atol=2e-3)
            np.testing.assert_allclose(
                density[:, i] / normal.pdf(moments[0]),
                normal.pdf(grid[:, i]) / normal.pdf(moments[0]),
                atol=2e-3,
            )


def test_gaussian_by_em_raises_the_likelihood_of_what_is_observed(example):
    random = np.random.RandomState(0)
    x = random.multivariate_normal(MEAN, COVARIANCE, 2000)
    x[random.uniform(size=x.shape) < 0.3] = np.nan

    def likelihood(moments):
        mean, covariance = moments
        total = 0.0
        for row in x[:300]:
            seen = ~np.isnan(row)
            if np.any(seen):
                total += scipy.stats.multivariate_normal(
                    mean[seen], covariance[seen][:, seen]
                ).logpdf(row[seen])
        return total

    x, everything = x[:300], x
    values = [likelihood(example.fit_gaussian(x, iterations=i)) for i in [1, 2, 4, 8]]
    assert np.all(np.diff(values) > 0.0)
    mean, covariance = example.fit_gaussian(everything)
    np.testing.assert_allclose(mean, MEAN, atol=0.12)
    np.testing.assert_allclose(covariance, COVARIANCE, atol=0.25)


def test_rejects_what_cannot_be_imputed(example, gaussian):
    x = np.random.RandomState(0).normal(size=[20, 3])
    with pytest.raises(ValueError, match="observed entries; got none in column 1"):
        example.fit(np.where(np.arange(3) == 1, np.nan, x))
    with pytest.raises(ValueError, match="several values; got only 2.0 in column 2"):
        example.fit(np.where(np.arange(3) == 2, 2.0, x))
    with pytest.raises(ValueError, match=r"at least 10 rows .*; got 9"):
        example.fit(np.where(np.arange(20)[:, np.newaxis] < 9, x, np.nan))
    x[4, 1] = -np.inf
    for function in [example.fit, lambda x: example.impute(gaussian, x, 1, 0)]:
        with pytest.raises(ValueError, match="got -inf in row 4, column 1"):
            function(x)
    with pytest.raises(ValueError, match="must have 3 entries; got 2"):
        example.impute(gaussian, np.zeros([4, 2]), 1, 0)
    with pytest.raises(ValueError, match="2 axes; got shape"):
        example.fit(np.zeros(4))
