"""Each bijector of the catalogue, held to each law."""

import numpy as np
import pytest
import tensorflow as tf

from tests import laws, laws_of_tfp
from tests.catalogue import GRAPHS, NAMES, PARAMETRIC, case

each_case = pytest.mark.parametrize("name", NAMES)
# For laws that take long: of layers with networks, those that differ in their graphs.
OTHER_FUNCTIONS = "/softplus"  # in the graphs of others
each_graph = pytest.mark.parametrize(
    "name",
    [
        *(n for n in PARAMETRIC if not n.endswith(OTHER_FUNCTIONS)),
        *GRAPHS,
    ],
)
SCAN = "scan/steep"  # whose parameters always have an axis of layers
OF_CONSTANT_JACOBIAN = ("actnorm", "batch_norm", "conv1x1", "diagonal_scale")
# Without those that differ from others in their numbers alone, or in their sizes.
OF_ONE_SIZE = [
    n
    for n in PARAMETRIC
    if not n.endswith(("/flat", "/one", "/single", "/square", OTHER_FUNCTIONS))
]
# What depends on the kind of layer and not on its numbers.
each_kind = pytest.mark.parametrize(
    "name", [n for n in NAMES if n.endswith(("/steep", "/batch", "/channel"))]
)


@each_case
def test_round_trips_in_float64(name):
    bijector = case(name).make()
    laws.check_round_trips(bijector, case(name).x, 1e-9, bijector)


@each_case
def test_round_trips_in_float32(name):
    single, double = case(name).make(dtype=tf.float32), case(name).make()
    laws.check_round_trips(single, case(name).x.astype(np.float32), 1e-5, double)


@each_case
def test_large_inputs_and_zeros_in_float32(name):
    single, double = case(name).make(dtype=tf.float32), case(name).make()
    x = case(name).x.astype(np.float32)
    for scale in [0.0, 1e3 / np.max(np.abs(x))]:
        laws.check_round_trips(single, np.float32(scale) * x, 1e-5, double)


@each_case
def test_log_dets(name):
    laws.check_log_dets(case(name).make(), case(name).x)


@pytest.mark.parametrize(
    "name", [*OF_ONE_SIZE, "planar/one", *GRAPHS, "coupling/spline"]
)
def test_modes(name):
    laws.check_modes(case(name).make(), case(name).x)


@pytest.mark.parametrize(
    "name",
    [
        *(n for n in OF_ONE_SIZE if not n.endswith("batch")),
        *("coupling/steep", "coupling/spline", "coupling/checkerboard", "maf/steep"),
    ],
)
def test_vectorized_map(name):
    laws.check_vectorized_map(case(name).make(), case(name).x)


@each_graph
def test_gradients(name):
    laws.check_gradients(case(name).make_variable, case(name).x)


@each_case
def test_forward_mode(name):
    laws.check_forward_mode(case(name).make_variable, case(name).x)


@pytest.mark.parametrize("name", ["sylvester/one", "conv1x1/steep", "scan/steep"])
def test_forward_mode_in_graphs(name):
    laws.check_forward_mode(case(name).make_variable, case(name).x, in_graph=True)


@pytest.mark.parametrize(
    "name", ["conv1x1/steep", "iaf/additive", "maf/steep", "scan/steep"]
)
def test_gradients_in_loops(name):
    laws.check_gradients_in_loops(case(name).make_variable, case(name).x)


@pytest.mark.parametrize("name", [n for n in NAMES if n.endswith("batch")])
def test_each_member_of_a_batch(name):
    laws.check_batch(case(name).make(), case(name).x)


@pytest.mark.parametrize("name", [n for n in NAMES if n.endswith("batch")])
def test_slices_of_a_batch(name):
    laws.check_slices(case(name).make(), case(name).x)


# As many samples as members of the batch: one kind of layer is enough for what only
# looks right if they are equal, since with 2 and 3 a wrong axis does not fit.
@pytest.mark.parametrize(
    "name, size",
    [
        ("planar/steep", 3),
        *((name, 2) for name in PARAMETRIC if name.endswith("/steep") and name != SCAN),
    ],
)
def test_parameters_of_which_some_have_batch_axes(name, size):
    one = case(name)
    pixels = [1] * (one.make().forward_min_event_ndims - 1)
    shape = [size, 3, *pixels, one.x.shape[-1]]
    points = np.random.default_rng(1).normal(size=shape)
    laws.check_mixed_batch(
        lambda tensors: one.bijector_class(**tensors, **one.others), one.tensors, points
    )


@pytest.mark.parametrize("name", [n for n in PARAMETRIC if n.endswith("/steep")])
def test_is_built_from_numbers_in_a_graph(name):
    one = case(name)

    @tf.function(autograph=False)
    def forward(x):
        return one.bijector_class(**one.tensors, **one.others).forward(x)

    laws.close(forward(one.x), one.make().forward(one.x))


@each_case
def test_composition(name):
    laws_of_tfp.check_composition(case(name).make(), case(name).x)


@each_kind
def test_state(name, tmp_path):
    laws_of_tfp.check_state(case(name).make_variable, case(name).x, tmp_path)


@each_kind
def test_cache(name):
    laws_of_tfp.check_cache(case(name).make_variable, case(name).x)


@each_kind
def test_cache_in_graphs(name):
    laws_of_tfp.check_cache_in_graphs(case(name).make_variable, case(name).x)


@each_kind
def test_one_evaluation(name):
    if name.startswith(("prelu", *OF_CONSTANT_JACOBIAN)):
        pytest.skip("its log determinant takes no work that both could share")
    laws_of_tfp.check_one_evaluation(case(name).make_variable, case(name).x)


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in NAMES
        if n.endswith(("steep", "channel"))
        and not n.startswith(OF_CONSTANT_JACOBIAN)  # as others
    ],
)
def test_memory(name):
    laws_of_tfp.check_memory(case(name).make_variable, case(name).x)


@pytest.mark.parametrize("name", [*OF_ONE_SIZE, *GRAPHS, "coupling/spline"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kernels(name, dtype):
    x = case(name).x.astype(dtype)
    laws_of_tfp.check_kernels(case(name).make_variable(dtype), x)
