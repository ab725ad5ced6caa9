"""What the benchmarks time: workloads, their lower bounds, and targets.

A workload has a candidate for each quantity of each library in TensorFlow. "forward"
and "inverse" return value and log determinant, "log_prob" evaluates a batch, "sample"
draws one from a seed that is an argument, too, and "step" is a training step: loss,
gradients, and Adam. Here `forward` of a layer maps data to latents, and `inverse` of a
flow does; a step takes this direction.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

from tests.benchmarks import flows, layers, overhead, peers
from tests.benchmarks.lower_bound import LowerBound
from tests.benchmarks.peers import HIDDEN_CHANNELS, MODELS, NUM_LEVELS

QUANTITIES = ["forward", "inverse", "log_prob", "sample", "step"]


@dataclasses.dataclass(frozen=True)
class Workload:
    """A layer or flow of one size.

    Args:
      sizes: text.
      ours: function without arguments that builds the layer or flow, and returns its
        candidates by quantity.
      bounds: `LowerBound` of each quantity.
      theirs: as `ours`, the counterpart in TFP, or None.
      model: name of the counterpart in `peers`, or "".
      memory: whether to measure the peak memory of a step.
      graphs_only: libraries that XLA does not compile within minutes.
    """

    sizes: str
    ours: Callable
    bounds: Mapping
    theirs: Callable | None = None
    model: str = ""
    memory: bool = False
    graphs_only: tuple = ()

    def builders(self):
        """Returns the functions that build candidates, by the name of the library."""
        builders = {"ours": self.ours, "TFP": self.theirs}
        return {name: build for name, build in builders.items() if build is not None}


@dataclasses.dataclass(frozen=True)
class Target:
    """An upper limit for a ratio of two times, or of two peaks of memory.

    Args:
      workload: name of a workload.
      quantity: one of its quantities, or "memory" for that of a step.
      limit: for the ratio of our faster mode to the reference.
      reference: "best" for the fastest of TFP and the peers, "peers", "TFP",
        "lower bound", "loop", or a quantity of ours.
    """

    workload: str
    quantity: str
    limit: float
    reference: str = "best"


def _bounds(bound, step=None):
    """Lower bounds of all quantities: of one evaluation, and of a training step."""
    step = bound.for_training() if step is None else step
    return {**dict.fromkeys(QUANTITIES, bound), "step": step}


def _pass(*shape):
    """A layer bound by memory traffic: one copy, and two reads for gradients."""
    return _bounds(LowerBound(copies=(shape,)), LowerBound(reads=(shape, shape)))


def _networks(number, rows, *widths):
    return _bounds(LowerBound(products=number * ((rows, widths),)))


def _hidden(name):
    """Returns number of layers, batch size, and hidden units of a model."""
    model = MODELS[name]
    return model.num_layers, model.batch_size, model.hidden_units


def _autoregressive(name):
    number, rows, hidden = _hidden(name)
    size = MODELS[name].size
    return _networks(number, rows, size, *hidden, 2 * size)


def _coupling(name, num_parameters):
    number, rows, hidden = _hidden(name)
    half = MODELS[name].size // 2
    return _networks(number, rows, half, *hidden, num_parameters * half)


def _planar_stack(name):
    model = MODELS[name]
    return _networks(1, model.batch_size, model.size, model.num_layers, model.size)


def _amortized():
    model = MODELS["planar_amortized"]
    point = model.batch_size, model.size
    parameters = 2 * ((model.batch_size, model.num_layers, model.size),)
    return _bounds(
        LowerBound(copies=(point,), reads=parameters),
        LowerBound(reads=(point, point), copies=parameters),
    )


def _glow_step_chains(images, channels):
    """The 1x1 convolution as a product, and the convolutions of the network."""
    network = (3, HIDDEN_CHANNELS), (1, HIDDEN_CHANNELS), (3, channels)
    return ((images, channels, ((1, channels),)), (images, channels // 2, network))


def _glow_step():
    model = MODELS["glow_step"]
    height, width, channels = model.shape
    images = model.batch_size, height, width
    return _bounds(LowerBound(convolutions=_glow_step_chains(images, channels)))


def _glow():
    model = MODELS["glow"]
    height, width, channels = model.shape
    chains = ()
    for level in range(NUM_LEVELS):
        height, width, channels = height // 2, width // 2, 4 * channels
        images = model.batch_size, height, width
        chains += model.num_layers * _glow_step_chains(images, channels)
        if level + 1 < NUM_LEVELS:
            channels //= 2  # the others have a conditional prior
            chains += ((images, channels, ((3, 2 * channels),)),)
    return _bounds(LowerBound(convolutions=chains))


def _pixels(name):
    model = MODELS[name]
    return model.batch_size, *model.shape


def _conv1x1():
    *pixels, channels = _pixels("conv1x1")
    rows = pixels[0] * pixels[1] * pixels[2]
    return _bounds(LowerBound(products=((rows, (channels, channels)),)))


_THIN = 10000, 64
_IMAGES = _pixels("actnorm")
_STEP = "32x32x48, B = 32"
_LAYERS = {
    "planar": Workload(
        "D = 64, B = 10000", layers.planar, _pass(*_THIN), model="planar"
    ),
    "planar_stack": Workload(
        "16 layers, D = 64, B = 10000",
        layers.planar_stack,
        _planar_stack("planar_stack"),
        model="planar_stack",
    ),
    "planar_stack_large": Workload(
        "16 layers, D = 1024, B = 1000",
        layers.planar_stack_large,
        _planar_stack("planar_stack_large"),
        model="planar_stack_large",
    ),
    "planar_amortized": Workload(
        "16 layers per example, D = 64, B = 1000",
        layers.planar_amortized,
        _amortized(),
        model="planar_amortized",
    ),
    "planar_vi": Workload(
        "reverse KL, 16 layers, D = 2, B = 1000",
        layers.planar_vi,
        _planar_stack("planar_vi"),
        model="planar_vi",
    ),
    "radial_stack": Workload(
        "16 layers, D = 64, B = 10000",
        layers.radial_stack,
        _pass(*_THIN),
        model="radial_stack",
    ),
    "sylvester": Workload(
        "M = 32, D = 64, B = 1000",
        layers.sylvester,
        _networks(1, 1000, 64, 32, 64),
        model="sylvester",
    ),
    "sylvester_stack": Workload(
        "16 layers, M = 32, D = 64, B = 1000",
        layers.sylvester_stack,
        _networks(16, 1000, 64, 32, 64),
    ),
    "prelu": Workload("D = 64, B = 10000", layers.prelu, _pass(*_THIN), model="prelu"),
    "actnorm": Workload(
        _STEP,
        layers.actnorm,
        _pass(*_IMAGES),
        layers.tfp_actnorm,
        "actnorm",
    ),
    "conv1x1": Workload(_STEP, layers.conv1x1, _conv1x1(), model="conv1x1"),
    "conv1x1_plu": Workload(
        _STEP, layers.conv1x1_plu, _conv1x1(), layers.tfp_conv1x1, "conv1x1"
    ),
    "glow_step": Workload(
        f"{_STEP}, 128 hidden", layers.glow_step, _glow_step(), model="glow_step"
    ),
    "diagonal_scale": Workload(
        "D = 64, B = 10000",
        layers.diagonal_scale,
        _pass(*_THIN),
        layers.tfp_diagonal_scale,
    ),
    "batch_norm": Workload(
        "D = 64, B = 10000",
        layers.batch_norm,
        _pass(*_THIN),
        layers.tfp_batch_norm,
    ),
    "logit": Workload(
        "32x32x48, B = 32", layers.logit, _pass(*_IMAGES), layers.tfp_logit
    ),
    "squeeze": Workload(
        "32x32x48, B = 32",
        layers.squeeze,
        _pass(*_IMAGES),
        layers.tfp_squeeze,
    ),
}
_FLOWS = {
    "made": Workload(
        "D = 784, 1024 hidden, B = 100",
        flows.made,
        _autoregressive("made"),
        flows.tfp_made,
        "made",
    ),
    "maf": Workload(
        "5 layers of 256 x 2, D = 64, B = 1000",
        flows.maf,
        _autoregressive("maf"),
        flows.tfp_maf,
        "maf",
        memory=True,
    ),
    "iaf": Workload(
        "5 layers of 256 x 2, D = 64, B = 1000",
        flows.iaf,
        _autoregressive("iaf"),
        flows.tfp_iaf,
        "iaf",
    ),
    "real_nvp": Workload(
        "8 layers of 256 x 2, D = 64, B = 1000",
        flows.real_nvp,
        _coupling("real_nvp", 2),
        flows.tfp_real_nvp,
        "real_nvp",
        memory=True,
    ),
    "nice": Workload(
        "4 layers of 1000 x 5, D = 784, B = 100",
        flows.nice,
        _coupling("nice", 1),
        flows.tfp_nice,
        "nice",
        memory=True,
    ),
    "neural_spline": Workload(
        "4 layers of 128 x 2, 8 bins, D = 64, B = 1000",
        flows.neural_spline,
        _coupling("neural_spline", 3 * MODELS["neural_spline"].num_bins - 1),
        flows.tfp_neural_spline,
        "neural_spline",
        memory=True,
    ),
    "maf_large": Workload(
        "as `maf`, B = 10000",
        flows.maf_large,
        _autoregressive("maf_large"),
        flows.tfp_maf_large,
        "maf_large",
    ),
    "real_nvp_large": Workload(
        "as `real_nvp`, B = 10000",
        flows.real_nvp_large,
        _coupling("real_nvp_large", 2),
        flows.tfp_real_nvp_large,
        "real_nvp_large",
        memory=True,
    ),
    "glow": Workload(
        "32x32x3, 3 levels of 8 steps, 128 hidden, B = 16",
        flows.glow,
        _glow(),
        flows.tfp_glow,
        "glow",
        memory=True,
        graphs_only=("TFP",),
    ),
    "glow_scan": Workload(
        "as `glow`, `scan=True`", flows.glow_scan, _glow(), memory=True
    ),
    "glow_recompute": Workload(
        "as `glow`, `recompute=True`", flows.glow_recompute, _glow(), memory=True
    ),
    **{
        f"posterior_{kind}": Workload(
            "16 layers per example, D = 64, B = 100",
            functools.partial(flows.amortized_posterior, kind),
            {},
            model=f"posterior_{kind}",
        )
        for kind in peers.POSTERIORS
    },
}
WORKLOADS = {
    **_LAYERS,
    **_FLOWS,
    "primitives": Workload(
        "a call, 64 x 10000, products 1000 x 256 x 256, images 32x32x48",
        overhead.primitives,
        {},
        model="primitives",
    ),
}
NAMES = [*WORKLOADS, *overhead.WORKLOADS]

# Quantities that should be as fast as in any other library, for every workload.
FAST = [quantity for quantity in QUANTITIES if quantity != "inverse"]
TARGETS = [
    Target("made", "inverse", 4.0, "forward"),
    Target("made", "inverse", 1.0 / 150.0, "TFP"),
    Target("planar", "inverse", 4.0, "forward"),
    Target("planar_stack", "inverse", 4.0, "forward"),
    Target("planar_stack", "forward", 3.0, "lower bound"),
    *(
        Target(name, "forward", 1.2, "lower bound")
        for name in [
            *("planar", "prelu", "actnorm", "diagonal_scale", "batch_norm", "logit"),
            "squeeze",
        ]
    ),
    *(Target(f"eager {name}", "eager", 1.0, "TFP") for name in overhead.PAIRS),
    Target("import", "import", 1.1, "TFP"),
    *(Target(name, "fit", 1.1, "loop") for name in overhead.FITS),
    Target("glow", "step", 0.5, "TFP"),
    Target("glow", "memory", 1.0, "peers"),
    *(Target(name, "step", 0.5) for name in WORKLOADS if name.startswith("posterior")),
    *(
        Target(name, quantity, 1.0)
        for name in WORKLOADS
        for quantity in FAST
        if not name.startswith(("posterior", "primitives"))
    ),
]
