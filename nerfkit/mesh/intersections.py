"""Self-intersections of a surface."""

import numpy as np
import torch
from numba import prange
from torch import Tensor

from nerfkit.kernels.jit import jit
from nerfkit.mesh.mesh import Mesh
from nerfkit.mesh.repair import same_places
from nerfkit.mesh.tree import LEAF, build_tree

helper = jit(parallel=False)


def self_intersections(mesh: Mesh) -> Tensor:
    """Pairs of faces that have a point in common without having a corner in common, (P,2) int64, on the CPU.

    Each pair once, lower face first, sorted. Touching counts, and so do faces that overlap in one plane. Corners are
    common where they are at the same place, whatever their numbers; faces that share one are neighbors and are not
    compared, so a fold of a face onto its neighbor is not among the pairs. A face without area counts as the line that
    it is, against faces with area.

    Signs of float64 determinants of the float32 coordinates decide; only contacts nearer than about 1e-15 of the faces'
    size can fall either way. Time grows as the faces do, times the depth of a bounding-box tree.
    """
    if not len(mesh.faces):
        return torch.zeros(0, 2, dtype=torch.int64)
    vertices = mesh.vertices.detach().cpu()
    first, place = same_places(vertices.numpy())
    points = vertices.double().numpy()[first]
    faces = place[mesh.faces.cpu().numpy()]
    low, high, order = build_tree(points[faces])
    return torch.from_numpy(_pairs(points, faces, low, high, order))


@helper
def _orient(points: np.ndarray, a: int, b: int, c: int, d: int) -> float:
    """Six times the volume of the tetrahedron a b c d: positive where d is on the side that a b c faces."""
    ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
    vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
    wx, wy, wz = points[d, 0] - points[a, 0], points[d, 1] - points[a, 1], points[d, 2] - points[a, 2]
    return wx * (uy * vz - uz * vy) + wy * (uz * vx - ux * vz) + wz * (ux * vy - uy * vx)


@helper
def _turn(points: np.ndarray, x: int, y: int, a: int, b: int, c: int) -> float:
    """Twice the area of the triangle a b c seen along an axis: in coordinates ``x`` and ``y``."""
    u = (points[b, x] - points[a, x]) * (points[c, y] - points[a, y])
    return u - (points[b, y] - points[a, y]) * (points[c, x] - points[a, x])


@helper
def _same_side(one: float, other: float) -> bool:
    return (one > 0 and other > 0) or (one < 0 and other < 0)


@helper
def _segments_meet(points: np.ndarray, x: int, y: int, p: int, q: int, a: int, b: int) -> bool:
    """Whether the segments p q and a b have a point in common, in the plane of coordinates ``x`` and ``y``."""
    pa, qa = _turn(points, x, y, a, b, p), _turn(points, x, y, a, b, q)
    ap, bp = _turn(points, x, y, p, q, a), _turn(points, x, y, p, q, b)
    if _same_side(pa, qa) or _same_side(ap, bp):
        return False
    if pa != 0 or qa != 0 or ap != 0 or bp != 0:
        return True
    for axis in (x, y):  # all on one line
        if max(points[p, axis], points[q, axis]) < min(points[a, axis], points[b, axis]):
            return False
        if max(points[a, axis], points[b, axis]) < min(points[p, axis], points[q, axis]):
            return False
    return True


@helper
def _meets_in_plane(points: np.ndarray, p: int, q: int, a: int, b: int, c: int) -> bool:
    """Whether the segment p q meets the triangle a b c in whose plane it lies."""
    ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
    vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
    nx, ny, nz = abs(uy * vz - uz * vy), abs(uz * vx - ux * vz), abs(ux * vy - uy * vx)
    x, y = 0, 1  # the two coordinates in which the triangle is largest
    if nx >= ny and nx >= nz:
        x, y = 1, 2
    elif ny >= nz:
        x, y = 2, 0
    one, two, three = _turn(points, x, y, a, b, p), _turn(points, x, y, b, c, p), _turn(points, x, y, c, a, p)
    if (one >= 0 and two >= 0 and three >= 0) or (one <= 0 and two <= 0 and three <= 0):
        return True
    return (
        _segments_meet(points, x, y, p, q, a, b)
        or _segments_meet(points, x, y, p, q, b, c)
        or _segments_meet(points, x, y, p, q, c, a)
    )


@helper
def _pierces(points: np.ndarray, p: int, q: int, a: int, b: int, c: int) -> bool:
    """Whether the segment p q has a point in common with the triangle a b c, which has an area."""
    above, below = _orient(points, a, b, c, p), _orient(points, a, b, c, q)
    if _same_side(above, below):
        return False
    if above == 0 and below == 0:
        return _meets_in_plane(points, p, q, a, b, c)
    one, two, three = _orient(points, p, q, a, b), _orient(points, p, q, b, c), _orient(points, p, q, c, a)
    return (one >= 0 and two >= 0 and three >= 0) or (one <= 0 and two <= 0 and three <= 0)


@helper
def _has_area(points: np.ndarray, a: int, b: int, c: int) -> bool:
    ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
    vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
    return uy * vz - uz * vy != 0 or uz * vx - ux * vz != 0 or ux * vy - uy * vx != 0


@helper
def _apart(points: np.ndarray, a: int, b: int, c: int, d: int, e: int, f: int) -> bool:
    """Whether d, e and f are all strictly on one side of the plane a b c."""
    one, two = _orient(points, a, b, c, d), _orient(points, a, b, c, e)
    return _same_side(one, two) and _same_side(one, _orient(points, a, b, c, f))


@helper
def _faces_meet(points: np.ndarray, f: np.ndarray, g: np.ndarray) -> bool:
    """Whether two triangles, three vertex numbers each, have a point in common; a side of one then meets the other."""
    a, b, c = f[0], f[1], f[2]
    d, e, h = g[0], g[1], g[2]
    if _apart(points, a, b, c, d, e, h) or _apart(points, d, e, h, a, b, c):
        return False
    if _has_area(points, a, b, c) and (
        _pierces(points, d, e, a, b, c) or _pierces(points, e, h, a, b, c) or _pierces(points, h, d, a, b, c)
    ):
        return True
    return _has_area(points, d, e, h) and (
        _pierces(points, a, b, d, e, h) or _pierces(points, b, c, d, e, h) or _pierces(points, c, a, d, e, h)
    )


@helper
def _found(  # type: ignore[no-untyped-def]
    points, faces, low, high, order, f: int, stack: np.ndarray, partners: np.ndarray
) -> int:
    """Number of faces after ``f`` that it meets; writes as many of them as fit into ``partners``."""
    face = faces[f]
    lows, highs = np.empty(3), np.empty(3)
    for k in range(3):
        x, y, z = points[face[0], k], points[face[1], k], points[face[2], k]
        lows[k], highs[k] = min(x, y, z), max(x, y, z)
    leaves = len(low) // 2
    stack[0] = 1
    depth, count = 1, 0
    while depth > 0:
        depth -= 1
        node = stack[depth]
        overlap = True
        for k in range(3):
            overlap &= low[node, k] <= highs[k] and lows[k] <= high[node, k]
        if not overlap:
            continue
        if node < leaves:
            stack[depth], stack[depth + 1] = 2 * node, 2 * node + 1
            depth += 2
            continue
        for place in range((node - leaves) * LEAF, min((node - leaves + 1) * LEAF, len(order))):
            g = order[place]
            if g <= f:
                continue
            other = faces[g]
            neighbors = False
            for k in range(3):
                neighbors |= face[k] == other[0] or face[k] == other[1] or face[k] == other[2]
                x, y, z = points[other[0], k], points[other[1], k], points[other[2], k]
                neighbors |= min(x, y, z) > highs[k] or max(x, y, z) < lows[k]  # or their boxes are apart
            if not neighbors and _faces_meet(points, face, other):
                if count < len(partners):
                    partners[count] = g
                count += 1
    return count


@jit
def _pairs(points: np.ndarray, faces: np.ndarray, low: np.ndarray, high: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Counts each face's partners, then writes them: in the order of the faces, whatever thread finds them."""
    counts = np.zeros(len(faces), np.int64)
    for chunk in prange((len(faces) + 63) // 64):
        stack, none = np.empty(128, np.int64), np.empty(0, np.int64)
        for place in range(chunk * 64, min(len(faces), chunk * 64 + 64)):
            f = order[place]  # neighbors in space share the tree's nodes
            counts[f] = _found(points, faces, low, high, order, f, stack, none)
    ends = np.cumsum(counts)
    pairs = np.empty((ends[-1], 2), np.int64)
    for f in prange(len(faces)):
        if counts[f] > 0:
            partners = np.empty(counts[f], np.int64)
            _found(points, faces, low, high, order, f, np.empty(128, np.int64), partners)
            begin = ends[f] - counts[f]
            pairs[begin : ends[f], 0] = f
            pairs[begin : ends[f], 1] = np.sort(partners)
    return pairs
