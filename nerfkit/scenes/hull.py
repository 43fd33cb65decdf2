"""The visual hull: the cells of a grid that every mask allows (Laurentini 1994), never fewer than the object needs."""

from collections.abc import Sequence

import numba
import numpy as np
import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.kernels.jit import jit

# Finer masks cost memory (4 bytes a pixel and view) and tell a grid of a few hundred cells nothing more.
LONGEST_MASK_SIDE = 512


def carve(
    cameras: Cameras,
    masks: Tensor | np.ndarray,
    resolution: int,
    *,
    lower: Sequence[float] = (-1.0, -1.0, -1.0),
    upper: Sequence[float] = (1.0, 1.0, 1.0),
    margin_pixels: float = 1.0,
    min_seen: int = 0,
) -> Tensor:
    """Which cells of a grid over the box [lower, upper] may hold part of the object.

    A cell is carved if some view sees it whole inside its frame and no mask pixel lies in the rectangle that bounds its
    projection. With depth D, lateral offset X, camera axes r (right) and b (backward) and half sides h_k, that rectangle is exactly
    bounded by

        |x' - x| <= f sum_k h_k |D r_k + X b_k| / (D (D - sum_k h_k |b_k|)),

    so no part of the object is lost that reaches within ``margin_pixels`` of a mask pixel. Cells that reach out of a frame or
    behind a camera are not carved by that view. The result does not depend on the number of threads.

    Args:
        cameras: N cameras, in the units of the box.
        masks: (N,H,W) bool or any number; nonzero is object.
        resolution: cells along each side, G.
        lower, upper: corners of the box.
        margin_pixels: the rectangle grows by this much on every side; 1 covers masks that were sampled at pixel centres.
        min_seen: a cell that fewer views see whole is left out. 0 keeps what no view has refuted.

    Returns:
        (G,G,G) bool on the CPU, index [x,y,z]; cell k covers lower + (upper - lower) * [k, k+1] / G.

    Raises:
        ValueError: shapes of masks and cameras disagree.
    """
    solid = np.ascontiguousarray(np.asarray(masks) != 0)  # (N, H, W)
    if solid.shape != (len(cameras), cameras.height, cameras.width):
        raise ValueError(
            f"masks are {solid.shape}, but the cameras are {(len(cameras), cameras.height, cameras.width)}"
        )
    factor = -(-max(solid.shape[1:]) // LONGEST_MASK_SIDE)
    tables = _area_tables(solid, factor)
    lower_corner = np.asarray(lower, np.float64)
    half = (np.asarray(upper, np.float64) - lower_corner) / (2 * resolution)
    keep = np.empty((resolution, resolution, resolution), np.bool_)
    _carve(
        tables,
        np.ascontiguousarray(cameras.camera_to_world.numpy(force=True), np.float64),
        cameras.intrinsics.numpy(force=True).astype(np.float64) / factor,
        np.array([cameras.width, cameras.height], np.float64) / factor,
        lower_corner,
        half,
        float(margin_pixels) / factor + 1e-6,  # 1e-6: rounding of the projection itself
        min_seen,
        keep,
    )
    return torch.from_numpy(keep)


def _area_tables(solid: np.ndarray, factor: int) -> np.ndarray:
    """Summed-area tables (N,h+1,w+1) int32 of masks (N,H,W) pooled by ``factor``: a pooled pixel is set if any of its is."""
    count, height, width = solid.shape
    h, w = -(-height // factor), -(-width // factor)
    tables = np.zeros((count, h + 1, w + 1), np.int32)
    for view in range(count):
        padded = np.zeros((h * factor, w * factor), np.bool_)
        padded[:height, :width] = solid[view]
        pooled = padded.reshape(h, factor, w, factor).any(axis=(1, 3))
        tables[view, 1:, 1:] = pooled.cumsum(axis=0, dtype=np.int32).cumsum(axis=1)
    return tables


@jit
def _carve(
    tables: np.ndarray,
    poses: np.ndarray,
    intrinsics: np.ndarray,
    size: np.ndarray,
    lower: np.ndarray,
    half: np.ndarray,
    margin: float,
    min_seen: int,
    keep: np.ndarray,
) -> None:
    side = keep.shape[0]
    for column in numba.prange(side * side):
        ix, iy = column // side, column % side
        px = lower[0] + (2 * ix + 1) * half[0]
        py = lower[1] + (2 * iy + 1) * half[1]
        for iz in range(side):
            pz = lower[2] + (2 * iz + 1) * half[2]
            seen = 0
            kept = True
            for view in range(poses.shape[0]):
                pose = poses[view]
                dx, dy, dz = px - pose[0, 3], py - pose[1, 3], pz - pose[2, 3]
                depth = -(pose[0, 2] * dx + pose[1, 2] * dy + pose[2, 2] * dz)
                nearest = depth - (
                    half[0] * abs(pose[0, 2]) + half[1] * abs(pose[1, 2]) + half[2] * abs(pose[2, 2])
                )
                if nearest <= 0:
                    continue
                right = pose[0, 0] * dx + pose[1, 0] * dy + pose[2, 0] * dz
                up = pose[0, 1] * dx + pose[1, 1] * dy + pose[2, 1] * dz
                spread_x = spread_y = 0.0
                for k in range(3):
                    spread_x += half[k] * abs(depth * pose[k, 0] + right * pose[k, 2])
                    spread_y += half[k] * abs(depth * pose[k, 1] + up * pose[k, 2])
                fx, fy, cx, cy = intrinsics[view]
                spread_x = fx * spread_x / (depth * nearest) + margin
                spread_y = fy * spread_y / (depth * nearest) + margin
                x, y = cx + fx * right / depth, cy - fy * up / depth
                if x < spread_x or y < spread_y or x + spread_x >= size[0] or y + spread_y >= size[1]:
                    continue
                seen += 1
                j0, j1 = int(x - spread_x), int(x + spread_x) + 1
                i0, i1 = int(y - spread_y), int(y + spread_y) + 1
                table = tables[view]
                if table[i1, j1] - table[i0, j1] - table[i1, j0] + table[i0, j0] == 0:
                    kept = False
                    break
            keep[ix, iy, iz] = kept and seen >= min_seen
