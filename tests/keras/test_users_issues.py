"""What users of TFP asked for in its public issues, with Keras, and now have.

Each test does what the user of one thread wanted. Numbers are those of the threads in
https://github.com/tensorflow/probability/issues.
"""

import gc
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

from tests.laws import close, fresh
from tfp_flows import dequantization, flows
from tfp_flows.bijectors import (
    ActNorm,
    Coupling,
    MaskedAutoregressive,
    PReLU,
    Radial,
)
from tfp_flows.keras import (
    BijectorLayer,
    Conditioner,
    DensityModel,
    DistributionLayer,
    NegativeLogLikelihood,
)
from tfp_flows.networks import MADE

tfb, tfd = tfp.bijectors, tfp.distributions

X = np.random.default_rng(0).normal(size=[128, 2]).astype(np.float32)
X = X * np.float32([2.0, 0.5]) + np.float32([1.0, -1.0])
TEMPLATES = [  # what TFP's templates say about themselves
    "ignore:`tf.layers.dense` is deprecated:UserWarning",
    "ignore:`layer.updates` will be removed:UserWarning",
]


def flow_of(bijector):
    noise = tfd.MultivariateNormalDiag(tf.zeros(2))
    return tfd.TransformedDistribution(noise, bijector)


def compiled(distribution, learning_rate=0.01, **options):
    model = DensityModel(distribution)
    model.compile(keras.optimizers.Adam(learning_rate), **options)
    return model


def train(distribution, number, x=X, epochs=4):
    """Fits, and asserts that `number` variables are found, that all move, and help."""
    model = compiled(distribution)
    assert len(model.trainable_variables) == number
    before = [variable.numpy() for variable in model.trainable_variables]
    losses = model.fit(x, batch_size=32, epochs=epochs, verbose=0).history["loss"]
    still = [
        variable.path
        for variable, old in zip(model.trainable_variables, before)
        if np.array_equal(variable.numpy(), old)
    ]
    assert still == []
    assert np.all(np.isfinite(losses)) and losses[-1] < losses[0]
    return model


def real_nvp(network):
    return tfb.RealNVP(num_masked=1, shift_and_log_scale_fn=network)


def template():
    return tfb.real_nvp_default_template(hidden_layers=[8])


@pytest.mark.filterwarnings(*TEMPLATES)
def test_real_nvp_and_permute_in_a_chain_train_in_a_keras_model():
    """#355: each layer failed or had no variables in a Keras model."""
    tf_keras.utils.set_random_seed(0)  # of templates, which take none
    layers = [real_nvp(template()), tfb.Permute([1, 0]), real_nvp(template())]
    model = train(flow_of(tfb.Chain(layers)), 8)
    close(model.predict(X[:9], verbose=0), model.distribution.log_prob(X[:9]), 1e-5)


@pytest.mark.filterwarnings(*TEMPLATES)
def test_a_masked_autoregressive_flow_shows_its_variables_by_template_and_by_network():
    """#645: `maf.trainable_variables` was empty."""
    tf_keras.utils.set_random_seed(0)
    by_template = tfb.masked_autoregressive_default_template(hidden_layers=[8])
    flow = flow_of(tfb.MaskedAutoregressiveFlow(by_template))
    assert flow.trainable_variables == ()  # to this day
    train(flow, 4)
    network = tfb.AutoregressiveNetwork(2, event_shape=[2], hidden_units=[8])
    train(flow_of(tfb.MaskedAutoregressiveFlow(network)), 4)


def test_an_affine_flow_with_a_trained_matrix_trains():
    """#683: a matrix derived of a variable was a tensor by then, and stayed as it was.

    The target and the layers are those of the thread.
    """
    rng = np.random.default_rng(0)
    x2 = 4.0 * rng.normal(size=256)
    x = np.stack([0.25 * x2**2 + rng.normal(size=256), x2], axis=1).astype(np.float32)
    layers = []
    for _ in range(2):
        matrix = tfp.util.TransformedVariable(
            2.0 * np.eye(2, dtype=np.float32), tfb.FillScaleTriL(), name="matrix"
        )
        slope = tfp.util.TransformedVariable(0.5, tfb.Softplus(), name="slope")
        shift = tf.Variable(tf.zeros(2), name="shift")
        layers += [PReLU(slope), tfb.Shift(shift), tfb.ScaleMatvecTriL(matrix)]
    train(flow_of(tfb.Chain(layers[1:])), 5, x)
    derived = tfp.math.fill_triangular(tf.Variable([2.0, 0.0, 2.0]))
    with pytest.raises(ValueError, match="must be `tf.Variable`s, not tensors"):
        compiled(flow_of(tfb.ScaleMatvecTriL(derived)))


def test_a_positive_scale_trains_in_a_keras_model():
    """#946: a `TransformedVariable` got no gradient in a Keras model."""
    loc = tf.Variable([0.0, 0.0], name="loc")
    scale = tfp.util.TransformedVariable([1.0, 1.0], tfb.Softplus(), name="scale")
    model = compiled(tfd.Independent(tfd.Normal(loc, scale), 1), 0.1)
    assert [v.name for v in model.trainable_variables] == ["loc", "scale"]
    model.fit(X, batch_size=len(X), epochs=1, steps_per_epoch=300, verbose=0)
    close(loc, np.mean(X, axis=0), 1e-3)
    close(tf.convert_to_tensor(scale), np.std(X, axis=0), 1e-3)


@pytest.mark.parametrize("library", [keras, tf_keras])
def test_variables_of_a_network_within_a_function_are_those_of_the_model(library):
    """#1282: `variables` of a flow was empty, though a model with it had them."""
    library.utils.set_random_seed(0)
    body = library.Sequential([library.layers.Dense(8, activation="relu")])
    head = library.layers.Dense(2)

    def shift_and_log_scale(x, output_units):
        return tf.split(head(body(x)), 2, axis=-1)

    model = train(flow_of(real_nvp(shift_and_log_scale)), 4)
    assert model.count_params() == (8 + 8) + (16 + 2)


def test_a_layer_that_a_function_makes_anew_in_each_call_is_an_error():
    """#1282: so did the script of that thread, of which a half could not train."""

    def shift_and_log_scale(x, output_units):
        return tf.split(keras.layers.Dense(2)(x), 2, axis=-1)

    with pytest.raises(ValueError, match="variables once, not in each call; got new"):
        DensityModel(flow_of(real_nvp(shift_and_log_scale)))


@pytest.mark.filterwarnings(*TEMPLATES)
def test_a_default_template_of_real_nvp_shows_its_variables():
    """#1439: neither the bijector nor the distribution had any."""
    tf_keras.utils.set_random_seed(0)
    flow = flow_of(real_nvp(template()))
    flow.log_prob(X)
    assert flow.trainable_variables == flow.bijector.trainable_variables == ()
    model = train(flow, 4)
    assert model.count_params() == (8 + 8) + (16 + 2)


def test_variables_of_blocks_train():
    """#355 and #683 again, for a bijector of bijectors that is no chain."""
    scale = tfp.util.TransformedVariable([1.0], tfb.Softplus())
    blocks = [tfb.Scale(scale), tfb.Shift(tf.Variable([0.0]))]
    train(flow_of(tfb.Blockwise(blocks, block_sizes=[1, 1])), 2)


def images():
    """Dark squares on a light ground, dequantized."""
    rng = np.random.default_rng(0)
    values = rng.integers(180, 256, size=[32, 8, 8, 1])
    values[:, 2:6, 2:6] //= 4
    return dequantization.dequantize(values, seed=0)


def test_glow_trains_in_keras_without_nan():
    """#1454: a Glow by `tfb.Glow` sampled NaN after its training in Keras."""
    x = images()
    flow = flows.glow([8, 8, 1], 2, 1, 8, seed=0)
    flags = [m.initialized for m in flow.submodules if isinstance(m, ActNorm)]
    assert flags and not any(flag.numpy() for flag in flags)
    model = compiled(flow, metrics=["bits_per_dimension"])
    history = model.fit(x, batch_size=16, epochs=15, verbose=0).history
    assert all(flag.numpy() for flag in flags)
    assert np.all(np.isfinite(history["loss"]))
    # 8 bits tell any pixel; two narrow ranges of values take fewer.
    bits = history["bits_per_dimension"]
    assert bits[0] < 9.0 and bits[-1] < bits[0] - 1.0
    samples = model.sample(16, seed=0)
    assert samples.shape == [16, 8, 8, 1] and np.all(np.isfinite(samples))
    squares, ground = np.mean(samples[:, 3:5, 3:5]), np.mean(samples[:, 0])
    assert squares + 80.0 < ground


def objects():
    """Returns the number of living tensors, and of all that Python has to count."""
    gc.collect()
    living = gc.get_objects()
    return sum(issubclass(type(each), tf.Tensor) for each in living), len(living)


def check_no_growth(steps, number):
    steps(2)  # makes optimizer and graphs
    tensors, before = objects()
    steps(number)
    tensors_after, after = objects()
    assert tensors_after <= tensors
    assert after - before < number / 2  # not one object in each step


def test_memory_does_not_grow_over_200_steps_of_glow_in_a_graph():
    """#1177: each step of a Glow left 2 MB or so behind."""
    x = images()[:4, :4, :4]
    model = compiled(flows.glow([4, 4, 1], 1, 1, 4, seed=0))
    data = tf.data.Dataset.from_tensors((x,)).repeat()
    check_no_growth(
        lambda n: model.fit(data, steps_per_epoch=n, epochs=1, verbose=0), 200
    )


def test_memory_does_not_grow_over_200_eager_steps():
    """#1177 without a graph."""
    model = compiled(flows.maf(2, 1, (4,), seed=0), run_eagerly=True)

    def steps(number):
        for _ in range(number):
            model.train_on_batch(X[:4])

    check_no_growth(steps, 200)


def test_memory_does_not_grow_over_200_calls_of_forward():
    """#493: `forward` of `Exp` and of `Identity` kept their inputs and outputs."""
    radial = Radial(tf.Variable([0.0, 0.0]), 1.0, 2.0)
    bijectors = [tfb.Exp(), tfb.Identity(), radial]
    layer = BijectorLayer(radial, log_det="output")
    draw = np.random.default_rng(0).normal

    def steps(number):
        for _ in range(number):
            x = tf.constant(draw(size=[5, 2]), tf.float32)
            for bijector in bijectors:
                bijector.inverse(bijector.forward(x))
            layer(x)

    check_no_growth(steps, 200)


def two_classes():
    """The data of #1410: normal, around 0 in one class and around 5 in the other."""
    labels = np.repeat([0, 1], 100)
    x = np.random.default_rng(0).normal(size=[200, 2]) + 5.0 * labels[:, np.newaxis]
    return x.astype(np.float32), np.eye(2, dtype=np.float32)[labels]


def learns_classes(flow, epochs):
    """Fits to points and their classes, and asserts that both are told apart."""
    x, context = two_classes()
    model = compiled(flow, 0.05)
    model.fit([x, context], batch_size=50, epochs=epochs, verbose=0)
    told = model.predict([x, context], verbose=0)
    other = model.predict([x, context[:, ::-1]], verbose=0)
    assert np.mean(told > other + 2.0) > 0.95
    samples = model.sample(500, seed=0, context=np.eye(2))
    assert samples.shape == [500, 2, 2]
    close(np.mean(samples, axis=(0, 2)), [0.0, 5.0], 0.1)


def test_a_conditional_masked_autoregressive_flow_is_there():
    """#849: the class-conditional MAF of the paper, with one class a context."""
    learns_classes(flows.maf(2, 2, (8,), seed=0, context_size=2), 20)


def test_a_context_goes_through_a_chain_of_layers_of_both_libraries():
    """#1410: in a `tfb.Chain`, the network got no `conditional_input`."""
    layers = []
    for seed in (0, 1):
        network = MADE(2, 2, (8,), seed=seed, context_size=2)
        layers += [MaskedAutoregressive(network), tfb.Permute([1, 0])]
    layers.append(tfb.Shift(tf.Variable([0.0, 0.0])))
    learns_classes(flow_of(tfb.Chain(layers)), 50)


def test_a_keras_network_gets_the_context_of_a_chain():
    """#1410, for those who bring a network of their own."""
    keras.utils.set_random_seed(0)
    layers = []
    for mask in ([True, False], [False, True]):
        x, context = keras.Input([1]), keras.Input([2])
        joined = keras.layers.Concatenate()([x, context])
        hidden = keras.layers.Dense(8, activation="tanh")(joined)
        network = keras.Model([x, context], keras.layers.Dense(2)(hidden))
        layers.append(Coupling(mask, Conditioner(network, [1, 2], context_size=2)))
    learns_classes(flow_of(tfb.Chain(layers)), 50)


def test_variables_of_a_function_that_takes_a_context_are_found():
    """#1410 and #1282 at once."""
    head = keras.layers.Dense(2)
    head.build([None, 3])

    def conditioner(x, context):
        return head(tf.concat([x, context], axis=1))[:, tf.newaxis]

    coupling = Coupling([True, False], conditioner, context_size=2)
    shift = tfb.Shift(tf.Variable([0.0, 0.0]))
    # needs fix: with a context, no hidden variables are looked for.
    model = DensityModel(flow_of(tfb.Chain([shift, coupling])))
    assert len(model.trainable_variables) == 3


def test_couplings_of_glow_see_the_context():
    """#1567: `tfb.Glow` gives no other tensor to its couplings."""
    x = images()[:8, :4, :4]
    context = np.eye(2, dtype=np.float32)[[0, 1] * 4]
    flow = flows.glow([4, 4, 1], 1, 1, 4, seed=0, context_size=2, conditioning="all")
    compiled(flow).fit([x, context], batch_size=4, verbose=0)
    first, second = (
        flows.condition(flow, row).bijector.inverse(x) for row in context[:2]
    )
    assert np.all(np.any(first != second, axis=(1, 2, 3)))


def trained_flow_of_tfp(seed):
    tf_keras.utils.set_random_seed(seed)
    network = tfb.AutoregressiveNetwork(2, event_shape=[2], hidden_units=[4])
    layers = [tfb.Shift(tf.Variable([0.0, 0.0])), tfb.MaskedAutoregressiveFlow(network)]
    return flow_of(tfb.Chain(layers))


def test_trained_variables_of_a_flow_are_saved_and_loaded(tmp_path):
    """#674: how to save `trainable_variables` of a flow, and how to load them."""
    model = train(trained_flow_of_tfp(0), 5)
    other = DensityModel(trained_flow_of_tfp(1))
    expected = model.distribution.log_prob(X[:9])
    assert not np.allclose(other.distribution.log_prob(X[:9]), expected)
    model.save_weights(tmp_path / "flow.weights.h5")
    other.load_weights(tmp_path / "flow.weights.h5")
    close(other.distribution.log_prob(X[:9]), expected, 0.0)


def test_a_trained_distribution_is_saved_whole_and_sampled_later(tmp_path):
    """#1225: to save a `TransformedDistribution`, and to sample from it later."""
    shift = tf.Variable([0.0, 0.0], name="shift")
    scale = tfp.util.TransformedVariable([1.0, 1.0], tfb.Softplus(), name="scale")
    noise = tfd.Sample(tfd.Normal(0.0, 1.0), 2)
    of_tfp = tfd.TransformedDistribution(
        noise, tfb.Chain([tfb.Shift(shift), tfb.Scale(scale)])
    )
    for name, flow, number in [
        ("recipe", flows.maf(2, 2, (4,), seed=0), 8),
        ("parts", of_tfp, 2),
    ]:
        model = train(flow, number)
        model.save(tmp_path / f"{name}.keras")
        loaded = keras.models.load_model(tmp_path / f"{name}.keras").distribution
        assert isinstance(loaded, tfd.Distribution) and loaded is not flow
        close(loaded.log_prob(fresh(X[:9])), flow.log_prob(X[:9]), 0.0)
        seed = tf.constant([0, 1])
        close(loaded.sample(5, seed=seed), flow.sample(5, seed=seed), 0.0)


SCRIPT = """
import {first}
import {second}
import keras, numpy, tensorflow, tf_keras
assert keras.__version__.startswith("3.") and tensorflow.keras.Model is keras.Model
import tfp_flows
model = tfp_flows.keras.DensityModel(tfp_flows.flows.maf(2, 1, (4,), seed=0))
assert isinstance(model, keras.Model) and not isinstance(model, tf_keras.Model)
model.compile("adam")
before = [numpy.array(v) for v in model.trainable_variables]
model.fit(numpy.ones([8, 2]), verbose=0)
assert any(numpy.any(v != old) for v, old in zip(model.trainable_variables, before))
"""


def test_keras_3_imports_and_trains_beside_tfp():
    """#1774: with Keras 3 installed, `import tensorflow_probability` failed."""
    script = SCRIPT.format(first="keras", second="tensorflow_probability")
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_keras_of_tensorflow_takes_bijectors_and_flows_as_layers():
    """#1795: since TensorFlow 2.16, `tf.keras` is Keras 3 and takes no `tfp.layers`."""
    scale = tf.Variable([2.0, 0.5], name="scale")
    head = DistributionLayer(flows.maf(2, 1, (4,), seed=0, context_size=3))
    model = tf.keras.Sequential(
        [
            tf.keras.Input([2]),
            BijectorLayer(tfb.Scale(scale)),
            tf.keras.layers.Dense(3),
            head,
        ]
    )
    assert len(model.trainable_variables) == 1 + 2 + 5
    model.compile("adam", loss=NegativeLogLikelihood(head))
    model.fit(X, X[:, ::-1], verbose=0)
    assert np.all(scale != [2.0, 0.5])
    assert head.distribution(model.predict(X[:3], verbose=0)).batch_shape == [3]


def test_a_trained_scale_in_keras_3_is_that_of_the_targets():
    """#2006: support of Keras 3, here for `tfp.layers.DistributionLambda`."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=[200, 1]).astype(np.float32)
    y = (3.0 * x + 1.0 + 0.25 * rng.normal(size=x.shape)).astype(np.float32)
    scale = tfp.util.TransformedVariable(1.0, tfb.Softplus(), name="scale")
    head = DistributionLayer(lambda loc: tfd.Independent(tfd.Normal(loc, scale), 1))
    model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1), head])
    assert len(model.trainable_variables) == 3
    model.compile(keras.optimizers.Adam(0.1), loss=NegativeLogLikelihood(head))
    data = tf.data.Dataset.from_tensors((x, y)).repeat(300)
    model.fit(data, verbose=0)
    design = np.concatenate([x, np.ones_like(x)], axis=1)
    weights, (squares,), *_ = np.linalg.lstsq(design, y)
    slope, intercept = model.get_weights()[:2]
    close([slope[0, 0], intercept[0]], weights[:, 0], 1e-2)
    close(tf.convert_to_tensor(scale), np.sqrt(squares / 200.0), 1e-2)
