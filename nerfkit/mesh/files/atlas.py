"""Parts of a surface, each colored in a way of its own, into one texture and the UVs that belong to it.

Along one axis of a picture of n texels the coordinate is t, downward for rows: texel i covers [i / n, (i + 1) / n].
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from nerfkit.errors import SceneError
from nerfkit.mesh.files.gltf import linear_to_srgb, srgb_to_linear
from nerfkit.runs.files import to_bytes

MOST = 1 << 24  # texels that one part may take, or its picture if that is larger: 50 MB, and 200 MB once it is float32
TEXELS = 1 << 29  # of all parts together: 1.6 GB, and 6.4 GB once it is float32
ROUNDING = 1e-4  # of UVs: so little outside of [0,1] is no repeat
FINEST = 4  # a face whose colors would leave [0,1] across its long side gets 2^FINEST + 1 texels a side


class Paint(NamedTuple):
    """How a part is colored: picture times factor.

    Attributes:
        image: (A,B,3) uint8 sRGB; None is white.
        factor: three numbers in [0,1] of linear light.
        wrap: beyond [0,1] along u and along v: ``repeat``, ``mirror`` or ``clamp``.
        name: of the material, for notes.
    """

    image: np.ndarray | None = None
    factor: tuple[float, ...] = (1.0, 1.0, 1.0)
    wrap: tuple[str, str] = ("repeat", "repeat")
    name: str = ""


class _Patch(NamedTuple):
    """A rectangle of the atlas: its size, what makes its pixels, its faces, and their corners in its texels."""

    height: int
    width: int
    pixels: Callable[[], np.ndarray]
    faces: np.ndarray  # (f,)
    corners: np.ndarray  # (f, 3, 2), x to the right, y down


def pack(
    paints: list[Paint], paint: np.ndarray, corner_uvs: np.ndarray, tints: np.ndarray | None, notes: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """The texture (A,B,3) uint8 of the paints in use, and the UVs (F,3,2) that belong to it.

    One picture that repeats, or whose UVs stay in [0,1], comes back as it is, with the UVs. Otherwise what the faces
    see of each picture is put side by side with the others, once where several paints share it: with its repeats and
    mirror images, and a texel more on every side for bilinear look-ups. A plain color is a patch whose faces have all
    their corners in one point. Where the tint varies within a paint, each of its faces gets texels of its own.

    Args:
        paint: (F,) each face's, an index of ``paints``.
        corner_uvs: (F,3,2) finite, v upward.
        tints: (F,3,3) colors of the corners in linear light, which multiply; None: white.
        notes: what was put together or reduced is added.
    """
    used = np.unique(paint)
    alike: dict[tuple[int, tuple[float, ...], tuple[str, str]], tuple[Paint, list[np.ndarray]]] = {}
    patches: list[_Patch] = []
    for number in used:
        look, mine = paints[number], np.flatnonzero(paint == number)
        if tints is not None:
            first = tints[mine[0], 0]
            if (tints[mine] != first).any():
                patches += _cells(look, mine, corner_uvs[mine], tints[mine], notes)
                continue
            look = look._replace(factor=tuple((look.factor * first).tolist()))
        alike.setdefault((id(look.image), look.factor, look.wrap), (look, []))[1].append(mine)
    if len(alike) == 1 and not patches:
        (look, _), *_ = alike.values()
        inside = [bool((np.abs(corner_uvs[..., axis] - 0.5) <= 0.5 + ROUNDING).all()) for axis in range(2)]
        if look.image is not None and all(one or way == "repeat" for one, way in zip(inside, look.wrap, strict=True)):
            return _tinted(look.image, look.factor), corner_uvs
    for look, parts in alike.values():
        mine = np.concatenate(parts)
        patches.append(_picture(look, mine, corner_uvs[mine], notes))
    names = {paints[number].name for number in used}
    if len(names) > 1:
        what = "textures" if any(paints[number].image is not None for number in used) else "colors"
        notes.append(f"put the {what} of {len(names)} materials side by side into one")
    return _joined(patches, len(paint))


def _joined(patches: list[_Patch], count: int) -> tuple[np.ndarray, np.ndarray]:
    """The patches on shelves, the highest ones first, and the UVs (count,3,2)."""
    limit = max(*(patch.width for patch in patches), math.isqrt(sum(p.height * p.width for p in patches)))
    places: list[tuple[_Patch, int, int]] = []  # a patch, its left and top
    left = top = shelf = width = 0
    for patch in sorted(patches, key=lambda patch: -patch.height):
        if left + patch.width > limit:
            left, top, shelf = 0, top + shelf, 0
        places.append((patch, left, top))
        left, shelf = left + patch.width, max(shelf, patch.height)
        width = max(width, left)
    if (top + shelf) * width > TEXELS:
        raise SceneError(
            f"mesh: its textures side by side have {top + shelf} x {width} texels; expected {TEXELS:,} at the most. "
            "Make them smaller, or join its materials"
        )
    atlas = np.zeros((top + shelf, width, 3), np.uint8)
    uvs = np.zeros((count, 3, 2))
    for patch, left, top in places:
        atlas[top : top + patch.height, left : left + patch.width] = patch.pixels()
        x, y = np.moveaxis(patch.corners + np.array([left, top]), -1, 0)
        uvs[patch.faces] = np.stack([x / atlas.shape[1], 1 - y / atlas.shape[0]], -1)
    return atlas, uvs


def _picture(look: Paint, faces: np.ndarray, uvs: np.ndarray, notes: list[str]) -> _Patch:
    """What the faces see of a picture, or a plain color."""
    image = look.image
    if image is None:
        image = np.full((1, 1, 3), 255, np.uint8)
    else:
        places = [_shifted(uvs[..., 0], look.wrap[0]), _shifted(1 - uvs[..., 1], look.wrap[1])]
        span = [float(np.ptp(t)) for t, _ in places]
        height, width = image.shape[:2]
        share = max(MOST, height * width) / max(span[0] * width * span[1] * height, 1)
        if share < 1:
            size = [max(1, int(n * math.sqrt(share))) for n in (width, height)]
            if (span[0] * size[0] + 3) * (span[1] * size[1] + 3) > 4 * MOST:
                size = [1, 1]
            times = " x ".join(f"{max(extent, 1):.0f}" for extent in span)
            notes.append(
                f"the texture of material {look.name!r} repeats {times} times within faces: reduced from "
                f"{width} x {height} to {size[0]} x {size[1]} texels"
            )
            image = np.asarray(Image.fromarray(image).resize((size[0], size[1]), Image.Resampling.BOX))
    height, width = image.shape[:2]
    if height * width == 1:
        corners = np.full((len(faces), 3, 2), 2.0)
        return _Patch(4, 4, lambda: np.broadcast_to(_tinted(image, look.factor), (4, 4, 3)), faces, corners)
    found = [_seen(t, n, wrap) for (t, wrap), n in zip(places, (width, height), strict=True)]
    (x, columns), (y, rows) = found
    return _Patch(
        len(rows), len(columns), lambda: _tinted(image[rows][:, columns], look.factor), faces, np.stack([x, y], -1)
    )


def _shifted(t: np.ndarray, wrap: str) -> tuple[np.ndarray, str]:
    """Coordinates (f,3), every face's moved by whole repeats to begin near 0, and how the picture goes on there."""
    if (np.abs(t - 0.5) <= 0.5 + ROUNDING).all():
        return np.clip(t, 0, 1), "clamp"
    if wrap == "clamp":
        return t, wrap
    period = 2 if wrap == "mirror" else 1
    return t - period * np.floor(t.min(1, keepdims=True) / period + ROUNDING), wrap


def _seen(t: np.ndarray, size: int, wrap: str) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (f,3) in texels of the part of a picture that bilinear look-ups at them read, and its texels."""
    low, high = (math.floor(extreme * size - 0.5) for extreme in (t.min(), t.max()))
    return t * size - low, _wrapped(np.arange(low, high + 2), size, wrap)


def _wrapped(index: np.ndarray, size: int, wrap: str) -> np.ndarray:
    """Texel numbers beyond a picture of ``size`` texels, brought back into it."""
    if wrap == "clamp":
        return np.clip(index, 0, size - 1)
    if wrap == "mirror":
        return np.minimum(index % (2 * size), (-1 - index) % (2 * size))
    return index % size


def _tinted(image: np.ndarray, factor: tuple[float, ...]) -> np.ndarray:
    """A picture (A,B,3) uint8 sRGB, multiplied in linear light."""
    if factor == (1.0, 1.0, 1.0):
        return image
    table = to_bytes(linear_to_srgb(srgb_to_linear(np.arange(256) / 255)[:, None] * np.array(factor)))  # (256, 3)
    return np.stack([table[image[..., channel], channel] for channel in range(3)], -1)


def _cells(look: Paint, faces: np.ndarray, uvs: np.ndarray, tints: np.ndarray, notes: list[str]) -> list[_Patch]:
    """Faces whose tint varies: n x n texels for each, its corners at the centers of three of them.

    With n = 2^k + 1, texels are no larger than the picture's. The corner that is none of the face's is extrapolated.
    """
    tints = tints * np.array(look.factor)
    if look.image is None:  # as vertex colors are interpolated: in sRGB
        tints = linear_to_srgb(tints)
        beyond = tints[:, 1] + tints[:, 2] - tints[:, 0]  # (f, 3)
        level = np.where((np.abs(beyond - 0.5) <= 0.5).all(-1), 0, FINEST)
    else:
        sides = np.abs(uvs - np.roll(uvs, 1, 1)) * [look.image.shape[1], look.image.shape[0]]  # (f, 3, 2)
        level = np.ceil(np.log2(np.maximum(sides.max((1, 2)), 4))).astype(int)
    finest = level.max()
    while (4.0**level).sum() > MOST and level.max():
        level = np.minimum(level, level.max() - 1)
    if level.max() < finest:
        notes.append(f"colors of vertices times a texture: {len(faces)} faces share {MOST} texels, coarser than it")
    patches = []
    for k in np.unique(level):
        some, n = np.flatnonzero(level == k), 2 ** int(k) + 1
        across = math.isqrt(len(some) - 1) + 1
        row, column = np.divmod(np.arange(len(some)), across)
        ends = np.array([[0.5, 0.5], [n - 0.5, 0.5], [0.5, n - 0.5]])
        corners = np.stack([column, row], -1)[:, None] * n + ends  # (f, 3, 2)

        def pixels(some: np.ndarray = some, n: int = n, across: int = across) -> np.ndarray:
            down = -(-len(some) // across)
            cells = np.zeros((down * across, n, n, 3), np.uint8)
            for begin in range(0, len(some), max(1, 2**20 // n**2)):
                part = some[begin : begin + max(1, 2**20 // n**2)]
                cells[begin : begin + len(part)] = _cell(look, uvs[part], tints[part], n)
            return cells.reshape(down, across, n, n, 3).swapaxes(1, 2).reshape(down * n, across * n, 3)

        patches.append(_Patch((int(row[-1]) + 1) * n, across * n, pixels, faces[some], corners))
    return patches


def _cell(look: Paint, uvs: np.ndarray, tints: np.ndarray, n: int) -> np.ndarray:
    """Texels (f,n,n,3) uint8 of faces with UVs (f,3,2) and tints (f,3,3); the second corner is to the right."""
    step = np.arange(n) / (n - 1)
    b, c = np.meshgrid(step, step)
    weights = np.stack([1 - b - c, b, c], -1)  # (n, n, 3)
    tint = np.clip(np.einsum("yxk,fkc->fyxc", weights, tints), 0, 1)
    if look.image is None:
        return to_bytes(tint)
    uv = np.einsum("yxk,fkc->fyxc", weights, uvs)
    height, width = look.image.shape[:2]
    x, y = uv[..., 0] * width - 0.5, (1 - uv[..., 1]) * height - 0.5
    color = np.zeros(tint.shape)
    for i in range(2):
        row = np.floor(y).astype(np.int64) + i
        for j in range(2):
            column = np.floor(x).astype(np.int64) + j
            weight = (1 - np.abs(x - column)) * (1 - np.abs(y - row))
            texel = look.image[_wrapped(row, height, look.wrap[1]), _wrapped(column, width, look.wrap[0])]
            color += weight[..., None] * texel
    return to_bytes(linear_to_srgb(srgb_to_linear(color / 255) * tint))
