"""Antialiasing of rasterized pictures, along contours or by nvdiffrast's rule, and the topology that they walk."""

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from nerfkit.kernels import antialias as antialias_kernel
from nerfkit.mesh.edges import EdgeTable, corners_of
from nerfkit.raster.fragments import Fragments

_known_edges: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
_known_opposites: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def contour_candidates(faces: Tensor) -> Tensor:
    """(E,4) int64: each edge's two vertices and the vertex opposite in each of its faces, -1 for a side without a face.

    This is what ``nerfkit.kernels.antialias`` reads; for faces (N,F,3) it is (N,E,4), padded with rows of -1. It is
    computed once for each ``faces`` tensor and lives as long as that.
    """
    return _remembered(faces)[0]


def crease_edges(faces: Tensor, corner_values: Tensor, tolerance: float = 1e-3) -> Tensor:
    """Which edges of ``contour_candidates`` a value jumps across: a color, a normal, a texture coordinate.

    Args:
        faces: (F,3) or (N,F,3) int64 vertex numbers.
        corner_values: (F,3,C), or (N,F,3,C) for each view, of the faces' corners.
        tolerance: the two faces of an edge may differ by this much, in any channel, at either of its ends.

    Returns:
        (E,) or (N,E) bool. False where an edge has one face.
    """
    sides = _remembered(faces)[1]  # (E, 2) or (N, E, 2)
    values = corner_values.detach()
    if values.ndim == 4 and sides.ndim == 2:
        sides = sides.expand(values.shape[0], -1, -1)
    elif values.ndim == 3 and sides.ndim == 3:
        values = values.expand(sides.shape[0], -1, -1, -1)
    # Side 3 f + k runs from corner k of face f to the next one: in an edge's two faces mostly the opposite way.
    start = sides.clamp(min=0)
    end = torch.where(start % 3 == 2, start - 2, start + 1)
    corners = faces.flatten(-2).expand(*sides.shape[:-2], -1)
    flat = values.flatten(-3, -2)  # (..., 3F, C)
    ends = torch.stack([start, end], -1)  # (..., E, 2 faces, 2 ends)
    vertices = _take(corners[..., None], ends)[..., 0]
    reverse = vertices[..., 0] > vertices[..., 1]  # both faces from the lower vertex to the higher
    found = _take(flat, torch.where(reverse[..., None], ends.flip(-1), ends))  # (..., E, 2, 2, C)
    jump = ((found[..., 0, :, :] - found[..., 1, :, :]).abs() > tolerance).any(-1).any(-1)
    return jump & (sides >= 0).all(-1)


def _take(rows: Tensor, index: Tensor) -> Tensor:
    """rows (..., R, C) at index (..., *S): (..., *S, C)."""
    leading = rows.ndim - 2
    flat = index.flatten(leading)  # (..., S)
    found = rows.gather(leading, flat[..., None].expand(*flat.shape, rows.shape[-1]))
    return found.unflatten(leading, index.shape[leading:])


def _version(faces: Tensor) -> object:
    """Another one once ``faces`` was written to; of inference tensors PyTorch does not count, so each time."""
    return object() if faces.is_inference() else faces._version


def _remembered(faces: Tensor) -> tuple[Tensor, Tensor]:
    """``contour_candidates`` and the two sides of each edge (see ``_edge_sides``)."""
    version, edges, sides = _known_edges.get(faces, (None, None, None))
    if edges is None or version != _version(faces):
        ends, sides = _edge_sides(faces)
        opposite = faces.roll(1, -1).flatten(-2)  # the corner that side k, from corner k to k + 1, does not touch
        found = opposite.gather(-1, sides.clamp(min=0).flatten(-2)).view_as(sides)
        edges = torch.cat([ends, torch.where(sides >= 0, found, -1)], -1)
        _known_edges[faces] = (_version(faces), edges, sides)
    return edges, sides


def _table(faces: Tensor, kept: Tensor) -> tuple[EdgeTable, Tensor]:
    """The edges of the faces ``kept`` (F,) of ``faces`` (F,3), and each one's number among all: (F',)."""
    chosen = faces[kept]
    return EdgeTable.of(chosen, int(chosen.max()) + 1 if len(chosen) else 0), kept.nonzero().flatten()


def _edge_sides(faces: Tensor) -> tuple[Tensor, Tensor]:
    """Edges (E,2) and their sides (E,2) numbered 3 f + k for the one from corner k to k + 1 of face f, -1 for none.

    Of faces (N,F,3) both are (N,E,2), padded with -1.
    """
    if faces.ndim == 3:
        parts = [_edge_sides(own) for own in faces]
        if not parts:
            return faces.new_zeros(0, 0, 2), faces.new_zeros(0, 0, 2)
        pad = torch.nn.utils.rnn.pad_sequence
        edges, sides = (pad([p[k] for p in parts], batch_first=True, padding_value=-1) for k in range(2))
        return edges, sides
    table, number = _table(faces, (faces >= 0).all(1))
    edge = table.face_edges.flatten()[table.ordered]  # (3F',)
    partner = torch.where(table.count == 2, table.sides[:, 1], -1)[edge]
    first = table.ordered != partner
    sides = torch.stack([table.ordered, partner], 1)[first]
    return table.ends[edge[first]], torch.where(sides >= 0, 3 * number[sides // 3] + sides % 3, -1)


def antialias(
    image: Tensor, fragments: Fragments, faces: Tensor, near: float = 1e-3, creases: Tensor | None = None
) -> Tensor:
    """Blends pixels across the mesh's contours by the share that each surface covers: the visibility gradient.

    See ``nerfkit.kernels.antialias`` for the rule. Colors should be premultiplied, alpha among the channels, and the
    empty pixels 0: composite over a background afterward.

    Args:
        image: (N,H,W,C) shaded pixels.
        fragments: what ``rasterize`` returned for the same mesh.
        faces: (F,3) int64, or (N,F,3), each view's own. Keep using one tensor: its edges are found once and remembered.
        near: contour edges with an end nearer than this get no blending and no gradient.
        creases: (E,) or (N,E) bool, the edges of ``contour_candidates`` across which the color jumps; see
            ``crease_edges``.

    Returns:
        (N,H,W,C), each pixel a convex combination of ``image``'s there and next to it; differentiable with respect to
        ``image`` and, through ``fragments.points``, to the vertices.
    """
    edges = contour_candidates(faces)
    return antialias_kernel.antialias(image, fragments.points, faces, edges, fragments.face, near, creases)


def opposite_vertices(faces: Tensor) -> Tensor:
    """For each corner of each face the vertex beyond the side facing it, of the other face there; -1 if there is none.

    As nvdiffrast has it: an edge knows the first two different vertices that faces have opposite to it, in the faces'
    order, so of three faces on an edge the first two are neighbors and the third has none. Faces that use a vertex
    twice have no neighbors. Remembered as ``contour_candidates`` are.

    Args:
        faces: (F,3) int64 vertex numbers, or (N,F,3). Rows of -1 are padding.

    Returns:
        Vertex numbers, shaped like ``faces``.
    """
    version, opposite = _known_opposites.get(faces, (None, None))
    if opposite is None or version != _version(faces):
        opposite = (
            torch.stack([_opposite(own) for own in faces]) if faces.ndim == 3 and len(faces) else _opposite(faces)
        )
        _known_opposites[faces] = (_version(faces), opposite)
    return opposite


def _opposite(faces: Tensor) -> Tensor:
    """``opposite_vertices`` of one mesh."""
    result = torch.full(faces.shape, -1, device=faces.device)  # contiguous, whatever ``faces`` is
    table, number = _table(faces, (faces >= 0).all(-1) & (faces != faces.roll(1, -1)).all(-1))
    edge = table.face_edges.flatten()[table.ordered]  # (3F',)
    apex = corners_of(table.ordered, table.faces)[2]
    rank = torch.arange(len(edge), device=edge.device)
    first = apex[table.start]  # (E,)
    later = torch.where(apex != first[edge], rank, len(edge))
    second = torch.full_like(first, len(edge)).scatter_reduce(0, edge, later, "amin")
    second = torch.where(second < len(edge), apex[second.clamp(max=len(edge) - 1)], -1)
    across = torch.where(apex == first[edge], second[edge], torch.where(apex == second[edge], first[edge], -1))
    result[number[table.ordered // 3], (table.ordered + 2) % 3] = across
    return result


def antialias_pixels(image: Tensor, fragments: Fragments, faces: Tensor, near: float = 1e-3) -> Tensor:
    """nvdiffrast's antialiasing, for comparison: see ``nerfkit.kernels.antialias.pixels``.

    Args and result are those of ``antialias``, but for the blends of one pixel being added up: values can leave the
    range of the colors around it.
    """
    opposite = opposite_vertices(faces)
    return antialias_kernel.antialias_pixels(
        image, fragments.points, faces, opposite, fragments.face, fragments.depth, near
    )
