"""The checks are those that the layers use; `test_testing.py` has a layer of a user."""

import numpy as np
import pytest
import tensorflow as tf

from tfp_flows import checks


def test_parameters_share_one_dtype_and_stay_variables():
    variable = tf.Variable(2.0)
    scale, shift = checks.as_parameters(scale=variable, shift=[0, 1])
    assert scale is variable and shift.dtype == tf.float32
    with pytest.raises(TypeError, match="Parameters must share one floating dtype"):
        checks.as_parameters(scale=variable, shift=np.zeros(2))
    with pytest.raises(TypeError, match="must be of float32 or float64; got bfloat16"):
        checks.check_dtype("x", tf.bfloat16)


def test_shapes():
    w, b = tf.zeros([5, 3, 2]), tf.zeros([3])
    assert checks.check_shapes(dict(w="KD", b="K"), w=w, b=b) == dict(K=3, D=2)
    with pytest.raises(ValueError, match="same letter in .* must be equally long"):
        checks.check_shapes(dict(w="KD", b="K"), w=w, b=tf.zeros([4]))
    w, b = checks.broadcast_batch(dict(w="KD", b="K"), w=w, b=b)
    assert b.shape == [5, 3]
