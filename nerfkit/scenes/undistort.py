"""Photos through bent lenses become photos through a pinhole, shrunk in the same pass.

Every pixel of the result is the mean over its footprint in the photo: the quadrilateral between the places where the
photo shows the pixel's four corners.
"""

import threading
from functools import lru_cache

import numpy as np
from numba import prange

from nerfkit.cameras.lens import Lens
from nerfkit.errors import problem
from nerfkit.kernels.jit import jit
from nerfkit.scenes.images import shrink, straight

WIDEST = 140.0  # degrees: a plane picture's corners are stretched 8.5 times there, and endlessly at 180
BLOCK = 1 << 14  # corners projected at once: the intermediate arrays stay in the cache

# The kernel uses every core; some of Numba's threading layers crash where two threads start one at a time.
_one_at_a_time = threading.Lock()


def pinhole(lens: Lens, where: str = "lens") -> Lens:
    """The PINHOLE lens that a photo is undistorted to.

    A lens that bends nothing keeps its size and intrinsics. Else the focal lengths are those of the photo's center, fx
    and fy times ``Lens.magnification``, and the picture is the smallest that holds all that the photo shows
    (``Lens.outline``), wherever that puts the principal point. It grows over the photo by at most half a side at each
    edge, so to twice the sides as COLMAP's undistorter; what lies farther out is cut off.

    Args:
        lens: of the photo.
        where: how a message names the photo or camera.

    Raises:
        SceneError: a field of view above ``WIDEST``, or nothing that could be seen.
    """
    fx, fy, cx, cy = lens.intrinsics
    angle = lens.field_of_view
    if angle > WIDEST:
        raise problem(
            where,
            f"the field of view of its {lens.model} lens is {angle:.1f} degrees",
            f"at most {WIDEST:.0f}, as a picture without distortion is plane",
            "Check the focal length; or crop the photos to their middle and subtract what was cut off from cx and cy.",
        )
    if lens.is_pinhole:
        return Lens("PINHOLE", lens.width, lens.height, (fx, fy, cx, cy))
    edge = lens.outline()
    if not len(edge):
        raise problem(
            where,
            f"no pixel of a {lens.width}x{lens.height} picture can be seen through its {lens.model} lens",
            "a distortion that is one to one around the principal point",
            f"Check the parameters: {', '.join(f'{value:g}' for value in lens.params)}.",
        )
    focal = np.array([fx, fy]) * lens.magnification
    side = np.array([lens.width, lens.height])
    plane = edge[:, :2] / edge[:, 2:] * focal + (cx, cy)  # (B, 2), in pixels of the photo
    low = np.maximum(plane.min(0), -0.5 * side)
    high = np.minimum(plane.max(0), 1.5 * side)
    width, height = np.maximum(1, np.ceil(high - low - 1e-6)).astype(int).tolist()
    return Lens("PINHOLE", width, height, (*focal, cx - low[0], cy - low[1]))


def undistort(rgba: np.ndarray, ignore: np.ndarray | None, lens: Lens, target: Lens) -> tuple[np.ndarray, np.ndarray]:
    """A photo as ``target`` would have taken it.

    Each pixel is the mean of n x m bilinear look-ups, evenly spaced over its footprint, of color times alpha and of
    alpha; n and m follow from the footprint's sides, so that neighbors are 1.25 pixels apart at most. Where ``target``
    is the lens itself, at any size, the result is that of ``images.shrink``: at the same size, the photo to the bit.

    Args:
        rgba: (H,W,4) uint8, straight alpha.
        ignore: (H,W) uint8 or bool, not zero where the photo teaches nothing; None where all of it does.
        lens: that took the photo; its size is the photo's.
        target: a pinhole of any size and position: ``pinhole(lens)``, ``resized``.

    Returns:
        pixels (h,w,4) uint8, premultiplied, as ``images.shrink`` returns them; (0,0,0,0) where the photo does not hold
        all of the footprint. valid (h,w) bool: false there and where a pixel to ignore is part of the mean or of the
        footprint.

    Raises:
        ValueError: a shape that does not fit ``lens``, or a ``target`` that is no pinhole.
    """
    shape = (lens.height, lens.width)
    if rgba.shape != (*shape, 4) or (ignore is not None and ignore.shape != shape):
        sizes = f"{rgba.shape} and {None if ignore is None else ignore.shape}"
        raise ValueError(f"undistort: expected a photo {(*shape, 4)} and a mask {shape}, got {sizes}")
    if not target.is_pinhole:
        raise ValueError(f"undistort: expected a pinhole to undistort to, got {target.model}")
    scaled = lens.resized(target.width, target.height)
    if lens.is_pinhole and np.allclose(scaled.intrinsics, target.intrinsics, rtol=0, atol=1e-6):
        return shrink(straight(rgba), target.height, target.width), _unmasked(ignore, target.height, target.width)
    pixels = np.empty((target.height, target.width, 4), np.uint8)
    valid = np.empty((target.height, target.width), bool)
    mask = np.zeros((1, 1), bool) if ignore is None else np.ascontiguousarray(ignore != 0)
    corners = _corners(lens, target)
    with _one_at_a_time:
        _resample(np.ascontiguousarray(rgba), mask, ignore is not None, corners, pixels, valid)
    return pixels, valid


def _unmasked(ignore: np.ndarray | None, height: int, width: int) -> np.ndarray:
    """Which boxes, as ``images.shrink`` averages them, hold no pixel to ignore: (height,width) bool."""
    if ignore is None:
        return np.ones((height, width), bool)
    sums = np.pad(np.cumsum(np.cumsum(ignore != 0, 0), 1), ((1, 0), (1, 0)))  # (H+1, W+1)
    rows, columns = np.arange(height + 1) * ignore.shape[0], np.arange(width + 1) * ignore.shape[1]
    first, last = rows[:-1, None] // height, -(-rows[1:, None] // height)  # (height, 1); exact in integers
    left, right = columns[:-1] // width, -(-columns[1:] // width)
    return sums[last, right] - sums[first, right] - sums[last, left] + sums[first, left] == 0


@lru_cache(maxsize=1)  # often all photos have one lens
def _corners(lens: Lens, target: Lens) -> np.ndarray:
    """Where the photo shows the corners of the target's pixels: (h+1,w+1,2) float32, NaN where it cannot."""
    fx, fy, cx, cy = target.intrinsics
    x = (np.arange(target.width + 1) - cx) / fx
    y = (np.arange(target.height + 1) - cy) / fy
    corners = np.empty((target.height + 1, target.width + 1, 2), np.float32)
    rows = max(1, BLOCK // len(x))
    for top in range(0, len(y), rows):
        part = y[top : top + rows]
        rays = np.ones((len(part), len(x), 3))
        rays[..., 0], rays[..., 1] = x, part[:, None]
        corners[top : top + rows] = lens.project(rays)[0]
    return corners


@jit(parallel=False)
def _touches(mask: np.ndarray, left: float, right: float, top: float, bottom: float) -> bool:
    """Whether a pixel of ``mask`` (H,W) that is set overlaps a box by more than a hair."""
    for y in range(max(int(np.floor(top + 1e-3)), 0), min(int(np.ceil(bottom - 1e-3)), mask.shape[0])):
        for x in range(max(int(np.floor(left + 1e-3)), 0), min(int(np.ceil(right - 1e-3)), mask.shape[1])):
            if mask[y, x]:
                return True
    return False


@jit
def _resample(
    rgba: np.ndarray, mask: np.ndarray, masked: bool, corners: np.ndarray, out: np.ndarray, valid: np.ndarray
) -> None:
    """Writes ``out`` (h,w,4) and ``valid`` (h,w) of ``undistort``; ``corners`` (h+1,w+1,2) in pixels of ``rgba``."""
    height, width = rgba.shape[:2]
    for i in prange(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = 0
            valid[i, j] = False
            x00, y00 = float(corners[i, j, 0]), float(corners[i, j, 1])
            x01, y01 = float(corners[i, j + 1, 0]), float(corners[i, j + 1, 1])
            x10, y10 = float(corners[i + 1, j, 0]), float(corners[i + 1, j, 1])
            x11, y11 = float(corners[i + 1, j + 1, 0]), float(corners[i + 1, j + 1, 1])
            left, right = min(x00, x01, x10, x11), max(x00, x01, x10, x11)
            top, bottom = min(y00, y01, y10, y11), max(y00, y01, y10, y11)
            if np.isnan(x00 + x01 + x10 + x11):
                continue
            if left < -1e-3 or top < -1e-3 or right > width + 1e-3 or bottom > height + 1e-3:  # float32 rounds
                continue
            across = max(np.hypot(x01 - x00, y01 - y00), np.hypot(x11 - x10, y11 - y10))
            down = max(np.hypot(x10 - x00, y10 - y00), np.hypot(x11 - x01, y11 - y01))
            n, m = max(1, int(np.ceil(across - 0.25))), max(1, int(np.ceil(down - 0.25)))
            red = green = blue = alpha = 0.0
            touched = masked and _touches(mask, left, right, top, bottom)
            for b in range(m):
                v = (b + 0.5) / m
                for a in range(n):
                    u = (a + 0.5) / n
                    x = (1 - v) * ((1 - u) * x00 + u * x01) + v * ((1 - u) * x10 + u * x11)
                    y = (1 - v) * ((1 - u) * y00 + u * y01) + v * ((1 - u) * y10 + u * y11)
                    touched = touched or (masked and _touches(mask, x - 0.5, x + 0.5, y - 0.5, y + 0.5))
                    x0, y0 = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
                    share_x, share_y = x - 0.5 - x0, y - 0.5 - y0
                    for k in range(4):
                        row = min(max(y0 + (k >> 1), 0), height - 1)
                        column = min(max(x0 + (k & 1), 0), width - 1)
                        share = (share_x if k & 1 else 1 - share_x) * (share_y if k >> 1 else 1 - share_y)
                        share *= rgba[row, column, 3]
                        alpha += share
                        red += share * rgba[row, column, 0]
                        green += share * rgba[row, column, 1]
                        blue += share * rgba[row, column, 2]
            count = n * m
            out[i, j, 0] = np.uint8(red / (255.0 * count) + 0.5)
            out[i, j, 1] = np.uint8(green / (255.0 * count) + 0.5)
            out[i, j, 2] = np.uint8(blue / (255.0 * count) + 0.5)
            out[i, j, 3] = np.uint8(alpha / count + 0.5)
            valid[i, j] = not touched
