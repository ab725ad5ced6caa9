"""Sizes of the amortized posteriors that are raced, after van den Berg et al. (2018).

`tests.benchmarks.peers.posteriors` has them as the papers' formulas, layer by layer, in
PyTorch: a stand-in for libraries and for the authors' code. "sample" draws from each of
`BATCH_SIZE` posteriors with the density, "step" takes the gradients of the divergence
from a standard normal as well.
"""

SIZE, BATCH_SIZE, NUM_COLUMNS, NUM_REFLECTIONS, HIDDEN_UNITS = 64, 100, 32, 8, 320
KINDS = ["planar", "radial", "orthogonal", "householder", "triangular", "iaf"]
NUMBERS_OF_LAYERS = [4, 16]
