"""Flows of other libraries, in processes that time them on request.

    python -m tests.benchmarks.peers maf zuko
    python -m tests.benchmarks.peers planar_stack "textbook jax" --only forward,inverse

run in an environment that has PyTorch or JAX, without TensorFlow. This file needs none
of them. `__main__` describes the protocol between the processes.

A library has some of the following quantities of a model:

- A layer or stack (`planar`, `planar_stack`, `radial_stack`, `sylvester`, `prelu`,
  `actnorm`, `conv1x1`, `glow_step`): "forward" is the layer as in its paper, value
  and log determinant, "inverse" its inverse with log determinant, "step" a step of
  maximum likelihood where `forward` maps data to standard normal latents.
- `planar_amortized`, with parameters per example: "forward", and "step", the gradients
  of the divergence from a standard normal with respect to all parameters.
- `made`, one affine autoregressive layer: "forward" takes one network evaluation,
  "inverse" is the sequential direction.
- `maf`, `real_nvp`, `nice`, `neural_spline`, `glow`: "log_prob", "sample", and "step"
  of maximum likelihood.
- `iaf`: "sample" includes the density, "step" is of reverse KL to a standard normal,
  "log_prob" is the sequential direction.
- `planar_vi`: "step" is of reverse KL to the first energy of Rezende and Mohamed
  (2015).
- `posterior_*`, amortized posteriors after van den Berg et al. (2018): "sample" is one
  sample with density of each posterior, "step" the gradients of reverse KL.
- `primitives`: see `PRIMITIVES`.

A "step" is the loss, the gradients and Adam, where not stated otherwise.
"""

import dataclasses

THREADS = 2
SIZE = 64
BATCH_SIZE = 1000
LARGE_BATCH_SIZE = 10000
HIDDEN_UNITS = (256, 256)
NUMBERS_OF_LAYERS = {"maf": 5, "iaf": 5, "real_nvp": 8}

IMAGE = (32, 32, 3)
NUMBER_OF_IMAGES = 16
NUM_VALUES = 256
NUM_LEVELS = 3
NUM_STEPS = 8
HIDDEN_CHANNELS = 128
STEP_IMAGE = (32, 32, 48)
NUMBER_OF_STEP_IMAGES = 32

SPLINE_BOUND = 5.0
NUM_COLUMNS = 32
# Of amortized posteriors.
NUM_REFLECTIONS = 8
POSTERIOR_HIDDEN_UNITS = 320
POSTERIORS = ["planar", "radial", "orthogonal", "householder", "triangular", "iaf"]


@dataclasses.dataclass(frozen=True)
class Model:
    """A kind of flow and its sizes.

    Args:
      kind: name of its kind in the libraries; several models share one.
      shape: that of an event, channels last.
      batch_size: number of events.
      num_layers: number of layers.
      hidden_units: widths of the hidden layers of each network.
      num_columns: `M` of Sylvester layers.
      num_bins: number of bins of a spline.
    """

    kind: str
    shape: tuple
    batch_size: int
    num_layers: int = 1
    hidden_units: tuple = HIDDEN_UNITS
    num_columns: int = NUM_COLUMNS
    num_bins: int = 8

    @property
    def size(self):
        """Length of an event that is a vector."""
        (size,) = self.shape
        return size


MODELS = {
    "planar": Model("planar", (SIZE,), LARGE_BATCH_SIZE),
    "planar_stack": Model("planar", (SIZE,), LARGE_BATCH_SIZE, 16),
    "planar_stack_large": Model("planar", (1024,), BATCH_SIZE, 16),
    "planar_amortized": Model("planar_amortized", (SIZE,), BATCH_SIZE, 16),
    "planar_vi": Model("planar_vi", (2,), BATCH_SIZE, 16),
    "radial_stack": Model("radial", (SIZE,), LARGE_BATCH_SIZE, 16),
    "sylvester": Model("sylvester", (SIZE,), BATCH_SIZE),
    "prelu": Model("prelu", (SIZE,), LARGE_BATCH_SIZE),
    "actnorm": Model("actnorm", STEP_IMAGE, NUMBER_OF_STEP_IMAGES),
    "conv1x1": Model("conv1x1", STEP_IMAGE, NUMBER_OF_STEP_IMAGES),
    "glow_step": Model("glow_step", STEP_IMAGE, NUMBER_OF_STEP_IMAGES),
    "made": Model("made", (784,), 100, hidden_units=(1024,)),
    "maf": Model("maf", (SIZE,), BATCH_SIZE, NUMBERS_OF_LAYERS["maf"]),
    "maf_large": Model("maf", (SIZE,), LARGE_BATCH_SIZE, NUMBERS_OF_LAYERS["maf"]),
    "iaf": Model("iaf", (SIZE,), BATCH_SIZE, NUMBERS_OF_LAYERS["iaf"]),
    "real_nvp": Model("real_nvp", (SIZE,), BATCH_SIZE, NUMBERS_OF_LAYERS["real_nvp"]),
    "real_nvp_large": Model(
        "real_nvp", (SIZE,), LARGE_BATCH_SIZE, NUMBERS_OF_LAYERS["real_nvp"]
    ),
    "nice": Model("nice", (784,), 100, 4, hidden_units=5 * (1000,)),
    "neural_spline": Model("neural_spline", (SIZE,), BATCH_SIZE, 4, (128, 128)),
    "glow": Model("glow", IMAGE, NUMBER_OF_IMAGES, NUM_STEPS),
    **{
        f"posterior_{kind}": Model(f"posterior_{kind}", (SIZE,), 100, 16)
        for kind in POSTERIORS
    },
    "primitives": Model("primitives", (SIZE,), LARGE_BATCH_SIZE),
}
# Shapes of the arguments of each primitive: `call` adds 1 to a number, which measures
# the overhead of a compiled call; `copy` adds 1 to an array; `row sums` does so, too,
# and multiplies each row with a vector; `channel sums` are the gradient of a scale.
PRIMITIVES = {
    "call": [[1]],
    "copy": [[LARGE_BATCH_SIZE, SIZE]],
    "product": [[BATCH_SIZE, 256], [256, 256]],
    "row sums": [[LARGE_BATCH_SIZE, SIZE], [SIZE]],
    "channel sums": 2 * [[NUMBER_OF_STEP_IMAGES, *STEP_IMAGE]],
}

_VECTORS = ["made", "maf", "iaf", "real_nvp", "nice", "neural_spline"]
_BY_HAND = ["planar", "planar_amortized", "planar_vi", "radial", "sylvester", "prelu"]
_BY_HAND += ["actnorm", "conv1x1", "primitives"]
# The kinds of models that each module of this package builds.
KINDS = {
    "zuko": _VECTORS,
    "nflows": [*_VECTORS, "prelu", "actnorm", "conv1x1", "glow_step", "glow"],
    "normflows": [
        *_VECTORS,
        "planar",
        "planar_vi",
        "radial",
        "actnorm",
        "conv1x1",
        "glow_step",
        "glow",
    ],
    "pyro": [
        "made",
        "maf",
        "iaf",
        "real_nvp",
        "neural_spline",
        "planar",
        "planar_amortized",
        "planar_vi",
        "radial",
        "prelu",
        "conv1x1",
    ],
    "textbook": [*_BY_HAND, *(f"posterior_{kind}" for kind in POSTERIORS)],
    "flowjax": [*_VECTORS, "planar", "planar_amortized", "planar_vi"],
    "distrax": ["real_nvp", "nice", "neural_spline", "actnorm", "conv1x1", "glow_step"],
    "textbook jax": _BY_HAND,
}
IN_JAX = ["flowjax", "distrax", "textbook jax"]
LIBRARIES = [
    name
    for library in KINDS
    for name in ([library] if library in IN_JAX else [library, f"{library} compiled"])
]


def libraries(model):
    """Returns the names of `LIBRARIES` that have the model of this name."""
    kind = MODELS[model].kind
    return [
        name
        for name in LIBRARIES
        if kind in KINDS[name.removesuffix(" compiled")]
        # PyTorch takes some minutes to compile a whole Glow.
        and not (kind == "glow" and name.endswith(" compiled"))
    ]
