"""Imputation by a flow, a Gaussian and point imputers, on tables with removed entries.

A flow is fitted to a table by Monte Carlo EM: in each round, missing entries are
sampled given the observed ones by Metropolis steps, and the flow is trained on the
completed rows. It starts as the Gaussian that maximizes the likelihood of the observed
entries. `examples/missing_data.py` explains the method. The data are assumed to be
missing at random. Run

    python examples/experiments/missing_data.py --data breast_cancer

The tables are `breast_cancer` (ten measurements of 569 biopsies), `digits` (eight
principal components), both of scikit-learn, or `PATH.npz:ARRAY`, in which NaN is a
missing entry. A fifth of the rows is held out, and a quarter of all entries removed.
For held-out rows it prints, and records in `results/missing_data.json`,

- the root mean square error, in standard deviations of the column, of the mean of the
  samples or of the imputed value;
- the log score: nats of the removed entries given the observed ones, per entry, with
  `log p(missing | observed) = log p(x) - log p(observed)`, the latter by importance
  sampling. Point imputers are given a Gaussian error as wide as their errors on further
  entries, removed from training rows;
- the fraction of removed entries within central intervals of a given probability;
- error and log score if one entry is missing and the rest of its row is known, for each
  column in turn, where the flow's score takes an integral over one variable;
- the gain of the flow over the Gaussian, row by row.

Setting used for the power plant table of UCI: `--hidden 64 64 --bins 8 --steps 20
--batch 256 --weight-decay 0.5`.
"""

import argparse
import dataclasses
import functools
import pathlib
import time
import warnings

import keras
import numpy as np
import scipy.special
import scipy.stats
import sklearn.datasets
import sklearn.exceptions
import tensorflow as tf
import tensorflow_probability as tfp
import tqdm
from recording import record
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

from tfp_flows import flows

tfb, tfd = tfp.bijectors, tfp.distributions

POINTS = {  # methods that impute one number
    "column mean": SimpleImputer,
    "nearest rows": KNNImputer,
    "regression": IterativeImputer,
}
METHODS = (*POINTS, "Gaussian", "flow")
INTERVALS = (0.5, 0.8, 0.9, 0.95)
MOVES = 20  # Metropolis moves at a time
CHUNK = 1024  # rows at a time
METRICS = {
    "rmse": "error",
    "nats": "log score",
    "rmse_one": "error, one entry missing",
    "nats_one": "log score, one entry missing",
}


def main(data="breast_cancer", missing=0.25, draws=100, seed=0, **options):
    """Removes entries of a table, and compares what five methods put there.

    Args:
      data: "breast_cancer", "digits", or `PATH.npz:ARRAY` for a table with a row for
        each point, whose missing entries are NaN.
      missing: fraction of the entries to remove.
      draws: number of imputations of each missing entry.
      seed: integer that decides the split, the removal, the training, the imputations.
      **options: further arguments of `fit`.

    Returns:
      figures: dictionary of dictionaries of numbers. For each of `METHODS`: `rmse`,
        `nats` for each removed entry with `standard_error` over the rows, and the
        shares of entries within each of `INTERVALS`; `rmse_one`, and for "Gaussian" and
        "flow" `nats_one` with `standard_error_one`, where one entry is missing. For
        "gain", those of the flow's nats less the Gaussian's. For "flow", also
        `seconds` and `processor_seconds` of training, and `effective`, the 5th
        percentile over rows of the effective number of the 1000 importance samples.
    """
    random = np.random.RandomState(seed)
    table, names = load(data, random)
    whole = np.flatnonzero(np.all(np.isfinite(table), axis=1))
    test = random.permutation(whole)[: len(table) // 5]  # complete rows
    train = np.setdiff1d(np.arange(len(table)), test)
    holed = np.where(random.uniform(size=table.shape) < missing, np.nan, table)
    # From here on, columns are in units of their standard deviations.
    mean, scale = np.nanmean(holed[train], axis=0), np.nanstd(holed[train], axis=0)
    table, holed = (table - mean) / scale, (holed - mean) / scale
    print(
        f"{data}: {len(train)} rows to train on, {len(test)} held out, {len(names)} "
        f"columns, {np.mean(np.isnan(holed)):.1%} of the entries missing"
    )

    start = time.perf_counter(), time.process_time()
    model = fit(holed[train], seed=seed, **options)
    seconds = time.perf_counter() - start[0], time.process_time() - start[1]
    gaussian = dataclasses.replace(model, density=gaussian_density(model.gaussian))

    truth, seen = table[test], holed[test]
    gone = np.isnan(seen)
    figures, nats, below, one = {}, {}, {}, {}
    imputers = {name: method() for name, method in POINTS.items()}
    for name, imputer in imputers.items():
        width = residual_scale(imputer, holed[train], random)
        errors = (truth - imputer.fit(holed[train]).transform(seen)) / width
        each = scipy.stats.norm.logpdf(errors) - np.log(width)
        nats[name] = np.sum(each, axis=1, where=gone)
        below[name] = scipy.stats.norm.cdf(errors)[gone]
        figures[name] = dict(rmse=root_mean_square((errors * width)[gone]))
        errors = np.stack(
            [
                imputer.transform(without(truth, j))[:, j] - truth[:, j]
                for j in range(len(names))
            ]
        )
        figures[name]["rmse_one"] = root_mean_square(errors)
    for name, method in [("Gaussian", gaussian), ("flow", model)]:
        nats[name], effective = conditional_log_prob(method, truth, gone, seed=seed)
        completed = impute(method, seen, draws, seed)
        rank = np.sum(completed < truth, axis=0) + 0.5 * (completed == truth).sum(0)
        below[name] = ((rank + 0.5) / (draws + 1.0))[gone]
        errors = np.mean(completed, axis=0) - truth
        figures[name] = dict(rmse=root_mean_square(errors[gone]))
        one[name] = [entry_density(method, truth, j) for j in range(len(names))]
        errors = np.stack(
            [
                np.trapezoid(p * grid, grid, axis=0) - truth[:, j]
                for j, (grid, p, _) in enumerate(one[name])
            ]
        )
        figures[name]["rmse_one"] = root_mean_square(errors)
    figures["flow"]["effective"] = float(np.percentile(effective, 5))
    figures["flow"]["seconds"], figures["flow"]["processor_seconds"] = seconds

    # Sums over the entries of a row are independent, entries are not.
    one = {name: [np.stack(part) for part in zip(*one[name])] for name in one}
    of_one = {name: np.mean(one[name][2], axis=0) for name in one}
    nats["gain"] = nats["flow"] - nats["Gaussian"]
    of_one["gain"] = of_one["flow"] - of_one["Gaussian"]
    for name in [*METHODS, "gain"]:
        row = figures.setdefault(name, {})
        per_entry = nats[name] / np.mean(np.sum(gone, axis=1))
        row["nats"], row["standard_error"] = mean_and_error(per_entry)
        if name in below:
            row |= {share: within(below[name], share) for share in INTERVALS}
        if name in of_one:
            row["nats_one"], row["standard_error_one"] = mean_and_error(of_one[name])
    report(figures, missing)
    name = pathlib.Path(data.partition(":")[0]).stem
    rows = [
        dict(data=name, model=model, metric=METRICS.get(metric, metric), value=value)
        | dict(error=row.get(metric.replace("nats", "standard_error")))
        for model, row in figures.items()
        for metric, value in row.items()
        if metric in METRICS
    ]
    common = dict(unit="nats", seed=seed, seconds=seconds[1])
    for row in rows:
        if "error" in row["metric"]:
            row.update(unit="standard deviations", error=None)
    record("missing_data", [common | row for row in rows])
    return figures


def load(name, random):
    """Returns a table `[N, D]`, and the names of its columns.

    Measurements are rounded, and a value that comes many times has no density. Entries
    get noise: the median difference between adjacent values of their column, times a
    uniform number between -1/2 and 1/2.
    """
    if name == "breast_cancer":
        bunch = sklearn.datasets.load_breast_cancer()
        # Ten means; the other columns are standard errors and largest values.
        table, names = bunch.data[:, :10], bunch.feature_names[:10]
        names = [str(name).removeprefix("mean ") for name in names]
    elif name == "digits":
        images = sklearn.datasets.load_digits().data
        centered = images - np.mean(images, axis=0)
        table = centered @ np.linalg.svd(centered, full_matrices=False)[2][:8].T
        names = [f"component {i + 1}" for i in range(8)]
    else:
        path, _, array = name.rpartition(":")
        if not path:
            raise ValueError(
                "`data` must be 'breast_cancer', 'digits' or PATH.npz:ARRAY; "
                f"got {name!r}."
            )
        if not pathlib.Path(path).is_file():
            raise FileNotFoundError(f"{path} must be a file with the array {array!r}.")
        with np.load(path) as arrays:
            if array not in arrays:
                raise ValueError(f"{path} has no array {array!r}; got {list(arrays)}.")
            table = check_rows(arrays[array])
        names = [f"column {j}" for j in range(table.shape[1])]
    table = np.array(table, np.float64)
    for column in table.T:
        values = np.unique(column[np.isfinite(column)])
        if len(values) > 1:
            noise = random.uniform(-0.5, 0.5, len(column))
            column += np.median(np.diff(values)) * noise
    return table, names


@dataclasses.dataclass(frozen=True)
class Model:
    """A density of rows.

    Args:
      location, scale: mean and standard deviation of each column where it was observed.
      gaussian: mean `[D]` and covariance `[D, D]` of the best Gaussian, for rows in
        these units. Its conditional covariances shape the Metropolis steps.
      density: distribution of rows in these units.
    """

    location: np.ndarray
    scale: np.ndarray
    gaussian: tuple
    density: tfd.Distribution

    def log_prob(self, x):
        """Returns the log density of rows `[..., D]` in these units, float64."""
        nats = in_chunks(self._log_prob, np.reshape(x, [-1, len(self.scale)]))
        return np.reshape(nats, np.shape(x)[:-1])

    def metropolis_steps(self, x, root, random):
        """Returns rows `[N, D]` after `MOVES` moves, see `metropolis`."""
        return in_chunks(self._metropolis, x, root, random=random)

    @functools.cached_property
    def _log_prob(self):
        return tf.function(self.density.log_prob, jit_compile=True)

    @functools.cached_property
    def _metropolis(self):
        return metropolis(self.density)

    def standardize(self, x):
        return (x - self.location) / self.scale

    def restore(self, x):
        return self.location + self.scale * x


def fit(
    x,
    layers=4,
    hidden=(32, 32),
    bins=4,
    rounds=40,
    steps=10,
    batch=128,
    learning_rate=2e-3,
    weight_decay=4.0,
    seed=0,
):
    """Fits a flow to rows with missing entries, by Monte Carlo EM.

    A fifth of the rows is for validation: the weights with the highest likelihood of
    the observed entries of these rows are restored.

    Args:
      x: rows `[N, D]`; NaN is a missing entry.
      layers: number of layers of the flow.
      hidden: widths of the hidden layers of its networks.
      bins: number of pieces of its splines.
      rounds: number of rounds, each of them `MOVES` moves and then training.
      steps: number of training steps in a round.
      batch: number of rows in a training step.
      learning_rate: of Adam at the start; it falls to 0 along a cosine.
      weight_decay: of AdamW.
      seed: integer that decides the initial values, the batches and the imputations.

    Returns:
      model: a `Model`.

    Raises:
      ValueError: a column has no observed entry, or only one value; an entry is
        infinite; there are fewer than 10 rows with an observed entry.
    """
    x = check_rows(x)
    for j, column in enumerate(x.T):
        if np.all(np.isnan(column)):
            raise ValueError(
                "Each column of `x` must have observed entries; got none in column "
                f"{j}."
            )
        if np.nanmin(column) == np.nanmax(column):
            raise ValueError(
                "Each column of `x` must have several values; got only "
                f"{np.nanmin(column)} in column {j}."
            )
    x = x[~np.all(np.isnan(x), axis=1)]  # rows without any entry carry no information
    if len(x) < 10:
        raise ValueError(
            f"`x` must have at least 10 rows with an observed entry; got {len(x)}."
        )
    location, scale = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
    x = (x - location) / scale
    gaussian = fit_gaussian(x)
    flow = flows.neural_spline(x.shape[1], layers, hidden, seed=seed, num_bins=bins)
    density = tfd.TransformedDistribution(
        flow.distribution, tfb.Chain([*of_gaussian(gaussian), *flow.bijector.bijectors])
    )
    model = Model(location, scale, gaussian, density)

    variables = density.trainable_variables
    optimizer = keras.optimizers.AdamW(
        keras.optimizers.schedules.CosineDecay(learning_rate, rounds * steps),
        weight_decay=weight_decay,
        global_clipnorm=5.0,
    )
    optimizer.build(variables)

    @tf.function(jit_compile=True)
    def train_step(rows):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(density.log_prob(rows))
        optimizer.apply(tape.gradient(loss, variables), variables)

    random = np.random.RandomState(seed)
    train, validation = np.split(random.permutation(len(x)), [len(x) - len(x) // 5])
    held_out, x = x[validation], x[train]
    rows, root = gaussian_conditional(gaussian, x)
    rows = rows + (root @ random.normal(size=[*rows.shape, 1]))[..., 0]
    best, best_nats = None, -np.inf
    with tqdm.trange(rounds + 1, desc="fit", unit="round") as progress:
        for i in progress:
            if i % 4 == 0 or i == rounds:
                nats = np.mean(observed_log_prob(model, held_out, 100, seed)[0])
                progress.set_postfix(validation=nats)
                if nats > best_nats:
                    best, best_nats = [v.numpy() for v in variables], nats
            if i == rounds:
                break
            rows = model.metropolis_steps(rows, root, random)
            for _ in range(steps):
                some = random.choice(len(x), min(batch, len(x)), replace=False)
                train_step(np.float32(rows[some]))
    if best is None:
        raise FloatingPointError(
            "The likelihood must be finite; got NaN in every evaluation."
        )
    for variable, value in zip(variables, best):
        variable.assign(value)
    return model


def impute(model, x, draws, seed, chains=10, burn_in=200):
    """Draws the missing entries of rows, given the observed ones.

    Args:
      model: a `Model`.
      x: rows `[N, D]`; NaN is a missing entry. A row may have no other: it becomes a
        draw of a whole row.
      draws: number of draws.
      seed: integer that decides them.
      chains: number of chains for each row, which contribute equally to the draws, and
        make `MOVES` moves from one to the next.
      burn_in: number of moves before that, a multiple of `MOVES`.

    Returns:
      completed: rows `[draws, N, D]`, equal to `x` where that is observed.

    Raises:
      ValueError: an entry is infinite; rows have another length than the model's.
    """
    x = check_rows(x)
    if x.shape[1] != len(model.location):
        raise ValueError(
            f"Rows of `x` must have {len(model.location)} entries; got {x.shape[1]}."
        )
    random = np.random.RandomState(seed)
    chains = min(chains, draws)
    mean, root = gaussian_conditional(model.gaussian, model.standardize(x))
    rows = mean + (root @ random.normal(size=[chains, *mean.shape, 1]))[..., 0]
    rows, root = np.reshape(rows, [-1, x.shape[1]]), np.tile(root, [chains, 1, 1])
    for _ in range(burn_in // MOVES):
        rows = model.metropolis_steps(rows, root, random)
    results = []
    for _ in range(-(-draws // chains)):
        rows = model.metropolis_steps(rows, root, random)
        results.append(np.reshape(rows, [chains, *x.shape]))
    rows = np.concatenate(results)[:draws]
    return np.where(np.isnan(x), model.restore(rows), x)


def metropolis(density):
    """Returns a function that makes Metropolis steps in the missing entries of rows.

    Its steps have the directions of the Gaussian's conditional covariance, so that they
    go along narrow ridges, and lengths from a tenth to three times its own, so that
    some cross from one mode to another. They do not depend on the state of the chain,
    hence their reverse is as likely.
    """

    @tf.function(jit_compile=True)
    def steps(rows, root, seed):
        """Returns rows `[N, D]` after `MOVES` moves, for roots `[N, D, D]`."""

        def propose(parts, seed):
            [rows], seeds = parts, tfp.random.split_seed(seed, n=2)
            noise = tf.random.stateless_normal(tf.shape(rows), seeds[0])
            length = tf.exp(
                tf.random.stateless_uniform(
                    [len(rows), 1], seeds[1], np.log(0.1), np.log(3.0)
                )
            )
            return [rows + length * tf.linalg.matvec(root, noise)]

        kernel = tfp.mcmc.RandomWalkMetropolis(density.log_prob, propose)
        return tfp.mcmc.sample_chain(
            1, rows, kernel=kernel, num_burnin_steps=MOVES - 1, trace_fn=None, seed=seed
        )[0]

    return steps


def in_chunks(function, *arrays, random=None):
    """Calls a function with chunks of `CHUNK` rows of arrays, as it is compiled once.

    If there is a `random`, each call gets a seed from it.
    """
    number, results = len(arrays[0]), []
    for i in range(0, number, CHUNK):
        parts = [np.float32(array[i : i + CHUNK]) for array in arrays]
        short = CHUNK - len(parts[0])
        parts = [np.pad(p, [(0, short)] + [(0, 0)] * (p.ndim - 1)) for p in parts]
        if random is not None:
            parts.append(tf.constant(random.randint(2**31 - 1, size=2), tf.int32))
        results.append(np.float64(function(*parts)))
    return np.concatenate(results)[:number]


def check_rows(x):
    """Returns rows as float64, if they have two axes and no infinite entry."""
    x = np.float64(x)
    if x.ndim != 2:
        raise ValueError(f"Rows must be an array with 2 axes; got shape {x.shape}.")
    if np.any(np.isinf(x)):
        row, column = np.argwhere(np.isinf(x))[0]
        raise ValueError(
            "Entries must be finite, or NaN where they are missing; got "
            f"{x[row, column]} in row {row}, column {column}."
        )
    return x


def fit_gaussian(x, iterations=500, tolerance=1e-5):
    """Returns mean and covariance of the Gaussian that makes observed entries likely.

    EM: in each iteration, the moments of rows whose missing entries have the
    conditional density that the last moments say.
    """
    size = x.shape[1]
    mean, covariance = np.nanmean(x, axis=0), np.diag(np.nanvar(x, axis=0))
    for _ in range(iterations):
        rows, root = gaussian_conditional((mean, covariance), x)
        last, mean = covariance, np.mean(rows, axis=0)
        within = np.mean(root @ np.swapaxes(root, 1, 2), axis=0)
        covariance = np.cov(rows.T, bias=True).reshape(size, size) + within
        covariance += 1e-6 * np.eye(size)  # for columns that determine each other
        if np.max(np.abs(covariance - last)) < tolerance:
            break
    return mean, covariance


def of_gaussian(gaussian):
    """Returns the layers from a standard normal distribution to a Gaussian."""
    mean, covariance = gaussian
    root = np.float32(np.linalg.cholesky(covariance))
    return [tfb.Shift(np.float32(mean)), tfb.ScaleMatvecTriL(root)]


def gaussian_density(gaussian):
    base = tfd.MultivariateNormalDiag(np.zeros(len(gaussian[0]), np.float32))
    return tfd.TransformedDistribution(base, tfb.Chain(of_gaussian(gaussian)))


def gaussian_conditional(gaussian, x):
    """Returns what a Gaussian says of missing entries, given the observed ones.

    Returns:
      mean: rows `[N, D]` with conditional means where `x` is NaN, or else `x`.
      root: Cholesky factors `[N, D, D]` of the conditional covariances, with rows and
        columns of 0 where `x` is observed.
    """
    # The conditional precision is the block of the precision; rows have other blocks,
    # and an identity in their place keeps the sizes equal.
    mean, covariance = gaussian
    precision = np.linalg.inv(covariance)
    missing = np.isnan(x)
    block = missing[:, :, np.newaxis] & missing[:, np.newaxis, :]
    inverse = np.linalg.inv(np.where(block, precision, np.eye(len(mean))))
    root = np.where(block, np.linalg.cholesky(inverse), 0.0)
    pull = np.where(missing, 0.0, x - mean) @ precision
    shift = np.einsum("nij,nj->ni", np.where(block, inverse, 0.0), pull)
    return np.where(missing, mean - shift, x), root


def observed_log_prob(model, x, samples, seed, degrees=5.0):
    """Estimates the log density of what is observed in rows, by importance sampling.

    `p(observed)`, the integral of `p(x)` over the missing entries, is the mean of
    `p(x) / q(missing)` over draws from `q`: the Gaussian's conditional density, with
    the tails of a Student t distribution. The mean of the logarithm is a bit too low.

    Args:
      model: a `Model`.
      x: rows `[N, D]` in its units; NaN is a missing entry.
      samples: number of draws for each row, a multiple of 100.
      seed: integer that decides them.
      degrees: degrees of freedom of the t distribution.

    Returns:
      nats: log densities `[N]`.
      effective: number of equally weighted draws that were as good, `[N]`.
    """
    random = np.random.RandomState(seed)
    mean, root = gaussian_conditional(model.gaussian, x)
    missing = np.isnan(x)
    count = np.sum(missing, axis=1)
    diagonal = np.where(missing, np.diagonal(root, axis1=1, axis2=2), 1.0)
    constant = (
        scipy.special.gammaln((degrees + count) / 2.0)
        - scipy.special.gammaln(degrees / 2.0)
        - count / 2.0 * np.log(degrees * np.pi)
        - np.sum(np.log(diagonal), axis=1)
    )
    log_weight = []
    for _ in range(samples // 100):
        z = random.normal(size=[100, *x.shape])
        z /= np.sqrt(random.chisquare(degrees, [100, len(x), 1]) / degrees)
        squared = np.sum(z**2, axis=-1, where=missing)
        log_q = constant - (degrees + count) / 2.0 * np.log1p(squared / degrees)
        rows = mean + (root @ z[..., np.newaxis])[..., 0]
        log_weight.append(model.log_prob(rows) - log_q)
    log_weight = np.concatenate(log_weight)
    total = scipy.special.logsumexp(log_weight, axis=0)
    squares = scipy.special.logsumexp(2.0 * log_weight, axis=0)
    return total - np.log(len(log_weight)), np.exp(2.0 * total - squares)


def conditional_log_prob(model, truth, missing, seed, samples=1000):
    """Returns `log p(missing | observed)` of whole rows, in the units of the table.

    Args:
      model: a `Model`.
      truth: whole rows `[N, D]`.
      missing: which entries are to be scored given the others, boolean `[N, D]`.
      seed: integer that decides the importance samples.
      samples: their number for each row, a multiple of 100.

    Returns:
      nats: log densities `[N]`, 0 for rows without missing entries.
      effective: effective numbers of samples `[N]`.
    """
    rows = model.standardize(truth)
    holed = np.where(missing, np.nan, rows)
    observed, effective = observed_log_prob(model, holed, samples, seed)
    units = np.sum(np.broadcast_to(np.log(model.scale), rows.shape), 1, where=missing)
    return model.log_prob(rows) - observed - units, effective


def entry_density(model, rows, column, nodes=400):
    """Returns the density of one entry given all others, for whole rows `[N, D]`.

    Returns:
      grid: values `[nodes, N]` of the entry, close together where it should be.
      density: `p(entry | others)` there.
      nats: its logarithm `[N]` at the entry of the row.
    """
    x = model.standardize(rows)
    mean, root = gaussian_conditional(model.gaussian, without(x, column))
    offsets = np.sinh(np.linspace(-4.0, 4.0, nodes))[:, np.newaxis]  # up to 27
    grid = mean[:, column] + root[:, column, column] * offsets
    places = np.tile(x, [nodes + 1, 1, 1])
    places[1:, :, column] = grid
    log_density = model.log_prob(places)
    top = np.max(log_density, axis=0)
    density = np.exp(log_density[1:] - top)
    total = np.trapezoid(density, grid, axis=0)
    location, scale = model.location[column], model.scale[column]
    nats = log_density[0] - top - np.log(total * scale)
    return location + scale * grid, density / (total * scale), nats


def without(rows, column):
    """Returns rows with a missing column."""
    return np.where(np.arange(rows.shape[1]) == column, np.nan, rows)


def residual_scale(imputer, x, random):
    """Returns how far an imputer is off in each column, `[D]`.

    One more entry is removed from each row, before the imputer sees it.
    """
    holed = np.copy(x)
    for row in holed:
        observed = np.flatnonzero(~np.isnan(row))
        if len(observed):
            row[random.choice(observed)] = np.nan
    errors = imputer.fit_transform(holed) - x
    gone = np.isnan(holed) & ~np.isnan(x)
    return np.sqrt(np.mean(errors**2, axis=0, where=gone))


def root_mean_square(errors):
    return float(np.sqrt(np.mean(errors**2)))


def mean_and_error(rows):
    """Returns the mean over rows, and its standard error."""
    return float(np.mean(rows)), float(np.std(rows, ddof=1) / len(rows) ** 0.5)


def within(probability, share):
    """Returns the fraction of entries within central intervals of a probability."""
    return float(np.mean(np.abs(probability - 0.5) < share / 2.0))


def report(figures, missing):
    shares = "".join(f"{share:>7.0%}" for share in INTERVALS)
    print(f"\n{'':14}{missing:.0%} of the entries missing{'':27}one missing")
    print(f"{'':14}error{'nats':>13}{shares}{'error':>11}{'nats':>13}")
    for name in [*METHODS, "gain"]:
        row = figures[name]
        cells = [f"{row['rmse']:.3f}" if "rmse" in row else ""]
        cells.append(f"{row['nats']:6.2f} ({row['standard_error']:.2f})")
        cells.append(
            "".join(
                f"{100.0 * row[share]:7.1f}" if share in row else 7 * " "
                for share in INTERVALS
            )
        )
        cells.append(f"{row['rmse_one']:.3f}" if "rmse_one" in row else "")
        if "nats_one" in row:
            cells.append(f"{row['nats_one']:6.2f} ({row['standard_error_one']:.2f})")
        widths = [5, 13, 28, 11, 13]
        print(
            f"{name:14}"
            + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths))
        )
    row = figures["flow"]
    print(
        f"effective importance samples, of 1000: {row['effective']:.0f} or more in 95 "
        f"% of the rows\nseconds of training: {row['seconds']:.0f}, of processor time "
        f"{row['processor_seconds']:.0f}"
    )


if __name__ == "__main__":
    # The iterative imputer may end before its tolerance, which changes little.
    warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", default="breast_cancer", help="or digits, or PATH.npz:ARRAY")
    add("--missing", type=float, default=0.25, help="fraction of the entries to remove")
    add("--draws", type=int, default=100, help="imputations of each missing entry")
    add("--layers", type=int, default=4, help="layers of the flow")
    add("--hidden", type=int, nargs="*", default=(32, 32), help="widths of networks")
    add("--bins", type=int, default=4, help="pieces of a spline")
    add("--rounds", type=int, default=40, help="rounds of Monte Carlo EM")
    add("--steps", type=int, default=10, help="training steps in a round")
    add("--batch", type=int, default=128, help="rows in a training step")
    add("--weight-decay", type=float, default=4.0, help="of AdamW")
    add(
        "--seed",
        type=int,
        default=0,
        help="of split, removal, training and imputations",
    )
    main(**vars(parser.parse_args()))
