"""A bounding-box tree over a mesh's faces, and the nearest point of the surface to any point."""

from typing import NamedTuple

import numpy as np
import torch
from numba import prange
from scipy.spatial import cKDTree
from torch import Tensor

from nerfkit.kernels.jit import jit
from nerfkit.mesh.mesh import Mesh

LEAF = 4  # faces in a leaf; the traversals below rely on it
CHUNK = 256  # points a thread takes at a time


class Tree(NamedTuple):
    """A complete binary tree: node 1 is the root, nodes 2 n and 2 n + 1 are below node n, and the lowest level holds
    the faces, four a leaf, in the order in which a k-d tree of their centers has them.

    Attributes:
        low, high: (2 L,3) float64, the nodes' boxes; an empty one has low = inf, high = -inf.
        order: (F,) int64, faces in the order of the leaves.
    """

    low: np.ndarray
    high: np.ndarray
    order: np.ndarray


class Closest(NamedTuple):
    """The nearest point of a surface to each of S points.

    Attributes:
        distance: (S,) float64.
        face: (S,) int64, the face that holds it.
        barycentrics: (S,3) float64, where in the face it is.
    """

    distance: Tensor
    face: Tensor
    barycentrics: Tensor


def build_tree(corners: np.ndarray) -> Tree:
    """Tree over faces with ``corners`` (F,3,3) float64; at least one face."""
    low, high = corners.min(1), corners.max(1)  # (F, 3)
    order = cKDTree(low / 2 + high / 2, leafsize=LEAF).indices
    leaves = 1 << (-(-len(corners) // LEAF) - 1).bit_length()
    box_low, box_high = np.full((2 * leaves, 3), np.inf), np.full((2 * leaves, 3), -np.inf)
    starts = np.arange(0, len(corners), LEAF)
    box_low[leaves : leaves + len(starts)] = np.minimum.reduceat(low[order], starts)
    box_high[leaves : leaves + len(starts)] = np.maximum.reduceat(high[order], starts)
    level = leaves
    while level > 1:
        box_low[level // 2 : level] = box_low[level : 2 * level].reshape(-1, 2, 3).min(1)
        box_high[level // 2 : level] = box_high[level : 2 * level].reshape(-1, 2, 3).max(1)
        level //= 2
    return Tree(box_low, box_high, order)


def closest_points(points: Tensor, mesh: Mesh) -> Closest:
    """The exact nearest point of the mesh's surface to each of ``points`` (S,3): face, edge or vertex.

    Computed in float64 on the CPU; results are on the points' device. No gradient: with ``face`` and ``barycentrics``
    held fixed, the point is a smooth function of the vertices. Faces without area count as the lines they are.

    Raises:
        ValueError: a mesh without faces, or coordinates that are NaN or infinite.
    """
    if not len(mesh.faces):
        raise ValueError("a mesh without faces has no nearest point")
    if not torch.isfinite(points).all():
        raise ValueError("points: expected finite coordinates")
    corners = mesh.vertices.detach().cpu().double().numpy()[mesh.faces.cpu().numpy()]
    tree = build_tree(corners)
    found = _closest(points.detach().cpu().double().numpy(), corners[tree.order].reshape(-1, 9), *tree)
    distance, face, barycentrics = (torch.from_numpy(array).to(points.device) for array in found)
    return Closest(distance, face, barycentrics)


@jit(parallel=False)
def _triangle(x: float, y: float, z: float, corner: np.ndarray):  # type: ignore[no-untyped-def]
    """Squared distance of the point from a triangle (9,), a b c one behind the other; the nearest point's barycentrics.

    The point's position along the sides tells which vertex, side or the inside is nearest (Ericson, "Real-Time
    Collision Detection", 2005, section 5.1.5). Sides without length are passed over.
    """
    ax, ay, az = corner[0] - x, corner[1] - y, corner[2] - z  # the corners as seen from the point
    bx, by, bz = corner[3] - x, corner[4] - y, corner[5] - z
    cx, cy, cz = corner[6] - x, corner[7] - y, corner[8] - z
    ux, uy, uz = bx - ax, by - ay, bz - az
    vx, vy, vz = cx - ax, cy - ay, cz - az
    ua, va = -(ux * ax + uy * ay + uz * az), -(vx * ax + vy * ay + vz * az)
    ub, vb = -(ux * bx + uy * by + uz * bz), -(vx * bx + vy * by + vz * bz)
    uc, vc = -(ux * cx + uy * cy + uz * cz), -(vx * cx + vy * cy + vz * cz)
    at_c, at_b, at_a = ua * vb - ub * va, uc * va - ua * vc, ub * vc - uc * vb  # unnormalized barycentrics
    wb = wc = 0.0
    if ua <= 0 and va <= 0:
        pass  # corner a
    elif ub >= 0 and vb <= ub:
        wb = 1.0
    elif vc >= 0 and uc <= vc:
        wc = 1.0
    elif at_c <= 0 and ua >= 0 and ub <= 0 and ua > ub:
        wb = ua / (ua - ub)
    elif at_b <= 0 and va >= 0 and vc <= 0 and va > vc:
        wc = va / (va - vc)
    elif at_a <= 0 and vb >= ub and uc >= vc and (vb - ub) + (uc - vc) > 0:
        wc = (vb - ub) / ((vb - ub) + (uc - vc))
        wb = 1 - wc
    elif at_a + at_b + at_c > 0:
        wb, wc = at_b / (at_a + at_b + at_c), at_c / (at_a + at_b + at_c)
    dx, dy, dz = ax + wb * ux + wc * vx, ay + wb * uy + wc * vy, az + wb * uz + wc * vz
    return dx * dx + dy * dy + dz * dz, max(1 - wb - wc, 0.0), wb, wc


@jit(parallel=False)
def _box(x: float, y: float, z: float, low: np.ndarray, high: np.ndarray, node: int) -> float:
    """Squared distance of the point from a node's box; infinite for an empty one."""
    dx = max(low[node, 0] - x, x - high[node, 0], 0.0)
    dy = max(low[node, 1] - y, y - high[node, 1], 0.0)
    dz = max(low[node, 2] - z, z - high[node, 2], 0.0)
    return dx * dx + dy * dy + dz * dz


@jit
def _closest(points: np.ndarray, corners: np.ndarray, low: np.ndarray, high: np.ndarray, order: np.ndarray):  # type: ignore[no-untyped-def]
    """See ``closest_points``; ``corners`` (F,9) are in the leaves' order. Of faces equally near the lowest wins."""
    count, leaves = len(points), len(low) // 2
    distance, face, barycentrics = np.empty(count), np.empty(count, np.int64), np.empty((count, 3))
    for chunk in prange((count + CHUNK - 1) // CHUNK):
        stack, reach, place = np.empty(128, np.int64), np.empty(128), -1
        for i in range(chunk * CHUNK, min(count, (chunk + 1) * CHUNK)):
            x, y, z = points[i, 0], points[i, 1], points[i, 2]
            best, winner = np.inf, len(order)
            if place >= 0:  # what is nearest to one point is near to the next: other faces can be passed over at once
                best, wa, wb, wc = _triangle(x, y, z, corners[place])
                winner = order[place]
                barycentrics[i, 0], barycentrics[i, 1], barycentrics[i, 2] = wa, wb, wc
            stack[0], reach[0] = 1, 0.0
            depth = 1
            while depth > 0:
                depth -= 1
                node = stack[depth]
                if reach[depth] > best:
                    continue
                if node >= leaves:
                    first = (node - leaves) * LEAF
                    for other in range(first, min(first + LEAF, len(order))):
                        square, wa, wb, wc = _triangle(x, y, z, corners[other])
                        if square < best or (square == best and order[other] < winner):
                            best, winner, place = square, order[other], other
                            barycentrics[i, 0], barycentrics[i, 1], barycentrics[i, 2] = wa, wb, wc
                    continue
                left, right = _box(x, y, z, low, high, 2 * node), _box(x, y, z, low, high, 2 * node + 1)
                nearer = 0 if left <= right else 1  # the last one pushed is looked at first
                if max(left, right) <= best and max(left, right) < np.inf:
                    stack[depth], reach[depth] = 2 * node + 1 - nearer, max(left, right)
                    depth += 1
                if min(left, right) <= best:
                    stack[depth], reach[depth] = 2 * node + nearer, min(left, right)
                    depth += 1
            distance[i], face[i] = np.sqrt(best), winner
    return distance, face, barycentrics
