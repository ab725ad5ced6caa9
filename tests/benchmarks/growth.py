"""Growth of time with batch, dimension and depth, against that of the arithmetic.

    python -m tests.benchmarks.growth [--only batch,depth] [--picture FILE]

prints tables in the manner of `layers`. A time is the median of all rounds, without its
spread, in milliseconds. Time grows as size to the power of an exponent: "last" is that
of the last two columns, "all" that from the first to the last, each with that of the
arithmetic behind it, in parentheses. Small work takes as long as it takes to start it,
so "all" is lower than the arithmetic's. An exponent is bold where "last" is above the
arithmetic's by more than 0.15.

"forward" and "inverse" give value and log determinant. One of the two may be slow: the
inverse of planar and Sylvester layers, which solves equations, and `forward` of MAF,
which is sequential. "gradient" is that of the mean log density by all variables, in the
other direction. Networks have two hidden layers of 128, Sylvester layers up to 16
columns; Glow has two levels of so many steps each, 32 hidden channels, and images of
`D / 3` pixels.
"""

import dataclasses
import functools

import numpy as np

from tests.benchmarks import growth_flows, report, timing
from tests.benchmarks.report import COMPILERS, normal, table

QUANTITIES = ["forward", "inverse", "gradient"]
TOLERANCE = 0.15
MOST_SECONDS = 2.0  # for all samples of a candidate
SYMBOLS = {"batch": "B", "size": "D", "depth": "K"}


@dataclasses.dataclass(frozen=True)
class Point:
    """Sizes of a flow."""

    batch: int
    size: int
    depth: int


BASE = Point(batch=1000, size=64, depth=2)
IMAGES = Point(batch=10, size=3 * 16**2, depth=1)
# Glow ends sooner: in memory, and in time.
VALUES = {
    "batch": ([1, 100, 1000, 10000, 100000], [1, 10, 100, 1000]),
    "size": ([2, 16, 256, 4096], [3 * side**2 for side in (4, 8, 16, 32)]),
    "depth": ([1, 4, 32, 256], [1, 8, 64]),
}


@dataclasses.dataclass(frozen=True)
class Curve:
    """How long a quantity of a flow takes along an axis.

    Args:
      values: list of sizes.
      race: `timing.Race` of candidates, whose names end with the index of a size.
      name: the other parts of those names.
      flops: list of the arithmetic of each size.
    """

    values: list
    race: timing.Race
    name: tuple
    flops: list

    def medians(self):
        """Returns the seconds for each size."""
        return [self.race.median((*self.name, i)) for i in range(len(self.values))]

    def exponents(self, first, last):
        """Returns those of time and of arithmetic between the sizes of two indices."""
        factor = self.values[last] / self.values[first]
        time = self.race.growth((*self.name, last), (*self.name, first), factor)
        return time, np.log(self.flops[last] / self.flops[first]) / np.log(factor)


def batch(options):
    """Batches of 1 to 100,000, at D = 64 and 2 layers; Glow at 16x16x3, one step."""
    _grow("batch", options)


def dimension(options):
    """2 to 4096 dimensions, B = 1000, 2 layers; Glow of 4x4x3 to 32x32x3, B = 10."""
    _grow("size", options)


def depth(options):
    """1 to 256 layers, D = 64, B = 1000; Glow of 1 to 64 steps, 16x16x3, B = 10.

    The layers are one `Scan`, from two on; planar ones are a `PlanarStack`.
    """
    _grow("depth", options)


def picture(options):
    """A picture of the gradient's curves, where `--picture` names a file."""
    if options.picture and options.curves:
        from tests.benchmarks import growth_picture

        growth_picture.draw(options.curves, options.picture)


SECTIONS = [batch, dimension, depth, picture]


def _grow(axis, options):
    curves = {}
    for flow in options.flows.split(","):
        points = _points(axis, flow)
        calls = dict(_calls(flow, points, scan=axis == "depth"))
        race = timing.race(
            calls, options.rounds, options.sample, most_seconds=MOST_SECONDS
        )
        flops = [
            growth_flows.KINDS[flow].flops(**dataclasses.asdict(point))
            for point in points
        ]
        values = [getattr(point, axis) for point in points]
        for quantity in QUANTITIES:
            for compiler in COMPILERS:
                curves[flow, quantity, compiler] = Curve(
                    values, race, (quantity, compiler), flops
                )
    options.curves[axis] = curves
    for values in VALUES[axis]:
        _times(axis, [key for key in curves if curves[key].values == values], curves)


def _points(axis, flow):
    base = IMAGES if flow == "Glow" else BASE
    return [dataclasses.replace(base, **{axis: value}) for value in _values(axis, flow)]


def _values(axis, flow):
    return VALUES[axis][flow == "Glow"]


def _calls(flow, points, scan):
    """Yields names and calls: of each quantity, compiler and point."""
    kind, bijector, sizes = growth_flows.KINDS[flow], None, None
    for i, point in enumerate(points):
        if sizes != (point.size, point.depth):
            sizes = point.size, point.depth
            bijector = kind.bijector(*sizes, scan)
        x = normal([point.batch, *kind.shape(point.size)], 1)
        for quantity, function in kind.functions(bijector).items():
            for compiler, jit_compile in COMPILERS.items():
                yield (
                    (quantity, compiler, i),
                    functools.partial(timing.compiled(function, jit_compile), x),
                )


def _times(axis, keys, curves):
    rows = []
    for key in keys:
        curve = curves[key]
        end = len(curve.values) - 1
        last, all_ = curve.exponents(end - 1, end), curve.exponents(0, end)
        worse = last[0] > last[1] + TOLERANCE
        rows.append(
            [
                *key,
                *(f"{1e3 * seconds:.3g}" for seconds in curve.medians()),
                _exponent(last, worse),
                _exponent(all_),
            ]
        )
    if rows:
        headers = _headers(axis, curves[keys[0]].values)
        table(["ms", "", "", *headers, "last", "all"], rows)


def _exponent(pair, worse=False):
    time, arithmetic = (f"{value:.2f}" for value in pair)
    return f"**{time}** ({arithmetic})" if worse else f"{time} ({arithmetic})"


def _headers(axis, values):
    return [f"{SYMBOLS[axis]} = {value}" for value in values]


def _add_arguments(parser):
    parser.add_argument(
        "--flows",
        default=",".join(growth_flows.KINDS),
        help="flows, with commas between them",
    )
    parser.add_argument("--picture", help="file for a picture")
    parser.set_defaults(curves={}, rounds=7, sample=0.01)


if __name__ == "__main__":
    report.main(__doc__, SECTIONS, _add_arguments)
