"""The harmonic field on a CPU: forward in one kernel and backward in another, a block of samples at a time.

A thread takes groups of samples. The gradients of group n are added to the sums number n mod SUMS, and those are added
up at the end, so that results depend neither on the number of threads nor on the size of a chunk.
"""

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import halves
from ..checks import refuse_again
from ..jit import jit
from . import reference
from .embedding import waves
from .groups import GROUP, backward_group, forward_group
from .layout import BLOCK, OFFSET, Layout, layout_of
from .octaves import MOST_OCTAVES
from .spec import FieldSpec, FieldWeights

SUMS = 32  # groups of a chunk at most: they run at the same time, and each has its own sums
CHUNK_BYTES = 24 << 20  # of what is kept for the backward: the C library gives pieces of up to 32 MiB again and again


@jit
def _forward(
    tables, size, waves, direction_waves, packed, halves, x, offsets, directions, first, count, keep, memory,
    relu, beta, density_exp, color, raw, sigma, rgb,
):  # fmt: skip
    """Samples first to first + count; the memory of every block is kept, or that of a group is used again."""
    for index in numba.prange((count + GROUP - 1) // GROUP):
        group = np.int64(index)  # the index of a parallel loop is unsigned
        start = group * GROUP
        forward_group(
            tables, size, waves, direction_waves, packed, halves, x, offsets, directions, first + start,
            min(GROUP, count - start), keep, memory, (start // BLOCK if keep else group) * size,
            relu, beta, density_exp, color, raw, sigma, rgb,
        )  # fmt: skip


@jit
def _backward(
    tables, size, waves, direction_waves, packed, halves, offsets, directions, first, count, memory,
    relu, beta, density_exp, color, to_weights, raw, sigma, rgb, g_sigma, g_rgb, sums, dx, dd, ends, end_rays,
):  # fmt: skip
    """Add the gradients of samples first to first + count to the rows of ``sums`` that their groups have."""
    for index in numba.prange((count + GROUP - 1) // GROUP):
        start = np.int64(index) * GROUP
        group = (first + start) // GROUP
        backward_group(
            tables, size, waves, direction_waves, packed, halves, offsets, directions, first + start,
            min(GROUP, count - start), memory, start // BLOCK * size, relu, beta, density_exp, color, to_weights,
            raw, sigma, rgb, g_sigma, g_rgb, sums[group % SUMS], dx, dd, ends[group], end_rays[group],
        )  # fmt: skip


def _chunks(count: int, group_bytes: int) -> list[tuple[int, int]]:
    """(first, samples) of pieces of at most SUMS groups and about CHUNK_BYTES, the threads' shares being equal."""
    threads = min(SUMS, numba.get_num_threads())
    groups = min(SUMS, CHUNK_BYTES // group_bytes) // threads * threads
    size = GROUP * max(groups, threads)
    return [(first, min(size, count - first)) for first in range(0, count, size)]


def _pack(weights: FieldWeights, layout: Layout) -> tuple[np.ndarray, np.ndarray | None]:
    """The weights as the kernels read them: floats, and words of bfloat16 where the layout has them."""
    flat = torch.cat([*(t.detach().reshape(-1) for t in weights.flat()), torch.zeros(1)])
    words = flat.take(layout.halves).bfloat16().view(torch.int32).numpy() if len(layout.halves) else None
    return flat.take(layout.packed).numpy(), words


def in_halves(spec: FieldSpec) -> bool:
    """Whether the products of a field have bfloat16 operands here; all others are float32."""
    return halves.AVAILABLE and spec.precision == "bf16" and spec.activation == "relu"


class _Call:
    """One evaluation: its arguments as the kernels take them, its results, and what is kept for the backward."""

    def __init__(
        self, x: Tensor, offsets: Tensor, directions: Tensor, weights: FieldWeights, spec: FieldSpec, color: bool,
        inputs: bool,
    ) -> None:  # fmt: skip
        self.x, self.offsets = x.detach().contiguous().numpy(), offsets.contiguous().numpy()
        self.directions = directions.detach().contiguous().numpy()
        self.shapes, self.color, self.inputs = [t.shape for t in weights.flat()], color, inputs
        self.layout = layout_of(weights, spec, inputs, in_halves(spec))
        self.size = self.layout.size if color else int(self.layout.tables.slots[-1, OFFSET])  # no room for its layer
        self.packed = _pack(weights, self.layout)
        self.waves = waves(spec.omega0, spec.octaves, spec.append_input)
        self.direction_waves = waves(spec.omega0, spec.direction_octaves, spec.append_input)
        self.options = (spec.activation == "relu", np.float32(spec.beta), spec.density_activation == "exp")
        count = len(x)
        self.raw, self.sigma = np.empty(count, np.float32), np.empty(count, np.float32)
        self.rgb = np.empty((count if color else 0, 3), np.float32)
        self.kept: list[tuple[int, int, np.ndarray]] = []
        self.incoming: tuple[Tensor, ...] = ()  # the loss's gradients, for ``_Weights``

    def forward(self, keep: bool) -> None:
        """Fill ``raw``, ``sigma`` and, with colors, ``rgb``; ``keep`` the layers for ``backward``."""
        size = self.size
        blocks = GROUP // BLOCK if keep else 1  # of memory that a group has
        for first, count in _chunks(len(self.x), 4 * size * blocks):
            memory = np.empty(-(-count // GROUP) * blocks * size, np.float32)
            _forward(
                self.layout.tables, size, self.waves, self.direction_waves, *self.packed, self.x, self.offsets,
                self.directions, first, count, keep, memory, *self.options, self.color, self.raw, self.sigma, self.rgb,
            )  # fmt: skip
            if keep:
                self.kept.append((first, count, memory))

    def backward(
        self, incoming: tuple[Tensor, ...], to_x: bool = False, to_directions: bool = False, to_weights: bool = True
    ) -> tuple[Tensor | None, Tensor | None, list[Tensor | None]]:
        """The gradients that are asked for: positions', directions', and the weights' as ``FieldWeights.flat``."""
        groups = -(-len(self.x) // GROUP)
        sums = np.zeros((min(SUMS, groups), self.layout.sums), np.float32)
        dx = np.empty((len(self.x) if to_x else 0, 3), np.float32)
        dd = np.zeros((len(self.directions) if to_directions else 0, 3), np.float32)
        ends, end_rays = np.zeros((groups, 2, 3), np.float32), np.zeros((groups, 2), np.int64)
        for first, count, memory in self.kept:
            _backward(
                self.layout.tables, self.size, self.waves, self.direction_waves, *self.packed, self.offsets,
                self.directions, first, count, memory, *self.options, self.color, to_weights,
                self.raw, self.sigma, self.rgb, *(g.contiguous().numpy() for g in incoming),
                sums, dx, dd, ends, end_rays,
            )  # fmt: skip
        parts: list[Tensor | None] = [None] * len(self.shapes)
        if to_weights:
            flat = torch.from_numpy(sums.sum(0)).take(self.layout.gradients)
            split = flat.split([shape.numel() for shape in self.shapes])
            used = len(split) if self.color else len(split) - 5
            parts[:used] = [part.view(shape) for part, shape in zip(split[:used], self.shapes[:used], strict=True)]
        if to_directions and len(dd):
            np.add.at(dd, end_rays.ravel(), ends.reshape(-1, 3))
        return torch.from_numpy(dx) if to_x else None, torch.from_numpy(dd) if to_directions else None, parts


class _HarmonicField(torch.autograd.Function):
    """(call, x, offsets, directions, weights or what ``_Weights`` returns) -> sigma (S,), rgb (S,3)."""

    @staticmethod
    def forward(ctx, call, x, offsets, directions, *weights):
        ctx.call = call
        # The call has arrays: an output kept as it is would hold its own graph node, and the node the output, until
        # the collector runs. Autograd is told of them all the same: it finds out whether somebody writes into them.
        results = torch.from_numpy(call.sigma), torch.from_numpy(call.rgb)
        ctx.save_for_backward(*results, offsets, directions)
        return results

    @staticmethod
    def backward(ctx, *incoming):
        refuse_again("harmonic field", ctx.call.inputs)
        return _HarmonicField._backward(ctx, *incoming)

    @staticmethod
    @once_differentiable
    def _backward(ctx, *incoming):
        _ = ctx.saved_tensors  # raises where one has been written into since, or where the graph is gone
        _, to_x, _, to_directions, *_ = ctx.needs_input_grad
        if not ctx.call.inputs:
            return None, None, None, None, *ctx.call.backward(incoming)[2]
        ctx.call.incoming = incoming
        dx, dd, _ = ctx.call.backward(incoming, to_x, to_directions, to_weights=False)
        return None, dx, None, dd, torch.zeros(())


class _Weights(torch.autograd.Function):
    """In the weights' place where an input has a gradient: autograd asks it for theirs only if somebody wants them.

    A function of several tensors is not told which of their gradients are wanted, and the weights' are half the work.
    """

    @staticmethod
    def forward(ctx, call, *weights):
        ctx.call = call
        return torch.zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx, _):
        return None, *ctx.call.backward(ctx.call.incoming)[2]


def _evaluate(x, offsets, directions, weights, spec, color):
    tensors, graph = weights.flat(), torch.is_grad_enabled()
    inputs = graph and (x.requires_grad or directions.requires_grad)
    call = _Call(x, offsets, directions, weights, spec, color, inputs)
    call.forward(keep=inputs or (graph and any(t.requires_grad for t in tensors)))
    if inputs:
        tensors = (_Weights.apply(call, *tensors),)
    return _HarmonicField.apply(call, x, offsets, directions, *tensors)


def harmonic_density(x: Tensor, weights: FieldWeights, spec: FieldSpec) -> Tensor:
    """sigma(x), (S,3) -> (S,)."""
    if spec.octaves > MOST_OCTAVES:
        return reference.harmonic_density(x, weights, spec)
    none = x.detach()[:0]
    return _evaluate(x, torch.empty(0, dtype=torch.int64), none, weights, spec, color=False)[0]


def packed_field(
    x: Tensor, offsets: Tensor, directions: Tensor, weights: FieldWeights, spec: FieldSpec
) -> tuple[Tensor, Tensor]:
    """sigma (S,) and c (S,3) of packed samples."""
    if max(spec.octaves, spec.direction_octaves) > MOST_OCTAVES:
        return reference.packed_field(x, offsets, directions, weights, spec)
    return _evaluate(x, offsets, directions, weights, spec, color=True)
