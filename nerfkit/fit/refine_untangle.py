"""Taking self-intersections out of a mesh that an optimizer has moved."""

from dataclasses import replace

import torch
from torch import Tensor

from nerfkit.mesh.intersections import self_intersections
from nerfkit.mesh.laplacian import Topology, laplacian_vectors
from nerfkit.mesh.mesh import Mesh

ROUNDS = 12
GROWN_EVERY = 3  # rounds after which the neighbors of what still intersects are smoothed, too


def untangle(mesh: Mesh, allowed: int = 0) -> tuple[Mesh, int]:
    """Smooths the mesh where it runs through itself until at most ``allowed`` pairs of faces intersect.

    Vertices of intersecting faces move half of the way to their neighbors' mean, up to ``ROUNDS`` times; the patch
    grows by a ring every third round. Faces, UVs and colors stay. The result is the best mesh on the way, so it never
    intersects more than the given one.

    Returns:
        the mesh and the pairs that are left.
    """
    best, fewest = mesh, len(pairs := self_intersections(mesh))
    if fewest <= allowed:
        return best, fewest
    topology = Topology.of(mesh.faces, len(mesh.vertices))
    vertices = mesh.vertices
    for turn in range(ROUNDS):
        patch = _patch(mesh.faces, pairs.unique().to(mesh.faces.device), len(vertices), turn // GROWN_EVERY)
        vertices = vertices + 0.5 * patch[:, None] * laplacian_vectors(vertices, topology)
        moved = replace(mesh, vertices=vertices)
        pairs = self_intersections(moved)
        if len(pairs) < fewest:
            best, fewest = moved, len(pairs)
        if fewest <= allowed:
            break
    return best, fewest


def _patch(faces: Tensor, chosen: Tensor, vertex_count: int, rings: int) -> Tensor:
    """Which vertices (V,) bool belong to the chosen faces or to one of so many ``rings`` of faces around them."""
    inside = torch.zeros(vertex_count, dtype=torch.bool, device=faces.device)
    inside[faces[chosen].flatten()] = True
    for _ in range(rings):
        inside[faces[inside[faces].any(1)].flatten()] = True
    return inside
