"""The one list of layers, networks and flows from which the tests draw their cases.

Something new gets all tests of its kind by one entry:

- a layer in `layers.py`, or in `conditioned_layers.py` if a network predicts its
  parameters: laws, composition, state, cache, slicing, kernels, 16 bits;
- a network in `networks.py`: contract, graphs, gradients, seed, copies, 16 bits;
- a builder of flows in `flows.py`: copies, `.keras`, checkpoints, graphs, 16 bits,
  standardized columns.

`tests/test_catalogue.py` fails where something public has no entry.
"""

from tests.catalogue.conditioned_layers import GRAPHS
from tests.catalogue.flows import FLOWS
from tests.catalogue.layers import NAMES, PARAMETRIC, case
from tests.catalogue.networks import NETWORKS

__all__ = ["FLOWS", "GRAPHS", "NAMES", "NETWORKS", "PARAMETRIC", "case"]
