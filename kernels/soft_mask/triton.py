"""Triton: a program for each tile of pixels walks the faces that reach into it, in the order of their numbers.

Forward keeps a few totals for each pixel; backward walks the same lists again and recomputes the rest, one row for each
tile and face, which ``segments`` then adds up by face and by vertex, a piece of the lists (``triton_lists``) after the
other. No atomics, no lists of fragments. Geometry and depth are float64, exponentials of what is left of them float32
(DIB-R's: float64). Here is SoftRas' picture; DIB-R's mask: ``triton_dibr.py``.

Memory on the way besides the lists, with C colors, at most ``MOST_CHANNELS``: backward, 72 + 12 C bytes a pair for its
row and some 35 while rows are sorted by face, 2.7 GB in a full piece; some 160 + 12 C a face and view, the sums of all
pieces and of one.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..rasterize.triton_tiles import TILE
from ..segments import segment_sum
from . import FLAT, MIN_AREA
from .triton_dibr import dibr_backward, dibr_forward
from .triton_geometry import barycentrics, clip, nearest_edge, shares, tile_pixels
from .triton_lists import BACKWARD_WARPS, FORWARD_WARPS, SIZES, by_face, over_pieces

MOST_CHANNELS = 4  # of colors in one launch: 16 would not fit into registers
_FLAT = tl.constexpr(FLAT)
_MIN_AREA = tl.constexpr(MIN_AREA)


@triton.jit(do_not_specialize=[*SIZES, "own"])
def soft_forward_kernel(
    corners_ptr, values_ptr, background_ptr, entries_ptr, offsets_ptr, settings_ptr,
    picture_ptr, missed_ptr, highest_ptr, total_ptr,
    first_view, faces, height, width, top, left, rows, columns, own,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Besides the picture: the product of the faces' 1 - D, the highest z, the sum of D exp((z - highest) / gamma)."""
    pixel, exists, n, x, y = tile_pixels(first_view, height, width, top, left, rows, columns, TILE)
    corners_ptr += n * faces * 9
    sigma, gamma, eps = tl.load(settings_ptr), tl.load(settings_ptr + 1), tl.load(settings_ptr + 2)
    near, far, cutoff = tl.load(settings_ptr + 3), tl.load(settings_ptr + 4), tl.load(settings_ptr + 5)
    begin = tl.load(offsets_ptr + tl.program_id(0)).to(tl.int32)
    end = tl.load(offsets_ptr + tl.program_id(0) + 1).to(tl.int32)
    missed = tl.full((TILE * TILE,), 1.0, tl.float32)
    if CHANNELS > 0:
        channel = tl.arange(0, BLOCK)
        highest = tl.zeros((TILE * TILE,), tl.float64) + eps
        total = tl.full((TILE * TILE,), 1.0, tl.float32)
        color = tl.zeros((TILE * TILE, BLOCK), tl.float32)
        color += tl.load(background_ptr + channel, channel < CHANNELS, other=0.0)[None, :]
        values_ptr += n * own * faces * (3 * CHANNELS)
    for k in range(begin, end):
        entry = tl.load(entries_ptr + k).to(tl.int64)
        corner = corners_ptr + 9 * entry
        x0, y0, x1, y1 = tl.load(corner), tl.load(corner + 1), tl.load(corner + 3), tl.load(corner + 4)
        x2, y2 = tl.load(corner + 6), tl.load(corner + 7)
        squared, _, _, _, _, _ = nearest_edge(x, y, x0, y0, x1, y1, x2, y2)
        w0, w1, w2, inside, area, _ = barycentrics(x, y, x0, y0, x1, y1, x2, y2)
        counts = inside | (squared < cutoff)
        share, rest = shares(squared, inside, sigma)
        missed = tl.where(counts, missed * rest, missed)
        if CHANNELS > 0:
            b0, b1, b2, _ = clip(w0, w1, w2)
            inverse = b0 / tl.load(corner + 2) + b1 / tl.load(corner + 5) + b2 / tl.load(corner + 8)
            depth = 1 / tl.where(area < _FLAT, -1.0, inverse)  # nearer than ``near``: no color
            counts = counts & (depth >= near) & (depth <= far)
            z = (far - depth) / (far - near)
            peak = tl.where(counts, tl.maximum(z, highest), highest)
            fade = tl.exp(((highest - peak) / gamma).to(tl.float32))
            weight = tl.where(counts, share * tl.exp((tl.where(counts, z - peak, 0.0) / gamma).to(tl.float32)), 0.0)
            highest = peak
            total = total * fade + weight
            value = values_ptr + entry * (3 * CHANNELS) + channel
            v0 = tl.load(value, channel < CHANNELS, other=0.0)
            v1 = tl.load(value + CHANNELS, channel < CHANNELS, other=0.0)
            v2 = tl.load(value + 2 * CHANNELS, channel < CHANNELS, other=0.0)
            c0, c1, c2 = (weight * b0).to(tl.float32), (weight * b1).to(tl.float32), (weight * b2).to(tl.float32)
            seen = c0[:, None] * v0[None, :] + c1[:, None] * v1[None, :] + c2[:, None] * v2[None, :]
            color = color * fade[:, None] + seen
    tl.store(missed_ptr + pixel, missed, exists)
    tl.store(picture_ptr + pixel * (CHANNELS + 1) + CHANNELS, 1 - missed, exists)
    if CHANNELS > 0:
        tl.store(highest_ptr + pixel, highest, exists)
        tl.store(total_ptr + pixel, total, exists)
        place = pixel[:, None] * (CHANNELS + 1) + channel[None, :]
        tl.store(picture_ptr + place, color / total[:, None], exists[:, None] & (channel < CHANNELS)[None, :])


@triton.jit(do_not_specialize=[*SIZES, "own"])
def soft_backward_kernel(
    corners_ptr, values_ptr, entries_ptr, offsets_ptr, settings_ptr,
    picture_ptr, missed_ptr, highest_ptr, total_ptr, gradient_ptr, parts_ptr, value_parts_ptr,
    first_view, faces, height, width, top, left, rows, columns, own,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr, SLOPES: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Writes the tile's sums for each face of its list: corners (entries, 9), colors (entries, 3 C)."""
    pixel, exists, n, x, y = tile_pixels(first_view, height, width, top, left, rows, columns, TILE)
    corners_ptr += n * faces * 9
    sigma, gamma = tl.load(settings_ptr), tl.load(settings_ptr + 1)
    near, far, cutoff = tl.load(settings_ptr + 3), tl.load(settings_ptr + 4), tl.load(settings_ptr + 5)
    begin = tl.load(offsets_ptr + tl.program_id(0)).to(tl.int32)
    end = tl.load(offsets_ptr + tl.program_id(0) + 1).to(tl.int32)
    by_alpha = tl.load(gradient_ptr + pixel * (CHANNELS + 1) + CHANNELS, exists, other=0.0)
    by_alpha = by_alpha * tl.load(missed_ptr + pixel, exists, other=0.0)
    if CHANNELS > 0:
        channel = tl.arange(0, BLOCK)
        real = channel < CHANNELS
        place = pixel[:, None] * (CHANNELS + 1) + channel[None, :]
        gradient = tl.load(gradient_ptr + place, exists[:, None] & real[None, :], other=0.0)
        color = tl.load(picture_ptr + place, exists[:, None] & real[None, :], other=0.0)
        by_color = tl.sum(gradient * color, 1)
        highest = tl.load(highest_ptr + pixel, exists, other=0.0)
        inverse_total = 1 / tl.load(total_ptr + pixel, exists, other=1.0)
        values_ptr += n * own * faces * (3 * CHANNELS)
    for k in range(begin, end):
        entry = tl.load(entries_ptr + k).to(tl.int64)
        corner = corners_ptr + 9 * entry
        x0, y0, x1, y1 = tl.load(corner), tl.load(corner + 1), tl.load(corner + 3), tl.load(corner + 4)
        x2, y2 = tl.load(corner + 6), tl.load(corner + 7)
        part = parts_ptr + tl.cast(k, tl.int64) * 9
        squared, dx, dy, s0, s1, s2 = nearest_edge(x, y, x0, y0, x1, y1, x2, y2)
        w0, w1, w2, inside, area, scale = barycentrics(x, y, x0, y0, x1, y1, x2, y2)
        counts = exists & (inside | (squared < cutoff))
        share, rest = shares(squared, inside, sigma)
        by_signed = by_alpha * share
        by_x0, by_y0, by_x1, by_y1 = tl.zeros_like(x), tl.zeros_like(x), tl.zeros_like(x), tl.zeros_like(x)
        by_x2, by_y2 = tl.zeros_like(x), tl.zeros_like(x)
        if CHANNELS > 0:
            z0, z1, z2 = tl.load(corner + 2), tl.load(corner + 5), tl.load(corner + 8)
            b0, b1, b2, clipped = clip(w0, w1, w2)
            inverse = b0 / z0 + b1 / z1 + b2 / z2
            depth = 1 / tl.where(area < _FLAT, -1.0, inverse)  # nearer than ``near``: no color
            colored = counts & (depth >= near) & (depth <= far)
            z = tl.where(colored, (far - depth) / (far - near) - highest, 0.0)
            weight = tl.where(colored, share * tl.exp((z / gamma).to(tl.float32)) * inverse_total, 0.0)
            value = values_ptr + entry * (3 * CHANNELS) + channel
            v0 = tl.load(value, real, other=0.0)
            v1 = tl.load(value + CHANNELS, real, other=0.0)
            v2 = tl.load(value + 2 * CHANNELS, real, other=0.0)
            g0, g1 = tl.sum(gradient * v0[None, :], 1), tl.sum(gradient * v1[None, :], 1)
            g2 = tl.sum(gradient * v2[None, :], 1)
            value_part = value_parts_ptr + tl.cast(k, tl.int64) * (3 * CHANNELS) + channel
            tl.store(value_part, tl.sum((weight * b0).to(tl.float32)[:, None] * gradient, 0), real)
            tl.store(value_part + CHANNELS, tl.sum((weight * b1).to(tl.float32)[:, None] * gradient, 0), real)
            tl.store(value_part + 2 * CHANNELS, tl.sum((weight * b2).to(tl.float32)[:, None] * gradient, 0), real)
            gain = weight * (b0 * g0 + b1 * g1 + b2 * g2 - by_color)
            by_signed += (gain * rest).to(tl.float32)
            by_inverse = gain / (gamma * (far - near)) * depth * depth  # of one over the depth
            tl.store(part + 2, -tl.sum(by_inverse * b0, 0) / (z0 * z0))
            tl.store(part + 5, -tl.sum(by_inverse * b1, 0) / (z1 * z1))
            tl.store(part + 8, -tl.sum(by_inverse * b2, 0) / (z2 * z2))
            if SLOPES:
                bounded = area * (height * width) > 4 * _MIN_AREA
                h0, h1, h2 = weight * g0 + by_inverse / z0, weight * g1 + by_inverse / z1, weight * g2 + by_inverse / z2
                mean = h0 * b0 + h1 * b1 + h2 * b2
                factor = tl.where(bounded, scale, 0.0) / clipped
                h0 = tl.where((w0 > 0) & (w0 < 1), (h0 - mean) * factor, 0.0)
                h1 = tl.where((w1 > 0) & (w1 < 1), (h1 - mean) * factor, 0.0)
                h2 = tl.where((w2 > 0) & (w2 < 1), (h2 - mean) * factor, 0.0)
                by_x = h0 * (y2 - y1) + h1 * (y0 - y2) + h2 * (y1 - y0)
                by_y = h0 * (x1 - x2) + h1 * (x2 - x0) + h2 * (x0 - x1)
                by_x0, by_y0, by_x1, by_y1 = by_x * w0, by_y * w0, by_x * w1, by_y * w1
                by_x2, by_y2 = by_x * w2, by_y * w2
        by_step = tl.where(counts, 2 * by_signed / tl.where(inside, sigma, -sigma), 0.0)
        tl.store(part, tl.sum(by_x0 + by_step * dx * s0, 0))
        tl.store(part + 1, tl.sum(by_y0 + by_step * dy * s0, 0))
        tl.store(part + 3, tl.sum(by_x1 + by_step * dx * s1, 0))
        tl.store(part + 4, tl.sum(by_y1 + by_step * dy * s1, 0))
        tl.store(part + 6, tl.sum(by_x2 + by_step * dx * s2, 0))
        tl.store(part + 7, tl.sum(by_y2 + by_step * dy * s2, 0))


def soft_forward(
    corners, boxes, values, height, width, background, sigma, gamma, eps, near, far, cutoff, through_barycentrics
):
    """The picture (N,H,W,C+1) and what ``soft_backward`` needs: the picture, the pixels' totals, the lists."""
    (views, count), channels, own = boxes.shape[:2], values.shape[-1], int(values.shape[0] > 1)
    size = (views, height, width)
    picture, missed, total = (values.new_empty(*size, *end) for end in ((channels + 1,), (), ()))
    highest = corners.new_empty(size)
    corners = corners.contiguous()
    settings = torch.tensor([sigma, gamma, eps, near, far, cutoff], dtype=torch.float64, device=corners.device)

    def draw(region, *lists):
        soft_forward_kernel[(region.tiles,)](
            corners, values, background, *lists, settings, picture, missed, highest, total,
            region.views[0], count, height, width, *region.place, own,
            CHANNELS=channels, BLOCK=triton.next_power_of_2(max(channels, 1)), TILE=TILE, num_warps=FORWARD_WARPS,
        )  # fmt: skip

    return picture, picture, missed, highest, total, *over_pieces(boxes, height, width, draw)


def soft_backward(
    corners, boxes, values, picture, missed, highest, total, entries, offsets, gradient,
    sigma, gamma, eps, near, far, cutoff, through_barycentrics,
):  # fmt: skip
    """Gradients of the corners (N,F,3,3), in normalized device coordinates, and of ``values``."""
    count, (height, width) = boxes.shape[1], gradient.shape[1:3]
    channels, own = values.shape[-1], int(values.shape[0] > 1)
    corners = corners.contiguous()
    by_corners, by_values = torch.zeros_like(corners), torch.zeros_like(values)
    settings = torch.tensor([sigma, gamma, eps, near, far, cutoff], dtype=torch.float64, device=corners.device)

    def draw(region, *lists):
        pairs = lists[0].shape[0]
        parts, value_parts = corners.new_zeros(pairs, 3, 3), values.new_zeros(pairs, 3, channels)
        soft_backward_kernel[(region.tiles,)](
            corners, values, *lists, settings, picture, missed, highest, total, gradient, parts, value_parts,
            region.views[0], count, height, width, *region.place, own,
            CHANNELS=channels, BLOCK=triton.next_power_of_2(max(channels, 1)), SLOPES=through_barycentrics, TILE=TILE,
            num_warps=BACKWARD_WARPS,
        )  # fmt: skip
        segments, size, views = by_face(region, count, *lists), (region.sizes[0], count, 3), slice(*region.views)
        by_corners[views] += segments.sum(parts).view(*size, 3)
        sums = segments.sum(value_parts).view(*size, channels)
        by_values[views if own else slice(1)] += sums if own else sums.sum(0, keepdim=True)

    over_pieces(boxes, height, width, draw, (entries, offsets))
    return by_corners, by_values


def scatter(values: Tensor, faces: Tensor, vertices: int) -> Tensor:
    """Sums (N,V,C) of corners' values (N,F,3,C) at their vertices; faces (1 or N,F,3), padding left out."""
    views, _, _, channels = values.shape
    view = torch.arange(views, device=faces.device)[:, None, None]
    keys = torch.where((faces >= 0).all(-1, keepdim=True), faces + view * vertices, -1)  # (N, F, 3)
    sums = segment_sum(values.reshape(-1, channels), keys.reshape(-1), views * vertices)
    return sums.view(views, vertices, channels)


__all__ = ["MOST_CHANNELS", "dibr_backward", "dibr_forward", "scatter", "soft_backward", "soft_forward"]
