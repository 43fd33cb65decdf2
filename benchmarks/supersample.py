"""Witnesses of the rasterizer's benchmarks: hard pictures with many samples a pixel, by scanlines.

They share no code with the rasterizer: a face covers the span between its sides on each line of samples. Masks OR the
spans; colors keep, of the faces at a sample, the one with the greatest inverse depth, which is linear on the screen,
as attributes times inverse depth are.
"""

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.kernels.jit import inline, jit


def masks(vertices: Tensor, faces: Tensor, cameras: Cameras, samples: int) -> Tensor:
    """Share of each pixel's ``samples`` x ``samples`` sample points that the mesh covers, (N,H,W) float64."""
    corners, _ = project(vertices, faces, cameras, samples)
    counts = np.empty((len(cameras), cameras.height, cameras.width), np.int64)
    for view, count in zip(corners, counts, strict=True):
        count_samples(view, count, samples)
    return torch.from_numpy(counts).double() / samples**2


def colors(vertices: Tensor, faces: Tensor, corner_colors: Tensor, cameras: Cameras, samples: int) -> Tensor:
    """Mean color over each pixel's sample points, black where nothing is, (N,H,W,C) float64."""
    corners, depth = project(vertices, faces, cameras, samples)
    channels = corner_colors.shape[-1]
    pictures = np.empty((len(cameras), cameras.height, cameras.width, channels))
    values = np.ascontiguousarray(corner_colors.double().numpy())
    for view, far, picture in zip(corners, depth, pictures, strict=True):
        mean_colors(view, 1 / far, values, samples, picture)
    return torch.from_numpy(pictures)


def project(vertices: Tensor, faces: Tensor, cameras: Cameras, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """The faces' corners in sample coordinates (N,F,3,2) and their depths (N,F,3), float64."""
    fine = cameras.resized(cameras.height * samples, cameras.width * samples)
    exact = Cameras(fine.camera_to_world.double(), fine.intrinsics.double(), fine.height, fine.width)
    places, depth = exact.project(vertices)
    return places[:, faces].numpy(), depth[:, faces].numpy()


@inline
def span(corners, y, width):  # type: ignore[no-untyped-def]
    """First and last sample of a line whose centers a triangle covers."""
    left, right = np.inf, -np.inf
    for k in range(3):
        (x0, y0), (x1, y1) = corners[k], corners[(k + 1) % 3]
        if min(y0, y1) <= y <= max(y0, y1) and y0 != y1:
            x = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
            left, right = min(left, x), max(right, x)
    if not left <= right:
        return 0, -1
    return max(math.ceil(left - 0.5), 0), min(math.floor(right - 0.5), width - 1)


@jit
def count_samples(corners, counts, samples):  # type: ignore[no-untyped-def]
    """Spans ORed row by row."""
    height, width = counts.shape
    for row in prange(height):
        mask = np.zeros((samples, width * samples), np.uint8)
        for f in range(corners.shape[0]):
            ys = corners[f, :, 1]
            first = max(math.ceil(ys.min() - 0.5), row * samples)
            last = min(math.floor(ys.max() - 0.5), (row + 1) * samples - 1)
            for line in range(first, last + 1):
                start, stop = span(corners[f], line + 0.5, mask.shape[1])
                if start <= stop:
                    mask[line - row * samples, start : stop + 1] = 1
        for column in range(width):
            counts[row, column] = mask[:, column * samples : (column + 1) * samples].sum()


@inline
def weights(corners, x, y):  # type: ignore[no-untyped-def]
    """Barycentrics of a place on the screen."""
    (x0, y0), (x1, y1), (x2, y2) = corners[0], corners[1], corners[2]
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    b1 = ((x - x0) * (y2 - y0) - (x2 - x0) * (y - y0)) / area
    b2 = ((x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)) / area
    return 1 - b1 - b2, b1, b2


@jit
def mean_colors(corners, inverse, values, samples, picture):  # type: ignore[no-untyped-def]
    """A row of pixels at a time: which face each of its samples sees, then what color that has there."""
    height, width, channels = picture.shape
    for row in prange(height):
        nearest = np.zeros((samples, width * samples))
        shown = np.full((samples, width * samples), -1, np.int32)
        for f in range(corners.shape[0]):
            ys = corners[f, :, 1]
            first = max(math.ceil(ys.min() - 0.5), row * samples)
            last = min(math.floor(ys.max() - 0.5), (row + 1) * samples - 1)
            for line in range(first, last + 1):
                start, stop = span(corners[f], line + 0.5, shown.shape[1])
                b0, b1, b2 = weights(corners[f], start + 0.5, line + 0.5)
                c0, c1, c2 = weights(corners[f], start + 1.5, line + 0.5)
                here = b0 * inverse[f, 0] + b1 * inverse[f, 1] + b2 * inverse[f, 2]
                step = c0 * inverse[f, 0] + c1 * inverse[f, 1] + c2 * inverse[f, 2] - here
                for column in range(start, stop + 1):
                    if here > nearest[line - row * samples, column]:
                        nearest[line - row * samples, column] = here
                        shown[line - row * samples, column] = f
                    here += step
        for column in range(width):
            picture[row, column] = 0
            for sample in range(samples * samples):
                i, j = sample // samples, column * samples + sample % samples
                f = shown[i, j]
                if f < 0:
                    continue
                b0, b1, b2 = weights(corners[f], j + 0.5, row * samples + i + 0.5)
                b0, b1, b2 = b0 * inverse[f, 0], b1 * inverse[f, 1], b2 * inverse[f, 2]
                scale = 1 / ((b0 + b1 + b2) * samples**2)
                for c in range(channels):
                    picture[row, column, c] += scale * (
                        b0 * values[f, 0, c] + b1 * values[f, 1, c] + b2 * values[f, 2, c]
                    )
