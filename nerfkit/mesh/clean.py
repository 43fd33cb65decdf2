"""Fewer and better triangles: connected parts, floaters, decimation, degenerate faces, smoothing."""

from dataclasses import dataclass, replace

import fast_simplification
import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from nerfkit.mesh.losses import Topology, laplacian_vectors
from nerfkit.mesh.mesh import Mesh, face_areas, unique_edges


def components(mesh: Mesh) -> Tensor:
    """The connected part, numbered from 0, that each face belongs to, (F,) int64; shared vertices join faces."""
    faces = mesh.faces.cpu().numpy()
    sides = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(sides), bool), (sides[:, 0], sides[:, 1])), shape=(len(mesh.vertices),) * 2)
    label = connected_components(graph, directed=False)[1][faces[:, 0]]  # unused vertices count as parts of their own
    _, label = np.unique(label, return_inverse=True)
    return torch.from_numpy(label.astype(np.int64)).to(mesh.faces.device)


def select_faces(mesh: Mesh, keep: Tensor) -> Mesh:
    """The mesh of the faces where ``keep`` (F,) is true, without the vertices that no face uses any more."""
    faces = mesh.faces[keep]
    used, inverse = torch.unique(faces, return_inverse=True)
    return replace(
        mesh,
        vertices=mesh.vertices[used],
        faces=inverse.view(-1, 3),
        corner_uvs=None if mesh.corner_uvs is None else mesh.corner_uvs[keep],
        colours=None if mesh.colours is None else mesh.colours[used],
    )


def remove_floaters(mesh: Mesh, min_fraction: float = 0.02) -> Mesh:
    """Drop connected parts whose area is below ``min_fraction`` of the largest part's."""
    label = components(mesh)
    area = torch.zeros(int(label.max()) + 1 if len(label) else 0, device=label.device)
    area = area.index_add(0, label, face_areas(mesh.vertices, mesh.faces))
    return select_faces(mesh, (area >= min_fraction * area.max())[label]) if len(label) else mesh


def remove_hidden(mesh: Mesh, visible: Tensor) -> Mesh:
    """Drop connected parts of which no face is in ``visible`` (F,) bool: what no camera saw is chance.

    A part that is seen keeps its hidden faces: cutting them off would open the surface.
    """
    label = components(mesh)
    return select_faces(mesh, torch.isin(label, label[visible]))


def remove_degenerate(mesh: Mesh) -> Mesh:
    """Drop faces that name a vertex twice and faces that repeat another's three vertices, then unused vertices."""
    a, b, c = mesh.faces.unbind(1)
    proper = (a != b) & (b != c) & (c != a)
    _, inverse = torch.unique(mesh.faces.sort(1).values, dim=0, return_inverse=True)
    number = torch.arange(len(inverse), device=inverse.device)
    first = torch.full_like(number, len(number)).scatter_reduce(0, inverse, number, "amin")
    return select_faces(mesh, proper & (first[inverse] == number))


def decimate(mesh: Mesh, faces: int) -> Mesh:
    """At most about ``faces`` triangles, by quadric edge collapse (Garland & Heckbert 1997); geometry only.

    Meshes that are small enough already keep their shape. Degenerate and doubled faces are removed afterwards. Where
    the mesh was watertight and the collapses broke that, it is mended (``close_surface``).
    """
    plain = mesh.without_appearance()
    if len(mesh.faces) > faces:
        vertices, triangles = fast_simplification.simplify(
            mesh.vertices.cpu().numpy(), mesh.faces.cpu().numpy().astype(np.int32), target_count=faces
        )
        plain = replace(
            plain, vertices=torch.from_numpy(vertices).float(), faces=torch.from_numpy(triangles.astype(np.int64))
        )
    plain = remove_degenerate(plain)
    return plain if is_watertight(plain) or not is_watertight(mesh) else close_surface(plain)


def close_surface(mesh: Mesh) -> Mesh:
    """A watertight mesh of the same shape but for its defects; geometry only.

    Faces at edges that have more than two faces, or two of opposite orientation, are dropped; vertices where several
    fans of faces touch are split, one for each fan; every boundary is then a simple loop, and is closed by a fan about
    its centroid. Holes of any size are closed, so this is for meshes that ought to be closed.
    """
    faces = remove_degenerate(mesh.without_appearance()).faces
    edges, side_edge = unique_edges(faces)
    count, direction = _edge_use(faces, side_edge, len(edges))
    faces = faces[((count <= 2) & ((count < 2) | (direction == 0)))[side_edge].all(1)]

    # corners 3 f + k around a vertex are joined across the edges that two faces share
    edges, side_edge = unique_edges(faces)
    order = torch.sort(side_edge.flatten(), stable=True).indices
    paired = (side_edge.flatten()[order][1:] == side_edge.flatten()[order][:-1]).nonzero().flatten()
    one, other = order[paired], order[paired + 1]  # sides 3 f + k, that run in opposite directions
    following = torch.arange(3 * len(faces)).view(-1, 3).roll(-1, 1).flatten()
    row = torch.cat([one, following[one]]).numpy()
    column = torch.cat([following[other], other]).numpy()
    graph = coo_matrix((np.ones(len(row), bool), (row, column)), shape=(3 * len(faces),) * 2)
    fan = torch.from_numpy(connected_components(graph, directed=False)[1].astype(np.int64))
    origin = torch.zeros(int(fan.max()) + 1 if len(fan) else 0, dtype=torch.int64).scatter(0, fan, faces.flatten())
    vertices, faces = mesh.vertices[origin], fan.view(-1, 3)

    # a boundary side from a to b leaves an edge from b to a open
    edges, side_edge = unique_edges(faces)
    alone = (torch.bincount(side_edge.flatten(), minlength=len(edges)) == 1)[side_edge].flatten()
    start, end = faces.roll(-1, 1).flatten()[alone], faces.flatten()[alone]
    loops = coo_matrix((np.ones(len(start), bool), (start.numpy(), end.numpy())), shape=(len(vertices),) * 2)
    label = torch.from_numpy(connected_components(loops, directed=False)[1].astype(np.int64))[start]
    _, label = torch.unique(label, return_inverse=True)
    loop_count = int(label.max()) + 1 if len(label) else 0
    size = torch.bincount(label, minlength=loop_count)
    centroid = torch.zeros(loop_count, 3).index_add(0, label, vertices[start]) / size[:, None]
    fans = torch.stack([start, end, len(vertices) + label], -1)
    return replace(mesh.without_appearance(), vertices=torch.cat([vertices, centroid]), faces=torch.cat([faces, fans]))


def _edge_use(faces: Tensor, side_edge: Tensor, edge_count: int) -> tuple[Tensor, Tensor]:
    """Faces at each edge, and the sum of the directions, +1 or -1, in which they run along it: 0 where two agree."""
    count = torch.bincount(side_edge.flatten(), minlength=edge_count)
    sign = torch.where(faces < faces.roll(-1, 1), 1, -1)  # (F, 3)
    return count, torch.zeros_like(count).index_add(0, side_edge.flatten(), sign.flatten())


def smooth(mesh: Mesh, iterations: int = 10, shrink: float = 0.5, inflate: float = -0.53) -> Mesh:
    """Taubin smoothing (1995): steps x += shrink L x and x += inflate L x in turn, which damp ripples but keep the
    volume.

    L x is the uniform Laplacian of ``nerfkit.mesh.losses``; ``inflate`` is negative and a little larger than
    ``shrink``.
    """
    topology = Topology.of(mesh.faces, len(mesh.vertices))
    vertices = mesh.vertices
    for _ in range(iterations):
        for factor in (shrink, inflate):
            vertices = vertices + factor * laplacian_vectors(vertices, topology)
    return replace(mesh, vertices=vertices)


@dataclass(frozen=True)
class TopologyReport:
    """What is odd about a mesh's connectivity.

    Attributes:
        components: connected parts.
        boundary_edges: edges with one face.
        non_manifold_edges: edges with more than two faces.
        flipped_edges: edges that two faces run along in the same direction, so that their normals disagree.
        euler: V - E + F over used vertices; 2 per part without handles.
        watertight: every edge has exactly two faces and they agree on the direction.
    """

    components: int
    boundary_edges: int
    non_manifold_edges: int
    flipped_edges: int
    euler: int
    watertight: bool


def topology_report(mesh: Mesh) -> TopologyReport:
    """Count parts, boundary, non-manifold and inconsistently oriented edges. A mesh without faces is not watertight."""
    edges, side_edge = unique_edges(mesh.faces)
    count, direction = _edge_use(mesh.faces, side_edge, len(edges))
    boundary, crowded = int((count == 1).sum()), int((count > 2).sum())
    flipped = int(((count == 2) & (direction != 0)).sum())
    used = len(mesh.faces.unique())
    return TopologyReport(
        components=int(components(mesh).max()) + 1 if len(mesh.faces) else 0,
        boundary_edges=boundary,
        non_manifold_edges=crowded,
        flipped_edges=flipped,
        euler=used - len(edges) + len(mesh.faces),
        watertight=len(mesh.faces) > 0 and boundary + crowded + flipped == 0,
    )


def is_watertight(mesh: Mesh) -> bool:
    """Whether every edge has exactly two faces, with agreeing orientation."""
    return topology_report(mesh).watertight
