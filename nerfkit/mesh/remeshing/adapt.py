"""Faces where they are needed: target edge lengths from an error, and a face budget that is met."""

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerfkit.mesh.edges import EdgeTable
from nerfkit.mesh.mesh import face_areas, face_cross
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
