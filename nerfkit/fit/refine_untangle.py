"""Taking self-intersections out of a mesh that an optimizer has moved."""

from dataclasses import replace

import torch
from torch import Tensor

from nerfkit.mesh.intersections import self_intersections
from nerfkit.mesh.laplacian import Topology, laplacian_vectors
from nerfkit.mesh.mesh import Mesh

ROUNDS = 12
GROWN_EVERY = 3  # rounds after which the neighbors of what still intersects are smoothed, too


def untangle(mesh: Mesh, allowed: int = 0, before: Tensor | None = None) -> tuple[Mesh, int]:
    """Smooths the mesh where it runs through itself until at most ``allowed`` pairs of faces intersect.

    Vertices of intersecting faces move half of the way to their neighbors' mean, up to ``ROUNDS`` times; the patch
    grows by a ring every third round. Where that is not enough they go back to where they were ``before``, in a patch
    that grows by a ring every round. Faces, UVs and colors stay. The result is the best mesh on the way, so it never
    intersects more than the given one.

    Args:
        before: (V,3), the vertices at a time when the mesh did not run through itself; None: not known.

    Returns:
        the mesh and the pairs that are left.
    """
    best, pairs = mesh, self_intersections(mesh)
    if len(pairs) <= allowed:
        return best, len(pairs)
    topology = Topology.of(mesh.faces, len(mesh.vertices))
    vertices, left = mesh.vertices, pairs
    for turn in range(ROUNDS):
        patch = _patch(mesh.faces, pairs, len(vertices), turn // GROWN_EVERY)
        vertices = vertices + 0.5 * patch[:, None] * laplacian_vectors(vertices, topology)
        moved = replace(mesh, vertices=vertices)
        pairs = self_intersections(moved)
        if len(pairs) < len(left):
            best, left = moved, pairs
        if len(left) <= allowed:
            return best, len(left)
    vertices, pairs = best.vertices, left
    for rings in range(ROUNDS if before is not None else 0):
        patch = _patch(mesh.faces, pairs, len(vertices), rings)
        vertices = torch.where(patch[:, None], before, vertices)  # type: ignore[arg-type]
        moved = replace(mesh, vertices=vertices)
        pairs = self_intersections(moved)
        if len(pairs) < len(left):
            best, left = moved, pairs
        if len(pairs) <= allowed:
            break
    return best, len(left)


def _patch(faces: Tensor, pairs: Tensor, vertex_count: int, rings: int) -> Tensor:
    """Which vertices (V,) bool belong to the faces of ``pairs`` or to one of so many ``rings`` of faces around them."""
    inside = torch.zeros(vertex_count, dtype=torch.bool, device=faces.device)
    inside[faces[pairs.unique().to(faces.device)].flatten()] = True
    for _ in range(rings):
        inside[faces[inside[faces].any(1)].flatten()] = True
    return inside
