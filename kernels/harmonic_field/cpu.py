"""The harmonic field on a CPU: forward in one kernel and backward in another, a block of samples at a time.

A thread takes GROUP samples; their sums of gradients are its own and are added group by group in their order, so that
results depend neither on the number of threads nor on the size of a chunk.
"""

import numba
import numpy as np
import torch
from torch import Tensor

from ..jit import jit
from . import reference
from .blocks import backward_block, forward_block, rays_of
from .embedding import embed_rows, waves
from .layout import BLOCK, DIRECTION, STRIDE, Layout, layout_of, padded
from .octaves import MOST_OCTAVES
from .products import COLUMNS, multiply
from .spec import FieldSpec, FieldWeights

GROUP = 8 * BLOCK  # samples whose gradients are summed by one thread
CHUNK_BYTES = (
    16 << 20
)  # what is kept of one chunk of samples for its backward; larger memory is fresh, and slow at first


@jit
def _rays_forward(tables, waves, packed, directions, e, u):
    """e[ray] = [e(d), 1, 0 ...] and u[ray] = W_v e(d) + b_f; both have rows up to a multiple of BLOCK."""
    rays, stride, columns = directions.shape[0], e.shape[1], u.shape[1]
    depth = 6 * waves.octaves + 3 * waves.append_input + 1
    flat_e, flat_u = e.reshape(-1), u.reshape(-1)
    for block in numba.prange(e.shape[0] // BLOCK):
        first = np.int64(block) * BLOCK  # the index of a parallel loop is unsigned
        e[first : first + BLOCK] = 0
        u[first : first + BLOCK] = 0
        e[first : first + BLOCK, depth - 1] = 1
        embed_rows(directions, first, min(BLOCK, rays - first), waves, flat_e, first * stride, stride)
        for column in range(0, columns, COLUMNS):
            multiply(
                flat_e, first * stride, stride, 1, packed, tables.heads[0, DIRECTION] + column * depth, COLUMNS,
                flat_u, first * columns + column, columns, BLOCK, depth,
            )  # fmt: skip


@jit
def _rays_backward(tables, e, du, rays, total):
    """The gradient du^T e(d)."""
    stride, columns = e.shape[1], du.shape[1]
    flat_e, flat_du, start = e.reshape(-1), du, tables.heads[1, DIRECTION]
    for block in numba.prange(columns // COLUMNS):
        row = np.int64(block) * COLUMNS
        for column in range(0, stride, COLUMNS):
            multiply(
                flat_du, row, 1, columns, flat_e, column, stride,
                total, start + row * stride + column, stride, COLUMNS, rays,
            )  # fmt: skip


@jit
def _forward(
    tables,
    size,
    waves,
    packed,
    x,
    offsets,
    first,
    count,
    u,
    keep,
    memory,
    relu,
    beta,
    density_exp,
    colour,
    raw,
    sigma,
    rgb,
):
    """The blocks of samples first to first + count; their memory is kept, or that of a group is used again."""
    for group in numba.prange((count + GROUP - 1) // GROUP):
        rays, begin = np.zeros(BLOCK, np.int64), np.int64(group) * GROUP
        for start in range(begin, min(count, begin + GROUP), BLOCK):
            samples = min(BLOCK, count - start)
            if colour:
                rays_of(offsets, first + start, samples, rays)
            base = (start // BLOCK if keep else begin // GROUP) * size
            here, end = first + start, first + start + samples
            forward_block(
                tables, waves, packed, x, here, samples, u, rays, memory, base, relu, beta, density_exp, colour,
                raw[here:end], sigma[here:end], rgb[here:end],
            )  # fmt: skip


@jit
def _backward(
    tables, size, packed, memory, offsets, first, count, relu, beta, density_exp,
    raw, sigma, rgb, g_sigma, g_rgb, sums, du, carried, begun,
):  # fmt: skip
    """sums[group], du (R, c) and, for blocks whose first ray began before them (``begun``), carried[block]."""
    width = 0
    for slot in range(tables.slots.shape[0]):
        width = max(width, tables.slots[slot, STRIDE])
    for group in numba.prange((count + GROUP - 1) // GROUP):
        rays, g = np.zeros(BLOCK, np.int64), np.empty((BLOCK, 4), np.float32)
        deltas = np.empty(2 * BLOCK * width, np.float32)
        total = sums[group]
        total[:] = 0
        begin = np.int64(group) * GROUP
        for start in range(begin, min(count, begin + GROUP), BLOCK):
            samples, block = min(BLOCK, count - start), start // BLOCK
            rays_of(offsets, first + start, samples, rays)
            carries = offsets[rays[0]] < first + start
            begun[block] = rays[0] if carries else -1
            carried[block] = 0
            here, end = first + start, first + start + samples
            backward_block(
                tables, packed, memory, block * size, samples, carries, rays, relu, beta, density_exp,
                raw[here:end], sigma[here:end], rgb[here:end], g_sigma[here:end], g_rgb[here:end],
                g, total, deltas, du, carried[block],
            )  # fmt: skip


@jit
def _add_up(sums, total, carried, begun, du):
    """total += sums[0] + sums[1] + ..., in that order for every column; and the carried parts of rays to ``du``."""
    columns = total.shape[0]
    for part in numba.prange((columns + 1023) // 1024):
        first = np.int64(part) * 1024
        for group in range(sums.shape[0]):
            for j in range(first, min(columns, first + 1024)):
                total[j] += sums[group, j]
    for block in range(carried.shape[0]):
        if begun[block] >= 0:
            for j in range(carried.shape[1]):
                du[begun[block], j] += carried[block, j]


def _chunks(count: int, layout: Layout, scale: int = 1) -> list[tuple[int, int]]:
    """(first, samples) of pieces of CHUNK_BYTES or of one group a thread; every piece but the last is whole groups."""
    share = GROUP * numba.get_num_threads()
    size = max(1, scale * CHUNK_BYTES * BLOCK // (4 * layout.size * share)) * share
    return [(first, min(size, count - first)) for first in range(0, count, size)]


def _blocks(count: int, size: int) -> int:
    return -(-count // size)


def _pack(weights: FieldWeights, layout: Layout) -> np.ndarray:
    flat = torch.cat([*(t.detach().reshape(-1) for t in weights.flat()), torch.zeros(1)])
    return flat.take(layout.packed).numpy()


def _options(spec: FieldSpec) -> tuple[bool, np.float32, bool]:
    return spec.activation == "relu", np.float32(spec.beta), spec.density_activation == "exp"


def _evaluate(
    x: Tensor, offsets: np.ndarray, u: np.ndarray, packed: np.ndarray, layout: Layout, spec: FieldSpec, keep: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]:
    """raw (S,), sigma (S,), rgb (S, 3) and the memory of each chunk; without ``u`` no colours."""
    count, colour = x.shape[0], len(u) > 0
    raw, sigma = np.empty(count, np.float32), np.empty(count, np.float32)
    rgb = np.empty((count, 3), np.float32)
    position_waves, kept = waves(spec.omega0, spec.octaves, spec.append_input), []
    for first, samples in _chunks(count, layout, 1 if keep else 8):
        memory = np.empty(_blocks(samples, BLOCK if keep else GROUP) * layout.size, np.float32)
        _forward(
            layout.tables, layout.size, position_waves, packed, x.numpy(), offsets, first, samples, u, keep, memory,
            *_options(spec), colour, raw, sigma, rgb,
        )  # fmt: skip
        if keep:
            kept.append(memory)
    return raw, sigma, rgb, kept


def harmonic_density(x: Tensor, weights: FieldWeights, spec: FieldSpec) -> Tensor:
    """sigma(x) without a graph, (S,3) -> (S,)."""
    if spec.octaves > MOST_OCTAVES:
        return reference.harmonic_density(x, weights, spec)
    layout, nothing = layout_of(weights, spec), np.empty((0, 1), np.float32)
    sigma = _evaluate(x.detach(), np.empty(0, np.int64), nothing, _pack(weights, layout), layout, spec, False)[1]
    return torch.from_numpy(sigma)


class _HarmonicField(torch.autograd.Function):
    """Gradients to the weights only: other requests go to the reference. ``keep``: a backward may follow."""

    @staticmethod
    def forward(ctx, x, offsets, directions, spec, keep, *tensors):
        weights = FieldWeights.unflatten(tensors)
        layout = layout_of(weights, spec)
        packed, offsets = _pack(weights, layout), offsets.numpy()
        rows = _blocks(len(directions), BLOCK) * BLOCK
        e = np.empty((rows, padded(spec.direction_size + 1)), np.float32)
        u = np.empty((rows, padded(weights.feature[0].shape[0])), np.float32)
        direction_waves = waves(spec.omega0, spec.direction_octaves, spec.append_input)
        _rays_forward(layout.tables, direction_waves, packed, directions.contiguous().numpy(), e, u)
        raw, sigma, rgb, kept = _evaluate(x, offsets, u, packed, layout, spec, keep)
        ctx.inputs = (offsets, spec, weights, layout, packed, e)
        # As arrays: an output kept as it is would hold its own graph node, and the node the output, until the collector
        # runs.
        ctx.found = (raw, sigma, rgb, kept)
        return torch.from_numpy(sigma), torch.from_numpy(rgb)

    @staticmethod
    def backward(ctx, g_sigma, g_rgb):
        offsets, spec, weights, layout, packed, e = ctx.inputs
        raw, sigma, rgb, kept = ctx.found
        count, columns = len(raw), padded(weights.feature[0].shape[0])
        g_sigma, g_rgb = g_sigma.contiguous().numpy(), g_rgb.contiguous().numpy()
        total, du = np.zeros(layout.sums, np.float32), np.zeros((len(offsets) - 1, columns), np.float32)
        for memory, (first, samples) in zip(kept, _chunks(count, layout), strict=True):
            sums = np.empty((_blocks(samples, GROUP), layout.sums), np.float32)
            carried = np.empty((_blocks(samples, BLOCK), columns), np.float32)
            begun = np.empty(len(carried), np.int64)
            _backward(
                layout.tables, layout.size, packed, memory, offsets, first, samples, *_options(spec),
                raw, sigma, rgb, g_sigma, g_rgb, sums, du, carried, begun,
            )  # fmt: skip
            _add_up(sums, total, carried, begun, du)
        _rays_backward(layout.tables, e, du, len(du), total)
        flat = torch.from_numpy(total).take(layout.gradients)
        sizes = [t.numel() for t in weights.flat()]
        grads = [g.view(t.shape) for g, t in zip(flat.split(sizes), weights.flat(), strict=True)]
        return None, None, None, None, None, *grads


def harmonic_field(
    x: Tensor, offsets: Tensor, directions: Tensor, weights: FieldWeights, spec: FieldSpec
) -> tuple[Tensor, Tensor]:
    """sigma (S,) and c (S,3) of packed samples; gradients to all weights."""
    if max(spec.octaves, spec.direction_octaves) > MOST_OCTAVES:
        ray_index = torch.repeat_interleave(offsets[1:] - offsets[:-1], output_size=x.shape[0])
        return reference.harmonic_field(x, ray_index, directions, weights, spec)
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in weights.flat())
    return _HarmonicField.apply(x, offsets, directions, spec, keep, *weights.flat())
