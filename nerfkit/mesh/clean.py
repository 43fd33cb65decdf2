"""Fewer and better triangles: floaters, decimation, degenerate faces, smoothing."""

from dataclasses import replace

import numpy as np
import torch

from nerfkit.mesh.edges import EdgeTable
from nerfkit.mesh.holes import fill_holes
from nerfkit.mesh.laplacian import Topology, laplacian_vectors
from nerfkit.mesh.mesh import Mesh, face_areas
from nerfkit.mesh.repair import drop_unused, select_faces, split_non_manifold
from nerfkit.mesh.topology import components, duplicate_faces, is_watertight


def remove_floaters(mesh: Mesh, min_fraction: float = 0.02) -> Mesh:
    """Drop connected parts whose area is below ``min_fraction`` of the largest part's."""
    label = components(mesh)
    area = torch.zeros(int(label.max()) + 1 if len(label) else 0, device=label.device)
    area = area.index_add(0, label, face_areas(mesh.vertices, mesh.faces))
    return select_faces(mesh, (area >= min_fraction * area.max())[label]) if len(label) else mesh


def remove_degenerate(mesh: Mesh) -> Mesh:
    """Drop faces that name a vertex twice and faces that repeat another's three vertices, then unused vertices."""
    a, b, c = mesh.faces.unbind(1)
    proper = (a != b) & (b != c) & (c != a)
    return select_faces(mesh, proper & ~duplicate_faces(EdgeTable.of(mesh.faces, len(mesh.vertices))))


def decimate(mesh: Mesh, faces: int) -> Mesh:
    """At most about ``faces`` triangles, by quadric edge collapse (Garland & Heckbert 1997); geometry only.

    Meshes that are small enough already keep their shape. Degenerate and doubled faces are removed afterward. Where
    the mesh was watertight and the collapses broke that, it is repaired (``close_surface``).
    """
    plain = mesh.without_appearance()
    if len(mesh.faces) > faces:
        import fast_simplification

        vertices, triangles = fast_simplification.simplify(
            mesh.vertices.detach().cpu().numpy(), mesh.faces.cpu().numpy().astype(np.int32), target_count=faces
        )
        plain = replace(
            plain, vertices=torch.from_numpy(vertices).float(), faces=torch.from_numpy(triangles.astype(np.int64))
        )
    plain = remove_degenerate(plain)
    return plain if is_watertight(plain) or not is_watertight(mesh) else close_surface(plain)


def close_surface(mesh: Mesh) -> Mesh:
    """A watertight mesh of the same shape but for its defects; geometry only.

    Faces at edges that have more than two faces, or two of opposite orientation, are dropped; vertices where several
    fans of faces touch are split, one for each fan; every boundary is then a simple loop, and is closed
    (``fill_holes``). Holes of any size are closed, so this is for meshes that ought to be closed.
    """
    plain = remove_degenerate(mesh.without_appearance())
    table = EdgeTable.of(plain.faces, len(plain.vertices))
    faces = table.faces[(table.boundary | table.regular)[table.face_edges].all(1)]
    split = split_non_manifold(replace(plain, faces=faces))
    return fill_holes(drop_unused(split))


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
