"""Lower bound of a workload: its matrix products, convolutions and copies alone."""

import dataclasses
import itertools
import math

import tensorflow as tf

from tests.benchmarks.candidates import Adam, normal

ITEM = 4  # bytes of a float32


@dataclasses.dataclass(frozen=True)
class LowerBound:
    """The necessary arithmetic and memory traffic, as numbers and as a function.

    The products of a chain are sequential, and so are the chains, as layers are: each
    takes as many columns of the last result as it has inputs. It has no activations,
    biases or scales.

    Args:
      products: chains of matrix products, each the number of rows and the widths:
        `(m, (k, n))` is `[m, k]` times `[k, n]`.
      convolutions: chains of convolutions, each the shape `(N, H, W)` of images, their
        channels, and pairs of a kernel's size and the channels that it gives.
      copies: shapes that are read, and written once.
      reads: shapes that are only read.
      training: whether to include the gradients with respect to inputs and weights, and
        the update of the weights by Adam.
    """

    products: tuple = ()
    convolutions: tuple = ()
    copies: tuple = ()
    reads: tuple = ()
    training: bool = False

    def for_training(self):
        """Returns the lower bound of a training step of the same workload."""
        return dataclasses.replace(self, training=True)

    @property
    def flops(self):
        """Multiplications and additions; a step has those of three passes."""
        passes = 3 if self.training else 1
        return passes * sum(2 * _rows(x) * math.prod(w) for x, w, _ in self._all())

    @property
    def moved(self):
        """Bytes read and written: operands and results of each product, and copies.

        The update reads gradient, weight and two moments, and writes all but the first.
        """
        passes = 3 if self.training else 1
        products = sum(sum(map(math.prod, shapes)) for shapes in self._all())
        weights = sum(math.prod(w) for _, w, _ in self._all())
        copies = 2 * sum(map(math.prod, self.copies)) + sum(map(math.prod, self.reads))
        update = 7 * weights if self.training else 0
        return ITEM * (passes * products + copies + update)

    def candidate(self):
        """Returns a function of the necessary operations, with its arguments.

        In training, the gradients are those of half the sum of squares of the result.
        """
        chains = [*self.products, *self.convolutions]
        weights = [
            [
                tf.Variable(normal(w, i) * _rows(w) ** -0.5)
                for i, w in enumerate(self._weight_shapes(chain))
            ]
            for chain in chains
        ]
        inputs = [normal(self._input_shape(chain), 1) for chain in chains]
        copied = [normal(shape, 2) for shape in self.copies]
        read = [normal(shape, 3) for shape in self.reads]
        flat = list(itertools.chain(*weights))
        update = Adam(flat) if self.training else None

        def run(inputs, copied, read):
            moved = [x + 1.0 for x in copied]
            moved += [tf.reduce_max(x, axis=-1) for x in read]
            if not chains:
                return moved
            if not self.training:
                return moved, _chained(inputs, weights)
            with tf.GradientTape() as tape:
                tape.watch(inputs[0])
                result = _chained(inputs, weights)
            first, *gradients = tape.gradient(
                result, [inputs[0], *flat], output_gradients=result
            )
            update(gradients)
            return moved, first

        return run, inputs, copied, read

    def _all(self):
        """Yields the shapes of the operands and of the result of each product."""
        for chain in [*self.products, *self.convolutions]:
            shape = self._input_shape(chain)
            for weight in self._weight_shapes(chain):
                result = [*shape[:-1], weight[-1]]
                yield shape, weight, result
                shape = result

    @staticmethod
    def _input_shape(chain):
        if len(chain) == 2:
            rows, widths = chain
            return [rows, widths[0]]
        images, channels, _ = chain
        return [*images, channels]

    @staticmethod
    def _weight_shapes(chain):
        if len(chain) == 2:
            return [list(pair) for pair in itertools.pairwise(chain[1])]
        _, channels, layers = chain
        sizes = itertools.pairwise([channels, *(c for _, c in layers)])
        return [[k, k, *pair] for (k, _), pair in zip(layers, sizes)]


def _rows(shape):
    return math.prod(shape[:-1])


def _chained(inputs, weights):
    """Returns the results of chains whose output is not the input of another."""
    results, x = [], None
    for start, chain in zip(inputs, weights):
        if x is not None and x.shape[:-1] == start.shape[:-1]:
            x = _of_width(x, start.shape[-1])
        else:
            results += [] if x is None else [x]
            x = start
        for weight in chain:
            x = _product(x, tf.convert_to_tensor(weight))
    return [*results, x]


def _product(x, weight):
    if weight.shape.rank == 2:
        return x @ weight
    if weight.shape[0] == 1:
        flat = tf.reshape(x, [-1, x.shape[-1]]) @ weight[0, 0]
        return tf.reshape(flat, [*x.shape[:-1], weight.shape[-1]])
    return tf.nn.conv2d(x, weight, 1, "SAME")


def _of_width(x, width):
    missing = width - x.shape[-1]
    if missing > 0:
        return tf.pad(x, [[0, 0]] * (x.shape.rank - 1) + [[0, missing]])
    return x[..., :width]
