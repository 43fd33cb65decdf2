"""Connectivity of a mesh: parts, boundaries, defects and genus, in one report."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from nerfkit.mesh.edges import EdgeTable
from nerfkit.mesh.mesh import Mesh

FLAT = 8 * float(np.finfo(np.float32).eps)  # height over longest side: below it a face of float32 corners has no area


@dataclass(frozen=True)
class TopologyReport:
    """What a mesh's connectivity is, and what is odd about it.

    Attributes:
        components: connected parts; faces that share a vertex are connected.
        boundary_edges: edges with one face.
        non_manifold_edges: edges with more than two faces.
        flipped_edges: edges that two faces run along in the same direction, so that their normals disagree.
        euler: V - E + F over used vertices; 2 per part without handles.
        watertight: every edge has exactly two faces and they agree on the direction.
        vertices: vertices that a face uses.
        edges: undirected edges, each once.
        faces: faces.
        unused_vertices: vertices that no face uses.
        non_manifold_vertices: vertices where several fans of faces touch; neighbors in a fan share an edge that has
            just two faces.
        boundary_loops: closed walks along boundary edges, each within the fans of its vertices.
        degenerate_faces: faces that name a vertex twice or whose corners lie on a line, see ``degenerate_faces``.
        duplicate_faces: faces that repeat the three vertices of an earlier one.
        genera: genus of each part, in the order of its first face: (2 - Euler number - boundary loops) / 2; None for a
            part that is not an oriented manifold, which has none.
    """

    components: int
    boundary_edges: int
    non_manifold_edges: int
    flipped_edges: int
    euler: int
    watertight: bool
    vertices: int
    edges: int
    faces: int
    unused_vertices: int
    non_manifold_vertices: int
    boundary_loops: int
    degenerate_faces: int
    duplicate_faces: int
    genera: tuple[int | None, ...]

    @property
    def manifold(self) -> bool:
        """Whether every edge has one or two faces, and every vertex one fan of them."""
        return self.non_manifold_edges + self.non_manifold_vertices == 0

    @property
    def oriented(self) -> bool:
        """Whether the two faces of every edge agree which side is outside."""
        return self.flipped_edges == 0

    @property
    def genus(self) -> int | None:
        """Handles of all parts together; None where a part has no genus."""
        return None if None in self.genera else sum(genus for genus in self.genera if genus is not None)


def topology_report(mesh: Mesh) -> TopologyReport:
    """Count parts, boundaries, defects and handles. A mesh without faces is not watertight."""
    faces = mesh.faces.cpu()
    V, F = len(mesh.vertices), len(faces)
    table = EdgeTable.of(faces, V)
    edges, odd = table.ends, ~(table.boundary | table.regular)
    boundary, crowded = int(table.boundary.sum()), int((table.count > 2).sum())
    flipped = int(odd.sum()) - crowded

    fan_of_corner = fans(table)  # (3F,)
    fan_count = int(fan_of_corner.max()) + 1 if F else 0
    vertex_of_fan = torch.zeros(fan_count, dtype=torch.int64).scatter_(0, fan_of_corner, faces.flatten())
    fans_at = torch.bincount(vertex_of_fan, minlength=V)  # (V,)
    used = int((fans_at > 0).sum())

    part = components(mesh).cpu()  # (F,)
    parts = int(part.max()) + 1 if F else 0
    part_of_vertex = torch.zeros(V, dtype=torch.int64).scatter_(0, faces.flatten(), part.repeat_interleave(3))
    part_of_edge = part_of_vertex[edges[:, 0]]
    loop_part = _loops(table, fan_of_corner, part)
    broken = torch.bincount(part_of_edge[odd], minlength=parts)
    broken += torch.bincount(part_of_vertex[fans_at > 1], minlength=parts)
    euler = torch.bincount(part_of_vertex[fans_at > 0], minlength=parts) + torch.bincount(part, minlength=parts)
    euler -= torch.bincount(part_of_edge, minlength=parts)
    genus = (2 - euler - torch.bincount(loop_part, minlength=parts)) // 2
    return TopologyReport(
        components=parts,
        boundary_edges=boundary,
        non_manifold_edges=crowded,
        flipped_edges=flipped,
        euler=used - len(edges) + F,
        watertight=F > 0 and boundary + crowded + flipped == 0,
        vertices=used,
        edges=len(edges),
        faces=F,
        unused_vertices=V - used,
        non_manifold_vertices=int((fans_at > 1).sum()),
        boundary_loops=len(loop_part),
        degenerate_faces=int(degenerate_faces(mesh).sum()),
        duplicate_faces=int(duplicate_faces(table).sum()),
        genera=tuple(None if bad else g for g, bad in zip(genus.tolist(), broken.tolist(), strict=True)),
    )


def is_watertight(mesh: Mesh) -> bool:
    """Whether every edge has exactly two faces, with agreeing orientation."""
    return len(mesh.faces) > 0 and bool(EdgeTable.of(mesh.faces, len(mesh.vertices)).regular.all())


def components(mesh: Mesh) -> Tensor:
    """The connected part, numbered from 0, that each face belongs to, (F,) int64; shared vertices join faces."""
    faces = mesh.faces.cpu().numpy()
    first, second = faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel()
    label = united(len(mesh.vertices), first, second)[faces[:, 0]]  # unused vertices count as parts of their own
    return torch.from_numpy(np.unique(label, return_inverse=True)[1]).to(mesh.faces.device)


def fans(table: EdgeTable) -> Tensor:
    """The fan of faces, numbered from 0 in the order of first corners, that each corner 3 f + k belongs to, (3F,).

    Two faces are neighbors in a fan where they share an edge that no third face has. A vertex of a manifold has one.
    The table must be on the CPU.
    """
    one, other = table.pairs()
    corner = table.faces.flatten()
    following = torch.arange(len(corner)).view(-1, 3).roll(-1, 1).flatten()
    same_way = corner[one] == corner[other]
    first = torch.cat([one, following[one]])
    second = torch.cat([torch.where(same_way, other, following[other]), torch.where(same_way, following[other], other)])
    return torch.from_numpy(united(len(corner), first.numpy(), second.numpy()))


def degenerate_faces(mesh: Mesh) -> Tensor:
    """Which faces have no area, (F,) bool: they name a vertex twice, or are lower than 1e-6 of their longest side."""
    a, b, c = (mesh.vertices.detach()[corner].double() for corner in mesh.faces.unbind(1))
    cross = torch.linalg.cross(b - a, c - a).square().sum(-1)
    longest = torch.stack([(b - a).square().sum(-1), (c - b).square().sum(-1), (a - c).square().sum(-1)]).amax(0)
    return cross <= (FLAT * longest) ** 2  # holds where all three corners are one, too


def duplicate_faces(table: EdgeTable) -> Tensor:
    """Which faces name the same three vertices, in any order, as a face with a lower number, (F,) bool."""
    highest, at = table.faces.max(1)
    lower_edge = table.face_edges.gather(1, (at[:, None] + 1) % 3)[:, 0]  # of the two other corners
    order = torch.sort(lower_edge * table.vertex_count + highest, stable=True)
    repeated = torch.zeros_like(highest, dtype=torch.bool)
    repeated[order.indices[1:]] = order.values[1:] == order.values[:-1]
    return repeated


def _loops(table: EdgeTable, fan: Tensor, part: Tensor) -> Tensor:
    """The part of every boundary loop, (L,). A boundary side joins the fans of its ends."""
    side = table.boundary[table.face_edges.flatten()].nonzero().flatten()
    end = side // 3 * 3 + (side % 3 + 1) % 3
    label = united(int(fan.max()) + 1 if len(fan) else 0, fan[side].numpy(), fan[end].numpy())
    loop, inverse = torch.unique(torch.from_numpy(label)[fan[side]], return_inverse=True)
    return torch.zeros(len(loop), dtype=torch.int64).scatter_(0, inverse, part[side // 3])


def united(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The class, numbered from 0 in the order of lowest members, of each of ``count`` things joined in pairs."""
    joined = coo_matrix((np.ones(len(first), bool), (first, second)), shape=(count, count))
    return connected_components(joined, directed=False)[1].astype(np.int64)
