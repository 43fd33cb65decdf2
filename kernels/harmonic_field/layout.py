"""Where everything lies that the CPU kernels read and write: flat arrays, and small tables of offsets into them.

Columns are padded with zeros to multiples of COLUMNS. A block of BLOCK samples owns one stretch of memory with a slot
a layer: the embedding, the hidden layers, the color layer. The weights are gathered into one flat array, for every
product as panels of COLUMNS columns, in the order in which ``products.tile`` reads them: once for x W^T and, where the
input has a gradient, once for dz W: the embeddings have one only where positions or directions do.

With bfloat16 operands (``kernels.halves``) the slots hold rows of words, half as long, and the panels of the products
and the heads are words of two rows in an array of their own; biases and what is computed once a ray stay float32.
"""

import functools
from typing import NamedTuple

import numpy as np
import torch

from ..products import COLUMNS
from .spec import FieldSpec, FieldWeights

BLOCK = 128  # samples that go through the whole field together

# columns of the tables
OFFSET, STRIDE, WIDTH, PADDED = range(4)  # slots
BIAS, BIAS_SUM, FIRST, END = range(4)  # layers; their products are FIRST to END
SOURCE, FORWARD, BACKWARD, GRADIENT = range(4)  # products
# heads: a row of weights, one of their gradients, with bfloat16 operands one of words: the heads' own rows under their
# names, under those of their biases panels of what goes back through them, of the four [color, density].
# The last only of weights, -1 where directions have no gradient.
DENSITY, DENSITY_BIAS, COLOR, COLOR_BIAS, DIRECTION, TO_DIRECTION = range(6)


class Tables(NamedTuple):
    """Tables of int64 offsets; their columns have the names above, their rows are in the order of the layers."""

    slots: np.ndarray
    layers: np.ndarray
    products: np.ndarray
    heads: np.ndarray


class Layout(NamedTuple):
    """The tables, and how weights and gradients are gathered.

    size: elements, floats or words, that a block owns; packed: positions of the packed weights in [weights, 0];
    halves: of those that are bfloat16; gradients: positions of the weights' gradients, in the order of
    ``FieldWeights.flat``, in the kernels' sums; sums: how many those are.
    """

    tables: Tables
    size: int
    packed: torch.Tensor
    halves: torch.Tensor
    gradients: torch.Tensor
    sums: int


def padded(columns: int) -> int:
    """``columns`` up to a multiple of COLUMNS."""
    return -(-columns // COLUMNS) * COLUMNS


def layout_of(weights: FieldWeights, spec: FieldSpec, inputs: bool = False, half: bool = False) -> Layout:
    """The layout for weights of these shapes; ``inputs``: positions or directions have a gradient; ``half``: bfloat16
    operands."""
    return _layout(tuple(tuple(t.shape) for t in weights.flat()), spec.skip, inputs, half)


def _panels(matrix: np.ndarray) -> np.ndarray:
    """(depth, columns) as panels of COLUMNS columns, one after the other, padded with -1."""
    depth, columns = matrix.shape
    full = np.full((depth, padded(columns)), -1)
    full[:, :columns] = matrix
    return full.reshape(depth, -1, COLUMNS).transpose(1, 0, 2).ravel()


def _word_panels(matrix: np.ndarray) -> np.ndarray:
    """(depth, columns) as panels for ``kernels.halves``: words of two rows."""
    depth, width = matrix.shape
    full = np.full((depth + depth % 2, padded(width)), -1)
    full[:depth, :width] = matrix
    return full.reshape(-1, 2, full.shape[1] // COLUMNS, COLUMNS).transpose(2, 0, 3, 1).ravel()


@functools.lru_cache(maxsize=16)
def _layout(shapes: tuple[tuple[int, ...], ...], skip: int | None, inputs: bool, half: bool) -> Layout:
    counts = [int(np.prod(shape)) for shape in shapes]
    starts = np.cumsum([0, *counts])
    numbers = [start + np.arange(n).reshape(s) for start, n, s in zip(starts[:-1], counts, shapes, strict=True)]
    *hidden_and_heads, direction = numbers
    *hidden, density, feature, color = zip(hidden_and_heads[::2], hidden_and_heads[1::2], strict=True)
    widths = [hidden[0][0].shape[1], *(matrix.shape[0] for matrix, _ in hidden), feature[0].shape[0]]

    slots, end = [], 0
    for width in widths:
        columns = padded(width)
        stride = columns if columns <= 64 else columns + 16  # odd numbers of cache lines: rows spread over the sets
        stride = stride // 2 if half else stride
        slots.append((end, stride, width, columns))
        end += BLOCK * stride

    packed: list[np.ndarray] = []
    halves: list[np.ndarray] = []
    gradient = np.zeros(starts[-1], np.int64)
    sums = 0

    def pack(positions: np.ndarray) -> int:
        offset = sum(map(len, packed))
        packed.append(positions)
        return offset

    def pack_words(positions: np.ndarray) -> int:
        """As ``pack``, of pairs."""
        offset = sum(map(len, halves)) // 2
        halves.append(positions)
        return offset

    def pack_product(matrix: np.ndarray) -> int:
        """The panels of a matrix (depth, columns)."""
        return pack_words(_word_panels(matrix)) if half else pack(_panels(matrix))

    def sum_of(positions: np.ndarray, rows: int, columns: int) -> int:
        """Room for the gradients of a matrix, padded to ``rows`` of ``columns`` floats."""
        nonlocal sums
        offset = sums
        gradient[positions] = offset + np.arange(len(positions))[:, None] * columns + np.arange(positions.shape[1])
        sums += rows * columns
        return offset

    layers: list[tuple[int, ...]] = []
    products: list[tuple[int, ...]] = []
    for number, (matrix, bias) in enumerate([*hidden, feature]):
        first = len(products)
        parts = [(number, matrix)]
        if number and number == skip:
            parts = [(number, matrix[:, : widths[number]]), (0, matrix[:, widths[number] :])]
        for source, part in parts:
            backward = pack_product(part) if source or inputs else -1
            products.append(
                (source, pack_product(part.T), backward, sum_of(part, padded(len(part)), slots[source][PADDED]))
            )
        # The color layer's bias comes with the direction, once a ray.
        packed_bias = pack(_panels(bias[None])) if number < len(hidden) else -1
        layers.append((packed_bias, sum_of(bias[None], 1, padded(len(bias))), first, len(products)))
    rows = np.concatenate([_panels(row[None]) for row in color[0]])
    ray = np.concatenate([direction, feature[1][:, None]], 1)  # (c, E_d + 1) by [e(d), 1]
    heads = [
        [
            *(pack(part) for part in (_panels(density[0]), density[1], rows, color[1], _panels(ray.T))),
            pack(_panels(ray)) if inputs else -1,
        ],
        [
            sum_of(density[0], 1, padded(widths[-2])),
            sum_of(density[1][None], 1, 1),
            sum_of(color[0], 3, padded(widths[-1])),
            sum_of(color[1][None], 1, 3),
            sum_of(direction, padded(widths[-1]), padded(ray.shape[1])),
            -1,
        ],
    ]
    if half:
        of_density, of_color = np.full((4, widths[-2]), -1), np.full((4, widths[-1]), -1)
        of_density[3], of_color[:3] = density[0][0], color[0]
        heads.append(
            [
                pack_words(_panels(density[0])),
                pack_product(of_density),
                pack_words(np.concatenate([_panels(row[None]) for row in color[0]])),
                pack_product(of_color),
                -1,
                -1,
            ]
        )
    table, end_of_all = functools.partial(np.array, dtype=np.int64), starts[-1] + 1
    words = np.concatenate(halves) if half else np.zeros(0, np.int64)
    return Layout(
        Tables(table(slots), table(layers), table(products), table(heads)), end,
        torch.from_numpy(np.concatenate(packed)) % end_of_all, torch.from_numpy(words) % end_of_all,
        torch.from_numpy(gradient), sums,
    )  # fmt: skip
