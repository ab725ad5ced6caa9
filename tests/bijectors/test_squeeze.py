"""Squeeze, which has no numbers to learn."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests import laws
from tests.laws import close, fresh
from tfp_flows.bijectors import Squeeze

tfd = tfp.distributions
X = np.random.default_rng(0).normal(size=[2, 4, 6, 3])


@pytest.mark.parametrize("factor", [1, 2])
def test_laws(factor):
    layer = Squeeze(factor)
    y = layer.forward(X)
    close(layer.inverse(y.numpy()), X, 0.0)
    close(layer.forward(layer.inverse(y.numpy()).numpy()), y, 0.0)
    for name, value in laws.evaluate(layer, X, y).items():
        point = X if name.startswith("forward") else y
        for jit_compile in [False, True]:
            compiled = tf.function(getattr(layer, name), jit_compile=jit_compile)
            close(compiled(point), value, 0.0)
        mapped = tf.vectorized_map(getattr(layer, name), tf.constant(np.array(point)))
        close(mapped, value, 0.0)
        if name.endswith("jacobian"):
            close(value, np.zeros(2), 0.0)


def test_a_block_becomes_a_pixel():
    y = Squeeze().forward(X)
    assert y.shape == [2, 2, 3, 12]
    close(y[:, 1, 2], X[:, 2:4, 4:6].reshape(2, 12), 0.0)
    close(Squeeze(3).forward(X[:, :3])[:, 0, 1], X[:, :3, 3:].reshape(2, 27), 0.0)


def test_tells_shapes():
    layer = Squeeze()
    assert layer.forward_event_shape([4, 6, 3]) == [2, 3, 12]
    assert layer.inverse_event_shape([2, 3, 12]) == [4, 6, 3]
    for method in [layer.forward_event_shape, layer.inverse_event_shape]:
        assert method([None] * 3).as_list() == [None] * 3
        assert method(tf.TensorShape(None)).rank is None
    assert layer.forward_event_shape([None, None, 3]).as_list() == [None, None, 12]
    assert layer.forward_event_shape([7, 4, 6, None]).as_list() == [7, 2, 3, None]
    assert layer.inverse_event_shape([None, 3, 12]).as_list() == [None, 6, 3]
    assert layer.inverse_event_shape([2, 3, None]).as_list() == [4, 6, None]
    np.testing.assert_array_equal(
        layer.forward_event_shape_tensor([5, 4, 6, 3]), [5, 2, 3, 12]
    )
    np.testing.assert_array_equal(
        layer.inverse_event_shape_tensor([2, 3, 12]), [4, 6, 3]
    )
    normal = tfd.Sample(tfd.Normal(0.0, 1.0), [2, 3, 12])
    images = tfd.TransformedDistribution(normal, tfp.bijectors.Invert(layer))
    assert images.event_shape == [4, 6, 3] and images.sample(5).shape == [5, 4, 6, 3]


@pytest.mark.parametrize("channels", [3, None])
def test_sizes_may_be_unknown(channels):
    layer, x = Squeeze(), np.float32(X)
    y = layer.forward(x)
    for method, point, expected, size in [
        (layer.forward, x, y, channels),
        (layer.inverse, y, x, channels and 4 * channels),
    ]:
        unknown = tf.TensorSpec([None, None, None, size])
        compiled = tf.function(method, input_signature=[unknown])
        close(compiled(fresh(point)), expected, 0.0)
        shape = compiled.get_concrete_function().structured_outputs.shape
        assert shape.as_list()[:3] == [None] * 3
    signature = [tf.TensorSpec(None)]
    with pytest.raises(ValueError, match="rank of the input must be known; got"):
        tf.function(layer.forward, signature, autograph=False).get_concrete_function()


def test_errors():
    for factor in [0, 1.5]:
        with pytest.raises(ValueError, match=f"integer above 0; got {factor}"):
            Squeeze(factor)
    with pytest.raises(ValueError, match=r"multiples of 2, .*; got .*2, 3, 6, 3\)"):
        Squeeze().forward(X[:, :3])
    with pytest.raises(ValueError, match=r"multiple of 4, .*; got .*2, 4, 6, 3\)"):
        Squeeze().inverse(X)
    with pytest.raises(ValueError, match=r"\[..., H, W, C\]; got shape \(3,\)"):
        Squeeze().forward(np.zeros([3]))
