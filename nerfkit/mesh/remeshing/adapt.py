"""Faces where they are needed: target edge lengths from an error, a face budget that is met, and plain subdivision."""

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfkit.mesh.edges import EdgeTable, corners_of
from nerfkit.mesh.mesh import Mesh, face_areas, face_cross
from nerfkit.mesh.remeshing.remesh import Remeshed, faces_expected, remesh
from nerfkit.mesh.remeshing.state import SPLIT_ABOVE, Groups

TOLERANCE = 0.02  # of the face budget
PASSES = 16
SPREAD = 6.0  # default limits of L, as a factor on the length that would spread the faces evenly


@torch.no_grad()
def adapt(
    vertices: Tensor,
    faces: Tensor,
    wanted: int,
    error: Tensor | None = None,
    attributes: Tensor | None = None,
    gradation: float = 1.5,
    shortest: float | None = None,
    longest: float | None = None,
    smoothing: float = 0.5,
) -> Remeshed:
    """Remesh to about ``wanted`` faces, spread in proportion to an error: refines and decimates at once.

    Target lengths come from ``target_lengths``; after each pass of ``remesh`` they are scaled by the root of the faces
    there are over those wanted, until the number is within 2 %. It is missed only where limits, topology or sharp
    folds do not admit it.

    Args:
        vertices: (V,3) floating point.
        faces: (F,3) int64.
        wanted: number of faces.
        error: (F,) or (V,), not negative: how many faces a unit of area ought to get, up to a factor. None takes
            ``curvature``, which evens out the distance between the mesh and the smooth surface it stands for.
        attributes: (V,C), carried along.
        gradation: largest ratio of the target lengths of neighbors in the result, above 1.
        shortest: least target length, in units of the vertices; None: a sixth of an even mesh's.
        longest: greatest target length; None: six times an even mesh's.
        smoothing: see ``remesh``.

    Raises:
        ValueError: as ``remesh`` and ``target_lengths``.
    """
    error = curvature(vertices, faces) if error is None else error
    target = target_lengths(vertices, faces, error, wanted, gradation, shortest, longest)
    result = remesh(vertices, faces, target, attributes, 3, smoothing)
    source = result.source
    for _ in range(PASSES):
        ratio = len(result.faces) / wanted
        if abs(ratio - 1) <= TOLERANCE:
            break
        edges, reach = _slopes(result.vertices, result.faces, gradation)
        target = _graded(result.target.double() * math.sqrt(ratio), edges, reach)
        if shortest is not None or longest is not None:
            target = target.clamp(min=shortest, max=longest)
        result = remesh(result.vertices, result.faces, target, result.attributes, 1, smoothing)
        source = source[result.source]
    return replace(result, source=source)


def adapt_mesh(mesh: Mesh, wanted: int, error: Tensor | None = None) -> Mesh:
    """``adapt`` for a mesh, with its vertex colors.

    Raises:
        ValueError: the mesh has UVs, which do not survive a change of faces.
    """
    if mesh.corner_uvs is not None:
        raise ValueError(
            "adapt: the mesh has UVs or a texture, which do not survive a change of faces; bake the texture to vertex "
            "colors or drop it (without_appearance), and unwrap afterward"
        )
    result = adapt(mesh.vertices, mesh.faces, wanted, error, mesh.colors)
    return replace(mesh, vertices=result.vertices, faces=result.faces, colors=result.attributes)


def target_lengths(
    vertices: Tensor,
    faces: Tensor,
    error: Tensor,
    wanted: int,
    gradation: float = 1.5,
    shortest: float | None = None,
    longest: float | None = None,
) -> Tensor:
    """Target edge length L_v at every vertex, (V,) float64, for ``wanted`` faces in proportion to an error e_v.

        L_v = min over vertices u of  clamp(s / sqrt(e_u), shortest, longest) + 3/2 (g - 1) / (g + 1) |path from u to v|

    along edges, with the scale s at which the expected number of faces, sum of area / (sqrt(3)/4 L^2), is ``wanted``.
    The second term holds the ratio of L at the ends of the longest edges that remeshing leaves, 4/3 of the mean L, to
    the ``gradation`` g. Arguments as for ``adapt``.

    Raises:
        ValueError: the error has a wrong shape, is negative, NaN or infinite; the surface has no area; ``wanted``,
            ``gradation`` or the limits make no sense.
    """
    V = len(vertices)
    position = vertices.detach().double()
    areas = face_areas(position, faces)
    if wanted < 4 or not gradation > 1:
        raise ValueError(f"adapt: wanted is {wanted} and gradation {gradation}, expected at least 4 and above 1")
    if not areas.sum() > 0:
        raise ValueError("adapt: the mesh has no area, or a vertex that is NaN; there is nothing to spread faces on")
    even = math.sqrt(areas.sum().item() / wanted * 4 / math.sqrt(3))
    low = even / SPREAD if shortest is None else shortest
    high = max(even * SPREAD, low) if longest is None else longest
    if not 0 < low <= high < math.inf:
        raise ValueError(f"adapt: lengths from {low:.3g} to {high:.3g}, expected 0 < shortest <= longest")
    density = _at_vertices(error.detach().double(), faces, areas, V)
    if not (torch.isfinite(density) & (density >= 0)).all():
        raise ValueError("adapt: the error holds numbers that are negative, NaN or infinite")
    mean = (density[faces].mean(1) * areas).sum() / areas.sum()
    density = density / mean if mean > 0 else torch.ones_like(density)
    shape = density.clamp(min=1e-12).rsqrt() * even  # (V,), L but for its scale

    edges, reach = _slopes(position, faces, gradation)
    scale = 1.0
    for _ in range(30):
        lengths = _graded((shape * scale).clamp(low, high), edges, reach)
        ratio = faces_expected(position, faces, lengths) / wanted
        if abs(ratio - 1) < 1e-3:
            break
        scale *= math.sqrt(ratio)  # exact where no limit holds; toward it where some do
    return lengths


def _slopes(vertices: Tensor, faces: Tensor, gradation: float) -> tuple[Tensor, Tensor]:
    """Edges (E,2) and by how much target lengths may differ between their ends: (E,)."""
    edges = EdgeTable.of(faces[(faces != faces.roll(-1, 1)).all(1)], len(vertices)).ends
    length = (vertices[edges[:, 0]] - vertices[edges[:, 1]]).double().norm(dim=-1)
    return edges, 2 / SPLIT_ABOVE * (gradation - 1) / (gradation + 1) * length


def _graded(lengths: Tensor, edges: Tensor, reach: Tensor) -> Tensor:
    """Lengths (V,) lowered so that those at the ends of an edge differ by at most its ``reach`` (E,)."""
    ends = edges.flatten()
    while True:
        offer = lengths[edges.flip(1)] + reach[:, None]  # (E, 2), for this end from the other one
        lower = lengths.scatter_reduce(0, ends, offer.flatten(), "amin")
        if torch.equal(lower, lengths):
            return lengths
        lengths = lower


def _at_vertices(error: Tensor, faces: Tensor, areas: Tensor, vertex_count: int) -> Tensor:
    """Errors of vertices as they are; of faces as their area-weighted mean around each vertex: (V,)."""
    if error.shape == (vertex_count,):
        return error
    if error.shape != (len(faces),):
        raise ValueError(
            f"adapt: the error is {tuple(error.shape)}, expected ({vertex_count},), one a vertex, or ({len(faces)},), "
            "one a face"
        )
    corners = Groups.of(faces.flatten(), vertex_count)
    total = corners.sum(torch.stack([error * areas, areas], -1)[corners.items // 3])  # (V, 2)
    return total[:, 0] / total[:, 1].clamp(min=1e-300)


def curvature(vertices: Tensor, faces: Tensor) -> Tensor:
    """Curvature |k1| + |k2| around every vertex, (V,) float64, in one over the vertices' units.

    It is the sum of angle times length over half of each edge at the vertex, over a third of the area of its faces.
    Edges that are on the boundary, or where faces disagree, count as flat. An edge of length L stands off a curve of
    curvature k by k L^2 / 8: faces in proportion to k make that distance alike everywhere.
    """
    V = len(vertices)
    faces = faces[(faces != faces.roll(-1, 1)).all(1)]
    position = vertices.detach().double()
    edges = EdgeTable.of(faces, V)
    cross = face_cross(position, faces)
    normal = normalize(cross, dim=-1, eps=1e-300)
    first, second = (edges.sides.clamp(min=0) // 3).unbind(-1)  # faces
    one, other = normal[first], normal[second]
    angle = 2 * torch.atan2((one - other).norm(dim=-1), (one + other).norm(dim=-1))
    a, b = edges.ends.unbind(-1)
    bend = torch.where(edges.regular, angle, 0.0) * (position[a] - position[b]).norm(dim=-1) / 2  # (E,)
    ends, corners = Groups.of(edges.ends.flatten(), V), Groups.of(faces.flatten(), V)
    area = corners.sum(cross.norm(dim=-1)[corners.items // 3]) / 6
    return ends.sum(bend[ends.items // 2]) / area.clamp(min=1e-300)


@torch.no_grad()
def subdivide(mesh: Mesh, scheme: Literal["midpoint", "loop"] = "midpoint", rounds: int = 1) -> Mesh:
    """Four faces for every face: 4 f to 4 f + 2 at the corners of face f, 4 f + 3 in its middle.

    ``midpoint`` keeps the shape. ``loop`` smooths it (Loop 1987, with his weights; boundaries, and edges where more
    than two faces meet, become cubic B-splines of their own). Colors follow the vertices, UVs are halved.
    """
    if scheme not in ("midpoint", "loop"):
        raise ValueError(f"subdivide: scheme is {scheme!r}, expected 'midpoint' or 'loop'")
    for _ in range(rounds):
        values = mesh.vertices if mesh.colors is None else torch.cat([mesh.vertices, mesh.colors], -1)
        V = len(values)
        edges = EdgeTable.of(mesh.faces, V)
        first, second = edges.ends.unbind(-1)
        middles = (values[first] + values[second]) / 2
        corners = values
        if scheme == "loop":
            corners, middles = _loop(values, middles, edges, mesh.faces)
        a, b, c = mesh.faces.unbind(1)
        p, q, r = (V + edges.face_edges).unbind(1)
        pattern = [a, p, r, p, b, q, r, q, c, p, q, r]
        uvs = mesh.corner_uvs
        if uvs is not None:
            a, b, c = uvs.unbind(1)  # (F, 2) each
            p, q, r = ((uvs + uvs.roll(-1, 1)) / 2).unbind(1)
            uvs = torch.stack([a, p, r, p, b, q, r, q, c, p, q, r], 1).view(-1, 3, 2)
        values = torch.cat([corners, middles])
        mesh = replace(
            mesh,
            vertices=values[:, :3].contiguous(),
            faces=torch.stack(pattern, 1).view(-1, 3),
            corner_uvs=uvs,
            colors=None if mesh.colors is None else values[:, 3:].clamp(0, 1),
        )
    return mesh


def _loop(values: Tensor, middles: Tensor, edges: EdgeTable, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Loop's values at old vertices (V,C) and at edges (E,C), from the old ones and the edges' middles."""
    V = len(values)
    c = corners_of(edges.sides[:, 0], faces)[2]
    d = corners_of(edges.sides[:, 1].clamp(min=0), faces)[2]
    smooth = edges.regular[:, None]
    at_edges = torch.where(smooth, 0.75 * middles + (values[c] + values[d]) / 8, middles)

    def neighbors(which: Tensor) -> tuple[Tensor, Tensor]:
        ends = edges.ends[which]
        groups = Groups.of(ends.flatten(), V)
        return groups.count[:, None], groups.sum(values[ends.flip(1).flatten()[groups.items]])

    degree, total = neighbors(torch.ones_like(edges.regular))
    n = degree.clamp(min=1).to(values.dtype)
    share = (0.625 - (0.375 + torch.cos(2 * math.pi / n) / 4) ** 2) / n
    inner = (1 - degree * share) * values + share * total
    sharp, along = neighbors(~edges.regular)
    rim = torch.where(sharp == 2, 0.75 * values + along / 8, values)
    return torch.where((sharp == 0) & (degree > 0), inner, rim), at_edges
