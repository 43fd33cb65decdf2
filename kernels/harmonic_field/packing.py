"""How a GPU kernel sees a field's weights: one flat buffer of padded matrices, one of small vectors, one table.

The embedding is padded to whole chunks of columns, which a program forms one after the other:

- omega0 = pi: ``CHUNK`` columns in the order of ``reference.embed``, phases exact in floating point;
- any other omega0: the sines of one axis, then its cosines, begin a chunk each, and so does the input itself; phases by
  integers.

Layers are counted from 1: 1 to ``depth`` are the trunk, ``depth + 1`` is the feature layer. The flat buffer holds layer
1 (w, E'), layers 2 to depth + 1 (w, w) each, and, where a layer is fed the embedding again, its part for it (w, E').
Gradients come as a vector in the same order, and behind it the biases, the heads' products and their biases.
"""

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from .spec import FieldSpec, FieldWeights
from .turns import INVERSE_TURN

CHUNK = 32  # columns formed at a time
HEADS = 16  # rows that the four outputs take in a matrix product: its least
MOST_OCTAVES = 64
WIDTHS = (32, 64, 128, 256)
DEPTHS = range(2, 9)
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Packing(NamedTuple):
    """Sizes and places in the flat buffers; ``skip`` counts layers from 1, 0 is none."""

    width: int
    depth: int
    chunk: int
    chunks: int
    skip: int

    @property
    def columns(self) -> int:
        """E', the padded length of the embedding."""
        return self.chunk * self.chunks

    @property
    def matrices(self) -> int:
        """Elements of all matrices."""
        return self.width * (self.columns * (2 if self.skip else 1) + self.width * self.depth)

    @property
    def gradients(self) -> int:
        """Length of the vector of gradients: matrices, biases, two products of the heads, their biases."""
        return self.matrices + self.width * (self.depth + 2 * HEADS) + HEADS

    def square(self, layer: int) -> int:
        """Where the (w, w) matrix of a layer from 2 to depth + 1 begins."""
        return self.width * (self.columns + self.width * (layer - 2))

    @property
    def again(self) -> int:
        """Where the (w, E') matrix of the layer that is fed the embedding again begins."""
        return self.square(self.depth + 2)


def packing_of(width: int, depth: int, spec: FieldSpec) -> Packing:
    """The packing of a field.

    Raises:
        ValueError: a size for which there is no kernel; the message names those there are.
    """
    if width not in WIDTHS:
        raise ValueError(f"the triton kernels take fields of width {', '.join(map(str, WIDTHS))}, not {width}")
    if depth not in DEPTHS:
        raise ValueError(f"the triton kernels take {DEPTHS[0]} to {DEPTHS[-1]} hidden layers, not {depth}")
    if spec.octaves > MOST_OCTAVES or spec.position_size == 0:
        raise ValueError(f"the triton kernels take 1 to {MOST_OCTAVES} octaves, or 0 and the input itself")
    skip = 0 if spec.skip is None else spec.skip + 1
    if spec.omega0 == math.pi:
        return Packing(width, depth, CHUNK, -(-spec.position_size // CHUNK), skip)
    chunk = 16 if spec.octaves <= 16 else CHUNK
    return Packing(width, depth, chunk, 6 * -(-spec.octaves // chunk) + spec.append_input, skip)


@functools.lru_cache(maxsize=16)
def places(spec: FieldSpec, packing: Packing) -> Tensor:
    """(E,) column of each entry of ``reference.embed`` in the padded embedding."""
    if spec.omega0 == math.pi:
        return torch.arange(spec.position_size)
    group = -(-spec.octaves // packing.chunk) * packing.chunk
    waves = torch.arange(6)[:, None] * group + torch.arange(spec.octaves)  # (6, K)
    inputs = 6 * group + torch.arange(3 * spec.append_input)
    return torch.cat([waves.flatten(), inputs])


@functools.lru_cache(maxsize=16)
def wave_table(spec: FieldSpec, packing: Packing, device: torch.device) -> Tensor:
    """(5, E') float32 by column of the padded embedding: turns per unit of x, y, z; phase in turns; is it x itself.

    For a column that is the input itself the first three hold its axis instead. Padding is all zero: sin 0.
    """
    table = torch.zeros(5, packing.columns, dtype=torch.float64)
    for j, column in enumerate(places(spec, packing).tolist()):
        if j < 6 * spec.octaves:
            group, octave = divmod(j, spec.octaves)
            table[group // 2, column] = spec.omega0 * 2.0**octave / (2 * math.pi)
            table[3, column] = 0.25 * (group % 2)
        else:
            table[j - 6 * spec.octaves, column] = 1
            table[4, column] = 1
    return table.float().to(device)


@functools.lru_cache(maxsize=16)
def inverse_turn(device: torch.device) -> Tensor:
    """(4,) int64: 1 / (2 pi) in 32-bit words, least significant first."""
    return torch.from_numpy(INVERSE_TURN.astype("int64")).to(device)


def _squares(flat: Tensor, packing: Packing) -> list[Tensor]:
    """Views (w, w) of the matrices of layers 2 to depth + 1."""
    w = packing.width
    starts = (packing.square(layer) for layer in range(2, packing.depth + 2))
    return [flat[start : start + w * w].view(w, w) for start in starts]


def _own_squares(weights: FieldWeights, packing: Packing) -> list[Tensor]:
    """The field's own matrices for ``_squares``."""
    return [*(matrix[:, : packing.width] for matrix, _ in weights.hidden[1:]), weights.feature[0]]


def _embedded(flat: Tensor, packing: Packing) -> list[Tensor]:
    """Views (w, E') of the matrices that the embedding is multiplied with: layer 1's, and that of ``skip``."""
    size = packing.width * packing.columns
    starts = [0, packing.again] if packing.skip else [0]
    return [flat[start : start + size].view(packing.width, packing.columns) for start in starts]


def _own_embedded(weights: FieldWeights, packing: Packing) -> list[Tensor]:
    """The field's own matrices for ``_embedded``, (w, E) each."""
    first = [weights.hidden[0][0]]
    return [*first, weights.hidden[packing.skip - 1][0][:, packing.width :]] if packing.skip else first


class Places(NamedTuple):
    """Where each number comes from, as int64 indices.

    ``matrices`` and ``small`` are ``pack``'s results, out of all weights in their flat order and a zero behind them;
    ``gradients`` those of the weights, in that order, out of the kernels' vector (any place for weights that have none
    there).
    """

    matrices: Tensor
    small: Tensor
    gradients: Tensor
    zero: Tensor  # (1,) float32


def _numbered(spec: FieldSpec, packing: Packing) -> FieldWeights:
    """For every weight its number in the flat order."""
    w, e = packing.width, spec.position_size
    inputs = [w * (n > 0) + e * (n in (0, spec.skip)) for n in range(packing.depth)]
    layers = [*((w, size) for size in inputs), (1, w), (w, w), (3, w)]
    shapes = [shape for matrix in layers for shape in (matrix, matrix[:1])] + [(w, spec.direction_size)]
    numbers = torch.arange(sum(math.prod(shape) for shape in shapes))
    parts = numbers.split([math.prod(shape) for shape in shapes])
    return FieldWeights.unflatten(tuple(part.view(shape) for part, shape in zip(parts, shapes, strict=True)))


@functools.lru_cache(maxsize=16)
def places_of(spec: FieldSpec, packing: Packing, device: torch.device) -> Places:
    """The tables of a field."""
    w, depth, place = packing.width, packing.depth, places(spec, packing)
    own = _numbered(spec, packing)
    total = sum(t.numel() for t in own.flat())
    matrices = torch.full((packing.matrices,), total)
    small = torch.cat([*(bias for _, bias in own.hidden), own.density[0][0], own.color[0].flatten()])
    small = torch.cat([small, own.density[1], own.color[1]])
    vector = torch.arange(packing.gradients)
    gradients = torch.zeros(total, dtype=torch.int64)
    for view, number, matrix in zip(
        _embedded(matrices, packing), _embedded(vector, packing), _own_embedded(own, packing), strict=True
    ):
        view[:, place] = matrix
        gradients[matrix] = number[:, place]
    squares = zip(_squares(matrices, packing), _squares(vector, packing), _own_squares(own, packing), strict=True)
    for view, number, matrix in squares:
        view.copy_(matrix)
        gradients[matrix] = number
    biases, of_h, of_z, heads = vector[packing.matrices :].split([w * depth, HEADS * w, HEADS * w, HEADS])
    gradients[torch.cat([bias for _, bias in own.hidden])] = biases
    gradients[own.density[0]], gradients[own.color[0]] = of_h.view(HEADS, w)[:1], of_z.view(HEADS, w)[1:4]
    gradients[own.density[1]], gradients[own.color[1]] = heads[:1], heads[1:4]
    return Places(*(t.to(device) for t in (matrices, small, gradients, torch.zeros(1))))


@torch.no_grad()
def pack(weights: FieldWeights, spec: FieldSpec, packing: Packing, tf32: bool) -> tuple[Tensor, Tensor]:
    """The matrices, flat, as operands of the products; and float32 [biases, w_d, W_o, b_d, b_o].

    ``tf32`` rounds the matrices to its 10 bits, as ``triton_operands.operand`` does the rest.
    """
    of = places_of(spec, packing, weights.direction.device)
    flat = torch.cat([*(t.flatten() for t in weights.flat()), of.zero])
    matrices = flat[of.matrices].to(DTYPES[spec.precision])
    if tf32:
        rounded = ((matrices.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)
        matrices = torch.where(matrices.isfinite(), rounded, matrices)
    return matrices, flat[of.small]


def unpack(flat: Tensor, weights: FieldWeights, spec: FieldSpec, packing: Packing) -> tuple[Tensor | None, ...]:
    """Gradients of the kernels, as ``Packing.gradients`` orders them, in the flat order and the shapes of the weights.

    None for the direction's matrix and the feature layer's bias: theirs come by way of the rays.
    """
    found = flat[places_of(spec, packing, flat.device).gradients[: -weights.direction.numel()]]
    tensors = weights.flat()[:-1]
    parts = found.split([t.numel() for t in tensors])
    feature_bias = weights.feature[1]
    return *(None if t is feature_bias else g.view(t.shape) for g, t in zip(parts, tensors, strict=True)), None
