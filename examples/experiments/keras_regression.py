"""Regression with a Gaussian or a flow as the last layer, on real tables.

Trains the same network with either head on random splits: 80 % of the rows for
training, 10 % for early stopping, 10 % held out. Reports mean held-out log densities in
the units of the targets, and the fraction of targets within central intervals. Run

    python examples/experiments/keras_regression.py --data digits
    python examples/experiments/keras_regression.py --data uci.npz:protein --seeds 3

`digits` predicts a pixel from the upper half of the image, `diabetes` comes with
scikit-learn, too; `PATH.npz:ARRAY` is a table whose last column is the target. Results
are recorded in `results/keras_regression.json`.
"""

import argparse
import pathlib
import time

import keras
import matplotlib.figure
import numpy as np
import recording
import sklearn.datasets
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import flows
from tfp_flows.keras import DistributionLayer, NegativeLogLikelihood

tfd = tfp.distributions

PICTURE = recording.RESULTS / "keras_regression.png"
HEADS = ("Gaussian", "flow")
PIXEL = (5, 3)  # row and column of the target in a digit
INTERVALS = (0.5, 0.8, 0.9, 0.95)
DRAWN = 6  # rows whose densities are drawn


def main(
    data="digits",
    seeds=5,
    epochs=100,
    batch=128,
    hidden=128,
    dropout=0.2,
    picture=PICTURE,
):
    """Trains the network with both heads, and prints their scores.

    Args:
      data: "digits", "diabetes", or `PATH.npz:ARRAY` for a table with a row for each
        point and the target in the last column.
      seeds: number of random splits of the rows, and of trainings of each head.
      epochs: largest number of passes through the training data.
      batch: number of rows in a training step.
      hidden: width of the two hidden layers.
      dropout: dropout rate.
      picture: path of the picture to write, or None.

    Returns:
      figures: dictionary of dictionaries of numbers. For each of `HEADS`, means over
        the splits: `nats` of held-out targets, `standard_error` over the rows of one
        split, the fractions of targets within each of `INTERVALS`, `seconds` of
        processor time of a training. For "gain", `nats` and `standard_error` of the
        difference, row by row.
    """
    inputs, targets = load(data)
    results = {head: [] for head in HEADS}
    for seed in range(seeds):
        x, y, units, (train, validation, test) = prepare(inputs, targets, seed)
        for head in HEADS:
            start = time.process_time()
            model, layer = network(head, x.shape[1], hidden, dropout, seed)
            model.compile(
                keras.optimizers.Adam(2e-3, global_clipnorm=5.0),
                loss=NegativeLogLikelihood(layer),
                jit_compile=False,
            )  # it takes longer than it saves in so small a model
            model.fit(
                x[train],
                y[train],
                batch_size=batch,
                validation_data=(x[validation], y[validation]),
                validation_batch_size=4096,
                epochs=epochs,
                verbose=0,
                callbacks=[
                    keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=5),
                    keras.callbacks.EarlyStopping(
                        patience=10, restore_best_weights=True
                    ),
                ],
            )
            seconds = time.process_time() - start
            outputs = model(x[test], training=False)
            result = evaluate(layer, outputs, y[test], units)
            results[head].append(dict(result, rows=test, seconds=seconds))
            nats = np.mean(result["nats"])
            print(f"split {seed}, {head}: {nats:.3f} nats, {seconds:.0f} s", flush=True)

    figures = {head: summary(results[head]) for head in HEADS}
    gains = [
        flow["nats"] - gaussian["nats"]
        for flow, gaussian in zip(results["flow"], results["Gaussian"])
    ]
    figures["gain"] = mean_and_error(gains)
    shares = "".join(f"{share:>8.0%}" for share in INTERVALS)
    print(f"\n{'held out':10}{'nats (standard error)':>24}{shares}")
    for head in HEADS:
        row = figures[head]
        shares = "".join(f"{100 * row[share]:7.1f}%" for share in INTERVALS)
        print(f"{head:10}{in_words(row):>24}{shares}")
    print(f"{'gain':10}{in_words(figures['gain']):>24}")
    print(
        "seconds of processor time of a training:",
        *(f"{head} {figures[head]['seconds']:.0f}" for head in HEADS),
    )
    if picture is not None:
        images = inputs if data == "digits" else None
        draw(picture, results, images)
    return figures


def load(name):
    """Returns inputs `[N, D]` and targets `[N]`."""
    if name == "digits":
        images = sklearn.datasets.load_digits().images
        return images[:, :4].reshape(-1, 32), images[:, *PIXEL]
    if name == "diabetes":
        return sklearn.datasets.load_diabetes(return_X_y=True)
    path, _, array = name.rpartition(":")
    if not path:
        raise ValueError(
            f"`data` must be 'digits', 'diabetes' or PATH.npz:ARRAY; got {name!r}."
        )
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"{path} must be a file with the array {array!r}.")
    with np.load(path) as arrays:
        if array not in arrays:
            raise ValueError(f"{path} has no array {array!r}; got {list(arrays)}.")
        table = np.float64(arrays[array])
    return table[:, :-1], table[:, -1]


def prepare(inputs, targets, seed):
    """Splits the rows, and standardizes them by those to train on.

    Whole numbers have no density, as a narrow peak on each would win: such targets are
    spread evenly over the unit interval above them.

    Returns:
      x, y: inputs `[N, D]` and targets `[N]`, float32.
      units: mean and standard deviation of the targets.
      rows: numbers of the rows to train on, 80 %, for validation, 10 %, and held out.
    """
    random = np.random.RandomState(seed)
    number = len(inputs)
    rows = np.split(random.permutation(number), [int(0.8 * number), int(0.9 * number)])
    if np.all(targets == np.round(targets)):
        targets = targets + random.uniform(size=number)
    scaled, units = [], None
    for part in [inputs, targets]:
        units = np.mean(part[rows[0]], axis=0), np.std(part[rows[0]], axis=0)
        scaled.append((part - units[0]) / np.where(units[1] > 0.0, units[1], 1.0))
    return *map(np.float32, scaled), units, rows


def network(head, num_inputs, hidden, dropout, seed):
    """Returns the network with one of `HEADS`, and its last layer."""
    keras.utils.set_random_seed(seed)
    if head == "flow":
        # An affine flow of one number is a Gaussian: splines are not.
        outputs, family = (
            hidden,
            flows.neural_spline(
                1,
                num_layers=1,
                hidden_units=(64,),
                kind="autoregressive",
                context_size=hidden,
                seed=seed,
            ),
        )
    else:
        outputs, family = 2, gaussian
    layer = DistributionLayer(family)
    return keras.Sequential(
        [
            keras.Input([num_inputs]),
            keras.layers.Dense(hidden, "relu"),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(hidden, "relu"),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(outputs),
            layer,
        ]
    ), layer


@keras.saving.register_keras_serializable("keras_regression")  # for `model.save`
def gaussian(outputs):
    """Returns Gaussians of `[..., 2]` numbers."""
    return tfd.Normal(outputs[..., 0], 1e-3 + tf.math.softplus(outputs[..., 1]))


def evaluate(layer, outputs, y, units):
    """Returns what can be said of predictions for held-out targets.

    Args:
      layer: the last layer of the network.
      outputs: what the network returns for the inputs.
      y: standardized targets `[N]`.
      units: mean and standard deviation of the targets.

    Returns:
      result: dictionary of `nats` `[N]`, log densities in the units of the targets;
        `probability` `[N]`, that of what is below each target, uniform if predictions
        are right; and for the first rows `targets`, `densities` at all of `grid`.
    """
    distribution = layer.distribution(outputs)
    if isinstance(distribution, tfd.Normal):
        below = distribution.cdf(y)
    else:  # one increasing function of Gaussian noise
        noise = distribution.bijector.inverse(y[:, np.newaxis])
        below = tfd.Normal(0.0, 1.0).cdf(noise)[:, 0]
    mean, scale = units
    nats = layer.log_prob(y, outputs).numpy() - np.log(scale)
    margin = 0.1 * np.ptp(y)
    grid = np.linspace(np.min(y) - margin, np.max(y) + margin, 400, dtype=np.float32)
    some = np.repeat(outputs[:DRAWN], len(grid), axis=0)
    there = layer.log_prob(np.resize(grid, len(some)), some)
    return dict(
        nats=nats,
        probability=below.numpy(),
        targets=mean + scale * y[:DRAWN],
        grid=mean + scale * grid,
        densities=np.reshape(np.exp(there) / scale, [-1, len(grid)]),
    )


def summary(results):
    """Returns the figures of one head, out of its results for all splits."""
    figures = mean_and_error([result["nats"] for result in results])
    for share in INTERVALS:
        figures[share] = np.mean([within(r["probability"], share) for r in results])
    figures["seconds"] = np.mean([result["seconds"] for result in results])
    return {name: float(value) for name, value in figures.items()}


def within(probability, share):
    """Returns the fraction of targets within central intervals of a probability."""
    return np.mean(np.abs(probability - 0.5) < share / 2.0)


def mean_and_error(splits):
    """Returns the mean over splits, and the mean standard error within one."""
    errors = [np.std(rows, ddof=1) / len(rows) ** 0.5 for rows in splits]
    return dict(
        nats=float(np.mean([np.mean(rows) for rows in splits])),
        standard_error=float(np.mean(errors)),
    )


def in_words(row):
    return f"{row['nats']:.3f} ({row['standard_error']:.3f})"


def draw(path, results, images):
    """Draws densities for some rows, and how often targets are where they should be."""
    figure = matplotlib.figure.Figure(figsize=(12.0, 5.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.7, 1.0])
    left.suptitle("Predicted densities for six rows held out")
    first = {head: results[head][0] for head in HEADS}
    number = len(first["flow"]["targets"])
    for i, ax in enumerate(left.subplots(2, 3).flat[:number]):
        for color, head in enumerate(HEADS):
            result = first[head]
            grid, density = result["grid"], result["densities"][i]
            ax.plot(grid, density, f"C{color}", label=head)
            ax.fill_between(grid, density, color=f"C{color}", alpha=0.15)
        target = first["flow"]["targets"][i]
        top = max(np.max(first[head]["densities"][i]) for head in HEADS)
        ax.plot([target, target], [0.0, 1.05 * top], "k:", label="target")
        ax.set(yticks=[], ylim=(0.0, None))
        ax.spines[["left", "top", "right"]].set_visible(False)
        if images is not None:  # the half that is seen, and where the target is
            ax.set_ylim(0.0, 1.75 * top)
            image = np.reshape(images[first["flow"]["rows"][i]], [4, 8])
            inset = ax.inset_axes([0.33, 0.64, 0.34, 0.36])
            inset.imshow(np.pad(image, [(0, 4), (0, 0)]), cmap="gray_r")
            inset.axhspan(3.5, 7.5, color="0.92")
            inset.plot(*PIXEL[::-1], "s", color="black", markersize=4.0)
            inset.set(xticks=[], yticks=[])
    left.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)

    axes = right.subplots(2, 1, height_ratios=[1.4, 1.0])
    shares = np.linspace(0.0, 1.0, 101)
    axes[0].plot([0, 1], [0, 1], color="gray", linestyle="--")
    for color, head in enumerate(HEADS):
        below = np.concatenate([r["probability"] for r in results[head]])
        observed = [within(below, share) for share in shares]
        axes[0].plot(shares, observed, f"C{color}", label=head)
        axes[1].hist(
            below,
            np.linspace(0.0, 1.0, 11),
            density=True,
            histtype="step",
            color=f"C{color}",
            linewidth=1.5,
        )
    axes[0].set(
        title="Targets within the central interval",
        xlabel="its probability",
        ylabel="fraction of targets",
    )
    axes[0].legend(frameon=False)
    axes[1].axhline(1.0, color="gray", linestyle="--")
    axes[1].set(
        title="Predicted probability below the target",
        xlabel="probability",
        ylabel="density",
        xlim=(0.0, 1.0),
        yticks=[0, 1],
    )
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=100)


def rows(figures, options):
    """Returns the results as rows of the record."""
    data = options["data"].rpartition(":")[-1]
    return [
        dict(
            data=data,
            model=f"{head}, {options['seeds']} splits",
            metric="held-out log-likelihood",
            value=figures[head]["nats"],
            unit="nats",
            error=figures[head]["standard_error"],
            seed=0,
            seconds=figures[head].get("seconds"),
        )
        for head in (*HEADS, "gain")
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", default="digits", help="digits, diabetes or PATH.npz:ARRAY")
    add("--seeds", type=int, default=5, help="number of splits and trainings")
    add("--epochs", type=int, default=100, help="largest number of epochs")
    add("--batch", type=int, default=128, help="rows in a training step")
    add("--hidden", type=int, default=128, help="width of hidden layers")
    add("--dropout", type=float, default=0.2, help="dropout rate")
    add("--picture", default=PICTURE, help="where to write the picture")
    options = vars(parser.parse_args())
    recording.record("keras_regression", rows(main(**options), options))
