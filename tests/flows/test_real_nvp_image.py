"""RealNVP of images."""

import numpy as np
import tensorflow as tf

from tests.flows.image_builders import check_image_builder
from tests.laws import close
from tfp_flows import flows
from tfp_flows.bijectors import Coupling


def make(event_shape=(4, 2, 1), num_levels=2, num_couplings=1, **others):
    return flows.real_nvp_image(event_shape, num_levels, num_couplings, 2, 1, **others)


def test_passes_the_checks_of_image_builders(tmp_path):
    check_image_builder(make, [4, 2, 1], tmp_path, "num_couplings")


def test_has_the_couplings_of_the_paper():
    flow = make([8, 8, 3], 2, 3, seed=0)
    shapes = [m.mask.shape for m in flow.submodules if isinstance(m, Coupling)]
    # Three and three, a prior, and four checkerboards at the last level.
    assert sorted(shapes) == sorted(
        3 * [(8, 8, 1)] + 3 * [(1, 1, 12)] + [(1, 1, 12)] + 4 * [(4, 4, 1)]
    )


def test_the_last_level_needs_no_even_size():
    flow = make([6, 10, 1], 2, seed=0, dtype=tf.float64)
    y = np.random.default_rng(0).uniform(0.0, 256.0, size=[2, 6, 10, 1])
    close(flow.bijector.forward(flow.bijector.inverse(y).numpy()), y)
