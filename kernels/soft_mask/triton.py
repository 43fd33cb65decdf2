"""Triton: a program for each tile of pixels walks the faces that reach into it, in the order of their numbers.

Forward keeps a few totals for each pixel; backward walks the same lists again and recomputes the rest, one sum for each
tile and face, which ``segment_sum`` then adds up by face and by vertex. No atomics, no lists of fragments. Geometry and
depth are float64, exponentials of what is left of them float32 (DIB-R's: float64).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..segments import segment_sum
from . import FLAT, MIN_AREA
from .triton_geometry import TILE, barycentrics, clip, frame, in_box, nearest_edge, shares, tile_lists, tile_pixels

FORWARD_WARPS, BACKWARD_WARPS = 4, 8
MOST_CHANNELS = 4  # of colours in one launch: 16 would not fit into registers
_FLAT = tl.constexpr(FLAT)
_MIN_AREA = tl.constexpr(MIN_AREA)


@triton.jit
def dibr_forward_kernel(
    corners_ptr, face_ptr, entries_ptr, offsets_ptr, settings_ptr, mask_ptr, missed_ptr, last_ptr,
    height, width, rows, columns, knum, TILE: tl.constexpr,
):  # fmt: skip
    """Also writes what the faces of a pixel leave (``missed``) and the place of the last one in the tile's list."""
    pixel, exists, _view, x, y = tile_pixels(height, width, rows, columns, TILE)
    sigmainv, boxlen = tl.load(settings_ptr), tl.load(settings_ptr + 1)
    empty = exists & (tl.load(face_ptr + pixel, exists, other=0) < 0)
    begin = tl.load(offsets_ptr + tl.program_id(0))
    count = (tl.load(offsets_ptr + tl.program_id(0) + 1) - begin).to(tl.int32)
    count = tl.where(tl.max(empty.to(tl.int32), 0) > 0, count, 0)
    missed = tl.full((TILE * TILE,), 1.0, tl.float64)
    taken = tl.zeros((TILE * TILE,), tl.int32)
    last = tl.full((TILE * TILE,), -1, tl.int32)
    for k in range(0, count):
        corner = corners_ptr + 9 * tl.load(entries_ptr + begin + k)
        x0, y0, x1, y1 = tl.load(corner), tl.load(corner + 1), tl.load(corner + 3), tl.load(corner + 4)
        x2, y2 = tl.load(corner + 6), tl.load(corner + 7)
        counts = empty & (taken < knum) & in_box(x, y, x0, y0, x1, y1, x2, y2, boxlen)
        squared, _, _, _, _, _ = nearest_edge(x, y, x0, y0, x1, y1, x2, y2)
        missed = tl.where(counts, missed * (1 - tl.exp(-sigmainv * squared)), missed)
        taken += counts.to(tl.int32)
        last = tl.where(counts, k, last)
    tl.store(mask_ptr + pixel, tl.where(empty, 1 - missed, 1.0).to(tl.float32), exists)
    tl.store(missed_ptr + pixel, missed, exists)
    tl.store(last_ptr + pixel, last, exists)


@triton.jit
def dibr_backward_kernel(
    corners_ptr, face_ptr, entries_ptr, offsets_ptr, settings_ptr, missed_ptr, last_ptr, gradient_ptr, parts_ptr,
    height, width, rows, columns, TILE: tl.constexpr,
):  # fmt: skip
    """Writes the sums over the tile's pixels for each face of its list: (entries, 6) x and y of the three corners."""
    pixel, exists, _view, x, y = tile_pixels(height, width, rows, columns, TILE)
    sigmainv, boxlen = tl.load(settings_ptr), tl.load(settings_ptr + 1)
    empty = exists & (tl.load(face_ptr + pixel, exists, other=0) < 0)
    last = tl.where(empty, tl.load(last_ptr + pixel, exists, other=-1), -1)
    missed = tl.load(missed_ptr + pixel, exists, other=0.0)
    gradient = tl.load(gradient_ptr + pixel, exists, other=0.0).to(tl.float64)
    begin = tl.load(offsets_ptr + tl.program_id(0))
    for k in range(0, tl.max(last, 0) + 1):  # the faces after the last one keep the zeros that parts comes with
        corner = corners_ptr + 9 * tl.load(entries_ptr + begin + k)
        x0, y0, x1, y1 = tl.load(corner), tl.load(corner + 1), tl.load(corner + 3), tl.load(corner + 4)
        x2, y2 = tl.load(corner + 6), tl.load(corner + 7)
        counts = (k <= last) & in_box(x, y, x0, y0, x1, y1, x2, y2, boxlen)
        squared, dx, dy, s0, s1, s2 = nearest_edge(x, y, x0, y0, x1, y1, x2, y2)
        here = tl.exp(-sigmainv * squared)
        left = 1 - here
        counts = counts & (left > 0)  # on an edge: the others' factors are multiplied by 0, its own is flat there
        others = missed / tl.where(counts, left, 1.0)
        by_step = tl.where(counts, -2 * sigmainv * gradient * others * here, 0.0)
        part = parts_ptr + 6 * (begin + k)
        tl.store(part, tl.sum(by_step * dx * s0, 0))
        tl.store(part + 1, tl.sum(by_step * dy * s0, 0))
        tl.store(part + 2, tl.sum(by_step * dx * s1, 0))
        tl.store(part + 3, tl.sum(by_step * dy * s1, 0))
        tl.store(part + 4, tl.sum(by_step * dx * s2, 0))
        tl.store(part + 5, tl.sum(by_step * dy * s2, 0))


@triton.jit
def soft_forward_kernel(
    corners_ptr, values_ptr, background_ptr, entries_ptr, offsets_ptr, settings_ptr,
    picture_ptr, missed_ptr, highest_ptr, total_ptr,
    height, width, rows, columns, shared,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Besides the picture: the product of the faces' 1 - D, the highest z, the sum of D exp((z - highest) / gamma)."""
    pixel, exists, n, x, y = tile_pixels(height, width, rows, columns, TILE)
    sigma, gamma, eps = tl.load(settings_ptr), tl.load(settings_ptr + 1), tl.load(settings_ptr + 2)
    near, far, cutoff = tl.load(settings_ptr + 3), tl.load(settings_ptr + 4), tl.load(settings_ptr + 5)
    begin = tl.load(offsets_ptr + tl.program_id(0))
    count = (tl.load(offsets_ptr + tl.program_id(0) + 1) - begin).to(tl.int32)
    missed = tl.full((TILE * TILE,), 1.0, tl.float32)
    if CHANNELS > 0:
        channel = tl.arange(0, BLOCK)
        highest = tl.zeros((TILE * TILE,), tl.float64) + eps
        total = tl.full((TILE * TILE,), 1.0, tl.float32)
        colour = tl.zeros((TILE * TILE, BLOCK), tl.float32)
        colour += tl.load(background_ptr + channel, channel < CHANNELS, other=0.0)[None, :]
        skip = n.to(tl.int64) * shared  # the views' faces share their colours
    for k in range(0, count):
        entry = tl.load(entries_ptr + begin + k)
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
            depth = 1 / tl.where(area < _FLAT, -1.0, inverse)  # nearer than ``near``: no colour
            counts = counts & (depth >= near) & (depth <= far)
            z = (far - depth) / (far - near)
            top = tl.where(counts, tl.maximum(z, highest), highest)
            fade = tl.exp(((highest - top) / gamma).to(tl.float32))
            weight = tl.where(counts, share * tl.exp((tl.where(counts, z - top, 0.0) / gamma).to(tl.float32)), 0.0)
            highest = top
            total = total * fade + weight
            value = values_ptr + (entry - skip) * (3 * CHANNELS) + channel
            v0 = tl.load(value, channel < CHANNELS, other=0.0)
            v1 = tl.load(value + CHANNELS, channel < CHANNELS, other=0.0)
            v2 = tl.load(value + 2 * CHANNELS, channel < CHANNELS, other=0.0)
            c0, c1, c2 = (weight * b0).to(tl.float32), (weight * b1).to(tl.float32), (weight * b2).to(tl.float32)
            seen = c0[:, None] * v0[None, :] + c1[:, None] * v1[None, :] + c2[:, None] * v2[None, :]
            colour = colour * fade[:, None] + seen
    tl.store(missed_ptr + pixel, missed, exists)
    tl.store(picture_ptr + pixel * (CHANNELS + 1) + CHANNELS, 1 - missed, exists)
    if CHANNELS > 0:
        tl.store(highest_ptr + pixel, highest, exists)
        tl.store(total_ptr + pixel, total, exists)
        place = pixel[:, None] * (CHANNELS + 1) + channel[None, :]
        tl.store(picture_ptr + place, colour / total[:, None], exists[:, None] & (channel < CHANNELS)[None, :])


@triton.jit
def soft_backward_kernel(
    corners_ptr, values_ptr, entries_ptr, offsets_ptr, settings_ptr,
    picture_ptr, missed_ptr, highest_ptr, total_ptr, gradient_ptr, parts_ptr, value_parts_ptr,
    height, width, rows, columns, shared,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr, SLOPES: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Writes the tile's sums for each face of its list: corners (entries, 9), colours (entries, 3 C)."""
    pixel, exists, n, x, y = tile_pixels(height, width, rows, columns, TILE)
    sigma, gamma = tl.load(settings_ptr), tl.load(settings_ptr + 1)
    near, far, cutoff = tl.load(settings_ptr + 3), tl.load(settings_ptr + 4), tl.load(settings_ptr + 5)
    begin = tl.load(offsets_ptr + tl.program_id(0))
    count = (tl.load(offsets_ptr + tl.program_id(0) + 1) - begin).to(tl.int32)
    by_alpha = tl.load(gradient_ptr + pixel * (CHANNELS + 1) + CHANNELS, exists, other=0.0)
    by_alpha = by_alpha * tl.load(missed_ptr + pixel, exists, other=0.0)
    if CHANNELS > 0:
        channel = tl.arange(0, BLOCK)
        real = channel < CHANNELS
        place = pixel[:, None] * (CHANNELS + 1) + channel[None, :]
        gradient = tl.load(gradient_ptr + place, exists[:, None] & real[None, :], other=0.0)
        colour = tl.load(picture_ptr + place, exists[:, None] & real[None, :], other=0.0)
        by_colour = tl.sum(gradient * colour, 1)
        highest = tl.load(highest_ptr + pixel, exists, other=0.0)
        inverse_total = 1 / tl.load(total_ptr + pixel, exists, other=1.0)
        skip = n.to(tl.int64) * shared  # the views' faces share their colours
    for k in range(0, count):
        entry = tl.load(entries_ptr + begin + k)
        corner = corners_ptr + 9 * entry
        x0, y0, x1, y1 = tl.load(corner), tl.load(corner + 1), tl.load(corner + 3), tl.load(corner + 4)
        x2, y2 = tl.load(corner + 6), tl.load(corner + 7)
        part = parts_ptr + 9 * (begin + k)
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
            depth = 1 / tl.where(area < _FLAT, -1.0, inverse)  # nearer than ``near``: no colour
            coloured = counts & (depth >= near) & (depth <= far)
            z = tl.where(coloured, (far - depth) / (far - near) - highest, 0.0)
            weight = tl.where(coloured, share * tl.exp((z / gamma).to(tl.float32)) * inverse_total, 0.0)
            value = values_ptr + (entry - skip) * (3 * CHANNELS) + channel
            v0 = tl.load(value, real, other=0.0)
            v1 = tl.load(value + CHANNELS, real, other=0.0)
            v2 = tl.load(value + 2 * CHANNELS, real, other=0.0)
            g0, g1 = tl.sum(gradient * v0[None, :], 1), tl.sum(gradient * v1[None, :], 1)
            g2 = tl.sum(gradient * v2[None, :], 1)
            value_part = value_parts_ptr + 3 * CHANNELS * (begin + k) + channel
            tl.store(value_part, tl.sum((weight * b0).to(tl.float32)[:, None] * gradient, 0), real)
            tl.store(value_part + CHANNELS, tl.sum((weight * b1).to(tl.float32)[:, None] * gradient, 0), real)
            tl.store(value_part + 2 * CHANNELS, tl.sum((weight * b2).to(tl.float32)[:, None] * gradient, 0), real)
            gain = weight * (b0 * g0 + b1 * g1 + b2 * g2 - by_colour)
            by_signed += (gain * rest).to(tl.float32)
            by_inverse = gain / (gamma * (far - near)) * depth * depth  # of one over the depth
            tl.store(part + 2, -tl.sum(by_inverse * b0, 0) / (z0 * z0))
            tl.store(part + 5, -tl.sum(by_inverse * b1, 0) / (z1 * z1))
            tl.store(part + 8, -tl.sum(by_inverse * b2, 0) / (z2 * z2))
            if SLOPES:
                bounded = area * height * width > 4 * _MIN_AREA
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


def shared_colours(corners, values):
    """How many faces to go back for each view when looking for their colours."""
    return corners.shape[1] if values.shape[0] == 1 else 0


def dibr_forward(corners, boxes, face, sigmainv, boxlen, knum):
    """The mask (N,H,W) and what ``dibr_backward`` needs: what the faces leave, the last face's place, the lists."""
    height, width = face.shape[1:]
    lists = tile_lists(boxes, height, width)
    tiles, picture = frame(boxes, height, width)
    mask, missed = corners.new_empty(face.shape, dtype=torch.float32), corners.new_empty(face.shape)
    last = torch.empty_like(face)
    settings = torch.tensor([sigmainv, boxlen], dtype=torch.float64, device=corners.device)
    inputs = (corners.contiguous(), face, *lists, settings)
    if tiles:
        with torch.cuda.device_of(corners):
            dibr_forward_kernel[(tiles,)](
                *inputs, mask, missed, last, *picture, knum, TILE=TILE, num_warps=FORWARD_WARPS
            )
    return mask, missed, last, *lists


def dibr_backward(corners, boxes, face, missed, last, entries, offsets, gradient, sigmainv, boxlen, knum):
    """Gradient (N,F,3,3) of the corners in normalised device coordinates."""
    tiles, picture = frame(boxes, *face.shape[1:])
    parts = corners.new_zeros(entries.shape[0], 3, 2)
    settings = torch.tensor([sigmainv, boxlen], dtype=torch.float64, device=corners.device)
    inputs = (corners.contiguous(), face, entries, offsets, settings, missed, last, gradient)
    if tiles:
        with torch.cuda.device_of(corners):
            dibr_backward_kernel[(tiles,)](*inputs, parts, *picture, TILE=TILE, num_warps=BACKWARD_WARPS)
    by_corners = segment_sum(parts, entries, corners[..., 0, 0].numel()).view(*corners.shape[:3], 2)
    return torch.nn.functional.pad(by_corners, (0, 1))


def soft_forward(
    corners, boxes, values, height, width, background, sigma, gamma, eps, near, far, cutoff, through_barycentrics
):
    """The picture (N,H,W,C+1) and what ``soft_backward`` needs: the picture, the pixels' totals, the lists."""
    lists = tile_lists(boxes, height, width)
    tiles, shape = frame(boxes, height, width)
    channels, size = values.shape[-1], (corners.shape[0], height, width)
    picture, missed, total = (values.new_empty(*size, *end) for end in ((channels + 1,), (), ()))
    highest = corners.new_empty(size)
    settings = torch.tensor([sigma, gamma, eps, near, far, cutoff], dtype=torch.float64, device=corners.device)
    inputs = (corners.contiguous(), values, background, *lists, settings)
    if tiles:
        with torch.cuda.device_of(corners):
            soft_forward_kernel[(tiles,)](
                *inputs, picture, missed, highest, total, *shape, shared_colours(corners, values),
                CHANNELS=channels, BLOCK=triton.next_power_of_2(max(channels, 1)), TILE=TILE, num_warps=FORWARD_WARPS,
            )  # fmt: skip
    return picture, picture, missed, highest, total, *lists


def soft_backward(
    corners, boxes, values, picture, missed, highest, total, entries, offsets, gradient,
    sigma, gamma, eps, near, far, cutoff, through_barycentrics,
):  # fmt: skip
    """Gradients of the corners (N,F,3,3), in normalised device coordinates, and of ``values``."""
    tiles, shape = frame(boxes, *gradient.shape[1:3])
    views, count = corners.shape[:2]
    channels = values.shape[-1]
    parts = corners.new_zeros(entries.shape[0], 3, 3)
    value_parts = values.new_zeros(entries.shape[0], 3, channels)
    settings = torch.tensor([sigma, gamma, eps, near, far, cutoff], dtype=torch.float64, device=corners.device)
    inputs = (corners.contiguous(), values, entries, offsets, settings, picture, missed, highest, total, gradient)
    if tiles:
        with torch.cuda.device_of(corners):
            soft_backward_kernel[(tiles,)](
                *inputs, parts, value_parts, *shape, shared_colours(corners, values), CHANNELS=channels,
                BLOCK=triton.next_power_of_2(max(channels, 1)), SLOPES=through_barycentrics, TILE=TILE,
                num_warps=BACKWARD_WARPS,
            )  # fmt: skip
    by_corners = segment_sum(parts, entries, views * count).view(corners.shape)
    by_values = segment_sum(value_parts, entries, views * count).view(views, count, 3, channels)
    return by_corners, by_values if values.shape[0] == by_values.shape[0] else by_values.sum(0, keepdim=True)


def scatter(values: Tensor, faces: Tensor, vertices: int) -> Tensor:
    """Sums (N,V,C) of corners' values (N,F,3,C) at their vertices; faces (1 or N,F,3), padding left out."""
    views, _, _, channels = values.shape
    view = torch.arange(views, device=faces.device)[:, None, None]
    keys = torch.where((faces >= 0).all(-1, keepdim=True), faces + view * vertices, -1)  # (N, F, 3)
    sums = segment_sum(values.reshape(-1, channels), keys.reshape(-1), views * vertices)
    return sums.view(views, vertices, channels)
