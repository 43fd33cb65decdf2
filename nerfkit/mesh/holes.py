"""Boundary loops and the holes behind them."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from nerfkit.kernels.jit import jit
from nerfkit.mesh.edges import EdgeTable
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.topology import fans

LONGEST = 64  # sides of a hole that is triangulated for the least area, which takes their number cubed
SHAPE = 1e-3  # weight of squared side lengths next to areas: among triangulations of a plane hole, short sides win


def boundary_loops(mesh: Mesh) -> list[Tensor]:
    """The vertices of every closed boundary loop, in the order in which the faces run along it.

    A loop passes from a side to the next within one fan of faces, so where fans touch in a vertex each is walked by
    itself. Where the boundary of a non-manifold or inconsistently oriented mesh has no next side, or two, there is no
    loop.
    """
    sides, lengths = _loops(EdgeTable.of(mesh.faces.cpu(), len(mesh.vertices)))
    corner = mesh.faces.cpu().flatten()[sides]
    return list(corner.to(mesh.faces.device).split(lengths.tolist()))


def fill_holes(mesh: Mesh, max_sides: int | None = None) -> Mesh:
    """The mesh with its boundary loops of up to ``max_sides`` sides closed; of any length if not given.

    Loops of up to 64 sides take the triangulation of least area and short sides (dynamic programming over the loop, as
    in Barequet & Sharir 1995), without vertices of their own. Longer ones, and those that cannot be closed without
    doubling an edge, take a fan about their centroid. New corners take the UVs and colors of the loop's.

    Where several fans of faces touch in a vertex, a loop may pass it twice and double an edge there: split such
    vertices first (``split_non_manifold``; ``close_surface`` does).
    """
    device = mesh.faces.device
    faces = mesh.faces.cpu()
    table = EdgeTable.of(faces, len(mesh.vertices))
    sides, lengths = _loops(table)
    if max_sides is not None:
        keep = lengths <= max_sides
        sides, lengths = sides[keep.repeat_interleave(lengths)], lengths[keep]
    if not len(sides):
        return mesh
    corner = faces.flatten()[sides]  # (B,) the loops' vertices, one loop behind the other
    vertices = mesh.vertices.cpu()
    triples, fanned = _triangulations(
        vertices.detach()[corner].double().numpy(),
        corner.numpy(),
        (sides // 3).numpy(),
        lengths.numpy(),
        table.keys.numpy(),
        table.vertex_count,
    )
    fan = torch.from_numpy(fanned)[torch.arange(len(lengths)).repeat_interleave(lengths)]  # (B,)
    start = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    place = torch.arange(len(sides))
    following = start + (place - start + 1) % lengths.repeat_interleave(lengths)
    center = torch.from_numpy(np.cumsum(fanned) - 1)[torch.arange(len(lengths)).repeat_interleave(lengths)] + len(sides)
    fans_about = torch.stack([following, place, center], -1)[fan]
    added = torch.cat([torch.from_numpy(triples), fans_about])  # (T, 3), of places in the loops, then of centroids

    def with_centers(values: Tensor) -> Tensor:
        """Values (B,...) at the loops' places, and their means over the loops that get a fan."""
        loop = torch.arange(len(lengths)).repeat_interleave(lengths)
        mean = values.new_zeros(len(lengths), *values.shape[1:]).index_add(0, loop, values)
        mean = mean / lengths.view(-1, *[1] * (values.ndim - 1))
        return torch.cat([values, mean[torch.from_numpy(fanned)]])

    number = torch.cat([corner, len(vertices) + torch.arange(int(fanned.sum()))])
    centroids = with_centers(vertices[corner])[len(sides) :]
    filled = replace(
        mesh,
        vertices=torch.cat([mesh.vertices, centroids.to(device)]),
        faces=torch.cat([mesh.faces, number[added].to(device)]),
        corner_uvs=None,
        texture=None,
        colors=None
        if mesh.colors is None
        else torch.cat([mesh.colors, with_centers(mesh.colors.cpu()[corner])[len(sides) :].to(device)]),
    )
    if mesh.corner_uvs is None:
        return filled
    uvs = with_centers(mesh.corner_uvs.cpu().reshape(-1, 2)[sides])[added]
    return replace(filled, corner_uvs=torch.cat([mesh.corner_uvs, uvs.to(device)]), texture=mesh.texture)


def _loops(table: EdgeTable) -> tuple[Tensor, Tensor]:
    """The sides 3 f + k of all closed boundary loops, one loop behind the other, and the loops' lengths (L,)."""
    sides = table.boundary[table.face_edges.flatten()].nonzero().flatten()
    if not len(sides):
        return sides, sides
    fan = fans(table)
    end = sides // 3 * 3 + (sides % 3 + 1) % 3
    leaving = torch.full((int(fan.max()) + 1,), -1).scatter_(0, fan[sides], torch.arange(len(sides)))
    leaving[torch.bincount(fan[sides], minlength=len(leaving)) > 1] = -1
    following = leaving[fan[end]]
    following[torch.bincount(fan[end], minlength=len(leaving))[fan[end]] > 1] = -1
    order, lengths = _cycles(following.numpy())
    return sides[torch.from_numpy(order)], torch.from_numpy(lengths)


@jit(parallel=False)
def _cycles(following: np.ndarray):  # type: ignore[no-untyped-def]
    """Members and lengths of the cycles of an injective partial map, -1 where it is not defined."""
    seen = np.zeros(len(following), np.bool_)
    order, lengths = np.empty(len(following), np.int64), np.empty(len(following), np.int64)
    members = cycles = 0
    for first in range(len(following)):
        at, length = first, 0
        while at >= 0 and not seen[at]:
            seen[at] = True
            order[members + length] = at
            length += 1
            at = following[at]
        if at == first and length > 0:
            lengths[cycles] = length
            members += length
            cycles += 1
    return order[:members].copy(), lengths[:cycles].copy()


@jit(parallel=False)
def _triangulations(  # type: ignore[no-untyped-def]
    points: np.ndarray, vertex: np.ndarray, face: np.ndarray, lengths: np.ndarray, keys: np.ndarray, stride: int
):
    """Triangles (T,3) of places in the loops, facing against the loops' direction; and which loops need a fan instead.

    Args:
        points, vertex, face: (B,3), (B,) and (B,), the loops one behind the other; the face on each side.
        keys: sorted, low * stride + high vertex of the edges that exist: a diagonal must not double one.
    """
    triples = np.empty((len(points), 3), np.int64)
    fanned = np.zeros(len(lengths), np.bool_)
    count = start = 0
    cost, middle = np.empty((LONGEST, LONGEST)), np.empty((LONGEST, LONGEST), np.int64)
    stack = np.empty((2 * LONGEST, 2), np.int64)
    for loop in range(len(lengths)):
        n = lengths[loop]
        begin = start
        start += n
        if n > LONGEST:
            fanned[loop] = True
            continue
        extent = 0.0
        for i in range(n):
            p, q = points[begin + i], points[begin + (i + 1) % n]
            extent += np.sqrt((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2 + (p[2] - q[2]) ** 2)
            cost[i, (i + 1) % n] = 0.0
        for gap in range(2, n):
            for i in range(n - gap):
                j = i + gap
                cost[i, j] = np.inf
                if gap < n - 1:
                    low, high = min(vertex[begin + i], vertex[begin + j]), max(vertex[begin + i], vertex[begin + j])
                    place = np.searchsorted(keys, low * stride + high)
                    if low == high or (place < len(keys) and keys[place] == low * stride + high):
                        continue
                p, q = points[begin + i], points[begin + j]
                for k in range(i + 1, j):
                    r = points[begin + k]
                    ux, uy, uz = q[0] - p[0], q[1] - p[1], q[2] - p[2]
                    vx, vy, vz = r[0] - p[0], r[1] - p[1], r[2] - p[2]
                    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
                    area = 0.5 * np.sqrt(nx * nx + ny * ny + nz * nz)
                    squares = ux * ux + uy * uy + uz * uz + vx * vx + vy * vy + vz * vz
                    squares += (ux - vx) ** 2 + (uy - vy) ** 2 + (uz - vz) ** 2
                    price = cost[i, k] + cost[k, j] + area + SHAPE * squares
                    if area < 1e-6 * squares:  # corners on a line: only where nothing else closes the hole
                        price += extent * extent
                    if price < cost[i, j]:
                        cost[i, j], middle[i, j] = price, k
        doubled = n == 3 and face[begin] == face[begin + 1] == face[begin + 2]  # it would repeat that face
        if doubled or cost[0, n - 1] == np.inf:
            fanned[loop] = True
            continue
        stack[0, 0], stack[0, 1] = 0, n - 1
        depth = 1
        while depth > 0:
            depth -= 1
            i, j = stack[depth, 0], stack[depth, 1]
            if j - i < 2:
                continue
            k = middle[i, j]
            triples[count, 0], triples[count, 1], triples[count, 2] = begin + j, begin + k, begin + i
            count += 1
            stack[depth, 0], stack[depth, 1] = i, k
            stack[depth + 1, 0], stack[depth + 1, 1] = k, j
            depth += 2
    return triples[:count].copy(), fanned
