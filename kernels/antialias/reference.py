"""The oracle: a loop over contour edges and pixel lines for the pairs, plain PyTorch with autograd for the blend."""

import math

import torch
from torch import Tensor

LEAST_SLOPE = 1e-6
"""Flatter edges blend as this slope, for the closed form divides by it; the area differs by less."""


def find_pairs(points: Tensor, edges: Tensor, face: Tensor, depth: Tensor, near: float) -> tuple[Tensor, Tensor]:
    """See ``nerfkit.kernels.antialias.find_pairs``. For small sizes: a Python loop."""
    views, height, width = face.shape
    pairs, slopes = [], []
    for n in range(views):
        outermost: dict[tuple[int, int], tuple[float, float, list[int]]] = {}
        for v0, v1, side in contour_edges(points[n], edges, near):
            p0, p1 = points[n, v0].tolist(), points[n, v1].tolist()
            for axis in (0, 1):  # 0: pairs in a row, 1: pairs in a column
                (u0, s0), (u1, s1) = ((p[axis] / p[2], p[1 - axis] / p[2]) for p in (p0, p1))
                if s0 == s1:
                    continue
                slope = abs((u1 - u0) / (s1 - s0))
                for line in range((height, width)[axis]):
                    share = (line + 0.5 - s0) / (s1 - s0)
                    if not 0 <= share <= 1:
                        continue
                    u = u0 + share * (u1 - u0) - 0.5
                    edge_depth = 1 / ((1 - share) / p0[2] + share / p1[2])
                    for first in range(math.ceil(u) - 1, math.floor(u) + 1):  # two pairs if through a centre
                        if not 0 <= first < (width, height)[axis] - 1:
                            continue
                        cells = [(line, first), (line, first + 1)] if axis == 0 else [(first, line), (first + 1, line)]
                        owner = owner_of(cells, face[n], depth[n], edge_depth, (p0, p1, side))
                        if owner is None:
                            continue
                        t = u - first if owner == 0 else 1 - (u - first)
                        numbers = [(n * height + i) * width + j for i, j in cells]
                        key = (axis, numbers[0])
                        if key not in outermost or t > outermost[key][0]:
                            outermost[key] = (t, slope, [numbers[owner], numbers[1 - owner], v0, v1])
        for (axis, _), (_, slope, pair) in outermost.items():
            if slope < 1 or (slope == 1 and axis == 0):
                pairs.append(pair)
                slopes.append(slope)
    found = torch.tensor(pairs, dtype=torch.int64, device=points.device).reshape(-1, 4)
    return found, torch.tensor(slopes, dtype=torch.float64, device=points.device)


def contour_edges(points: Tensor, edges: Tensor, near: float) -> list[tuple[int, int, float]]:
    """Contour edges of one view: both vertices, and the sign of det(p0, p1, p) of points p on their faces' side."""
    found = []
    for v0, v1, a, b in edges.tolist():
        if not (points[v0, 2] >= near and points[v1, 2] >= near):
            continue
        normal = torch.linalg.cross(points[v0], points[v1], dim=0)
        side_a = float(normal @ points[a])
        side_b = float(normal @ points[b]) if b >= 0 else side_a
        if side_a * side_b >= 0:
            found.append((v0, v1, side_a if side_a != 0 else side_b))
    return found


def owner_of(cells, face: Tensor, depth: Tensor, edge_depth: float, edge) -> int | None:  # type: ignore[no-untyped-def]
    """Which of the two pixels (0 or 1) shows the surface that the contour edge bounds; None if it changes nothing.

    Against the background: the covered pixel. Between two surfaces: the nearer one, if the edge is closer to it in
    depth and has its faces on that pixel's side.
    """
    covered = [int(face[cell]) >= 0 for cell in cells]
    if covered[0] != covered[1]:
        return 0 if covered[0] else 1
    if not covered[0]:
        return None
    depths = [float(depth[cell]) for cell in cells]
    owner = 0 if depths[0] < depths[1] else 1
    if abs(edge_depth - depths[owner]) >= abs(edge_depth - depths[1 - owner]):
        return None
    (x0, y0, w0), (x1, y1, w1), side = edge
    i, j = cells[owner]
    det = (y0 * w1 - w0 * y1) * (j + 0.5) + (w0 * x1 - x0 * w1) * (i + 0.5) + (x0 * y1 - y0 * x1)
    return owner if det * side >= 0 else None


def crossing(points: Tensor, pairs: Tensor, height: int, width: int) -> Tensor:
    """Where each pair's edge crosses, as the share t of the way from the owner's centre to the other's, (P,)."""
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
    return (integral(z + slope / 2) - integral(z - slope / 2)) / slope


def blend(image: Tensor, points: Tensor, pairs: Tensor, slopes: Tensor) -> Tensor:
    """See ``nerfkit.kernels.antialias.blend``."""
    views, height, width, channels = image.shape
    owner, other = pairs[:, 0], pairs[:, 1]
    t = crossing(points.double(), pairs, height, width)  # (P,)
    target, source = torch.cat([owner, other]), torch.cat([other, owner])  # (2P,)
    weight = torch.cat([1 - covered_share(t + 0.5, slopes), covered_share(t - 0.5, slopes)])
    total = torch.zeros(views * height * width, dtype=t.dtype, device=t.device).index_add(0, target, weight)
    weight = (weight / total[target].clamp(min=1))[:, None]
    flat = image.reshape(-1, channels)
    return flat.index_add(0, target, (weight * (flat[source] - flat[target])).to(image.dtype)).reshape(image.shape)
