"""The harmonic field on a CPU: forward in one kernel and backward in another, a block of samples at a time.

A thread takes groups of samples. The gradients of group n are added to the sums number n mod SUMS, and those are added
up at the end, so that results depend neither on the number of threads nor on the size of a chunk.
"""

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..jit import jit
from . import reference
from .embedding import waves
from .groups import GROUP, backward_group, forward_group
from .layout import BLOCK, Layout, layout_of
from .octaves import MOST_OCTAVES
from .spec import FieldSpec, FieldWeights

SUMS = 32  # groups of a chunk at most: they run at the same time, and each has its own sums
CHUNK_BYTES = 24 << 20  # of what is kept for the backward: the C library gives pieces of up to 32 MiB again and again


@jit
def _forward(
    tables, size, waves, direction_waves, packed, x, offsets, directions, first, count, keep, memory,
    relu, beta, density_exp, color, raw, sigma, rgb,
):  # fmt: skip
    """Samples first to first + count; the memory of every block is kept, or that of a group is used again."""
    for index in numba.prange((count + GROUP - 1) // GROUP):
        group = np.int64(index)  # the index of a parallel loop is unsigned
        start = group * GROUP
        forward_group(
            tables, size, waves, direction_waves, packed, x, offsets, directions, first + start,
            min(GROUP, count - start), keep, memory, (start // BLOCK if keep else group) * size,
            relu, beta, density_exp, color, raw, sigma, rgb,
        )  # fmt: skip


@jit
def _backward(
    tables, size, direction_waves, packed, offsets, directions, first, count, memory,
    relu, beta, density_exp, raw, sigma, rgb, g_sigma, g_rgb, sums,
):  # fmt: skip
    """Add the gradients of samples first to first + count to the rows of ``sums`` that their groups have."""
    for index in numba.prange((count + GROUP - 1) // GROUP):
        start = np.int64(index) * GROUP
        backward_group(
            tables, size, direction_waves, packed, offsets, directions, first + start, min(GROUP, count - start),
            memory, start // BLOCK * size, relu, beta, density_exp, raw, sigma, rgb, g_sigma, g_rgb,
            sums[(first + start) // GROUP % SUMS],
        )  # fmt: skip


def _chunks(count: int, group_bytes: int) -> list[tuple[int, int]]:
    """(first, samples) of pieces of at most SUMS groups and about CHUNK_BYTES, the threads' shares being equal."""
    threads = min(SUMS, numba.get_num_threads())
    groups = min(SUMS, CHUNK_BYTES // group_bytes) // threads * threads
    size = GROUP * max(groups, threads)
    return [(first, min(size, count - first)) for first in range(0, count, size)]


def _pack(weights: FieldWeights, layout: Layout) -> np.ndarray:
    """The weights as the kernels read them."""
    flat = torch.cat([*(t.detach().reshape(-1) for t in weights.flat()), torch.zeros(1)])
    return flat.take(layout.packed).numpy()


class _Call:
    """One evaluation: its arguments as the kernels take them, its results, and what is kept for the backward."""

    def __init__(
        self, x: Tensor, offsets: Tensor, directions: Tensor, weights: FieldWeights, spec: FieldSpec, color: bool
    ) -> None:
        self.x, self.offsets = x.detach().contiguous().numpy(), offsets.contiguous().numpy()
        self.directions = directions.detach().contiguous().numpy()
        self.shapes, self.color = [t.shape for t in weights.flat()], color
        self.layout = layout_of(weights, spec)
        self.packed = _pack(weights, self.layout)
        self.waves = waves(spec.omega0, spec.octaves, spec.append_input)
        self.direction_waves = waves(spec.omega0, spec.direction_octaves, spec.append_input)
        self.options = (spec.activation == "relu", np.float32(spec.beta), spec.density_activation == "exp")
        count = len(x)
        self.raw, self.sigma = np.empty(count, np.float32), np.empty(count, np.float32)
        self.rgb = np.empty((count, 3), np.float32)
        self.kept: list[tuple[int, int, np.ndarray]] = []

    def forward(self, keep: bool) -> None:
        """Fill ``raw``, ``sigma`` and, with colors, ``rgb``; ``keep`` the layers for ``backward``."""
        size = self.layout.size
        blocks = GROUP // BLOCK if keep else 1  # of memory that a group has
        for first, count in _chunks(len(self.x), 4 * size * blocks):
            memory = np.empty(-(-count // GROUP) * blocks * size, np.float32)
            _forward(
                self.layout.tables, size, self.waves, self.direction_waves, self.packed, self.x, self.offsets,
                self.directions, first, count, keep, memory, *self.options, self.color, self.raw, self.sigma, self.rgb,
            )  # fmt: skip
            if keep:
                self.kept.append((first, count, memory))

    def backward(self, g_sigma: Tensor, g_rgb: Tensor) -> list[Tensor]:
        """The weights' gradients, in the order of ``FieldWeights.flat``."""
        groups = -(-len(self.x) // GROUP)
        sums = np.zeros((min(SUMS, groups), self.layout.sums), np.float32)
        for first, count, memory in self.kept:
            _backward(
                self.layout.tables, self.layout.size, self.direction_waves, self.packed, self.offsets, self.directions,
                first, count, memory, *self.options, self.raw, self.sigma, self.rgb,
                g_sigma.contiguous().numpy(), g_rgb.contiguous().numpy(), sums,
            )  # fmt: skip
        flat = torch.from_numpy(sums.sum(0)).take(self.layout.gradients)
        parts = flat.split([shape.numel() for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]


class _HarmonicField(torch.autograd.Function):
    """Gradients to the weights only: other requests go to the reference. ``keep``: a backward may follow."""

    @staticmethod
    def forward(ctx, x, offsets, directions, spec, keep, *tensors):
        ctx.call = _Call(x, offsets, directions, FieldWeights.unflatten(tensors), spec, color=True)
        ctx.call.forward(keep)
        # The call has arrays: an output kept as it is would hold its own graph node, and the node the output, until
        # the collector runs. Autograd is told of them all the same: it finds out whether somebody writes into them.
        results = torch.from_numpy(ctx.call.sigma), torch.from_numpy(ctx.call.rgb)
        ctx.save_for_backward(*results, offsets, directions)
        return results

    @staticmethod
    @once_differentiable
    def backward(ctx, g_sigma, g_rgb):
        _ = ctx.saved_tensors  # raises where one has been written into since, or where the graph is gone
        return None, None, None, None, None, *ctx.call.backward(g_sigma, g_rgb)


def harmonic_density(x: Tensor, weights: FieldWeights, spec: FieldSpec) -> Tensor:
    """sigma(x), (S,3) -> (S,); without a graph by the kernels."""
    if spec.octaves > MOST_OCTAVES or (torch.is_grad_enabled() and any(t.requires_grad for t in (x, *weights.flat()))):
        return reference.harmonic_density(x, weights, spec)
    call = _Call(x, torch.empty(0, dtype=torch.int64), x[:0], weights, spec, color=False)
    call.forward(keep=False)
    return torch.from_numpy(call.sigma)


def packed_field(
    x: Tensor, offsets: Tensor, directions: Tensor, weights: FieldWeights, spec: FieldSpec
) -> tuple[Tensor, Tensor]:
    """sigma (S,) and c (S,3) of packed samples; gradients to all weights, and by the reference to the inputs."""
    wants_input_gradient = torch.is_grad_enabled() and (x.requires_grad or directions.requires_grad)
    if wants_input_gradient or max(spec.octaves, spec.direction_octaves) > MOST_OCTAVES:
        return reference.packed_field(x, offsets, directions, weights, spec)
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in weights.flat())
    return _HarmonicField.apply(x, offsets, directions, spec, keep, *weights.flat())
