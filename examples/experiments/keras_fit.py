"""Density estimation of digits with Keras: MAF, RealNVP and spline flows.

Trains a flow until its validation loss stops to improve, and evaluates the best weights
on held-out digits. Run

    python examples/experiments/keras_fit.py --flow maf --seed 1

Results are recorded in `results/keras_fit.json`.
"""

import argparse
import functools
import time

import keras
import matplotlib.figure
import numpy as np
import recording
import sklearn.datasets
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import flows
from tfp_flows.keras import DensityModel

tfb, tfd = tfp.bijectors, tfp.distributions

SIZE, LEVELS = 64, 17
PICTURE = recording.RESULTS / "keras_fit.png"
FLOWS = {
    "maf": flows.maf,
    "real_nvp": functools.partial(
        flows.real_nvp, num_layers=10, hidden_units=(128, 128)
    ),
    "spline": functools.partial(
        flows.neural_spline, num_layers=4, hidden_units=(128, 128)
    ),
}
WEIGHT_DECAY = dict(maf=2.0, real_nvp=4.0, spline=4.0)  # in units of learning rates


def main(
    flow="spline",
    epochs=200,
    path="keras_fit.keras",
    picture=PICTURE,
    seed=0,
    verbose="auto",
):
    """Fits the flow, prints its scores, and draws it.

    Args:
      flow: one of `FLOWS`.
      epochs: largest number of passes through the training data.
      path: where the best model is saved, a file `.keras`.
      picture: path of the picture to write, or None.
      seed: integer, seed of initial values, batches and noise.
      verbose: what Keras prints of the training; 0 for nothing.

    Returns:
      figures: dictionary of numbers: `nats` of held-out points in [0, 1), their
        `standard_error`, `bits_per_dimension` of the integers; `difference_of_saved`,
        the difference of the saved model; `epochs` of training, `best_epoch`, and
        `seconds` of processor time of the training.
    """
    keras.utils.set_random_seed(seed)
    train, validation, test = load_digits()
    batches = tf.data.Dataset.from_tensor_slices(train).shuffle(len(train)).repeat()
    batches = batches.batch(100).map(with_noise)

    model = DensityModel(on_pixels(FLOWS[flow](SIZE, seed=seed), train))
    model.compile(
        keras.optimizers.AdamW(2e-3, WEIGHT_DECAY[flow], global_clipnorm=5.0),
        metrics=["log_likelihood", "bits_per_dimension"],
    )
    model.summary()
    start = time.process_time()
    history = model.fit(
        batches,
        steps_per_epoch=len(train) // 100,
        validation_data=(with_noise(np.tile(validation, [5, 1])),),
        validation_batch_size=700,
        epochs=epochs,
        verbose=verbose,
        callbacks=[
            keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=8),
            keras.callbacks.EarlyStopping(patience=18, restore_best_weights=True),
            keras.callbacks.ModelCheckpoint(path, save_best_only=True),
        ],
    )
    seconds = time.process_time() - start

    points = with_noise(np.tile(test, [10, 1]))  # ten draws of the noise
    scores = model.evaluate(points, batch_size=len(test), return_dict=True, verbose=0)
    samples = model.sample(36, seed=1)
    saved = keras.models.load_model(path)
    nats = saved.predict(points, batch_size=len(test), verbose=0).reshape(10, -1)

    # `nats` are of points in [0, 17), the bits are of integers. Points in [0, 1) have a
    # density that is higher by 17 along each axis.
    figures = dict(
        nats=scores["log_likelihood"] + SIZE * np.log(LEVELS),
        standard_error=np.std(np.mean(nats, axis=0), ddof=1) / len(test) ** 0.5,
        bits_per_dimension=scores["bits_per_dimension"],
        difference_of_saved=abs(np.mean(nats) - scores["log_likelihood"]),
        epochs=len(history.epoch),
        best_epoch=1 + np.argmin(history.history["val_loss"]),
        seconds=seconds,
    )
    print(
        f"\nheld out, {flow}: {figures['nats']:.2f} ({figures['standard_error']:.2f}) "
        f"nats, {figures['bits_per_dimension']:.3f} bits per dimension\n"
        f"best of {figures['epochs']} epochs: {figures['best_epoch']}; "
        f"seconds of processor time: {seconds:.0f}\n"
        f"saved model: {path}, differs by {figures['difference_of_saved']:.0e} nats"
    )
    if picture is not None:
        draw(picture, test[:36], samples, history.history)
    return {name: float(value) for name, value in figures.items()}


def load_digits():
    """Returns the digits for training, validation and test."""
    levels = sklearn.datasets.load_digits().data.astype(np.float32)
    order = np.random.RandomState(0).permutation(len(levels))
    return np.split(levels[order], [1260, 1400])


def with_noise(levels):
    """Adds uniform noise from [0, 1) to integers.

    Whole numbers have no density: a narrow peak on each would win. The noise should be
    new in each epoch, and is so in a pipeline that repeats. Started anew by each epoch,
    with a seed set, it would make the noise of the first again.
    """
    return levels + tf.random.uniform(tf.shape(levels))


def on_pixels(flow, levels):
    """Returns the flow with the location, the scale and the bounds of the pixels.

    Half of the pixels are black. The sigmoid gives the interval that they are spread
    over more room; a margin keeps its ends away from infinity.
    """
    sigmoid = tfb.Sigmoid(-0.02 * LEVELS, 1.02 * LEVELS)
    x = sigmoid.inverse(with_noise(levels)).numpy()
    return tfd.TransformedDistribution(
        flow,
        tfb.Chain(
            [sigmoid, tfb.Shift(np.mean(x, axis=0)), tfb.Scale(np.std(x, axis=0))]
        ),
    )


def draw(path, digits, samples, history):
    """Draws data, samples and the training."""
    samples = np.clip(np.floor(samples), 0, LEVELS - 1)
    figure = matplotlib.figure.Figure(figsize=(12.0, 4.8), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15)
    axes = figure.subplots(1, 3, width_ratios=[1.0, 1.0, 1.1])
    for ax, images, title in zip(axes, [digits, samples], ["Data", "Samples"]):
        padded = np.pad(np.reshape(images, [6, 6, 8, 8]), [(0, 0)] * 2 + [(1, 1)] * 2)
        ax.imshow(np.reshape(padded.transpose(0, 2, 1, 3), [60, 60]), cmap="gray_r")
        ax.set_title(title)
        ax.set_axis_off()
    ax = axes[2]
    train, validation = history["bits_per_dimension"], history["val_bits_per_dimension"]
    epoch = 1 + np.arange(len(train))
    for halved in epoch[1:][np.diff(history["learning_rate"]) < 0.0]:
        ax.axvline(halved - 0.5, color="0.8", linewidth=1.0, zorder=0)
    ax.plot(epoch, train, label="training")
    ax.plot(epoch, validation, label="validation")
    best = np.argmin(validation)
    ax.plot(epoch[best], validation[best], "o", color="C1", label="weights kept")
    ax.plot([], [], color="0.8", linewidth=1.0, label="learning rate halved")
    ax.set_title("Bits per dimension")
    ax.set_xlabel("epoch")
    ax.set_box_aspect(0.95)
    ax.legend(loc="upper right", framealpha=1.0, edgecolor="none")
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=100)


def rows(figures, options):
    """Returns the results as rows of the record."""
    common = dict(
        data="digits",
        model=options["flow"],
        seed=options["seed"],
        seconds=figures["seconds"],
    )
    return [
        dict(
            common,
            metric="held-out log-likelihood",
            value=figures["nats"],
            error=figures["standard_error"],
            unit="nats",
        ),
        dict(
            common,
            metric="held-out bits per dimension",
            value=figures["bits_per_dimension"],
            unit="bits",
        ),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--flow", default="spline", choices=FLOWS)
    add("--epochs", type=int, default=200, help="largest number of epochs")
    add("--seed", type=int, default=0)
    add("--path", default="keras_fit.keras", help="where to save the best model")
    add("--picture", default=PICTURE, help="where to write the picture")
    options = vars(parser.parse_args())
    recording.record("keras_fit", rows(main(**options), options))
