"""SavedModels of density models."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows.keras import _points

tfd = tfp.distributions


def export(model, filepath, verbose):
    """Writes a SavedModel; `DensityModel.export` says of what.

    Args:
      model: `DensityModel`.
      filepath: folder.
      verbose: whether to print what was exported.
    """
    dtype = _points.dtype_of(model.distribution)
    points = _points.specs_of(model.distribution)
    seed = tf.TensorSpec([2], tf.int32, "seed")
    contexts, drawn = [], tf.TensorSpec([], tf.int32, "n")
    if model.context_size:
        drawn = tf.TensorSpec([None, model.context_size], dtype, "context")
        contexts = [drawn]

    def log_prob(*inputs):
        x = inputs[: len(points)]
        x = x[0] if len(points) == 1 else list(x)
        return model([x, inputs[-1]] if contexts else x, training=False)

    def sample(number_or_context, seed):
        context = number_or_context if contexts else None
        shape = [] if contexts else number_or_context
        return model.draw(shape, seed, context)

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", log_prob, [*points, *contexts])
    archive.add_endpoint("log_prob", log_prob, [*points, *contexts])
    archive.add_endpoint("sample", sample, [drawn, seed])
    archive.write_out(filepath, verbose=bool(verbose))
