"""Repairs what is odd about a mesh and says what that was. Appearance (UVs, colors, texture) is carried along."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from nerfkit.mesh.edges import EdgeTable
from nerfkit.mesh.mesh import Mesh, signed_volume
from nerfkit.mesh.topology import degenerate_faces, duplicate_faces, fans, is_watertight, united


def repair(mesh: Mesh) -> tuple[Mesh, list[str]]:
    """A mesh that every later stage can work with, and one line for each kind of thing that was repaired, or left.

    Vertices that no face uses go; vertices at the same place become one; faces that name a vertex twice or repeat an
    earlier face go, and so do faces without area unless the surface would open there; edges with more than two faces
    and vertices where several fans of faces touch are split; faces are turned so that neighbors agree, and the whole
    inside out where it is closed around a negative volume. Holes stay: see ``holes.fill_holes``.

    Afterward the mesh is a manifold, with boundary where it was open or had to be cut, and oriented unless a part of
    it has just one side.
    """
    device = mesh.faces.device
    unused = len(mesh.vertices)
    given = mesh = drop_unused(mesh.to("cpu"))
    unused -= len(mesh.vertices)
    lines = []

    merged = merge_vertices(mesh)
    if len(merged.vertices) < len(mesh.vertices):
        lines.append(f"merged {_some(len(mesh.vertices) - len(merged.vertices), 'vertex')} into others at their place")
    mesh = merged

    folded, repeated, flat, closing = _superfluous(mesh)
    for drop, what in ((folded, "naming a vertex twice"), (repeated, "repeating another"), (flat, "without area")):
        if drop.any():
            lines.append(f"dropped {_some(int(drop.sum()), 'face')} {what}")
    if closing.any():
        lines.append(f"left {_some(int(closing.sum()), 'face')} without area: the surface would open there")
    mesh = _with_faces(mesh, ~(folded | repeated | flat))

    split = split_non_manifold(mesh)
    if len(split.vertices) > len(mesh.vertices):
        copies = _some(len(split.vertices) - len(mesh.vertices), "copy")
        lines.append(f"split non-manifold edges and vertices: {copies}")
    mesh = split
    if len(mesh.faces) == len(given.faces) and _same_joints(given.faces, mesh.faces):
        mesh = given  # parts that touch, and were apart already
        lines = [line for line in lines if line.startswith("left")]

    turned, one_sided = _turned_faces(mesh)
    if turned.any():
        lines.append(f"turned {_some(int(turned.sum()), 'face')} to agree with the neighbors")
        mesh = _flipped(mesh, turned)
    if one_sided:
        lines.append(f"left {_some(one_sided, 'part')} unoriented: a surface with one side has no outside")
    if signed_volume(mesh.vertices.double(), mesh.faces) < 0 and is_watertight(mesh):
        lines.append("turned the closed surface inside out: its faces looked inward")
        mesh = _flipped(mesh, torch.ones(len(mesh.faces), dtype=torch.bool))

    used = drop_unused(mesh)
    unused += len(mesh.vertices) - len(used.vertices)
    if unused:
        lines.append(f"dropped {_some(unused, 'vertex')} that no face uses")
    return used.to(device), lines


def same_places(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of the points (V,3) at each place, (U,) ascending, and which of these each point is, (V,)."""
    order = np.lexsort(points.T[::-1])  # stable: the first of its place comes first
    ordered = points[order]
    fresh = np.ones(len(points), bool)
    fresh[1:] = (ordered[1:] != ordered[:-1]).any(1)
    first = np.empty(len(points), np.int64)
    first[order] = order[fresh][np.cumsum(fresh) - 1]
    kept = first == np.arange(len(points))
    return kept.nonzero()[0], (np.cumsum(kept) - 1)[first]


def merge_vertices(mesh: Mesh) -> Mesh:
    """The mesh with one vertex, the first, at each place; its color counts. Faces keep their order."""
    first, inverse = same_places(mesh.vertices.detach().cpu().numpy())
    if len(first) == len(mesh.vertices):
        return mesh
    keep = torch.from_numpy(first).to(mesh.faces.device)
    faces = torch.from_numpy(inverse).to(mesh.faces.device)[mesh.faces]
    return _with_vertices(mesh, keep, faces)


def split_non_manifold(mesh: Mesh) -> Mesh:
    """The mesh cut along edges that have more than two faces, with a vertex of its own for each fan of faces.

    The shape stays as it is; only its connectivity changes. A fan's vertex is a copy of the old one; the first
    fan keeps the old number. Every edge then has one or two faces, and every vertex one fan.
    """
    faces = mesh.faces.cpu()
    fan = fans(EdgeTable.of(faces, len(mesh.vertices)))  # (3F,)
    corner = faces.flatten()
    origin = torch.zeros(int(fan.max()) + 1 if len(fan) else 0, dtype=torch.int64).scatter_(0, fan, corner)
    order = torch.sort(origin, stable=True)  # fans by vertex, in the order of their first corners
    later = torch.zeros(len(origin), dtype=torch.bool)
    later[order.indices[1:]] = order.values[1:] == order.values[:-1]
    if not later.any():
        return mesh
    number = torch.where(later, len(mesh.vertices) + later.cumsum(0) - 1, origin)  # of each fan's vertex
    keep = torch.cat([torch.arange(len(mesh.vertices)), origin[later]])
    device = mesh.faces.device
    return _with_vertices(mesh, keep.to(device), number[fan].view(-1, 3).to(device))


def drop_unused(mesh: Mesh) -> Mesh:
    """The mesh without the vertices that no face uses; the others keep their order."""
    used = torch.zeros(len(mesh.vertices), dtype=torch.bool, device=mesh.faces.device)
    used[mesh.faces.flatten()] = True
    if used.all():
        return mesh
    return _with_vertices(mesh, used.nonzero().flatten(), (used.cumsum(0) - 1)[mesh.faces])


def select_faces(mesh: Mesh, keep: Tensor) -> Mesh:
    """The mesh of the faces where ``keep`` (F,) is true, without the vertices that no face uses any more."""
    return drop_unused(_with_faces(mesh, keep))


def _superfluous(mesh: Mesh) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Which faces name a vertex twice, which of the others repeat an earlier one, and which of the rest have no area:
    those at the surface's border, then those within it; (F,) bool each.
    """
    a, b, c = mesh.faces.unbind(1)
    folded = (a == b) | (b == c) | (c == a)
    repeated = duplicate_faces(EdgeTable.of(mesh.faces, len(mesh.vertices))) & ~folded
    flat, closing = torch.zeros_like(folded), torch.zeros_like(folded)
    rest = ~(folded | repeated)
    single = mesh.faces[rest]
    thin = degenerate_faces(replace(mesh.without_appearance(), faces=single))
    if thin.any():
        table = EdgeTable.of(single, len(mesh.vertices))
        at_border = table.boundary[table.face_edges].any(1)
        flat[rest], closing[rest] = thin & at_border, thin & ~at_border
    return folded, repeated, flat, closing


def _same_joints(faces: Tensor, others: Tensor) -> bool:
    """Whether two numberings (F,3) of the same corners join the same ones into vertices."""
    for one, other in ((faces.flatten(), others.flatten()), (others.flatten(), faces.flatten())):
        renumbered = torch.zeros(int(one.max()) + 1 if len(one) else 0, dtype=torch.int64).scatter_(0, one, other)
        if not torch.equal(renumbered[one], other):
            return False
    return True


def _turned_faces(mesh: Mesh) -> tuple[Tensor, int]:
    """Which faces to turn, (F,) bool, and the number of parts with one side; parts are connected by edges here."""
    faces = mesh.faces
    table = EdgeTable.of(faces, len(mesh.vertices))
    if not ((table.count == 2) & ~table.regular).any():
        return torch.zeros(len(faces), dtype=torch.bool), 0
    one, other = table.pairs()
    count, corner = len(faces), faces.flatten()
    # Every face twice, as it is and turned over: neighbors agree as they are, or one of them turned over.
    first, second, over = one // 3, other // 3, count * (corner[one] == corner[other])
    pairs = torch.cat([first, first + count]), torch.cat([second + over, second + count - over])
    as_is, over = torch.from_numpy(united(2 * count, *(ends.numpy() for ends in pairs))).view(2, count)  # (F,) each
    part, turned, good = torch.minimum(as_is, over), as_is > over, as_is != over
    sign = torch.where(turned, -1.0, 1.0).double()
    a, b, c = (mesh.vertices.detach().double()[faces[:, k]] for k in range(3))
    volume = torch.zeros(2 * count, dtype=torch.float64)
    volume.index_add_(0, part, sign * (a * torch.linalg.cross(b, c)).sum(-1))
    closed = torch.ones(2 * count, dtype=torch.bool)
    closed[part[(table.count[table.face_edges] != 2).any(1)]] = False
    size, minus = (torch.bincount(some, minlength=2 * count) for some in (part, part[turned]))
    other_way = torch.where(closed, volume < 0, 2 * minus > size)  # turn the rest of the part instead
    return (turned ^ other_way[part]) & good & (minus > 0)[part], len(part[~good].unique())


def _flipped(mesh: Mesh, turned: Tensor) -> Mesh:
    """The mesh with the faces (F,) bool turned over: their second and third corners change places."""
    order = torch.where(turned[:, None], torch.tensor([0, 2, 1]).to(turned.device), torch.arange(3).to(turned.device))
    uvs = mesh.corner_uvs
    if uvs is not None:
        uvs = uvs.gather(1, order[..., None].expand(-1, -1, 2))
    return replace(mesh, faces=mesh.faces.gather(1, order), corner_uvs=uvs)


def _with_vertices(mesh: Mesh, keep: Tensor, faces: Tensor) -> Mesh:
    """Vertices ``keep`` of the mesh, joined by ``faces``, which correspond to the mesh's one by one."""
    colors = None if mesh.colors is None else mesh.colors[keep]
    return replace(mesh, vertices=mesh.vertices[keep], faces=faces, colors=colors)


def _with_faces(mesh: Mesh, keep: Tensor) -> Mesh:
    """The mesh of the faces ``keep`` (F,) bool, with all its vertices."""
    if keep.all():
        return mesh
    return replace(mesh, faces=mesh.faces[keep], corner_uvs=None if mesh.corner_uvs is None else mesh.corner_uvs[keep])


def _some(count: int, thing: str) -> str:
    plural = {"vertex": "vertices", "copy": "copies"}.get(thing, thing + "s")
    return f"{count} {thing if count == 1 else plural}"
