"""Facts of the step of Glow that the laws do not state."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.catalogue import case
from tests.catalogue.conditioned_layers import glow_step
from tests.laws import close
from tfp_flows.bijectors import GlowStep, PReLU

tfb = tfp.bijectors


@pytest.mark.parametrize("name", ["glow_step/steep", "glow_step/batch"])
def test_is_its_layers_in_a_chain(name):
    step, x = case(name).make(), case(name).x
    chain = tfb.Chain([step.actnorm, tfb.Invert(step.convolution), step.coupling])
    for method in [
        "forward",
        "inverse",
        "forward_log_det_jacobian",
        "inverse_log_det_jacobian",
    ]:
        close(getattr(step, method)(x), getattr(chain, method)(x))


def test_takes_one_product_of_pixels_for_two_layers():
    step = glow_step(5, 0, tf.float64)  # its network has products to 2 and 4 channels
    for method in [step.forward, step.inverse]:
        function = tf.function(method, autograph=False)
        graph = function.get_concrete_function(
            tf.TensorSpec([3, 5, 2, 5], tf.float64)
        ).graph
        shapes = [
            op.outputs[0].shape for op in graph.get_operations() if op.type == "MatMul"
        ]
        assert sum(shape == [30, 5] for shape in shapes) == 1


def test_starts_its_layers_in_turn():
    step = glow_step(4, 0, tf.float64)
    values = np.random.default_rng(0).normal(size=[7, 2, 3, 4], scale=3.0) + 2.0
    returned = step.initialize_from_data(values, "inverse")
    close(step.inverse(values), returned)
    normal = step.actnorm.inverse(values)
    close(np.std(normal, axis=(0, 1, 2)), np.ones(4))
    assert np.any(step.coupling.conditioner.trainable_variables[0] != 0.0)


def test_checks_what_its_layers_check():
    step = glow_step(4, 0, tf.float64)
    actnorm = step.actnorm.copy(validate_args=True)
    checked = GlowStep(actnorm, step.convolution, step.coupling)
    actnorm.shift.assign([np.nan, 0.0, 0.0, 0.0])
    with pytest.raises(tf.errors.InvalidArgumentError, match="`shift` must be finite"):
        checked.forward(np.zeros([1, 2, 2, 4]))


def test_errors():
    step = glow_step(4, 0, tf.float64)
    with pytest.raises(TypeError, match="`actnorm` must be an instance of `ActNorm`"):
        GlowStep(PReLU(0.5), step.convolution, step.coupling)
    with pytest.raises(TypeError, match="`coupling` must be an instance of `Coupling`"):
        GlowStep(step.actnorm, step.convolution, step.actnorm)
    with pytest.raises(ValueError, match="`actnorm` must take events of rank 3; got"):
        GlowStep(step.actnorm.copy(event_ndims=1), step.convolution, step.coupling)
    other = glow_step(6, 0, tf.float64)
    for layers in [
        (step.actnorm, other.convolution, step.coupling),
        (step.actnorm, step.convolution, other.coupling),
    ]:
        with pytest.raises(
            ValueError, match="must have the same number of channels; got 4, "
        ):
            GlowStep(*layers)
    with pytest.raises(ValueError, match="must have length 4, the number of channels"):
        step.forward(np.zeros([1, 2, 2, 3]))
