"""What the benchmarks time, whatever the device: works, what they need, and the aims.

A work has a candidate for each quantity of each library in TensorFlow: a function with
its arguments, so that nothing of them is a constant. "forward" and "inverse" give value
and log determinant, "log_prob" scores a batch, "sample" draws one from a seed that is
an argument, too, and "step" is a training step: loss, gradients, and Adam. Layers go
from data to noise by `forward` here, flows by `inverse`, and a step takes that way.
"""

import dataclasses
from collections.abc import Callable, Mapping

from tests.benchmarks import small, works_flows, works_layers
from tests.benchmarks.floor import Need
from tests.benchmarks.peers import HIDDEN_CHANNELS, MODELS, NUM_LEVELS

QUANTITIES = ["forward", "inverse", "log_prob", "sample", "step"]


@dataclasses.dataclass(frozen=True)
class Work:
    """A layer or flow of one size.

    Args:
      sizes: text.
      ours: function of no argument that makes the layer or flow, and returns its
        candidates by quantity. It is called where the variables shall live.
      needs: `floor.Need` of each quantity.
      theirs: as `ours`, what TFP offers of the same kind, or None.
      model: name of what `peers` has of the same kind, or "".
      memory: whether the peak of a step's memory is of interest.
      graphs_only: libraries that XLA does not compile in minutes.
    """

    sizes: str
    ours: Callable
    needs: Mapping
    theirs: Callable | None = None
    model: str = ""
    memory: bool = False
    graphs_only: tuple = ()

    def makers(self):
        """Returns the functions that make candidates, by the name of the library."""
        makers = {"ours": self.ours, "TFP": self.theirs}
        return {name: make for name, make in makers.items() if make is not None}


@dataclasses.dataclass(frozen=True)
class Aim:
    """An upper limit for a ratio of two times, or of two peaks of memory.

    Args:
      work: name of a work.
      quantity: one of `QUANTITIES`, or "memory" for that of a step.
      limit: for the ratio of our faster mode to the other.
      to: "best" for the fastest of TFP and the peers, "peers", "TFP", "floor", or a
        quantity of ours.
    """

    work: str
    quantity: str
    limit: float
    to: str = "best"


def _needs(need, step=None):
    """Needs of all quantities: those of one pass, and of a training step."""
    step = need.for_training() if step is None else step
    return {**dict.fromkeys(QUANTITIES, need), "step": step}


def _pass(*shape):
    """A layer that only moves data, once for a value, and twice for gradients."""
    return _needs(Need(copies=(shape,)), Need(reads=(shape, shape)))


def _networks(number, rows, *widths):
    return _needs(Need(products=number * ((rows, widths),)))


def _hidden(name):
    """Returns number of layers, size of the batch, and hidden units of a model."""
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
    return _needs(
        Need(copies=(point,), reads=parameters),
        Need(reads=(point, point), copies=parameters),
    )


def _glow_step_chains(images, channels):
    """The 1x1 convolution as a product, and the convolutions of the network."""
    network = (3, HIDDEN_CHANNELS), (1, HIDDEN_CHANNELS), (3, channels)
    return ((images, channels, ((1, channels),)), (images, channels // 2, network))


def _glow_step():
    model = MODELS["glow_step"]
    height, width, channels = model.shape
    images = model.batch_size, height, width
    return _needs(Need(convolutions=_glow_step_chains(images, channels)))


def _glow():
    model = MODELS["glow"]
    height, width, channels = model.shape
    chains = ()
    for level in range(NUM_LEVELS):
        height, width, channels = height // 2, width // 2, 4 * channels
        images = model.batch_size, height, width
        chains += model.num_layers * _glow_step_chains(images, channels)
        if level + 1 < NUM_LEVELS:
            channels //= 2  # the others have a prior by what goes on
            chains += ((images, channels, ((3, 2 * channels),)),)
    return _needs(Need(convolutions=chains))


def _pixels(name):
    model = MODELS[name]
    return model.batch_size, *model.shape


def _conv1x1():
    *pixels, channels = _pixels("conv1x1")
    rows = pixels[0] * pixels[1] * pixels[2]
    return _needs(Need(products=((rows, (channels, channels)),)))


_THIN = 10000, 64
_IMAGES = _pixels("actnorm")
_STEP = "32x32x48, B = 32"
_LAYERS = {
    "planar": Work(
        "D = 64, B = 10000", works_layers.planar, _pass(*_THIN), model="planar"
    ),
    "planar_stack": Work(
        "16 layers, D = 64, B = 10000",
        works_layers.planar_stack,
        _planar_stack("planar_stack"),
        model="planar_stack",
    ),
    "planar_stack_large": Work(
        "16 layers, D = 1024, B = 1000",
        works_layers.planar_stack_large,
        _planar_stack("planar_stack_large"),
        model="planar_stack_large",
    ),
    "planar_amortized": Work(
        "16 layers a point, D = 64, B = 1000",
        works_layers.planar_amortized,
        _amortized(),
        model="planar_amortized",
    ),
    "planar_vi": Work(
        "reverse KL, 16 layers, D = 2, B = 1000",
        works_layers.planar_vi,
        _planar_stack("planar_vi"),
        model="planar_vi",
    ),
    "radial_stack": Work(
        "16 layers, D = 64, B = 10000",
        works_layers.radial_stack,
        _pass(*_THIN),
        model="radial_stack",
    ),
    "sylvester": Work(
        "M = 32, D = 64, B = 1000",
        works_layers.sylvester,
        _networks(1, 1000, 64, 32, 64),
        model="sylvester",
    ),
    "sylvester_stack": Work(
        "16 layers, M = 32, D = 64, B = 1000",
        works_layers.sylvester_stack,
        _networks(16, 1000, 64, 32, 64),
    ),
    "prelu": Work(
        "D = 64, B = 10000", works_layers.prelu, _pass(*_THIN), model="prelu"
    ),
    "actnorm": Work(
        _STEP,
        works_layers.actnorm,
        _pass(*_IMAGES),
        works_layers.tfp_actnorm,
        "actnorm",
    ),
    "conv1x1": Work(_STEP, works_layers.conv1x1, _conv1x1(), model="conv1x1"),
    "conv1x1_plu": Work(
        _STEP, works_layers.conv1x1_plu, _conv1x1(), works_layers.tfp_conv1x1, "conv1x1"
    ),
    "glow_step": Work(
        f"{_STEP}, 128 hidden", works_layers.glow_step, _glow_step(), model="glow_step"
    ),
    "diagonal_scale": Work(
        "D = 64, B = 10000",
        works_layers.diagonal_scale,
        _pass(*_THIN),
        works_layers.tfp_diagonal_scale,
    ),
    "batch_norm": Work(
        "D = 64, B = 10000",
        works_layers.batch_norm,
        _pass(*_THIN),
        works_layers.tfp_batch_norm,
    ),
    "logit": Work(
        "32x32x48, B = 32", works_layers.logit, _pass(*_IMAGES), works_layers.tfp_logit
    ),
    "squeeze": Work(
        "32x32x48, B = 32",
        works_layers.squeeze,
        _pass(*_IMAGES),
        works_layers.tfp_squeeze,
    ),
}
_FLOWS = {
    "made": Work(
        "D = 784, 1024 hidden, B = 100",
        works_flows.made,
        _autoregressive("made"),
        works_flows.tfp_made,
        "made",
    ),
    "maf": Work(
        "5 layers of 256 x 2, D = 64, B = 1000",
        works_flows.maf,
        _autoregressive("maf"),
        works_flows.tfp_maf,
        "maf",
        memory=True,
    ),
    "iaf": Work(
        "5 layers of 256 x 2, D = 64, B = 1000",
        works_flows.iaf,
        _autoregressive("iaf"),
        works_flows.tfp_iaf,
        "iaf",
    ),
    "real_nvp": Work(
        "8 layers of 256 x 2, D = 64, B = 1000",
        works_flows.real_nvp,
        _coupling("real_nvp", 2),
        works_flows.tfp_real_nvp,
        "real_nvp",
        memory=True,
    ),
    "nice": Work(
        "4 layers of 1000 x 5, D = 784, B = 100",
        works_flows.nice,
        _coupling("nice", 1),
        works_flows.tfp_nice,
        "nice",
        memory=True,
    ),
    "neural_spline": Work(
        "4 layers of 128 x 2, 8 bins, D = 64, B = 1000",
        works_flows.neural_spline,
        _coupling("neural_spline", 3 * MODELS["neural_spline"].num_bins - 1),
        works_flows.tfp_neural_spline,
        "neural_spline",
        memory=True,
    ),
    "maf_large": Work(
        "as `maf`, B = 10000",
        works_flows.maf_large,
        _autoregressive("maf_large"),
        works_flows.tfp_maf_large,
        "maf_large",
    ),
    "real_nvp_large": Work(
        "as `real_nvp`, B = 10000",
        works_flows.real_nvp_large,
        _coupling("real_nvp_large", 2),
        works_flows.tfp_real_nvp_large,
        "real_nvp_large",
        memory=True,
    ),
    "glow": Work(
        "32x32x3, 3 levels of 8 steps, 128 hidden, B = 16",
        works_flows.glow,
        _glow(),
        works_flows.tfp_glow,
        "glow",
        memory=True,
        graphs_only=("TFP",),
    ),
}
WORKS = {**_LAYERS, **_FLOWS}

# `limit` 1.0 of whatever else is there holds for these quantities of every work.
FAST = [q for q in QUANTITIES if q != "inverse"]
AIMS = [
    Aim("made", "inverse", 4.0, "forward"),
    Aim("made", "inverse", 1.0 / 150.0, "TFP"),
    Aim("planar", "inverse", 4.0, "forward"),
    Aim("planar_stack", "inverse", 4.0, "forward"),
    Aim("planar_stack", "forward", 3.0, "floor"),
    *(
        Aim(work, "forward", 1.2, "floor")
        for work in [
            *("planar", "prelu", "actnorm", "diagonal_scale", "batch_norm", "logit"),
            "squeeze",
        ]
    ),
    *(Aim(work, work.split()[0], 1.0, "TFP") for work in small.WORKS[:-1]),
    Aim("import", "import", 1.1, "TFP"),
    Aim("glow", "step", 0.5, "TFP"),
    Aim("glow", "memory", 1.0, "peers"),
    *(Aim(work, quantity, 1.0) for work in WORKS for quantity in FAST),
]
