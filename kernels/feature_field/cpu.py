"""The feature field on a CPU: rays go through encoding, layers and compositing in groups that stay in the cache.

A thread takes groups of whole rays; what they keep for the backward is their coordinates, their features and what
compositing left. On the way back the layers are computed again. Only the features' gradients leave the cache: a thread
owns levels of the table, or planes, and adds them up sample by sample. The layers' gradients of groups go to PARTS
sums, which are added up in the end. So results do not depend on the number of threads.
"""

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from ..checks import refuse_again
from ..jit import jit
from ..products import LANES, total
from .encoding import encode_backward, levels_of, owned_by, scatter_level
from .front_to_back import render_group
from .groups import backward_group, composite_group, composite_group_backward, forward_group
from .harmonics import harmonics, harmonics_backward
from .layout import COORDINATES, GROUP, TILE, groups_of, pack, padded, places_of, unpack
from .mirrors import mirrors_of
from .rays import OfRays
from .spec import HARMONICS, FeatureWeights, Spec

PARTS = 32  # of the groups at most, each with sums of its own
LEAST = 4  # groups of a part
SHOWN = 2048  # samples of a group where nothing is kept

_NONE, _NONE_RGB = np.empty(0, np.float32), np.empty((0, 3), np.float32)


@jit
def _forward(
    levels, pairs, table, packed, width, size, x, u, mirrors, offsets, rays, bases, columns, keep, kept, color,
    composited, t_start, t_end, by_length, early_stop, raw, sigma, rgb, pixel, opacity, depth, weights, behind, used,
):  # fmt: skip
    for index in numba.prange(len(bases)):
        group = np.int64(index)  # the index of a parallel loop is unsigned
        first_ray, last_ray = rays[group], rays[group + 1]
        forward_group(
            levels, pairs, table, packed, width, size, x, u, mirrors, offsets, first_ray, last_ray, keep, kept,
            bases[group], columns, color, raw, sigma, rgb,
        )  # fmt: skip
        if composited:
            composite_group(
                sigma, rgb, t_start, t_end, offsets, first_ray, last_ray, by_length, early_stop,
                pixel, opacity, depth, weights, behind, used,
            )  # fmt: skip


@jit
def _render(
    levels, pairs, table, packed, width, size, x, u, offsets, rays, t_start, t_end, by_length, early_stop,
    pixel, opacity, depth,
):  # fmt: skip
    for index in numba.prange(len(rays) - 1):
        group = np.int64(index)
        render_group(
            levels, pairs, table, packed, width, size, x, u, offsets, rays[group], rays[group + 1], t_start, t_end,
            by_length, early_stop, pixel, opacity, depth,
        )  # fmt: skip


@jit
def _backward(
    packed, places, width, size, u, mirrors, offsets, rays, bases, columns, kept, color, composited, t_start, t_end,
    by_length, raw, sigma, rgb, weights, behind, used, d_pixel, d_opacity, d_depth, g_sigma, g_rgb, sums, du,
    by_features, by_harmonics,
):  # fmt: skip
    groups, parts = len(bases), len(sums)
    for index in numba.prange(parts):
        part = np.int64(index)
        lanes = np.zeros(places.size + LANES, np.float32)
        for group in range(groups * part // parts, groups * (part + 1) // parts):
            first_ray, last_ray = rays[group], rays[group + 1]
            if composited:
                composite_group_backward(
                    rgb, t_start, t_end, offsets, first_ray, last_ray, by_length, weights, behind, used,
                    d_pixel, d_opacity, d_depth, g_sigma, g_rgb,
                )  # fmt: skip
            backward_group(
                packed, places, width, size, u, mirrors, offsets, first_ray, last_ray, kept, bases[group], columns,
                color, raw, sigma, rgb, g_sigma, g_rgb, lanes, du, by_features, by_harmonics,
            )  # fmt: skip
        numbers = places.bias // LANES
        for n in range(numbers):
            sums[part, n] = total(lanes, n * LANES, LANES)
        sums[part, numbers:] = lanes[places.bias : places.size]


@jit
def _scatter(levels, owned, pairs, table, offsets, rays, bases, columns, kept, by_features, gradient):
    """The table's gradient: a thread owns levels, or planes of levels."""
    features = 2 * pairs
    for index in numba.prange(len(owned.begin) - 1):
        thread = np.int64(index)
        rows, weights = np.empty(8 * TILE, np.int32), np.empty(8 * TILE, np.float32)
        for unit in range(owned.begin[thread], owned.begin[thread + 1]):
            level, planes = owned.units[unit, 0], owned.units[unit, 1]
            first_row, count_of_rows = owned.units[unit, 2], owned.units[unit, 3]
            gradient[features * first_row : features * (first_row + count_of_rows)] = 0
            for group in range(len(bases)):
                samples = offsets[rays[group + 1]] - offsets[rays[group]]
                for first in range(0, samples, TILE):
                    scatter_level(
                        levels, level, planes, pairs, kept, columns, bases[group] + first, min(TILE, samples - first),
                        table, rows, weights, by_features, columns, gradient,
                    )  # fmt: skip


@jit
def _backward_positions(levels, pairs, table, x, offsets, rays, bases, columns, kept, by_features, dx):
    for index in numba.prange(len(bases)):
        group = np.int64(index)
        rows, weights = np.empty(8 * TILE, np.int32), np.empty(8 * TILE, np.float32)
        begin, finish = offsets[rays[group]], offsets[rays[group + 1]]
        for first in range(begin, finish, TILE):
            end, at = min(first + TILE, finish), bases[group] + first - begin
            encode_backward(
                levels, pairs, table, x[first:end], kept, columns, at, rows, weights, by_features, columns,
                dx[first:end],
            )  # fmt: skip


class _Call:
    """One evaluation: its arguments as the kernels take them, its results, and what is kept for the backward."""

    def __init__(
        self, x: Tensor, offsets: Tensor, u: Tensor, mirrors: Tensor, weights: FeatureWeights, spec: Spec,
        color: bool, inputs: bool, interval: tuple[Tensor, Tensor, bool, float] | None,
    ) -> None:  # fmt: skip
        self.x, self.offsets = x.detach().contiguous().numpy(), offsets.contiguous().numpy()
        self.mirrors = mirrors.detach().contiguous().numpy()
        self.spec, self.outputs, self.inputs = spec, len(weights.hidden[1]), inputs
        self.color, self.composited = color, interval is not None
        self.levels, self.pairs = levels_of(spec), spec.features // 2
        self.width, self.size = padded(self.outputs), padded(spec.size)
        self.table, self.packed = weights.table.detach().contiguous().view(-1).numpy(), pack(weights, spec)
        self.mirrored = mirrors_of.py_func(self.mirrors)
        wider = self.width - u.shape[1]
        self.u = (functional.pad(u.detach(), (0, wider)) if wider else u.detach()).contiguous().numpy()
        count, rays, empty = len(x), len(offsets) - 1, np.empty
        self.raw, self.sigma = empty(count, np.float32), empty(count, np.float32)
        self.rgb = empty((3, count if color else 0), np.float32)
        self.t_start, self.t_end, self.by_length, self.early_stop = _NONE, _NONE, True, 0.0
        if interval is None:
            count = rays = 0  # of what compositing has
        else:
            t_start, t_end, self.by_length, self.early_stop = interval
            self.t_start, self.t_end = t_start.contiguous().numpy(), t_end.contiguous().numpy()
        self.pixel, self.weights = empty((rays, 3), np.float32), empty(count, np.float32)
        self.opacity, self.depth = empty(rays, np.float32), empty(rays, np.float32)
        self.behind, self.used = empty(rays, np.float32), empty(rays, np.int32)
        self.groups = groups_of(self.offsets)
        self.kept = _NONE

    def forward(self, keep: bool) -> None:
        """Fill the results; keep for ``backward`` what it needs, or, of what is composited, the pixels alone."""
        g = self.groups
        if self.composited and not keep and self.mirrored == 0:
            _render(
                self.levels, self.pairs, self.table, self.packed, self.width, self.size, self.x, self.u, self.offsets,
                groups_of(self.offsets, SHOWN).rays, self.t_start, self.t_end, self.by_length, self.early_stop,
                self.pixel, self.opacity, self.depth,
            )  # fmt: skip
            return
        if keep:
            self.kept = torch.empty((COORDINATES + self.size) * g.columns).numpy()  # aligned, which NumPy's is not
        _forward(
            self.levels, self.pairs, self.table, self.packed, self.width, self.size, self.x, self.u, self.mirrors,
            self.offsets, g.rays, g.base, g.columns, keep, self.kept, self.color, self.composited, self.t_start,
            self.t_end, self.by_length, self.early_stop, self.raw, self.sigma, self.rgb, self.pixel, self.opacity,
            self.depth, self.weights, self.behind, self.used,
        )  # fmt: skip

    def backward(
        self, incoming: tuple[Tensor, ...], to_x: bool, to_mirrors: bool, to_table: bool
    ) -> tuple[Tensor | None, Tensor, Tensor, list[Tensor | None]]:
        """Gradients by x, u and the harmonics of mirrors, and by table, W_1, b_1, w_d, b_d, W_c, W_m, W_o, b_o."""
        g, count = self.groups, len(self.x)
        given = [None if t is None else t.contiguous().numpy() for t in incoming]
        pixels = [_NONE_RGB, _NONE, _NONE]
        if self.composited:
            g_sigma, g_rgb = np.empty(count, np.float32), np.empty((3, count), np.float32)
            pixels = [none if found is None else found for none, found in zip(pixels, given, strict=True)]
        else:
            g_sigma, g_rgb = given[0], np.ascontiguousarray(given[1].T)
        places = places_of(self.width, self.size, self.mirrored)
        parts = min(PARTS, -(-len(g.base) // LEAST))
        sums = np.zeros((parts, places.bias // LANES + places.size - places.bias), np.float32)
        du = np.zeros(self.u.shape, np.float32)
        by_features = torch.empty(self.size * g.columns).numpy()
        by_harmonics = np.empty((len(self.mirrors) if to_mirrors else 0, HARMONICS), np.float32)
        _backward(
            self.packed, places, self.width, self.size, self.u, self.mirrors, self.offsets, g.rays, g.base, g.columns,
            self.kept, self.color, self.composited, self.t_start, self.t_end, self.by_length, self.raw, self.sigma,
            self.rgb, self.weights, self.behind, self.used, *pixels, g_sigma, g_rgb, sums, du, by_features,
            by_harmonics,
        )  # fmt: skip
        columns = self.offsets, g.rays, g.base, g.columns, self.kept, by_features
        table = dx = None
        if to_table:
            table = torch.empty(self.table.shape).numpy()
            owned = owned_by(self.spec, numba.get_num_threads())
            _scatter(self.levels, owned, self.pairs, self.table, *columns, table)
        if to_x:
            dx = np.empty(self.x.shape, np.float32)
            _backward_positions(self.levels, self.pairs, self.table, self.x, *columns, dx)
        layers: list[Tensor | None] = [*unpack(sums, places, self.outputs, self.spec)]
        if not self.color:
            layers[4:] = [None] * 4
        of_table = None if table is None else torch.from_numpy(table).view(-1, self.spec.features)
        of_x = None if dx is None else torch.from_numpy(dx)
        of_u, of_harmonics = torch.from_numpy(du[:, : self.outputs]), torch.from_numpy(by_harmonics)
        return of_x, of_u, of_harmonics, [of_table, *layers]


class _FeatureField(torch.autograd.Function):
    """(call, x, u, mirrors, table and layers) -> sigma; sigma and rgb; or color, opacity and depth, as it was asked."""

    @staticmethod
    def forward(ctx, call, x, u, mirrors, *tensors):
        ctx.set_materialize_grads(call.composited is False)
        ctx.call = call
        # The call has arrays: an output kept as it is would hold its own graph node.
        arrays = (call.pixel, call.opacity, call.depth) if call.composited else (call.sigma, call.rgb.T)
        results = tuple(torch.from_numpy(array) for array in arrays)
        ctx.save_for_backward(mirrors, *results)
        return results

    @staticmethod
    def backward(ctx, *incoming):
        refuse_again("feature field", ctx.call.inputs)
        return _FeatureField._backward(ctx, *incoming)

    @staticmethod
    @once_differentiable
    def _backward(ctx, *incoming):
        mirrors, *_ = ctx.saved_tensors  # raises where one has been written into since, or where the graph is gone
        _, to_x, to_u, to_mirrors, to_table, *_ = ctx.needs_input_grad
        dx, du, by_harmonics, layers = ctx.call.backward(incoming, to_x, to_mirrors, to_table)
        d_mirrors = harmonics_backward(mirrors, by_harmonics) if to_mirrors else None
        return None, dx, du if to_u else None, d_mirrors, *layers


def _evaluate(x, offsets, directions, mirrors, weights, spec, color, interval=None):
    u, (of_rays, of_mirrors) = x.detach()[:0], weights.directions()
    if color:
        u = OfRays.apply(harmonics(directions), of_rays, weights.feature[1])
    if mirrors is None:
        mirrors = x.detach()[:0, : 3 if of_mirrors.shape[1] else 0]
    layers = (weights.table, *weights.hidden, *weights.density, weights.feature[0], of_mirrors, *weights.color)
    inputs = any(t.requires_grad for t in (x, directions, mirrors))
    call = _Call(x, offsets, u, mirrors, weights, spec, color, inputs, interval)
    call.forward(keep=torch.is_grad_enabled() and any(t.requires_grad for t in (x, u, mirrors, *layers)))
    return _FeatureField.apply(call, x, u, mirrors, *layers)


def feature_density(x: Tensor, weights: FeatureWeights, spec: Spec) -> Tensor:
    """sigma(x), (S,3) -> (S,)."""
    offsets = torch.arange(0, len(x) + GROUP, GROUP).clamp_(max=len(x))  # a group's samples as one ray
    return _evaluate(x, offsets, x.detach()[:0], None, weights, spec, color=False)[0]


def packed_field(
    x: Tensor, offsets: Tensor, directions: Tensor, mirrors: Tensor | None, weights: FeatureWeights, spec: Spec
) -> tuple[Tensor, Tensor]:
    """sigma (S,) and c (S,3) of packed samples."""
    return _evaluate(x, offsets, directions, mirrors, weights, spec, color=True)


def feature_render(x, samples, directions, mirrors, weights, spec, by_length, early_stop):
    """Color (R,3), opacity (R,), depth (R,)."""
    interval = samples.t_start, samples.t_end, by_length, early_stop
    return _evaluate(x, samples.offsets, directions, mirrors, weights, spec, True, interval)
