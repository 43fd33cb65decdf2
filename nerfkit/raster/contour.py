"""Contour antialiasing of rasterized pictures, and the mesh topology that it walks."""

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from nerfkit.kernels import antialias as antialias_kernel
from nerfkit.raster.fragments import Fragments

_known_edges: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def edge_faces(faces: Tensor) -> tuple[Tensor, Tensor]:
    """The edges of a mesh and the faces on either side.

    Args:
        faces: (F,3) int64 vertex numbers.

    Returns:
        edges (E,2): vertices, lower number first; and their faces (E,2), lower number first, -1 for a side without one.
        An edge of three or more faces appears once for each of them with that face alone, so it counts as a boundary.
    """
    edges, sides = _edge_sides(faces)
    return edges, torch.where(sides >= 0, sides // 3, -1)


def contour_candidates(faces: Tensor) -> Tensor:
    """(E,4) int64: each edge's two vertices and the vertex opposite in each of its faces, -1 for a side without a face.

    This is what ``nerfkit.kernels.antialias`` reads. It is computed once for each ``faces`` tensor and lives as
    long as that.
    """
    version, edges = _known_edges.get(faces, (None, None))
    if edges is None or version != faces._version:
        ends, sides = _edge_sides(faces)
        opposite = faces.roll(1, 1).reshape(-1)  # the corner that side k, from corner k to k + 1, does not touch
        edges = torch.cat([ends, torch.where(sides >= 0, opposite[sides.clamp(min=0)], -1)], 1)
        _known_edges[faces] = (faces._version, edges)
    return edges


def _edge_sides(faces: Tensor) -> tuple[Tensor, Tensor]:
    """Edges (E,2) and their sides (E,2) numbered 3 f + k for the one from corner k to k + 1 of face f, -1 for none."""
    if faces.shape[0] == 0:
        return faces.new_zeros(0, 2), faces.new_zeros(0, 2)
    ends = torch.stack([faces, faces.roll(-1, 1)], -1).reshape(-1, 2)  # (3F, 2)
    low, high = ends.amin(1), ends.amax(1)
    key, order = torch.sort(low * (int(faces.max()) + 1) + high, stable=True)
    _, count = torch.unique_consecutive(key, return_counts=True)
    count_here = count.repeat_interleave(count)  # (3F,)
    starts = torch.cumsum(count, 0) - count
    rank = torch.arange(len(key), device=key.device) - starts.repeat_interleave(count)
    first = (count_here != 2) | (rank == 0)
    partner = order.roll(-1)
    sides = torch.stack([order, torch.where(count_here == 2, partner, -1)], 1)[first]
    return torch.stack([low, high], 1)[sides[:, 0]], sides


def antialias(image: Tensor, fragments: Fragments, faces: Tensor, near: float = 1e-3) -> Tensor:
    """Blends pixels across the mesh's contours by the share that each surface covers: the visibility gradient.

    See ``nerfkit.kernels.antialias`` for the rule. Colours should be premultiplied, alpha among the channels, and the
    empty pixels 0: composite over a background afterwards.

    Args:
        image: (N,H,W,C) shaded pixels.
        fragments: what ``rasterize`` returned for the same mesh.
        faces: (F,3) int64. Keep using one tensor: its edges are found once and remembered.
        near: contour edges with an end nearer than this get no blending and no gradient.

    Returns:
        (N,H,W,C), each pixel a convex combination of ``image``'s there and next to it; differentiable with respect to
        ``image`` and, through ``fragments.points``, to the vertices.
    """
    edges = contour_candidates(faces)
    return antialias_kernel.antialias(image, fragments.points, edges, fragments.face, fragments.depth, near)
