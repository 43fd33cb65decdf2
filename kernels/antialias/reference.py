"""The oracle: a loop over edges and pixel lines for the pairs, plain PyTorch with autograd for the blend."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

LEAST_SLOPE = 1e-6
"""Flatter edges blend as this slope, for the closed form divides by it; the area differs by less."""

CLEARANCE = 1e-6
"""A contour must be nearer than what is behind it by this share of its depth, a crease may be off by it."""

SLACK = 0.25
"""A crease may be off by this share of what the planes on its two sides disagree about its depth."""


class Edge(NamedTuple):
    """An edge that may count, in one view: its vertices, their points, on which side of it (the sign of
    det(p0, p1, p)) its faces lie, 0 where they are seen edge-on, and what it is."""

    v0: int
    v1: int
    p0: list[float]
    p1: list[float]
    side: float
    contour: bool
    crease: bool


def find_pairs(
    points: Tensor, faces: Tensor, edges: Tensor, creases: Tensor, face: Tensor, near: float
) -> tuple[Tensor, Tensor]:
    """See ``nerfkit.kernels.antialias.find_pairs``; faces (M,F,3), edges (M,E,4), creases (M,E), M one or N.

    For small sizes: a Python loop.
    """
    views, height, width = face.shape
    pairs, slopes = [], []
    for n in range(views):
        own_faces, own_edges, own_creases = (x[n if len(x) > 1 else 0] for x in (faces, edges, creases))
        shown = face[n].tolist()
        planes = [inverse_depth_plane(points[n, corners]) for corners in own_faces]
        best: dict[tuple[int, int], tuple[tuple[float, float], float, list[int]]] = {}
        for edge in usable_edges(points[n], own_edges, own_creases, near):
            for axis in (0, 1):  # 0: pairs in a row, 1: pairs in a column
                (u0, s0), (u1, s1) = ((p[axis] / p[2], p[1 - axis] / p[2]) for p in (edge.p0, edge.p1))
                if s0 == s1:
                    continue
                slope = abs((u1 - u0) / (s1 - s0))
                steep = slope < 1 or (slope == 1 and axis == 0)
                toward = edge.side * (s0 - s1 if axis == 0 else s1 - s0)  # where along u the edge's faces lie
                for line in range((height, width)[axis]):
                    share = (line + 0.5 - s0) / (s1 - s0)
                    if not 0 <= share <= 1:
                        continue
                    u = u0 + share * (u1 - u0) - 0.5
                    inverse = (1 - share) / edge.p0[2] + share / edge.p1[2]
                    here = (u + 0.5, line + 0.5) if axis == 0 else (line + 0.5, u + 0.5)
                    for first in range(math.ceil(u) - 1, math.floor(u) + 1):  # two pairs if through a center
                        if not 0 <= first < (width, height)[axis] - 1:
                            continue
                        cells = [(line, first), (line, first + 1)] if axis == 0 else [(first, line), (first + 1, line)]
                        seen = [planes[shown[i][j]] if shown[i][j] >= 0 else None for i, j in cells]
                        verdict = judge(edge, cells, seen, toward, here, inverse, u - first, steep)
                        if verdict is None:
                            continue
                        rank, merit, owner = verdict
                        numbers = [(n * height + i) * width + j for i, j in cells]
                        key = (axis, numbers[0])
                        if key not in best or (rank, -merit) < best[key][0]:
                            vertices = [numbers[owner], numbers[1 - owner], edge.v0, edge.v1]
                            best[key] = ((rank, -merit), slope if steep else math.inf, vertices)
        for _, slope, pair in best.values():
            if slope <= 1:
                pairs.append(pair)
                slopes.append(slope)
    found = torch.tensor(pairs, dtype=torch.int64, device=points.device).reshape(-1, 4)
    return found, torch.tensor(slopes, dtype=torch.float64, device=points.device)


def usable_edges(points: Tensor, edges: Tensor, creases: Tensor, near: float) -> Iterator[Edge]:
    """Contour edges and creases of one view that lie in front of the camera."""
    for (v0, v1, a, b), crease in zip(edges.tolist(), creases.tolist(), strict=True):
        if v0 < 0 or not (points[v0, 2] >= near and points[v1, 2] >= near):
            continue
        if not torch.isfinite(points[[v0, v1]]).all():
            continue
        normal = torch.linalg.cross(points[v0], points[v1], dim=0)
        side_a = float(normal @ points[a]) if a not in (v0, v1) else 0.0  # a face that uses a vertex twice is flat
        side_b = side_a if b < 0 else float(normal @ points[b]) if b not in (v0, v1) else 0.0
        contour = side_a * side_b >= 0
        if contour or crease:
            side = (side_a if side_a != 0 else side_b) if contour else 0.0
            yield Edge(v0, v1, points[v0].tolist(), points[v1].tolist(), side, contour, crease)


def inverse_depth_plane(corners: Tensor) -> list[float]:
    """(a, b, c) with 1 / w = a x + b y + c on the plane through ``corners`` (3,3)."""
    normals = torch.linalg.cross(corners.roll(-1, 0), corners.roll(-2, 0), dim=1)
    return (normals.sum(0) / (corners[0] @ normals[0])).tolist()


def judge(edge, cells, seen, toward, here, inverse, at, steep):  # type: ignore[no-untyped-def]
    """What a crossing means to the pair of pixels that it lies between: None if nothing, else (rank, merit, owner).

    Args:
        edge: the Edge. cells: the two pixels (i, j). seen: the planes of the faces that they show, None where empty.
        toward: above 0 if the edge's faces lie on the second pixel's side, below 0 on the first's.
        here, inverse: the crossing (x, y) and the edge's inverse depth there. at: where it lies between the centers.
        steep: whether the edge blends pixels along this axis at all.
    """
    if seen[0] is None or seen[1] is None:
        owner = 0 if seen[1] is None else 1
        if seen[owner] is None or not edge.contour or toward * (owner - 0.5) < 0:
            return None
        return 0, at if owner == 0 else 1 - at, owner
    beside = [a * here[0] + b * here[1] + c for a, b, c in seen]  # what the two planes say about the crossing
    if edge.contour and toward != 0:
        owner = 0 if toward < 0 else 1
        if inverse > beside[1 - owner] * (1 + CLEARANCE):
            centers = [a * (j + 0.5) + b * (i + 0.5) + c for (a, b, c), (i, j) in zip(seen, cells, strict=True)]
            nearer = centers[owner] >= centers[1 - owner]
            return 0 if nearer else 1, at if owner == 0 else 1 - at, owner
    if edge.crease and steep:
        centers = [a * (j + 0.5) + b * (i + 0.5) + c for (a, b, c), (i, j) in zip(seen, cells, strict=True)]
        chord = centers[0] + at * (centers[1] - centers[0])
        low, high = min(chord, *beside), max(chord, *beside)
        margin = SLACK * (high - low) + CLEARANCE * inverse
        if low - margin <= inverse <= high + margin:
            return 2, -abs(at - 0.5), 0
    return None


def crossing(points: Tensor, pairs: Tensor, height: int, width: int) -> Tensor:
    """Where each pair's edge crosses, as the share t of the way from the owner's center to the other's, (P,)."""
    owner, other, v0, v1 = pairs.unbind(-1)
    view = owner // (height * width)
    p0, p1 = points[view, v0], points[view, v1]  # (P, 3)
    (x0, y0), (x1, y1) = (p0[:, :2] / p0[:, 2:]).unbind(-1), (p1[:, :2] / p1[:, 2:]).unbind(-1)
    row, column = owner // width % height + 0.5, owner % width + 0.5
    x = x0 + (row - y0) / torch.where(y0 == y1, 1.0, y1 - y0) * (x1 - x0)
    y = y0 + (column - x0) / torch.where(x0 == x1, 1.0, x1 - x0) * (y1 - y0)
    sign = (other - owner).sign()
    return sign * torch.where(owner // width == other // width, x - column, y - row)


def covered_share(z: Tensor, slope: Tensor) -> Tensor:
    """F(z): the mean of clip(z + slope y, 0, 1) over y in [-1/2, 1/2]."""

    def integral(x: Tensor) -> Tensor:
        return torch.where(x < 1, x.clamp(min=0).square() / 2, x - 0.5)

    slope = slope.clamp(min=LEAST_SLOPE)
    return ((integral(z + slope / 2) - integral(z - slope / 2)) / slope).clamp(0, 1)  # rounding may leave [0, 1]


def blend(image: Tensor, points: Tensor, pairs: Tensor, slopes: Tensor) -> Tensor:
    """See ``nerfkit.kernels.antialias.blend``."""
    views, height, width, _ = image.shape
    owner, other = pairs[:, 0], pairs[:, 1]
    t = crossing(points.double(), pairs, height, width)  # (P,)
    target, source = torch.cat([owner, other]), torch.cat([other, owner])  # (2P,)
    weight = torch.cat([1 - covered_share(t + 0.5, slopes), covered_share(t - 0.5, slopes)])
    total = torch.zeros(views * height * width, dtype=t.dtype, device=t.device).index_add(0, target, weight)
    weight = (weight / total[target].clamp(min=1))[:, None]
    flat = image.flatten(0, 2)
    return flat.index_add(0, target, (weight * (flat[source] - flat[target])).to(image.dtype)).reshape(image.shape)
