"""The visual hull: the cells of a grid that every mask allows (Laurentini 1994), never fewer than the object needs."""

from collections.abc import Sequence

import numba
import numpy as np
import torch
from torch import Tensor

from nerfkit.cameras import Cameras
from nerfkit.kernels import use
from nerfkit.kernels.jit import jit
from nerfkit.kernels.march import intersect_box, march
from nerfkit.kernels.sample_rays import rays_from_pixels

# Finer masks cost memory (4 bytes a pixel and view) and tell a grid of a few hundred cells nothing more.
LONGEST_MASK_SIDE = 512
MOST_VIEWS = 256  # that carve: at most 270 MB of masks, and more would hardly take away what these leave
LOOKED_AT = 1 << 15  # pixels of all masks together by which ``coverage`` judges


def carve(
    cameras: Cameras,
    masks: Tensor | Sequence[Tensor],
    resolution: int,
    *,
    lower: Sequence[float] = (-1.0, -1.0, -1.0),
    upper: Sequence[float] = (1.0, 1.0, 1.0),
    margin_pixels: float = 1.0,
    closed: Tensor | None = None,
    min_seen: int = 0,
) -> Tensor:
    """Which cells of a grid over the box [lower, upper] may hold part of the object.

    A cell is carved if some view sees it whole inside its frame and no mask pixel lies in the rectangle that bounds its
    projection. With depth D, lateral offset X, camera axes r (right) and b (backward) and half sides h_k, that is

        |x' - x| <= f sum_k h_k |D r_k + X b_k| / (D (D - sum_k h_k |b_k|)),

    so no part of the object is lost that projects within ``margin_pixels`` of a mask pixel. A view does not carve cells
    that reach behind its camera or, unless it is closed, out of its frame. The number of threads does not matter.

    Of more than ``MOST_VIEWS`` views an even choice carves: the hull is then a little larger, and with
    ``min_seen`` 0 never smaller.

    Args:
        cameras: N cameras, in the units of the box.
        masks: N of (H,W), each camera's size, bool or any number; nonzero is object.
        resolution: cells along each side, G.
        lower, upper: corners of the box.
        margin_pixels: the rectangle grows by this much on every side; 1 covers masks sampled at pixel centers.
        closed: (N,) bool, views that are known to show the whole object: they carve what lies outside their frame, too.
            None: no view.
        min_seen: a cell whose center fewer views see is left out; of a choice of views, as large a share of them. 0
            keeps what no view has refuted.

    Returns:
        (G,G,G) bool on the CPU, index [x,y,z]; cell k covers lower + (upper - lower) * [k, k+1] / G.

    Raises:
        ValueError: shapes of masks and cameras disagree.
    """
    found = tuple(tuple(mask.shape) for mask in masks)
    if found != cameras.sizes:
        raise ValueError(f"masks are {len(found)} of {set(found)}, cameras {len(cameras)} of {set(cameras.sizes)}")
    if len(found) > MOST_VIEWS:
        chosen = np.linspace(0, len(found) - 1, MOST_VIEWS).round().astype(int).tolist()
        min_seen = -(-min_seen * len(chosen) // len(found))
        cameras, masks = cameras[chosen], [masks[view] for view in chosen]
        closed = None if closed is None else closed[chosen]
        found = cameras.sizes
    factor = -(-max((side for size in found for side in size), default=1) // LONGEST_MASK_SIDE)
    poses = np.ascontiguousarray(cameras.camera_to_world.numpy(force=True), np.float64)
    intrinsics = cameras.intrinsics.numpy(force=True).astype(np.float64) / factor
    sizes = np.array([(width, height) for height, width in found], np.float64).reshape(-1, 2) / factor
    lower_corner = np.asarray(lower, np.float64)
    half = (np.asarray(upper, np.float64) - lower_corner) / (2 * resolution)
    whole = np.zeros(len(cameras), np.bool_) if closed is None else closed.numpy(force=True)
    margin = float(margin_pixels) / factor + 1e-6  # 1e-6: rounding of the projection itself
    keep = np.ones((resolution, resolution, resolution), np.bool_)
    seen = np.zeros((resolution, resolution, resolution), np.int32)
    _carve(_area_tables(list(masks), factor), poses, intrinsics, sizes, lower_corner, half, margin, whole, keep, seen)
    return torch.from_numpy(keep & (seen >= min_seen))


def coverage(
    cameras: Cameras, masks: Sequence[Tensor], cells: Tensor, lower: Sequence[float], upper: Sequence[float]
) -> float:
    """Which share of the masks' pixels see a cell that is set, by an even choice of them.

    Of a hull it is 1 where cameras and masks are right: every pixel of a mask sees the object.

    Args:
        cameras, masks: as ``carve`` takes them.
        cells: (G,G,G) bool, a grid over the box [lower, upper].
    """
    each = max(1, LOOKED_AT // max(1, len(masks)))
    chosen = []
    for view, mask in enumerate(masks):
        pixels = mask.nonzero().cpu()  # (P, 2)
        chosen.append(torch.cat([torch.full((len(pixels), 1), view), pixels], 1)[:: -(-len(pixels) // each) or 1])
    number, row, column = torch.cat(chosen).unbind(1)
    poses, lenses = cameras.camera_to_world.cpu().double(), cameras.intrinsics.cpu().double()
    with use("reference"):  # float64: the scene may lie far from its origin
        origins, directions = rays_from_pixels(poses, lenses, number, row, column)
    low, size = torch.as_tensor(lower).double(), torch.as_tensor(upper).double() - torch.as_tensor(lower).double()
    origins = (2 * (origins - low) / size - 1).float()
    directions = torch.nn.functional.normalize(2 * directions / size, dim=-1).float()
    near, far = intersect_box(origins, directions)
    samples = march(origins, directions, near, far, cells, 1 / len(cells), max_samples_per_ray=1)
    return float((samples.offsets.diff() > 0).double().mean())


def _area_tables(masks: Sequence[Tensor], factor: int) -> np.ndarray:
    """Summed-area tables (N,h+1,w+1) int32 of masks (H,W) or smaller; ``factor``^2 pixels become one, set if any is."""
    h, w = (-(-max((mask.shape[axis] for mask in masks), default=0) // factor) for axis in (0, 1))
    tables = np.zeros((len(masks), h + 1, w + 1), np.int32)
    for table, mask in zip(tables, masks, strict=True):
        padded = np.zeros((h * factor, w * factor), np.bool_)
        padded[: mask.shape[0], : mask.shape[1]] = mask.numpy(force=True) != 0
        pooled = padded.reshape(h, factor, w, factor).any(axis=(1, 3))
        table[1:, 1:] = pooled.cumsum(axis=0, dtype=np.int32).cumsum(axis=1)
    return tables


@jit
def _carve(
    tables: np.ndarray,
    poses: np.ndarray,
    intrinsics: np.ndarray,
    sizes: np.ndarray,
    lower: np.ndarray,
    half: np.ndarray,
    margin: float,
    closed: np.ndarray,
    keep: np.ndarray,
    seen: np.ndarray,
) -> None:
    """Clears ``keep`` (G,G,G) where a view refutes it, and counts in ``seen`` the views of the centers of the rest."""
    side = keep.shape[0]
    for column in numba.prange(side * side):
        ix, iy = column // side, column % side
        px = lower[0] + (2 * ix + 1) * half[0]
        py = lower[1] + (2 * iy + 1) * half[1]
        for iz in range(side):
            if not keep[ix, iy, iz]:
                continue
            pz = lower[2] + (2 * iz + 1) * half[2]
            views = 0
            kept = True
            for view in range(poses.shape[0]):
                pose = poses[view]
                dx, dy, dz = px - pose[0, 3], py - pose[1, 3], pz - pose[2, 3]
                depth = -(pose[0, 2] * dx + pose[1, 2] * dy + pose[2, 2] * dz)
                nearest = depth - (half[0] * abs(pose[0, 2]) + half[1] * abs(pose[1, 2]) + half[2] * abs(pose[2, 2]))
                if nearest <= 0:
                    continue
                right = pose[0, 0] * dx + pose[1, 0] * dy + pose[2, 0] * dz
                up = pose[0, 1] * dx + pose[1, 1] * dy + pose[2, 1] * dz
                spread_x = spread_y = 0.0
                for k in range(3):
                    spread_x += half[k] * abs(depth * pose[k, 0] + right * pose[k, 2])
                    spread_y += half[k] * abs(depth * pose[k, 1] + up * pose[k, 2])
                fx, fy, cx, cy = intrinsics[view]
                x, y = cx + fx * right / depth, cy - fy * up / depth
                columns, rows = sizes[view]
                if x >= 0 and y >= 0 and x < columns and y < rows:
                    views += 1
                spread_x = fx * spread_x / (depth * nearest) + margin
                spread_y = fy * spread_y / (depth * nearest) + margin
                left, right_end = x - spread_x, x + spread_x
                top, bottom = y - spread_y, y + spread_y
                if left < 0 or top < 0 or right_end >= columns or bottom >= rows:
                    if not closed[view]:
                        continue
                    left, right_end = max(left, 0.0), min(right_end, columns)
                    top, bottom = max(top, 0.0), min(bottom, rows)
                    if left >= right_end or top >= bottom:
                        kept = False
                        break
                j0, j1 = int(left), min(int(right_end) + 1, tables.shape[2] - 1)
                i0, i1 = int(top), min(int(bottom) + 1, tables.shape[1] - 1)
                table = tables[view]
                if table[i1, j1] - table[i0, j1] - table[i1, j0] + table[i0, j0] == 0:
                    kept = False
                    break
            keep[ix, iy, iz] = kept
            seen[ix, iy, iz] += views
